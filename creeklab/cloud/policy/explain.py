"""Explain a decision: as text that a beginner can act on, and as data.

AWS says only "not authorized", or just closes the connection. Here every statement is compared with
the request (`mismatches.py`). The Allow statement with the smallest distance is the closest one,
and usually the one its author meant to match. Policies that do not apply might have allowed the
request: another version of a policy, the policy of a thing group, or a policy that is not attached.
The caller passes them as `PolicyNeighborhood`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

from creeklab.cloud.policy.authorizer import Authorizer, Decision, Outcome
from creeklab.cloud.policy.binding import BoundStatement, Context, key
from creeklab.cloud.policy.document import Effect, Policy
from creeklab.cloud.policy.mismatches import (
    Difference,
    distance,
    of_action,
    of_condition,
    of_resources,
)

MAX_NON_APPLYING = 2
"""Policies that do not apply, but are mentioned in a summary."""


@dataclass(frozen=True, slots=True)
class NonApplyingPolicy:
    """A policy that does not apply to the connection.

    `reason` is ``version`` (another version is the default), ``group`` (of a thing group that does
    not count here), or ``detached`` (from the certificate). `why` continues "Policy 'x'", and
    `advice` says how to make it apply.
    """

    policy: Policy
    reason: Literal["version", "group", "detached"]
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class PolicyNeighborhood:
    """Policies that do not apply to a connection, and the Things with its certificate."""

    idle: Sequence[NonApplyingPolicy] = ()
    things: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatementResult:
    """The comparison of one statement with one request.

    `statement` is its index, from 0, in the `version` of the policy. `differences` has the reasons
    why it does not match: ``kind``, ``said`` (by the policy), ``asked`` (by the request). `differs`
    has the same as text, and `advice` a fix for each; all are empty if the statement matches.
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
class NonApplyingFinding:
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
        Results of all statements of the policies that apply.
    closest
        The statement that decided, or the closest Allow statement; None if there is none.
    idle
        Policies that do not apply but would have allowed the request.
    suggestion
        The smallest statement that would allow a request that no statement allows, otherwise None.
    warning
        Why the suggestion might allow more than intended; None if it does not.
    """

    action: str
    resource: str
    outcome: Outcome
    findings: tuple[StatementResult, ...]
    closest: StatementResult | None
    idle: tuple[NonApplyingFinding, ...]
    summary: str
    suggestion: dict[str, str] | None
    warning: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as plain values, ready for JSON."""
        return asdict(self)


def explain(
    authorizer: Authorizer,
    action: str,
    resource: str,
    neighborhood: PolicyNeighborhood = PolicyNeighborhood(),
) -> Explanation:
    """Explain a decision of `authorizer`, and how the closest statement differs."""
    decision, context = authorizer.decide(action, resource), authorizer.context
    evaluated = [
        _evaluate(bound, action, resource, context, neighborhood.things)
        for bound in authorizer.statements
    ]
    deciding = "Deny" if decision.denied else "Allow"
    considered = [
        one
        for one in evaluated
        if one.finding.effect == deciding
        and (one.finding.matched or decision.outcome == "IMPLICIT_DENY")
    ]
    closest = min(considered, key=lambda one: one.distance, default=None)
    suggestion, warning = None, None
    idle: tuple[NonApplyingFinding, ...] = ()
    if decision.outcome == "IMPLICIT_DENY":
        suggestion = {"Effect": "Allow", "Action": action, "Resource": _exactly(resource)}
        warning = _warning(action, resource, context)
        idle = tuple(_helpful(neighborhood.idle, action, resource, context))
    verdict = "allowed" if decision.allows else "refused"
    sentences = [
        f"{_asked(action, resource, context)}; this was {verdict}",
        *_reasons(decision, action, resource, authorizer.policies, evaluated, closest),
        *(f"policy {one.policy!r} {one.why}: {one.advice}" for one in idle[:MAX_NON_APPLYING]),
    ]
    return Explanation(
        action,
        resource,
        decision.outcome,
        tuple(one.finding for one in evaluated),
        closest.finding if closest else None,
        idle,
        " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences),
        suggestion,
        warning,
    )


# --- statements ---------------------------------------------------------------------------------


class _Evaluated(NamedTuple):
    """A statement and its result.

    `about` tells whether it applies to the action, or was meant to; `distance` ranks it; `skipped`
    marks a Deny that did not apply because a variable has no value.
    """

    bound: BoundStatement
    finding: StatementResult
    about: bool
    distance: tuple[int, float]
    skipped: bool


def _evaluate(
    bound: BoundStatement, action: str, resource: str, context: Context, things: tuple[str, ...]
) -> _Evaluated:
    """Compare one statement with the request."""
    differences = of_resources(bound, resource, action, context, things)
    differences += [of_condition(unmet, bound.policy, context, things) for unmet in bound.unmet]
    names = bound.names(action)
    skipped = names and bool(differences) and all(one.unfilled for one in differences)
    far, about = distance(differences), names
    if not names:
        first = of_action(bound, action)
        about = first.kind == "spelling"
        far += first.distance
        # The other differences of a statement on another action mean nothing.
        differences = [first, *differences] if about else [first]
    alike = max(SequenceMatcher(None, p.pattern, resource).ratio() for p in bound.resources)
    return _Evaluated(
        bound,
        _finding(bound, bound.matches(action, resource), differences),
        about,
        (far, -alike),
        skipped and bound.statement.effect == "Deny",
    )


def _finding(
    bound: BoundStatement, matched: bool, differences: Sequence[Difference]
) -> StatementResult:
    return StatementResult(
        bound.policy.name,
        bound.policy.number,
        bound.statement.index,
        bound.statement.sid,
        bound.statement.effect,
        matched,
        differs=tuple(one.text for one in differences),
        advice=tuple(one.advice for one in differences),
        differences=tuple(
            {"kind": one.kind, "said": one.said, "asked": one.asked} for one in differences
        ),
    )


def _helpful(
    idle: Iterable[NonApplyingPolicy], action: str, resource: str, context: Context
) -> Iterable[NonApplyingFinding]:
    """Return the policies that do not apply but would allow the request."""
    for one in idle:
        if Authorizer([one.policy], context).decide(action, resource).allows:
            policy = one.policy
            yield NonApplyingFinding(policy.name, policy.number, one.reason, one.why, one.advice)


# --- the summary --------------------------------------------------------------------------------

_ASKED: Mapping[str, str] = {
    "iot:connect": "asked to connect with the client id {name!r}",
    "iot:publish": "asked to publish to the topic {name!r}",
    "iot:retainpublish": "asked to publish a retained message to the topic {name!r}",
    "iot:subscribe": "asked to subscribe to the topic filter {name!r}",
    "iot:receive": "was to be sent a message on the topic {name!r}",
    "iot:getthingshadow": "asked to read the shadow of the Thing {name!r}",
    "iot:updatethingshadow": "asked to update the shadow of the Thing {name!r}",
    "iot:deletethingshadow": "asked to delete the shadow of the Thing {name!r}",
    "iot:getretainedmessage": "asked to read the retained message on the topic {name!r}",
}


def _asked(action: str, resource: str, context: Context) -> str:
    client = context.get(key("iot:ClientId"))
    who = f"The client {client!r}" if client and action.lower() != "iot:connect" else "A client"
    what = _ASKED.get(action.lower(), "asked for {resource!r}")
    name = resource.split(":", 5)[-1].partition("/")[2]
    return f"{who} {what.format(name=name, resource=resource)} ({action})"


def _label(finding: StatementResult) -> str:
    sid = f" ({finding.sid!r})" if finding.sid else ""
    return f"statement {finding.statement + 1} of policy {finding.policy!r}{sid}"


def _listed(policies: Iterable[Policy]) -> str:
    return ", ".join(repr(policy.name) for policy in policies)


def _reasons(
    decision: Decision,
    action: str,
    resource: str,
    policies: Sequence[Policy],
    evaluated: Sequence[_Evaluated],
    closest: _Evaluated | None,
) -> list[str]:
    """Return sentences: the reason, the differences of the closest statement, and the fix."""
    add = f"to fix it: add a statement that allows {action} on {resource}"
    attached = f"the attached policies ({_listed(policies)})"
    if not policies:
        return [
            "no policy is attached to its certificate, and what no policy allows is refused",
            f"to fix it: attach a policy that allows {action} on {resource} (AttachPolicy)",
        ]
    if closest is None:
        why = f"{attached} hold no Allow statement, and what no statement allows is refused"
        return [why, add]
    finding = closest.finding
    if decision.allows:
        idle = [one.finding for one in evaluated if one.skipped]
        return [f"{_label(finding)} allows it"] + [
            f"beware: {_label(deny)}, a Deny, did not apply because {'; also '.join(deny.differs)}"
            for deny in idle
        ]
    if decision.denied:
        also = f", although {_listed(decision.allowed)} would allow it" if decision.allowed else ""
        return [
            f"{_label(finding)} denies it{also}, and a Deny wins over every Allow",
            "to fix it: change that Deny statement or detach its policy; no further Allow helps",
        ]
    nearest = f"{_label(finding)} comes closest, but {'; also '.join(finding.differs)}"
    if closest.about:
        fix = f"to fix it: {'; '.join(finding.advice)}"
        return [f"no statement of {attached} allows it", nearest, fix]
    why = f"no Allow statement of {attached} names {action}"
    return [why, nearest, add] if closest.bound.covers(resource) else [why, add]


# --- the suggestion -----------------------------------------------------------------------------


def _exactly(resource: str) -> str:
    """Return a pattern that matches only this resource, with ``$aws`` left readable."""
    return resource if resource == "*" else re.sub(r"[*?]|\$(?=[{(])", r"${\g<0>}", resource)


def _warning(action: str, resource: str, context: Context) -> str | None:
    """Return why a statement that allows only this request might still be too broad."""
    kind, _, name = resource.split(":", 5)[-1].partition("/")
    levels = name.split("/")
    if resource == "*":
        return f"{action} has no narrower resource than *: it is allowed for all there is."
    if kind == "topicfilter" and levels[0] in ("#", "+"):
        return (
            f"A subscription to {name!r} asks for the messages of all devices. Subscribe to a"
            " narrower topic filter, or limit what arrives with iot:Receive."
        )
    thing = context.get(key("iot:Connection.Thing.ThingName"))
    if levels[:2] == ["$aws", "things"] and len(levels) > 2 and levels[2] != thing:
        return (
            f"It lets this client act for {levels[2]!r}, which is not the Thing of its connection."
        )
    return None
