"""CSV of the Environment Agency in England: the flood-monitoring API and the hydrology API.

Each row names its measure by an address whose last part says the quantity and, in the
flood-monitoring API, the unit: ``...-level-stage-i-15_min-mASD`` is in meters above the station's
datum. The hydrology API measures levels in meters, and adds the quality of each value.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import QUALIFIER, Choices, build, selected
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.samples import STAGE
from creeklab.creek.readings.times import utc


def read_environment_agency(path: Path, choices: Choices) -> pd.DataFrame:
    """Read readings of one level, and of the rain if the file has one rain gage.

    Raises
    ------
    ValueError
        If the file has no level or several, or a row cannot be read.
    """
    rows = table(path, text_of(path))
    rows["measure"] = rows["measure"].str.rsplit("/", n=1).str[-1]
    levels = rows["measure"].str.contains("-level-")
    if not levels.any():
        raise ValueError(
            f"{path} has no measure of a level, only {', '.join(rows['measure'].unique()[:5])}."
        )
    rows = selected(path, rows[levels].reset_index(drop=True), choices, ["dateTime", "value"])
    measure = str(rows["measure"].iloc[0])
    unit = "mm" if measure.endswith("-mm") else "m"
    # The hydrology API leaves out the Z: all its times are in GMT.
    index = utc(rows["dateTime"], "UTC")
    readings = build(
        rows,
        index,
        {STAGE: ("value", unit)},
        {
            "site": f"Environment Agency, {measure}",
            "source": "Environment Agency (England), real-time data and hydrology APIs",
            "license": "Open Government Licence v3.0 (cite the Environment Agency)",
            "datum": "mASD: meters above the station's datum"
            if "mASD" in measure
            else "meters above ordnance datum"
            if re.search("mAOD", measure)
            else "the station's own datum",
        },
    )
    if "quality" in rows:
        quality = rows["quality"].fillna("").set_axis(index).replace({"Good": "", "Unchecked": ""})
        readings[QUALIFIER] = quality[~quality.index.duplicated()].reindex(readings.index)
    return readings


FORMAT = Format(
    "Environment Agency CSV",
    lambda head: {"dateTime", "measure", "value"} <= set(head.split("\n", 1)[0].strip().split(",")),
    read_environment_agency,
)
