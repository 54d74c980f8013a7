"""`lab.why` on a real lab: the decision now, the change that helps, and requests as on AWS."""

from __future__ import annotations

import configparser
import contextlib
import json
import re
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from creeklab import Lab
from creeklab.client.device import RequestRefused
from creeklab.cloud.mqtt.connection.connect_terms import check_client_id
from creeklab.diagnosis.refusal import Refusal
from tests.hardening.packet_client import PacketClient

CONNECT_ONLY = [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]
SLIP = [
    *CONNECT_ONLY,
    {
        "Effect": "Allow",
        "Action": "iot:Publish",
        "Resource": "ARN:topic/$aws/things/Test1/shadow/update",
    },
]


class OnAws:
    """The lab as it is on AWS: the same clients, and no event log."""

    target = "aws"

    def __init__(self, lab: Lab) -> None:
        self.client, self.keys = lab.client, lab.keys
        self.account, self.region = lab.account, lab.region
        self.ledger = SimpleNamespace(last_refusal=None)

    why = Lab.why


def apply_suggestions(lab: Lab, why: Refusal) -> None:
    """Apply the suggested changes."""
    iot = lab.client("iot")
    assert why.suggestions
    for each in why.suggestions:
        if each.before is None:
            iot.create_policy(policyName=each.policy, policyDocument=each.document)
            certificate = why.now.access.certificate if why.now else None
            iot.attach_policy(policyName=each.policy, target=certificate)
        else:
            iot.create_policy_version(
                policyName=each.policy, policyDocument=each.document, setAsDefault=True
            )


def in_one_line(why: Any) -> str:
    """Return its text without line breaks."""
    return " ".join(repr(why).split())


def test_the_suggested_change_allows_the_request(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing(SLIP)
    topic = f"$aws/things/{thing.name}/shadow/update"
    with lab.connect(thing.name) as device:
        with pytest.raises(RequestRefused):
            device.publish(topic, "x")
        why = lab.why(thing.name)
        assert not why.allowed
        text = repr(why)
        assert f"Client ID '{thing.name}', publish: denied at " in text
        assert f'  -      "Resource": "{thing.arn}:topic/$aws/things/Test1/shadow/update"\n' in text
        assert f'  +      "Resource": "{thing.arn}:topic/{topic}"\n' in text
        assert "Note: This removes what that line allowed" in in_one_line(why)
        apply_suggestions(lab, why)
        device.publish(topic, {"state": {"reported": {"depth": 1.4}}})
        now = lab.why(thing.name)
        assert now.allowed
        assert now.suggestions == ()
        assert "The request would be allowed now" in in_one_line(now)
        with pytest.raises(RequestRefused):
            device.subscribe("creek/#")
        again = lab.why(thing.name)
        assert "add a statement that allows iot:Subscribe" in in_one_line(again)
        apply_suggestions(lab, again)
        device.subscribe("creek/#")


def test_without_a_policy_the_change_is_a_new_one(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing(SLIP)
    iot = lab.client("iot")
    iot.detach_policy(policyName=thing.policy, target=thing.certificate_arn)
    with pytest.raises(RequestRefused):
        lab.connect(thing.name)
    why = lab.why(thing.name)
    assert "in a new policy" in in_one_line(why)
    apply_suggestions(lab, why)
    lab.connect(thing.name).close()
    iot.detach_policy(policyName="NewPolicy", target=thing.certificate_arn)
    iot.delete_policy(policyName="NewPolicy")


def test_a_refusal_is_found_by_client_id_and_by_thing(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing(CONNECT_ONLY)
    with lab.connect(thing.name, client_id="pump") as device, pytest.raises(RequestRefused):
        device.publish("creek/depth", "x")
    by_client, by_thing = lab.why("pump"), lab.why(thing.name)
    assert by_client.entry == by_thing.entry is not None
    assert by_thing.now is not None
    assert by_thing.now.access.things == (thing.name,)


def test_a_thing_that_does_not_exist_leaves_its_variable_empty(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    own = "ARN:topic/creek/${iot:Connection.Thing.ThingName}/depth"
    thing = new_thing(
        [*CONNECT_ONLY, {"Effect": "Allow", "Action": "iot:Publish", "Resource": own}]
    )
    with lab.connect(thing.name, client_id="nobody") as device, pytest.raises(RequestRefused):
        device.publish("creek/nobody/depth", "x")
    text = " ".join(repr(lab.why("nobody")).split())
    assert "the client ID 'nobody' is not the name of a Thing" in text
    assert f"this certificate is attached to '{thing.name}'" in text
    assert "Note: It is better to fix the cause" in text


def test_a_change_warns_of_other_targets_of_the_policy(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing, other = new_thing(CONNECT_ONLY), new_thing(CONNECT_ONLY)
    lab.client("iot").attach_policy(policyName=thing.policy, target=other.certificate_arn)
    with lab.connect(thing.name) as device, pytest.raises(RequestRefused):
        device.publish("creek/depth", "x")
    assert any("2 certificates and groups" in text for text in lab.why(thing.name).warnings)


# --- refusals that no policy makes ---------------------------------------------------------------


def test_an_inactive_certificate(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    iot = lab.client("iot")
    iot.update_certificate(certificateId=thing.certificate_id, newStatus="INACTIVE")
    with pytest.raises(RequestRefused):
        lab.connect(thing.name)
    why = lab.why(thing.name)
    assert "is INACTIVE. Activate it" in why.summary
    assert why.now is not None
    assert why.now.access.status == "INACTIVE"
    assert why.suggestions == ()


def test_a_certificate_that_is_not_registered(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    iot = lab.client("iot")
    iot.detach_policy(policyName=thing.policy, target=thing.certificate_arn)
    iot.detach_thing_principal(thingName=thing.name, principal=thing.certificate_arn)
    iot.update_certificate(certificateId=thing.certificate_id, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=thing.certificate_id)
    with pytest.raises(RequestRefused):
        lab.connect(thing.name)
    why = lab.why(thing.name)
    assert "not in this account's registry" in why.summary
    assert "not in this account" in why._repr_html_()


def shake_hands(lab: Lab, certificate: Path | None = None, key: Path | None = None) -> None:
    """Try to connect by TLS, and wait until the cloud has closed the connection."""
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    with (
        socket.create_connection((lab.endpoint, lab.mqtt_port), 5) as raw,
        contextlib.suppress(OSError),
        context.wrap_socket(raw, server_hostname=lab.endpoint) as secure,
    ):
        assert secure.recv(1) == b""


def test_no_certificate_at_all(lab: Lab) -> None:
    shake_hands(lab)
    why = lab.why()
    assert why.entry is not None
    assert "sent no certificate" in in_one_line(why)
    assert why.now is None
    assert "sent no certificate" in why._repr_html_()


def test_a_certificate_of_another_authority(lab: Lab, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "elsewhere")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "both.pem"
    kind = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    shake_hands(lab, pem)
    assert "certificate was rejected" in lab.why().summary


def test_a_client_id_that_another_took_over(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    first = lab.connect(thing.name)
    with pytest.warns(UserWarning, match="already connected"):
        second = lab.connect(thing.name)
    try:
        why = lab.why(thing.name)
        assert f"Another connection with the client ID '{thing.name}' was opened" in why.summary
        headline = repr(why).split("\n")[0]
        taken_over = f"Client ID '{thing.name}': taken over by another connection at "
        assert headline.startswith(taken_over)
        assert headline.endswith(" UTC, just now.")
        assert ">taken over</span>" in why._repr_html_()
    finally:
        first.close()
        second.close()


def test_a_connection_that_the_account_ended(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    with lab.connect(thing.name):
        lab.client("iot-data").delete_connection(clientId=thing.name)
        why = lab.why(thing.name)
        assert why.summary == "The account closed the connection with DeleteConnection."
        assert repr(why).startswith(f"Client ID '{thing.name}': disconnected at ")


def test_an_unknown_name(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    with lab.connect(thing.name, client_id=thing.name), lab.connect_account():
        why = lab.why(thing.name.upper())
    assert why.entry is None
    assert why.summary.startswith(f"'{thing.name.upper()}' is unknown: no client")
    assert f" Known names: '{thing.name}'," in why.summary
    assert "account-" not in why.summary
    assert "is unknown" in why._repr_html_()
    assert lab.why(thing.name).summary == f"Nothing was refused to '{thing.name}'."


def test_a_client_that_is_no_thing_is_known(lab: Lab) -> None:
    with lab.connect_account(client_id="laptop"):
        assert lab.why("laptop").summary == "Nothing was refused to 'laptop'."


def test_a_topic_that_is_too_deep(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    with lab.connect(thing.name) as device, pytest.raises(RequestRefused):
        device.publish("a/b/c/d/e/f/g/h/i", "x")
    why = lab.why(thing.name)
    assert "has 9 levels; 8 are the most" in why.summary
    assert why.suggestions == ()


# --- how old it is -------------------------------------------------------------------------------


ENTRY = {
    "kind": "publish",
    "client_id": "Test2",
    "time": 1_800_000_000.0,
    "refusal": {"summary": "No.", "outcome": "IMPLICIT_DENY"},
}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (120, "2 minutes ago"),
        (3_600, "1 hour ago"),
        (200_000, "2 days ago"),
    ],
)
def test_a_refusal_has_a_time_and_an_age(seconds: float, words: str) -> None:
    why = Refusal(ENTRY, asked=1_800_000_000.0 + seconds)
    headline = f"Client ID 'Test2', publish: denied at 08:00:00 UTC, {words}."
    assert repr(why).split("\n") == [headline, "No."]
    assert f"at 2027-01-15 08:00:00 UTC, {words}<" in why._repr_html_()
    assert why.time == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert why.age == seconds


# --- the page ------------------------------------------------------------------------------------


def test_the_page_escapes_untrusted_text(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing(CONNECT_ONLY)
    with lab.connect(thing.name) as device, pytest.raises(RequestRefused):
        device.publish("creek/<img src=x onerror=alert(1)>", "x")
    why = lab.why(thing.name)
    page = why._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x" in page
    assert thing.certificate_id in page
    assert "ACTIVE" in page
    # Only the certificate's ID and the time differ between runs, and nbval ignores them.
    rules = configparser.RawConfigParser()
    rules.read(Path(__file__).with_name("nbval_sanitize.cfg"))
    page = re.sub(rules["Time and age of a refusal"]["regex"], "", page)
    assert not re.search(r"\d\d:\d\d", page)


def test_no_refusal_has_a_page_too() -> None:
    assert "Nothing was refused." in Refusal(None)._repr_html_()


# --- questions, as on AWS ------------------------------------------------------------------------


def test_a_request_is_decided_by_test_authorization(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing(SLIP)
    aws: Any = OnAws(lab)
    topic = f"$aws/things/{thing.name}/shadow/update"
    for place in (lab, aws):
        why = place.why(thing.name, action="iot:Publish", resource=topic)
        assert why.entry["refusal"]["outcome"] == "IMPLICIT_DENY"
        assert repr(why).startswith(f"Client ID '{thing.name}', publish: denied.\n")
        assert why.time is None
    by_arn = aws.why(thing.name, action="iot:Publish", resource=f"{thing.arn}:topic/{topic}")
    assert repr(by_arn) == repr(why)
    apply_suggestions(lab, why)
    allowed = aws.why(thing.name, action="iot:Publish", resource=topic)
    assert allowed.allowed
    assert repr(allowed).startswith(f"Client ID '{thing.name}', publish: allowed.\n")
    connect = aws.why(thing.name)
    assert connect.allowed
    assert connect.entry["resource"] == f"client/{thing.name}"


def test_an_action_that_test_authorization_does_not_cover(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing(CONNECT_ONLY)
    why = lab.why(thing.name, action="iot:GetThingShadow", resource=thing.name)
    assert why.entry is not None
    assert why.entry["resource"] == f"thing/{thing.name}"
    assert why.suggestions


def test_a_request_without_a_certificate(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    lab.client("iot").update_certificate(certificateId=thing.certificate_id, newStatus="INACTIVE")
    aws: Any = OnAws(lab)
    assert "certificate is INACTIVE" in aws.why(thing.name).summary
    assert "no certificate is attached" in aws.why("never-seen").summary


@pytest.mark.parametrize(
    ("of", "question", "message"),
    [
        (None, {"action": "iot:Publish", "resource": "a"}, "Name the Thing, the action"),
        ("Test2", {"action": "iot:Publish"}, "Name the Thing, the action"),
    ],
)
def test_an_incomplete_request(lab: Lab, of: str | None, question: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lab.why(of, **question)


def test_an_action_that_does_not_exist(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    with pytest.raises(ValueError, match="'iot:Publsh' is not a device action"):
        lab.why(thing.name, action="iot:Publsh", resource="a")


def test_the_decision_here_is_that_of_the_account(lab: Lab, new_thing: Callable[..., Any]) -> None:
    """The effective access read through boto3 decides as TestAuthorization does."""
    from creeklab.diagnosis.effective_access import load_effective_access, test_authorization

    iot = lab.client("iot")
    variables = [
        *("iot:ClientId", "iot:CertificateId", "iot:Certificate.Subject.CommonName"),
        *("iot:Connection.Thing.ThingName", "iot:Connection.Thing.Attributes[site]"),
    ]
    statements = [
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"ARN:topic/{n}/${{{name}}}"}
        for n, name in enumerate(variables)
    ]
    thing = new_thing(statements)
    iot.update_thing(thingName=thing.name, attributePayload={"attributes": {"site": "elkhorn"}})
    iot.create_thing_group(thingGroupName=f"{thing.name}-group")
    iot.add_thing_to_thing_group(thingGroupName=f"{thing.name}-group", thingName=thing.name)
    group = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"{thing.arn}:topic/group"}
            ],
        }
    )
    iot.create_policy(policyName=f"{thing.name}-g", policyDocument=group)
    target = iot.describe_thing_group(thingGroupName=f"{thing.name}-group")["thingGroupArn"]
    iot.attach_policy(policyName=f"{thing.name}-g", target=target)
    values = [thing.name, thing.certificate_id, "AWS IoT Certificate", thing.name, "elkhorn"]
    topics = [f"{n}/{value}" for n, value in enumerate(values)] + ["0/other", "group"]
    seen = set()
    for client in (thing.name, "other"):
        known = load_effective_access(iot, client, thing.certificate_arn)
        for topic in topics:
            resource = f"{thing.arn}:topic/{topic}"
            decision = known.authorizer().decide("iot:Publish", resource).outcome
            assert decision == test_authorization(iot, known, "iot:Publish", resource)
            seen.add((client == "other", topic, decision))
    assert (False, "group", "ALLOWED") in seen
    assert (True, "group", "IMPLICIT_DENY") in seen
    assert (False, f"4/{values[4]}", "ALLOWED") in seen
    assert (True, "0/other", "ALLOWED") in seen


def test_a_request_on_aws_needs_no_admin_api(lab: Lab) -> None:
    aws: Any = OnAws(lab)
    assert aws.why().entry is None
    with pytest.raises(ValueError, match="Name the Thing, the action"):
        aws.why(action="iot:Publish", resource="creek/depth")


def test_a_client_without_an_id(lab: Lab, new_thing: Callable[..., Any]) -> None:
    files = new_thing().files
    address = (lab.endpoint, lab.mqtt_port)
    with pytest.raises(ConnectionError):
        PacketClient(
            address, files.ca, files.certificate, files.private_key, "", version=4, expiry=1
        )
    assert "client ID" in lab.why().summary


def test_an_assigned_client_id_is_never_suggested(lab: Lab, new_thing: Callable[..., Any]) -> None:
    own = [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "ARN:client/THING"}]
    thing = new_thing(own)
    files, address = thing.files, (lab.endpoint, lab.mqtt_port)
    with pytest.raises(ConnectionError):
        PacketClient(address, files.ca, files.certificate, files.private_key, "", version=5)
    why = lab.why(thing.name)
    assert why.summary.startswith("The client sent no client ID, so the broker assigned a random")
    assert why.suggestions == ()
    assert repr(why).startswith("Connect: refused at ")


def test_a_faulty_client_id() -> None:
    assert check_client_id("Test2") is None
    assert check_client_id("$a") == (
        "The client ID '$a' begins with $, which is reserved. Choose another."
    )
    assert check_client_id("ä" * 65) == (
        f"The client ID '{'ä' * 40}...' has 130 bytes; the maximum is 128. Choose a shorter one."
    )
