"""A TOA5 file of a Campbell Scientific logger.

The first line describes the logger, the second names the columns, the third holds their units and
the fourth how each was processed. Times have no zone. A value that was not measured is ``NAN``, or
the number 7999.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import Choices, build, recognized
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.times import utc
from creeklab.creek.readings.units import known_unit


def read_toa5(path: Path, choices: Choices) -> pd.DataFrame:
    """Read a TOA5 file.

    Raises
    ------
    ValueError
        If it is not clear which column holds the stage, or a row cannot be read.
    """
    rows = table(path, text_of(path), skiprows=1, na_values=["", "NAN", "NaN", "INF", "-INF"])
    units = {
        str(name): unit
        for name, text in rows.iloc[0].items()
        if isinstance(text, str) and (unit := known_unit(text))
    }
    station = table(path, text_of(path).split("\n", 1)[0], header=None).iloc[0].tolist()
    rows = rows.iloc[2:].reset_index(drop=True)
    if rows.empty:
        raise ValueError(f"{path} has a header, but no rows.")
    columns = recognized(path, rows, choices, units)
    index = utc(rows["TIMESTAMP"], choices.zone, choices.time_format, choices.ambiguous)
    about = {"site": f"station {station[1]}", "processing": f"TOA5 file, table {station[-1]}"}
    return build(rows, index, columns, about, fill_values=(7999.0, -7999.0))


FORMAT = Format("Campbell TOA5", lambda head: head.lstrip('"').startswith("TOA5"), read_toa5)
