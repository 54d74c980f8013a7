"""An AWS resource as the ledger names it: its kind, and what distinguishes it within that kind.

Attachments are kinds of their own, because separate calls create and delete them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class ResourceKind(StrEnum):
    """Kind of a resource. The values are stored in ledger files."""

    THING = "Thing"
    THING_TYPE = "thing type"
    THING_GROUP = "thing group"
    CERTIFICATE = "certificate"
    POLICY = "policy"
    POLICY_VERSION = "policy version"
    THING_PRINCIPAL = "certificate of a Thing"
    POLICY_TARGET = "policy of a certificate"
    GROUP_MEMBER = "Thing in a group"
    SHADOW = "shadow"
    RETAINED_MESSAGE = "retained message"
    ROLE = "role"
    ROLE_POLICY = "policy of a role"
    TOPIC_RULE = "topic rule"
    FUNCTION = "function"


ATTACHMENTS = (ResourceKind.THING_PRINCIPAL, ResourceKind.POLICY_TARGET, ResourceKind.GROUP_MEMBER)

IDENTITIES = {
    ResourceKind.THING: "thingId",
    ResourceKind.THING_TYPE: "thingTypeId",
    ResourceKind.THING_GROUP: "thingGroupId",
    ResourceKind.POLICY: "creationDate",
    ResourceKind.ROLE: "RoleId",
    ResourceKind.TOPIC_RULE: "createdAt",
}
"""The member of AWS's description that distinguishes a resource from a later one of its name."""


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """A resource.

    Attributes
    ----------
    names
        Name or id. For an attachment, first what is attached to, or the policy, then the other
        end. For a shadow, the Thing and the shadow's name, ``""`` for the classic one.
    """

    kind: ResourceKind
    names: tuple[str, ...]

    def row(self) -> tuple[str, str]:
        """Return kind and name as text."""
        first, *others = self.names
        return self.kind.value, f"{first}, {others[0]}" if any(others) else first

    def __str__(self) -> str:
        first, second = self.names[0], self.names[-1]
        match self.kind:
            case ResourceKind.CERTIFICATE:
                return f"certificate {first}"
            case ResourceKind.POLICY_TARGET:
                return f"policy '{first}' on {describe_arn(second)}"
            case ResourceKind.THING_PRINCIPAL:
                return f"{describe_arn(second)} on Thing '{first}'"
            case ResourceKind.GROUP_MEMBER:
                return f"Thing '{second}' in thing group '{first}'"
            case ResourceKind.POLICY_VERSION:
                return f"version {second} of policy '{first}'"
            case ResourceKind.ROLE_POLICY:
                return f"policy '{second}' of role '{first}'"
            case ResourceKind.SHADOW:
                return f"shadow '{second}' of '{first}'" if second else f"shadow of '{first}'"
            case ResourceKind.RETAINED_MESSAGE:
                return f"retained message on '{first}'"
            case _:
                return f"{self.kind} '{first}'"


def describe_arn(arn: str) -> str:
    """Return what an ARN names: ``certificate 0a1b...``, ``thing group 'gauges'``."""
    kind, _, name = arn.rpartition(":")[2].partition("/")
    texts = {"cert": f"certificate {name}", "thinggroup": f"thing group '{name}'"}
    return texts.get(kind, arn)


def name_resolver(resources: Iterable[Resource]) -> Callable[[str], str]:
    """Return a function that replaces a certificate's long id by ``certificate of 'Test2'``.

    The id stays if the certificate has no Thing, or its Thing has several certificates.
    """
    things: dict[str, list[str]] = {}
    for one in resources:
        if one.kind == ResourceKind.THING_PRINCIPAL:
            things.setdefault(one.names[0], []).append(endpoints(one)[1].names[0])
    owners = {ids[0]: thing for thing, ids in things.items() if len(ids) == 1}

    def resolve(text: str) -> str:
        for number, thing in owners.items():
            text = text.replace(f"certificate {number}", f"certificate of '{thing}'")
        return text

    return resolve


def endpoints(attachment: Resource) -> tuple[Resource, Resource]:
    """Return the two resources that an attachment connects."""
    first, second = attachment.names
    if attachment.kind == ResourceKind.GROUP_MEMBER:
        return Resource(ResourceKind.THING_GROUP, (first,)), Resource(ResourceKind.THING, (second,))
    on_policy = attachment.kind == ResourceKind.POLICY_TARGET
    kind, _, name = second.rpartition(":")[2].partition("/")
    return (
        Resource(ResourceKind.POLICY if on_policy else ResourceKind.THING, (first,)),
        Resource(
            ResourceKind.THING_GROUP if kind == "thinggroup" else ResourceKind.CERTIFICATE, (name,)
        ),
    )


def cascades_with(other: Resource, deleted: Resource) -> bool:
    """Return whether a resource disappears when another one is deleted."""
    if other.kind in ATTACHMENTS:
        return deleted in endpoints(other)
    return (
        other.kind == ResourceKind.POLICY_VERSION
        and deleted.kind == ResourceKind.POLICY
        and other.names[0] == deleted.names[0]
    )
