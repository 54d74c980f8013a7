"""Why a policy refused: a decision in words that a beginner can act on, and as data.

AWS says no more than "not authorized", or just closes the connection. Here every statement is
compared with the request (`differences.py`); the Allow statement with the least distance is the
closest one, and most often the one its author meant to match. Beside the statements that count
there may be others that do not, and would have helped: another version of a policy, the policy of a
thing group, one that is attached to nothing. Whoever explains names them in `Surroundings`.
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
"""How many policies that do not apply a summary speaks of."""


@dataclass(frozen=True, slots=True)
class NonApplyingPolicy:
    """A policy that does not apply to the connection.

    `reason` is ``version`` (another version is the default), ``group`` (of a thing group that does
    not count here), or ``detached`` (from the certificate). `why` goes on after "Policy 'x'",
    `advice` says what would make it apply.
    """

    policy: Policy
    reason: Literal["version", "group", "detached"]
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class PolicyNeighborhood:
    """What lies around a connection: policies that do not apply, Things with its certificate."""

    idle: Sequence[NonApplyingPolicy] = ()
    things: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatementResult:
    """One statement, seen from one request.

    `statement` is its index, from 0, in the `version` of the policy. `differences` tells what keeps
    it from matching: ``kind``, ``said`` (by the policy), ``asked`` (by the request). `differs`
    tells the same in words, `advice` what would mend each; all are empty if the statement matches.
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
    """A policy that would have allowed the request, did it apply."""

    policy: str
    version: str
    reason: str
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request was allowed or refused.

    Attributes
    ----------
    findings
        Every statement of the policies that apply.
    closest
        The one that decided, or the Allow statement that came nearest; None if there is none.
    idle
        Policies that do not apply and would have allowed the request.
    suggestion
        The smallest statement that would allow a request that no statement allows, else None.
    warning
        Why the suggestion may give more than is wanted; None if it does not.
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
    surroundings: PolicyNeighborhood = PolicyNeighborhood(),
) -> Explanation:
    """Say why `authorizer` decides as it does, and what differs in the closest statement."""
    decision, context = authorizer.decide(action, resource), authorizer.context
    looks = [
        _look(bound, action, resource, context, surroundings.things)
        for bound in authorizer.statements
    ]
    deciding = "Deny" if decision.denied else "Allow"
    considered = [
        look
        for look in looks
        if look.finding.effect == deciding
        and (look.finding.matched or decision.outcome == "IMPLICIT_DENY")
    ]
    closest = min(considered, key=lambda look: look.distance, default=None)
    suggestion, warning = None, None
    idle: tuple[NonApplyingFinding, ...] = ()
    if decision.outcome == "IMPLICIT_DENY":
        suggestion = {"Effect": "Allow", "Action": action, "Resource": _exactly(resource)}
        warning = _warning(action, resource, context)
        idle = tuple(_helpful(surroundings.idle, action, resource, context))
    verdict = "allowed" if decision.allows else "refused"
    sentences = [
        f"{_asked(action, resource, context)}; this was {verdict}",
        *_reasons(decision, action, resource, authorizer.policies, looks, closest),
        *(f"policy {one.policy!r} {one.why}: {one.advice}" for one in idle[:MAX_NON_APPLYING]),
    ]
    return Explanation(
        action,
        resource,
        decision.outcome,
        tuple(look.finding for look in looks),
        closest.finding if closest else None,
        idle,
        " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences),
        suggestion,
        warning,
    )


# --- statements ---------------------------------------------------------------------------------


class _Look(NamedTuple):
    """A statement with its finding.

    `about` tells whether it is about the action, or was meant to be; `distance` ranks it; `skipped`
    warns of a Deny that did not apply for lack of a variable's value.
    """

    bound: BoundStatement
    finding: StatementResult
    about: bool
    distance: tuple[int, float]
    skipped: bool


def _look(
    bound: BoundStatement, action: str, resource: str, context: Context, things: tuple[str, ...]
) -> _Look:
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
        # In a statement on another action, the other differences are between two things that
        # nobody meant to compare.
        differences = [first, *differences] if about else [first]
    alike = max(SequenceMatcher(None, p.pattern, resource).ratio() for p in bound.resources)
    return _Look(
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
    """Give those of the policies that do not apply which would allow the request."""
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
    looks: Sequence[_Look],
    closest: _Look | None,
) -> list[str]:
    """Say why, what differs in the closest statement, and what to do: one text a sentence."""
    add = f"to mend it: add a statement that allows {action} on {resource}"
    attached = f"the attached policies ({_listed(policies)})"
    if not policies:
        return [
            "no policy is attached to its certificate, and what no policy allows is refused",
            f"to mend it: attach a policy that allows {action} on {resource} (AttachPolicy)",
        ]
    if closest is None:
        why = f"{attached} hold no Allow statement, and what no statement allows is refused"
        return [why, add]
    finding = closest.finding
    if decision.allows:
        idle = [look.finding for look in looks if look.skipped]
        return [f"{_label(finding)} allows it"] + [
            f"beware: {_label(deny)}, a Deny, did not apply because {'; also '.join(deny.differs)}"
            for deny in idle
        ]
    if decision.denied:
        also = f", although {_listed(decision.allowed)} would allow it" if decision.allowed else ""
        return [
            f"{_label(finding)} denies it{also}, and a Deny wins over every Allow",
            "to mend it: change that Deny statement or detach its policy; no further Allow helps",
        ]
    nearest = f"{_label(finding)} comes closest, but {'; also '.join(finding.differs)}"
    if closest.about:
        mend = f"to mend it: {'; '.join(finding.advice)}"
        return [f"no statement of {attached} allows it", nearest, mend]
    why = f"no Allow statement of {attached} names {action}"
    return [why, nearest, add] if closest.bound.covers(resource) else [why, add]


# --- the suggestion -----------------------------------------------------------------------------


def _exactly(resource: str) -> str:
    """Write a resource so that a policy covers it alone, with ``$aws`` left readable."""
    return resource if resource == "*" else re.sub(r"[*?]|\$(?=[{(])", r"${\g<0>}", resource)


def _warning(action: str, resource: str, context: Context) -> str | None:
    """Say why a statement that allows just this request may be too wide all the same."""
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
