"""Which AWS call creates or deletes which resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from creeklab.resources.resource import Resource, ResourceKind

Document = Mapping[str, Any]
"""Members of a request or a response."""


def _named(kind: ResourceKind, *members: str) -> Callable[[Document], Resource]:
    return lambda document: Resource(
        kind, tuple(str(document.get(member) or "") for member in members)
    )


def _group_member(request: Document) -> Resource:
    group, thing = (
        str(request.get(f"{each}Name") or str(request.get(f"{each}Arn")).rpartition("/")[2])
        for each in ("thingGroup", "thing")
    )
    return Resource(ResourceKind.GROUP_MEMBER, (group, thing))


def _function(request: Document) -> Resource:
    name = str(request.get("FunctionName")).rpartition("function:")[2]
    return Resource(ResourceKind.FUNCTION, (name.partition(":")[0],))


def _requested(
    resource: Callable[[Document], Resource],
) -> Callable[[Document, Document], Resource]:
    return lambda request, _: resource(request)


def _assigned(kind: ResourceKind, *members: str) -> Callable[[Document, Document], Resource | None]:
    """Return the resource only after the call: AWS assigns its name in the response."""

    def resource(request: Document, response: Document) -> Resource | None:
        return _named(kind, *members)({**request, **response}) if response else None

    return resource


_certificate = _assigned(ResourceKind.CERTIFICATE, "certificateId")
_thing_principal = _named(ResourceKind.THING_PRINCIPAL, "thingName", "principal")
_policy_target = _named(ResourceKind.POLICY_TARGET, "policyName", "target")
_policy_principal = _named(ResourceKind.POLICY_TARGET, "policyName", "principal")
_role = _named(ResourceKind.ROLE, "RoleName")
_role_policy = _named(ResourceKind.ROLE_POLICY, "RoleName", "PolicyName")
_shadow = _named(ResourceKind.SHADOW, "thingName", "shadowName")

CREATES: Mapping[str, Callable[[Document, Document], Resource | None]] = {
    "CreateThing": _requested(_named(ResourceKind.THING, "thingName")),
    "CreateThingType": _requested(_named(ResourceKind.THING_TYPE, "thingTypeName")),
    "CreateThingGroup": _requested(_named(ResourceKind.THING_GROUP, "thingGroupName")),
    "CreateKeysAndCertificate": _certificate,
    "CreateCertificateFromCsr": _certificate,
    "RegisterCertificate": _certificate,
    "RegisterCertificateWithoutCA": _certificate,
    "CreatePolicy": _requested(_named(ResourceKind.POLICY, "policyName")),
    "CreatePolicyVersion": _assigned(ResourceKind.POLICY_VERSION, "policyName", "policyVersionId"),
    "AttachThingPrincipal": _requested(_thing_principal),
    "AttachPolicy": _requested(_policy_target),
    "AttachPrincipalPolicy": _requested(_policy_principal),
    "AddThingToThingGroup": _requested(_group_member),
    "UpdateThingShadow": _requested(_shadow),
    "CreateRole": _requested(_role),
    "PutRolePolicy": _requested(_role_policy),
    "CreateTopicRule": _requested(_named(ResourceKind.TOPIC_RULE, "ruleName")),
    "CreateFunction": _requested(_function),
}
"""The resource that an operation creates, from request and response; None before a response."""

DELETES: Mapping[str, Callable[[Document], Resource]] = {
    "DeleteThing": _named(ResourceKind.THING, "thingName"),
    "DeleteThingType": _named(ResourceKind.THING_TYPE, "thingTypeName"),
    "DeleteThingGroup": _named(ResourceKind.THING_GROUP, "thingGroupName"),
    "DeleteCertificate": _named(ResourceKind.CERTIFICATE, "certificateId"),
    "DeletePolicy": _named(ResourceKind.POLICY, "policyName"),
    "DeletePolicyVersion": _named(ResourceKind.POLICY_VERSION, "policyName", "policyVersionId"),
    "DetachThingPrincipal": _thing_principal,
    "DetachPolicy": _policy_target,
    "DetachPrincipalPolicy": _policy_principal,
    "RemoveThingFromThingGroup": _group_member,
    "DeleteThingShadow": _shadow,
    "DeleteRole": _role,
    "DeleteRolePolicy": _role_policy,
    "DeleteTopicRule": _named(ResourceKind.TOPIC_RULE, "ruleName"),
    "DeleteFunction": _function,
}
"""The resource that an operation deletes, from its request."""
