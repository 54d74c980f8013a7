"""The fields that a Thing reported, from the shadow service's answer to an update.

``update/accepted`` holds the fields of one update. ``update/documents`` holds the whole shadow, so
only the fields with the document's own timestamp count: the others are from earlier updates.
Timestamps are whole seconds. If several updates came within one second, a document cannot tell
which of them a field is from, but ``accepted`` can, so subscribe to that.
"""

from __future__ import annotations

import json
from typing import Any

from creeklab.client.topics import parse_shadow_topic


def reported_fields(topic: str, payload: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return the Thing and the fields that it reported with one update of a shadow.

    The field ``time`` is when the service accepted the update, unless the Thing reported one.

    Return None if the topic is not ``accepted`` or ``documents`` of a shadow update. The fields are
    empty if the update changed something else.

    Raises
    ------
    ValueError
        If the payload is not JSON.
    """
    shadow = parse_shadow_topic(topic)
    if shadow is None or shadow[2] not in ("update/accepted", "update/documents"):
        return None
    document = json.loads(payload)
    if not isinstance(document, dict):
        raise ValueError("the document is not an object")
    timestamp = document.get("timestamp")
    if shadow[2] == "update/accepted":
        fields = _section(document, "state", "reported")
    else:
        fields = _new_fields(document, timestamp)
    if fields.get("time") is None:
        fields = {**fields, "time": timestamp}
    return shadow[0], fields


def _new_fields(document: dict[str, Any], timestamp: object) -> dict[str, Any]:
    """Return the reported fields of the current state that this update changed."""
    previous, current = _section(document, "previous"), _section(document, "current")
    if all(
        _section(previous, part).get("reported") == _section(current, part).get("reported")
        for part in ("state", "metadata")
    ):
        return {}  # Something else was updated.
    fields = _section(current, "state", "reported")
    times = _section(current, "metadata", "reported")
    return {
        name: value
        for name, value in fields.items()
        if timestamp is None or _section(times, name).get("timestamp", timestamp) == timestamp
    }


def _section(document: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return a section of a document; empty if there is no such section."""
    for name in path:
        section = document.get(name)
        if not isinstance(section, dict):
            return {}
        document = section
    return document
