"""The neighborhood of a denied connection: policies that would help if they applied."""

from __future__ import annotations

from typing import Any

import pytest

from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.policy import Explanation
from creeklab.cloud.registry import Registry
from tests.cloud.iot_fixture import ALLOW, ARN, attached_to_thing, policy_document


@pytest.fixture
def arn(iot: Any) -> str:
    arn = attached_to_thing(iot)
    iot.update_certificate(certificateId=arn[-64:], newStatus="ACTIVE")
    document = policy_document(("Allow", "Connect", "client/*"))
    iot.create_policy(policyName="own", policyDocument=document)
    iot.attach_policy(policyName="own", target=arn)
    return arn


def denied(registry: Registry, arn: str, client_id: str = "Test2") -> Explanation:
    access = ConnectionAuthorization(registry, arn[-64:], client_id, "127.0.0.1")
    return access.decided("iot:Publish", "topic/creek/depth").explain()


PUBLISH = policy_document(("Allow", "Publish", "topic/creek/depth"))


def test_another_version_would_allow(iot: Any, iot_registry: Registry, arn: str) -> None:
    iot.create_policy_version(policyName="own", policyDocument=PUBLISH)
    found = denied(iot_registry, arn)
    assert [each.reason for each in found.non_applying] == ["version"]
    assert "Policy 'own' would allow it in its version 2, but version 1 counts" in found.summary


def test_a_detached_policy(iot: Any, iot_registry: Registry, arn: str) -> None:
    iot.create_policy(policyName="policyall", policyDocument=ALLOW)
    assert denied(iot_registry, arn).non_applying == ()
    iot.create_policy(policyName="narrow", policyDocument=PUBLISH)
    found = denied(iot_registry, arn)
    assert [(each.policy, each.reason) for each in found.non_applying] == [("narrow", "detached")]
    assert "not attached to the certificate" in found.summary


def test_the_policy_of_a_replaced_certificate_comes_first(
    iot: Any, iot_registry: Registry, arn: str
) -> None:
    for name in ("a-broad-one", "of-old-certificate"):
        iot.create_policy(policyName=name, policyDocument=PUBLISH)
    old = iot.create_keys_and_certificate(setAsActive=False)["certificateArn"]
    iot.attach_thing_principal(thingName="Test2", principal=old)
    iot.attach_policy(policyName="of-old-certificate", target=old)
    found = denied(iot_registry, arn)
    assert [(each.policy, each.reason) for each in found.non_applying] == [
        ("of-old-certificate", "replaced"),
        ("a-broad-one", "detached"),
    ]
    assert "is attached to another certificate of the Thing 'Test2'" in found.summary


def test_the_policy_of_a_group_needs_the_thing_as_client_id(
    iot: Any, iot_registry: Registry, arn: str
) -> None:
    iot.create_policy(policyName="of-group", policyDocument=PUBLISH)
    iot.create_thing_group(thingGroupName="gauges")
    iot.add_thing_to_thing_group(thingGroupName="gauges", thingName="Test2")
    iot.attach_policy(policyName="of-group", target=ARN + "thinggroup/gauges")
    found = denied(iot_registry, arn, "other")
    assert [(each.policy, each.reason) for each in found.non_applying] == [("of-group", "group")]
    assert "connect with 'Test2' as client ID" in found.summary


def test_why_a_thing_variable_is_empty(iot: Any, iot_registry: Registry, arn: str) -> None:
    own = policy_document(("Allow", "Publish", "topic/${iot:Connection.Thing.ThingName}/*"))
    iot.create_policy_version(policyName="own", policyDocument=own, setAsDefault=True)
    summary = denied(iot_registry, arn, "gauge").summary
    assert "'gauge' is not the name of a Thing" in summary
    assert "this certificate is attached to 'Test2'" in summary
    assert "or attach it to 'Test2' exclusively" in summary


def test_changes_in_the_neighborhood_count(iot: Any, iot_registry: Registry, arn: str) -> None:
    access = ConnectionAuthorization(iot_registry, arn[-64:], "Test2", "127.0.0.1")
    iot_registry.authorization_listeners.append(access.invalidate)
    request = ("iot:Publish", "topic/creek/depth")
    assert access.decided(*request).explain().non_applying == ()
    iot.create_policy(policyName="narrow", policyDocument=PUBLISH)
    assert [each.policy for each in access.decided(*request).explain().non_applying] == ["narrow"]
