"""Received messages as a table, as JSON Lines, and as CSV.

Each row has the number, time, topic, payload, QoS, retain flag, and MQTT 5 properties. A payload
that is not UTF-8 is in ``payload_base64`` instead, as in the event log.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from creeklab.client.inbox import ReceivedMessage
from creeklab.widgets.message_log import LoggedMessage

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["number", "time", "topic", "payload", "payload_base64", "qos", "retain"]
PROPERTIES = [
    "content_type",
    "response_topic",
    "correlation_data",
    "payload_format_indicator",
    "message_expiry_interval",
    "user_properties",
]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def properties(message: ReceivedMessage) -> dict[str, Any]:
    """Return the MQTT 5 properties that a message has, as JSON values."""
    found = {name: getattr(message, name) for name in PROPERTIES}
    if message.correlation_data is not None:
        found["correlation_data"] = base64.b64encode(message.correlation_data).decode()
    # A list of pairs, because a name can occur more than once.
    found["user_properties"] = [list(pair) for pair in message.user_properties]
    return {name: value for name, value in found.items() if value not in (None, [])}


def row(logged: LoggedMessage) -> dict[str, Any]:
    """Return a message as a JSON object."""
    message = logged.message
    at = datetime.fromtimestamp(logged.time, UTC).isoformat(timespec="milliseconds")
    found = {"number": logged.number, "time": at, "topic": message.topic}
    try:
        found["payload"] = message.payload.decode()
    except UnicodeDecodeError:
        found["payload_base64"] = base64.b64encode(message.payload).decode()
    return {**found, "qos": message.qos, "retain": message.retain, **properties(message)}


def to_frame(messages: Iterable[LoggedMessage]) -> pd.DataFrame:
    """Return the messages as a table, indexed by number, with times in UTC."""
    import pandas as pd

    rows = [row(each) for each in messages]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *PROPERTIES])
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    return frame.set_index("number")


def to_json_lines(messages: Iterable[LoggedMessage]) -> str:
    """Return the messages as JSON Lines: one JSON object per line."""
    return "".join(json.dumps(row(each), ensure_ascii=False) + "\n" for each in messages)


def to_csv(messages: Iterable[LoggedMessage]) -> str:
    """Return the messages as CSV with a header; user properties are JSON in their column.

    Any device chooses its topics and payloads. So a text that a spreadsheet would execute as a
    formula gets an apostrophe before it, which makes it a text there.
    """
    frame = to_frame(messages)
    frame["user_properties"] = [
        value if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
        for value in frame["user_properties"]
    ]
    for name in set(frame.columns) - {"time"}:
        frame[name] = frame[name].map(_without_formula)
    return frame.to_csv(date_format="%Y-%m-%dT%H:%M:%S.%fZ")


def _without_formula(cell: Any) -> Any:
    """Return a cell; a text that begins like a formula, and is not a number, is quoted."""
    if isinstance(cell, str) and cell.lstrip(" ").startswith(FORMULA_STARTS):
        try:
            float(cell)
        except ValueError:
            return f"'{cell}"
    return cell
