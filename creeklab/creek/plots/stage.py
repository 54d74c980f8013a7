"""The stage: against time, and the share of time that it spends at or above each height."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from creeklab.creek.analysis import landmarks
from creeklab.creek.plots.figure_style import (
    BLUE,
    BROWN,
    STAGE_NOTE,
    CaptionedFigure,
    Floats,
    Numbers,
    draw_levels,
    draw_line,
    finalize,
    hatch_gaps,
    join_words,
    landmark_text,
    new_figure,
    plural,
    time_axis,
)
from creeklab.creek.quality.qartod import FAIL, SUSPECT
from creeklab.creek.quality.quality import Quality
from creeklab.creek.readings.display import DEFAULT, Display
from creeklab.creek.readings.samples import STAGE, TEMPERATURE, numbers, times
from creeklab.creek.readings.time_series import gaps, measured_values

# Name, marker and color of each flag; the shape of the marker is enough to tell them apart.
_FLAGS = {SUSPECT: ("suspect", "^", "#e69f00"), FAIL: ("fail", "X", "#b00020")}

# A percentage of the time, and how much of a year that is.
_SHARES = {0.01: "53 minutes", 0.1: "9 hours", 1.0: "3.7 days", 10.0: "5 weeks", 100.0: "all of it"}
_PERCENTS = (0.01, 0.1, 1, 5, 10, 25, 50, 75, 90, 95, 99)


def hydrograph(
    readings: pd.DataFrame,
    *,
    title: str | None = None,
    temperature: bool = False,
    thresholds: Mapping[str, float] | None = None,
    quality: Quality | None = None,
    display: Display = DEFAULT,
) -> CaptionedFigure:
    """Draw stage against time, with its peak; gaps are hatched.

    Parameters
    ----------
    readings
        A table of readings (see :mod:`creeklab.creek.readings.samples`) with a column ``stage_ft``.
        Its ``attrs``, if set, give title and source.
    title
        Title of the figure. Default: the title of the readings.
    temperature
        Add a second panel with ``water_temperature_degC``.
    thresholds
        Named stages to draw as lines: where a flood starts and ends, landmarks.
    quality
        The result of :func:`creeklab.creek.quality.quality.check` for these readings, or for the
        longer record that they are from: suspect and failed readings are marked.
    display
        Time zone and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``readings`` (with a stage), ``missing`` (without), ``start``, ``end``,
        ``start_ft``, ``end_ft``, ``lowest_ft``, ``peak_ft``, ``peak_time`` (the first of equal
        peaks); with temperature also ``coldest_degC`` and ``warmest_degC``; with quality
        ``suspect`` and ``fail``. With thresholds, its table is that of
        :func:`creeklab.creek.analysis.landmarks.above`.

    Raises
    ------
    ValueError
        If this is not a table of readings, nothing was measured, or the quality belongs to other
        readings.
    """
    time, stage = times(readings), numbers(readings, STAGE)
    measured = _measured(stage, STAGE)
    first, last, peak = measured[0], measured[-1], int(np.nanargmax(stage))
    title = title or readings.attrs.get("title", "Stage of the creek")
    shown: Numbers = {
        "readings": len(measured),
        "missing": len(stage) - len(measured),
        "start": display.time(time[first]),
        "end": display.time(time[last]),
        "start_ft": float(stage[first]),
        "end_ft": float(stage[last]),
        "lowest_ft": float(np.nanmin(stage)),
        "peak_ft": float(stage[peak]),
        "peak_time": display.time(time[peak]),
    }
    description = (
        f"{title}, {shown['start']} to {shown['end']}: {len(measured):,} readings of stage,"
        f" {shown['missing']:,} missing. The stage starts at {display.stage(stage[first])}, peaks"
        f" at {display.stage(stage[peak])} on {shown['peak_time']} and ends at"
        f" {display.stage(stage[last])}; the lowest is {display.stage(np.nanmin(stage))}."
    )
    figure, panels = new_figure(5.4 if temperature else 4, [2, 1] if temperature else [1])
    top, bottom = panels[0], panels[-1]
    heights = display.convert(stage)
    draw_line(top, time, heights, BLUE)
    top.set_ylabel(display.label)
    missing = gaps(readings)
    hatch_gaps(top, missing)
    if len(missing):
        description += f" Hatched: {plural(len(missing), 'gap')} without readings."
    if quality is not None:
        flagged = _flags(top, time, heights, quality)
        shown |= flagged
        description += (
            f" Marked: {flagged['suspect']} suspect readings and {flagged['fail']} that fail."
        )
    table = None
    if thresholds:
        draw_levels(top, thresholds, display)
        table = landmarks.above(readings, thresholds)
        spans = [
            f"{each['hours']:,.1f} hours above"
            f" {landmark_text(str(name), each['landmark_ft'], display, '{1} ({0})')}"
            for name, each in table.iterrows()
        ]
        description += f" It spends {join_words(spans)}."
    top.plot(time[[peak]], heights[[peak]], "o", color="black", markersize=5)
    late = time[peak] - time[0] > time[-1] - time[peak]
    top.annotate(
        f"{display.stage(stage[peak])}, {shown['peak_time']}",
        (time[peak], heights[peak]),
        xytext=(-8 if late else 8, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
    )
    if temperature:
        water = numbers(readings, TEMPERATURE)
        _measured(water, TEMPERATURE)
        coldest, warmest = float(np.nanmin(water)), float(np.nanmax(water))
        shown |= {"coldest_degC": coldest, "warmest_degC": warmest}
        description += f" The water temperature is between {coldest:.1f} and {warmest:.1f} °C."
        draw_line(bottom, time, water, BROWN)
        bottom.set_ylabel("Water (°C)")
    time_axis(bottom, time, display)
    return finalize(figure, readings.attrs, title, description, shown, table=table)


def duration_curve(
    readings: pd.DataFrame,
    *,
    title: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    display: Display = DEFAULT,
) -> CaptionedFigure:
    """Draw how much of the measured time the stage is at or above each height.

    The n-th highest of N readings is reached in n / (N + 1) of the time. Every measured reading
    counts the same, and gaps do not count: if a sensor fails during floods, the curve is too low.

    Parameters
    ----------
    thresholds
        Named stages to draw as lines.
    display
        Time zone and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``readings``, and ``reached_<p>_percent_ft`` for some percentages p, without
        those for which the record is too short. Its table has all of them.
    """
    _, stage = measured_values(readings)
    title = title or "How much of the time the creek is this high or higher"
    ordered = np.sort(stage)[::-1]
    percent = 100 * np.arange(1, stage.size + 1) / (stage.size + 1)
    wanted = [p for p in _PERCENTS if percent[0] <= p <= percent[-1]]
    table = pd.DataFrame(
        {"stage_ft": np.interp(wanted, percent, ordered).round(3)},
        index=pd.Index(wanted, name="percent of the time"),
    )
    shown: Numbers = {"readings": int(stage.size)}
    shown |= {f"reached_{p:g}_percent_ft": float(ft) for p, ft in table["stage_ft"].items()}
    parts = [
        f"{display.stage(ft)} in {p:g}%"
        for p, ft in table["stage_ft"].items()
        if p in (0.01, 0.1, 1, 10, 50)
    ]
    description = f"{title}: the stage is at or above {join_words(parts)} of the measured time."
    figure, (axes,) = new_figure(4.4)
    rows = np.unique(np.geomspace(1, stage.size, 2000).astype(np.intp)) - 1
    axes.plot(
        percent[rows],
        display.convert(ordered[rows]),
        color=BLUE,
        linewidth=2,
        drawstyle="steps-post",
    )
    dots = table[table.index <= 50]
    axes.plot(dots.index, display.convert(dots["stage_ft"]), "o", color="black", markersize=4)
    axes.set_ylabel(display.label)
    axes.set_xlabel(
        "Percent of the measured time at or above this stage, and how much of a year that is"
    )
    _share_axis(axes, float(percent[0]))
    if thresholds:
        draw_levels(axes, thresholds, display)
    note = f"Based on {stage.size:,} measured readings; the years to come may differ. {STAGE_NOTE}"
    return finalize(figure, readings.attrs, title, description, shown, note=note, table=table)


def _share_axis(axes: Axes, lowest: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(max(lowest, 0.001), 0.5), 100)
    shares = [p for p in _SHARES if p >= axes.get_xlim()[0]]
    axes.xaxis.set_major_locator(FixedLocator(shares))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{p:g}%\n{_SHARES[p]}" for p in shares])


def _flags(axes: Axes, time: pd.DatetimeIndex, stage: Floats, quality: Quality) -> dict[str, int]:
    """Mark the readings that are not good; return how many they are."""
    rows = quality.flags.index.get_indexer(time)
    if (rows < 0).all():
        raise ValueError(
            "The quality belongs to other readings: none of its times is among these. Check these"
            " readings, or the record that they are from."
        )
    flags = quality.flags["overall"].to_numpy()[rows]
    flags[rows < 0] = 0
    counted = {}
    for flag, (name, marker, color) in _FLAGS.items():
        rows = np.flatnonzero((flags == flag) & ~np.isnan(stage))
        counted[name] = int(rows.size)
        if rows.size:
            axes.plot(
                time[rows].to_numpy(dtype="datetime64[us]"),
                stage[rows],
                linestyle="none",
                marker=marker,
                markersize=6,
                color=color,
                markeredgecolor="black",
                markeredgewidth=0.6,
                label=f"{name} ({rows.size})",
            )
    if any(counted.values()):
        axes.legend(loc="best", fontsize=8)
    return counted


def _measured(values: Floats, column: str) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the rows in which a value was measured."""
    rows = np.flatnonzero(~np.isnan(values))
    if not rows.size:
        raise ValueError(f"Column {column!r} has no measured value, so there is nothing to draw.")
    return rows
