"""Operators: arithmetic, comparison and logic. Each is Undefined where it has no result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal, DecimalException

from creeklab.cloud.rules.sql.values import (
    ARITHMETIC,
    MAX_SIZE,
    UNDEFINED,
    EvaluationStopped,
    Maybe,
    Number,
    Value,
    fits,
    is_number,
    to_boolean,
    to_number,
    to_string,
)


def add(left: Value, right: Value) -> Value:
    """Return ``left + right``: a sum, or a string if one of them is a string."""
    if isinstance(left, str) or isinstance(right, str):
        first, second = to_string(left), to_string(right)
        if first is UNDEFINED or second is UNDEFINED:
            return UNDEFINED
        if len(first) + len(second) > MAX_SIZE:
            raise EvaluationStopped(f"A string has more than {MAX_SIZE} characters.")
        return first + second
    return _calculate(lambda a, b: a + b, ARITHMETIC.add, left, right)


def subtract(left: Value, right: Value) -> Value:
    """Return ``left - right``."""
    return _calculate(lambda a, b: a - b, ARITHMETIC.subtract, left, right)


def multiply(left: Value, right: Value) -> Value:
    """Return ``left * right``."""
    return _calculate(lambda a, b: a * b, ARITHMETIC.multiply, left, right)


def divide(left: Value, right: Value) -> Value:
    """Return ``left / right``; of two Ints, the Int towards zero."""
    return _calculate(_divide_ints, ARITHMETIC.divide, left, right)


def remainder(left: Value, right: Value) -> Value:
    """Return ``left % right``, which has the sign of `left`."""
    return _calculate(lambda a, b: a - b * _divide_ints(a, b), ARITHMETIC.remainder, left, right)


def negate(value: Value) -> Value:
    """Return ``-value``."""
    number = to_number(value)
    return UNDEFINED if number is UNDEFINED else -number


def _divide_ints(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _calculate(
    ints: Callable[[int, int], int],
    decimals: Callable[[Decimal, Decimal], Decimal],
    left: Value,
    right: Value,
) -> Number | Maybe:
    first, second = to_number(left), to_number(right)
    if first is UNDEFINED or second is UNDEFINED:
        return UNDEFINED
    try:
        if isinstance(first, int) and isinstance(second, int):
            return fits(ints(first, second))
        return decimals(Decimal(first), Decimal(second))
    except (DecimalException, ZeroDivisionError):
        return UNDEFINED


def equal(left: object, right: object) -> bool | Maybe:
    """Return ``left = right``; values of different types differ."""
    if left is UNDEFINED or right is UNDEFINED:
        return UNDEFINED
    return same(left, right)


def same(left: object, right: object) -> bool:
    """Return whether two values are of the same type and equal, however deep they are."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if is_number(left) and is_number(right):
        return bool(left == right)
    return type(left) is type(right) and bool(left == right)


def unequal(left: Value, right: Value) -> bool | Maybe:
    """Return ``left <> right``."""
    found = equal(left, right)
    return found if found is UNDEFINED else not found


def _ordered(test: Callable[[Number, Number], bool]) -> Callable[[Value, Value], bool | Maybe]:
    def compare(left: Value, right: Value) -> bool | Maybe:
        first, second = to_number(left), to_number(right)
        if first is UNDEFINED or second is UNDEFINED:
            return UNDEFINED
        return test(first, second)

    return compare


less = _ordered(lambda left, right: left < right)
less_or_equal = _ordered(lambda left, right: left <= right)
greater = _ordered(lambda left, right: left > right)
greater_or_equal = _ordered(lambda left, right: left >= right)


def both(values: Iterable[Value]) -> bool | Maybe:
    """Return the AND of values, read until one is false; Undefined if it depends on Undefined."""
    found: bool | Maybe = True
    for value in values:
        converted = to_boolean(value)
        if converted is False:
            return False
        if converted is UNDEFINED:
            found = UNDEFINED
    return found


def either(values: Iterable[Value]) -> bool | Maybe:
    """Return the OR of values, read until one is true; Undefined if it depends on Undefined."""
    found: bool | Maybe = False
    for value in values:
        converted = to_boolean(value)
        if converted is True:
            return True
        if converted is UNDEFINED:
            found = UNDEFINED
    return found


def negation(value: Value) -> bool | Maybe:
    """Return ``NOT value``."""
    converted = to_boolean(value)
    return UNDEFINED if converted is UNDEFINED else not converted


CALCULATE: dict[str, Callable[[Value, Value], Value]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}
COMPARE: dict[str, Callable[[Value, Value], Value]] = {
    "=": equal,
    "<>": unequal,
    "<": less,
    "<=": less_or_equal,
    ">": greater,
    ">=": greater_or_equal,
}
