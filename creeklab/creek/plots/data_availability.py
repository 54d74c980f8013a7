"""Missing readings, and when they are missing: no figure of a record is honest without this one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from creeklab.creek.plots.figure_style import (
    BLUE,
    BROWN,
    GRAY,
    CaptionedFigure,
    Numbers,
    finalize,
    new_figure,
    time_axis,
)
from creeklab.creek.readings.display import DEFAULT, Display
from creeklab.creek.readings.samples import numbers, times
from creeklab.creek.readings.time_series import gaps, hold_times, measured_values, seconds

_HATCHES = ("", "////", "....", "xxxx")
_COLORS = (BLUE, BROWN, GRAY, "#3b8fc4")


def missing(
    readings: pd.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    title: str | None = None,
    display: Display = DEFAULT,
) -> CaptionedFigure:
    """Draw when nothing was measured, and how much of each month that is.

    Parameters
    ----------
    columns
        The columns to examine; default: the first four columns of numbers.
    display
        Time zone and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers, for each column: ``<column>_missing``, readings missing at the usual interval
        (missing values and missing rows); ``<column>_gaps`` and ``<column>_longest_gap_h``. Its
        table: percent missing in each month, by column.

    Raises
    ------
    ValueError
        If this is not a table of readings, there is no such column, or nothing in it was measured.
    """
    time = times(readings)
    if columns is None:
        usable = [c for c in readings if pd.api.types.is_numeric_dtype(readings[c])]
        columns = [str(c) for c in usable if readings[c].notna().any()][: len(_COLORS)]
    found = {column: gaps(readings, column) for column in columns}
    if not found:
        raise ValueError("Nothing was measured in any column, so there is nothing to draw.")
    title = title or "Missing readings, and when"
    shown: Numbers = {}
    parts = []
    for column, each in found.items():
        values = numbers(readings, column)
        lost = int(each["readings"].sum())
        longest = float(each["hours"].max()) if len(each) else 0.0
        shown |= {
            f"{column}_missing": lost,
            f"{column}_gaps": len(each),
            f"{column}_longest_gap_h": round(longest, 2),
        }
        share = 100 * lost / (lost + int((~np.isnan(values)).sum()))
        longest_gap = f", the longest of {longest / 24:.1f} days" if len(each) else ""
        parts.append(
            f"{_name(column)}: {lost:,} readings ({share:.1f}%) in {len(each)} gaps{longest_gap}"
        )
    table = pd.DataFrame({column: _monthly(readings, column, display) for column in columns})
    figure, (top, bottom) = new_figure(2.9 + 0.35 * len(found), [len(found), 4])
    for row, each in enumerate(found.values()):
        starts = each["start"].to_numpy(dtype="datetime64[us]")
        lengths = each["end"].to_numpy(dtype="datetime64[us]") - starts
        top.broken_barh(
            list(zip(starts, lengths, strict=True)),
            (row - 0.35, 0.7),
            facecolor=_COLORS[row],
            edgecolor=_COLORS[row],
            linewidth=1,  # keeps the shortest gap visible
        )
    top.set_yticks(range(len(found)), [_name(column) for column in found])
    top.set_ylim(len(found) - 0.5, -0.5)
    months = table.index.to_numpy(dtype="datetime64[D]")
    width = 28.0 / len(found)
    for row, column in enumerate(found):
        left = months + np.timedelta64(round(1 + row * width), "D")
        bottom.bar(
            left,
            table[column],
            width,
            align="edge",
            facecolor="white" if row else _COLORS[row],
            edgecolor=_COLORS[row],
            hatch=_HATCHES[row],
            label=_name(column),
        )
    bottom.set_ylabel("Missing (% of month)")
    bottom.set_ylim(0, max(5.0, float(np.nanmax(table.to_numpy())) * 1.1))
    if len(found) > 1:
        bottom.legend(loc="best", fontsize=8)
    time_axis(bottom, time, display)
    description = f"{title}. {'; '.join(parts)}."
    note = "Nobody knows what the creek did in a gap: a flood may be missing with the readings."
    return finalize(figure, readings.attrs, title, description, shown, note=note, table=table)


def _monthly(readings: pd.DataFrame, column: str, display: Display) -> pd.Series:
    """Return the percentage missing in each month, as far as the month is in the record."""
    time = times(readings)
    every = seconds(time)
    last = hold_times(every)[-1] or 1.0
    at = seconds(measured_values(readings, column)[0])
    local = time[[0, -1]].tz_convert(display.zone).tz_localize(None).to_numpy(dtype="datetime64[M]")
    months = np.arange(local[0], local[-1] + 1)
    begins = pd.DatetimeIndex(np.append(months, months[-1] + 1).astype("datetime64[s]"))
    edges = seconds(begins.tz_localize(display.zone, nonexistent="shift_forward", ambiguous=True))
    expected = np.diff(np.clip(edges, every[0], every[-1] + last))
    counted = np.histogram(at, edges, weights=hold_times(at) if at.size > 1 else np.array([last]))[
        0
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = np.clip(100 * (1 - counted / expected), 0, 100)
    return pd.Series(percent.round(2), index=pd.DatetimeIndex(months, name="month").as_unit("s"))


def _name(column: str) -> str:
    return column.removesuffix("_ft").removesuffix("_degC").removesuffix("_ft3_s").replace("_", " ")
