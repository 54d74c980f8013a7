"""Floods: one on a page of its own, several laid over each other, and how fast the creek rises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from creeklab.creek.analysis import floods as events
from creeklab.creek.analysis import landmarks
from creeklab.creek.plots.figure_style import (
    BLUE,
    BROWN,
    PALE,
    STAGE_LABEL,
    STAGE_NOTE,
    STYLES,
    CaptionedFigure,
    Floats,
    Numbers,
    clip,
    finalize,
    hatch_gaps,
    join_words,
    landmark,
    levels,
    line,
    moment,
    new_figure,
    span,
    time_axis,
    valid,
)
from creeklab.creek.readings.time_series import (
    GAP_FACTOR,
    HOUR,
    gaps,
    measured_values,
    sampling_interval,
    seconds,
    to_datetimes,
)

_RISING = 0.05  # ft/h: two steps in half an hour of a gauge that reads in hundredths are less
_LIMITS = (50.0, 90.0, 99.0, 99.9)


def flood_page(
    readings: pd.DataFrame,
    floods: pd.DataFrame,
    number: int,
    *,
    marks: Mapping[str, float] | None = None,
    before: float = 4.0,
    after: float = 8.0,
) -> CaptionedFigure:
    """Draw one flood: its rise, peak and recession, and how fast it rose and fell.

    Parameters
    ----------
    readings
        The readings that the floods were found in.
    floods
        What :func:`creeklab.creek.analysis.floods.find` gave.
    number
        Which of them.
    marks
        Landmarks: a name and a stage each. When the flood reached them is in the table.
    before, after
        Hours of the record to show before its start and after its end.

    Returns
    -------
    Picture
        Its numbers are those of the flood in ``floods``, ``rank`` among them by peak, and
        ``floods``, how many there are. Its table has one row for each landmark: ``landmark_ft``,
        ``reached`` (when, first), ``hours`` above it in this flood and ``after_start_h``.

    Raises
    ------
    ValueError
        There is no such flood.
    """
    if number not in floods.index:
        raise ValueError(f"There is no flood {number} among these {len(floods)}.")
    flood = floods[floods.index == number].iloc[0]
    time, stage = measured_values(readings)
    at = seconds(time)
    start, peak, end = (_second(flood[name]) for name in ("start", "peak_time", "end"))
    part = clip(readings, start - before * HOUR, end + after * HOUR)
    rank = int((floods["peak_ft"] > flood["peak_ft"]).sum()) + 1
    day = flood["peak_time"]
    title = f"Flood {number}, {day.day} {day:%B %Y}: {flood['peak_ft']:.2f} ft"
    own = {str(name): value for name, value in flood.items()}
    shown = valid({"rank": rank, "floods": len(floods), **own})
    table = _reached(at, stage, start, end, marks) if marks else None
    words = _flood_words(flood, rank, len(floods), table)

    figure, (top, bottom) = new_figure(6.4, [5, 2])
    when, heights = measured_values(part)
    line(top, when, heights, BLUE)
    hatch_gaps(top, gaps(part))
    starts, ends = float(floods.attrs["start_ft"]), float(floods.attrs["end_ft"])
    top.axvspan(*_days([start, end]), facecolor="#eef3f8", edgecolor="none", zorder=0)
    half = peak + float(flood["half_life_h"]) * HOUR
    points = [
        ("starts", start, "^", flood["begins"] == "rise"),
        ("peak", peak, "o", True),
        ("half fallen", half, "D", not np.isnan(half)),
        ("ends", end, "v", flood["ends"] == "fall"),
    ]
    for name, second, marker, seen in points:
        if seen:
            there = float(np.interp(second, at, stage))
            top.plot(
                _days([second]), [there], marker, color="black", markersize=7, label=name, zorder=5
            )
    top.legend(loc="upper right", fontsize=8)
    top.set_ylabel(STAGE_LABEL)
    levels(top, {"flood starts": starts, "flood ends": ends, **(marks or {})})
    _rates(bottom, at, stage, _second(when[0]), _second(when[-1]))
    time_axis(bottom, when)
    note = (
        f"Rates are over half an hour. {STAGE_NOTE} Why it rose, or how much water that was, no"
        " stage tells."
    )
    return finalize(
        figure, readings.attrs, title=title, words=words, numbers=shown, note=note, table=table
    )


def _flood_words(flood: pd.Series, rank: int, count: int, table: pd.DataFrame | None) -> str:
    place = "the highest" if rank == 1 else f"number {rank} by height"
    words = [f"Flood {flood.name}, {place} of {count}."]
    if flood["begins"] == "rise":
        words.append(
            f"It starts on {moment(flood['start'])}, rises by up to"
            f" {flood['rate_ft_per_h']:.2f} ft/h and peaks {span(flood['rise_h'])} later at"
            f" {flood['peak_ft']:.2f} ft, on {moment(flood['peak_time'])}."
            if not np.isnan(flood["rate_ft_per_h"])
            else f"It starts on {moment(flood['start'])} and peaks at {flood['peak_ft']:.2f} ft, on"
            f" {moment(flood['peak_time'])}."
        )
    else:
        words.append(
            f"Its start was not seen: the {flood['begins']} begins or ends in it. It peaks at"
            f" {flood['peak_ft']:.2f} ft, on {moment(flood['peak_time'])}, of what was measured."
        )
    if not np.isnan(flood["half_life_h"]):
        words.append(f"Half of its height is gone {span(flood['half_life_h'])} after the peak.")
    if flood["ends"] == "fall":
        words.append(f"It ends on {moment(flood['end'])}, after {flood['duration_h']:.1f} hours.")
    else:
        words.append(f"Its end was not seen: it lasted at least {flood['duration_h']:.1f} hours.")
    if table is not None:
        reached = table.dropna(subset="reached")
        said = [
            f"{landmark(str(name), each['landmark_ft'])} after {span(each['after_start_h'])}"
            for name, each in reached.iterrows()
        ]
        words.append(
            f"From its start it reaches {join_words(said)}." if said else "It reaches no landmark."
        )
    return " ".join(words)


def _reached(
    at: Floats, stage: Floats, start: float, end: float, marks: Mapping[str, float]
) -> pd.DataFrame:
    rows = slice(int(np.searchsorted(at, start)), int(np.searchsorted(at, end, side="right")))
    own, heights = at[rows], stage[rows]
    step = sampling_interval(at)
    held = np.append(np.diff(own), step)
    held[held > GAP_FACTOR * step] = step
    found = []
    for name, height in landmarks.check(marks).items():
        over = np.flatnonzero(heights >= height)
        first = float(own[over[0]]) if over.size else np.nan
        found.append(
            {
                "landmark": name,
                "landmark_ft": height,
                "reached": to_datetimes(np.array([first]))[0] if over.size else pd.NaT,
                "after_start_h": (first - start) / HOUR,
                "hours": float(held[over].sum()) / HOUR,
            }
        )
    table = pd.DataFrame(found).set_index("landmark")
    table["reached"] = pd.to_datetime(table["reached"], utc=True)
    return table


def _rates(axes: Axes, at: Floats, stage: Floats, first: float, last: float) -> None:
    rates = events.rise_rates(at, stage)
    rows = slice(int(np.searchsorted(at, first)), int(np.searchsorted(at, last, side="right")))
    when, rate = _days(at[rows]), rates[rows]
    axes.fill_between(when, rate, 0, where=rate > 0, facecolor="#d6e3ef", edgecolor=BLUE)
    axes.fill_between(
        when,
        rate,
        0,
        where=rate < 0,
        facecolor="white",
        edgecolor=BROWN,
        hatch="....",
        linewidth=0.8,
    )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("Rise (ft/h);\nbelow 0: fall")


def overlay(
    readings: pd.DataFrame,
    floods: pd.DataFrame,
    *,
    most: int = len(STYLES),
    align: Literal["peak", "start"] = "peak",
    before: float = 6.0,
    after: float = 18.0,
    title: str | None = None,
) -> CaptionedFigure:
    """Lay floods over each other, so that their shapes can be compared.

    Parameters
    ----------
    readings
        The readings that the floods were found in.
    floods
        What :func:`creeklab.creek.analysis.floods.find` gave, or some rows of it.
    most
        How many of them, the highest first, have a line of their own; those that are left are thin
        and grey.
    align
        Where hour 0 is.
    before, after
        Hours of the record to show before and after it.
    title
        Above the picture.

    Returns
    -------
    Picture
        Its numbers: ``floods``, and of each with a line of its own ``flood_<n>_peak_ft``. Its
        table is that of :func:`creeklab.creek.analysis.floods.overlay`.

    Raises
    ------
    ValueError
        There is no flood, or no such alignment.
    """
    laid = events.overlay(readings, floods, align=align, before=before, after=after)
    order = floods.sort_values("peak_ft", ascending=False, kind="stable")
    own = order.index[: min(most, len(STYLES))]
    title = title or f"{len(floods)} floods, laid over each other at their {align}"
    step = sampling_interval(seconds(measured_values(readings)[0]))
    figure, (axes,) = new_figure(4.6)
    for number, each in laid.groupby("flood"):
        if number not in own:
            axes.plot(*_broken(each, step), color="#9a9a9a", linewidth=0.5, zorder=1)
    for style, number in zip(STYLES, own, strict=False):
        hours, stage = _broken(laid[laid["flood"] == number], step)
        label = (
            f"{floods.loc[number, 'peak_time']:%Y-%m-%d}, {floods.loc[number, 'peak_ft']:.2f} ft"
        )
        axes.plot(
            hours,
            stage,
            linewidth=1.6,
            markersize=4.5,
            markevery=max(1, hours.size // 14),
            label=label,
            **style,
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.legend(loc="upper right", fontsize=8, title="Peak (UTC)", handlelength=4.5)
    axes.set_ylabel(STAGE_LABEL)
    axes.set_xlabel(f"Hours from the {'peak' if align == 'peak' else 'start'}")
    shown: Numbers = {"floods": len(floods)}
    shown |= {f"flood_{n}_peak_ft": float(floods.loc[n, "peak_ft"]) for n in own}
    peaks = [
        f"{floods.loc[n, 'peak_ft']:.2f} ft ({floods.loc[n, 'peak_time']:%Y-%m-%d})" for n in own
    ]
    words = f"{title}. With lines of their own: {join_words(peaks)}."
    if len(floods) > len(own):
        words += f" The other {len(floods) - len(own)} are thin and grey."
    rises = floods.loc[own, "rise_h"].dropna()
    if len(rises):
        words += f" From start to peak they took {rises.min():.1f} to {rises.max():.1f} hours."
    note = f"Floods alike in stage may differ in water. {STAGE_NOTE}"
    return finalize(
        figure, readings.attrs, title=title, words=words, numbers=shown, note=note, table=laid
    )


def _broken(one: pd.DataFrame, step: float) -> tuple[Floats, Floats]:
    """Give hours and stages of one flood, with a break where readings are missing."""
    hours, stage = one["hours"].to_numpy(), one["stage_ft"].to_numpy()
    after = np.flatnonzero(np.diff(hours) * HOUR > GAP_FACTOR * step) + 1
    return np.insert(hours, after, hours[after]), np.insert(stage, after, np.nan)


def rise_rates(
    readings: pd.DataFrame, floods: pd.DataFrame | None = None, *, title: str | None = None
) -> CaptionedFigure:
    """Draw how fast the creek rises: how often it rose at which rate.

    Parameters
    ----------
    readings
        A table of readings.
    floods
        What :func:`creeklab.creek.analysis.floods.find` gave: the steepest rise of each is marked.
    title
        Above the picture.

    Returns
    -------
    Picture
        Its numbers: ``rising_percent`` of the readings with a rate, how fast half, 90, 99 and 99.9
        percent of those that rise do at most (``p<percent>_ft_per_h``), ``fastest_ft_per_h`` and
        ``fastest_time``. Its table: ``from_ft_per_h``, ``to_ft_per_h`` and ``hours`` of each bar.

    Raises
    ------
    ValueError
        The readings are no table of readings, or never rise.
    """
    time, stage = measured_values(readings)
    at = seconds(time)
    rates = events.rise_rates(at, stage)
    told = ~np.isnan(rates)
    rising = np.flatnonzero(told & (rates > _RISING))
    if not rising.size:
        raise ValueError(f"This record never rises by {_RISING} ft/h: there is nothing to draw.")
    title = title or "How fast the creek rises"
    up = rates[rising]
    fastest = rising[int(np.argmax(up))]
    shown: Numbers = {"rising_percent": round(100 * rising.size / int(told.sum()), 2)}
    shown |= {f"p{p:g}_ft_per_h": float(np.percentile(up, p).round(2)) for p in _LIMITS}
    shown |= {
        "fastest_ft_per_h": float(round(rates[fastest], 2)),
        "fastest_time": moment(time[fastest]),
    }
    edges = np.geomspace(_RISING, max(float(up.max()) * 1.001, 2 * _RISING), 15)
    hours = np.histogram(up, edges)[0] * sampling_interval(at) / HOUR
    table = pd.DataFrame({"from_ft_per_h": edges[:-1], "to_ft_per_h": edges[1:], "hours": hours})
    figure, (axes,) = new_figure(4.2)
    axes.bar(
        edges[:-1], hours, np.diff(edges), align="edge", color=PALE, edgecolor=BLUE, hatch="///"
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    for p, style in zip((50.0, 99.0), (":", "--"), strict=True):
        rate = float(np.percentile(up, p))
        axes.axvline(rate, color="black", linestyle=style, label=f"{p:g} % rise slower: {rate:.2f}")
    words = (
        f"{title}: {shown['rising_percent']} % of the readings rise by more than {_RISING} ft/h;"
        f" of these half rise slower than {shown['p50_ft_per_h']} ft/h and 99 % slower than"
        f" {shown['p99_ft_per_h']}. The fastest was {shown['fastest_ft_per_h']} ft/h, on"
        f" {shown['fastest_time']}."
    )
    if floods is not None and len(floods):
        steepest = floods["rate_ft_per_h"].dropna()
        axes.plot(
            steepest,
            np.full(len(steepest), 0.04),
            "|",
            transform=axes.get_xaxis_transform(),
            color="black",
            markersize=14,
            label=f"steepest of each of {len(steepest)} floods",
        )
        middle = float(steepest.median())
        shown["median_flood_ft_per_h"] = round(middle, 2)
        words += (
            f" In half of the floods the steepest half hour rises faster than {middle:.2f} ft/h."
        )
    axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel("Rate of rise over half an hour (ft/h)")
    axes.set_ylabel("Hours in the record")
    note = (
        "A rate of stage belongs to this place, and does not tell how much water came: the same"
        " water rises slower where the creek is wider."
    )
    return finalize(
        figure, readings.attrs, title=title, words=words, numbers=shown, note=note, table=table
    )


def _second(time: pd.Timestamp) -> float:
    return time.timestamp()


def _days(at: Floats | list[float]) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """Give seconds since 1970 as what matplotlib takes for times."""
    return np.round(np.asarray(at) * 1e6).astype("datetime64[us]")
