"""Thing types: created, deprecated and, five minutes later, deleted; and Things of a type."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.cloud.iot_fixture import ARN, Clock, refusal, thing

PROPERTIES = {
    "thingTypeDescription": "a stream gauge",
    "searchableAttributes": ["site", "river"],
    "mqtt5Configuration": {
        "propagatingAttributes": [{"userPropertyKey": "site", "thingAttribute": "site"}]
    },
}


def names(answer: dict[str, Any]) -> list[str]:
    return [each["thingTypeName"] for each in answer["thingTypes"]]


def test_from_creation_to_deletion(iot: Any, clock: Clock) -> None:
    began = clock.now
    made = iot.create_thing_type(thingTypeName="gauge", thingTypeProperties=PROPERTIES)
    assert made["thingTypeArn"] == ARN + "thingtype/gauge"
    assert str(uuid.UUID(made["thingTypeId"])) == made["thingTypeId"]
    assert iot.create_thing_type(thingTypeName="gauge", thingTypeProperties=PROPERTIES) == made
    described = {
        "thingTypeName": "gauge",
        "thingTypeId": made["thingTypeId"],
        "thingTypeArn": made["thingTypeArn"],
        "thingTypeProperties": PROPERTIES,
        "thingTypeMetadata": {"deprecated": False, "creationDate": began},
    }
    assert iot.describe_thing_type(thingTypeName="gauge") == described

    code, message = refusal(lambda: iot.delete_thing_type(thingTypeName="gauge"))
    assert code == "InvalidRequestException"
    assert "is not deprecated" in message

    deprecated_at = clock.now
    for _ in range(2):  # the second time changes nothing
        iot.deprecate_thing_type(thingTypeName="gauge")
    metadata = iot.describe_thing_type(thingTypeName="gauge")["thingTypeMetadata"]
    assert metadata == {
        "deprecated": True,
        "deprecationDate": deprecated_at,
        "creationDate": began,
    }

    clock.now = deprecated_at + 299
    code, message = refusal(lambda: iot.delete_thing_type(thingTypeName="gauge"))
    assert code == "InvalidRequestException"
    assert "Wait 1 more seconds" in message
    clock.now = deprecated_at + 300
    iot.delete_thing_type(thingTypeName="gauge")
    assert names(iot.list_thing_types()) == []
    for operation in ("describe_thing_type", "delete_thing_type", "deprecate_thing_type"):
        found = refusal(lambda name=operation: getattr(iot, name)(thingTypeName="gauge"))
        assert found == ("ResourceNotFoundException", "The thing type gauge does not exist.")


def test_undoing_the_deprecation_restarts_the_five_minutes(iot: Any, clock: Clock) -> None:
    iot.create_thing_type(thingTypeName="gauge")
    iot.deprecate_thing_type(thingTypeName="gauge")
    clock.now += 400
    iot.deprecate_thing_type(thingTypeName="gauge", undoDeprecate=True)
    metadata = iot.describe_thing_type(thingTypeName="gauge")["thingTypeMetadata"]
    assert metadata.keys() == {"deprecated", "creationDate"}
    assert "is not deprecated" in refusal(lambda: iot.delete_thing_type(thingTypeName="gauge"))[1]
    iot.deprecate_thing_type(thingTypeName="gauge")
    assert "Wait 299" in refusal(lambda: iot.delete_thing_type(thingTypeName="gauge"))[1]


def test_a_type_in_use_is_not_deleted(iot: Any, clock: Clock) -> None:
    iot.create_thing_type(thingTypeName="gauge")
    iot.create_thing(thingName="Test2", thingTypeName="gauge")
    iot.deprecate_thing_type(thingTypeName="gauge")
    clock.now += 300
    code, message = refusal(lambda: iot.delete_thing_type(thingTypeName="gauge"))
    assert code == "InvalidRequestException"
    assert "still associated with one or more things" in message
    iot.update_thing(thingName="Test2", removeThingType=True)
    iot.delete_thing_type(thingTypeName="gauge")


def test_the_same_name_with_other_properties(iot: Any) -> None:
    made = iot.create_thing_type(thingTypeName="gauge")
    found = refusal(
        lambda: iot.create_thing_type(thingTypeName="gauge", thingTypeProperties=PROPERTIES)
    )
    assert found[0] == "ResourceAlreadyExistsException"
    assert iot.create_thing_type(thingTypeName="gauge") == made


def test_a_type_has_at_most_three_searchable_attributes(iot: Any) -> None:
    found = refusal(
        lambda: iot.create_thing_type(
            thingTypeName="gauge", thingTypeProperties={"searchableAttributes": list("abcd")}
        )
    )
    assert found[0] == "InvalidRequestException"
    assert "at most 3 searchableAttributes" in found[1]


def test_given_properties_are_updated(iot: Any) -> None:
    iot.create_thing_type(
        thingTypeName="gauge",
        thingTypeProperties={"thingTypeDescription": "a gauge", "searchableAttributes": ["site"]},
    )
    for change, properties in (
        ({"thingTypeDescription": "new"}, {"searchableAttributes": ["site"]}),
        ({"searchableAttributes": ["a", "b"]}, {"thingTypeDescription": "new"}),
        ({}, {"thingTypeDescription": "new", "searchableAttributes": ["a", "b"]}),
    ):
        iot.update_thing_type(thingTypeName="gauge", thingTypeProperties=change)
        described = iot.describe_thing_type(thingTypeName="gauge")
        assert described["thingTypeProperties"] == {**properties, **change}
    too_many = {"searchableAttributes": list("abcd")}
    for name, change, code in (
        ("gauge", too_many, "InvalidRequestException"),
        ("pump", {}, "ResourceNotFoundException"),
    ):
        found = refusal(
            lambda: iot.update_thing_type(thingTypeName=name, thingTypeProperties=change)  # noqa: B023
        )
        assert found[0] == code


def test_types_are_listed_by_prefix(iot: Any) -> None:
    for name in ("pump", "gauge", "gauge-2", "Gauge", "g_"):
        iot.create_thing_type(thingTypeName=name)
    assert names(iot.list_thing_types()) == ["Gauge", "g_", "gauge", "gauge-2", "pump"]
    assert names(iot.list_thing_types(thingTypeName="gauge")) == ["gauge", "gauge-2"]
    assert names(iot.list_thing_types(thingTypeName="g_")) == ["g_"]
    assert names(iot.list_thing_types(thingTypeName="x")) == []


# --- Things of a type -----------------------------------------------------------------------------


def test_things_have_a_type_change_it_and_lose_it(iot: Any) -> None:
    for name in ("gauge", "pump"):
        iot.create_thing_type(thingTypeName=name)
    iot.create_thing(thingName="Test2", thingTypeName="gauge")
    iot.create_thing(thingName="Test2", thingTypeName="gauge")  # the same again
    for other in ({}, {"thingTypeName": "pump"}):
        found = refusal(lambda other=other: iot.create_thing(thingName="Test2", **other))
        assert found[0] == "ResourceAlreadyExistsException"
    described = iot.describe_thing(thingName="Test2")
    assert (described["thingTypeName"], described["version"]) == ("gauge", 1)
    iot.update_thing(thingName="Test2", attributePayload={"attributes": {"site": "plumtree"}})
    assert iot.describe_thing(thingName="Test2")["thingTypeName"] == "gauge"
    iot.update_thing(thingName="Test2", thingTypeName="pump")
    described = iot.describe_thing(thingName="Test2")
    assert (described["thingTypeName"], described["version"]) == ("pump", 3)
    assert described["attributes"] == {"site": "plumtree"}
    iot.update_thing(thingName="Test2", removeThingType=True, expectedVersion=3)
    assert "thingTypeName" not in iot.describe_thing(thingName="Test2")


def test_types_that_a_thing_cannot_have(iot: Any) -> None:
    thing(iot)
    missing = ("ResourceNotFoundException", "The thing type none does not exist.")
    assert refusal(lambda: iot.create_thing(thingName="t", thingTypeName="none")) == missing
    assert refusal(lambda: iot.update_thing(thingName="Test2", thingTypeName="none")) == missing
    iot.create_thing_type(thingTypeName="gauge")
    iot.create_thing(thingName="old", thingTypeName="gauge")
    iot.deprecate_thing_type(thingTypeName="gauge")
    assert refusal(lambda: iot.create_thing(thingName="t", thingTypeName="gauge")) == (
        "InvalidRequestException",
        "Can not create new thing with depreated thing type:gauge",
    )
    assert refusal(lambda: iot.update_thing(thingName="Test2", thingTypeName="gauge")) == (
        "InvalidRequestException",
        "Can not update a thing to use deprecated thing type: gauge",
    )
    # A Thing that already has the type keeps it.
    iot.update_thing(thingName="old", thingTypeName="gauge")
    assert iot.describe_thing(thingName="old")["thingTypeName"] == "gauge"
    both = refusal(
        lambda: iot.update_thing(thingName="old", thingTypeName="gauge", removeThingType=True)
    )
    assert both[0] == "InvalidRequestException"


@pytest.mark.parametrize(("typed", "most"), [(True, 50), (False, 3)])
def test_the_number_of_attributes_depends_on_the_type(iot: Any, typed: bool, most: int) -> None:
    iot.create_thing_type(thingTypeName="gauge")
    kind = {"thingTypeName": "gauge"} if typed else {}
    attributes = {f"a{number}": "1" for number in range(most)}
    iot.create_thing(thingName="t", attributePayload={"attributes": attributes}, **kind)
    too_many = {"attributes": {**attributes, "more": "1"}}
    calls = [
        lambda: iot.create_thing(thingName="u", attributePayload=too_many, **kind),
        lambda: iot.update_thing(thingName="t", attributePayload=too_many),
        lambda: iot.update_thing(
            thingName="t", attributePayload={"attributes": {"more": "1"}, "merge": True}
        ),
    ]
    for call in calls:
        code, message = refusal(call)
        assert code == "InvalidRequestException"
        assert f"at most {most} attributes" in message
    assert iot.describe_thing(thingName="t")["attributes"] == attributes


def test_a_thing_with_too_many_attributes_keeps_its_type(iot: Any) -> None:
    iot.create_thing_type(thingTypeName="gauge")
    attributes = {"attributes": dict.fromkeys("abcd", "1")}
    iot.create_thing(thingName="t", thingTypeName="gauge", attributePayload=attributes)
    found = refusal(lambda: iot.update_thing(thingName="t", removeThingType=True))
    assert "at most 3 attributes" in found[1]
    fewer = {"attributes": {"a": ""}, "merge": True}
    iot.update_thing(thingName="t", removeThingType=True, attributePayload=fewer)
    assert iot.describe_thing(thingName="t")["attributes"] == {"b": "1", "c": "1", "d": "1"}


def test_things_are_listed_by_type_and_attribute(iot: Any) -> None:
    iot.create_thing_type(thingTypeName="gauge")
    for name, kind, site in (
        ("a", {"thingTypeName": "gauge"}, "plumtree"),
        ("b", {"thingTypeName": "gauge"}, "broad"),
        ("c", {}, "plumtree"),
    ):
        iot.create_thing(thingName=name, attributePayload={"attributes": {"site": site}}, **kind)

    def found(**wanted: Any) -> list[str]:
        return [each["thingName"] for each in iot.list_things(**wanted)["things"]]

    assert found(thingTypeName="gauge") == ["a", "b"]
    assert found(thingTypeName="gauge", attributeName="site", attributeValue="plumtree") == ["a"]
    assert found(attributeName="site", attributeValue="plumtree") == ["a", "c"]
    assert found(thingTypeName="pump") == []
    (listed,) = iot.list_things(
        thingTypeName="gauge",
        attributeName="site",
        attributeValue="bro",
        usePrefixAttributeValue=True,
    )["things"]
    assert (listed["thingName"], listed["thingTypeName"]) == ("b", "gauge")
