"""The ledger: it records resources that are created through the lab, and no others.

Plain boto3 and devices create them on a local cloud. The resources of others come from a boto3
client that the lab does not observe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from creeklab import Lab, open_lab
from creeklab.client.key_files import certificate_id
from creeklab.cloud import supervisor
from creeklab.ledger.cost import Usage
from creeklab.ledger.ledger_file import LedgerFile
from creeklab.ledger.recorded import RecordedResources
from creeklab.resources.resource import Resource, ResourceKind

POLICY_TEXT = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
    }
)


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("ledger")
    yield open_lab(home=home)
    supervisor.stop(home)


def others(lab: Lab, service: str) -> Any:
    """Return a client of the account that the lab does not observe."""
    keys = lab.session.get_credentials()
    assert keys is not None
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=lab.region,
        endpoint_url=f"https://{lab.endpoint}:{lab.https_port}",
        verify=str(lab.ca_file),
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
    )


@pytest.fixture(scope="module")
def theirs(own_lab: Lab) -> Any:
    return others(own_lab, "iot")


@pytest.fixture(scope="module")
def iot(own_lab: Lab) -> Any:
    return own_lab.client("iot")


@pytest.fixture(scope="module")
def data(own_lab: Lab) -> Any:
    return own_lab.client("iot-data")


# --- what calls make and remove -------------------------------------------------------------------


def test_calls_that_create_and_delete_are_recorded(own_lab: Lab, iot: Any, data: Any) -> None:
    has = own_lab.ledger.has
    iot.create_thing(thingName="recorded")
    iot.create_thing_type(thingTypeName="recorded-type")
    iot.create_thing_group(thingGroupName="recorded-group")
    answer = iot.create_keys_and_certificate(setAsActive=True)
    number, arn = answer["certificateId"], answer["certificateArn"]
    plain = iot.create_keys_and_certificate()["certificateId"]  # a request without members
    iot.create_policy(policyName="recorded-policy", policyDocument=POLICY_TEXT)
    iot.create_policy_version(policyName="recorded-policy", policyDocument=POLICY_TEXT)
    iot.attach_thing_principal(thingName="recorded", principal=arn)
    iot.attach_policy(policyName="recorded-policy", target=arn)
    iot.add_thing_to_thing_group(thingGroupName="recorded-group", thingName="recorded")
    data.update_thing_shadow(thingName="recorded", payload='{"state": {}}')
    data.update_thing_shadow(thingName="recorded", shadowName="n", payload='{"state": {}}')
    data.publish(topic="recorded/topic", retain=True, payload=b"x")

    for made in [
        (ResourceKind.THING, "recorded"),
        (ResourceKind.THING_TYPE, "recorded-type"),
        (ResourceKind.THING_GROUP, "recorded-group"),
        (ResourceKind.CERTIFICATE, number),
        (ResourceKind.CERTIFICATE, plain),
        (ResourceKind.POLICY, "recorded-policy"),
        (ResourceKind.POLICY_VERSION, "recorded-policy", "2"),
        (ResourceKind.THING_PRINCIPAL, "recorded", arn),
        (ResourceKind.POLICY_TARGET, "recorded-policy", arn),
        (ResourceKind.GROUP_MEMBER, "recorded-group", "recorded"),
        (ResourceKind.RETAINED_MESSAGE, "recorded/topic"),
    ]:
        assert has(*made), made
    table = own_lab.ledger.resources()
    assert Resource(ResourceKind.SHADOW, ("recorded", "")) in table
    assert Resource(ResourceKind.SHADOW, ("recorded", "n")) in table
    assert (
        Resource(ResourceKind.POLICY_VERSION, ("recorded-policy", "2")) not in table
    )  # deleted with its policy
    assert own_lab.ledger.resources() == table

    data.publish(topic="recorded/topic", retain=True, payload=b"")
    data.delete_thing_shadow(thingName="recorded", shadowName="n")
    data.delete_thing_shadow(thingName="recorded")
    iot.remove_thing_from_thing_group(thingGroupName="recorded-group", thingName="recorded")
    iot.detach_policy(policyName="recorded-policy", target=arn)
    iot.detach_thing_principal(thingName="recorded", principal=arn)
    iot.delete_policy_version(policyName="recorded-policy", policyVersionId="2")
    iot.delete_policy(policyName="recorded-policy")
    iot.update_certificate(certificateId=number, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=number)
    iot.delete_certificate(certificateId=plain)
    iot.delete_thing_group(thingGroupName="recorded-group")
    iot.delete_thing(thingName="recorded")
    left = [
        one
        for one in own_lab.ledger.resources()
        if one.names[0] in (number, plain) or "recorded" in str(one)
    ]
    assert left == [Resource(ResourceKind.THING_TYPE, ("recorded-type",))]


@pytest.mark.parametrize("way", ["csr", "without-ca"])
def test_certificates_from_other_calls(way: str, own_lab: Lab, iot: Any) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    if way == "csr":
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        pem = request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
        answer = iot.create_certificate_from_csr(certificateSigningRequest=pem)
    else:
        pem = iot.create_keys_and_certificate()["certificatePem"]
        number = certificate_id(pem)
        iot.delete_certificate(certificateId=number)
        assert not own_lab.ledger.has(ResourceKind.CERTIFICATE, number)
        answer = iot.register_certificate_without_ca(certificatePem=pem)
    assert own_lab.ledger.has(ResourceKind.CERTIFICATE, answer["certificateId"])


def test_refused_calls_are_not_recorded(own_lab: Lab, iot: Any) -> None:
    before = own_lab.ledger.resources()
    for call, asked in [
        (iot.create_policy, {"policyName": "bad", "policyDocument": "{"}),
        (iot.create_thing, {"thingName": "no spaces, please"}),
        (iot.attach_policy, {"policyName": "missing", "target": "arn:aws:iot:x:1:cert/0"}),
    ]:
        with pytest.raises(ClientError):
            call(**asked)
    assert own_lab.ledger.resources() == before


def test_a_reopened_lab_knows_its_resources(own_lab: Lab, iot: Any) -> None:
    iot.create_thing(thingName="outlives")
    again = open_lab(home=own_lab.home)
    assert again.ledger.has(ResourceKind.THING, "outlives")
    again.client("iot").delete_thing(thingName="outlives")
    assert not own_lab.ledger.has(ResourceKind.THING, "outlives")


# --- what others have made ------------------------------------------------------------------------


def test_existing_resources_are_foreign_although_the_call_succeeds(
    own_lab: Lab, iot: Any, theirs: Any
) -> None:
    has = own_lab.ledger.has
    theirs.create_thing(thingName="theirs")
    theirs.create_thing_group(thingGroupName="their-group")
    theirs.create_policy(policyName="their-policy", policyDocument=POLICY_TEXT)
    arn = theirs.create_keys_and_certificate()["certificateArn"]
    theirs.attach_thing_principal(thingName="theirs", principal=arn)
    theirs.attach_policy(policyName="their-policy", target=arn)
    theirs.add_thing_to_thing_group(thingGroupName="their-group", thingName="theirs")

    iot.create_thing(thingName="theirs")
    iot.create_thing_group(thingGroupName="their-group")
    iot.attach_thing_principal(thingName="theirs", principal=arn)
    iot.attach_policy(policyName="their-policy", target=arn)
    iot.add_thing_to_thing_group(thingGroupName="their-group", thingName="theirs")
    assert not has(ResourceKind.THING, "theirs")
    assert not has(ResourceKind.THING_GROUP, "their-group")
    assert not has(ResourceKind.THING_PRINCIPAL, "theirs", arn)
    assert not has(ResourceKind.POLICY_TARGET, "their-policy", arn)
    assert not has(ResourceKind.GROUP_MEMBER, "their-group", "theirs")

    # An attachment that this lab creates is its own, no matter who owns the ends.
    theirs.detach_policy(policyName="their-policy", target=arn)
    iot.attach_policy(policyName="their-policy", target=arn)
    assert has(ResourceKind.POLICY_TARGET, "their-policy", arn)
    iot.detach_policy(policyName="their-policy", target=arn)


def test_a_shadow_of_others_is_foreign(own_lab: Lab, iot: Any, data: Any) -> None:
    others(own_lab, "iot-data").update_thing_shadow(thingName="shadowed", payload='{"state": {}}')
    data.update_thing_shadow(thingName="shadowed", payload='{"state": {}}')
    data.update_thing_shadow(thingName="unshadowed", payload='{"state": {}}')
    made = own_lab.ledger.resources()
    assert Resource(ResourceKind.SHADOW, ("shadowed", "")) not in made
    assert Resource(ResourceKind.SHADOW, ("unshadowed", "")) in made
    data.delete_thing_shadow(thingName="unshadowed")
    data.update_thing_shadow(thingName="unshadowed", payload='{"state": {}}')
    assert Resource(ResourceKind.SHADOW, ("unshadowed", "")) in own_lab.ledger.resources()


# --- devices --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(own_lab: Lab) -> str:
    """Return a Thing that is allowed everything."""
    own_lab.catch_up("05-mqtt")
    return "TestClient"


def test_messages_that_create_a_shadow_or_are_retained(own_lab: Lab, client: str) -> None:
    others(own_lab, "iot-data").update_thing_shadow(thingName="their-own", payload='{"state": {}}')
    with own_lab.connect(client) as device:
        answers = device.subscribe("$aws/things/+/shadow/update/accepted")
        for thing in ("without-thing", "their-own", "Test2"):
            device.publish(f"$aws/things/{thing}/shadow/update", {"state": {"reported": {"a": 1}}})
        answers.wait_for(3)
        device.shadow.update(reported={"a": 1}, name="named")
        device.publish("creek/last", {"ft": 1.4}, retain=True)
        device.publish("creek/first", {"ft": 1.4}, retain=True)
        device.publish("creek/first", b"", retain=True)
    made = own_lab.ledger.resources()
    shadows = {one.names for one in made if one.kind == ResourceKind.SHADOW}
    assert {("without-thing", ""), ("Test2", ""), (client, "named")} <= shadows
    assert ("their-own", "") not in shadows
    assert [one.names for one in made if one.kind == ResourceKind.RETAINED_MESSAGE] == [
        ("creek/last",)
    ]


def test_a_refused_retained_message_is_not_recorded(own_lab: Lab, client: str, iot: Any) -> None:
    from creeklab.client.device import RequestRefused

    with own_lab.connect("Test2") as device, pytest.raises(RequestRefused):
        device.publish("not/allowed", "x", retain=True)
    assert not own_lab.ledger.has(ResourceKind.RETAINED_MESSAGE, "not/allowed")


def test_messages_are_counted_as_in_the_event_log(own_lab: Lab, client: str) -> None:
    """CONNECT, SUBSCRIBE, PUBLISH in and out, and PUBACK, in steps of 5 KB."""
    after = int(own_lab.events().index.max())
    before = own_lab.ledger.cost().usage
    with own_lab.connect(client, client_id="counted") as device:
        inbox = device.subscribe("counted/#")
        device.publish("counted/small", "x")
        device.publish("counted/zero", "x", qos=0)
        device.publish("counted/large", b"x" * 12_000)
        inbox.wait_for(3)
        device.subscribe("others/+")
        device.shadow.update(reported={"counted": True})
        device.shadow.get()
        device.shadow.delete()
    use = own_lab.ledger.cost().usage

    log = own_lab.events(after=after)
    sent = log[(log["client_id"] == "counted") & (log["kind"] == "publish")]
    got = log[log["to"].apply(lambda to: isinstance(to, list) and "counted" in to)]
    subscribed = log[(log["client_id"] == "counted") & (log["kind"] == "subscribe")]
    assert (len(subscribed), len(sent), len(got)) == (2 + 2 + 1 + 1, 3 + 3, 3 + 3)
    extra = 2 + 2  # the large message, in and out
    acknowledged = len(got) - 1  # without those received at QoS 0
    assert use.messages - before.messages == (
        1 + len(subscribed) + len(sent) + len(got) + acknowledged + extra
    )
    assert use.minutes - before.minutes == 1
    assert use.operations - before.operations == 3


def test_only_billed_calls_are_counted(own_lab: Lab, iot: Any, data: Any) -> None:
    def used(call: Callable[..., Any], **asked: Any) -> Usage:
        before = own_lab.ledger.cost().usage.counts()
        call(**asked)
        after = own_lab.ledger.cost().usage.counts()
        return Usage(**{name: after[name] - before[name] for name in after})

    assert used(iot.describe_endpoint) == Usage()
    assert used(iot.list_policies) == Usage()
    assert used(iot.list_things) == Usage(operations=1)
    assert used(data.publish, topic="a/b", payload=b"x" * 6000) == Usage(messages=2)
    large = json.dumps({"state": {"reported": {"a": "x" * 3000}}})
    before = own_lab.ledger.has(ResourceKind.THING, "Test2")
    assert before  # so its shadow is not looked up first
    assert used(data.update_thing_shadow, thingName="Test2", payload=large) == Usage(operations=4)
    assert used(data.get_thing_shadow, thingName="Test2") == Usage(operations=4)


def test_a_reset_clears_the_resources_and_keeps_the_usage(home: Path) -> None:
    lab = open_lab(home=home)
    lab.client("iot").create_thing(thingName="before")
    used = lab.ledger.cost().usage
    assert used
    lab.reset()
    again = open_lab(home=home)
    assert again.ledger.resources() == ()
    assert repr(again.ledger.resources()) == "No resource of this lab exists."
    assert again.ledger.cost().usage == used


# --- how it reads -----------------------------------------------------------------------------


def test_the_table_names_a_certificate_by_its_thing(own_lab: Lab, client: str) -> None:
    table = own_lab.ledger.resources()
    number = own_lab.keys.files("Test2").certificate_id
    rows = table.rows()
    assert ("Thing", "Test2") in rows
    assert ("certificate", number) in rows
    assert ("attachment", "policy 'Test2Policy' on certificate of 'Test2'") in rows
    assert "<td" in table._repr_html_()
    for text in (repr(table), table._repr_html_()):
        assert "Test2Policy" in text
        assert "PRIVATE" not in text


def test_no_key_is_in_the_ledger(own_lab: Lab, iot: Any) -> None:
    answer = iot.create_keys_and_certificate()
    text = LedgerFile.of(own_lab.home, own_lab.account).file.read_text()
    assert answer["certificateId"] in text
    assert answer["keyPair"]["PrivateKey"][100:140] not in text
    assert "BEGIN" not in text


# --- pure: what is there after a row of entries -----------------------------------------------


def make(kind: str, *names: str) -> dict[str, Any]:
    return {"did": "make", "kind": kind, "names": list(names)}


def remove(kind: str, *names: str) -> dict[str, Any]:
    return {"did": "remove", "kind": kind, "names": list(names)}


CERT = "arn:aws:iot:us-east-1:123456789012:cert/0a"
GROUP_ARN = "arn:aws:iot:us-east-1:123456789012:thinggroup/g"
ALL = [
    make(ResourceKind.THING, "t"),
    make(ResourceKind.CERTIFICATE, "0a"),
    make(ResourceKind.POLICY, "p"),
    make(ResourceKind.THING_GROUP, "g"),
    make(ResourceKind.POLICY_VERSION, "p", "2"),
    make(ResourceKind.THING_PRINCIPAL, "t", CERT),
    make(ResourceKind.POLICY_TARGET, "p", CERT),
    make(ResourceKind.POLICY_TARGET, "p", GROUP_ARN),
    make(ResourceKind.GROUP_MEMBER, "g", "t"),
]


def there(entries: list[dict[str, Any]]) -> list[Resource]:
    return list(RecordedResources().after(entries))


@pytest.mark.parametrize(
    ("gone", "goes_with_it"),
    [
        (
            remove(ResourceKind.THING, "t"),
            {ResourceKind.THING_PRINCIPAL, ResourceKind.GROUP_MEMBER},
        ),
        (
            remove(ResourceKind.CERTIFICATE, "0a"),
            {ResourceKind.THING_PRINCIPAL, ResourceKind.POLICY_TARGET},
        ),
        (
            remove(ResourceKind.POLICY, "p"),
            {ResourceKind.POLICY_VERSION, ResourceKind.POLICY_TARGET},
        ),
        (
            remove(ResourceKind.THING_GROUP, "g"),
            {ResourceKind.GROUP_MEMBER, ResourceKind.POLICY_TARGET},
        ),
        (remove(ResourceKind.GROUP_MEMBER, "g", "t"), set()),
        (remove(ResourceKind.THING, "another"), set()),
        (remove(ResourceKind.CERTIFICATE, "a"), set()),
    ],
)
def test_deleted_resources_take_dependent_ones_along(
    gone: dict[str, Any], goes_with_it: set[str]
) -> None:
    before, after = there(ALL), there([*ALL, gone])
    lost = [one for one in before if one not in after]
    named = Resource(gone["kind"], tuple(gone["names"]))
    assert {one.kind for one in lost if one != named} == goes_with_it


def test_a_reset_entry_clears_and_other_entries_are_ignored() -> None:
    assert there([*ALL, {"did": "reset"}]) == []
    assert there([{"did": "use", "messages": 1}, {}, *ALL, *ALL]) == there(ALL)
    assert there([*ALL, {"did": "reset"}, make(ResourceKind.THING, "t")]) == [
        Resource(ResourceKind.THING, ("t",))
    ]


def test_new_entries_are_applied_incrementally() -> None:
    inventory = RecordedResources()
    rows = [*ALL, remove(ResourceKind.THING, "t"), make(ResourceKind.THING, "t")]
    for end in range(len(rows) + 1):
        assert list(inventory.after(rows[:end])) == there(rows[:end])
    assert Resource(ResourceKind.THING, ("t",)) in inventory
    assert list(inventory.after(ALL[:1])) == there(ALL[:1])  # a shorter file is another file


def test_an_invalid_call_fails_with_its_own_error(lab: Lab) -> None:
    with pytest.raises(ClientError, match="calling the CreateThing operation"):
        lab.client("iot").create_thing(thingName="my thing")
    assert ("Thing", "my thing") not in lab.ledger.resources().rows()
