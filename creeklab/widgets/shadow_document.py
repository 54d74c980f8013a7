"""Comparison of shadow documents, leaf by leaf.

Everything here is pure: documents in, documents and text out. A leaf is a value at the end of the
tree: a number, a string, a list, an empty object. Its path is the tuple of keys that leads to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
Path = tuple[str, ...]

EMPTY: JsonObject = {}


def section(document: JsonObject | None, name: str) -> JsonObject:
    """Return ``desired`` or ``reported`` of a document; an empty object if it has none."""
    state = (document or EMPTY).get("state") or EMPTY
    found = state.get(name)
    return found if isinstance(found, dict) else EMPTY


def leaves(tree: Mapping[str, Any], above: Path = ()) -> dict[Path, Any]:
    """Return the leaves of a section by path."""
    found: dict[Path, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, (*above, key))
        else:
            found[*above, key] = value
    return found


def delta(desired: JsonObject, reported: JsonObject) -> JsonObject:
    """Return the desired values that are not reported, like the ``delta`` of the service.

    Keys that are only reported are left out; objects are compared key by key, lists as a whole
    (developer guide, "Device Shadow service documents", "Delta state").
    """
    found: JsonObject = {}
    for key, value in desired.items():
        if key not in reported:
            found[key] = value
        elif isinstance(value, dict) and isinstance(reported[key], dict):
            if below := delta(value, reported[key]):
                found[key] = below
        elif not same(value, reported[key]):
            found[key] = value
    return found


def same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are the same; ``true`` is not ``1``."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def changes(before: JsonObject, after: JsonObject) -> dict[Path, str]:
    """Return a description of the change of each changed leaf, by path."""
    old, new = leaves(before), leaves(after)
    found = {
        path: "new" if path not in old else f"changed, was {short(old[path])}"
        for path, value in new.items()
        if path not in old or not same(old[path], value)
    }
    removed = {path: f"removed, was {short(old[path])}" for path in old if path not in new}
    return found | removed


def smallest_update(before: JsonObject, after: JsonObject) -> JsonObject:
    """Return the update that turns a section from `before` into `after`.

    The service merges: a key that is not sent stays, and a key that is sent as null is removed.
    """
    update: JsonObject = {key: None for key in before if key not in after}
    for key, value in after.items():
        if key not in before:
            update[key] = value
        elif isinstance(value, dict) and isinstance(before[key], dict):
            if below := smallest_update(before[key], value):
                update[key] = below
        elif not same(before[key], value):
            update[key] = value
    return update


def stamp(document: JsonObject | None, name: str, path: Path) -> int | None:
    """Return the time a leaf of a section was last written, in seconds since the epoch."""
    metadata: Any = ((document or EMPTY).get("metadata") or EMPTY).get(name)
    for key in path:
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    return max(_stamps(metadata), default=None)


def _stamps(metadata: Any) -> list[int]:
    if isinstance(metadata, list):
        return [found for part in metadata for found in _stamps(part)]
    if isinstance(metadata, dict):
        if isinstance(metadata.get("timestamp"), int):
            return [metadata["timestamp"]]
        return [found for part in metadata.values() for found in _stamps(part)]
    return []


def short(value: Any, max_length: int = 60) -> str:
    """Return a JSON value on one line, shortened if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def dotted(path: Path) -> str:
    """Return a path in dotted form: ``config.interval``."""
    return ".".join(path)
