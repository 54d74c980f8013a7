"""What one connection may do: the policies of its certificate, bound to who and where it is.

Answers are cached per resource until something in the registry changes (`forget`). The same
binding (`authorizer`) answers the broker and TestAuthorization, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from creeklab.cloud.policy import (
    Authorizer,
    Context,
    Explanation,
    NonApplyingPolicy,
    Policy,
    PolicyNeighborhood,
    explain,
)
from creeklab.cloud.registry import Registry
from creeklab.cloud.storage.database import Page

MAX_CACHED = 4096
MAX_NEIGHBORS = 20
"""How many Things of a certificate, and policies of the account, an explanation looks at."""


def not_active(certificate_id: str, status: str | None) -> str:
    """Say that a certificate of this status, None if it has none, lets nobody in."""
    state = f"is {status}: activate it with update_certificate, or use another"
    if status is None:
        state = "is not in this account's registry: make a new one, and save it"
    return f"The certificate {certificate_id[:12]}... {state}. Only an ACTIVE one may connect."


class ConnectionAuthorization:
    """The rights of one certificate, connected under one client id.

    Parameters
    ----------
    client_id
        None over HTTPS, where there is none.
    attributes
        The set ``iot:ConnectAttributes``: ``PersistentConnect`` and ``LastWill`` as they apply.

    Attributes
    ----------
    publishable
        Topics on which nothing stands against a message that is not retained. Whoever finds that
        out adds them, at most `MAX_CACHED`; `forget` empties it.
    receivable
        Topics on which `may_receive` has found that messages may be delivered.
    """

    def __init__(
        self,
        registry: Registry,
        certificate_id: str,
        client_id: str | None,
        source_ip: str,
        attributes: tuple[str, ...] = (),
    ) -> None:
        self._registry = registry
        self.certificate_id = certificate_id
        self._client_id = client_id
        self._connection: dict[str, str | tuple[str, ...]] = {
            "aws:SourceIp": source_ip,
            "iot:ConnectAttributes": attributes,
        }
        if client_id is not None:
            self._connection["iot:ClientId"] = client_id
        self._arn = f"arn:aws:iot:{registry.region}:{registry.account}:"
        self._bound: Authorizer | None = None
        self._around: PolicyNeighborhood | None = None
        self._answers: dict[str, dict[str, bool]] = {}
        self.receivable: set[str] = set()
        self.publishable: set[str] = set()

    def invalidate(self) -> None:
        """Drop what was worked out: a policy, an attachment, a Thing or a certificate changed."""
        self._bound = None
        self._around = None
        self._answers.clear()
        self.receivable.clear()
        self.publishable.clear()

    @property
    def status(self) -> str | None:
        """Status of the certificate, such as ``ACTIVE``; None if the registry has none of it."""
        return self._registry.certificate_status(self.certificate_id)

    @property
    def exclusive_thing(self) -> str | None:
        """Name of the Thing that alone has the certificate, if it was attached like that."""
        return self._registry.exclusive_thing(self.certificate_id)

    def allows(self, action: str, resource: str) -> bool:
        """Tell whether `action` is allowed on `resource`, such as ``topic/creek/depth``."""
        answers = self._answers.setdefault(action, {})
        answer = answers.get(resource)
        if answer is None:
            if len(answers) >= MAX_CACHED:
                answers.clear()
            answer = self.status == "ACTIVE" and (
                self._authorizer().decide(action, self._arn + resource).allows
            )
            answers[resource] = answer
        return answer

    def may_receive(self, topic: str, refused: Callable[[str], None]) -> bool:
        """Tell whether a message on `topic` may be delivered. It may if `receivable` has the topic.

        `refused` is called with the resource when a refusal is found, not each time it is met.
        """
        resource = "topic/" + topic
        known = self._answers.get("iot:Receive", {}).get(resource)
        allowed = self.allows("iot:Receive", resource)
        if allowed and len(self.receivable) < MAX_CACHED:
            self.receivable.add(topic)
        elif not allowed and known is None:
            refused(resource)
        return allowed

    def explain(self, action: str, resource: str) -> Explanation:
        """Explain the decision on `action` and `resource`."""
        bound = self._authorizer()
        if self._around is None:
            self._around = policy_context(self._registry, self.certificate_id, bound.policies)
        return explain(bound, action, self._arn + resource, self._around)

    def _authorizer(self) -> Authorizer:
        if self._bound is None:
            self._bound = authorizer(
                self._registry, self.certificate_id, self._client_id, self._connection
            )
        return self._bound


class AccountAuthorization(ConnectionAuthorization):
    """The rights of the account itself, which signed its request: an administrator's, all of IoT.

    Of it the policies of IAM are asked, and the account's one user is an administrator there.
    """

    @property
    def status(self) -> str:
        """It has no certificate that could be anything but active."""
        return "ACTIVE"

    @property
    def exclusive_thing(self) -> None:
        """It is no Thing."""
        return None

    def allows(self, action: str, resource: str) -> bool:
        """Tell that `action` is allowed on `resource`."""
        return True


def authorizer(
    registry: Registry,
    certificate_id: str | None,
    client_id: str | None,
    connection: Context,
    *,
    add: Iterable[Policy] = (),
    skip: Collection[str] = (),
) -> Authorizer:
    """Bind the policies of a connection to what is known of it.

    Parameters
    ----------
    certificate_id, client_id
        None if the question leaves them open.
    connection
        What the connection itself brings, such as ``aws:SourceIp``.
    add, skip
        Policies as if they were attached too, and names of policies as if they were not.
    """
    policies: list[Policy] = []
    context: dict[str, str | tuple[str, ...]] = dict(connection)
    if certificate_id is not None:
        policies = registry.policies_of(certificate_id, client_id)
        context |= registry.certificate_context(certificate_id)
        if client_id is not None:
            context |= registry.thing_context(client_id, certificate_id)
    kept = [policy for policy in (*policies, *add) if policy.name not in skip]
    return Authorizer(list(dict.fromkeys(kept)), context)


def policy_context(
    registry: Registry, certificate_id: str, policies: Iterable[Policy]
) -> PolicyNeighborhood:
    """Return what lies around a connection to which `policies` apply.

    Of the policies that do not apply those are named which a slip keeps from it: another version
    of one that does, one of a group of the certificate's Things, one that nobody attached.
    """
    if registry.certificate_status(certificate_id) is None:
        return PolicyNeighborhood()
    arn = registry.arn("cert", certificate_id)
    things = tuple(name for name, _ in registry.principals.things_of(arn, Page(MAX_NEIGHBORS))[0])
    applying = {policy.name for policy in policies}
    idle = [one for name in sorted(applying) for one in _other_versions(registry, name)]
    for thing in things:
        for policy in registry.rights.policies_of_thing(thing):
            if policy.name not in applying:
                applying.add(policy.name)
                why = f"is attached to a group of the Thing {thing!r} and would allow it"
                advice = f"connect with {thing!r} as client id, so that its groups count"
                idle.append(NonApplyingPolicy(policy, "group", why, advice))
    for name in registry.policies.page(Page(MAX_NEIGHBORS))[0]:
        policy = registry.policies.parsed(name)
        # One that allows everything would always help, and is no advice.
        wide = any("*" in statement.resources for statement in policy.statements)
        if name not in applying and not wide:
            why = "would allow it, but is not attached to the certificate"
            advice = "attach it (AttachPolicy), if all else that it allows is meant as well"
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
