"""What a recording holds, in one call: span, readings, what is missing, range, floods, temperature.

The first thing to ask of any record, before a picture and before a flood. It says the same as a
table and in words, and every number is also in :attr:`Summary.numbers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from creeklab.creek.analysis import floods
from creeklab.creek.readings.samples import STAGE, times
from creeklab.creek.readings.time_series import (
    HOUR,
    gaps,
    measured_values,
    sampling_interval,
    seconds,
)

_DAY = 24 * HOUR


@dataclass(frozen=True, repr=False, eq=False)
class Summary:
    """What a recording holds.

    Parameters
    ----------
    title
        Of the recording.
    numbers
        By names that end in their unit; times are text. What is not known has no name here.
    floods
        The table of :func:`creeklab.creek.analysis.floods.find`.
    """

    title: str
    numbers: dict[str, int | float | str]
    floods: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """List the numbers, one in a row."""
        return pd.DataFrame(
            {"value": [_written(each) for each in self.numbers.values()]},
            index=pd.Index(self.numbers, name="what"),
        )

    def text(self) -> str:
        """Say it in a few sentences."""
        n = self.numbers
        step = f", usually one every {n['step_min']:g} minutes" if "step_min" in n else ""
        lines = [
            f"{self.title}: {n['start']} to {n['end']} ({n['days']:,.1f} days).",
            f"{n['readings']:,} readings of stage{step}; {n['missing']:,} are missing"
            f" ({n['missing_percent']} %), in {n['gaps']} gaps, the longest of"
            f" {n['longest_gap_h']:,.1f} hours."
            if n["missing"]
            else f"{n['readings']:,} readings of stage{step}; none is missing.",
            f"Stage: {n['lowest_ft']:.2f} to {n['highest_ft']:.2f} ft, half of the readings below"
            f" {n['median_ft']:.2f} ft. Highest on {n['highest_time']}.",
            f"Floods above {n['flood_start_ft']:g} ft, until below {n['flood_end_ft']:g} ft:"
            f" {n['floods']}.",
        ]
        if float(n["lowest_ft"]) > float(n["flood_end_ft"]):
            lines[-1] += " But it never is below the latter: these thresholds are not its own."
        for name in n:
            if name.endswith("_coldest_degC"):
                what = name.removesuffix("_coldest_degC")
                lines.append(
                    f"{what.replace('_', ' ').capitalize()}: {n[name]:.1f} to"
                    f" {n[f'{what}_warmest_degC']:.1f} °C, {n[f'{what}_missing']:,} missing."
                )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text())}</pre>{self.table().to_html()}"


def summarize(
    readings: pd.DataFrame, *, start: float = floods.START_FT, end: float = floods.END_FT
) -> Summary:
    """Say what a recording holds.

    Parameters
    ----------
    readings
        A table of readings.
    start, end
        Where a flood starts and ends; see :mod:`creeklab.creek.analysis.floods`.

    Returns
    -------
    Summary
        Its numbers: ``start`` and ``end`` of the record, ``days`` between, ``rows``, ``readings``
        (with a stage), ``step_min`` (usual), ``missing`` (at that step, of rows that are there and
        of rows that are not), ``missing_percent``, ``gaps``, ``longest_gap_h``; ``lowest_ft``,
        ``median_ft``, ``highest_ft``, ``highest_time`` (the first of equals); ``flood_start_ft``,
        ``flood_end_ft``, ``floods``; and of each temperature ``<name>_coldest_degC``,
        ``_median_degC``, ``_warmest_degC`` and ``_missing``.

    Raises
    ------
    ValueError
        The readings are no table of readings, the thresholds are the wrong way round, or nothing
        was measured.
    """
    time, stage = measured_values(readings)
    every = times(readings)
    missing = gaps(readings)
    lost = int(missing["readings"].sum())
    found = floods.find(readings, start=start, end=end)
    top = int(stage.argmax())
    numbers: dict[str, int | float | str] = {
        "start": f"{every[0]:%Y-%m-%d %H:%M} UTC",
        "end": f"{every[-1]:%Y-%m-%d %H:%M} UTC",
        "days": round((every[-1] - every[0]).total_seconds() / _DAY, 2),
        "rows": len(every),
        "readings": int(stage.size),
    }
    if len(every) > 1:
        numbers["step_min"] = round(sampling_interval(seconds(every)) / 60, 2)
    numbers |= {
        "missing": lost,
        "missing_percent": round(100 * lost / (lost + stage.size), 2),
        "gaps": len(missing),
        "longest_gap_h": round(float(missing["hours"].max()), 2) if lost else 0.0,
        "lowest_ft": float(stage.min()),
        "median_ft": round(float(np.median(stage)), 3),
        "highest_ft": float(stage[top]),
        "highest_time": f"{time[top]:%Y-%m-%d %H:%M} UTC",
        "flood_start_ft": float(start),
        "flood_end_ft": float(end),
        "floods": len(found),
    }
    for column in map(str, readings):
        if column.endswith("temperature_degC") and readings[column].notna().any():
            _, degc = measured_values(readings, column)
            name = column.removesuffix("_degC")
            numbers |= {
                f"{name}_coldest_degC": float(degc.min()),
                f"{name}_median_degC": round(float(np.median(degc)), 2),
                f"{name}_warmest_degC": float(degc.max()),
                f"{name}_missing": int(gaps(readings, column)["readings"].sum()),
            }
    title = str(readings.attrs.get("title", f"A recording of {STAGE}"))
    return Summary(title, numbers, found)


def _written(value: int | float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"
