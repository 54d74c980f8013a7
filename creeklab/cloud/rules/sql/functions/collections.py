"""Functions of arrays and objects, and of values of any type."""

from __future__ import annotations

from creeklab.cloud.rules.sql.functions.function import Function
from creeklab.cloud.rules.sql.values import (
    MAX_SIZE,
    UNDEFINED,
    EvaluationStopped,
    Value,
    to_floor,
    to_json,
    to_string,
)

MAX_ARGUMENTS = 1_000
MAX_ENRICHED_BYTES = 131_072


def _get(container: Value, key: Value) -> Value:
    if isinstance(container, dict):
        return container.get(key, UNDEFINED) if isinstance(key, str) else UNDEFINED
    if isinstance(container, list | str):
        index = to_floor(key)
        if index is not UNDEFINED and 0 <= index < len(container):
            return container[index]
    return UNDEFINED


def _get_or_default(value: Value, default: Value) -> Value:
    return default if value is UNDEFINED or value is None else value


def _concat(*values: Value) -> Value:
    if not values or UNDEFINED in values:
        return UNDEFINED
    if len(values) == 1:
        return values[0]
    if any(isinstance(value, list) for value in values):
        joined = [
            item for value in values for item in (value if isinstance(value, list) else [value])
        ]
        if len(joined) > MAX_SIZE:
            raise EvaluationStopped(f"An array has more than {MAX_SIZE} elements.")
        return joined
    texts: list[Value] = [to_string(value) for value in values]
    if UNDEFINED in texts or not any(isinstance(value, str) for value in values):
        return UNDEFINED
    if sum(map(len, texts)) > MAX_SIZE:
        raise EvaluationStopped(f"A string has more than {MAX_SIZE} characters.")
    return "".join(texts)


def _transform(mode: Value, members: Value, array: Value) -> Value:
    """Add members to each object of an array (``enrichArray``)."""
    if mode != "enrichArray" or not isinstance(members, dict) or not isinstance(array, list):
        return UNDEFINED
    if not all(isinstance(item, dict) for item in array):
        return UNDEFINED
    if len(array) * (len(members) + 1) > MAX_ENRICHED_BYTES:
        raise EvaluationStopped(_TOO_LARGE)
    enriched = [{**item, **members} for item in array]
    if len(to_json(enriched).encode("utf-8", "replace")) > MAX_ENRICHED_BYTES:
        raise EvaluationStopped(_TOO_LARGE)
    return enriched


_TOO_LARGE = f"The result of transform() has more than {MAX_ENRICHED_BYTES} bytes."

FUNCTIONS = {
    "get": Function(_get, 2, 2),
    "get_or_default": Function(_get_or_default, 2, 2, needs_2016=True),
    "concat": Function(_concat, 0, MAX_ARGUMENTS),
    "transform": Function(_transform, 3, 3, needs_2016=True),
    "isnull": Function(lambda value: value is None, 1, 1),
    "isundefined": Function(lambda value: value is UNDEFINED, 1, 1, needs_2016=True),
}
