"""Files of a Solinst Levelogger: CSV, and XLE, which is XML.

Both state the level's unit and the temperature's in their header, and hold the logger's own time
without a zone. The level is the height of water *and air* above the sensor until the file has been
compensated with a Barologger's.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from creeklab.creek.readings.building import Choices, build, local_times, recognized
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.units import known_unit

_DATES = ("%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d")
_FORMATS = [f"{date} {clock}" for date, clock in product(_DATES, ("%H:%M:%S", "%I:%M:%S %p"))]
_NOTE = (
    "level above the sensor as the logger computed it; unless compensated with a Barologger, it"
    " contains the pressure of the air"
)


def read_csv(path: Path, choices: Choices) -> pd.DataFrame:
    """Read a Levelogger's CSV file.

    Raises
    ------
    ValueError
        If the file has no table of readings, or a row cannot be read.
    """
    lines = text_of(path).splitlines()
    start = [row for row, line in enumerate(lines) if re.match(r"Date[,;]\s*Time", line)]
    if not start:
        raise ValueError(f"{path} has no line that begins with 'Date,Time', so it has no readings.")
    head = [line.strip().rstrip(",;") for line in lines[: start[0]]]
    units = {
        head[row - 1].upper(): unit
        for row, line in enumerate(head)
        if row and (match := re.match(r"UNIT:?\s*[,;]?\s*(.+)", line, re.I))
        if (unit := known_unit(match[1]))
    }
    rows = table(path, "\n".join(lines[start[0] :]), sep=";" if ";" in lines[start[0]] else ",")
    site = head[head.index("Location:") + 1] if "Location:" in head[:-1] else ""
    return _readings(path, rows, units, site, choices)


def read_xle(path: Path, choices: Choices) -> pd.DataFrame:
    """Read a Levelogger's XLE file.

    Raises
    ------
    ValueError
        If the file is not such XML, or a row cannot be read.
    """
    try:
        # The parser takes the encoding from the XML declaration.
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} cannot be read as XML ({error}).") from None
    names, units = {"Date": "Date", "Time": "Time"}, dict[str, str]()
    for number in (1, 2, 3):
        name = root.findtext(f".//Ch{number}_data_header/Identification")
        if name:
            names[f"ch{number}"] = name.strip()
            unit = known_unit(root.findtext(f".//Ch{number}_data_header/Unit") or "")
            units |= {name.strip().upper(): unit} if unit else {}
    rows = pd.DataFrame(
        [{column: log.findtext(tag) for tag, column in names.items()} for log in root.iter("Log")],
        dtype="str",
    )
    if rows.empty:
        raise ValueError(f"{path} has no readings: it contains no element 'Log'.")
    return _readings(path, rows, units, root.findtext(".//Location") or "", choices)


def _readings(
    path: Path, rows: pd.DataFrame, units: dict[str, str], site: str, choices: Choices
) -> pd.DataFrame:
    own = {name: units[name.upper()] for name in map(str, rows) if name.upper() in units}
    columns = recognized(path, rows, choices, own)
    index = local_times(path, rows["Date"] + " " + rows["Time"], _FORMATS, choices)
    about = {"datum": _NOTE, "processing": "Solinst Levelogger file"}
    return build(rows, index, columns, about | ({"site": site.strip()} if site.strip() else {}))


CSV = Format("Solinst Levelogger CSV", lambda head: head.startswith("Serial_number"), read_csv)
XLE = Format("Solinst Levelogger XLE", lambda head: "<Body_xle" in head, read_xle)
