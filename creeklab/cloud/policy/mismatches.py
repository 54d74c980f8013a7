"""Find the differences between a statement and a request, part by part.

The action, the fields of the ARN, the kind of resource, its name and the conditions are compared
one by one. Each part that does not match becomes a `Difference`: what differs, how to fix it, and
how far apart the two are. The distances are ranked by hand: a common slip (``#`` in a policy, upper
case, a slash) counts little, a different name more, and a different action so much that statements
about the requested action always rank first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from creeklab.cloud.policy.binding import (
    BoundResource,
    BoundStatement,
    Context,
    UnmetCondition,
    key,
)
from creeklab.cloud.policy.document import VARIABLES_SINCE, Policy
from creeklab.cloud.policy.wildcards import covers, literal, plain

SLIP, VALUE, NAME, FIELD, OTHER, ACTION = 1, 2, 3, 4, 8, 100
"""Distances, as explained at the top."""

ACTIONS = (
    "iot:AssumeRoleWithCertificate",
    "iot:Connect",
    "iot:DeleteConnection",
    "iot:DeleteThingShadow",
    "iot:DescribeJobExecution",
    "iot:GetConnection",
    "iot:GetPendingJobExecutions",
    "iot:GetRetainedMessage",
    "iot:GetThingShadow",
    "iot:ListNamedShadowsForThing",
    "iot:ListRetainedMessages",
    "iot:ListSubscriptions",
    "iot:Publish",
    "iot:Receive",
    "iot:RetainPublish",
    "iot:SendDirectMessage",
    "iot:StartNextPendingJobExecution",
    "iot:Subscribe",
    "iot:UpdateJobExecution",
    "iot:UpdateThingShadow",
)
"""Actions that a device can request (developer guide, "AWS IoT Core policy actions")."""

_OVER_MQTT = ("iot:publish", "iot:receive", "iot:retainpublish", "iot:subscribe")


@dataclass(frozen=True, slots=True)
class Difference:
    """One part of a statement that does not match the request.

    Attributes
    ----------
    kind
        The part, or the slip: ``action``, ``spelling`` (of an action); ``partition``,
        ``service``, ``region``, ``account`` (of an ARN); ``kind`` (of resource), ``resource``
        (neither kind nor name can be compared); ``case``, ``slash``, ``prefix`` (a ``*`` is
        missing at the end), ``parent``, ``thing``, ``level``, ``mqtt-wildcard``, ``name`` (ways in
        which the name can differ); ``variable``, ``version`` (of the document), ``condition``,
        ``excluded`` (by a NotAction or NotResource).
    text
        Continues "Statement 1 of policy 'x' comes closest, but".
    advice
        Continues "To fix it:".
    said, asked
        The values of the policy, and of the request or connection. For a variable, `said` is its
        name and `asked` the reason why it has no value.
    unfilled
        Whether a variable without a value keeps a Deny from applying.
    """

    kind: str
    text: str
    advice: str
    said: str
    asked: str
    distance: int = field(compare=False)
    unfilled: bool = False


def distance(differences: Iterable[Difference]) -> int:
    """Return how far apart a statement and the request are."""
    return sum(one.distance for one in differences)


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

EmptyVariableReason = tuple[str, str, str]
"""A code, the reason why a variable has no value, and how to give it one."""


def why_empty(name: str, context: Context, things: tuple[str, ...]) -> EmptyVariableReason:
    """Return why a variable or condition key has no value, for a certificate of these Things."""
    if key(name).startswith(key(_THING)):
        return _why_thing_empty(name, context, things)
    if key(name).startswith(key(_CERTIFICATE)):
        if isinstance(context.get(key(name)), str):
            code = "not-filled-in"
            why = "its value holds * or ? or is too long, and AWS IoT does not fill in such values"
        elif name.rpartition(".")[2].isdigit():
            code = "no-such-value"
            why = "the certificate has fewer values of it (.1 is the second)"
        else:
            code, why = "not-in-certificate", f"the certificate has no {name[len(_CERTIFICATE) :]}"
        return code, why, "use a certificate that has it, or another variable"
    if key(name) in map(key, _KNOWN):
        why = "this request has no such value; a client id, for one, comes with MQTT only"
        return "not-in-request", why, "write the value itself in the policy"
    if key(name).startswith("aws:"):
        why = "of IAM's keys for all services, AWS IoT documents aws:SourceIp alone"
        return "not-of-iot", why, "use one of the variables that AWS IoT documents"
    near = get_close_matches(name, [*_KNOWN, _THING + "Attributes[...]"], n=1)
    hint = f"write ${{{near[0]}}}" if near else "look up the name in the list of policy variables"
    return "unknown", "AWS IoT knows no variable of that name", hint


def _why_thing_empty(name: str, context: Context, things: tuple[str, ...]) -> EmptyVariableReason:
    client = context.get(key("iot:ClientId"))
    attached = context.get(key(_THING + "IsAttached"))
    thing = context.get(key(_THING + "ThingName"), client)
    if client is None:
        why = "Thing variables exist on MQTT connections only, and this request has no client id"
        return "no-client-id", why, "name the resource without a Thing variable"
    if attached == "false":
        why = f"the connection's certificate is not attached to a Thing named {client!r}"
        fix = f"attach the certificate to the Thing {client!r} (AttachThingPrincipal)"
        other = repr(things[0]) if things else "the name of the Thing it is attached to"
        return "not-attached", why, f"{fix}, or connect with {other} as client id"
    if attached is None and key(_THING + "ThingName") not in context:
        why = f"the client id {client!r} is not the name of a Thing, and Thing variables need that"
        advice = "connect with the Thing's name as the client id"
        if things:
            advice += f": this certificate is attached to {things[0]!r}"
        return "no-thing", why, advice
    attribute = re.search(r"\[(.*)\]", name)
    what = f"attribute {attribute[1]!r}" if attribute else name.rpartition(".")[2]
    code = "no-attribute" if attribute else "no-type"
    return (
        code,
        f"the Thing {thing!r} has no {what}",
        f"give it to the Thing {thing!r} (UpdateThing)",
    )


# --- names --------------------------------------------------------------------------------------


def _name(kind: str, said: str, asked: str) -> Difference:
    """Compare the names after the kind: a filled pattern and the name in the request."""
    shown = plain(said)
    both = f"the policy says {shown!r}, the request says {asked!r}"

    def differs(slip: str, far: int, text: str, advice: str) -> Difference:
        return Difference(slip, text, advice, shown, asked, far)

    if covers(said.lower(), asked.lower()):
        text = f"{both}: upper and lower case count"
        return differs("case", SLIP, text, "spell it the same in both places")
    if covers(said.strip("/"), asked.strip("/")):
        text = f"{both}: a slash at the beginning or end counts"
        return differs("slash", SLIP, text, "leave out the slash, or write it in both places")
    if covers(f"{said}*", asked):
        stem = shown.rstrip("/")
        below = f"{stem}/*" if asked.startswith(f"{stem}/") else f"{shown}*"
        text = f"{both}: without a * at its end {shown!r} covers only that one name"
        return differs("prefix", VALUE, text, f"write {below!r} in the policy")
    if covers(said, f"{asked}/"):
        text = f"{both}: that covers what is below {asked!r}, but not {asked!r} itself"
        return differs("parent", VALUE, text, f"name {asked!r} as a second Resource")
    return _level(kind, said, asked) or _wildcards(said, asked, both)


def _level(kind: str, said: str, asked: str) -> Difference | None:
    """Return the difference if the names differ in a single level."""
    levels, asked_levels = said.split("/"), asked.split("/")
    for n, (level, asked_level) in enumerate(zip(levels, asked_levels, strict=False)):
        fixed = "/".join([*levels[:n], literal(asked_level), *levels[n + 1 :]])
        if level in ("+", "#") or not covers(fixed, asked):
            continue
        shown = plain(level)
        of_thing = kind in ("client", "thing") or (n == 2 and asked.startswith("$aws/things/"))
        return Difference(
            "thing" if of_thing else "level",
            f"the policy says {shown!r}, the request says {asked_level!r}",
            f"write {asked_level!r} in place of {shown!r} in the policy, or let the"
            f" client use {'a name that fits ' * ('*' in level)}{shown!r}",
            shown,
            asked_level,
            NAME,
        )
    return None


def _wildcards(said: str, asked: str, both: str) -> Difference:
    """Compare names that differ in several levels."""
    shown, levels = plain(said), said.split("/")
    if any(level in ("+", "#") for level in levels):
        as_glob = "/".join("*" if level in ("+", "#") else level for level in levels)
        text = f"{both}: in a policy # and + are ordinary characters, the wildcard is *"
        if covers(as_glob, asked):
            advice, far = f"write {plain(as_glob)!r} in the policy", SLIP
        else:
            advice, far = f"write a pattern that covers {asked!r}", OTHER
        return Difference("mqtt-wildcard", text, advice, shown, asked, far)
    advice = f"write {asked!r} in the policy, or a pattern that covers it"
    return Difference("name", both, advice, shown, asked, OTHER)


def _kind_and_name(said: str, asked: str, action: str) -> Iterator[Difference]:
    """Compare the last field of two ARNs, such as ``topic/creek/*`` and ``topic/creek/depth``."""
    if covers(said, asked):
        return
    said_kind, slash, said_name = said.partition("/")
    kind, _, name = asked.partition("/")
    if not slash:
        text = f"the policy says {plain(said)!r}, the request says {asked!r}"
        advice = f"write {asked!r} in the policy, or {kind + '/*'!r}"
        yield Difference("resource", text, advice, plain(said), asked, OTHER)
        return
    if not covers(said_kind, kind):
        shown = plain(said_kind)
        text = (
            f"{action} needs a resource of the kind {kind!r}, the policy names the kind {shown!r}"
        )
        advice = f"write {kind!r} in place of {shown!r}"
        yield Difference("kind", text, advice, shown, kind, FIELD)
    if not covers(said_name, name):
        difference = _name(kind, said_name, name)
        if kind == "topicfilter" and set("+#") & set(name):
            text = f"{difference.text} (a topic filter is compared as it is spelled, # and + too)"
            difference = replace(difference, text=text)
        yield difference


# --- the parts of a statement -------------------------------------------------------------------


def of_action(bound: BoundStatement, action: str) -> Difference:
    """Explain why a statement does not apply to `action`."""
    said = ", ".join(bound.statement.actions)
    if bound.statement.not_action:
        text = f"its NotAction ({said}) leaves out {action}"
        return Difference("excluded", text, f"take {action} out of it", said, action, ACTION)
    for written in bound.statement.actions:
        if misspelt(written, action):
            text = f"its Action says {written!r}, which is no action of AWS IoT"
            advice = f"write {action!r} in place of {written!r}"
            return Difference("spelling", text, advice, written, action, FIELD)
    text = f"its Action ({said}) does not include {action}"
    if action.lower() in _OVER_MQTT and "thingshadow" in said.lower():
        text += "; over MQTT a shadow needs Publish, Subscribe and Receive on its topics, and the"
        text += " actions on shadows are for REST alone"
    return Difference("action", text, f"add {action} to its Action", said, action, ACTION)


def misspelt(written: str, action: str) -> bool:
    """Return whether an unknown action is a misspelling of the requested one."""
    known = [each.lower() for each in ACTIONS]
    said = written.lower()
    if said in known or set("*?") & set(said):
        return False
    return get_close_matches(said, known, n=1, cutoff=0.75) == [action.lower()]


def of_resources(
    bound: BoundStatement, asked: str, action: str, context: Context, things: tuple[str, ...]
) -> list[Difference]:
    """Return the differences of a statement's closest resource; none if one matches."""
    if bound.covers(asked):
        return []
    if bound.statement.not_resource:
        said = ", ".join(bound.statement.resources)
        empty = _empty(bound.missing, context, things)
        if empty:
            return empty
        text = f"its NotResource ({said}) leaves out {asked!r}"
        return [Difference("excluded", text, "write less into it", said, asked, OTHER)]
    candidates = (
        _resource(pattern, asked, action, bound.policy, context, things)
        for pattern in bound.resources
    )
    return min(candidates, key=distance)


def _empty(missing: Iterable[str], context: Context, things: tuple[str, ...]) -> list[Difference]:
    differences = []
    for name in missing:
        code, why, advice = why_empty(name, context, things)
        text = f"the variable ${{{name}}} has no value here: {why}"
        differences.append(
            Difference("variable", text, advice, f"${{{name}}}", code, VALUE, unfilled=True)
        )
    return differences


def _resource(
    resource: BoundResource,
    asked: str,
    action: str,
    policy: Policy,
    context: Context,
    things: tuple[str, ...],
) -> list[Difference]:
    """Compare one resource pattern with the resource of the request."""
    if policy.version != VARIABLES_SINCE and "${" in resource.written:
        return [_old_version(resource.written, policy)]
    differences = _empty(resource.missing, context, things)
    said_fields, asked_fields = resource.pattern.split(":", 5), asked.split(":", 5)
    if covers(resource.pattern, asked):
        return differences
    if len(said_fields) < 6 or len(asked_fields) < 6:
        text = f"the policy says {resource.written!r}, the request says {asked!r}"
        advice = f"write {asked!r} as the Resource"
        return [
            *differences,
            Difference("resource", text, advice, resource.written, asked, OTHER),
        ]
    labels = ("", "partition", "service", "region", "account")
    for label, said_field, asked_field in zip(labels, said_fields, asked_fields, strict=False):
        if not covers(said_field, asked_field):
            shown = plain(said_field)
            text = f"the policy's ARN has the {label} {shown!r}, the request's has {asked_field!r}"
            advice = f"write {asked_field!r} as the {label}"
            differences.append(Difference(label, text, advice, shown, asked_field, FIELD))
    last = list(_kind_and_name(said_fields[5], asked_fields[5], action))
    values = [
        f"${{{name}}} is {value!r}"
        for name in re.findall(r"\$\{([^{}]{2,})\}", resource.written)
        if isinstance(value := context.get(key(name)), str) and name not in resource.missing
    ]
    if last and values:
        last[-1] = replace(last[-1], text=f"{last[-1].text} ({', '.join(values)} here)")
    return differences + last


def _old_version(text: str, policy: Policy) -> Difference:
    return Difference(
        "version",
        f"its document has no Version {VARIABLES_SINCE!r}, so {text!r} holds plain text and no"
        " variable",
        f'write "Version": "{VARIABLES_SINCE}" into the document',
        policy.version,
        VARIABLES_SINCE,
        VALUE,
        unfilled=True,
    )


def of_condition(
    unmet: UnmetCondition, policy: Policy, context: Context, things: tuple[str, ...]
) -> Difference:
    """Explain why a condition is not met."""
    operator, name, values = unmet.condition.operator, unmet.condition.key, unmet.condition.values
    start = f"its Condition {operator} on {name}"
    if policy.version != VARIABLES_SINCE and any("${" in value for value in values):
        return _old_version(", ".join(values), policy)
    if unmet.missing:
        code, why, advice = why_empty(unmet.missing[0], context, things)
        variable = f"${{{unmet.missing[0]}}}"
        text = f"{start} needs {variable}, which has no value here: {why}"
        return Difference("variable", text, advice, variable, code, VALUE, unfilled=True)
    wanted = " or ".join(repr(plain(value)) for value in unmet.wanted)
    said = f"{operator} {name} {wanted}"
    text = f"{start} is not fulfilled: the policy says {wanted}, the connection has"
    if unmet.given:
        given = " and ".join(map(repr, unmet.given))
        advice = f"connect so that {name} fits, or change the Condition"
        if (key(name), unmet.given) == (key(_THING + "IsAttached"), ("false",)):
            advice = why_empty(name, context, things)[2]
        return Difference("condition", f"{text} {given}", advice, said, given, VALUE)
    code, why, advice = why_empty(name, context, things)
    return Difference("condition", f"{text} no value ({why})", advice, said, code, VALUE)
