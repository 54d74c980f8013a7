"""A CSV file that HOBOware exports from a pressure logger (Onset).

Date and time are in one column or in two; the heading states the offset from GMT. The stage is the
column *Water Level* (or *Sensor Depth*), which HOBOware computes from the absolute pressure and the
pressure of the air. Without that step, the file holds only a pressure, most of which is the air's.

A logger out of the water, before it is deployed or while someone reads it out, measures the air. If
the file also has the air's pressure (*Abs Pres Barom.*), readings with nearly the same pressure are
left empty. Rows that only record an event, such as *Coupler Attached*, are left out.
"""

from __future__ import annotations

import re
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from creeklab.creek.readings.building import Choices, build, local_times, recognized
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.numbers import as_numbers
from creeklab.creek.readings.samples import STAGE
from creeklab.creek.readings.units import UNITS, heading_unit

_DATES = ("%m/%d/%y", "%m/%d/%Y", "%d/%m/%y", "%d/%m/%Y", "%y/%m/%d", "%Y-%m-%d", "%m-%d-%y")
_CLOCKS = ("%I:%M:%S %p", "%H:%M:%S", "%H:%M", "%I:%M %p")
_FORMATS = [f"{date} {clock}" for date, clock in product(_DATES, _CLOCKS)]
_OFFSET = re.compile(r"GMT\s*([+-]\d{1,2}):(\d\d)")
_AIR_KPA = 0.3  # 3 cm of water: less than that on top of the air is a logger out of the water


def read_hobo(path: Path, choices: Choices) -> pd.DataFrame:
    """Read a HOBOware export; see the top of this file.

    Raises
    ------
    ValueError
        If the file has no water level, or a row cannot be read.
    """
    text = text_of(path)
    first = text.split("\n", 1)[0]
    rows = table(path, text, skiprows=1 if "Plot Title" in first else 0, skipinitialspace=True)
    rows.columns = pd.Index([str(name).strip() for name in rows])
    date = next(name for name in map(str, rows) if name.startswith("Date"))
    clock = [name for name in map(str, rows) if re.match(r"Time\b", name)]
    when = rows[date] if not clock else rows[date] + " " + rows[clock[0]]
    offset = _OFFSET.search(" ".join([date, *clock]))
    zone = None
    if offset:
        # Etc/GMT+4 is four hours behind UTC.
        zone = f"Etc/GMT{-int(offset[1]):+d}" if offset[2] == "00" else None
    columns = _columns(path, rows, choices)
    measured = rows[[name for name, _ in columns.values()]].notna().any(axis=1)
    rows, when = rows[measured].reset_index(drop=True), when[measured].reset_index(drop=True)
    index = local_times(path, when, _FORMATS, choices, zone)
    steps = [f"HOBOware export; {int((~measured).sum())} rows without a measurement left out"]
    out = _out_of_the_water(rows, index)
    if out.any():
        warnings.warn(
            f"{path}: in {int(out.sum())} rows the logger measured the pressure of the air, so it"
            " was out of the water. These stages are left empty.",
            stacklevel=2,
        )
        steps.append(f"{int(out.sum())} stages out of the water left empty")
        rows.loc[out, columns[STAGE][0]] = np.nan
    return build(rows, index, columns, {"processing": "; ".join(steps)})


def _columns(path: Path, rows: pd.DataFrame, choices: Choices) -> dict[str, tuple[str, str]]:
    level = [name for name in map(str, rows) if re.match(r"Water Level|Sensor Depth", name)]
    if not level and choices.stage is None:
        raise ValueError(
            f"{path} has no water level, only {', '.join(map(repr, rows))}. Absolute pressure"
            " contains the pressure of the air. In HOBOware, run the Barometric Compensation"
            " Assistant, and export again with the water level."
        )
    stage = choices.stage or (level[0], None)
    return dict(recognized(path, rows, Choices(stage=stage), {}))


def _out_of_the_water(
    rows: pd.DataFrame, index: pd.DatetimeIndex
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    pressure = {
        "air" if "barom" in name.lower() else "logger": name
        for name in map(str, rows)
        if name.startswith("Abs Pres")
    }
    if len(pressure) < 2:
        return np.zeros(len(rows), dtype=bool)
    kpa = {}
    for kind, name in pressure.items():
        numbers = as_numbers(rows[name].set_axis(index), name).to_numpy()
        kpa[kind] = _to_kpa(numbers, heading_unit(name) or "kPa")
    return np.asarray(kpa["logger"] - kpa["air"] < _AIR_KPA)


def _to_kpa(
    numbers: np.ndarray[tuple[int], np.dtype[np.float64]], unit: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return numbers * UNITS[unit].size[0] / UNITS[unit].size[1]


FORMAT = Format(
    "HOBOware export",
    lambda head: bool(
        re.match(r'"?Plot Title', head) or re.search(r'^"?#"?,"?Date.*GMT', head, re.M)
    ),
    read_hobo,
)
