"""The file formats that creeklab recognizes, each by its own first lines.

``read_file`` returns the table of readings in a file of any of them. The formats are tried in this
order; the last one is any table with a heading.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import Choices
from creeklab.creek.readings.formats import (
    campbell,
    environment_agency,
    exports,
    hobo,
    in_situ,
    messages,
    parquet,
    solinst,
    trout_creek,
    usgs_rdb,
    usgs_water_data,
    water_survey_canada,
)
from creeklab.creek.readings.formats.format import Format

FORMATS: tuple[Format, ...] = (
    usgs_rdb.FORMAT,
    usgs_water_data.CSV,
    usgs_water_data.GEOJSON,
    hobo.FORMAT,
    solinst.CSV,
    solinst.XLE,
    campbell.FORMAT,
    in_situ.FORMAT,
    environment_agency.FORMAT,
    water_survey_canada.FORMAT,
    trout_creek.FORMAT,
    exports.THINGSPEAK,
    exports.ADAFRUIT_IO,
    exports.HOME_ASSISTANT,
    messages.FORMAT,
    exports.EXCEL,
    parquet.FORMAT,
    exports.TABLE,
)

_HEAD_BYTES = 16_384


def recognize(path: Path) -> Format:
    """Return the format of a file.

    Raises
    ------
    ValueError
        If the file is empty, or has none of the formats; the message lists them.
    """
    with path.open("rb") as file:
        data = file.read(_HEAD_BYTES)
    if not data.strip():
        raise ValueError(f"{path} is empty.")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    head = data.decode(encoding, errors="replace")
    for each in FORMATS:
        if each.matches(head):
            return each
    raise ValueError(
        f"{path} has none of the formats that creeklab recognizes:"
        f" {', '.join(each.name for each in FORMATS)}. For another file, see"
        " creeklab.creek.readings.readers.read_csv."
    )


def read_file(path: str | Path, choices: Choices | None = None) -> pd.DataFrame:
    """Return the table of readings in a file of a known format.

    Raises
    ------
    ValueError
        If the format is unknown, or the file cannot be read; the message says what to do.
    """
    path = Path(path)
    try:
        return recognize(path).read(path, choices or Choices())
    except (ValueError, OSError) as error:
        text = str(error)
        raise ValueError(text if str(path) in text else f"{path}: {text}") from error
