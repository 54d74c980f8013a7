"""Why a policy refused: the decision of `policy.py` in words that a beginner can act on.

AWS says no more than "not authorized", or just closes the connection. Here every statement is
compared with the request part by part (action, the fields of the ARN, the kind of resource, its
name, the conditions), and each part that does not fit becomes a `Difference`: what differs, what
would mend it, and how far off it is. The Allow statement with the least distance is the closest
one, and most often the one its author meant to match.

The differences are ranked by hand: a slip that everybody makes (``#`` in a policy, upper case, a
slash) weighs little, another name more, another action so much that a statement about the
action asked for always comes before one that is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import NamedTuple

from creeklab.cloud.policy import (
    VARIABLES_SINCE,
    BoundResource,
    BoundStatement,
    Context,
    Decision,
    Explanation,
    Finding,
    Policy,
    Unmet,
    covers,
    key,
    literal,
    plain,
)

SLIP, VALUE, NAME, FIELD, OTHER, ACTION = 1, 2, 3, 4, 8, 100
"""Distances; see the module's text."""


class Difference(NamedTuple):
    """One part of a statement that does not fit the request.

    `text` goes on after "Statement 1 of policy 'x' comes closest, but", `advice` after "To mend
    it:". `unfilled` marks a variable that was not replaced, because then a Deny does not apply.
    """

    distance: int
    text: str
    advice: str
    unfilled: bool = False


class _Look(NamedTuple):
    """A statement with its finding; `distance` ranks it, `skipped` warns of an idle Deny."""

    bound: BoundStatement
    finding: Finding
    distance: tuple[int, float]
    skipped: bool


# --- why a variable has no value ----------------------------------------------------------------

_THING = "iot:Connection.Thing."
_CERTIFICATE = "iot:Certificate."
_KNOWN = (
    "aws:SourceIp",
    "iot:CertificateId",
    "iot:ClientId",
    "iot:ConnectAttributes",
    _THING + "IsAttached",
    _THING + "ThingName",
    _THING + "ThingTypeName",
)


def _why_empty(name: str, context: Context) -> tuple[str, str]:
    """Return why a variable or condition key has no value, and what would give it one."""
    if key(name).startswith(key(_THING)):
        return _why_thing_empty(name, context)
    if key(name).startswith(key(_CERTIFICATE)):
        if isinstance(context.get(key(name)), str):
            why = "its value holds * or ? or is too long, and AWS IoT does not fill in such values"
        elif name.rpartition(".")[2].isdigit():
            why = "the certificate has fewer values of it (.1 is the second)"
        else:
            why = f"the certificate has no {name[len(_CERTIFICATE) :]}"
        return why, "use a certificate that has it, or another variable"
    if key(name) in map(key, _KNOWN):
        why = "this request has no such value; a client id, for one, comes with MQTT only"
        return why, "write the value itself in the policy"
    near = get_close_matches(name, [*_KNOWN, _THING + "Attributes[...]"], n=1)
    hint = f"write ${{{near[0]}}}" if near else "look up the name in the list of policy variables"
    return "AWS IoT knows no variable of that name", hint


def _why_thing_empty(name: str, context: Context) -> tuple[str, str]:
    client = context.get(key("iot:ClientId"))
    attached = context.get(key(_THING + "IsAttached"))
    if client is None:
        why = "Thing variables exist on MQTT connections only, and this request has no client id"
        return why, "name the resource without a Thing variable"
    if attached == "false":
        why = f"the connection's certificate is not attached to a Thing named {client!r}"
        mend = f"attach the certificate to the Thing {client!r} (AttachThingPrincipal)"
        return why, f"{mend}, or connect with the name of the Thing it is attached to as client id"
    if attached is None and key(_THING + "ThingName") not in context:
        why = f"the client id {client!r} is not the name of a Thing, and Thing variables need that"
        return why, "connect with the Thing's name as the client id"
    attribute = re.search(r"\[(.*)\]", name)
    what = f"attribute {attribute[1]!r}" if attribute else name.rpartition(".")[2]
    return f"the Thing {client!r} has no {what}", f"give it to the Thing {client!r} (UpdateThing)"


# --- what differs -------------------------------------------------------------------------------


def _name(said: str, asked: str) -> Difference:
    """Compare the names that follow the kind: a filled pattern, and what the request says."""
    shown = plain(said)
    both = f"the policy says {shown!r}, the request says {asked!r}"
    if covers(said.lower(), asked.lower()):
        return Difference(
            SLIP, f"{both}: upper and lower case count", "spell it the same in both places"
        )
    if covers(said.strip("/"), asked.strip("/")):
        return Difference(
            SLIP,
            f"{both}: a slash at the beginning or end counts",
            "leave out the slash, or write it in both places",
        )
    if covers(f"{said}*", asked):
        below = (
            f"{shown.rstrip('/')}/*" if asked.startswith(f"{shown.rstrip('/')}/") else f"{shown}*"
        )
        return Difference(
            VALUE,
            f"{both}: without a * at its end {shown!r} covers only that one name",
            f"write {below!r} in the policy",
        )
    if covers(said, f"{asked}/"):
        return Difference(
            VALUE,
            f"{both}: that covers what is below {asked!r}, but not {asked!r} itself",
            f"name {asked!r} as a second Resource",
        )
    levels, asked_levels = said.split("/"), asked.split("/")
    for n, (level, asked_level) in enumerate(zip(levels, asked_levels, strict=False)):
        mended = "/".join([*levels[:n], literal(asked_level), *levels[n + 1 :]])
        if level not in ("+", "#") and covers(mended, asked):
            return Difference(
                NAME,
                f"the policy says {plain(level)!r}, the request says {asked_level!r}",
                f"write {asked_level!r} in place of {plain(level)!r} in the policy, or let the"
                f" client use {'a name that fits ' * ('*' in level)}{plain(level)!r}",
            )
    if any(level in ("+", "#") for level in levels):
        as_glob = "/".join("*" if level in ("+", "#") else level for level in levels)
        text = f"{both}: in a policy # and + are ordinary characters, the wildcard is *"
        if covers(as_glob, asked):
            return Difference(SLIP, text, f"write {plain(as_glob)!r} in the policy")
        return Difference(OTHER, text, f"write a pattern that covers {asked!r}")
    return Difference(OTHER, both, f"write {asked!r} in the policy, or a pattern that covers it")


def _kind_and_name(said: str, asked: str, action: str) -> Iterator[Difference]:
    """Compare the last field of two ARNs, such as ``topic/creek/*`` and ``topic/creek/depth``."""
    if covers(said, asked):
        return
    said_kind, slash, said_name = said.partition("/")
    kind, _, name = asked.partition("/")
    if not slash:
        text = f"the policy says {plain(said)!r}, the request says {asked!r}"
        yield Difference(OTHER, text, f"write {asked!r} in the policy, or {kind + '/*'!r}")
        return
    if not covers(said_kind, kind):
        shown = plain(said_kind)
        text = (
            f"{action} needs a resource of the kind {kind!r}, the policy names the kind {shown!r}"
        )
        yield Difference(FIELD, text, f"write {kind!r} in place of {shown!r}")
    if not covers(said_name, name):
        difference = _name(said_name, name)
        if kind == "topicfilter" and set("+#") & set(name):
            text = f"{difference.text} (a topic filter is compared as it is spelled, # and + too)"
            difference = difference._replace(text=text)
        yield difference


def _resource(
    resource: BoundResource, asked: str, action: str, policy: Policy, context: Context
) -> list[Difference]:
    """Compare one resource pattern with the request's resource."""
    if policy.version != VARIABLES_SINCE and "${" in resource.written:
        return [_old_version(resource.written)]
    differences = []
    for name in resource.missing:
        why, advice = _why_empty(name, context)
        text = f"the variable ${{{name}}} has no value here: {why}"
        differences.append(Difference(VALUE, text, advice, unfilled=True))
    said_fields, asked_fields = resource.pattern.split(":", 5), asked.split(":", 5)
    if covers(resource.pattern, asked):
        return differences
    if len(said_fields) < 6 or len(asked_fields) < 6:
        text = f"the policy says {resource.written!r}, the request says {asked!r}"
        return [*differences, Difference(OTHER, text, f"write {asked!r} as the Resource")]
    labels = ("", "partition", "service", "region", "account")
    for label, said_field, asked_field in zip(labels, said_fields, asked_fields, strict=False):
        if not covers(said_field, asked_field):
            text = f"the policy's ARN has the {label} {plain(said_field)!r}, the request's"
            advice = f"write {asked_field!r} as the {label}"
            differences.append(Difference(FIELD, f"{text} has {asked_field!r}", advice))
    last = list(_kind_and_name(said_fields[5], asked_fields[5], action))
    values = [
        f"${{{name}}} is {value!r}"
        for name in re.findall(r"\$\{([^{}]{2,})\}", resource.written)
        if isinstance(value := context.get(key(name)), str) and name not in resource.missing
    ]
    if last and values:
        text = f"{last[-1].text} ({', '.join(values)} here)"
        last[-1] = last[-1]._replace(text=text)
    return differences + last


def _old_version(text: str) -> Difference:
    return Difference(
        VALUE,
        f"its document has no Version {VARIABLES_SINCE!r}, so {text!r} holds plain text and no"
        " variable",
        f'write "Version": "{VARIABLES_SINCE}" into the document',
        unfilled=True,
    )


def _condition(unmet: Unmet, policy: Policy, context: Context) -> Difference:
    operator, name, values = unmet.condition.operator, unmet.condition.key, unmet.condition.values
    start = f"its Condition {operator} on {name}"
    if policy.version != VARIABLES_SINCE and any("${" in value for value in values):
        return _old_version(", ".join(values))
    if unmet.missing:
        why, advice = _why_empty(unmet.missing[0], context)
        text = f"{start} needs ${{{unmet.missing[0]}}}, which has no value here: {why}"
        return Difference(VALUE, text, advice, unfilled=True)
    wanted = " or ".join(repr(plain(value)) for value in unmet.wanted)
    text = f"{start} is not fulfilled: the policy says {wanted}, the connection has"
    if unmet.given:
        given = " and ".join(map(repr, unmet.given))
        advice = f"connect so that {name} fits, or change the Condition"
        if (key(name), unmet.given) == (key(_THING + "IsAttached"), ("false",)):
            advice = _why_empty(name, context)[1]
        return Difference(VALUE, f"{text} {given}", advice)
    why, advice = _why_empty(name, context)
    return Difference(VALUE, f"{text} no value ({why})", advice)


def _look(bound: BoundStatement, action: str, resource: str, context: Context) -> _Look:
    """Compare one statement with the request."""
    names = bound.names(action)
    candidates = [
        _resource(pattern, resource, action, bound.policy, context) for pattern in bound.resources
    ]
    nearest = [] if bound.covers(resource) else min(candidates, key=_distance)
    differences = nearest + [_condition(unmet, bound.policy, context) for unmet in bound.unmet]
    skipped = names and bool(differences) and all(one.unfilled for one in differences)
    if not names:
        said = ", ".join(bound.statement.actions)
        distance = ACTION + _distance(differences)
        text = f"its Action ({said}) does not include {action}"
        # The other differences are dropped: they are between two things nobody meant to compare.
        differences = [Difference(distance, text, f"add {action} to its Action")]
    alike = max(SequenceMatcher(None, p.pattern, resource).ratio() for p in bound.resources)
    finding = Finding(
        bound.policy.name,
        bound.statement.index,
        bound.statement.sid,
        bound.statement.effect,
        matched=bound.matches(action, resource),
        differs=tuple(one.text for one in differences),
        advice=tuple(one.advice for one in differences),
    )
    return _Look(
        bound,
        finding,
        (_distance(differences), -alike),
        skipped and bound.statement.effect == "Deny",
    )


def _distance(differences: Iterable[Difference]) -> int:
    return sum(one.distance for one in differences)


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
}


def _asked(action: str, resource: str, context: Context) -> str:
    client = context.get(key("iot:ClientId"))
    who = f"The client {client!r}" if client and action.lower() != "iot:connect" else "A client"
    what = _ASKED.get(action.lower(), "asked for {resource!r}")
    name = resource.split(":", 5)[-1].partition("/")[2]
    return f"{who} {what.format(name=name, resource=resource)} ({action})"


def _label(finding: Finding) -> str:
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
    if closest.bound.names(action):
        mend = f"to mend it: {'; '.join(finding.advice)}"
        return [f"no statement of {attached} allows it", nearest, mend]
    why = f"no Allow statement of {attached} names {action}"
    return [why, nearest, add] if closest.bound.covers(resource) else [why, add]


def _exactly(resource: str) -> str:
    """Write a resource so that a policy covers it alone, with ``$aws`` left readable."""
    return resource if resource == "*" else re.sub(r"[*?]|\$(?=[{(])", r"${\g<0>}", resource)


def explain(
    decision: Decision,
    action: str,
    resource: str,
    policies: Sequence[Policy],
    statements: Sequence[BoundStatement],
    context: Context,
) -> Explanation:
    """Explain a decision; call `creeklab.cloud.policy.Authorizer.explain`, which has the rest.

    Parameters
    ----------
    decision
        The decision on `action` and `resource`.
    policies, statements
        What is attached to the connection, and its statements bound to `context`.
    context
        With its names in the form of `creeklab.cloud.policy.key`.
    """
    looks = [_look(bound, action, resource, context) for bound in statements]
    deciding = "Deny" if decision.denied else "Allow"
    considered = [
        look
        for look in looks
        if look.finding.effect == deciding
        and (look.finding.matched or decision.outcome == "IMPLICIT_DENY")
    ]
    closest = min(considered, key=lambda look: look.distance, default=None)
    verdict = "allowed" if decision.allows else "refused"
    sentences = [
        f"{_asked(action, resource, context)}; this was {verdict}",
        *_reasons(decision, action, resource, policies, looks, closest),
    ]
    suggestion = None
    if decision.outcome == "IMPLICIT_DENY":
        suggestion = {"Effect": "Allow", "Action": action, "Resource": _exactly(resource)}
    return Explanation(
        action,
        resource,
        decision.outcome,
        tuple(look.finding for look in looks),
        closest.finding if closest else None,
        " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences),
        suggestion,
    )
