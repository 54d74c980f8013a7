"""Policy documents: their grammar, and how they are read.

`parse` reads a document once, when it is created, and rejects what AWS IoT would reject. The error
begins with AWS's message and then says exactly what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from creeklab.cloud.policy.conditions import UnknownOperator, parse_operator

Effect = Literal["Allow", "Deny"]

VARIABLES_SINCE = "2012-10-17"
DEFAULT_VERSION = "2008-10-17"
"""Version of a document that names none, as in IAM; no public source says what AWS IoT does."""

MAX_SIZE = 2048
"""Longest policy document in characters, not counting white space (AWS IoT Core quotas)."""

SYNTAX = "Policy document is Malformed: Invalid policy syntax."
RESOURCES = "Policy document is Malformed: The following resources are invalid :"


class MalformedPolicy(ValueError):
    """A document that is not an AWS IoT policy."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: an operator such as ``"ForAnyValue:StringLike"``, a key, and its values."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy. `index` counts from 0; messages count from 1."""

    index: int
    sid: str | None
    effect: Effect
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy document.

    Attributes
    ----------
    version
        The document's ``Version``. Variables are plain text unless it is ``"2012-10-17"``.
    number
        Version ID of the policy, such as ``"3"``; empty if unknown.
    """

    name: str
    arn: str
    statements: tuple[Statement, ...]
    version: str = VARIABLES_SINCE
    number: str = ""


_ACTION = re.compile(r"\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+")
_ARN = re.compile(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", re.DOTALL)
_NO_PRINCIPAL = (
    "an IoT policy applies to the certificate that it is attached to; remove this element"
)
_NOT_FOR_IOT = {
    "Principal": _NO_PRINCIPAL,
    "NotPrincipal": _NO_PRINCIPAL,
    "NotAction": "AWS IoT documents only Action; list the actions",
    "NotResource": "AWS IoT documents only Resource; list the resources",
}


def _malformed(reason: str) -> MalformedPolicy:
    return MalformedPolicy(f"{SYNTAX} {reason}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _malformed(
            f"{twice!r} appears twice in one object, and only one of them would count; remove one."
        )
    return members


def _members(value: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(f"{where} must be a JSON object, in braces.")
    for name in value:
        if name in _NOT_FOR_IOT:
            raise _malformed(f"{where} has {name!r}: {_NOT_FOR_IOT[name]}.")
        if name not in known:
            near = [other for other in known if other.lower() == name.lower()]
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}."
            raise _malformed(f"{where} has an unknown element {name!r}; {hint}")
    return value


def _strings(value: object, where: str, scalars: tuple[type, ...] = (str,)) -> tuple[str, ...]:
    """Read one value or a list of values; JSON's true and 5 become ``"true"`` and ``"5"``."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, scalars) for item in values):
        raise _malformed(f"{where} must be a string or a list of at least one string.")
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in values)


def _conditions(value: object, where: str) -> Iterable[Condition]:
    if not isinstance(value, dict) or not all(isinstance(keys, dict) for keys in value.values()):
        raise _malformed(f'{where}: Condition must look like {{"operator": {{"key": "value"}}}}.')
    for name, keys in value.items():
        try:
            _, operator, _ = parse_operator(name)
        except UnknownOperator as error:
            raise _malformed(f"{where}: {error}") from None
        for key, expected in keys.items():
            label = f"{where}: the value of {name} {key!r}"
            values = _strings(expected, label, (str, bool, int, float))
            for text in values:
                try:
                    operator.read_expected(text)
                except ValueError:
                    raise _malformed(f"{where}: {name} cannot compare with {text!r}.") from None
            yield Condition(name, key, values)


def _statement(value: object, index: int) -> Statement:
    where = f"Statement {index + 1}"
    members = _members(value, where, ("Sid", "Effect", "Action", "Resource", "Condition"))
    for name in ("Effect", "Action", "Resource"):
        if name not in members:
            raise _malformed(f"{where} has no {name!r}.")
    sid, effect = members.get("Sid"), members["Effect"]
    if sid is not None and not isinstance(sid, str):
        raise _malformed(f"{where}: Sid must be a string.")
    if effect not in ("Allow", "Deny"):
        raise _malformed(f"{where}: Effect must be 'Allow' or 'Deny', not {effect!r}.")
    actions = _strings(members["Action"], f"{where}: Action")
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise _malformed(
                f"{where}: {action!r} is not an action; an action looks like 'iot:Publish'."
            )
    resources = _strings(members["Resource"], f"{where}: Resource")
    conditions = tuple(_conditions(members.get("Condition", {}), where))
    return Statement(index, sid, effect, actions, resources, conditions)


def _looks_like_arn(resource: str) -> bool:
    # Colons in a variable's name do not separate fields of the ARN.
    return resource == "*" or _ARN.fullmatch(re.sub(r"\$\{[^{}]*\}", "v", resource)) is not None


def parse(
    document: str, *, name: str = "", arn: str = "", number: str = "", max_size: int = MAX_SIZE
) -> Policy:
    """Read a policy document.

    Parameters
    ----------
    document
        JSON text of at most `max_size` characters, not counting white space.
    name, arn, number
        Name, ARN and version ID of the policy, for decisions and explanations.

    Raises
    ------
    MalformedPolicy
        If the document is not JSON, is too long, has an element that AWS IoT does not know, lacks
        a required one, or names a resource that is neither ``*`` nor an ARN. The message begins
        with that of AWS's ``MalformedPolicyException``.
    """
    size = sum(map(len, document.split()))
    if size > max_size:
        raise _malformed(
            f"It has {size} characters without white space; at most {max_size} are allowed. Use"
            " wildcards or policy variables, or attach several policies."
        )
    try:
        content = json.loads(document, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise _malformed(
            f"It is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except RecursionError:
        raise _malformed("It is nested too deeply.") from None
    members = _members(content, "The document", ("Version", "Id", "Statement"))
    version = members.get("Version", DEFAULT_VERSION)
    if version not in (VARIABLES_SINCE, DEFAULT_VERSION):
        raise _malformed(f"Version must be {VARIABLES_SINCE!r}, not {version!r}.")
    statements = members.get("Statement")
    if not statements:
        raise _malformed("There is no Statement.")
    listed = statements if isinstance(statements, list) else [statements]
    parsed = tuple(_statement(value, index) for index, value in enumerate(listed))
    bad = [text for each in parsed for text in each.resources if not _looks_like_arn(text)]
    if bad:
        raise MalformedPolicy(
            f"{RESOURCES} [{', '.join(bad)}]. A resource is '*' or an ARN such as"
            " arn:aws:iot:<region>:<account>:topic/<topic>."
        )
    return Policy(name, arn, parsed, version, number)
