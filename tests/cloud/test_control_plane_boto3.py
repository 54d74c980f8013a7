"""The control plane through boto3, and its effects on connected devices."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from creeklab import Lab
from creeklab.client.device import RequestRefused
from tests.conftest import NewThing

SECONDS = 10.0
MakeThing = Callable[..., NewThing]


@pytest.fixture
def thing_events(lab: Lab) -> Iterator[None]:
    iot = lab.client("iot")

    def switch(enabled: bool) -> None:
        kinds = ("THING", "THING_GROUP_MEMBERSHIP")
        iot.update_event_configurations(
            eventConfigurations={kind: {"Enabled": enabled} for kind in kinds}
        )

    switch(True)
    yield
    switch(False)


@pytest.mark.usefixtures("thing_events")
def test_a_device_receives_registry_events(lab: Lab, new_thing: MakeThing) -> None:
    watcher, iot = new_thing(), lab.client("iot")
    with lab.connect(watcher.name) as device:
        things = device.subscribe("$aws/events/thing/#")
        members = device.subscribe("$aws/events/thingGroupMembership/#")
        iot.create_thing(thingName="heard-of", attributePayload={"attributes": {"site": "creek"}})
        iot.create_thing_group(thingGroupName="heard-of")
        iot.add_thing_to_thing_group(thingName="heard-of", thingGroupName="heard-of")
        iot.delete_thing(thingName="heard-of")
        iot.delete_thing_group(thingGroupName="heard-of")
        created, deleted = things.wait_for(2, timeout=SECONDS)
        (added,) = members.wait_for(1, timeout=SECONDS)
        assert created.topic == "$aws/events/thing/heard-of/created"
        assert deleted.topic == "$aws/events/thing/heard-of/deleted"
        path = "thingGroupMembership/thingGroup/heard-of/thing/heard-of"
        assert added.topic == f"$aws/events/{path}/added"
        event = created.json
        assert (event["eventType"], event["operation"]) == ("THING_EVENT", "CREATED")
        assert event["accountId"] == lab.account
        assert event["attributes"] == {"site": "creek"}


@pytest.mark.usefixtures("thing_events")
def test_a_thing_changes_groups_and_a_type_its_properties(lab: Lab, new_thing: MakeThing) -> None:
    watcher, iot = new_thing(), lab.client("iot")
    groups = ("uphill", "downhill")
    with lab.connect(watcher.name) as device:
        members = device.subscribe("$aws/events/thingGroupMembership/#")
        for name in groups:
            iot.create_thing_group(thingGroupName=name)
        thing = {"thingName": watcher.name}
        iot.update_thing_groups_for_thing(**thing, thingGroupsToAdd=["uphill"])
        iot.update_thing_groups_for_thing(
            **thing, thingGroupsToAdd=["downhill"], thingGroupsToRemove=["uphill"]
        )
        topics = [message.topic for message in members.wait_for(3, timeout=SECONDS)]
        assert [topic.split("/", 4)[-1] for topic in topics] == [
            f"uphill/thing/{watcher.name}/added",
            f"uphill/thing/{watcher.name}/removed",
            f"downhill/thing/{watcher.name}/added",
        ]
        listed = iot.list_thing_groups_for_thing(**thing)["thingGroups"]
        assert [group["groupName"] for group in listed] == ["downhill"]
        with pytest.raises(ClientError, match="thing group none does not exist"):
            iot.update_thing_groups_for_thing(**thing, thingGroupsToAdd=["none"])
        for name in groups:
            iot.delete_thing_group(thingGroupName=name)
    iot.create_thing_type(thingTypeName="hillside")
    properties = {"thingTypeDescription": "above the creek", "searchableAttributes": ["site"]}
    iot.update_thing_type(thingTypeName="hillside", thingTypeProperties=properties)
    assert iot.describe_thing_type(thingTypeName="hillside")["thingTypeProperties"] == properties


def test_a_group_policy_applies_to_a_live_connection(lab: Lab, new_thing: MakeThing) -> None:
    connect = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
    thing, iot = new_thing([connect]), lab.client("iot")
    group = iot.create_thing_group(thingGroupName=f"group-of-{thing.name}")
    policy = f"group-of-{thing.name}"
    topic = f"{thing.arn}:topic/creek/${{iot:Connection.Thing.ThingName}}"
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": topic}
    iot.create_policy(
        policyName=policy,
        policyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    iot.attach_policy(policyName=policy, target=group["thingGroupArn"])
    member = {"thingName": thing.name, "thingGroupName": group["thingGroupName"]}

    def asked() -> str:
        decision: str = iot.test_authorization(
            principal=thing.certificate_arn,
            clientId=thing.name,
            authInfos=[
                {"actionType": "PUBLISH", "resources": [f"{thing.arn}:topic/creek/{thing.name}"]}
            ],
        )["authResults"][0]["authDecision"]
        return decision

    with lab.connect(thing.name) as device:
        assert asked() == "IMPLICIT_DENY"
        with pytest.raises(RequestRefused):
            device.publish(f"creek/{thing.name}", {"depth": 1.4})
        iot.add_thing_to_thing_group(**member)
        assert asked() == "ALLOWED"
        device.publish(f"creek/{thing.name}", {"depth": 1.4})
        iot.remove_thing_from_thing_group(**member)
        assert asked() == "IMPLICIT_DENY"
        with pytest.raises(RequestRefused):
            device.publish(f"creek/{thing.name}", {"depth": 1.4})


def test_connectivity_of_a_thing(lab: Lab, new_thing: MakeThing) -> None:
    thing, iot = new_thing(), lab.client("iot")

    def data(**members: Any) -> dict[str, Any]:
        answer: dict[str, Any] = iot.get_thing_connectivity_data(thingName=thing.name, **members)
        del answer["ResponseMetadata"]
        return answer

    assert data() == {"thingName": thing.name, "connected": False}
    with lab.connect(thing.name):
        here = data()
        assert here["connected"]
        assert here["disconnectReason"] == "NONE"
        assert here["clientId"] == thing.name
        assert "sourceIp" not in here
        sockets = data(includeSocketInformation=True)
        assert sockets["targetPort"] == lab.mqtt_port
        assert sockets["sourceIp"] in ("127.0.0.1", "::1")
        assert sockets["sourcePort"] > 0
        assert here.items() <= sockets.items()
    away = data()
    assert not away["connected"]
    assert away["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    assert away["timestamp"] >= here["timestamp"]
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        iot.get_thing_connectivity_data(thingName="none")


def test_unsupported_operations_are_named(lab: Lab) -> None:
    iot = lab.client("iot")
    for operation, call in (
        ("RegisterCACertificate", lambda: iot.register_ca_certificate(caCertificate="x")),
        ("CreateBillingGroup", lambda: iot.create_billing_group(billingGroupName="x")),
        (
            "CreateDynamicThingGroup",
            lambda: iot.create_dynamic_thing_group(thingGroupName="x", queryString="y"),
        ),
    ):
        with pytest.raises(ClientError, match=f"{operation} is an operation of") as caught:
            call()
        assert caught.value.response["Error"]["Code"] == "NotImplementedException"
