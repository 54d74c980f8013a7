"""TestAuthorization and GetEffectivePolicies, and whether the broker agrees with them."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creeklab.cloud import policy as documents
from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.policy import Authorizer
from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.operations import RegistryOperations
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.storage.database import Database
from tests.cloud.iot_fixture import (
    ALLOW,
    ARN,
    IDENTITY,
    UNKNOWN,
    Checked,
    Clock,
    attached_to_policy,
    attached_to_thing,
    certificate,
    policy_document,
    refusal,
    thing,
)

ACTIONS = {
    "CONNECT": "Connect",
    "PUBLISH": "Publish",
    "RECEIVE": "Receive",
    "SUBSCRIBE": "Subscribe",
}


def info(action: str, *resources: str) -> dict[str, Any]:
    return {"actionType": action, "resources": [ARN + resource for resource in resources]}


def test_test_authorization_matches_aws(iot: Any) -> None:
    arn = certificate(iot, active=True)
    iot.create_policy(
        policyName="dev", policyDocument=policy_document(("Allow", "Connect", "client/thing1"))
    )
    iot.attach_policy(policyName="dev", target=arn)
    infos = [info("CONNECT", "client/thing1"), info("SUBSCRIBE", "topicfilter/test/#")]
    denied = {"implicitDeny": {"policies": []}, "explicitDeny": {"policies": []}}
    assert iot.test_authorization(principal=arn, clientId="thing1", authInfos=infos) == {
        "authResults": [
            {
                "authInfo": infos[0],
                "allowed": {"policies": [{"policyName": "dev", "policyArn": ARN + "policy/dev"}]},
                "denied": denied,
                "authDecision": "ALLOWED",
                "missingContextValues": [],
            },
            {
                "authInfo": infos[1],
                "allowed": {"policies": []},
                "denied": denied,
                "authDecision": "IMPLICIT_DENY",
                "missingContextValues": [],
            },
        ]
    }


def test_test_authorization_with_added_and_skipped_policies(iot: Any) -> None:
    arn = attached_to_policy(iot)
    iot.create_policy(
        policyName="no", policyDocument=policy_document(("Deny", "Publish", "topic/creek/control"))
    )
    question = {
        "principal": arn,
        "authInfos": [
            info("PUBLISH", "topic/creek/control"),
            info("PUBLISH", "topic/creek/depth"),
            info("PUBLISH", "topic/creek/depth", "topic/creek/control"),
        ],
    }

    def decisions(**members: Any) -> list[str]:
        results = iot.test_authorization(**question, **members)["authResults"]
        return [result["authDecision"] for result in results]

    assert decisions() == ["ALLOWED", "ALLOWED", "ALLOWED"]
    assert decisions(policyNamesToAdd=["no"]) == ["EXPLICIT_DENY", "ALLOWED", "EXPLICIT_DENY"]
    assert decisions(policyNamesToSkip=["creek"]) == ["IMPLICIT_DENY"] * 3
    added = iot.test_authorization(**question, policyNamesToAdd=["no", "creek"])["authResults"][0]
    explicit = added["denied"]["explicitDeny"]["policies"]
    assert [policy["policyName"] for policy in explicit] == ["no"]
    assert [policy["policyName"] for policy in added["allowed"]["policies"]] == ["creek"]


def test_test_authorization_of_policies_alone(iot: Any) -> None:
    iot.create_policy(policyName="creek", policyDocument=ALLOW)
    (result,) = iot.test_authorization(
        authInfos=[info("PUBLISH", "topic/creek/depth")], policyNamesToAdd=["creek"]
    )["authResults"]
    assert result["authDecision"] == "ALLOWED"


def test_test_authorization_names_variables_without_a_value(iot: Any) -> None:
    arn = attached_to_thing(iot)
    variable = "iot:Connection.Thing.ThingName"
    iot.create_policy(
        policyName="own",
        policyDocument=policy_document(("Allow", "Connect", f"client/${{{variable}}}")),
    )
    iot.attach_policy(policyName="own", target=arn)
    question = {"principal": arn, "authInfos": [info("CONNECT", "client/Test2")]}
    for client, decision, missing in (
        ({"clientId": "Test2"}, "ALLOWED", []),
        ({"clientId": "Test3"}, "IMPLICIT_DENY", [variable]),
        ({}, "IMPLICIT_DENY", [variable]),
    ):
        (result,) = iot.test_authorization(**question, **client)["authResults"]
        assert (result["authDecision"], result["missingContextValues"]) == (decision, missing)


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        (
            {"authInfos": [{"actionType": "CONNECT", "resources": []}]},
            "Invalid",
            "needs a resource",
        ),
        ({"policyNamesToAdd": ["none"]}, "ResourceNotFound", "Policy not found"),
        ({"cognitoIdentityPoolId": "pool"}, "ResourceNotFound", "Cognito identity pool pool does"),
        ({"principal": ARN + "thinggroup/gauges"}, "Invalid", "does not represent a cert"),
        ({"principal": ARN + "cert/" + UNKNOWN}, "ResourceNotFound", "does not exist"),
    ],
)
def test_invalid_questions_to_test_authorization(
    iot: Any, members: dict[str, Any], code: str, message: str
) -> None:
    iot.create_thing_group(thingGroupName="gauges")
    question = {"authInfos": [info("CONNECT", "client/a")], **members}
    found = refusal(lambda: iot.test_authorization(**question))
    assert found[0].startswith(code)
    assert message in found[1]


# --- group policies -------------------------------------------------------------------------------


@pytest.fixture
def gauges(iot: Any) -> str:
    """Create Test2 with a certificate, in the group ``plumtree`` below ``gauges``; return its ARN.

    Policy ``root`` is attached to gauges, ``leaf`` to plumtree, ``own`` to the certificate, and
    ``leaf`` to the certificate as well.
    """
    arn = attached_to_thing(iot)
    iot.update_certificate(certificateId=arn[-64:], newStatus="ACTIVE")
    iot.create_thing_group(thingGroupName="gauges")
    iot.create_thing_group(thingGroupName="plumtree", parentGroupName="gauges")
    iot.add_thing_to_thing_group(thingGroupName="plumtree", thingName="Test2")
    for name in ("root", "leaf", "own"):
        document = policy_document(("Allow", "Publish", f"topic/{name}"))
        iot.create_policy(policyName=name, policyDocument=document)
    iot.attach_policy(policyName="root", target=ARN + "thinggroup/gauges")
    iot.attach_policy(policyName="leaf", target=ARN + "thinggroup/plumtree")
    iot.attach_policy(policyName="own", target=arn)
    iot.attach_policy(policyName="leaf", target=arn)
    return arn


def may_publish(iot: Any, arn: str, **client: str) -> list[str]:
    names = ["root", "leaf", "own"]
    results = iot.test_authorization(
        principal=arn, authInfos=[info("PUBLISH", f"topic/{name}") for name in names], **client
    )["authResults"]
    return [
        name
        for name, result in zip(names, results, strict=True)
        if result["authDecision"] == "ALLOWED"
    ]


def effective(iot: Any, **of: str) -> list[str]:
    found = iot.get_effective_policies(**of)["effectivePolicies"]
    for each in found:
        assert each["policyArn"] == ARN + "policy/" + each["policyName"]
        assert f"topic/{each['policyName']}" in each["policyDocument"]
    return [each["policyName"] for each in found]


def test_group_policies_need_the_thing_as_client_id_and_the_attachment(
    iot: Any, iot_registry: Registry, gauges: str
) -> None:
    everything, own = ["root", "leaf", "own"], ["leaf", "own"]
    assert may_publish(iot, gauges, clientId="Test2") == everything
    assert may_publish(iot, gauges, clientId="Test3") == own
    assert may_publish(iot, gauges) == own
    access = ConnectionAuthorization(iot_registry, gauges[-64:], "Test2", "127.0.0.1")
    assert access.allows("iot:Publish", "topic/root")

    iot.detach_thing_principal(thingName="Test2", principal=gauges)
    access.invalidate()
    assert not access.allows("iot:Publish", "topic/root")
    assert may_publish(iot, gauges, clientId="Test2") == own

    other = certificate(iot)
    assert may_publish(iot, other, clientId="Test2") == []


def test_group_policies_follow_the_membership_at_once(
    iot: Any, iot_registry: Registry, gauges: str
) -> None:
    access = ConnectionAuthorization(iot_registry, gauges[-64:], "Test2", "127.0.0.1")
    iot_registry.authorization_listeners.append(access.invalidate)

    def may() -> bool:
        return access.allows("iot:Publish", "topic/root")

    assert may()
    iot.remove_thing_from_thing_group(thingGroupName="plumtree", thingName="Test2")
    assert not may()
    iot.add_thing_to_thing_group(thingGroupName="gauges", thingName="Test2")
    assert may()
    iot.detach_policy(policyName="root", target=ARN + "thinggroup/gauges")
    assert not may()
    iot.attach_policy(policyName="root", target=ARN + "thinggroup/gauges")
    assert may()
    iot.remove_thing_from_thing_group(thingGroupName="gauges", thingName="Test2")
    iot.add_thing_to_thing_group(thingGroupName="plumtree", thingName="Test2")
    assert may()
    iot.delete_thing_group(thingGroupName="plumtree")
    assert not may()


def test_effective_policies(iot: Any, gauges: str) -> None:
    assert effective(iot, principal=gauges) == ["own", "leaf"]
    assert effective(iot, thingName="Test2") == ["root", "leaf"]
    assert effective(iot, principal=gauges, thingName="Test2") == ["own", "leaf", "root"]
    assert effective(iot, principal=ARN + "thinggroup/plumtree") == ["root", "leaf"]
    assert effective(iot, principal=ARN + "thinggroup/gauges") == ["root"]
    thing(iot, "Test3")
    assert effective(iot, principal=gauges, thingName="Test3") == ["own", "leaf"]
    assert effective(iot) == []


def test_the_type_of_a_thing_is_a_variable(iot: Any) -> None:
    arn = attached_to_thing(iot)
    iot.create_thing_type(thingTypeName="gauge")
    iot.update_thing(thingName="Test2", thingTypeName="gauge")
    topic = "topic/${iot:Connection.Thing.ThingTypeName}/depth"
    iot.create_policy(
        policyName="typed", policyDocument=policy_document(("Allow", "Publish", topic))
    )
    iot.attach_policy(policyName="typed", target=arn)

    def decisions() -> list[tuple[str, list[str]]]:
        results = iot.test_authorization(
            principal=arn,
            clientId="Test2",
            authInfos=[info("PUBLISH", "topic/gauge/depth"), info("PUBLISH", "topic/pump/depth")],
        )["authResults"]
        return [(each["authDecision"], each["missingContextValues"]) for each in results]

    assert decisions() == [("ALLOWED", []), ("IMPLICIT_DENY", [])]
    iot.update_thing(thingName="Test2", removeThingType=True)
    missing = ["iot:Connection.Thing.ThingTypeName"]
    assert decisions() == [("IMPLICIT_DENY", missing)] * 2


def test_an_exclusive_certificate_is_its_thing_under_any_client_id(
    iot: Any, iot_registry: Registry
) -> None:
    arn = certificate(iot, active=True)
    for name in ("Test2", "Test3"):
        thing(iot, name)
    iot.attach_thing_principal(
        thingName="Test2", principal=arn, thingPrincipalType="EXCLUSIVE_THING"
    )
    prefix = "iot:Connection.Thing."
    for client_id in ("Test2", "Test3", "anything"):
        context = iot_registry.thing_context(client_id, arn[-64:])
        assert context == {prefix + "IsAttached": "true", prefix + "ThingName": "Test2"}
        assert iot_registry.policy_context.thing_of(arn[-64:], client_id) == "Test2"
    iot.detach_thing_principal(thingName="Test2", principal=arn)
    assert iot_registry.thing_context("Test2", arn[-64:]) == {prefix + "IsAttached": "false"}
    assert iot_registry.policy_context.thing_of(arn[-64:], "Test2") is None


@pytest.mark.parametrize("operator", ["ArnEquals", "StringLike"])
def test_a_policy_can_require_the_topic_of_the_will(
    iot: Any, iot_registry: Registry, operator: str
) -> None:
    rule = {
        "Effect": "Allow",
        "Action": "iot:Connect",
        "Resource": "*",
        "Condition": {operator: {"iot:LastWillTopic": ARN + "topic/gone/${iot:ClientId}"}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    arn = certificate(iot, active=True)
    iot.create_policy(policyName="will", policyDocument=document)
    iot.attach_policy(policyName="will", target=arn)

    def access(will_topic: str | None) -> ConnectionAuthorization:
        ends = ("Test2", "127.0.0.1", ("LastWill",), will_topic)
        return ConnectionAuthorization(iot_registry, arn[-64:], *ends)

    assert access("gone/Test2").allows("iot:Connect", "client/Test2")
    assert not access("gone/Test3").allows("iot:Connect", "client/Test2")
    without = access(None)
    assert not without.allows("iot:Connect", "client/Test2")
    summary = without.decided("iot:Connect", "client/Test2").explain().summary
    assert "the client connects without a will" in summary
    assert "connect with a will" in summary.lower()


# --- any policies, any groups, any requests -------------------------------------------------------

THINGS = ("Test2", "Test3")
TREE = {"gauges": None, "plumtree": "gauges", "broad": "gauges", "pumps": None}
IN = ("plumtree", "broad", "gauges", "pumps", None)
KINDS = {"CONNECT": "client", "PUBLISH": "topic", "RECEIVE": "topic", "SUBSCRIBE": "topicfilter"}
NAMES = ("Test2", "Test3", "creek", "creek/Test2", "creek/gauge", "creek/a/b", "+", "creek/#")
PATTERNS = (
    *NAMES,
    "*",
    "creek/*",
    "Test?",
    "${iot:ClientId}",
    "creek/${iot:Connection.Thing.ThingName}",
    "creek/${iot:Connection.Thing.ThingTypeName}",
    "*${iot:Connection.Thing.Attributes[site]}*",
)


def some_document(random: Random) -> str:
    statements = []
    for _ in range(random.randint(1, 2)):
        kind = random.choice(["client", "topic", "topicfilter", "topic*"])
        statement: dict[str, Any] = {
            "Effect": random.choice(["Allow", "Allow", "Deny"]),
            "Action": f"iot:{random.choice(['*', *ACTIONS.values()])}",
            "Resource": f"{ARN}{kind}/{random.choice(PATTERNS)}",
        }
        if random.random() < 0.3:
            value = random.choice(["true", "false"])
            statement["Condition"] = {"Bool": {"iot:Connection.Thing.IsAttached": value}}
        statements.append(statement)
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@dataclass(frozen=True)
class World:
    """The registry of one example."""

    policies: list[str]
    attached: list[str]  # Things that the certificate is attached to
    members: dict[str, str | None]  # the group that each Thing is in
    of_certificate: set[int]
    of_groups: dict[str, set[int]]
    client_id: str
    asked: list[tuple[str, str]]


def world_of(seed: int) -> World:
    """Return a random world. Its choices are independent; hypothesis's own would not be."""
    random = Random(seed)

    def some() -> set[int]:
        return set(random.sample(range(4), random.randint(0, 2)))

    return World(
        [some_document(random) for _ in range(4)],
        random.sample(THINGS, random.randint(0, 2)),
        {name: random.choice(IN) for name in THINGS},
        some(),
        {name: some() for name in TREE},
        random.choice([*THINGS, *THINGS, "creek", "+"]),
        [(random.choice(list(KINDS)), random.choice(NAMES)) for _ in range(8)],
    )


worlds = st.integers(0, 2**64).map(world_of)


def applying(world: World) -> set[int]:
    """Return the policies that apply, derived from the world alone."""
    found = set(world.of_certificate)
    if world.client_id in world.attached:
        group = world.members.get(world.client_id)
        while group is not None:
            found |= world.of_groups.get(group, set())
            group = TREE[group]
    return found


def context(world: World) -> dict[str, str]:
    prefix = "iot:Connection.Thing."
    known = {"iot:ClientId": world.client_id}
    if world.client_id in world.attached:
        known |= {
            prefix + "IsAttached": "true",
            prefix + "ThingName": world.client_id,
            prefix + "Attributes[site]": "ree",
        }
        if world.client_id == "Test2":
            known[prefix + "ThingTypeName"] = "gauge"
    elif world.client_id in THINGS:
        known[prefix + "IsAttached"] = "false"
    return known


def build(world: World, registry: Registry) -> tuple[Any, str]:
    """Create a world; return the operations and the certificate's ARN."""
    iot: Any = Checked(RegistryOperations(registry))
    arn = certificate(iot, active=True)
    iot.create_thing_type(thingTypeName="gauge")
    for name in THINGS:
        thing(iot, name, site="ree")
    iot.update_thing(thingName="Test2", thingTypeName="gauge")
    for name, parent in TREE.items():
        iot.create_thing_group(
            thingGroupName=name, **({"parentGroupName": parent} if parent else {})
        )
    for name in world.attached:
        iot.attach_thing_principal(thingName=name, principal=arn)
    for name, group in world.members.items():
        if group is None:
            continue
        iot.add_thing_to_thing_group(thingName=name, thingGroupName=group)
    for number, document in enumerate(world.policies):
        iot.create_policy(policyName=f"p{number}", policyDocument=document)
    targets = [(arn, world.of_certificate)]
    targets += [(f"{ARN}thinggroup/{group}", numbers) for group, numbers in world.of_groups.items()]
    for target, numbers in targets:
        for number in numbers:
            iot.attach_policy(policyName=f"p{number}", target=target)
    return iot, arn


def test_test_authorization_agrees_with_the_broker(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    files = itertools.count()

    @settings(max_examples=100, deadline=None)
    @given(worlds)
    def check(world: World) -> None:
        store = Database(tmp_path / f"{next(files)}.db")
        registry = Registry(
            store,
            authority,
            IDENTITY,
            "localhost",
            Clock(),
        )
        iot, arn = build(world, registry)
        results = iot.test_authorization(
            principal=arn,
            clientId=world.client_id,
            authInfos=[info(action, f"{KINDS[action]}/{name}") for action, name in world.asked],
        )["authResults"]
        broker = ConnectionAuthorization(registry, arn[-64:], world.client_id, "127.0.0.1")
        by_hand = Authorizer(
            [documents.parse(world.policies[number]) for number in applying(world)], context(world)
        )
        for (action, name), result in zip(world.asked, results, strict=True):
            action_name, resource = f"iot:{ACTIONS[action]}", f"{KINDS[action]}/{name}"
            decision = result["authDecision"]
            assert (decision == "ALLOWED") == broker.allows(action_name, resource)
            assert decision == broker.decided(action_name, resource).explain().outcome
            assert decision == by_hand.decide(action_name, ARN + resource).outcome
        names = {each["policyName"] for each in effective_of(iot, arn, world)}
        assert names == {f"p{number}" for number in applying(world)}
        store.close()

    def effective_of(iot: Any, arn: str, world: World) -> list[dict[str, str]]:
        known = {"thingName": world.client_id} if world.client_id in THINGS else {}
        found: list[dict[str, str]] = iot.get_effective_policies(principal=arn, **known)[
            "effectivePolicies"
        ]
        return found

    check()
