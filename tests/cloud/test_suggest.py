"""The smallest change allows the request, and nothing else."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.policy import Authorizer, SuggestedChange, parse, suggest
from creeklab.cloud.registry import Registry
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.storage.database import Database
from tests.cloud.iot_fixture import ARN, IDENTITY, Clock
from tests.cloud.test_authorization import (
    ACTIONS,
    KINDS,
    NAMES,
    World,
    applying,
    build,
    context,
    info,
    worlds,
)

TEST2 = {
    "iot:ClientId": "Test2",
    "iot:Connection.Thing.ThingName": "Test2",
    "iot:Connection.Thing.IsAttached": "true",
}
EVERYTHING = [
    (f"iot:{verb}", f"{ARN}{kind}/{name}")
    for verb in [*ACTIONS.values(), "RetainPublish"]
    for kind in ("client", "topic", "topicfilter")
    for name in [*NAMES, "creek/depth", "creek/elkhorn", "creek/*", "Test1", "other", "a?c", "abc"]
]


def document(*statements: dict[str, Any], version: str | None = "2012-10-17") -> str:
    head = {} if version is None else {"Version": version}
    text = json.dumps({**head, "Statement": list(statements)})
    return text.replace("ARN:", ARN)


def allow(action: str | list[str], resource: str | list[str], **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: str | list[str], resource: str | list[str], **more: Any) -> dict[str, Any]:
    return {**allow(action, resource), "Effect": "Deny", **more}


def changed(documents: dict[str, str], changes: tuple[SuggestedChange, ...]) -> dict[str, str]:
    return {**documents, **{each.policy: each.document for each in changes}}


def allowed(documents: dict[str, str], known: Any = TEST2) -> set[tuple[str, str]]:
    bound = Authorizer([parse(text, name=name) for name, text in documents.items()], known)
    return {request for request in EVERYTHING if bound.decide(*request).allows}


# One policy, a request, and the lines of the document that change.
@pytest.mark.parametrize(
    ("statement", "action", "resource", "lines"),
    [
        pytest.param(
            allow("iot:Publish", "ARN:topic/$aws/things/Test1/shadow/update"),
            "iot:Publish",
            "topic/$aws/things/Test2/shadow/update",
            [
                '-      "Resource": "ARN:topic/$aws/things/Test1/shadow/update"',
                '+      "Resource": "ARN:topic/$aws/things/Test2/shadow/update"',
            ],
            id="the tutorial's mistake",
        ),
        pytest.param(
            allow("iot:Publish", "ARN:topic/creek/#"),
            "iot:Publish",
            "topic/creek/depth",
            [
                '-      "Resource": "ARN:topic/creek/#"',
                '+      "Resource": "ARN:topic/creek/depth"',
            ],
            id="an MQTT wildcard",
        ),
        pytest.param(
            allow("iot:Subscribe", "ARN:topic/creek/depth"),
            "iot:Subscribe",
            "topicfilter/creek/depth",
            [
                '-      "Resource": "ARN:topic/creek/depth"',
                '+      "Resource": "ARN:topicfilter/creek/depth"',
            ],
            id="topic for topicfilter",
        ),
        pytest.param(
            allow("iot:Publish", ["ARN:topic/house/cellar", "ARN:topic/house/attic"]),
            "iot:Publish",
            "topic/creek/depth",
            [
                '-        "ARN:topic/house/attic"',
                '+        "ARN:topic/house/attic",',
                '+        "ARN:topic/creek/depth"',
            ],
            id="one more resource",
        ),
        pytest.param(
            allow("iot:Conect", "ARN:client/Test2"),
            "iot:Connect",
            "client/Test2",
            [
                '-      "Action": "iot:Conect",',
                '+      "Action": "iot:Connect",',
            ],
            id="a misspelled action",
        ),
        pytest.param(
            allow("iot:Publish", "ARN:topic/creek/depth"),
            "iot:RetainPublish",
            "topic/creek/depth",
            [
                '-      "Action": "iot:Publish",',
                '+      "Action": [',
                '+        "iot:Publish",',
                '+        "iot:RetainPublish"',
                "+      ],",
            ],
            id="one more action",
        ),
        pytest.param(
            allow(["iot:Publish", "iot:Receive"], "ARN:topic/Creek/depth"),
            "iot:Publish",
            "topic/creek/depth",
            [
                "+    },",
                "+    {",
                '+      "Effect": "Allow",',
                '+      "Action": "iot:Publish",',
                '+      "Resource": "ARN:topic/creek/depth"',
            ],
            id="the statement is about more than this action",
        ),
        pytest.param(
            allow("iot:Publish", "ARN:topic/creek/*", Condition={"Bool": {"iot:X": "true"}}),
            "iot:Publish",
            "topic/creek/depth",
            [
                "+    },",
                "+    {",
                '+      "Effect": "Allow",',
                '+      "Action": "iot:Publish",',
                '+      "Resource": "ARN:topic/creek/depth"',
            ],
            id="a condition is left alone",
        ),
    ],
)
def test_suggested_change(
    statement: dict[str, Any], action: str, resource: str, lines: list[str]
) -> None:
    documents = {"P": document(statement)}
    (found,) = suggest(documents, TEST2, action, ARN + resource)
    assert found.policy == "P"
    got = [line for line in found.diff.split("\n") if line.startswith(("+", "-"))]
    assert got == [line.replace("ARN:", ARN) for line in lines]
    extra = allowed(changed(documents, (found,))) - allowed(documents)
    assert extra <= {(action, ARN + resource)}


def test_without_a_policy_one_is_created() -> None:
    (found,) = suggest({}, TEST2, "iot:Connect", ARN + "client/Test2")
    assert found.before is None
    assert "attach it" in found.how
    assert found.after["Statement"] == [allow("iot:Connect", ARN + "client/Test2")]
    assert found.diff.startswith("+{\n")


def test_an_allowed_request_needs_no_change() -> None:
    documents = {"P": document(allow("iot:*", "*"))}
    assert suggest(documents, TEST2, "iot:Connect", ARN + "client/Test2") == ()


def test_wildcards_in_a_request_are_not_wildcards_in_the_policy() -> None:
    for version in ("2012-10-17", "2008-10-17", None):
        documents = {"P": document(allow("iot:Publish", "ARN:topic/x"), version=version)}
        for name in ("creek/*", "a?c"):
            request = ("iot:Publish", f"{ARN}topic/{name}")
            changes = suggest(documents, TEST2, *request)
            assert allowed(changed(documents, changes)) - allowed(documents) == {request}
            assert (changes[0].before is None) == (version != "2012-10-17")


def test_a_full_policy_is_not_changed() -> None:
    full = allow("iot:Publish", [f"ARN:topic/{'x' * 56}/{number:03}" for number in range(18)])
    documents = {"P": document(full)}
    assert len("".join(documents["P"].split())) in range(1900, 2048)
    (found,) = suggest(documents, TEST2, "iot:Subscribe", ARN + "topicfilter/creek/depth")
    assert found.before is None


def test_a_lost_permission_is_a_warning() -> None:
    documents = {"P": document(allow("iot:Connect", "ARN:client/Test1"))}
    (found,) = suggest(documents, TEST2, "iot:Connect", ARN + "client/Test2")
    assert found.warnings == (
        "This removes what that line allowed: iot:Connect on 'client/Test1'.",
    )


def test_the_cause_of_an_empty_variable_is_named() -> None:
    topic = "ARN:topic/creek/${iot:Connection.Thing.ThingName}/depth"
    documents = {"P": document(allow("iot:Publish", topic))}
    request = ("iot:Publish", ARN + "topic/creek/gauge/depth")
    (found,) = suggest(documents, {"iot:ClientId": "gauge"}, *request)
    (warning,) = found.warnings
    assert warning.startswith("It is better to fix the cause: the policy variable")
    assert "'gauge' is not the name of a Thing" in warning


def test_a_wide_filter_has_a_warning() -> None:
    documents = {"P": document(allow("iot:Connect", "*"))}
    (found,) = suggest(documents, TEST2, "iot:Subscribe", ARN + "topicfilter/#")
    assert any("messages of all devices" in warning for warning in found.warnings)


def test_a_deny_is_narrowed() -> None:
    request = ("iot:Publish", ARN + "topic/creek/depth")
    documents = {
        "P": document(allow("iot:*", "*")),
        "D": document(
            deny("iot:*", ["ARN:topic/creek/depth", "ARN:topic/other"], Sid="keep"),
            deny("iot:Publish", "ARN:topic/creek/depth"),
        ),
    }
    (found,) = suggest(documents, TEST2, *request)
    assert found.policy == "D"
    assert found.warnings == ()
    before, after = allowed(documents), allowed(changed(documents, (found,)))
    assert after - before == {request}
    assert before <= after


def test_narrowing_a_wide_deny_has_a_warning() -> None:
    request = ("iot:Publish", ARN + "topic/creek/depth")
    documents = {"D": document(allow("iot:*", "*"), deny("iot:Publish", "ARN:topic/creek/*"))}
    (found,) = suggest(documents, TEST2, *request)
    assert found.warnings == (
        "A Deny cannot have exceptions: iot:Publish on all of 'topic/creek/*' is no longer denied.",
    )
    gained = allowed(changed(documents, (found,))) - allowed(documents)
    assert request in gained
    assert {action for action, _ in gained} == {"iot:Publish"}


def test_a_policy_that_only_denies_can_be_replaced() -> None:
    request = ("iot:Publish", ARN + "topic/creek/depth")
    documents = {"D": document(deny("iot:Publish", "ARN:topic/creek/depth"))}
    (found,) = suggest(documents, TEST2, *request)
    assert allowed(changed(documents, (found,))) == {request}


# --- any policies, any request ------------------------------------------------------------------


def test_suggestions_work(authority: CertificateAuthority, tmp_path: Path) -> None:
    """Apply each suggestion to an account; compare TestAuthorization with the broker."""
    files = itertools.count()
    denied = {"IMPLICIT_DENY": 0, "EXPLICIT_DENY": 0}

    def registry_of() -> Registry:
        return Registry(
            Database(tmp_path / f"{next(files)}.db"),
            authority,
            IDENTITY,
            "localhost",
            Clock(),
        )

    def guard(world: World) -> str:
        """Deny the first two requests: one by itself, the other within a wider pattern."""
        (verb, name), (other, _) = world.asked[:2]
        resources = [f"{ARN}{KINDS[verb]}/{name}", f"{ARN}{KINDS[other]}/creek/*"]
        return document(deny([f"iot:{ACTIONS[verb]}", f"iot:{ACTIONS[other][:5]}*"], resources))

    def apply(iot: Any, arn: str, changes: tuple[SuggestedChange, ...]) -> None:
        for each in changes:
            if each.before is None:
                iot.create_policy(policyName=each.policy, policyDocument=each.document)
                iot.attach_policy(policyName=each.policy, target=arn)
            else:
                iot.create_policy_version(
                    policyName=each.policy, policyDocument=each.document, setAsDefault=True
                )

    def undo(iot: Any, arn: str, changes: tuple[SuggestedChange, ...]) -> None:
        for each in changes:
            if each.before is None:
                iot.detach_policy(policyName=each.policy, target=arn)
                iot.delete_policy(policyName=each.policy)
            else:
                iot.set_default_policy_version(policyName=each.policy, policyVersionId="1")
                versions = iot.list_policy_versions(policyName=each.policy)["policyVersions"]
                for version in versions:
                    if version["versionId"] != "1":
                        iot.delete_policy_version(
                            policyName=each.policy, policyVersionId=version["versionId"]
                        )

    universe = [(verb, name) for verb in KINDS for name in NAMES]

    def decisions(iot: Any, arn: str, client: str) -> dict[tuple[str, str], str]:
        results = iot.test_authorization(
            principal=arn,
            clientId=client,
            authInfos=[info(verb, f"{KINDS[verb]}/{name}") for verb, name in universe],
        )["authResults"]
        return {
            request: result["authDecision"]
            for request, result in zip(universe, results, strict=True)
        }

    @settings(max_examples=60, deadline=None)
    @given(worlds)
    def check(world: World) -> None:
        registry = registry_of()
        iot, arn = build(world, registry)
        documents = {f"p{number}": world.policies[number] for number in applying(world)}
        documents["guard"] = guard(world)
        iot.create_policy(policyName="guard", policyDocument=documents["guard"])
        iot.attach_policy(policyName="guard", target=arn)
        before = decisions(iot, arn, world.client_id)
        for request in dict.fromkeys(world.asked):
            verb, resource = f"iot:{ACTIONS[request[0]]}", f"{KINDS[request[0]]}/{request[1]}"
            changes = suggest(documents, context(world), verb, ARN + resource)
            if before[request] == "ALLOWED":
                assert changes == ()
                continue
            denied[before[request]] += 1
            assert changes
            apply(iot, arn, changes)
            after = decisions(iot, arn, world.client_id)
            broker = ConnectionAuthorization(registry, arn[-64:], world.client_id, "127.0.0.1")
            assert after[request] == "ALLOWED"
            assert broker.allows(verb, resource)
            gained = {
                each
                for each in universe
                if (before[each], after[each]) != ("ALLOWED", "ALLOWED")
                and after[each] == "ALLOWED"
            }
            freed = any("no longer denied" in text for each in changes for text in each.warnings)
            assert gained == {request} or (freed and {verb for verb, _ in gained} == {request[0]})
            # A message cannot have a topic with an MQTT wildcard.
            possible = [
                each for each in universe if each[0] == "SUBSCRIBE" or not set("+#") & set(each[1])
            ]
            lost = {
                each for each in possible if before[each] == "ALLOWED" and after[each] != "ALLOWED"
            }
            warned = any("This removes" in text for each in changes for text in each.warnings)
            assert not lost or warned
            undo(iot, arn, changes)
        assert decisions(iot, arn, world.client_id) == before

    check()
    assert sum(denied.values()) > 200
    assert min(denied.values()) > 20
