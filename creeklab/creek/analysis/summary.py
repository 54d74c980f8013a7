"""A summary of a record: span, readings, missing readings, range, floods and temperature.

Look at it before any plot and any flood. It is a table and a few sentences, and every number is
also in :attr:`Summary.numbers`.
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
    """The summary of a record.

    Parameters
    ----------
    title
        Title of the record.
    numbers
        By name, each ending in its unit; times are text. Unknown numbers are left out.
    floods
        The table from :func:`creeklab.creek.analysis.floods.find`.
    """

    title: str
    numbers: dict[str, int | float | str]
    floods: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Return the numbers as a table, one per row."""
        return pd.DataFrame(
            {"value": [_format(each) for each in self.numbers.values()]},
            index=pd.Index(self.numbers, name="number"),
        )

    def text(self) -> str:
        """Return the summary in a few sentences."""
        n = self.numbers
        step = f", usually one every {n['step_min']:g} minutes" if "step_min" in n else ""
        lines = [
            f"{self.title}: {n['start']} to {n['end']} ({n['days']:,.1f} days).",
            f"{n['readings']:,} readings of stage{step}; {n['missing']:,} are missing"
            f" ({n['missing_percent']}%), in {n['gaps']} gaps, the longest of"
            f" {n['longest_gap_h']:,.1f} hours."
            if n["missing"]
            else f"{n['readings']:,} readings of stage{step}; none are missing.",
            f"Stage: {n['lowest_ft']:.2f} to {n['highest_ft']:.2f} ft, half of the readings below"
            f" {n['median_ft']:.2f} ft. Highest on {n['highest_time']}.",
            f"Floods, from above {n['flood_start_ft']:g} ft until below {n['flood_end_ft']:g} ft:"
            f" {n['floods']}.",
        ]
        if float(n["lowest_ft"]) > float(n["flood_end_ft"]):
            lines[-1] += " The creek is never below the latter: use thresholds that suit it."
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
    """Summarize a record.

    Returns
    -------
    Summary
        Its numbers are ``start`` and ``end`` of the record, ``days`` between them, ``rows``,
        ``readings`` (with a stage), ``step_min`` (usual), ``missing`` (at that step, missing values
        and missing rows), ``missing_percent``, ``gaps``, ``longest_gap_h``; ``lowest_ft``,
        ``median_ft``, ``highest_ft``, ``highest_time`` (the first if several are equal);
        ``flood_start_ft``, ``flood_end_ft``, ``floods``; and for each temperature
        ``<name>_coldest_degC``, ``_median_degC``, ``_warmest_degC`` and ``_missing``.

    Raises
    ------
    ValueError
        If this is not a table of readings, the end of a flood is above its start, or nothing was
        measured.
    """
    time, stage = measured_values(readings)
    index = times(readings)
    missing = gaps(readings)
    lost = int(missing["readings"].sum())
    found = floods.find(readings, start=start, end=end)
    top = int(stage.argmax())
    numbers: dict[str, int | float | str] = {
        "start": f"{index[0]:%Y-%m-%d %H:%M} UTC",
        "end": f"{index[-1]:%Y-%m-%d %H:%M} UTC",
        "days": round((index[-1] - index[0]).total_seconds() / _DAY, 2),
        "rows": len(index),
        "readings": int(stage.size),
    }
    if len(index) > 1:
        numbers["step_min"] = round(sampling_interval(seconds(index)) / 60, 2)
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
    title = str(readings.attrs.get("title", f"A record of {STAGE}"))
    return Summary(title, numbers, found)


def _format(value: int | float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"
