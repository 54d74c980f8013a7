"""A log of the homemade gage at Trout Creek: a lidar above the water."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import finish
from creeklab.creek.readings.files import table
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.numbers import as_numbers
from creeklab.creek.readings.samples import STAGE, list_columns
from creeklab.creek.readings.times import utc

CM_PER_FT = 30.48


def read_trout_creek(path: str | Path, constant_cm: float | None = None) -> pd.DataFrame:
    """Read a log of the gage at Trout Creek (Wickert et al. 2022), a lidar above the water.

    Parameters
    ----------
    path
        A file ``Log....txt``.
    constant_cm
        Range at stage 0; the stage is this minus the range. None uses the largest range in the
        file, so that 0 ft is the lowest water in it. The gage was remounted for each deployment.

    Returns
    -------
    pandas.DataFrame
        ``stage_ft`` (rounded to 0.001 ft), ``range_cm`` and ``box_temperature_degC``, which is the
        temperature inside the logger's box, not of the air or the water.

    Raises
    ------
    ValueError
        If the file is not such a log, or a row cannot be read.
    """
    # The first line identifies the logger, and every row ends in a comma.
    rows = table(path, header=1, index_col=False, skipinitialspace=True, na_values="NAN")
    names = {"range_cm": "Range [cm]", "box_temperature_degC": "TempOB [C]"}
    missing = [name for name in ("Time [UTC]", *names.values()) if name not in rows]
    if missing:
        raise ValueError(
            f"{path} is not a log of the Trout Creek gage: it has no column {missing[0]!r}, only"
            f" {list_columns(rows)}."
        )
    index = utc(rows["Time [UTC]"], "UTC", "%Y/%m/%d %H:%M:%S")
    values = {
        column: as_numbers(rows[name].set_axis(index), name) for column, name in names.items()
    }
    constant = float(values["range_cm"].max()) if constant_cm is None else constant_cm
    stage = ((constant - values["range_cm"]) / CM_PER_FT).round(3)
    return finish(
        pd.DataFrame({STAGE: stage, **values}),
        {
            "site": "Trout Creek, Minnesota: a homemade stream gage on a bridge",
            "source": "Wickert et al. (2022), Trout Creek stream gauge, doi 10.5281/zenodo.7192005",
            "license": "CC BY 4.0 (cite the source; changes are listed under processing)",
            "datum": f"stage_ft = ({constant:g} - range_cm) / 30.48, no surveyed datum",
            "processing": "Stage computed from the range (see datum), rounded to 0.001 ft",
        },
    )


FORMAT = Format(
    "log of the Trout Creek gage",
    lambda head: "Range [cm]" in head and "Time [UTC]" in head,
    lambda path, _: read_trout_creek(path),
)
