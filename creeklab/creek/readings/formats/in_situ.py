"""A CSV file that In-Situ's programs (Win-Situ, VuSitu, HydroVu) export from a Level TROLL.

A header of varying length describes the site and the log; the table begins with the line that names
*Date and Time*. Headings contain the unit in brackets, and often the sensor's serial number.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import Choices, build, local_times, recognized
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format

_DATES = ("%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d", "%m/%d/%y")
_CLOCKS = ("%I:%M:%S %p", "%H:%M:%S", "%H:%M", "%I:%M %p")
_FORMATS = [f"{date} {clock}" for date, clock in product(_DATES, _CLOCKS)]
_TABLE = re.compile(r'"?Date (and )?Time\b', re.I)


def read_in_situ(path: Path, choices: Choices) -> pd.DataFrame:
    """Read an export of In-Situ's programs.

    Raises
    ------
    ValueError
        If the file has no table, it is not clear which column holds the stage, or a row cannot be
        read.
    """
    lines = text_of(path).splitlines()
    start = [row for row, line in enumerate(lines) if _TABLE.match(line)]
    if not start:
        raise ValueError(
            f"{path} has no line that begins with 'Date and Time', so it has no readings."
        )
    head = "\n".join(lines[: start[0]])
    rows = table(path, "\n".join(lines[start[0] :]), skipinitialspace=True, index_col=False)
    offset = re.search(r"Time Offset[\s=,:]+([+-]?\d\d):(\d\d)", head)
    zone = f"Etc/GMT{-int(offset[1]):+d}" if offset and offset[2] == "00" else None
    # Only the unit in the first brackets counts; the second ones hold a serial number.
    rows.columns = pd.Index([re.sub(r"(\([^)]*\)).*", r"\1", str(name)).strip() for name in rows])
    columns = recognized(path, rows, choices, {})
    index = local_times(path, rows.iloc[:, 0], _FORMATS, choices, zone)
    site = re.search(r"(?:Location|Site) Name\s*[=,:]\s*\"?([^\",\n]+)", head)
    about = {"processing": "In-Situ export"} | ({"site": site[1].strip()} if site else {})
    return build(rows, index, columns, about)


FORMAT = Format(
    "In-Situ export",
    lambda head: bool(
        re.match(
            r'"?(In-Situ|Location Properties|Report (Date|Properties)|Log File Properties'
            r"|Device Properties|Site Name|Location Name)",
            head,
        )
    ),
    read_in_situ,
)
