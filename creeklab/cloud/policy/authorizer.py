"""Decide: a matching Deny denies, otherwise a matching Allow allows, otherwise it is denied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from creeklab.cloud.policy.binding import Context, bind, normalize
from creeklab.cloud.policy.document import Effect, Policy

Outcome = Literal["ALLOWED", "EXPLICIT_DENY", "IMPLICIT_DENY"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on one request, in the terms of ``TestAuthorization``.

    `allowed` and `denied` are the policies with a matching Allow or Deny statement. `missing` names
    the variables and condition keys that have no value and so kept a statement about this action
    from matching.
    """

    outcome: Outcome
    allowed: tuple[Policy, ...]
    denied: tuple[Policy, ...]
    missing: tuple[str, ...]

    @property
    def allows(self) -> bool:
        """Whether the request is allowed."""
        return self.outcome == "ALLOWED"


class Authorizer:
    """The policies of one connection, ready to decide.

    Parameters
    ----------
    policies
        The default versions of all policies that apply to the connection.
    context
        What is known of the connection. A variable without a value in it is not replaced, and its
        statement does not match: an Allow then allows nothing and, as on AWS, a Deny denies
        nothing. A certificate attribute counts as having no value there if it contains one of
        ``*$+?#`` or has more than `MAX_CERTIFICATE_VALUE` characters (AWS IoT developer guide,
        X.509 certificate policy variables).
    """

    def __init__(self, policies: Sequence[Policy], context: Context) -> None:
        self.policies = tuple(policies)
        self.context: Context = {normalize(name): value for name, value in context.items()}
        self.statements = tuple(
            bind(policy, statement, self.context)
            for policy in policies
            for statement in policy.statements
        )

    def decide(self, action: str, resource: str) -> Decision:
        """Decide one request, such as ``"iot:Publish"`` on the full ARN of a topic."""
        candidates = [bound for bound in self.statements if bound.names(action)]
        matching = [bound for bound in candidates if bound.matches(action, resource)]

        def policies_with(effect: Effect) -> tuple[Policy, ...]:
            found = [bound.policy for bound in matching if bound.statement.effect == effect]
            return tuple(dict.fromkeys(found))

        allowed, denied = policies_with("Allow"), policies_with("Deny")
        missing = tuple(dict.fromkeys(name for bound in candidates for name in bound.missing))
        if denied:
            return Decision("EXPLICIT_DENY", allowed, denied, missing)
        return Decision("ALLOWED" if allowed else "IMPLICIT_DENY", allowed, denied, missing)
