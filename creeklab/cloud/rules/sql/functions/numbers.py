"""Functions of numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from functools import partial

from creeklab.cloud.rules.sql.functions.function import Function
from creeklab.cloud.rules.sql.operators import remainder
from creeklab.cloud.rules.sql.values import (
    MAX_DIGITS,
    UNDEFINED,
    Number,
    Value,
    from_float,
    to_floor,
    to_number,
)


def _converted(function: Callable[[Number], Value], value: Value) -> Value:
    number = to_number(value)
    return UNDEFINED if number is UNDEFINED else function(number)


def _sign(number: Number) -> int:
    return (number > 0) - (number < 0)


def _round(number: Number) -> int:
    return int(Decimal(number).to_integral_value(ROUND_HALF_UP))


def _truncate(value: Value, places: Value) -> Value:
    number, digits = to_number(value), to_floor(places)
    if number is UNDEFINED or digits is UNDEFINED:
        return UNDEFINED
    digits = min(max(digits, 0), MAX_DIGITS)
    if isinstance(number, int) or number == number.to_integral_value():
        return int(number)
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > digits:
        number = number.scaleb(digits).to_integral_value(ROUND_DOWN).scaleb(-digits)
    return int(number) if number == number.to_integral_value() else number.normalize()


def _double(function: Callable[..., float], *values: Value) -> Value:
    """Return a function in double precision; Undefined where it has no real value."""
    numbers: list[Value] = [to_number(value) for value in values]
    if UNDEFINED in numbers:
        return UNDEFINED
    try:
        return from_float(function(*map(float, numbers)))
    except (ValueError, OverflowError, ZeroDivisionError):
        return UNDEFINED


def _bits(function: Callable[..., int], *values: Value) -> Value:
    numbers = [to_floor(value) for value in values]
    return UNDEFINED if UNDEFINED in numbers else function(*numbers)


def _nanvl(value: Value, otherwise: Value) -> Value:
    return otherwise if value is UNDEFINED or value is None else value


_ONE_NUMBER: dict[str, Callable[[Number], Value]] = {
    "abs": abs,
    "sign": _sign,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": _round,
}
_DOUBLES: dict[str, tuple[Callable[..., float], int]] = {
    "sqrt": (math.sqrt, 1),
    "exp": (math.exp, 1),
    "ln": (math.log, 1),
    "log": (math.log10, 1),
    "power": (math.pow, 2),
    "sin": (math.sin, 1),
    "cos": (math.cos, 1),
    "tan": (math.tan, 1),
    "asin": (math.asin, 1),
    "acos": (math.acos, 1),
    "atan": (math.atan, 1),
    "atan2": (math.atan2, 2),
    "sinh": (math.sinh, 1),
    "cosh": (math.cosh, 1),
    "tanh": (math.tanh, 1),
}

FUNCTIONS = {
    **{name: Function(partial(_converted, f), 1, 1) for name, f in _ONE_NUMBER.items()},
    **{name: Function(partial(_double, f), n, n) for name, (f, n) in _DOUBLES.items()},
    "trunc": Function(_truncate, 2, 2),
    "mod": Function(remainder, 2, 2),
    "remainder": Function(remainder, 2, 2),
    "bitand": Function(partial(_bits, lambda a, b: a & b), 2, 2),
    "bitor": Function(partial(_bits, lambda a, b: a | b), 2, 2),
    "bitxor": Function(partial(_bits, lambda a, b: a ^ b), 2, 2),
    "bitnot": Function(partial(_bits, lambda a: ~a), 1, 1),
    "rand": Function(lambda: from_float(random.random()), 0, 0),
    "nanvl": Function(_nanvl, 2, 2),
}
