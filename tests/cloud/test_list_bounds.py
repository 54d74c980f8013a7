"""One page of any list takes a bounded number of steps, however large the account is."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest

from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.operations.authorization import MAX_RESOURCES
from tests.cloud.iot_fixture import ALLOW, ARN, OPERATIONS, refusal

COUNT = 4000
MAX_STEPS = 100_000
"""Instructions of SQLite's virtual machine for one page, which take a few milliseconds."""
INTERVAL = 100


@pytest.fixture
def large(iot_registry: Registry) -> Registry:
    """Fill an account with many Things, groups, memberships and policy targets."""
    attributes = json.dumps({letter: letter for letter in string.ascii_letters[:50]})
    with iot_registry.things._work.transaction() as db:
        db.execute("INSERT INTO thing_types VALUES ('gauge', 'id', '{}', 0, NULL)")
        db.executemany(
            "INSERT INTO things VALUES (?, 'id', 1, ?, ?)",
            ((f"t{n:05}", attributes, "gauge" if n % 1000 == 999 else None) for n in range(COUNT)),
        )
        db.executemany(
            "INSERT INTO thing_types VALUES (?, 'id', '{}', 0, NULL)",
            ((f"type{n:05}",) for n in range(COUNT)),
        )
        # Trees of seven levels, and many groups beside them.
        db.executemany(
            "INSERT INTO thing_groups VALUES (?, 'id', ?, 1, NULL, '{}', 0)",
            ((f"g{n:05}", f"g{n - 1:05}" if n % 7 else None) for n in range(COUNT)),
        )
        db.executemany(
            "INSERT INTO group_members VALUES (?, ?, 'id')",
            ((f"t{n:05}", f"g{n:05}") for n in range(COUNT)),
        )
        db.execute("INSERT INTO policies VALUES (1, 'creek', 1, 1, 'id', 0, 0)")
        db.execute("INSERT INTO policy_versions VALUES ('creek', 1, ?, 0)", (ALLOW,))
        db.executemany(
            "INSERT INTO policy_attachments (policy, thing_group) VALUES ('creek', ?)",
            ((f"g{n:05}",) for n in reversed(range(COUNT))),
        )
    return iot_registry


@pytest.mark.parametrize(
    ("operation", "members", "member", "count"),
    [
        ("list_things", {}, "things", COUNT),
        ("list_things", {"attributeName": "none"}, "things", 0),
        ("list_things", {"attributeName": "Z", "attributeValue": "Z"}, "things", 0),
        ("list_things", {"attributeName": "a", "attributeValue": "a"}, "things", COUNT),
        ("list_things", {"thingTypeName": "gauge"}, "things", COUNT // 1000),
        ("list_thing_types", {"thingTypeName": "type03"}, "thingTypes", 1000),
        ("list_thing_types", {"thingTypeName": "z"}, "thingTypes", 0),
        ("list_thing_groups", {}, "thingGroups", COUNT),
        ("list_thing_groups", {"recursive": False}, "thingGroups", -(-COUNT // 7)),
        ("list_thing_groups", {"namePrefixFilter": "g039"}, "thingGroups", 100),
        ("list_thing_groups", {"parentGroup": "g03990"}, "thingGroups", 1),
        ("list_thing_groups", {"parentGroup": "g03990", "recursive": True}, "thingGroups", 6),
        ("list_things_in_thing_group", {"thingGroupName": "g03990"}, "things", 1),
        (
            "list_things_in_thing_group",
            {"thingGroupName": "g03990", "recursive": True},
            "things",
            7,
        ),
        ("list_thing_groups_for_thing", {"thingName": "t03996"}, "thingGroups", 7),
        ("list_targets_for_policy", {"policyName": "creek"}, "targets", COUNT),
        ("list_policy_principals", {"policyName": "creek"}, "principals", COUNT),
        (
            "list_attached_policies",
            {"target": ARN + "thinggroup/g03996", "recursive": True},
            "policies",
            1,
        ),
    ],
)
def test_a_page_is_bounded(
    large: Registry, iot: Any, operation: str, members: dict[str, Any], member: str, count: int
) -> None:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += INTERVAL
        return 0

    large.things._work.database._db.set_progress_handler(step, INTERVAL)
    old = "pageSize" in OPERATIONS[operation].input_shape.members
    size, name = ({"pageSize": 250}, "marker") if old else ({"maxResults": 250}, "nextToken")
    found, token, most = 0, None, 0
    while True:
        steps = 0
        answer = getattr(iot, operation)(**members, **size, **({name: token} if token else {}))
        most = max(most, steps)
        found += len(answer[member])
        token = answer.get("nextMarker", answer.get("nextToken"))
        if token is None:
            break
    assert found == count
    assert most <= MAX_STEPS


def test_the_resources_of_one_request_are_limited(iot: Any) -> None:
    def ask(*counts: int) -> Any:
        infos = [{"actionType": "PUBLISH", "resources": [ARN + "topic/a"] * n} for n in counts]
        return iot.test_authorization(authInfos=infos)

    assert len(ask(MAX_RESOURCES // 2, MAX_RESOURCES // 2)["authResults"]) == 2
    code, message = refusal(lambda: ask(MAX_RESOURCES // 2, MAX_RESOURCES // 2 + 1))
    assert (code, "at most 100 resources" in message) == ("InvalidRequestException", True)
