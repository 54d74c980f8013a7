"""Exports of home-automation and IoT services, and any other table with a heading.

ThingSpeak, Adafruit IO and Home Assistant export one row for each value, with a time in UTC, but
never the unit, and often several sensors in one file. So the caller names the sensor and the unit;
an error says exactly how. A table of one's own in CSV or Excel needs a column with the
time and one that is called stage, level or depth, with its unit.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import Choices, build, recognized, selected
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.samples import STAGE, list_columns
from creeklab.creek.readings.time_series import normalize
from creeklab.creek.readings.times import utc

_TIMES = re.compile(
    r"(date[ _]?time|time[ _]?stamp|time|date|created_at|last_changed|last_updated|when|datum|zeit)"
    r"\b",
    re.I,
)


def read_csv(path: Path, choices: Choices) -> pd.DataFrame:
    """Read a table with a heading; raise as :func:`read_rows` does."""
    text = text_of(path)
    first = text.split("\n", 1)[0]
    sep = max(",;\t", key=first.count)
    return read_rows(path, table(path, text, sep=sep, skipinitialspace=True), choices)


def read_excel(path: Path, choices: Choices) -> pd.DataFrame:
    """Read the first sheet of an Excel file; raise as :func:`read_rows` does."""
    try:
        rows = pd.read_excel(path, dtype=str, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an Excel file ({error}).") from None
    return read_rows(path, rows.dropna(how="all").reset_index(drop=True), choices)


def read_rows(path: Path, rows: pd.DataFrame, choices: Choices) -> pd.DataFrame:
    """Return the readings in a table whose headings name the time and the stage.

    Raises
    ------
    ValueError
        If it is not clear which column is which, the rows are about several sensors, or a row
        cannot be read.
    """
    rows.columns = pd.Index([str(name).strip() for name in rows])
    times = [name for name in map(str, rows) if _TIMES.match(name)]
    if not times:
        raise ValueError(
            f"{path} has no column that is called time, only {list_columns(rows)}. If it is the"
            " export of a logger, see creeklab.creek.readings.readers.read_csv."
        )
    if STAGE in rows and not choices.where and choices.stage is None:
        time = "time" if "time" in times else times[0]
        format, ambiguous = choices.time_format, choices.ambiguous
        return normalize(rows, time=time, zone=choices.zone, format=format, ambiguous=ambiguous)
    used = [times[0], *([choices.stage[0]] if choices.stage else [])]
    rows = selected(path, rows, choices, used)
    columns = recognized(path, rows, choices, {})
    name = columns[STAGE][0]
    # Home Assistant writes these instead of a value.
    rows[name] = rows[name].mask(rows[name].isin(["unavailable", "unknown", "None"]))
    index = utc(rows[times[0]], choices.zone, choices.time_format, choices.ambiguous)
    origin = f"stage_ft from {name!r} in {columns[STAGE][1]}"
    return build(rows, index, columns, {"processing": origin})


def _heading(head: str) -> list[str]:
    return [name.strip().strip('"') for name in re.split(r"[,;\t]", head.split("\n", 1)[0])]


THINGSPEAK = Format(
    "ThingSpeak export", lambda head: _heading(head)[:2] == ["created_at", "entry_id"], read_csv
)
ADAFRUIT_IO = Format(
    "Adafruit IO export", lambda head: {"value", "feed_id"} <= set(_heading(head)), read_csv
)
HOME_ASSISTANT = Format(
    "Home Assistant export", lambda head: {"entity_id", "state"} <= set(_heading(head)), read_csv
)
TABLE = Format("table with a heading", lambda head: len(_heading(head)) > 1, read_csv)
EXCEL = Format("Excel file", lambda head: head.startswith("PK"), read_excel)
