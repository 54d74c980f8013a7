"""Tags on every kind of resource that can have tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cloud.iot_fixture import ALLOW, ARN, Clock, certificate, refusal, thing


def create_policy(iot: Any, **members: Any) -> str:
    arn: str = iot.create_policy(policyName="creek", policyDocument=ALLOW, **members)["policyArn"]
    return arn


def create_group(iot: Any, **members: Any) -> str:
    arn: str = iot.create_thing_group(thingGroupName="creek", **members)["thingGroupArn"]
    return arn


def create_type(iot: Any, **members: Any) -> str:
    arn: str = iot.create_thing_type(thingTypeName="creek", **members)["thingTypeArn"]
    return arn


CREATE = [create_policy, create_group, create_type]
Create = Callable[..., str]


def tags(**values: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def found(iot: Any, arn: str) -> dict[str, str]:
    answer = iot.list_tags_for_resource(resourceArn=arn)
    return {each["Key"]: each["Value"] for each in answer["tags"]}


@pytest.mark.parametrize("create", CREATE)
def test_tags_are_added_changed_and_removed(iot: Any, create: Create) -> None:
    arn = create(iot, tags=[*tags(owner="ann", cost="1"), {"Key": "bare"}])
    assert found(iot, arn) == {"owner": "ann", "cost": "1", "bare": ""}
    iot.tag_resource(resourceArn=arn, tags=tags(cost="2", site="plumtree"))
    assert found(iot, arn) == {"owner": "ann", "cost": "2", "bare": "", "site": "plumtree"}
    for _ in range(2):  # the second time changes nothing
        iot.untag_resource(resourceArn=arn, tagKeys=["owner", "bare"])
    assert found(iot, arn) == {"cost": "2", "site": "plumtree"}


@pytest.mark.parametrize("create", CREATE)
def test_a_recreated_resource_has_no_tags(iot: Any, clock: Clock, create: Create) -> None:
    arn = create(iot, tags=tags(owner="ann"))
    iot.deprecate_thing_type(thingTypeName="creek") if create is create_type else None
    clock.now += 300
    delete = {
        create_policy: lambda: iot.delete_policy(policyName="creek"),
        create_group: lambda: iot.delete_thing_group(thingGroupName="creek"),
        create_type: lambda: iot.delete_thing_type(thingTypeName="creek"),
    }
    delete[create]()
    assert refusal(lambda: iot.list_tags_for_resource(resourceArn=arn)) == (
        "ResourceNotFoundException",
        f"The resource {arn} does not exist.",
    )
    create(iot)
    assert found(iot, arn) == {}


@pytest.mark.parametrize("create", CREATE)
def test_a_resource_has_at_most_fifty_tags(iot: Any, create: Create) -> None:
    fifty = tags(**{f"t{number}": "1" for number in range(50)})
    code, message = refusal(lambda: create(iot, tags=[*fifty, *tags(more="1")]))
    assert code == "InvalidRequestException"
    assert "at most 50 tags" in message
    arn = create(iot, tags=fifty)
    iot.tag_resource(resourceArn=arn, tags=tags(t0="2"))
    code, message = refusal(lambda: iot.tag_resource(resourceArn=arn, tags=tags(t1="2", more="1")))
    assert code == "LimitExceededException"
    assert "at most 50 tags" in message
    first = iot.list_tags_for_resource(resourceArn=arn)
    rest = iot.list_tags_for_resource(resourceArn=arn, nextToken=first["nextToken"])
    values = {each["Key"]: each["Value"] for each in [*first["tags"], *rest["tags"]]}
    assert values == {f"t{number}": "1" for number in range(1, 50)} | {"t0": "2"}


@pytest.mark.parametrize("create", CREATE)
@pytest.mark.parametrize("key", ["aws:created", "AWS:created", "aws:"])
def test_the_prefix_aws_is_reserved(iot: Any, create: Create, key: str) -> None:
    tag = [{"Key": key, "Value": "1"}]
    code, message = refusal(lambda: create(iot, tags=tag))
    assert code == "InvalidRequestException"
    assert "begins with 'aws:'" in message
    arn = create(iot)  # which the refused call has not made
    assert refusal(lambda: iot.tag_resource(resourceArn=arn, tags=tag))[0] == code
    assert refusal(lambda: iot.untag_resource(resourceArn=arn, tagKeys=[key]))[0] == code


def test_a_key_must_not_occur_twice_in_a_request(iot: Any) -> None:
    twice = [*tags(owner="ann"), *tags(owner="bob")]
    code, message = refusal(lambda: create_policy(iot, tags=twice))
    assert (code, message) == (
        "InvalidRequestException",
        "The tag key 'owner' occurs twice in the request.",
    )


def test_resources_without_tags(iot: Any) -> None:
    thing(iot)
    for arn in (certificate(iot), ARN + "thing/Test2", ARN + "policies/p", "creek", ""):
        for call in (
            lambda arn=arn: iot.tag_resource(resourceArn=arn, tags=tags(a="1")),
            lambda arn=arn: iot.untag_resource(resourceArn=arn, tagKeys=["a"]),
            lambda arn=arn: iot.list_tags_for_resource(resourceArn=arn),
        ):
            code, message = refusal(call)
            assert code == "InvalidRequestException"
            assert "is not the ARN of a resource that can have tags" in message


def test_a_resource_of_another_account_does_not_exist(iot: Any) -> None:
    arn = create_policy(iot).replace("123456789012", "999999999999")
    code, _ = refusal(lambda: iot.tag_resource(resourceArn=arn, tags=tags(a="1")))
    assert code == "ResourceNotFoundException"
