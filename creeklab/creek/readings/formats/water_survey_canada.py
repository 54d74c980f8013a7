"""CSV of the Water Survey of Canada (Environment and Climate Change Canada), real-time readings.

Headings are in English and French, times carry their offset, and a symbol says under which
conditions a value was measured: ``B`` is ice, ``E`` an estimate. It becomes ``stage_qualifier``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import QUALIFIER, Choices, build
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.formats.usgs import one_site
from creeklab.creek.readings.samples import STAGE
from creeklab.creek.readings.times import utc

_SYMBOLS = {"B": "ICE", "E": "ESTIMATED", "D": "DRY", "A": "PARTIAL", "R": "REVISED"}


def read_water_survey(path: Path, choices: Choices) -> pd.DataFrame:
    """Read the readings of one station.

    Raises
    ------
    ValueError
        If the file has several stations and none is chosen, or a row cannot be read.
    """
    rows = table(path, text_of(path), skipinitialspace=True)
    rows.columns = pd.Index([str(name).strip() for name in rows])
    site = one_site(path, rows["ID"].dropna().unique(), choices.site)
    rows = rows[rows["ID"] == site].reset_index(drop=True)
    level = next(name for name in map(str, rows) if name.startswith("Water Level"))
    columns = {STAGE: (level, "m")}
    flow = [name for name in map(str, rows) if name.startswith("Discharge")]
    if flow and rows[flow[0]].notna().any():
        columns["discharge_ft3_s"] = (flow[0], "m3/s")
    index = utc(rows["Date"], None)
    readings = build(
        rows,
        index,
        columns,
        {
            "site": f"Water Survey of Canada {site}",
            "source": "Environment and Climate Change Canada, Water Survey of Canada",
            "license": "Environment and Climate Change Canada Data Server End-use Licence",
            "datum": "the station's own datum",
        },
    )
    symbols = [name for name in map(str, rows) if name.startswith("Symbol")]
    if symbols and rows[symbols[0]].notna().any():
        meaning = rows[symbols[0]].map(lambda each: _SYMBOLS.get(each, each)).fillna("")
        meaning = meaning.set_axis(index)
        readings[QUALIFIER] = meaning[~meaning.index.duplicated()].reindex(readings.index)
    return readings


FORMAT = Format(
    "Water Survey of Canada CSV",
    lambda head: "Niveau d'eau" in head.split("\n", 1)[0],
    read_water_survey,
)
