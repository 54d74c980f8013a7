"""AWS IoT policies: read, decide, explain.

A policy is a JSON document whose statements allow or deny actions on resources. Deciding takes
three steps, and each has its place below:

1. `parse` reads a document once, when it is created, and refuses what AWS IoT would refuse.
2. `Authorizer` binds the attached policies to one connection: variables get the connection's
   values, patterns are compiled, conditions are answered (they depend on the connection alone).
3. `Authorizer.decide` compares a request with the bound statements. A matching Deny refuses,
   else a matching Allow allows, else the request is refused.

`Authorizer.explain` says in words what `decide` says with one; the words are made in `explain.py`.

Patterns. In a policy ``*`` stands for any run of characters, ``/`` included, and ``?`` for one;
``+`` and ``#`` are ordinary characters. ``${name}`` is a variable; ``${*}``, ``${?}``, ``${$}``
(also ``$(*)`` and so on) are the characters themselves. Binding turns a pattern as written into a
*filled* pattern: variables are replaced by their values, and every ``$``, and every ``*`` and ``?``
that came in with a value, is written in its ``${...}`` form. So nothing that a client chooses can
act as a wildcard, and a filled pattern can still be split at ``:`` and ``/``.

Sources: AWS IoT developer guide, pages on policies, policy variables, and policy examples; IAM
user guide, policy grammar, condition operators and policy variables, which AWS IoT follows.
"""

from __future__ import annotations

import json
import operator as compare
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Literal, NamedTuple

Effect = Literal["Allow", "Deny"]
Outcome = Literal["ALLOWED", "EXPLICIT_DENY", "IMPLICIT_DENY"]

Context = Mapping[str, str | tuple[str, ...]]
"""What is known of a connection: condition keys and variables by name, without ``${}``.

A key that is absent has no value. A tuple is a key of several values (``iot:ConnectAttributes``,
``iot:Certificate.Subject.OrganizationalUnit.List``) and serves conditions only. Three states of
``iot:Connection.Thing.IsAttached`` let an explanation say why a Thing variable is empty: absent
(no Thing has the client id as its name), ``"false"`` (the certificate is not attached to it),
``"true"``.
"""

VARIABLES_SINCE = "2012-10-17"
VERSIONS = (VARIABLES_SINCE, "2008-10-17")
MAX_SIZE = 2048
"""Longest policy document in characters, white space not counted (AWS IoT Core quotas)."""
MAX_CERTIFICATE_VALUE = 1024
"""Longest certificate attribute that a variable takes, in characters (same guide)."""

SYNTAX = "Policy document is Malformed: Invalid policy syntax."
RESOURCES = "Policy document is Malformed: The following resources are invalid :"


class MalformedPolicy(ValueError):
    """A document that is no AWS IoT policy; AWS's message first, then what exactly is wrong."""


# --- what a policy says ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: an operator as written (``"ForAnyValue:StringLike"``), a key, its values."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy. `index` counts from 0; texts for people count from 1."""

    index: int
    sid: str | None
    effect: Effect
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy document.

    In a document of another `version` than ``"2012-10-17"`` variables are plain text, as in IAM.
    """

    name: str
    arn: str
    statements: tuple[Statement, ...]
    version: str = VARIABLES_SINCE


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request, in the terms of ``TestAuthorization``.

    `allowed` and `denied` are the policies with a matching Allow and a matching Deny statement.
    `missing` names the variables and condition keys without a value that kept a statement about
    this action from matching.
    """

    outcome: Outcome
    allowed: tuple[Policy, ...]
    denied: tuple[Policy, ...]
    missing: tuple[str, ...]

    @property
    def allows(self) -> bool:
        """Whether the request may go on."""
        return self.outcome == "ALLOWED"


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement, seen from one request.

    `statement` is its index, from 0. `differs` says in words what keeps it from matching, `advice`
    what would mend each difference; both are empty for a statement that matches.
    """

    policy: str
    statement: int
    sid: str | None
    effect: Effect
    matched: bool
    differs: tuple[str, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request was allowed or refused.

    `findings` holds every statement of the attached policies. `closest` is the one that decided,
    or the Allow statement that came nearest; None if there is none. `suggestion` is the smallest
    statement that would allow a request that no statement allows, else None.
    """

    action: str
    resource: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    closest: Finding | None
    summary: str
    suggestion: dict[str, str] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as plain values, ready for JSON."""
        return asdict(self)


# --- patterns ----------------------------------------------------------------------------------

_DOLLAR = re.compile(r"\$\{(?P<name>[^{}]+)\}|\$\((?P<char>[*?$])\)|\$")
_PIECE = re.compile(r"\$\{(?P<char>[*?$])\}|.", re.DOTALL)


def literal(text: str) -> str:
    """Return the filled pattern that covers `text` and nothing else."""
    return re.sub(r"[*?$]", r"${\g<0>}", text)


def plain(pattern: str) -> str:
    """Return a filled pattern as people read it, with ``${*}`` shown as ``*``."""
    return _PIECE.sub(lambda piece: piece["char"] or piece[0], pattern)


def fill(text: str, value_of: Callable[[str], str | None]) -> tuple[str, tuple[str, ...]]:
    """Replace the variables of a pattern.

    Returns
    -------
    tuple
        The filled pattern, in which a variable without a value has become ``*``, and the names of
        those variables. A pattern with such names must not match anything.
    """
    missing: list[str] = []

    def replacement(found: re.Match[str]) -> str:
        name = found["name"] or found["char"] or "$"
        if name in ("*", "?", "$"):
            return literal(name)
        value = value_of(name)
        if value is None:
            missing.append(name)
            return "*"
        return literal(value)

    return _DOLLAR.sub(replacement, text), tuple(missing)


@lru_cache(maxsize=1024)
def glob(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a filled pattern; use it with ``fullmatch``.

    Each ``*`` but the last takes the shortest run that lets the text after it match, and never
    gives it back (an atomic group). For globs that loses no match, and the time is bounded by the
    product of the two lengths instead of growing with a power of the number of stars.
    """
    runs = [""]
    for piece in _PIECE.finditer(pattern):
        if piece[0] == "*":
            runs.append("")
        else:
            runs[-1] += "." if piece[0] == "?" else re.escape(piece["char"] or piece[0])
    first, *rest = runs
    if rest:
        *inner, last = rest
        first += "".join(f"(?>.*?{run})" for run in inner if run) + ".*" + last
    return re.compile(first, re.DOTALL | flags)


def covers(pattern: str, text: str) -> bool:
    """Tell whether a filled pattern matches the whole of `text`."""
    return glob(pattern).fullmatch(text) is not None


# --- conditions --------------------------------------------------------------------------------


class _Operator(NamedTuple):
    """How a condition operator reads both sides and compares them."""

    wanted: Callable[[str], Any]  # reads a filled value of the policy; ValueError if it cannot
    given: Callable[[str], Any]  # reads a value of the connection
    holds: Callable[[Any, Any], bool]  # holds(given, wanted)
    negated: bool = False


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _moment(text: str) -> float:
    """Read ISO 8601 (UTC if no zone is given) or seconds since 1970."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def _folded(text: str) -> str:
    return plain(text).casefold()


def _like(given: str, wanted: re.Pattern[str]) -> bool:
    return wanted.fullmatch(given) is not None


def _within(given: Any, wanted: Any) -> bool:
    return given in wanted


_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], bool]] = {
    "Equals": (compare.eq, False),
    "NotEquals": (compare.eq, True),
    "LessThan": (compare.lt, False),
    "LessThanEquals": (compare.le, False),
    "GreaterThan": (compare.gt, False),
    "GreaterThanEquals": (compare.ge, False),
}

_OPERATORS: dict[str, _Operator] = {
    "StringEquals": _Operator(plain, str, compare.eq),
    "StringNotEquals": _Operator(plain, str, compare.eq, negated=True),
    "StringEqualsIgnoreCase": _Operator(_folded, str.casefold, compare.eq),
    "StringNotEqualsIgnoreCase": _Operator(_folded, str.casefold, compare.eq, negated=True),
    "StringLike": _Operator(glob, str, _like),
    "StringNotLike": _Operator(glob, str, _like, negated=True),
    "Bool": _Operator(_boolean, _boolean, compare.eq),
    "IpAddress": _Operator(_network, ip_address, _within),
    "NotIpAddress": _Operator(_network, ip_address, _within, negated=True),
    "Null": _Operator(_boolean, str, compare.eq),
    **{f"Numeric{end}": _Operator(float, float, *how) for end, how in _COMPARISONS.items()},
    **{f"Date{end}": _Operator(_moment, _moment, *how) for end, how in _COMPARISONS.items()},
}

_OPERATOR_NAME = re.compile(r"(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?")


def _operator(name: str) -> tuple[str | None, str, bool]:
    """Split ``ForAnyValue:StringLikeIfExists`` into quantifier, base name, and "if exists"."""
    found = _OPERATOR_NAME.fullmatch(name)
    base = found[2] if found else None
    if found is None or base not in _OPERATORS or (base == "Null" and name != "Null"):
        near = get_close_matches(name.rpartition(":")[2], _OPERATORS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise MalformedPolicy(f"{SYNTAX} There is no condition operator {name!r}{hint}")
    return found[1], base, found[3] is not None


def _fulfilled(name: str, wanted: Iterable[str], given: tuple[str, ...]) -> bool:
    """Answer one condition; `wanted` are filled patterns, `given` the connection's values.

    Values in a policy are alternatives. A negated operator is true of a value that equals none of
    them. With no value given, negated operators and ``ForAllValues`` are true, the others false
    (IAM user guide, condition operators).
    """
    quantifier, base, if_exists = _operator(name)
    operator = _OPERATORS[base]
    values = [operator.wanted(value) for value in wanted]
    if base == "Null":
        return (not given) in values
    if not given:
        return if_exists or (operator.negated if quantifier is None else "All" in quantifier)

    def holds(text: str) -> bool:
        try:
            value = operator.given(text)
        except ValueError:
            return operator.negated
        return any(operator.holds(value, other) for other in values) != operator.negated

    every = operator.negated if quantifier is None else "All" in quantifier
    return (all if every else any)(map(holds, given))


# --- reading a document ------------------------------------------------------------------------

_ACTION = re.compile(r"\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+")
_ARN = re.compile(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", re.DOTALL)
_NO_PRINCIPAL = "an IoT policy speaks about the certificate it is attached to; leave it out"
_NOT_FOR_IOT = {
    "Principal": _NO_PRINCIPAL,
    "NotPrincipal": _NO_PRINCIPAL,
    "NotAction": "AWS IoT documents only Action; list the actions",
    "NotResource": "AWS IoT documents only Resource; list the resources",
}


def _wrong(what: str) -> MalformedPolicy:
    return MalformedPolicy(f"{SYNTAX} {what}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _wrong(f"{twice!r} stands twice in one object; only one of them would count.")
    return members


def _members(value: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"{where} must be a JSON object, in braces.")
    for name in value:
        if name in _NOT_FOR_IOT:
            raise _wrong(f"{where} has {name!r}: {_NOT_FOR_IOT[name]}.")
        if name not in known:
            near = [other for other in known if other.lower() == name.lower()]
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise _wrong(f"{where} has an unknown element {name!r}; {hint}")
    return value


def _texts(value: object, where: str, scalars: tuple[type, ...] = (str,)) -> tuple[str, ...]:
    """Read one value or a list of values; JSON's true and 5 are the texts ``true`` and ``5``."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, scalars) for item in values):
        raise _wrong(f"{where} must be a string, or a list of at least one string.")
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in values)


def _conditions(value: object, where: str) -> Iterable[Condition]:
    if not isinstance(value, dict) or not all(isinstance(keys, dict) for keys in value.values()):
        raise _wrong(f'{where}: Condition must look like {{"operator": {{"key": "value"}}}}.')
    for name, keys in value.items():
        _, base, _ = _operator(name)
        for key, wanted in keys.items():
            texts = _texts(wanted, f"{where}: the value of {name} {key!r}", (str, bool, int, float))
            for text in texts:
                try:
                    _OPERATORS[base].wanted(text)
                except ValueError:
                    raise _wrong(f"{where}: {name} cannot compare with {text!r}.") from None
            yield Condition(name, key, texts)


def _statement(value: object, index: int) -> Statement:
    where = f"Statement {index + 1}"
    members = _members(value, where, ("Sid", "Effect", "Action", "Resource", "Condition"))
    for name in ("Effect", "Action", "Resource"):
        if name not in members:
            raise _wrong(f"{where} has no {name!r}.")
    sid, effect = members.get("Sid"), members["Effect"]
    if sid is not None and not isinstance(sid, str):
        raise _wrong(f"{where}: Sid must be a string.")
    if effect not in ("Allow", "Deny"):
        raise _wrong(f"{where}: Effect must be 'Allow' or 'Deny', not {effect!r}.")
    actions = _texts(members["Action"], f"{where}: Action")
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise _wrong(f"{where}: {action!r} is no action; one looks like 'iot:Publish'.")
    resources = _texts(members["Resource"], f"{where}: Resource")
    conditions = tuple(_conditions(members.get("Condition", {}), where))
    return Statement(index, sid, effect, actions, resources, conditions)


def _looks_like_arn(resource: str) -> bool:
    # The colons in a variable's name are not those of the ARN.
    return resource == "*" or _ARN.fullmatch(re.sub(r"\$\{[^{}]*\}", "v", resource)) is not None


def parse(document: str, *, name: str = "", arn: str = "") -> Policy:
    """Read a policy document.

    Parameters
    ----------
    document
        JSON text of at most `MAX_SIZE` characters without white space.
    name, arn
        Of the policy; they appear in decisions and explanations.

    Raises
    ------
    MalformedPolicy
        The document is no JSON, too long, has an element that AWS IoT does not know or lacks one
        that it needs, or names a resource that is neither ``*`` nor an ARN. The message begins
        with that of AWS's ``MalformedPolicyException``.
    """
    size = sum(map(len, document.split()))
    if size > MAX_SIZE:
        raise _wrong(
            f"It has {size} characters without white space, at most {MAX_SIZE} are allowed;"
            " use wildcards or variables, or attach several policies."
        )
    try:
        content = json.loads(document, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise _wrong(
            f"It is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except RecursionError:
        raise _wrong("It is nested too deeply.") from None
    members = _members(content, "The document", ("Version", "Id", "Statement"))
    version = members.get("Version", VERSIONS[-1])
    if version not in VERSIONS:
        raise _wrong(f"Version must be {VARIABLES_SINCE!r}, not {version!r}.")
    statements = members.get("Statement")
    if not statements:
        raise _wrong("There is no Statement.")
    parts = statements if isinstance(statements, list) else [statements]
    parsed = tuple(_statement(part, index) for index, part in enumerate(parts))
    bad = [text for part in parsed for text in part.resources if not _looks_like_arn(text)]
    if bad:
        raise MalformedPolicy(
            f"{RESOURCES} [{', '.join(bad)}]. A resource is '*', or an ARN such as"
            " arn:aws:iot:<region>:<account>:topic/<topic>."
        )
    return Policy(name, arn, parsed, version)


# --- one connection ----------------------------------------------------------------------------


def key(name: str) -> str:
    """Return the form of a variable or condition key in which keys are compared.

    Key names ignore case (IAM user guide, condition keys); the name of a Thing's attribute, in
    brackets, does not.
    """
    head, bracket, attribute = name.partition("[")
    return head.lower() + bracket + attribute


class BoundResource(NamedTuple):
    """A resource pattern of a statement with the connection's values in it."""

    written: str
    pattern: str
    missing: tuple[str, ...]
    regex: re.Pattern[str]

    def covers(self, resource: str) -> bool:
        """Tell whether the pattern, all its variables having values, matches `resource`."""
        return not self.missing and self.regex.fullmatch(resource) is not None


class Unmet(NamedTuple):
    """A condition that the connection does not fulfil.

    `wanted` are the policy's values, filled, `given` those of the connection. `missing` names the
    variables in `wanted` that have no value: then nothing is compared.
    """

    condition: Condition
    wanted: tuple[str, ...]
    given: tuple[str, ...]
    missing: tuple[str, ...]


class BoundStatement(NamedTuple):
    """A statement as it reads for one connection."""

    policy: Policy
    statement: Statement
    actions: tuple[re.Pattern[str], ...]
    resources: tuple[BoundResource, ...]
    unmet: tuple[Unmet, ...]
    missing: tuple[str, ...]

    def names(self, action: str) -> bool:
        """Tell whether `action` is among the statement's actions; case does not count."""
        return any(pattern.fullmatch(action) for pattern in self.actions)

    def covers(self, resource: str) -> bool:
        """Tell whether one of the statement's resources matches."""
        return any(pattern.covers(resource) for pattern in self.resources)

    def matches(self, action: str, resource: str) -> bool:
        """Tell whether the statement applies to this request."""
        return not self.unmet and self.names(action) and self.covers(resource)


class Authorizer:
    """The policies of one connection, ready to decide.

    Parameters
    ----------
    policies
        The default versions of all policies that apply to the connection.
    context
        What is known of the connection. A variable that it holds no value for is not replaced, and
        the statement does not match: an Allow then allows nothing, and, as on AWS, a Deny denies
        nothing. A certificate attribute that has ``*`` or ``?`` in it, or more than
        `MAX_CERTIFICATE_VALUE` characters, counts as having no value there (AWS IoT developer
        guide, X.509 certificate policy variables).
    """

    def __init__(self, policies: Sequence[Policy], context: Context) -> None:
        self._policies = tuple(policies)
        self._context = {key(name): value for name, value in context.items()}
        self._statements = tuple(
            self._bind(policy, statement) for policy in policies for statement in policy.statements
        )

    def decide(self, action: str, resource: str) -> Decision:
        """Decide one request, such as ``"iot:Publish"`` on the full ARN of a topic."""
        about = [bound for bound in self._statements if bound.names(action)]
        matching = [bound for bound in about if bound.matches(action, resource)]

        def deciding(effect: Effect) -> tuple[Policy, ...]:
            found = [bound.policy for bound in matching if bound.statement.effect == effect]
            return tuple(dict.fromkeys(found))

        allowed, denied = deciding("Allow"), deciding("Deny")
        missing = tuple(dict.fromkeys(name for bound in about for name in bound.missing))
        if denied:
            return Decision("EXPLICIT_DENY", allowed, denied, missing)
        return Decision("ALLOWED" if allowed else "IMPLICIT_DENY", allowed, denied, missing)

    def explain(self, action: str, resource: str) -> Explanation:
        """Say why `decide` answers as it does, and what differs in the closest statement."""
        # Imported here because explain.py is built on this module.
        from creeklab.cloud.explain import explain

        decision = self.decide(action, resource)
        return explain(decision, action, resource, self._policies, self._statements, self._context)

    def _bind(self, policy: Policy, statement: Statement) -> BoundStatement:
        resources = []
        for written in statement.resources:
            pattern, missing = self._fill(policy, written)
            resources.append(BoundResource(written, pattern, missing, glob(pattern)))
        unmet = []
        for condition in statement.conditions:
            filled = [self._fill(policy, value) for value in condition.values]
            wanted = tuple(pattern for pattern, _ in filled)
            missing = tuple(name for _, names in filled for name in names)
            value = self._context.get(key(condition.key), ())
            given = (value,) if isinstance(value, str) else value
            if missing or not _fulfilled(condition.operator, wanted, given):
                unmet.append(Unmet(condition, wanted, given, missing))
        names = [name for pattern in resources for name in pattern.missing]
        for condition, _, given, missing in unmet:
            names += missing
            if not given and condition.operator != "Null":
                names.append(condition.key)
        return BoundStatement(
            policy,
            statement,
            tuple(glob(action, re.IGNORECASE | re.ASCII) for action in statement.actions),
            tuple(resources),
            tuple(unmet),
            tuple(dict.fromkeys(names)),
        )

    def _fill(self, policy: Policy, text: str) -> tuple[str, tuple[str, ...]]:
        if policy.version == VARIABLES_SINCE:
            return fill(text, self._value)
        return text.replace("$", literal("$")), ()

    def _value(self, name: str) -> str | None:
        value = self._context.get(key(name))
        if not isinstance(value, str):
            return None
        from_certificate = key(name).startswith("iot:certificate.")
        if from_certificate and (len(value) > MAX_CERTIFICATE_VALUE or set("*?") & set(value)):
            return None
        return value
