"""Every list of the control plane: page by page, each with its own tokens."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cloud.iot_fixture import ALLOW, ARN, OPERATIONS, certificate, refusal, thing

LISTS: dict[str, dict[str, Any]] = {
    "list_things": {},
    "list_thing_types": {},
    "list_thing_groups": {},
    "list_things_in_thing_group": {"thingGroupName": "g0"},
    "list_thing_groups_for_thing": {"thingName": "t0"},
    "list_thing_principals": {"thingName": "t0"},
    "list_thing_principals_v2": {"thingName": "t0"},
    "list_principal_things": {"principal": "{arn}"},
    "list_principal_things_v2": {"principal": "{arn}"},
    "list_certificates": {},
    "list_policies": {},
    "list_attached_policies": {"target": "{arn}"},
    "list_principal_policies": {"principal": "{arn}"},
    "list_targets_for_policy": {"policyName": "p0"},
    "list_policy_principals": {"policyName": "p0"},
}
"""The arguments of each list; ``{arn}`` is the first certificate's."""


@pytest.fixture
def full(iot: Any) -> str:
    """Create three of everything, all attached; return the first certificate's ARN."""
    arns = [certificate(iot) for _ in range(3)]
    for number in range(3):
        thing(iot, f"t{number}")
        iot.create_thing_type(thingTypeName=f"y{number}")
        iot.create_thing_group(thingGroupName=f"g{number}")
        iot.create_policy(policyName=f"p{number}", policyDocument=ALLOW)
        iot.attach_policy(policyName=f"p{number}", target=arns[0])
        iot.attach_thing_principal(thingName=f"t{number}", principal=arns[0])
    for number in range(1, 3):
        iot.attach_thing_principal(thingName="t0", principal=arns[number])
        iot.attach_policy(policyName="p0", target=arns[number])
        iot.add_thing_to_thing_group(thingName=f"t{number}", thingGroupName="g0")
        iot.add_thing_to_thing_group(thingName="t0", thingGroupName=f"g{number}")
    iot.add_thing_to_thing_group(thingName="t0", thingGroupName="g0")
    return arns[0]


def ways(name: str) -> tuple[str, str, str]:
    """Return the names of a list's page size, its request token and its response token."""
    if "pageSize" in OPERATIONS[name].input_shape.members:
        return "pageSize", "marker", "nextMarker"
    return "maxResults", "nextToken", "nextToken"


def test_every_list_is_tested(iot: Any) -> None:
    paged = {
        name
        for name, model in OPERATIONS.items()
        if model.input_shape is not None
        and {"nextToken", "marker"} & set(model.input_shape.members)
        and hasattr(iot._iot, name)
    }
    # Tags have no page size: test_tags.py.
    assert paged - {"list_tags_for_resource"} == set(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_pages_of_one_item_add_up_to_the_list(iot: Any, full: str, name: str) -> None:
    about = {member: value.replace("{arn}", full) for member, value in LISTS[name].items()}
    size, token_in, token_out = ways(name)
    read = getattr(iot, name)
    whole = read(**about)
    ((member, items),) = whole.items()
    assert len(items) == 3
    found: list[Any] = []
    token: dict[str, str] = {}
    while True:
        page = read(**about, **{size: 1}, **token)
        assert len(page[member]) == 1
        found += page[member]
        if token_out not in page:
            break
        token = {token_in: page[token_out]}
    assert found == items


@pytest.mark.parametrize("name", LISTS)
def test_the_token_of_another_list_is_rejected(iot: Any, full: str, name: str) -> None:
    about = {member: value.replace("{arn}", full) for member, value in LISTS[name].items()}
    size, token_in, _ = ways(name)
    other = "list_thing_types" if name == "list_things" else "list_things"
    foreign = {size: 1, token_in: getattr(iot, other)(maxResults=1)["nextToken"]}
    code, message = refusal(lambda: getattr(iot, name)(**about, **foreign))
    assert code == "InvalidRequestException"
    assert "was not returned by this call for this list" in message
    if about:  # nor is that of the same list about something else
        token = getattr(iot, name)(**about, **{size: 1})[ways(name)[2]]
        others = {
            "thingGroupName": "g1",
            "thingName": "t1",
            "principal": iot.list_certificates()["certificates"][0]["certificateArn"],
            "target": ARN + "thinggroup/g0",
            "policyName": "p1",
        }
        elsewhere = {member: others[member] for member in about}
        code, _ = refusal(lambda: getattr(iot, name)(**elsewhere, **{size: 1, token_in: token}))
        assert code == "InvalidRequestException"
