"""Condition operators: how ``{"operator": {"key": "value"}}`` is evaluated.

The grammar is IAM's (user guide, "IAM JSON policy elements: Condition operators"), which AWS IoT
follows. Values in a policy are alternatives. A negated operator is met by a value that equals none
of them. If the connection has no value, negated operators, ``ForAllValues`` and ``...IfExists`` are
met, and all others are not.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from creeklab.cloud.policy.wildcards import Glob, covers, glob, plain


class Operator(NamedTuple):
    """How a condition operator reads both sides and compares them."""

    read_expected: Callable[[str], Any]  # reads a filled value of the policy, or ValueError
    read_actual: Callable[[str], Any]  # reads a value of the connection
    compare: Callable[[Any, Any], bool]  # takes the actual value and the expected one
    negated: bool = False


def _boolean(text: str) -> bool:
    return bool(("false", "true").index(text.lower()))


_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _number(text: str) -> float:
    # float() accepts more: nan, inf, and 1_000.
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text)


def _timestamp(text: str) -> float:
    """Read ISO 8601 (UTC if no zone is given) or seconds since 1970."""
    try:
        return _number(text)
    except ValueError:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def _folded(text: str) -> str:
    return plain(text).casefold()


def _like(actual: str, expected: Glob) -> bool:
    return expected.matches(actual)


def _within(actual: Any, expected: Any) -> bool:
    return actual in expected


def _arn(text: str) -> list[str]:
    """Split an ARN, or a pattern for one.

    A colon in the name of a variable does not separate fields, so that no value of the variable
    can make a valid pattern invalid.
    """
    if not re.match(r"arn:(?:[^:]*:){4}", re.sub(r"\$\{[^{}]*\}", "v", text)):
        raise ValueError(text)
    return text.split(":", 5)


def _arn_like(actual: list[str], expected: list[str]) -> bool:
    """Compare field by field: a ``*`` does not match a colon."""
    return all(map(covers, expected, actual))


_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], bool]] = {
    "Equals": (operator.eq, False),
    "NotEquals": (operator.eq, True),
    "LessThan": (operator.lt, False),
    "LessThanEquals": (operator.le, False),
    "GreaterThan": (operator.gt, False),
    "GreaterThanEquals": (operator.ge, False),
}

OPERATORS: dict[str, Operator] = {
    "StringEquals": Operator(plain, str, operator.eq),
    "StringNotEquals": Operator(plain, str, operator.eq, negated=True),
    "StringEqualsIgnoreCase": Operator(_folded, str.casefold, operator.eq),
    "StringNotEqualsIgnoreCase": Operator(_folded, str.casefold, operator.eq, negated=True),
    "StringLike": Operator(glob, str, _like),
    "StringNotLike": Operator(glob, str, _like, negated=True),
    "Bool": Operator(_boolean, _boolean, operator.eq),
    "IpAddress": Operator(_network, ip_address, _within),
    "NotIpAddress": Operator(_network, ip_address, _within, negated=True),
    "Null": Operator(_boolean, str, operator.eq),
    **{f"Numeric{end}": Operator(_number, _number, *how) for end, how in _COMPARISONS.items()},
    **{f"Date{end}": Operator(_timestamp, _timestamp, *how) for end, how in _COMPARISONS.items()},
    **{f"Arn{end}": Operator(_arn, _arn, _arn_like) for end in ("Equals", "Like")},
    **{f"ArnNot{end}": Operator(_arn, _arn, _arn_like, negated=True) for end in ("Equals", "Like")},
}

_NAME = re.compile(r"(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?")


class UnknownOperator(ValueError):
    """There is no condition operator of this name."""


def parse_operator(name: str) -> tuple[str | None, Operator, bool]:
    """Split ``ForAnyValue:StringLikeIfExists`` into quantifier, operator, and "if exists".

    Raises
    ------
    UnknownOperator
        If IAM has no such operator. ``Null`` takes neither quantifier nor "if exists".
    """
    match = _NAME.fullmatch(name)
    base = match[2] if match else None
    if match is None or base not in OPERATORS or (base == "Null" and name != "Null"):
        near = get_close_matches(name.rpartition(":")[2], OPERATORS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UnknownOperator(f"there is no condition operator {name!r}{hint}")
    return match[1], OPERATORS[base], match[3] is not None


def is_met(name: str, expected: Iterable[str], actual: tuple[str, ...]) -> bool:
    """Evaluate one condition on filled patterns and the connection's values."""
    quantifier, op, if_exists = parse_operator(name)
    values = [op.read_expected(value) for value in expected]
    if name == "Null":
        return (not actual) in values
    every = op.negated if quantifier is None else "All" in quantifier
    if not actual:
        return if_exists or every

    def meets(text: str) -> bool:
        try:
            value = op.read_actual(text)
        except ValueError:
            return op.negated
        return any(op.compare(value, other) for other in values) != op.negated

    return (all if every else any)(map(meets, actual))
