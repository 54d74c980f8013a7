"""Registry events: the message on each topic, and that all are disabled at first."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.account_settings import EVENT_TYPES
from creeklab.cloud.registry.event_publisher import RegistryEventPublisher
from tests.cloud.iot_fixture import ALLOW, ARN, Clock, certificate, refusal, thing


class Heard(list[tuple[str, dict[str, Any]]]):
    """The messages published below ``$aws/events/``, without the members of every message."""

    def __init__(self) -> None:
        self._ids: set[uuid.UUID] = set()

    def publish(self, topic: str, payload: bytes, qos: int) -> None:
        message = json.loads(payload)
        assert qos == 1
        event_id = uuid.UUID(message.pop("eventId"))
        assert event_id not in self._ids
        self._ids.add(event_id)
        assert message.pop("accountId", "123456789012") == "123456789012"
        assert message.pop("timestamp") // 1000 >= 1_800_000_000
        self.append((topic.removeprefix("$aws/events/"), message))

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _ in self]


@pytest.fixture
def heard(iot_registry: Registry, clock: Clock) -> Heard:
    heard = Heard()
    iot_registry.change_listeners.append(
        RegistryEventPublisher(iot_registry, heard.publish, clock).on_change
    )
    return heard


def switch(iot: Any, *names: str, on: bool = True) -> None:
    iot.update_event_configurations(eventConfigurations={name: {"Enabled": on} for name in names})


def everything(iot: Any) -> None:
    """Make every change that has an event."""
    iot.create_thing_type(thingTypeName="gauge")
    iot.create_thing(thingName="Test2", thingTypeName="gauge")
    iot.create_thing_group(thingGroupName="creeks")
    iot.create_thing_group(thingGroupName="plumtree", parentGroupName="creeks")
    iot.add_thing_to_thing_group(thingName="Test2", thingGroupName="plumtree")
    iot.create_policy(policyName="p", policyDocument=ALLOW)
    certificate(iot)


def test_all_events_start_disabled_and_are_enabled_one_by_one(iot: Any, heard: Heard) -> None:
    off = {name: {"Enabled": False} for name in EVENT_TYPES}
    assert iot.describe_event_configurations() == {"eventConfigurations": off}
    everything(iot)
    assert heard == []
    switch(iot, "THING", "POLICY")
    first = iot.describe_event_configurations()
    on = {**off, "THING": {"Enabled": True}, "POLICY": {"Enabled": True}}
    assert first["eventConfigurations"] == on
    assert first["creationDate"] == first["lastModifiedDate"]
    switch(iot, "THING", on=False)
    iot.update_event_configurations(eventConfigurations={"POLICY": {}})
    second = iot.describe_event_configurations()
    assert second["eventConfigurations"] == off
    assert second["creationDate"] == first["creationDate"]
    assert second["lastModifiedDate"] > first["lastModifiedDate"]
    iot.update_event_configurations()


@pytest.mark.parametrize(
    ("event_type", "topics"),
    [
        ("THING", ["thing/Test2/created"]),
        ("THING_TYPE", ["thingType/gauge/created"]),
        ("THING_TYPE_ASSOCIATION", ["thingTypeAssociation/thing/Test2/gauge"]),
        ("THING_GROUP", ["thingGroup/creeks/created", "thingGroup/plumtree/created"]),
        (
            "THING_GROUP_MEMBERSHIP",
            ["thingGroupMembership/thingGroup/plumtree/thing/Test2/added"],
        ),
        (
            "THING_GROUP_HIERARCHY",
            ["thingGroupHierarchy/thingGroup/creeks/childThingGroup/plumtree/added"],
        ),
        ("POLICY", []),
        ("CERTIFICATE", []),
        ("CA_CERTIFICATE", []),
        ("JOB", []),
        ("JOB_EXECUTION", []),
    ],
)
def test_each_event_type_enables_only_its_own_events(
    iot: Any, heard: Heard, event_type: str, topics: list[str]
) -> None:
    switch(iot, event_type)
    everything(iot)
    assert heard.topics == topics


def test_things(iot: Any, heard: Heard) -> None:
    switch(iot, "THING")
    thing(iot, site="plumtree")
    thing(iot, site="plumtree")  # the same again is not announced
    iot.update_thing(thingName="Test2", attributePayload={"attributes": {"site": "broad"}})
    refusal(lambda: iot.update_thing(thingName="Test2", expectedVersion=9))
    iot.delete_thing(thingName="Test2")
    iot.delete_thing(thingName="Test2")
    thing_id = heard[0][1]["thingId"]
    assert str(uuid.UUID(thing_id)) == thing_id
    assert heard == [
        (
            f"thing/Test2/{operation.lower()}",
            {
                "eventType": "THING_EVENT",
                "operation": operation,
                "thingId": thing_id,
                "thingName": "Test2",
                "versionNumber": version,
                "thingTypeName": None,
                "attributes": {"site": site},
            },
        )
        for operation, version, site in (
            ("CREATED", 1, "plumtree"),
            ("UPDATED", 2, "broad"),
            ("DELETED", 2, "broad"),
        )
    ]


def test_thing_types(iot: Any, heard: Heard, clock: Clock) -> None:
    switch(iot, "THING_TYPE")
    properties = {"searchableAttributes": ["site"], "thingTypeDescription": "a gauge"}
    made = iot.create_thing_type(thingTypeName="gauge", thingTypeProperties=properties)
    iot.update_thing_type(thingTypeName="gauge", thingTypeProperties={})
    deprecated_at = int(clock.now * 1000)
    iot.deprecate_thing_type(thingTypeName="gauge")
    iot.deprecate_thing_type(thingTypeName="gauge")  # it is deprecated already: not announced
    clock.now += 300
    iot.delete_thing_type(thingTypeName="gauge")
    assert heard == [
        (
            f"thingType/gauge/{operation.lower()}",
            {
                "eventType": "THING_TYPE_EVENT",
                "operation": operation,
                "thingTypeId": made["thingTypeId"],
                "thingTypeName": "gauge",
                "isDeprecated": since is not None,
                "deprecationDate": since,
                "searchableAttributes": ["site"],
                "description": "a gauge",
            },
        )
        for operation, since in (
            ("CREATED", None),
            ("UPDATED", None),
            ("UPDATED", deprecated_at),
            ("DELETED", deprecated_at),
        )
    ]


def test_the_type_of_a_thing(iot: Any, heard: Heard) -> None:
    for name in ("gauge", "pump"):
        iot.create_thing_type(thingTypeName=name)
    switch(iot, "THING_TYPE_ASSOCIATION")
    thing_id = iot.create_thing(thingName="Test2", thingTypeName="gauge")["thingId"]
    iot.update_thing(thingName="Test2", thingTypeName="gauge")  # it has it: not announced
    iot.update_thing(thingName="Test2", thingTypeName="pump")
    iot.update_thing(thingName="Test2", removeThingType=True)
    assert heard == [
        (
            f"thingTypeAssociation/thing/Test2/{name}",
            {
                "eventType": "THING_TYPE_ASSOCIATION_EVENT",
                "operation": operation,
                "thingId": thing_id,
                "thingName": "Test2",
                "thingTypeName": name,
            },
        )
        for operation, name in (
            ("CREATED", "gauge"),
            ("DELETED", "gauge"),
            ("CREATED", "pump"),
            ("DELETED", "pump"),
        )
    ]


def test_thing_groups(iot: Any, heard: Heard) -> None:
    switch(iot, "THING_GROUP", "THING_GROUP_HIERARCHY")
    root = iot.create_thing_group(thingGroupName="creeks")["thingGroupId"]
    middle = iot.create_thing_group(thingGroupName="plumtree", parentGroupName="creeks")
    heard.clear()
    properties = {"thingGroupDescription": "of the county"}
    leaf = iot.create_thing_group(
        thingGroupName="upper", parentGroupName="plumtree", thingGroupProperties=properties
    )["thingGroupId"]
    attributes = {"attributePayload": {"attributes": {"county": "Harford"}}}
    iot.update_thing_group(thingGroupName="upper", thingGroupProperties=attributes)
    iot.delete_thing_group(thingGroupName="upper")

    def about(operation: str, version: int, attributes: dict[str, str]) -> tuple[str, Any]:
        return (
            f"thingGroup/upper/{operation.lower()}",
            {
                "eventType": "THING_GROUP_EVENT",
                "operation": operation,
                "thingGroupId": leaf,
                "thingGroupName": "upper",
                "versionNumber": version,
                "parentGroupName": "plumtree",
                "parentGroupId": middle["thingGroupId"],
                "description": "of the county",
                "rootToParentThingGroups": [
                    {"groupName": name, "groupArn": ARN + "thinggroup/" + name}
                    for name in ("plumtree", "creeks")
                ],
                "attributes": attributes,
            },
        )

    def place(operation: str) -> tuple[str, Any]:
        prefix = "thingGroupHierarchy/thingGroup/plumtree/childThingGroup/upper/"
        return (
            prefix + operation.lower(),
            {
                "eventType": "THING_GROUP_HIERARCHY_EVENT",
                "operation": operation,
                "thingGroupId": middle["thingGroupId"],
                "thingGroupName": "plumtree",
                "childGroupId": leaf,
                "childGroupName": "upper",
            },
        )

    assert heard == [
        about("CREATED", 1, {}),
        place("ADDED"),
        about("UPDATED", 2, {"county": "Harford"}),
        place("REMOVED"),
        about("DELETED", 2, {"county": "Harford"}),
    ]
    heard.clear()
    iot.delete_thing_group(thingGroupName="plumtree")
    iot.delete_thing_group(thingGroupName="creeks")
    assert heard.topics[-1] == "thingGroup/creeks/deleted"
    last = heard[-1][1]
    assert (last["thingGroupId"], last["parentGroupName"], last["parentGroupId"]) == (
        root,
        None,
        None,
    )
    assert last["rootToParentThingGroups"] is None


def test_membership(iot: Any, heard: Heard) -> None:
    switch(iot, "THING_GROUP_MEMBERSHIP")
    thing_id = iot.create_thing(thingName="Test2")["thingId"]
    group_id = iot.create_thing_group(thingGroupName="creeks")["thingGroupId"]
    for operation in (iot.add_thing_to_thing_group, iot.remove_thing_from_thing_group):
        for _ in range(2):  # the second time is not announced
            operation(thingName="Test2", thingGroupName="creeks")
    membership = heard[0][1]["membershipId"]
    assert heard == [
        (
            f"thingGroupMembership/thingGroup/creeks/thing/Test2/{operation.lower()}",
            {
                "eventType": "THING_GROUP_MEMBERSHIP_EVENT",
                "operation": operation,
                "groupArn": ARN + "thinggroup/creeks",
                "groupId": group_id,
                "thingArn": ARN + "thing/Test2",
                "thingId": thing_id,
                "membershipId": membership,
            },
        )
        for operation in ("ADDED", "REMOVED")
    ]


def test_a_failed_call_publishes_nothing(iot: Any, heard: Heard, iot_registry: Registry) -> None:
    switch(iot, "THING")
    told: list[object] = []
    iot_registry.change_listeners.append(told.append)
    refusal(lambda: iot.create_thing(thingName="t", thingTypeName="none"))
    thing(iot)
    iot.attach_thing_principal(thingName="Test2", principal=certificate(iot))
    told.clear()
    heard.clear()
    refusal(lambda: iot.delete_thing(thingName="Test2"))
    assert (told, heard) == ([], [])


# --- logging options ------------------------------------------------------------------------------


def test_logging_options(iot: Any) -> None:
    code, _ = refusal(iot.get_v2_logging_options)
    assert code == "NotConfiguredException"
    role = "arn:aws:iam::123456789012:role/logs"
    iot.set_v2_logging_options(roleArn=role, defaultLogLevel="INFO")
    first = {"roleArn": role, "defaultLogLevel": "INFO", "disableAllLogs": False}
    assert iot.get_v2_logging_options() == first
    events = [{"eventType": "Connect", "logLevel": "DEBUG"}]
    iot.set_v2_logging_options(disableAllLogs=True, eventConfigurations=events)
    assert iot.get_v2_logging_options() == {**first, "disableAllLogs": True}
    assert iot.get_v2_logging_options(verbose=True) == {
        **first,
        "disableAllLogs": True,
        "eventConfigurations": events,
    }
    iot.set_v2_logging_options(defaultLogLevel="ERROR")
    assert iot.get_v2_logging_options() == {**first, "defaultLogLevel": "ERROR"}
