"""Explain a decision in sentences that a beginner can act on, and as data.

AWS says no more than "not authorized", or just closes the connection. Here every statement is
compared with the request (`mismatches.py`). The Allow statement with the smallest distance is the
closest one, and usually the one that its author meant to match. Other policies may not apply but
would have helped: another version, the policy of a thing group, one that is attached to nothing.
The caller names them in a `PolicyNeighborhood`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

from creeklab.cloud.policy.authorizer import Authorizer, Decision, Outcome
from creeklab.cloud.policy.binding import BoundStatement, Context, normalize
from creeklab.cloud.policy.document import Effect, Policy
from creeklab.cloud.policy.mismatches import (
    MAX_CONDITIONS,
    action_mismatch,
    condition_mismatch,
    resource_mismatches,
    similar,
    total_distance,
)
from creeklab.cloud.policy.wildcards import exactly

MAX_STATEMENTS = 40
"""Most statements that are compared: AWS's largest policies can have five hundred together."""

MAX_NON_APPLYING = 2
"""Most policies that do not apply in one summary."""


@dataclass(frozen=True, slots=True)
class NonApplyingPolicy:
    """A policy that does not apply to the connection.

    `reason` is ``version`` (another version is the default), ``group`` (its thing group does not
    count here), ``replaced`` (it is attached to another certificate of the Thing), or ``detached``
    (from the certificate). `why` continues "Policy 'x'", and `advice`
    says how to make it apply.
    """

    policy: Policy
    reason: Literal["version", "group", "replaced", "detached"]
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class PolicyNeighborhood:
    """Context of a connection: policies that do not apply, and Things with its certificate."""

    non_applying: Sequence[NonApplyingPolicy] = ()
    things: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatementResult:
    """One statement, compared with one request.

    `statement` is its index, from 0, in the `version` of the policy. `differences` says what keeps
    it from matching: ``kind``, ``expected`` (by the policy), ``actual`` (of the request). `differs`
    says the same in words, and `advice` how to fix each. All are empty if the statement matches.
    """

    policy: str
    version: str
    statement: int
    sid: str | None
    effect: Effect
    matched: bool
    differs: tuple[str, ...]
    advice: tuple[str, ...]
    differences: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class NonApplyingResult:
    """A policy that would have allowed the request if it applied."""

    policy: str
    version: str
    reason: str
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request was allowed or denied.

    Attributes
    ----------
    findings
        The statements of the policies that apply, or the `MAX_STATEMENTS` most alike.
    closest
        The statement that decided, or the Allow statement that came closest; None if there is none.
    non_applying
        Policies that do not apply and would have allowed the request.
    suggestion
        The smallest statement that would allow a request that no statement allows, else None.
    warning
        Why the suggestion may allow too much; None if it does not.
    """

    action: str
    resource: str
    outcome: Outcome
    findings: tuple[StatementResult, ...]
    closest: StatementResult | None
    non_applying: tuple[NonApplyingResult, ...]
    summary: str
    suggestion: dict[str, str] | None
    warning: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DecidedRequest:
    """A request with everything that its explanation depends on, to be explained at any time.

    It shares policies and context with the connection, and stays as it was when they change.
    """

    policies: tuple[Policy, ...]
    context: Context
    action: str
    resource: str
    neighborhood: PolicyNeighborhood

    @property
    def size(self) -> int:
        """Approximate memory in bytes, without the policies, which exist once for all."""
        values = map(len, self.context.values())
        return 500 + 100 * len(self.context) + sum(values) + len(self.resource)

    def explain(self) -> Explanation:
        """Return why the request was allowed or denied."""
        bound = Authorizer(self.policies, self.context)
        return explain(bound, self.action, self.resource, self.neighborhood)

    def refusal(self) -> dict[str, Any]:
        """Return the explanation as an entry of the event log has it."""
        return self.explain().as_dict()


def explain(
    authorizer: Authorizer,
    action: str,
    resource: str,
    neighborhood: PolicyNeighborhood = PolicyNeighborhood(),
) -> Explanation:
    """Return why `authorizer` decides as it does, and what differs in the closest statement."""
    decision, context = authorizer.decide(action, resource), authorizer.context
    compared = [
        _compare(bound, action, resource, context, neighborhood.things)
        for bound in _likely(authorizer.statements, action, resource)
    ]
    deciding = "Deny" if decision.denied else "Allow"
    considered = [
        each
        for each in compared
        if each.result.effect == deciding
        and (each.result.matched or decision.outcome == "IMPLICIT_DENY")
    ]
    closest = min(considered, key=lambda each: each.distance, default=None)
    suggestion, warning = None, None
    non_applying: tuple[NonApplyingResult, ...] = ()
    if decision.outcome == "IMPLICIT_DENY":
        suggestion = {"Effect": "Allow", "Action": action, "Resource": exactly(resource)}
        warning = _warning(action, resource, context)
        non_applying = tuple(
            NonApplyingResult(one.policy.name, one.policy.number, one.reason, one.why, one.advice)
            for one in neighborhood.non_applying
            if Authorizer([one.policy], context).decide(action, resource).allows
        )
    verdict = "allowed" if decision.allows else "denied"
    sentences = [
        f"{_attempt(action, resource, context)} and was {verdict}",
        *_reasons(decision, action, resource, authorizer.policies, compared, closest),
        *(
            f"policy {one.policy!r} {one.why}: {one.advice}"
            for one in non_applying[:MAX_NON_APPLYING]
        ),
    ]
    return Explanation(
        action,
        resource,
        decision.outcome,
        tuple(each.result for each in compared),
        closest.result if closest else None,
        non_applying,
        " ".join(f"{text[0].upper()}{text[1:]}." for text in dict.fromkeys(sentences)),
        suggestion,
        warning,
    )


def _likely(
    statements: Sequence[BoundStatement], action: str, resource: str
) -> Sequence[BoundStatement]:
    """Return the statements to compare: all, or the `MAX_STATEMENTS` that look most alike."""
    if len(statements) <= MAX_STATEMENTS:
        return statements

    def rank(bound: BoundStatement) -> tuple[bool, bool, float]:
        likeness = max(similar(one.pattern, resource) for one in bound.resources)
        return bound.matches(action, resource), bound.names(action), likeness

    chosen = sorted(range(len(statements)), key=lambda n: rank(statements[n]))[-MAX_STATEMENTS:]
    return [statements[n] for n in sorted(chosen)]


# --- statements ---------------------------------------------------------------------------------


class _Compared(NamedTuple):
    """A statement with its result.

    `relevant` tells whether it is about the action, or was meant to be. `distance` ranks it.
    `skipped` tells whether it is a Deny that did not apply because a variable has no value.
    """

    bound: BoundStatement
    result: StatementResult
    relevant: bool
    distance: tuple[int, float]
    skipped: bool


def _compare(
    bound: BoundStatement, action: str, resource: str, context: Context, things: tuple[str, ...]
) -> _Compared:
    """Compare one statement with the request."""
    mismatches = resource_mismatches(bound, resource, action, context, things)
    mismatches += [
        condition_mismatch(unmet, bound.policy, context, things)
        for unmet in bound.unmet[:MAX_CONDITIONS]
    ]
    relevant = bound.names(action)
    unfilled = relevant and bool(mismatches) and all(each.unfilled for each in mismatches)
    distance = total_distance(mismatches)
    if not relevant:
        first = action_mismatch(bound, action)
        relevant = first.kind == "spelling"
        distance += first.distance
        # The other mismatches of a statement about another action mean nothing: nobody meant it
        # to match this resource.
        mismatches = [first, *mismatches] if relevant else [first]
    nearest = max(bound.resources, key=lambda one: similar(one.pattern, resource)).pattern
    # Letters in common, in any order: the exact ratio takes time that grows with the square.
    similarity = SequenceMatcher(None, nearest, resource).quick_ratio()
    result = StatementResult(
        bound.policy.name,
        bound.policy.number,
        bound.statement.index,
        bound.statement.sid,
        bound.statement.effect,
        bound.matches(action, resource),
        differs=tuple(each.text for each in mismatches),
        advice=tuple(each.advice for each in mismatches),
        differences=tuple(
            {"kind": each.kind, "expected": each.expected, "actual": each.actual}
            for each in mismatches
        ),
    )
    skipped = unfilled and bound.statement.effect == "Deny"
    return _Compared(bound, result, relevant, (distance, -similarity), skipped)


# --- the summary --------------------------------------------------------------------------------

_ATTEMPTS: Mapping[str, str] = {
    "iot:connect": "tried to connect",
    "iot:publish": "tried to publish to topic {name!r}",
    "iot:retainpublish": "tried to publish a retained message to topic {name!r}",
    "iot:subscribe": "tried to subscribe to topic filter {name!r}",
    "iot:receive": "was due to receive a message on topic {name!r}",
    "iot:getthingshadow": "tried to read the shadow of the Thing {name!r}",
    "iot:updatethingshadow": "tried to update the shadow of the Thing {name!r}",
    "iot:deletethingshadow": "tried to delete the shadow of the Thing {name!r}",
    "iot:getretainedmessage": "tried to read the retained message on topic {name!r}",
}


def _attempt(action: str, resource: str, context: Context) -> str:
    attempt = _ATTEMPTS.get(action.lower(), "sent a request for {resource!r}")
    name = resource.split(":", 5)[-1].partition("/")[2]
    client = name if action.lower() == "iot:connect" else context.get(normalize("iot:ClientId"))
    who = f"client {client!r}" if client else "a client"
    return f"{who} {attempt.format(name=name, resource=resource)} ({action})"


def _label(result: StatementResult) -> str:
    sid = f" ({result.sid!r})" if result.sid else ""
    return f"statement {result.statement + 1}{sid} of policy {result.policy!r}"


def _named(policies: Sequence[Policy]) -> str:
    names = ", ".join(repr(policy.name) for policy in policies)
    return f"{'policy' if len(policies) == 1 else 'policies'} {names}"


def _joined(texts: Sequence[str], between: str) -> str:
    return between.join(dict.fromkeys(texts))


def _reasons(
    decision: Decision,
    action: str,
    resource: str,
    policies: Sequence[Policy],
    compared: Sequence[_Compared],
    closest: _Compared | None,
) -> list[str]:
    """Return why, what differs in the closest statement, and what to do, a text per sentence."""
    add = f"to fix it, add a statement that allows {action} on {resource}"
    attached = f"the attached {_named(policies)}"
    if not policies:
        why = "no policy is attached to its certificate"
        return [
            f"{why}, and anything that no policy allows is denied",
            f"to fix it, attach a policy that allows {action} on {resource} (AttachPolicy)",
        ]
    if closest is None:
        why = f"there is no Allow statement in {attached}"
        return [f"{why}, and anything that no statement allows is denied", add]
    result = closest.result
    if decision.allows:
        skipped = [each.result for each in compared if each.skipped]
        warning = "warning: {} is a Deny that did not apply: {}"
        return [f"{_label(result)} allows it"] + [
            warning.format(_label(deny), _joined(deny.differs, "; also ")) for deny in skipped
        ]
    if decision.denied:
        also = f", although {_named(decision.allowed)} would allow it" if decision.allowed else ""
        return [
            f"{_label(result)} denies it{also}, and a Deny overrides every Allow",
            "to fix it, change that Deny statement or detach its policy; adding an Allow statement"
            " does not help",
        ]
    nearest = f"{_label(result)} comes closest, but {_joined(result.differs, '; also ')}"
    if closest.relevant:
        fix = f"to fix it, {_joined(result.advice, '; ')}"
        return [f"no statement in {attached} allows it", nearest, fix]
    why = f"no Allow statement in {attached} includes {action}"
    return [why, nearest, add] if closest.bound.covers(resource) else [why, add]


# --- the suggestion -----------------------------------------------------------------------------


def _warning(action: str, resource: str, context: Context) -> str | None:
    """Return why a statement that allows just this request may still allow too much."""
    kind, _, name = resource.split(":", 5)[-1].partition("/")
    levels = name.split("/")
    if resource == "*":
        return f"{action} has no narrower resource than *, so this allows it on everything."
    if kind == "topicfilter" and levels[0] in ("#", "+"):
        return (
            f"A subscription to {name!r} requests the messages of all devices. Subscribe to a"
            " narrower topic filter, or limit what is delivered with iot:Receive."
        )
    thing = context.get(normalize("iot:Connection.Thing.ThingName"))
    if levels[:2] == ["$aws", "things"] and len(levels) > 2 and levels[2] != thing:
        return (
            f"This lets the client act for {levels[2]!r}, which is not the Thing of its connection."
        )
    return None
