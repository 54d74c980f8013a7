"""The event log as a table, and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creeklab.session.lab_session import LabSession

if TYPE_CHECKING:
    import pandas as pd

Entry = dict[str, Any]

COLUMNS = [
    "number",
    "time",
    "kind",
    "client_id",
    "thing",
    "shadow",
    "request",
    "version",
    "topic",
    "filter",
    "qos",
    "retain",
    "payload",
    "to",
    "action",
    "resource",
    "service",
    "operation",
    "refusal",
]


def read_events(
    lab: LabSession,
    after: int = 0,
    *,
    kind: str | None = None,
    thing: str | None = None,
    topic: str | None = None,
) -> pd.DataFrame:
    """Return the matching entries of a session's event log; see `Lab.events`."""
    return table(lab.event_pages(after=after, kind=kind, thing=thing, topic=topic))


def table(entries: Iterable[Entry]) -> pd.DataFrame:
    """Return entries of the event log as a table, indexed by their number.

    For a refusal, the table has only the summary; `Lab.why` explains all of it.
    """
    import pandas as pd  # opening the lab must not wait for it

    rows = [
        {**entry, "refusal": entry["refusal"]["summary"]}
        if isinstance(entry.get("refusal"), dict)
        else entry
        for entry in entries
    ]
    others = {name for row in rows for name in row} - set(COLUMNS)
    # A notebook would render the text between the $ of two topics as a formula.
    pd.set_option("display.html.use_mathjax", False)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *sorted(others)])
    frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
    return frame.set_index("number")


def entries(events: pd.DataFrame) -> list[Entry]:
    """Return a table's rows as JSON objects that omit empty values.

    `time` is in seconds since the epoch.
    """
    found: list[Entry] = []
    for number, row in zip(events.index, events.to_dict("records"), strict=True):
        entry = {str(name): _plain(value) for name, value in row.items() if _is_value(value)}
        found.append({"number": int(number), **entry, "time": row["time"].timestamp()})
    return found


def save(events: pd.DataFrame, path: str | Path) -> int:
    """Write a table to a JSON Lines file, one entry per line; return the number of entries."""
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries(events)]
    Path(path).write_text("".join(lines), encoding="utf-8")
    return len(lines)


def load(path: str | Path) -> pd.DataFrame:
    """Read a table that `save` wrote.

    Raises
    ------
    ValueError
        If a line is not an entry of an event log; the message names the line.
    """
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}.") from None
        if not isinstance(entry, dict) or not {"number", "time", "kind"} <= entry.keys():
            raise ValueError(
                f"{path}, line {number} is not an entry of an event log: it needs number, time and "
                "kind."
            )
        found.append(entry)
    return table(found)


def _is_value(value: Any) -> bool:
    # NaN and NaT differ from themselves.
    return value is not None and (isinstance(value, (list, dict)) or bool(value == value))


def _plain(value: Any) -> Any:
    # pandas turns whole numbers into floats in a column with gaps.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.item() if hasattr(value, "item") else value
