"""The policies that apply to a connection, bound to its variables, and those that nearly apply.

The broker and TestAuthorization use the same binding, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from creeklab.cloud.policy import (
    Authorizer,
    Context,
    NonApplyingPolicy,
    Policy,
    PolicyNeighborhood,
)
from creeklab.cloud.registry import Registry
from creeklab.cloud.storage.database import Page

MAX_CACHED = 256
MAX_NEIGHBORS = 20
"""Things of a certificate, and policies of the account, that an explanation looks at."""


def authorizer(
    registry: Registry,
    certificate_id: str | None,
    client_id: str | None,
    connection: Context,
    *,
    add: Iterable[Policy] = (),
    skip: Collection[str] = (),
) -> Authorizer:
    """Bind the policies of a connection to its policy variables and condition keys.

    Parameters
    ----------
    connection
        Values from the connection itself, such as ``aws:SourceIp``.
    add, skip
        Policies to treat as attached, and names of policies to treat as detached.
    """
    policies: list[Policy] = []
    context: dict[str, str | tuple[str, ...]] = dict(connection)
    if certificate_id is not None:
        policies = registry.policies_of(certificate_id, client_id)
        context |= registry.certificate_context(certificate_id)
        if client_id is not None:
            context |= registry.thing_context(client_id, certificate_id)
    remaining = [policy for policy in (*policies, *add) if policy.name not in skip]
    return Authorizer(list(dict.fromkeys(remaining)), context)


def policy_neighborhood(
    registry: Registry, certificate_id: str, policies: Iterable[Policy]
) -> PolicyNeighborhood:
    """Return the neighborhood of a connection to which `policies` apply.

    It contains the policies that a slip keeps from applying: another version of a policy that does
    apply, a policy of a group or of another certificate of the certificate's Things, and a policy
    that is not attached. It is looked up once until something changes, because a client can be
    denied thousands of times.
    """
    key = (certificate_id, *sorted(policy.name for policy in policies))
    if key not in registry.neighborhoods:
        if len(registry.neighborhoods) >= MAX_CACHED:
            registry.neighborhoods.clear()
        registry.neighborhoods[key] = _find_neighborhood(registry, certificate_id, key[1:])
    return registry.neighborhoods[key]


def _find_neighborhood(
    registry: Registry, certificate_id: str, names: Iterable[str]
) -> PolicyNeighborhood:
    if registry.certificate_status(certificate_id) is None:
        return PolicyNeighborhood()
    arn = registry.arn("cert", certificate_id)
    things = tuple(
        name for name, _ in registry.thing_principals.things_of(arn, Page(MAX_NEIGHBORS))[0]
    )
    applying = set(names)
    idle = [one for name in names for one in _other_versions(registry, name)]
    for thing in things:
        for policy in registry.policy_context.policies_of_thing(thing):
            if policy.name not in applying:
                applying.add(policy.name)
                why = f"is attached to a group of the Thing {thing!r} and would allow it"
                advice = f"connect with {thing!r} as client ID, so that its groups count"
                idle.append(NonApplyingPolicy(policy, "group", why, advice))
    others = _of_other_certificates(registry, certificate_id, things)
    for policy, thing in islice(others, MAX_NEIGHBORS):
        if policy.name not in applying:
            applying.add(policy.name)
            why = f"is attached to another certificate of the Thing {thing!r} and would allow it"
            advice = "attach it to this certificate, too (AttachPolicy)"
            idle.append(NonApplyingPolicy(policy, "replaced", why, advice))
    for name in registry.policies.page(Page(MAX_NEIGHBORS))[0]:
        policy = registry.policies.parsed(name)
        # A policy that allows everything would always help, so naming it is no advice.
        wide = any("*" in statement.resources for statement in policy.statements)
        if name not in applying and not wide:
            why = "would allow it, but is not attached to the certificate"
            advice = "attach it (AttachPolicy), if everything else that it allows is intended, too"
            idle.append(NonApplyingPolicy(policy, "detached", why, advice))
    return PolicyNeighborhood(idle, things)


def _other_versions(registry: Registry, name: str) -> Iterable[NonApplyingPolicy]:
    default = registry.policies.get(name).default_version
    for version in reversed(registry.policies.versions(name)):
        if version.version != default:
            policy = registry.policies.parse(name, version.document)
            why = f"would allow it in its version {version.version}, but version {default} counts"
            advice = "make that one the default (SetDefaultPolicyVersion)"
            yield NonApplyingPolicy(policy, "version", why, advice)


def _of_other_certificates(
    registry: Registry, certificate_id: str, things: Iterable[str]
) -> Iterable[tuple[Policy, str]]:
    """Yield the policies of the Things' other certificates, such as one that was replaced."""
    for thing in things:
        for arn, _ in registry.thing_principals.of_thing(thing, Page(MAX_NEIGHBORS))[0]:
            other = arn.rpartition("/")[2]
            if other != certificate_id:
                for policy in registry.policy_context.policies_of(other):
                    yield policy, thing
