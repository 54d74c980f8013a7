"""Devices over HTTPS: messages and shadows by certificate, as the policies allow."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import quote

import pytest

from creeklab import Lab
from creeklab.cloud.messaging import service as messaging
from creeklab.cloud.shadow import service as shadow
from tests.conftest import NewThing

NewThings = Callable[..., NewThing]
SECONDS = 10.0


@contextmanager
def https(lab: Lab, thing: NewThing, *alpn: str) -> Iterator[HTTPSConnection]:
    """Open an HTTPS connection with a Thing's certificate, as any HTTP client does."""
    context = ssl.create_default_context(cafile=lab.ca_file)
    context.load_cert_chain(thing.files.certificate, thing.files.private_key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    connection = HTTPSConnection(lab.endpoint, lab.https_port, timeout=SECONDS, context=context)
    try:
        yield connection
    finally:
        connection.close()


Reply = tuple[int, Any]


def call(
    connection: HTTPSConnection, method: str, target: str, body: bytes = b"", **headers: str
) -> Reply:
    connection.request(method, target, body or None, headers)
    response = connection.getresponse()
    reply = response.read()
    return response.status, json.loads(reply) if reply else None


def allow(action: str, *resources: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": [f"ARN:{name}" for name in resources]}


FORBIDDEN = (403, "Forbidden")


def refusal(lab: Lab, reply: Reply) -> str:
    """Check that the response has AWS's error; return the explanation in the event log."""
    status, body = reply
    assert (status, body["message"]) == FORBIDDEN
    assert set(body) == {"message", "traceId"}
    return lab.why().summary


# --- allowed requests -----------------------------------------------------------------------------


@pytest.mark.parametrize("alpn", [(), ("x-amzn-http-ca",), ("http/1.1",), ("h2", "http/1.1")])
def test_publish_with_a_certificate(lab: Lab, new_thing: NewThings, alpn: tuple[str, ...]) -> None:
    thing = new_thing([allow("iot:Publish", "topic/https/*")])
    with lab.connect_account() as account, https(lab, thing, *alpn) as connection:
        inbox = account.subscribe("https/#")
        topic = quote("https/depth in/feet", safe="")
        status, body = call(connection, "POST", f"/topics/{topic}?qos=1", b'{"depth": 1.4}')
        assert (status, body["message"], set(body)) == (200, "OK", {"message", "traceId"})
        [message] = inbox.wait_for(1)
        assert (message.topic, message.json, message.qos) == (
            "https/depth in/feet",
            {"depth": 1.4},
            1,
        )
        entry = lab.events(kind="call").iloc[-1]
        assert (entry["operation"], entry["principal"]) == ("Publish", thing.certificate_id)


def test_slashes_in_the_topic_need_no_encoding(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing([allow("iot:Publish", "topic/https/*")])
    with lab.connect_account() as account, https(lab, thing) as connection:
        inbox = account.subscribe("https/plain/#")
        for path in ("https/plain/depth", "https%2Fplain/a//b", "https/plain/a%2Fb%20c/"):
            assert call(connection, "POST", f"/topics/{path}?qos=1", b"x")[0] == 200
        assert [message.topic for message in inbox.wait_for(3)] == [
            "https/plain/depth",
            "https/plain/a//b",
            "https/plain/a/b c/",
        ]
        # The policy decides on the whole topic.
        assert "iot:Publish" in refusal(lab, call(connection, "POST", "/topics/other/depth", b"x"))


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("GET", "/role-aliases/creek/credentials", "the AWS IoT credentials provider"),
        ("GET", "/greengrass/discover/thing/Test2", "AWS IoT Greengrass discovery"),
        ("GET", "/things/Test2/jobs", "AWS IoT Jobs"),
        ("PUT", "/things/Test2/jobs/$next", "AWS IoT Jobs"),
        ("POST", "/things/Test2/jobs/update-1", "AWS IoT Jobs"),
    ],
)
def test_unavailable_services_are_named(
    lab: Lab, new_thing: NewThings, method: str, path: str, service: str
) -> None:
    thing = new_thing()
    with https(lab, thing) as connection:
        status, body = call(connection, method, path)
    message = f"This local cloud does not have {service}. AWS has it."
    assert (status, body["message"]) == (501, message)
    assert lab.why().summary == message


def test_mqtt_5_properties(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    with lab.connect_account() as account, https(lab, thing) as connection:
        inbox = account.subscribe("https/properties")
        target = "/topics/https%2Fproperties?qos=0&contentType=text/plain"
        assert call(connection, "POST", target, b"x")[0] == 200
        assert inbox.wait_for(1)[0].qos == 0
    entry = lab.events(kind="publish", topic="https/properties").iloc[-1]
    assert entry["properties"]["content_type"] == "text/plain"


@pytest.mark.parametrize("name", ["", "lamp"], ids=["classic", "named"])
def test_a_shadow_from_update_to_delete(lab: Lab, new_thing: NewThings, name: str) -> None:
    shadow = f"/{name}" if name else ""
    thing = new_thing(
        [
            allow(f"iot:{operation}ThingShadow", f"thing/THING{shadow}")
            for operation in ("Get", "Update", "Delete")
        ]
    )
    target = f"/things/{thing.name}/shadow" + (f"?name={name}" if name else "")
    with https(lab, thing) as connection:
        status, body = call(connection, "GET", target)
        assert (status, body["message"]) == (
            404,
            f"No shadow exists with name: '{name or thing.name}'",
        )
        state = {"state": {"reported": {"lamp": "on"}}}
        status, body = call(connection, "POST", target, json.dumps(state).encode())
        assert (status, body["state"], body["version"]) == (200, state["state"], 1)
        assert call(connection, "GET", target)[1]["state"] == state["state"]
        status, body = call(connection, "POST", target, b'{"state": {}, "version": 7}')
        assert (status, body["message"]) == (409, "Version conflict")
        assert call(connection, "DELETE", target)[1]["version"] == 1
        other = f"/things/{thing.name}/shadow" + ("" if name else "?name=lamp")
        for method in ("GET", "POST", "DELETE"):
            assert "iot:" in refusal(lab, call(connection, method, other, b"{}"))


def test_other_iot_data_operations(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    named = f"/api/things/shadow/ListNamedShadowsForThing/{thing.name}"
    with lab.connect(thing.name), https(lab, thing) as connection:
        call(connection, "POST", f"/topics/{thing.name}?retain=true", b"kept")
        for method, target in (
            ("GET", named),
            ("GET", f"/retainedMessage/{thing.name}"),
            ("GET", "/retainedMessage"),
            ("GET", f"/connections/{thing.name}"),
            ("GET", f"/connections/{thing.name}/subscriptions"),
            ("POST", f"/connections/{thing.name}/messages?topic=a"),
            ("DELETE", f"/connections/{thing.name}"),
            ("POST", f"/topics/{thing.name}?retain=true"),
        ):
            assert call(connection, method, target)[0] == 200, target


# --- denied requests ------------------------------------------------------------------------------


def test_a_denied_topic(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing([allow("iot:Publish", "topic/https/mine")])
    before = counted(lab, "PublishIn.AuthError")
    with https(lab, thing) as connection:
        why = refusal(lab, call(connection, "POST", "/topics/https%2Fyours?qos=1", b"x"))
        assert "'https/yours' (iot:Publish)" in why
        denial = lab.why()
        assert denial.suggestions  # suggestions are evaluated without a client ID
        assert "https/yours" in repr(denial)
        entry = denial.entry
        assert entry is not None
        assert (entry["action"], entry["operation"]) == ("iot:Publish", "Publish")
        assert entry["resource"] == "topic/https/yours"
        assert (entry["principal"], entry["source_ip"]) == (thing.certificate_id, "127.0.0.1")
        assert call(connection, "POST", "/topics/https%2Fmine?qos=1", b"x")[0] == 200
    assert counted(lab, "PublishIn.AuthError") == before + 1


def counted(lab: Lab, name: str) -> int:
    totals = lab.admin("metrics", {})["totals"]
    return sum(row["sum"] for row in totals if (row["name"], row["protocol"]) == (name, "HTTP"))


def test_retaining_needs_its_own_permission(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing([allow("iot:Publish", "topic/https/kept")])
    with https(lab, thing) as connection:
        why = refusal(lab, call(connection, "POST", "/topics/https%2Fkept?retain=true", b"x"))
    assert "iot:RetainPublish" in why


def test_thing_and_client_variables_have_no_value(lab: Lab, new_thing: NewThings) -> None:
    for variable in ("iot:Connection.Thing.ThingName", "iot:ClientId"):
        thing = new_thing([allow("iot:Publish", "topic/${" + variable + "}")])
        with https(lab, thing) as connection:
            why = refusal(lab, call(connection, "POST", f"/topics/{thing.name}", b"x"))
        assert variable in why
        assert lab.why().now is not None
        assert not lab.why().allowed
    thing = new_thing([allow("iot:Publish", "topic/${iot:CertificateId}")])
    with https(lab, thing) as connection:
        assert call(connection, "POST", f"/topics/{thing.certificate_id}", b"x")[0] == 200


def test_policies_change_under_an_open_connection(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    iot = lab.client("iot")
    with https(lab, thing) as connection:
        assert call(connection, "POST", "/topics/a", b"x")[0] == 200
        iot.detach_policy(policyName=thing.policy, target=thing.certificate_arn)
        assert "No policy is attached" in refusal(lab, call(connection, "POST", "/topics/a", b"x"))
        iot.attach_policy(policyName=thing.policy, target=thing.certificate_arn)
        assert call(connection, "POST", "/topics/a", b"x")[0] == 200
        iot.update_certificate(certificateId=thing.certificate_id, newStatus="REVOKED")
        assert "is REVOKED" in refusal(lab, call(connection, "POST", "/topics/a", b"x"))
        # The response no longer even says that the path does not exist.
        assert "is REVOKED" in refusal(lab, call(connection, "GET", "/nowhere"))


def test_errors_describe_the_problem(lab: Lab, new_thing: NewThings) -> None:
    thing = new_thing()
    with https(lab, thing) as connection:
        for method, target, body, status in (
            ("GET", "/nowhere", b"", 404),
            ("POST", "/topics/a%2F%23", b"x", 400),
            ("POST", "/topics/a?qos=2", b"x", 400),
            ("POST", f"/topics/{'x' * 300}", b"x", 400),
            ("POST", "/topics/a", b"x" * 131_073, 413),
            ("POST", f"/things/{thing.name}/shadow", b"{", 400),
            ("POST", "/things/no%20thing/shadow", b"{}", 400),
        ):
            reply = call(connection, method, target, body)
            assert (reply[0], set(reply[1])) == (status, {"message", "traceId"}), target


@pytest.mark.parametrize(
    "path",
    ["/things", "/certificates", "/policies", "/_creeklab/events", "/_creeklab/why", "/mqtt"],
)
def test_other_paths_are_closed_to_devices(lab: Lab, new_thing: NewThings, path: str) -> None:
    thing = new_thing()
    with https(lab, thing) as connection:
        for method in ("GET", "POST"):
            assert call(connection, method, path)[0] in (403, 404, 405)


def test_a_signature_takes_precedence_over_a_certificate(lab: Lab, new_thing: NewThings) -> None:
    """A wrong signature is rejected, whatever the certificate would allow."""
    thing = new_thing()
    with https(lab, thing) as connection:
        reply = call(connection, "POST", "/topics/a", b"x", Authorization="AWS4-HMAC-SHA256 x")
        assert reply[0] == 403
        assert reply[1]["message"] != "Forbidden"


# --- the actions ----------------------------------------------------------------------------------

TOPIC, THING, CLIENT = {"topic": "a/b"}, {"thingName": "T"}, {"clientId": "c"}


@pytest.mark.parametrize(
    ("operation", "members", "needed"),
    [
        ("Publish", TOPIC, ["iot:Publish topic/a/b"]),
        ("Publish", {**TOPIC, "retain": False}, ["iot:Publish topic/a/b"]),
        (
            "Publish",
            {**TOPIC, "retain": True},
            ["iot:Publish topic/a/b", "iot:RetainPublish topic/a/b"],
        ),
        ("GetThingShadow", THING, ["iot:GetThingShadow thing/T"]),
        ("UpdateThingShadow", {**THING, "shadowName": "s"}, ["iot:UpdateThingShadow thing/T/s"]),
        ("DeleteThingShadow", THING, ["iot:DeleteThingShadow thing/T"]),
        ("ListNamedShadowsForThing", THING, ["iot:ListNamedShadowsForThing thing/T"]),
        ("GetRetainedMessage", TOPIC, ["iot:GetRetainedMessage topic/a/b"]),
        ("ListRetainedMessages", {}, ["iot:ListRetainedMessages *"]),
        ("GetConnection", CLIENT, ["iot:GetConnection client/c"]),
        ("ListSubscriptions", CLIENT, ["iot:ListSubscriptions client/c"]),
        ("DeleteConnection", CLIENT, ["iot:DeleteConnection client/c"]),
        ("SendDirectMessage", {**CLIENT, **TOPIC}, ["iot:SendDirectMessage client/c"]),
    ],
)
def test_required_policy_actions(
    operation: str, members: dict[str, Any], needed: list[str]
) -> None:
    actions = {**messaging.DEVICE_ACTIONS, **shadow.DEVICE_ACTIONS}
    assert [" ".join(pair) for pair in actions[operation](members)] == needed
