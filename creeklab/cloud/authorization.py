"""What one connection is allowed to do: the policies of its certificate, bound to its attributes.

All decisions about a connection are cached here and nowhere else, by action and resource, until
something in the registry changes (`invalidate`). The same binding (`authorizer`) answers the broker
and TestAuthorization, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable

from creeklab.cloud.policy import Authorizer, DecidedRequest
from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.authorizer import authorizer, policy_neighborhood

MAX_CACHED = 4096
"""Resources whose decision is cached, for each action."""

MAX_RESOURCE = 512
"""Characters of a resource that policies see. No valid topic, filter, client ID or Thing has more.
What is longer is rejected after the policies, so a client cannot make them compare 64 KB."""


def not_active(certificate_id: str, status: str | None) -> str:
    """Explain why a certificate of this status, or without one, cannot connect."""
    state = f"is {status}. Activate it with update_certificate, or use a different certificate"
    if status is None:
        state = "is not in this account's registry. Create a new certificate and save its files"
    short = certificate_id[:12]
    return f"The certificate {short}... {state}. Only an ACTIVE certificate can connect."


class ConnectionAuthorization:
    """Authorization of one certificate, connected under one client ID.

    Parameters
    ----------
    client_id
        None over HTTPS, which has no client ID.
    attributes
        The set ``iot:ConnectAttributes``: ``PersistentConnect``, ``LastWill``, both or neither.
    will_topic
        Topic of the will; its ARN is ``iot:LastWillTopic``. None if there is no will.

    Attributes
    ----------
    publishable, receivable
        Topics that `allows` has allowed to publish to and to receive, for the broker's hot path.
    """

    def __init__(
        self,
        registry: Registry,
        certificate_id: str,
        client_id: str | None,
        source_ip: str,
        attributes: tuple[str, ...] = (),
        will_topic: str | None = None,
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
        if will_topic is not None:
            self._connection["iot:LastWillTopic"] = registry.arn("topic", will_topic)
        self._arn = registry.identity.iot_arn
        self._bound: Authorizer | None = None
        self._decisions: dict[str, dict[str, bool]] = {}
        self.publishable: set[str] = set()
        self.receivable: set[str] = set()

    def invalidate(self) -> None:
        """Drop all decisions, because a policy, an attachment, a Thing or a certificate changed."""
        self._bound = None
        self._decisions.clear()
        self.publishable.clear()
        self.receivable.clear()

    @property
    def status(self) -> str | None:
        """Status of the certificate, such as ``ACTIVE``; None if it is not registered."""
        return self._registry.certificate_status(self.certificate_id)

    @property
    def exclusive_thing(self) -> str | None:
        """Name of the Thing that the certificate is exclusively attached to, if any."""
        return self._registry.exclusive_thing(self.certificate_id)

    def allows(
        self, action: str, resource: str, on_refusal: Callable[[str], None] | None = None
    ) -> bool:
        """Return whether `action` is allowed on `resource`, such as ``topic/creek/depth``.

        `on_refusal` is called with the resource when a refusal is decided, but not when it is found
        in the cache, so the log explains a flood of messages that a client must not receive once.
        """
        resource = resource[:MAX_RESOURCE]
        decisions = self._decisions.get(action)
        if decisions is None:
            decisions = self._decisions[action] = {}
        allowed = decisions.get(resource)
        if allowed is None:
            allowed = self.status == "ACTIVE" and (
                self._authorizer().decide(action, self._arn + resource).allows
            )
            if len(decisions) >= MAX_CACHED:
                decisions.clear()
            decisions[resource] = allowed
            if on_refusal is not None and not allowed:
                on_refusal(resource)
        return allowed

    def decided(self, action: str, resource: str) -> DecidedRequest:
        """Return a request with what its explanation needs: explaining takes longer than deciding.

        It is explained as if it had been decided now, so call this right after `allows`.
        """
        bound = self._authorizer()
        neighborhood = policy_neighborhood(self._registry, self.certificate_id, bound.policies)
        arn = self._arn + resource[:MAX_RESOURCE]
        return DecidedRequest(bound.policies, bound.context, action, arn, neighborhood)

    def _authorizer(self) -> Authorizer:
        if self._bound is None:
            self._bound = authorizer(
                self._registry, self.certificate_id, self._client_id, self._connection
            )
        return self._bound


class AccountAuthorization(ConnectionAuthorization):
    """Authorization of the account itself, which signs its requests.

    IAM decides about the account, and its only user is an administrator.
    """

    status = "ACTIVE"
    exclusive_thing = None

    def allows(
        self, action: str, resource: str, on_refusal: Callable[[str], None] | None = None
    ) -> bool:
        """Return True."""
        return True
