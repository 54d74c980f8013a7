"""Shadow documents as a person compares them: leaf by leaf, and what has changed between two.

All of it is pure: documents in, documents and words out. A leaf is a value at the end of the tree:
a number, a text, a list, an empty object. Its path is the tuple of keys that leads there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
Path = tuple[str, ...]

NOTHING: JsonObject = {}


def section(document: JsonObject | None, name: str) -> JsonObject:
    """Return ``desired`` or ``reported`` of a document; an empty object if it has none."""
    state = (document or NOTHING).get("state") or NOTHING
    found = state.get(name)
    return found if isinstance(found, dict) else NOTHING


def leaves(tree: Mapping[str, Any], above: Path = ()) -> dict[Path, Any]:
    """Return the leaves of a section by their path."""
    found: dict[Path, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, (*above, key))
        else:
            found[*above, key] = value
    return found


def delta(desired: JsonObject, reported: JsonObject) -> JsonObject:
    """Return what is desired and not reported, as the service's ``delta`` has it.

    What is only reported is not in it; objects are compared key by key, lists as a whole
    (developer guide, "Device Shadow service documents", "Delta state").
    """
    found: JsonObject = {}
    for key, wanted in desired.items():
        if key not in reported:
            found[key] = wanted
        elif isinstance(wanted, dict) and isinstance(reported[key], dict):
            if below := delta(wanted, reported[key]):
                found[key] = below
        elif not same(wanted, reported[key]):
            found[key] = wanted
    return found


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; ``true`` is not ``1``."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def changes(before: JsonObject, after: JsonObject) -> dict[Path, str]:
    """Return in words what became of each leaf that is not as it was, by its path."""
    old, new = leaves(before), leaves(after)
    found = {
        path: "new" if path not in old else f"changed, was {short(old[path])}"
        for path, value in new.items()
        if path not in old or not same(old[path], value)
    }
    gone = {path: f"removed, was {short(old[path])}" for path in old if path not in new}
    return found | gone


def smallest_update(before: JsonObject, after: JsonObject) -> JsonObject:
    """Return what to send for a section so that `before` becomes `after`.

    The service merges: what is not sent stays, and what is sent as null goes.
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
    """Return when a leaf of a section was last written, in seconds since the epoch."""
    place: Any = ((document or NOTHING).get("metadata") or NOTHING).get(name)
    for key in path:
        place = place.get(key) if isinstance(place, dict) else None
    return max(_stamps(place), default=None)


def _stamps(place: Any) -> list[int]:
    if isinstance(place, list):
        return [found for part in place for found in _stamps(part)]
    if isinstance(place, dict):
        if isinstance(place.get("timestamp"), int):
            return [place["timestamp"]]
        return [found for part in place.values() for found in _stamps(part)]
    return []


def short(value: Any, most: int = 60) -> str:
    """Return a JSON value in one line, a long one in part."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else text[: most - 1] + "…"


def dotted(path: Path) -> str:
    """Return a path as people write it: ``config.interval``."""
    return ".".join(path)
