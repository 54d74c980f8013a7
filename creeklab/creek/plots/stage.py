"""The stage itself: against time, and how much of the time it is how high."""

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
    STAGE_LABEL,
    STAGE_NOTE,
    CaptionedFigure,
    Floats,
    Numbers,
    finalize,
    hatch_gaps,
    join_words,
    landmark,
    levels,
    line,
    moment,
    new_figure,
    plural,
    time_axis,
)
from creeklab.creek.quality.qartod import FAIL, SUSPECT
from creeklab.creek.quality.quality import Quality
from creeklab.creek.readings.samples import STAGE, TEMPERATURE, numbers, times
from creeklab.creek.readings.time_series import gaps, measured_values

# Marker and colour of a flag: its shape tells it.
_FLAGS = {SUSPECT: ("suspect", "^", "#e69f00"), FAIL: ("fail", "X", "#b00020")}

# Percent of the time, and how much of a year that is.
_SHARES = {
    0.01: "53 minutes",
    0.1: "9 hours",
    1.0: "3.7 days",
    10.0: "5 weeks",
    100.0: "all of it",
}
_PERCENTS = (0.01, 0.1, 1, 5, 10, 25, 50, 75, 90, 95, 99)


def hydrograph(
    readings: pd.DataFrame,
    *,
    title: str | None = None,
    temperature: bool = False,
    thresholds: Mapping[str, float] | None = None,
    quality: Quality | None = None,
) -> CaptionedFigure:
    """Draw stage against time (UTC), with its peak; what is missing is hatched.

    Parameters
    ----------
    readings
        A table of readings (see :mod:`creeklab.creek.readings.samples`) with a column ``stage_ft``.
        Its ``attrs``, where :func:`~creeklab.creek.readings.samples.load` set them, give title and
        source.
    title
        Above the picture. Default: the title of the sample.
    temperature
        Add a second panel with ``water_temperature_degC``.
    thresholds
        Stages with a name to draw as lines: where a flood starts and ends, landmarks.
    quality
        What :func:`creeklab.creek.quality.quality.check` found in these readings, or in the longer
        record that they are from: what is suspect, or failed, is marked.

    Returns
    -------
    Picture
        Its numbers: ``readings`` (with a stage), ``missing`` (without), ``start``, ``end``,
        ``start_ft``, ``end_ft``, ``lowest_ft``, ``peak_ft``, ``peak_time`` (the first of equal
        peaks); with temperature also ``coldest_degC`` and ``warmest_degC``; with quality
        ``suspect`` and ``fail``. With thresholds its table is that of
        :func:`creeklab.creek.analysis.landmarks.above`.

    Raises
    ------
    ValueError
        The readings are no table of readings, nothing was measured, or the quality is that of
        other readings.
    """
    time, stage = times(readings), numbers(readings, STAGE)
    there = _measured(stage, STAGE)
    first, last, peak = there[0], there[-1], int(np.nanargmax(stage))
    title = title or readings.attrs.get("title", "Stage of the creek")
    shown: Numbers = {
        "readings": len(there),
        "missing": len(stage) - len(there),
        "start": moment(time[first]),
        "end": moment(time[last]),
        "start_ft": float(stage[first]),
        "end_ft": float(stage[last]),
        "lowest_ft": float(np.nanmin(stage)),
        "peak_ft": float(stage[peak]),
        "peak_time": moment(time[peak]),
    }
    words = (
        f"{title}, {shown['start']} to {shown['end']}: {len(there):,} readings of stage,"
        f" {shown['missing']:,} missing. Stage starts at {stage[first]:.2f} ft, peaks at"
        f" {stage[peak]:.2f} ft on {shown['peak_time']} and ends at {stage[last]:.2f} ft;"
        f" the lowest is {np.nanmin(stage):.2f} ft."
    )
    figure, panels = new_figure(5.4 if temperature else 4, [2, 1] if temperature else [1])
    top, bottom = panels[0], panels[-1]
    line(top, time, stage, BLUE)
    top.set_ylabel(STAGE_LABEL)
    missing = gaps(readings)
    hatch_gaps(top, missing)
    if len(missing):
        words += f" Hatched: {plural(len(missing), 'time')} without a reading."
    if quality is not None:
        flagged = _flags(top, time, stage, quality)
        shown |= flagged
        words += f" Marked: {flagged['suspect']} suspect readings, {flagged['fail']} that fail."
    table = None
    if thresholds:
        levels(top, thresholds)
        table = landmarks.above(readings, thresholds)
        spans = [
            f"{each['hours']:,.1f} hours above {landmark(str(name), each['landmark_ft'])}"
            for name, each in table.iterrows()
        ]
        words += f" It is {join_words(spans)}."
    top.plot(time[[peak]], stage[[peak]], "o", color="black", markersize=5)
    late = time[peak] - time[0] > time[-1] - time[peak]
    top.annotate(
        f"{stage[peak]:.2f} ft, {shown['peak_time']}",
        (time[peak], stage[peak]),
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
        words += f" The water has between {coldest:.1f} and {warmest:.1f} °C."
        line(bottom, time, water, BROWN)
        bottom.set_ylabel("Water (°C)")
    time_axis(bottom, time)
    return finalize(figure, readings.attrs, title=title, words=words, numbers=shown, table=table)


def duration_curve(
    readings: pd.DataFrame,
    *,
    title: str | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> CaptionedFigure:
    """Draw how much of the measured time the stage is at or above each height.

    The n-th highest of N readings is reached in n / (N + 1) of the time. Every measured reading
    counts the same, and what was not measured counts nothing: where a sensor fails in floods, the
    curve is too low.

    Parameters
    ----------
    readings
        A table of readings.
    title
        Above the picture.
    thresholds
        Stages with a name to draw as lines.

    Returns
    -------
    Picture
        Its numbers: ``readings``, and ``reached_<p>_percent_ft`` for some percentages p; those that
        the record is too short for are left out. Its table has all of them.

    Raises
    ------
    ValueError
        The readings are no table of readings, or nothing was measured.
    """
    _, stage = measured_values(readings)
    title = title or "How much of the time the creek is how high"
    ordered = np.sort(stage)[::-1]
    percent = 100 * np.arange(1, stage.size + 1) / (stage.size + 1)
    wanted = [p for p in _PERCENTS if percent[0] <= p <= percent[-1]]
    table = pd.DataFrame(
        {"stage_ft": np.interp(wanted, percent, ordered).round(3)},
        index=pd.Index(wanted, name="percent of the time"),
    )
    shown: Numbers = {"readings": int(stage.size)}
    shown |= {f"reached_{p:g}_percent_ft": float(ft) for p, ft in table["stage_ft"].items()}
    said = [
        f"{ft:.2f} ft in {p:g} %"
        for p, ft in table["stage_ft"].items()
        if p in (0.01, 0.1, 1, 10, 50)
    ]
    words = f"{title}: the stage is at or above {join_words(said)} of the measured time."
    figure, (axes,) = new_figure(4.4)
    rows = np.unique(np.geomspace(1, stage.size, 2000).astype(np.intp)) - 1
    axes.plot(percent[rows], ordered[rows], color=BLUE, linewidth=2, drawstyle="steps-post")
    dots = table[table.index <= 50]
    axes.plot(dots.index, dots["stage_ft"], "o", color="black", markersize=4)
    axes.set_ylabel(STAGE_LABEL)
    axes.set_xlabel("Percent of the measured time at or above that stage, and of a year")
    _share_axis(axes, float(percent[0]))
    if thresholds:
        levels(axes, thresholds)
    note = f"Only of {stage.size:,} measured readings, not of the years to come. {STAGE_NOTE}"
    return finalize(
        figure, readings.attrs, title=title, words=words, numbers=shown, note=note, table=table
    )


def _share_axis(axes: Axes, least: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(max(least, 0.001), 0.5), 100)
    there = [p for p in _SHARES if p >= axes.get_xlim()[0]]
    axes.xaxis.set_major_locator(FixedLocator(there))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{p:g} %\n{_SHARES[p]}" for p in there])


def _flags(axes: Axes, time: pd.DatetimeIndex, stage: Floats, quality: Quality) -> dict[str, int]:
    """Mark what is not good; say how many readings that are."""
    there = quality.flags.index.get_indexer(time)
    if (there < 0).all():
        raise ValueError(
            "The quality is that of other readings: none of its times is among these. Check these"
            " readings, or the record that they are from."
        )
    flags = quality.flags["overall"].to_numpy()[there]
    flags[there < 0] = 0
    counted = {}
    for flag, (name, marker, colour) in _FLAGS.items():
        rows = np.flatnonzero((flags == flag) & ~np.isnan(stage))
        counted[name] = int(rows.size)
        if rows.size:
            axes.plot(
                time[rows].to_numpy(dtype="datetime64[us]"),
                stage[rows],
                linestyle="none",
                marker=marker,
                markersize=6,
                color=colour,
                markeredgecolor="black",
                markeredgewidth=0.6,
                label=f"{name} ({rows.size})",
            )
    if any(counted.values()):
        axes.legend(loc="best", fontsize=8)
    return counted


def _measured(values: Floats, column: str) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Give the rows in which a value was measured."""
    rows = np.flatnonzero(~np.isnan(values))
    if not rows.size:
        raise ValueError(f"Column {column!r} has no measured value: there is nothing to draw.")
    return rows
