"""Values of the SQL: their types, conversions, and their form in JSON.

| Type of AWS | Here |
|---|---|
| Int, Decimal | `int` and `Decimal` of up to 34 digits |
| Boolean, String, Null | `bool`, `str`, None |
| Array, Object | `list`, `dict` |
| Undefined | `UNDEFINED`: a missing attribute, or an operation without a result |

In the version 2016-03-23, a Decimal without a fraction is an Int, wherever it comes from: 10.0 in a
payload is 10. So ``(temperature - 32) * 5 / 9`` is a division of Ints for 71.0 and even for 71.6,
because 39.6 * 5 is 198. The version 2015-10-08 keeps 10.0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException, Inexact, Rounded, Subnormal
from enum import Enum
from functools import cache
from json.encoder import encode_basestring
from typing import Any, Final, Literal, TypeAlias

VERSION_2015 = "2015-10-08"
VERSION_2016 = "2016-03-23"
VERSIONS = (VERSION_2015, VERSION_2016, "beta")

MAX_DIGITS = 34
MAX_SIZE = 262_144
"""Largest string, array or JSON text that an evaluation creates, in characters or elements."""

MAX_JSON_DEPTH = 100

_INT_LIMIT = 10**MAX_DIGITS
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE]-?\d+)?", re.ASCII)

ARITHMETIC = Context(prec=MAX_DIGITS, Emax=999, Emin=-999, rounding=ROUND_HALF_UP)
"""Arithmetic of Decimals; it raises `DecimalException` where there is no result."""
for _signal in (Inexact, Rounded, Subnormal):
    ARITHMETIC.traps[_signal] = False


class Undefined(Enum):
    """The type of `UNDEFINED`."""

    UNDEFINED = "undefined"

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined.UNDEFINED

Maybe: TypeAlias = Literal[Undefined.UNDEFINED]
Value: TypeAlias = Any
"""`int`, `Decimal`, `bool`, `str`, None, `list`, `dict` or `UNDEFINED`."""

Number: TypeAlias = int | Decimal
Normalize: TypeAlias = Callable[[Decimal], Number]


class EvaluationStopped(Exception):
    """An evaluation exceeds a limit; the message says which one."""


# --- numbers --------------------------------------------------------------------------------------


def fits(number: Number) -> Number:
    """Return a number with at most 34 digits; a longer Int becomes a Decimal."""
    if isinstance(number, int):
        if -_INT_LIMIT < number < _INT_LIMIT:
            return number
        number = Decimal(number)
    return ARITHMETIC.plus(number)


def whole_to_int(number: Decimal) -> Number:
    """Return an Int for a Decimal without a fraction, as the version 2016-03-23 does."""
    if number == number.to_integral_value() and number.adjusted() < MAX_DIGITS:
        return int(number)
    return number


def keep(number: Decimal) -> Number:
    """Return a Decimal as it is, as the version 2015-10-08 does."""
    return number


def normalizer(version: str) -> Normalize:
    """Return what a version of the SQL does with each Decimal."""
    return keep if version == VERSION_2015 else whole_to_int


def from_float(number: float) -> Decimal | Maybe:
    """Return the result of a function in double precision; Undefined if it is not finite."""
    return Decimal(repr(number)) if math.isfinite(number) else UNDEFINED


def is_number(value: Value) -> bool:
    """Return whether a value is an Int or a Decimal."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


# --- conversions ----------------------------------------------------------------------------------


def to_number(value: Value) -> Number | Maybe:
    """Convert to a number; only numbers and strings that contain one convert."""
    if is_number(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str) and len(value) <= 1000 and _NUMBER.fullmatch(value):
        try:
            return ARITHMETIC.create_decimal(value)
        except DecimalException:
            return UNDEFINED
    return UNDEFINED


def to_floor(value: Value) -> int | Maybe:
    """Convert to an Int, rounding down."""
    number = to_number(value)
    return UNDEFINED if number is UNDEFINED else math.floor(number)


def to_boolean(value: Value) -> bool | Maybe:
    """Convert to a Boolean; only Booleans and the strings ``true`` and ``false`` convert."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 5:
        return {"true": True, "false": False}.get(value.lower(), UNDEFINED)
    return UNDEFINED


def to_string(value: Value) -> str | Maybe:
    """Convert to a String; Null and Undefined do not convert."""
    if isinstance(value, str):
        return value
    if value is None or value is UNDEFINED:
        return UNDEFINED
    return to_json(value)


def cast(value: Value, type_name: str) -> Value:
    """Return ``CAST(value AS type_name)``, which converts more than operators do."""
    if type_name in ("bool", "boolean"):
        return value != 0 if is_number(value) else to_boolean(value)
    if type_name in ("int", "integer", "decimal", "double"):
        if isinstance(value, bool):
            return int(value)
        number = to_number(value)
        if number is UNDEFINED or type_name in ("decimal", "double"):
            return number
        return int(number) if isinstance(value, str) else math.floor(number)
    return to_string(value)


# --- JSON -----------------------------------------------------------------------------------------


def from_json(payload: bytes | str, normalize: Normalize) -> Value:
    """Parse JSON; numbers with a fraction become Decimals.

    Raises
    ------
    ValueError
        If it is not JSON, or is nested more than 100 levels deep.
    """
    if isinstance(payload, bytes):
        payload = payload.decode()
    if payload.count("[") + payload.count("{") > MAX_JSON_DEPTH:
        _check_depth(payload)
    return _decoder(normalize).decode(payload)


def to_json(value: Value) -> str:
    """Return a value as compact JSON.

    Raises
    ------
    EvaluationStopped
        If the text would be longer than 262,144 characters.
    """
    writer = _JsonWriter()
    writer.write(value)
    return "".join(writer.parts)


class _JsonWriter:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._size = 0

    def write(self, value: Value) -> None:
        if isinstance(value, str):
            text = encode_basestring(value)
        elif value is None:
            text = "null"
        elif isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, int | Decimal):
            text = str(value)
        elif isinstance(value, dict):
            return self._write_object(value)
        else:
            return self._write_array(value)
        self.parts.append(text)
        self._size += len(text) + 1
        if self._size > MAX_SIZE:
            raise EvaluationStopped(f"The result has more than {MAX_SIZE} characters.")
        return None

    def _write_object(self, value: dict[str, Value]) -> None:
        separator = "{"
        for key, member in value.items():
            self.parts.append(separator)
            self.write(key)
            self.parts.append(":")
            self.write(member)
            separator = ","
        self.parts.append("}" if value else "{}")
        self._size += 2

    def _write_array(self, value: list[Value]) -> None:
        separator = "["
        for item in value:
            self.parts.append(separator)
            self.write(item)
            separator = ","
        self.parts.append("]" if value else "[]")
        self._size += 2
        if self._size > MAX_SIZE:
            raise EvaluationStopped(f"The result has more than {MAX_SIZE} characters.")


@cache
def _decoder(normalize: Normalize) -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_float=lambda text: normalize(_decimal(text)), parse_constant=_refuse_constant
    )


def _decimal(text: str) -> Decimal:
    try:
        return ARITHMETIC.create_decimal(text)
    except DecimalException as error:
        raise ValueError(f"{text[:40]} is not a number that AWS IoT SQL can represent") from error


def _refuse_constant(text: str) -> Value:
    raise ValueError(f"{text} is not JSON")


def _check_depth(text: str) -> None:
    depth = 0
    in_string = False
    for match in re.finditer(r'\\.|["\[\]{}]', text, re.DOTALL):
        character = match[0]
        if character == '"':
            in_string = not in_string
        elif in_string or len(character) > 1:
            continue
        else:
            depth += 1 if character in "[{" else -1
            if depth > MAX_JSON_DEPTH:
                raise ValueError(f"The JSON is nested more than {MAX_JSON_DEPTH} levels deep")
