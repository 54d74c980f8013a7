"""Condition operators: how ``{"operator": {"key": "value"}}`` is evaluated.

AWS IoT follows IAM's grammar (user guide, "IAM JSON policy elements: Condition operators"). Values
in a policy are alternatives. A negated operator is true for a value that equals none of them. If
the connection has no value, negated operators, ``ForAllValues`` and ``...IfExists`` are true, and
all others are false.
"""

from __future__ import annotations

import operator as compare
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from creeklab.cloud.policy.wildcards import covers, glob, plain


class Operator(NamedTuple):
    """How a condition operator parses both sides and compares them."""

    wanted: Callable[[str], Any]  # parses a filled value of the policy, or raises ValueError
    given: Callable[[str], Any]  # parses a value of the connection
    holds: Callable[[Any, Any], bool]  # holds(given, wanted)
    negated: bool = False


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise ValueError(text) from None


_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _number(text: str) -> float:
    # float() also accepts nan, inf and 1_000.
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text)


def _moment(text: str) -> float:
    """Parse ISO 8601 (UTC without a time zone) or seconds since 1970."""
    try:
        return _number(text)
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


def _arn(text: str) -> list[str]:
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn":
        raise ValueError(text)
    return parts


def _arn_like(given: list[str], wanted: list[str]) -> bool:
    """Compare field by field: a ``*`` does not match a colon."""
    return all(map(covers, wanted, given))


_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], bool]] = {
    "Equals": (compare.eq, False),
    "NotEquals": (compare.eq, True),
    "LessThan": (compare.lt, False),
    "LessThanEquals": (compare.le, False),
    "GreaterThan": (compare.gt, False),
    "GreaterThanEquals": (compare.ge, False),
}

OPERATORS: dict[str, Operator] = {
    "StringEquals": Operator(plain, str, compare.eq),
    "StringNotEquals": Operator(plain, str, compare.eq, negated=True),
    "StringEqualsIgnoreCase": Operator(_folded, str.casefold, compare.eq),
    "StringNotEqualsIgnoreCase": Operator(_folded, str.casefold, compare.eq, negated=True),
    "StringLike": Operator(glob, str, _like),
    "StringNotLike": Operator(glob, str, _like, negated=True),
    "Bool": Operator(_boolean, _boolean, compare.eq),
    "IpAddress": Operator(_network, ip_address, _within),
    "NotIpAddress": Operator(_network, ip_address, _within, negated=True),
    "Null": Operator(_boolean, str, compare.eq),
    **{f"Numeric{end}": Operator(_number, _number, *how) for end, how in _COMPARISONS.items()},
    **{f"Date{end}": Operator(_moment, _moment, *how) for end, how in _COMPARISONS.items()},
    **{f"Arn{end}": Operator(_arn, _arn, _arn_like) for end in ("Equals", "Like")},
    **{f"ArnNot{end}": Operator(_arn, _arn, _arn_like, negated=True) for end in ("Equals", "Like")},
}

_NAME = re.compile(r"(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?")


class UnknownOperator(ValueError):
    """There is no condition operator of this name."""


def operator_of(name: str) -> tuple[str | None, Operator, bool]:
    """Split ``ForAnyValue:StringLikeIfExists`` into quantifier, operator, and "if exists".

    Raises
    ------
    UnknownOperator
        If IAM has no such operator. ``Null`` allows neither a quantifier nor "if exists".
    """
    found = _NAME.fullmatch(name)
    base = found[2] if found else None
    if found is None or base not in OPERATORS or (base == "Null" and name != "Null"):
        near = get_close_matches(name.rpartition(":")[2], OPERATORS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownOperator(f"There is no condition operator {name!r}{hint}")
    return found[1], OPERATORS[base], found[3] is not None


def fulfilled(name: str, wanted: Iterable[str], given: tuple[str, ...]) -> bool:
    """Return whether a condition is met, for filled patterns and the connection's values."""
    quantifier, operator, if_exists = operator_of(name)
    values = [operator.wanted(value) for value in wanted]
    if name == "Null":
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
