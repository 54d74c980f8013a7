"""Static thing groups: the tree, membership, quotas, and policies attached to them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.cloud.iot_fixture import ALLOW, ARN, Clock, certificate, refusal, thing


def group(iot: Any, name: str, parent: str | None = None) -> None:
    iot.create_thing_group(thingGroupName=name, **({"parentGroupName": parent} if parent else {}))


@pytest.fixture
def tree(iot: Any) -> None:
    """Create creeks > plumtree > upper and creeks > broad, and beside them pumps."""
    for name, parent in (
        ("creeks", None),
        ("plumtree", "creeks"),
        ("upper", "plumtree"),
        ("broad", "creeks"),
        ("pumps", None),
    ):
        group(iot, name, parent)


def names(answer: dict[str, Any]) -> list[str]:
    for each in answer["thingGroups"]:
        assert each["groupArn"] == ARN + "thinggroup/" + each["groupName"]
    return [each["groupName"] for each in answer["thingGroups"]]


def test_a_group_from_creation_to_deletion(iot: Any, clock: Clock) -> None:
    properties = {
        "thingGroupDescription": "creeks of the county",
        "attributePayload": {"attributes": {"county": "Harford"}},
    }
    began = clock.now
    made = iot.create_thing_group(thingGroupName="creeks", thingGroupProperties=properties)
    assert made["thingGroupArn"] == ARN + "thinggroup/creeks"
    assert str(uuid.UUID(made["thingGroupId"])) == made["thingGroupId"]
    assert made == iot.create_thing_group(thingGroupName="creeks", thingGroupProperties=properties)
    described = {
        "thingGroupName": "creeks",
        "thingGroupId": made["thingGroupId"],
        "thingGroupArn": made["thingGroupArn"],
        "version": 1,
        "thingGroupProperties": properties,
        "thingGroupMetadata": {"creationDate": began},
    }
    assert iot.describe_thing_group(thingGroupName="creeks") == described
    found = refusal(lambda: iot.create_thing_group(thingGroupName="creeks"))
    assert found == (
        "ResourceAlreadyExistsException",
        "Thing Group creeks already exists in current account with different properties",
    )
    iot.delete_thing_group(thingGroupName="creeks", expectedVersion=1)
    iot.delete_thing_group(thingGroupName="creeks")  # that it is not there is no error
    found = refusal(lambda: iot.describe_thing_group(thingGroupName="creeks"))
    assert found == ("ResourceNotFoundException", "The thing group creeks does not exist.")


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({}, ("old", {"a": "1", "b": "2"})),
        ({"thingGroupDescription": "new"}, ("new", {"a": "1", "b": "2"})),
        ({"attributePayload": {"attributes": {"c": "3"}}}, ("old", {"c": "3"})),
        (
            {"attributePayload": {"attributes": {"c": "3", "a": ""}, "merge": True}},
            ("old", {"b": "2", "c": "3"}),
        ),
        ({"attributePayload": {"attributes": {}}}, ("old", {})),
    ],
)
def test_a_group_is_updated(
    iot: Any, change: dict[str, Any], after: tuple[str, dict[str, str]]
) -> None:
    iot.create_thing_group(
        thingGroupName="creeks",
        thingGroupProperties={
            "thingGroupDescription": "old",
            "attributePayload": {"attributes": {"a": "1", "b": "2"}},
        },
    )
    answer = iot.update_thing_group(
        thingGroupName="creeks", thingGroupProperties=change, expectedVersion=1
    )
    assert answer == {"version": 2}
    described = iot.describe_thing_group(thingGroupName="creeks")
    properties = described["thingGroupProperties"]
    attributes = properties.get("attributePayload", {}).get("attributes", {})
    assert (properties["thingGroupDescription"], attributes) == after
    assert described["version"] == 2


def test_another_version_is_refused(iot: Any) -> None:
    group(iot, "creeks")
    conflict = (
        "VersionConflictException",
        "The version for thing group creeks does not match the expected version.",
    )
    calls = [
        lambda: iot.update_thing_group(
            thingGroupName="creeks", thingGroupProperties={}, expectedVersion=2
        ),
        lambda: iot.delete_thing_group(thingGroupName="creeks", expectedVersion=0),
    ]
    assert [refusal(call) for call in calls] == [conflict] * 2


@pytest.mark.usefixtures("tree")
def test_describe_lists_the_ancestors_from_the_root(iot: Any) -> None:
    metadata = iot.describe_thing_group(thingGroupName="upper")["thingGroupMetadata"]
    assert metadata["parentGroupName"] == "plumtree"
    assert metadata["rootToParentThingGroups"] == [
        {"groupName": name, "groupArn": ARN + "thinggroup/" + name}
        for name in ("creeks", "plumtree")
    ]


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["broad", "creeks", "plumtree", "pumps", "upper"]),
        ({"recursive": True}, ["broad", "creeks", "plumtree", "pumps", "upper"]),
        ({"recursive": False}, ["creeks", "pumps"]),
        ({"namePrefixFilter": "p"}, ["plumtree", "pumps"]),
        ({"parentGroup": "creeks"}, ["broad", "plumtree"]),
        ({"parentGroup": "creeks", "recursive": True}, ["broad", "plumtree", "upper"]),
        ({"parentGroup": "creeks", "recursive": True, "namePrefixFilter": "u"}, ["upper"]),
        ({"parentGroup": "upper"}, []),
    ],
)
def test_groups_are_listed(iot: Any, wanted: dict[str, Any], found: list[str]) -> None:
    assert names(iot.list_thing_groups(**wanted)) == found


@pytest.mark.usefixtures("tree")
def test_a_group_with_children_cannot_be_deleted(iot: Any) -> None:
    for name in ("creeks", "plumtree"):
        assert refusal(lambda name=name: iot.delete_thing_group(thingGroupName=name)) == (
            "InvalidRequestException",
            f"Cannot delete thing group : {name} when there are still child groups attached to it",
        )
    for name in ("upper", "plumtree", "broad", "creeks"):
        iot.delete_thing_group(thingGroupName=name)
    assert names(iot.list_thing_groups()) == ["pumps"]


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("describe_thing_group", {}),
        ("update_thing_group", {"thingGroupProperties": {}}),
        ("list_things_in_thing_group", {}),
        ("add_thing_to_thing_group", {"thingName": "Test2"}),
        ("remove_thing_from_thing_group", {"thingName": "Test2"}),
    ],
)
def test_a_missing_group(iot: Any, operation: str, members: dict[str, Any]) -> None:
    thing(iot)
    found = refusal(lambda: getattr(iot, operation)(thingGroupName="none", **members))
    assert found == ("ResourceNotFoundException", "The thing group none does not exist.")


def test_a_missing_parent(iot: Any) -> None:
    missing = ("ResourceNotFoundException", "The thing group none does not exist.")
    assert refusal(lambda: group(iot, "child", "none")) == missing
    assert refusal(lambda: iot.list_thing_groups(parentGroup="none")) == missing


# --- quotas ---------------------------------------------------------------------------------------


def test_a_hierarchy_has_at_most_seven_levels(iot: Any) -> None:
    parent = None
    for level in range(1, 8):
        group(iot, f"level{level}", parent)
        parent = f"level{level}"
    code, message = refusal(lambda: group(iot, "level8", "level7"))
    assert code == "InvalidRequestException"
    assert "at most 7 levels deep" in message


def test_a_group_has_at_most_a_hundred_children(iot: Any) -> None:
    group(iot, "creeks")
    for number in range(100):
        group(iot, f"child{number}", "creeks")
    code, message = refusal(lambda: group(iot, "one-more", "creeks"))
    assert code == "InvalidRequestException"
    assert "at most 100 direct child groups" in message


def test_a_group_has_at_most_fifty_attributes(iot: Any) -> None:
    fifty = {f"a{number}": "1" for number in range(50)}

    def properties(attributes: dict[str, str]) -> dict[str, Any]:
        return {"attributePayload": {"attributes": attributes, "merge": True}}

    iot.create_thing_group(thingGroupName="creeks", thingGroupProperties=properties(fifty))
    calls = [
        lambda: iot.create_thing_group(
            thingGroupName="more", thingGroupProperties=properties({**fifty, "b": "1"})
        ),
        lambda: iot.update_thing_group(
            thingGroupName="creeks", thingGroupProperties=properties({"b": "1"})
        ),
    ]
    for call in calls:
        code, message = refusal(call)
        assert code == "InvalidRequestException"
        assert "at most 50 attributes" in message


def test_a_thing_is_in_at_most_ten_groups(iot: Any) -> None:
    thing(iot)
    for number in range(11):
        group(iot, f"g{number}")
    for number in range(10):
        iot.add_thing_to_thing_group(thingGroupName=f"g{number}", thingName="Test2")
    code, message = refusal(
        lambda: iot.add_thing_to_thing_group(
            thingGroupName="g10", thingName="Test2", overrideDynamicGroups=True
        )
    )
    assert code == "InvalidRequestException"
    assert "at most 10 thing groups" in message


@pytest.mark.usefixtures("tree")
def test_a_thing_is_in_only_one_group_of_a_hierarchy(iot: Any) -> None:
    thing(iot)
    iot.add_thing_to_thing_group(thingGroupName="upper", thingName="Test2")
    iot.add_thing_to_thing_group(thingGroupName="pumps", thingName="Test2")
    for name in ("creeks", "plumtree", "broad"):
        code, message = refusal(
            lambda name=name: iot.add_thing_to_thing_group(thingGroupName=name, thingName="Test2")
        )
        assert code == "InvalidRequestException"
        assert "is in group upper of the hierarchy of creeks" in message
    iot.remove_thing_from_thing_group(thingGroupName="upper", thingName="Test2")
    iot.add_thing_to_thing_group(thingGroupName="creeks", thingName="Test2")


def test_a_group_has_at_most_two_policies(iot: Any) -> None:
    group(iot, "creeks")
    for number in range(3):
        iot.create_policy(policyName=f"p{number}", policyDocument=ALLOW)
    target = ARN + "thinggroup/creeks"
    for name in ("p0", "p1", "p0"):
        iot.attach_policy(policyName=name, target=target)
    code, message = refusal(lambda: iot.attach_policy(policyName="p2", target=target))
    assert code == "LimitExceededException"
    assert "A thing group can have at most 2 policies" in message


# --- membership -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("tree")
def test_things_in_groups(iot: Any) -> None:
    for name in ("a", "b", "c"):
        thing(iot, name)
    for name, into in (("a", "creeks"), ("b", "upper"), ("c", "pumps"), ("b", "pumps")):
        for _ in range(2):  # the second time changes nothing
            iot.add_thing_to_thing_group(thingName=name, thingGroupName=into)

    def things(name: str, recursive: bool = False) -> list[str]:
        found: list[str] = iot.list_things_in_thing_group(thingGroupName=name, recursive=recursive)[
            "things"
        ]
        return found

    assert things("creeks") == ["a"]
    assert things("creeks", recursive=True) == ["a", "b"]
    assert things("plumtree") == []
    assert things("plumtree", recursive=True) == ["b"]
    assert things("pumps") == ["b", "c"]
    assert names(iot.list_thing_groups_for_thing(thingName="b")) == [
        "creeks",
        "plumtree",
        "pumps",
        "upper",
    ]
    assert names(iot.list_thing_groups_for_thing(thingName="c")) == ["pumps"]
    found = refusal(lambda: iot.list_thing_groups_for_thing(thingName="none"))
    assert found[0] == "ResourceNotFoundException"

    for _ in range(2):
        iot.remove_thing_from_thing_group(thingName="b", thingGroupName="pumps")
    assert things("pumps") == ["c"]
    iot.delete_thing(thingName="b")
    assert things("creeks", recursive=True) == ["a"]
    iot.delete_thing_group(thingGroupName="pumps")
    assert names(iot.list_thing_groups_for_thing(thingName="c")) == []
    thing(iot, "b")
    assert names(iot.list_thing_groups_for_thing(thingName="b")) == []


@pytest.mark.usefixtures("tree")
def test_a_thing_moves_between_groups_in_one_call(iot: Any) -> None:
    def move(add: list[str], remove: list[str]) -> None:
        iot.update_thing_groups_for_thing(
            thingName="Test2", thingGroupsToAdd=add, thingGroupsToRemove=remove
        )

    def present() -> list[str]:
        listed = names(iot.list_thing_groups_for_thing(thingName="Test2"))
        return [
            name
            for name in listed
            if iot.list_things_in_thing_group(thingGroupName=name)["things"] == ["Test2"]
        ]

    thing(iot)
    move(["upper", "pumps"], [])
    assert present() == ["pumps", "upper"]
    move(["broad"], ["upper"])  # removed first, because both are in the same hierarchy
    assert present() == ["broad", "pumps"]
    move(["broad"], ["upper"])  # the second time changes nothing
    assert present() == ["broad", "pumps"]
    for add, remove in ((["upper"], ["pumps"]), (["none"], ["pumps"]), ([], ["pumps", "none"])):
        refusal(lambda: move(add, remove))  # noqa: B023
        assert present() == ["broad", "pumps"]  # all or nothing
    move([], ["pumps", "broad"])
    assert present() == []
    for name, code in ((None, "InvalidRequestException"), ("x", "ResourceNotFoundException")):
        given = {} if name is None else {"thingName": name}
        assert refusal(lambda: iot.update_thing_groups_for_thing(**given))[0] == code  # noqa: B023


@pytest.mark.parametrize(
    "members",
    [
        {"thingGroupName": "creeks", "thingName": "Test2"},
        {"thingGroupArn": ARN + "thinggroup/creeks", "thingArn": ARN + "thing/Test2"},
        {
            "thingGroupName": "creeks",
            "thingGroupArn": ARN + "thinggroup/creeks",
            "thingName": "Test2",
            "thingArn": ARN + "thing/Test2",
        },
    ],
)
def test_names_and_arns_are_equivalent(iot: Any, members: dict[str, str]) -> None:
    thing(iot)
    group(iot, "creeks")
    iot.add_thing_to_thing_group(**members)
    read = iot.list_things_in_thing_group
    assert read(thingGroupName="creeks") == {"things": ["Test2"]}
    iot.remove_thing_from_thing_group(**members)
    assert read(thingGroupName="creeks") == {"things": []}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"thingName": "Test2"}, "Both thingGroupArn and thingGroupName are empty"),
        ({"thingGroupName": "creeks"}, "Both thingArn and thingName are empty"),
        (
            {"thingGroupName": "creeks", "thingArn": ARN + "thing/x", "thingName": "Test2"},
            "does not belong to the thingName Test2",
        ),
        ({"thingGroupArn": ARN + "thing/Test2", "thingName": "Test2"}, "not the ARN of a thinggr"),
        ({"thingGroupArn": "creeks", "thingName": "Test2"}, "is not the ARN of a thinggroup"),
        (
            {
                "thingGroupArn": "arn:aws:iot:eu-west-1:123456789012:thinggroup/creeks",
                "thingName": "Test2",
            },
            "is of another account or region",
        ),
    ],
)
def test_requests_that_name_no_thing_or_group(
    iot: Any, members: dict[str, str], message: str
) -> None:
    thing(iot)
    group(iot, "creeks")
    for operation in ("add_thing_to_thing_group", "remove_thing_from_thing_group"):
        found = refusal(lambda name=operation: getattr(iot, name)(**members))
        assert found[0] == "InvalidRequestException"
        assert message in found[1]


# --- policies of groups ---------------------------------------------------------------------------


@pytest.mark.usefixtures("tree")
def test_policies_of_groups_are_listed(iot: Any) -> None:
    arn = certificate(iot)
    for name in ("z", "a"):
        iot.create_policy(policyName=name, policyDocument=ALLOW)
    creeks, upper = ARN + "thinggroup/creeks", ARN + "thinggroup/upper"
    for name, target in (("z", creeks), ("a", upper), ("z", upper), ("a", arn)):
        iot.attach_policy(policyName=name, target=target)

    def attached(target: str, recursive: bool = False) -> list[str]:
        found = iot.list_attached_policies(target=target, recursive=recursive)["policies"]
        return [each["policyName"] for each in found]

    assert attached(upper) == ["a", "z"]
    assert attached(upper, recursive=True) == ["z", "a"]
    assert attached(ARN + "thinggroup/broad") == []
    assert attached(ARN + "thinggroup/broad", recursive=True) == ["z"]
    assert attached(arn, recursive=True) == ["a"]
    assert iot.list_targets_for_policy(policyName="a") == {"targets": [upper, arn]}
    code, _ = refusal(lambda: iot.delete_policy(policyName="z"))
    assert code == "DeleteConflictException"
    iot.detach_policy(policyName="z", target=creeks)
    iot.delete_thing_group(thingGroupName="upper")  # which detaches its policies
    assert iot.list_targets_for_policy(policyName="a") == {"targets": [arn]}
    iot.delete_policy(policyName="z")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (ARN + "thinggroup/none", "ResourceNotFoundException"),
        (ARN.replace("us-east-1", "eu-west-1") + "thinggroup/creeks", "ResourceNotFoundException"),
        (ARN + "thinggroup/", "InvalidRequestException"),
        (ARN + "thing/Test2", "InvalidRequestException"),
        ("creeks", "InvalidRequestException"),
    ],
)
def test_a_missing_target(iot: Any, target: str, code: str) -> None:
    iot.create_policy(policyName="p", policyDocument=ALLOW)
    group(iot, "creeks")
    for call in (
        lambda: iot.attach_policy(policyName="p", target=target),
        lambda: iot.detach_policy(policyName="p", target=target),
        lambda: iot.list_attached_policies(target=target),
    ):
        assert refusal(call)[0] == code
