"""Validate values against a service model, with AWS's error messages.

`validate` walks a shape of botocore's model and converts JSON values to Python values. A value of
the wrong type ends the walk at once. Violated constraints (required, length, range, enum, pattern)
are collected, because AWS reports them together. Where AWS differs from the model, for example in
quotas, the operation checks.
"""

from __future__ import annotations

import base64
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

Shape = Mapping[str, Any]

_BITS = {"integer": 32, "long": 64}
_NOUNS = {
    "blob": "base64 text",
    "boolean": "true or false",
    "double": "a number",
    "integer": "a 32-bit integer",
    "list": "a list",
    "long": "a 64-bit integer",
    "map": "an object",
    "string": "a Unicode string",
    "structure": "an object",
    "timestamp": "a time in seconds",
}
_CONTAINERS = ("structure", "list", "map")
_POSIX_CLASSES = {
    "Upper": re.compile("[A-Z]"),
    "Digit": re.compile("[0-9]"),
    "Graph": re.compile("[!-~]"),
    "Cntrl": re.compile("[\0-\x1f\x7f]"),
}


class InvalidRequest(Exception):
    """Values do not match their shape. The message is for the caller of the service."""


def validate(shapes: Mapping[str, Shape], name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a structure as Python values.

    Strings are `str`, blobs `bytes` (from base64 text), timestamps seconds since the epoch
    (`float`). Members that are null or not in the shape are omitted.

    Parameters
    ----------
    shapes
        The shapes of a service model by name.
    name
        The structure's shape.
    raw
        Its members as JSON values; blobs as base64 text or `bytes`.

    Raises
    ------
    InvalidRequest
        With the first value of a wrong type, or with all violated constraints.
    """
    validator = _ShapeValidator(shapes)
    members = validator.members(shapes[name], raw, "")
    if validator.violations:
        many = "s" if len(validator.violations) > 1 else ""
        detected = f"{len(validator.violations)} validation error{many} detected: "
        raise InvalidRequest(detected + "; ".join(validator.violations))
    return members


def matches(pattern: str, text: str) -> bool:
    r"""Return whether all of `text` matches a pattern of the service models.

    The patterns are Java's. In Python, ``\w``, ``\d`` and ``\s`` need a flag to mean ASCII, and
    there is no ``\p{..}``, which the models use only inside character classes. Such a class is
    replaced by the characters of `text` that belong to it, which gives the same result.
    """

    def expand(match: re.Match[str]) -> str:
        belonging = sorted(char for char in set(text) if _belongs(char, match[1]))
        return "".join(map(re.escape, belonging)) or "\ud800"  # occurs in no text

    return bool(re.fullmatch(re.sub(r"\\p\{(\w+)\}", expand, pattern), text, re.ASCII))


def _belongs(char: str, name: str) -> bool:
    posix = _POSIX_CLASSES.get(name)
    return bool(posix.match(char)) if posix else unicodedata.category(char).startswith(name)


class _ShapeValidator:
    """One walk of a shape, with the violations found.

    Paths are written as AWS writes them: ``tags.1.member.key``.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self.violations: list[str] = []

    def members(self, shape: Shape, raw: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        members = {}
        for member, ref in shape["members"].items():
            value = raw.get(member)
            if value is not None:
                members[member] = self._value(ref["shape"], value, prefix + member)
            elif member in shape.get("required", ()):
                self._violate(None, prefix + member, "Member must not be null")
        return members

    def _value(self, name: str, raw: Any, place: str) -> Any:
        shape = self._shapes[name]
        value = _converted(shape["type"], raw, place)
        for sentence, met in _constraints(shape, value):
            if not met:
                self._violate(raw, place, sentence)
        match shape["type"]:
            case "structure":
                return self.members(shape, value, place + ".")
            case "list":
                places = {f"{place}.{n}.member": item for n, item in enumerate(value, start=1)}
                return self._elements("Member", shape["member"]["shape"], places, raw, place)
            case "map":
                keys = {f"{place}.{key}.key": key for key in value}
                self._elements("Map keys", shape["key"]["shape"], keys, raw, place)
                places = {f"{place}.{key}.member": item for key, item in value.items()}
                items = self._elements("Map value", shape["value"]["shape"], places, raw, place)
                return dict(zip(value, items, strict=True))
        return value

    def _elements(
        self, what: str, name: str, elements: Mapping[str, Any], container: Any, place: str
    ) -> list[Any]:
        """Convert the elements of a list or map, given by their paths.

        AWS reports invalid scalar elements once for the whole container, with all constraints of
        such an element (aws/aws-sdk-java#666).
        """
        shape = self._shapes[name]
        values: list[Any] = []
        broken = None
        for element_place, element in elements.items():
            if element is None:
                self._violate(None, element_place, "Member must not be null")
                values.append(None)
                continue
            before = len(self.violations)
            values.append(self._value(name, element, element_place))
            if shape["type"] not in _CONTAINERS and len(self.violations) > before:
                del self.violations[before:]
                broken = values[-1]
        if broken is not None:
            sentences = ", ".join(sentence for sentence, _ in _constraints(shape, broken))
            self._violate(container, place, f"{what} must satisfy constraint: [{sentences}]")
        return values

    def _violate(self, raw: Any, place: str, sentence: str) -> None:
        shown = "null" if raw is None else f"'{_as_java(raw)}'"
        self.violations.append(
            f"Value {shown} at '{place}' failed to satisfy constraint: {sentence}"
        )


def _converted(kind: str, raw: Any, place: str) -> Any:
    """Convert a JSON value to the Python value of a type."""
    try:
        match kind, raw:
            case ("structure" | "map", dict()) | ("list", list()) | ("boolean", bool()):
                return raw
            case "string", str():
                raw.encode()  # Half of a surrogate pair cannot be stored.
                return raw
            case (("integer" | "long"), int()) if not isinstance(raw, bool):
                raw.to_bytes(_BITS[kind] // 8, signed=True)
                return raw
            case (("double" | "timestamp"), int() | float()) if not isinstance(raw, bool):
                if math.isfinite(raw):
                    return float(raw)
            case "blob", bytes():
                return raw
            case "blob", str():
                return base64.b64decode(raw, validate=True)
    except (ValueError, OverflowError):
        pass
    raise InvalidRequest(f"'{place}' must be {_NOUNS[kind]}.")


def _constraints(shape: Shape, value: Any) -> Iterator[tuple[str, bool]]:
    """Return each constraint of a shape in AWS's words, and whether `value` meets it."""
    if shape["type"] in ("integer", "long", "double"):
        noun, size = "value", value
    elif shape["type"] in ("string", "blob", "list", "map"):
        noun, size = "length", len(value)
    else:
        return
    if "max" in shape:
        sentence = f"Member must have {noun} less than or equal to {shape['max']}"
        yield sentence, size <= shape["max"]
    if "min" in shape or (noun == "length" and "max" in shape):
        least = shape.get("min", 0)
        yield f"Member must have {noun} greater than or equal to {least}", size >= least
    if "enum" in shape:
        sentence = f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]"
        yield sentence, value in shape["enum"]
    if "pattern" in shape:
        sentence = f"Member must satisfy regular expression pattern: {shape['pattern']}"
        yield sentence, matches(shape["pattern"], value)


def _as_java(value: Any) -> str:
    """Format a value as AWS's messages do."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}={_as_java(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_as_java, value)) + "]"
    return str(value)
