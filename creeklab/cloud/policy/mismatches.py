"""What differs between a statement and a request, part by part.

The action, the fields of the ARN, the resource type, its name and the conditions are compared one
by one. Each part that does not fit becomes a `Mismatch`: what differs, how to fix it, and how far
off it is. The distances are chosen by hand: a slip that everybody makes (``#`` in a policy, upper
case, a slash) counts little, another name more, and another action so much that a statement about
the requested action always comes before one that is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from heapq import nlargest

from creeklab.cloud.policy.binding import (
    BoundResource,
    BoundStatement,
    Context,
    UnmetCondition,
    normalize,
)
from creeklab.cloud.policy.document import VARIABLES_SINCE, Policy
from creeklab.cloud.policy.wildcards import covers, literal, plain

SLIP, VALUE, NAME, FIELD, OTHER, ACTION = 1, 2, 3, 4, 8, 100
"""Distances, explained at the top of this file."""

MAX_RESOURCES, MAX_VARIABLES, MAX_CONDITIONS, MAX_LEVELS = 5, 3, 3, 16
"""Most resources and conditions of a statement, and variables and levels of a resource, that are
compared in detail. They bound the time of an explanation, whatever the policies are."""

ACTIONS = tuple(
    "iot:" + name
    for name in (
        *("AssumeRoleWithCertificate", "Connect", "DeleteConnection", "DeleteThingShadow"),
        *("DescribeJobExecution", "GetConnection", "GetPendingJobExecutions"),
        *("GetRetainedMessage", "GetThingShadow", "ListNamedShadowsForThing"),
        *("ListRetainedMessages", "ListSubscriptions", "Publish", "Receive", "RetainPublish"),
        *("SendDirectMessage", "StartNextPendingJobExecution", "Subscribe"),
        *("UpdateJobExecution", "UpdateThingShadow"),
    )
)
"""Policy actions of devices (developer guide, "AWS IoT Core policy actions")."""

_OVER_MQTT = ("iot:publish", "iot:receive", "iot:retainpublish", "iot:subscribe")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One part of a statement that does not fit the request.

    Attributes
    ----------
    kind
        Which part, or which slip: ``action``, ``spelling`` (of an action); ``partition``,
        ``service``, ``region``, ``account`` (of an ARN); ``kind`` (of resource), ``resource``
        (neither kind nor name can be compared); ``case``, ``slash``, ``prefix`` (a ``*`` is
        missing at the end), ``parent``, ``thing``, ``level``, ``mqtt-wildcard``, ``name`` (ways in
        which names differ); ``variable``, ``version`` (of the document), ``condition``.
    text
        Continues "Statement 1 of policy 'x' comes closest, but".
    advice
        Continues "To fix it,".
    expected, actual
        The policy's value, and the value of the request or the connection. For a variable,
        `expected` is its name and `actual` a code for why it has no value.
    distance
        How far off this part is.
    unfilled
        Whether a variable was not replaced, so that even a Deny does not apply.
    """

    kind: str
    text: str
    advice: str
    expected: str
    actual: str
    distance: int = field(compare=False)
    unfilled: bool = False


def similar(pattern: str, actual: str) -> float:
    """Return how much of two texts is the same at their starts and ends, from 0 to 1."""
    start = _common(pattern, actual)
    end = _common(pattern[start:][::-1], actual[start:][::-1])
    return (start + end) / max(len(pattern), len(actual), 1)


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


@lru_cache(maxsize=1024)
def _nearest(name: str) -> str:
    """Return what to do about the unknown variable `name`."""
    usable = [known for known in _KNOWN if known != "iot:DomainName"]
    near = get_close_matches(name, [*usable, _THING + "Attributes[...]"], n=1)
    return f"write ${{{near[0]}}}" if near else "look up the name in the list of policy variables"


def total_distance(mismatches: Iterable[Mismatch]) -> int:
    """Return how far a statement is from the request."""
    return sum(mismatch.distance for mismatch in mismatches)


# --- why a variable has no value ----------------------------------------------------------------

_THING = "iot:Connection.Thing."
_CERTIFICATE = "iot:Certificate."
_KNOWN = (
    *("aws:SourceIp", "iot:CertificateId", "iot:ClientId", "iot:ConnectAttributes"),
    *("iot:DomainName", "iot:LastWillTopic"),
    *(_THING + name for name in ("IsAttached", "ThingName", "ThingTypeName")),
)

EmptyVariableReason = tuple[str, str, str]
"""A code, why a variable has no value, and what would give it one."""


def why_empty(name: str, context: Context, things: tuple[str, ...]) -> EmptyVariableReason:
    """Return why a variable or condition key has no value; `things` have the certificate."""
    if normalize(name).startswith(normalize(_THING)):
        return _why_thing_empty(name, context, things)
    if normalize(name).startswith(normalize(_CERTIFICATE)):
        if isinstance(context.get(normalize(name)), str):
            code = "not-filled-in"
            why = "its value has one of * $ + ? # or is too long, so AWS IoT does not use it"
        elif name.rpartition(".")[2].isdigit():
            code = "no-such-value"
            why = "the certificate has fewer values of it (.1 is the second)"
        else:
            code, why = "not-in-certificate", f"the certificate has no {name[len(_CERTIFICATE) :]}"
        return code, why, "use a certificate that has it, or another variable"
    if normalize(name) == normalize("iot:LastWillTopic"):
        why = "the client connects without a will, and it is the ARN of the will's topic"
        return "no-will", why, "connect with a will, or remove the Condition"
    if normalize(name) == normalize("iot:DomainName"):
        why = "the local cloud has one endpoint and does not tell domain names apart"
        return "not-in-local-cloud", why, "test this policy on AWS, or remove the name for now"
    if normalize(name) in map(normalize, _KNOWN):
        why = "this request has no such value; a client ID, for example, exists only in MQTT"
        return "not-in-request", why, "write the value itself in the policy"
    if normalize(name).startswith("aws:"):
        why = "of IAM's global condition keys, AWS IoT documents only aws:SourceIp"
        return "not-of-iot", why, "use a policy variable that AWS IoT documents"
    return "unknown", "AWS IoT has no policy variable of that name", _nearest(name)


def _exclusively(things: tuple[str, ...]) -> str:
    if not things:
        return ""
    return (
        f", or attach it to {things[0]!r} exclusively (AttachThingPrincipal with"
        " thingPrincipalType='EXCLUSIVE_THING'), so that any client ID counts as that Thing"
    )


def _why_thing_empty(name: str, context: Context, things: tuple[str, ...]) -> EmptyVariableReason:
    client = context.get(normalize("iot:ClientId"))
    attached = context.get(normalize(_THING + "IsAttached"))
    thing = context.get(normalize(_THING + "ThingName"), client)
    if client is None:
        why = "Thing policy variables exist only in MQTT, and this request has no client ID"
        return "no-client-id", why, "write the resource without a Thing policy variable"
    if attached == "false":
        why = f"the connection's certificate is not attached to a Thing named {client!r}"
        fix = f"attach the certificate to the Thing {client!r} (AttachThingPrincipal)"
        other = repr(things[0]) if things else "the name of the Thing that it is attached to"
        advice = f"{fix}, or connect with {other} as the client ID{_exclusively(things)}"
        return "not-attached", why, advice
    if attached is None and normalize(_THING + "ThingName") not in context:
        why = (
            f"the client ID {client!r} is not the name of a Thing, and Thing policy variables"
            " require one"
        )
        advice = "connect with the Thing's name as the client ID"
        if things:
            advice += f": this certificate is attached to {things[0]!r}{_exclusively(things)}"
        return "no-thing", why, advice
    attribute = re.search(r"\[(.*)\]", name)
    property_ = f"attribute {attribute[1]!r}" if attribute else name.rpartition(".")[2]
    code = "no-attribute" if attribute else "no-type"
    why = f"the Thing {thing!r} has no {property_}"
    return code, why, f"set it on the Thing {thing!r} (UpdateThing)"


# --- names --------------------------------------------------------------------------------------


def _both(expected: str, actual: str) -> str:
    return f"the policy names {expected!r} and the request names {actual!r}"


def _name(resource_type: str, pattern: str, actual: str) -> Mismatch:
    """Compare the names that follow the resource type: a filled pattern and the request's name."""
    shown = plain(pattern)
    both = _both(shown, actual)

    def mismatch(kind: str, distance: int, reason: str, advice: str) -> Mismatch:
        return Mismatch(kind, f"{both}: {reason}", advice, shown, actual, distance)

    if covers(pattern.lower(), actual.lower()):
        reason = "names are case-sensitive"
        return mismatch("case", SLIP, reason, "use the same case in both places")
    if covers(pattern.strip("/"), actual.strip("/")):
        reason = "a slash at the beginning or end is part of the name"
        return mismatch("slash", SLIP, reason, "remove the slash, or write it in both places")
    if covers(f"{pattern}*", actual):
        stem = shown.rstrip("/")
        below = f"{stem}/*" if actual.startswith(f"{stem}/") else f"{shown}*"
        reason = f"without a * at the end, {shown!r} matches only that exact name"
        return mismatch("prefix", VALUE, reason, f"write {below!r} in the policy")
    if covers(pattern, f"{actual}/"):
        reason = f"that matches everything below {actual!r}, but not {actual!r} itself"
        return mismatch("parent", VALUE, reason, f"add {actual!r} as a second Resource")
    return _level(resource_type, pattern, actual) or _several_levels(pattern, actual, both)


def _level(resource_type: str, pattern: str, actual: str) -> Mismatch | None:
    """Return the mismatch of the one level in which the names differ, if there is only one."""
    levels, actual_levels = pattern.split("/"), actual.split("/")
    pairs = zip(levels[:MAX_LEVELS], actual_levels, strict=False)
    for n, (level, actual_level) in enumerate(pairs):
        fixed = "/".join([*levels[:n], literal(actual_level), *levels[n + 1 :]])
        if level in ("+", "#") or not covers(fixed, actual):
            continue
        shown = plain(level)
        in_thing = resource_type in ("client", "thing") or (
            n == 2 and actual.startswith("$aws/things/")
        )
        return Mismatch(
            "thing" if in_thing else "level",
            _both(shown, actual_level),
            f"replace {shown!r} with {actual_level!r} in the policy, or have the client use"
            f" {'a name that matches ' * ('*' in level)}{shown!r}",
            shown,
            actual_level,
            NAME,
        )
    return None


def _several_levels(pattern: str, actual: str, both: str) -> Mismatch:
    """Compare names that differ in more than one level."""
    shown, levels = plain(pattern), pattern.split("/")
    if not {"+", "#"}.isdisjoint(levels):
        as_glob = "/".join("*" if level in ("+", "#") else level for level in levels)
        text = f"{both}: in a policy, # and + are ordinary characters, and the wildcard is *"
        if covers(as_glob, actual):
            advice, distance = f"write {plain(as_glob)!r} in the policy", SLIP
        else:
            advice, distance = f"write a pattern that matches {actual!r}", OTHER
        return Mismatch("mqtt-wildcard", text, advice, shown, actual, distance)
    advice = f"write {actual!r} in the policy, or a pattern that matches it"
    return Mismatch("name", both, advice, shown, actual, OTHER)


def _type_and_name(pattern: str, actual: str, action: str) -> Iterator[Mismatch]:
    """Compare the last field of two ARNs, such as ``topic/creek/*`` and ``topic/creek/depth``."""
    if covers(pattern, actual):
        return
    expected_type, slash, expected_name = pattern.partition("/")
    actual_type, _, name = actual.partition("/")
    if not slash:
        shown = plain(pattern)
        advice = f"write {actual!r} in the policy, or {actual_type + '/*'!r}"
        yield Mismatch("resource", _both(shown, actual), advice, shown, actual, OTHER)
        return
    if not covers(expected_type, actual_type):
        shown = plain(expected_type)
        text = (
            f"{action} needs a resource of type {actual_type!r} and the policy names the type"
            f" {shown!r}"
        )
        advice = f"replace {shown!r} with {actual_type!r}"
        yield Mismatch("kind", text, advice, shown, actual_type, FIELD)
    if not covers(expected_name, name):
        mismatch = _name(actual_type, expected_name, name)
        if actual_type == "topicfilter" and set("+#") & set(name):
            text = f"{mismatch.text} (a policy compares a topic filter literally, # and + included)"
            mismatch = replace(mismatch, text=text)
        yield mismatch


# --- the parts of a statement -------------------------------------------------------------------


def action_mismatch(bound: BoundStatement, action: str) -> Mismatch:
    """Return why a statement is not about `action`."""
    for each in bound.statement.actions:
        if is_misspelling(each, action):
            text = f"its Action names {each!r}, which is not an AWS IoT action"
            advice = f"replace {each!r} with {action!r}"
            return Mismatch("spelling", text, advice, each, action, FIELD)
    expected = ", ".join(bound.statement.actions)
    text = f"its Action ({expected}) does not include {action}"
    if action.lower() in _OVER_MQTT and "thingshadow" in expected.lower():
        text += "; over MQTT, a shadow needs Publish, Subscribe and Receive on its topics, and the"
        text += " shadow actions apply only to REST"
    return Mismatch("action", text, f"add {action} to its Action", expected, action, ACTION)


@lru_cache(maxsize=4096)
def is_misspelling(text: str, action: str) -> bool:
    """Return whether `text` is not an action and was probably meant to be `action`."""
    known = [each.lower() for each in ACTIONS]
    text = text.lower()
    if text in known or set("*?") & set(text):
        return False
    return get_close_matches(text, known, n=1, cutoff=0.75) == [action.lower()]


def resource_mismatches(
    bound: BoundStatement, actual: str, action: str, context: Context, things: tuple[str, ...]
) -> list[Mismatch]:
    """Return what differs in the nearest of a statement's resources; nothing if one matches."""
    if bound.covers(actual):
        return []
    likely = bound.resources
    if len(likely) > MAX_RESOURCES:
        likely = tuple(
            nlargest(MAX_RESOURCES, likely, key=lambda one: similar(one.pattern, actual))
        )
    candidates = (
        _resource(resource, actual, action, bound.policy, context, things) for resource in likely
    )
    return min(candidates, key=total_distance)


def _resource(
    resource: BoundResource,
    actual: str,
    action: str,
    policy: Policy,
    context: Context,
    things: tuple[str, ...],
) -> list[Mismatch]:
    """Compare one resource of a statement with the request's resource."""
    if policy.version != VARIABLES_SINCE and "${" in resource.text:
        return [_old_version(resource.text, policy)]
    mismatches = []
    for name in resource.missing[:MAX_VARIABLES]:
        code, why, advice = why_empty(name, context, things)
        variable = f"${{{name}}}"
        text = f"the policy variable {variable} has no value here: {why}"
        mismatches.append(Mismatch("variable", text, advice, variable, code, VALUE, unfilled=True))
    if covers(resource.pattern, actual):
        return mismatches
    fields, actual_fields = resource.pattern.split(":", 5), actual.split(":", 5)
    if len(fields) < 6 or len(actual_fields) < 6:
        advice = f"write {actual!r} as the Resource"
        text = _both(resource.text, actual)
        return [*mismatches, Mismatch("resource", text, advice, resource.text, actual, OTHER)]
    labels = ("", "partition", "service", "region", "account")
    for label, pattern, part in zip(labels, fields, actual_fields, strict=False):
        if not covers(pattern, part):
            shown = plain(pattern)
            text = f"the policy's ARN has the {label} {shown!r} and the request's has {part!r}"
            advice = f"write {part!r} as the {label}"
            mismatches.append(Mismatch(label, text, advice, shown, part, FIELD))
    last = list(_type_and_name(fields[5], actual_fields[5], action))
    values = [
        f"${{{name}}} is {value!r}"
        for name in re.findall(r"\$\{([^{}]{2,})\}", resource.text)
        if isinstance(value := context.get(normalize(name)), str) and name not in resource.missing
    ]
    if last and values:
        last[-1] = replace(last[-1], text=f"{last[-1].text} ({', '.join(values)} here)")
    return mismatches + last


def _old_version(text: str, policy: Policy) -> Mismatch:
    why = (
        f"its document has no Version {VARIABLES_SINCE!r}, so {text!r} is plain text without"
        " policy variables"
    )
    fix = f'write "Version": "{VARIABLES_SINCE}" in the document'
    return Mismatch("version", why, fix, policy.version, VARIABLES_SINCE, VALUE, unfilled=True)


def condition_mismatch(
    unmet: UnmetCondition, policy: Policy, context: Context, things: tuple[str, ...]
) -> Mismatch:
    """Return why a condition is not met."""
    operator, name, values = unmet.condition.operator, unmet.condition.key, unmet.condition.values
    start = f"its Condition {operator} on {name}"
    if policy.version != VARIABLES_SINCE and any("${" in value for value in values):
        return _old_version(", ".join(values), policy)
    if unmet.missing:
        code, why, advice = why_empty(unmet.missing[0], context, things)
        variable = f"${{{unmet.missing[0]}}}"
        text = f"{start} needs {variable}, which has no value here: {why}"
        return Mismatch("variable", text, advice, variable, code, VALUE, unfilled=True)
    alternatives = " or ".join(repr(plain(value)) for value in unmet.expected)
    expected = f"{operator} {name} {alternatives}"
    text = f"{start} is not met: the policy has {alternatives} and the connection has"
    code, why, advice = why_empty(name, context, things)
    if not unmet.actual:
        return Mismatch("condition", f"{text} no value ({why})", advice, expected, code, VALUE)
    actual = " and ".join(map(repr, unmet.actual))
    if (normalize(name), unmet.actual) != (normalize(_THING + "IsAttached"), ("false",)):
        advice = f"connect so that {name} meets the Condition, or change the Condition"
    return Mismatch("condition", f"{text} {actual}", advice, expected, actual, VALUE)
