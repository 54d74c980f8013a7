"""Policy documents: their grammar, and how they are parsed.

`parse` reads a document once, when it is created, and rejects what AWS IoT would reject. The error
starts with AWS's message and then says what exactly is wrong. `Grammar` holds the points that
public sources leave open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from creeklab.cloud.policy.conditions import UnknownOperator, operator_of

Effect = Literal["Allow", "Deny"]

VARIABLES_SINCE = "2012-10-17"
VERSIONS = (VARIABLES_SINCE, "2008-10-17")
MAX_SIZE = 2048
"""Largest policy document in characters, without white space (AWS IoT Core quotas)."""

SYNTAX = "Policy document is Malformed: Invalid policy syntax."
RESOURCES = "Policy document is Malformed: The following resources are invalid :"


class MalformedPolicy(ValueError):
    """A document is not an AWS IoT policy; `code` is the name of the API's exception."""

    def __init__(self, message: str, code: str = "MalformedPolicyException") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Grammar:
    """Points of the grammar that no public source settles for AWS IoT.

    Attributes
    ----------
    not_elements
        Whether ``NotAction`` and ``NotResource`` are accepted, with their meaning in IAM.
    without_version
        The version of a document without ``Version``. In ``"2008-10-17"``, variables are plain
        text, as in IAM.
    too_long
        Name of the API's exception for a document above `MAX_SIZE`.
    """

    not_elements: bool = False
    without_version: str = VERSIONS[-1]
    too_long: str = "MalformedPolicyException"


DEFAULT_GRAMMAR = Grammar()
LENIENT_GRAMMAR = Grammar(not_elements=True)


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: an operator as written (``"ForAnyValue:StringLike"``), a key, its values."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy. `index` counts from 0; texts for people count from 1.

    With `not_action` or `not_resource`, the statement applies to everything except its `actions`
    or `resources`.
    """

    index: int
    sid: str | None
    effect: Effect
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]
    not_action: bool = False
    not_resource: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy document.

    Attributes
    ----------
    version
        The document's ``Version``. Unless it is ``"2012-10-17"``, variables are plain text.
    number
        Number of the policy's version, such as ``"3"``; empty if unknown.
    """

    name: str
    arn: str
    statements: tuple[Statement, ...]
    version: str = VARIABLES_SINCE
    number: str = ""


_ACTION = re.compile(r"\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+")
_ARN = re.compile(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", re.DOTALL)
_NO_PRINCIPAL = "an IoT policy applies to the certificate that it is attached to; remove it"
_NOT_FOR_IOT = {
    "Principal": _NO_PRINCIPAL,
    "NotPrincipal": _NO_PRINCIPAL,
    "NotAction": "AWS IoT documents only Action; list the actions",
    "NotResource": "AWS IoT documents only Resource; list the resources",
}
_ELEMENTS = ("Sid", "Effect", "Action", "Resource", "Condition")


def _invalid(problem: str) -> MalformedPolicy:
    return MalformedPolicy(f"{SYNTAX} {problem}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _invalid(f"{twice!r} occurs twice in one object, and only one of them would count.")
    return members


def _members(value: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(f"{where} must be a JSON object.")
    for name in value:
        if name in _NOT_FOR_IOT and name not in known:
            raise _invalid(f"{where} has {name!r}: {_NOT_FOR_IOT[name]}.")
        if name not in known:
            near = [other for other in known if other.lower() == name.lower()]
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise _invalid(f"{where} has an unknown element {name!r}; {hint}")
    return value


def _texts(value: object, where: str, scalars: tuple[type, ...] = (str,)) -> tuple[str, ...]:
    """Return one value or a list of values as texts; JSON's true and 5 are ``true`` and ``5``."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, scalars) for item in values):
        raise _invalid(f"{where} must be a string, or a list of at least one string.")
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in values)


def _conditions(value: object, where: str) -> Iterable[Condition]:
    if not isinstance(value, dict) or not all(isinstance(keys, dict) for keys in value.values()):
        raise _invalid(f'{where}: Condition must look like {{"operator": {{"key": "value"}}}}.')
    for name, keys in value.items():
        try:
            _, operator, _ = operator_of(name)
        except UnknownOperator as error:
            raise _invalid(str(error)) from None
        for key, wanted in keys.items():
            texts = _texts(wanted, f"{where}: the value of {name} {key!r}", (str, bool, int, float))
            for text in texts:
                try:
                    operator.wanted(text)
                except ValueError:
                    raise _invalid(f"{where}: {name} cannot compare with {text!r}.") from None
            yield Condition(name, key, texts)


def _statement(value: object, index: int, grammar: Grammar) -> Statement:
    where = f"Statement {index + 1}"
    known = (*_ELEMENTS, "NotAction", "NotResource") if grammar.not_elements else _ELEMENTS
    members = _members(value, where, known)
    named: dict[str, bool] = {}
    for name in ("Effect", "Action", "Resource"):
        named[name] = f"Not{name}" in members
        if name in members and named[name]:
            raise _invalid(f"{where} has {name!r} and 'Not{name}'; it can have one of them.")
        if name not in members and not named[name]:
            raise _invalid(f"{where} has no {name!r}.")
    sid, effect = members.get("Sid"), members["Effect"]
    if sid is not None and not isinstance(sid, str):
        raise _invalid(f"{where}: Sid must be a string.")
    if effect not in ("Allow", "Deny"):
        raise _invalid(f"{where}: Effect must be 'Allow' or 'Deny', not {effect!r}.")
    actions = _texts(members.get("Action", members.get("NotAction")), f"{where}: Action")
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise _invalid(
                f"{where}: {action!r} is not an action. An action looks like 'iot:Publish'."
            )
    resources = _texts(members.get("Resource", members.get("NotResource")), f"{where}: Resource")
    conditions = tuple(_conditions(members.get("Condition", {}), where))
    negated = named["Action"], named["Resource"]
    return Statement(index, sid, effect, actions, resources, conditions, *negated)


def _looks_like_arn(resource: str) -> bool:
    # The colons in the name of a variable do not separate the fields of the ARN.
    return resource == "*" or _ARN.fullmatch(re.sub(r"\$\{[^{}]*\}", "v", resource)) is not None


def parse(
    document: str,
    *,
    name: str = "",
    arn: str = "",
    number: str = "",
    grammar: Grammar = DEFAULT_GRAMMAR,
) -> Policy:
    """Read a policy document.

    Parameters
    ----------
    document
        JSON text of at most `MAX_SIZE` characters without white space.
    name, arn, number
        Name and ARN of the policy, and number of its version, for decisions and explanations.
    grammar
        What is accepted beyond the documented grammar.

    Raises
    ------
    MalformedPolicy
        If the document is not JSON or too long, has an unknown element or lacks a required one, or
        names a resource that is neither ``*`` nor an ARN. The message starts with that of AWS's
        ``MalformedPolicyException``.
    """
    size = sum(map(len, document.split()))
    if size > MAX_SIZE:
        raise MalformedPolicy(
            f"{SYNTAX} It has {size} characters without white space, and at most {MAX_SIZE} are"
            " allowed. Use wildcards or variables, or attach several policies.",
            grammar.too_long,
        )
    try:
        content = json.loads(document, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise _invalid(
            f"It is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except RecursionError:
        raise _invalid("It is nested too deeply.") from None
    members = _members(content, "The document", ("Version", "Id", "Statement"))
    version = members.get("Version", grammar.without_version)
    if version not in VERSIONS:
        raise _invalid(f"Version must be {VARIABLES_SINCE!r}, not {version!r}.")
    statements = members.get("Statement")
    if not statements:
        raise _invalid("There is no Statement.")
    parts = statements if isinstance(statements, list) else [statements]
    parsed = tuple(_statement(part, index, grammar) for index, part in enumerate(parts))
    bad = [text for part in parsed for text in part.resources if not _looks_like_arn(text)]
    if bad:
        raise MalformedPolicy(
            f"{RESOURCES} [{', '.join(bad)}]. A resource is '*', or an ARN such as"
            " arn:aws:iot:<region>:<account>:topic/<topic>."
        )
    return Policy(name, arn, parsed, version, number)
