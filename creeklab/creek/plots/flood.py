"""Floods: a single one in detail, several aligned, and how fast the creek rises."""

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
    STAGE_NOTE,
    STYLES,
    CaptionedFigure,
    Floats,
    Numbers,
    clip,
    draw_levels,
    draw_line,
    duration_text,
    finalize,
    hatch_gaps,
    join_words,
    landmark_text,
    new_figure,
    time_axis,
    valid,
)
from creeklab.creek.readings.display import DEFAULT, Display
from creeklab.creek.readings.time_series import (
    HOUR,
    gaps,
    hold_times,
    is_gap,
    measured_values,
    seconds,
    to_datetimes,
)

_MIN_RISE = 0.05  # ft/h: more than two steps per half hour of a gage that reads in hundredths
_UNOBSERVED = {"record": "it lies before the record", "gap": "it lies in a gap"}
_PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def flood_page(
    readings: pd.DataFrame,
    floods: pd.DataFrame,
    number: int,
    *,
    marks: Mapping[str, float] | None = None,
    before: float = 4.0,
    after: float = 8.0,
    display: Display = DEFAULT,
) -> CaptionedFigure:
    """Draw one flood: its rise, peak and recession, and how fast it rose and fell.

    Parameters
    ----------
    floods
        Floods from :func:`creeklab.creek.analysis.floods.find`.
    number
        The number of the flood.
    marks
        Landmarks: a name and a stage each. The table says when the flood reached them.
    before, after
        Hours of the record to show before its start and after its end.
    display
        Time zone and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers are those of the flood in ``floods``, its ``rank`` by peak, and ``floods``, the
        number of floods. Its table has one row per landmark: ``landmark_ft``, ``reached`` (first
        time), ``hours`` above it in this flood and ``after_start_h``.

    Raises
    ------
    ValueError
        If there is no such flood.
    """
    if number not in floods.index:
        raise ValueError(f"There is no flood {number} among these {len(floods)} floods.")
    flood = floods[floods.index == number].iloc[0]
    time, stage = measured_values(readings)
    at = seconds(time)
    start, peak, end = (flood[name].timestamp() for name in ("start", "peak_time", "end"))
    part = clip(readings, start - before * HOUR, end + after * HOUR)
    rank = int((floods["peak_ft"] > flood["peak_ft"]).sum()) + 1
    day = display.local(flood["peak_time"])
    title = f"Flood {number}, {day:%B} {day.day}, {day.year}: {display.stage(flood['peak_ft'])}"
    own = {str(name): value for name, value in flood.items()}
    shown = valid({"rank": rank, "floods": len(floods), **own})
    table = _landmark_times(at, stage, start, end, marks) if marks else None
    description = _describe(flood, rank, len(floods), table, display)

    figure, (top, bottom) = new_figure(6.4, [5, 2])
    when, heights = measured_values(part)
    draw_line(top, when, display.convert(heights), BLUE)
    hatch_gaps(top, gaps(part))
    starts, ends = float(floods.attrs["start_ft"]), float(floods.attrs["end_ft"])
    top.axvspan(*_datetimes([start, end]), facecolor="#eef3f8", edgecolor="none", zorder=0)
    half = peak + float(flood["half_life_h"]) * HOUR
    points = [
        ("starts", start, "^", flood["begins"] == "rise"),
        ("peak", peak, "o", True),
        ("half gone", half, "D", not np.isnan(half)),
        ("ends", end, "v", flood["ends"] == "fall"),
    ]
    for name, second, marker, seen in points:
        if seen:
            height = display.convert(float(np.interp(second, at, stage)))
            top.plot(
                _datetimes([second]),
                [height],
                marker,
                color="black",
                markersize=7,
                label=name,
                zorder=5,
            )
    top.legend(loc="upper right", fontsize=8)
    top.set_ylabel(display.label)
    draw_levels(top, {"flood starts": starts, "flood ends": ends, **(marks or {})}, display)
    _rates(bottom, at, stage, (when[0].timestamp(), when[-1].timestamp()), display)
    time_axis(bottom, when, display)
    note = (
        f"Rates are over half an hour. {STAGE_NOTE} The stage does not tell why the creek rose or"
        " how much water that was."
    )
    return finalize(figure, readings.attrs, title, description, shown, note=note, table=table)


def _describe(
    flood: pd.Series, rank: int, count: int, table: pd.DataFrame | None, display: Display
) -> str:
    place = "the highest" if rank == 1 else f"number {rank} in height"
    sentences = [f"Flood {flood.name}, {place} of {count}."]
    peak = f"{display.stage(flood['peak_ft'])}, on {display.time(flood['peak_time'])}."
    if flood["begins"] != "rise":
        sentences.append(
            f"Its start was not observed: {_UNOBSERVED[flood['begins']]}. The highest measured"
            f" stage is {peak}"
        )
    elif np.isnan(flood["rate_ft_per_h"]):
        sentences.append(f"It starts on {display.time(flood['start'])} and peaks at {peak}")
    else:
        sentences.append(
            f"It starts on {display.time(flood['start'])}, rises by up to"
            f" {display.rate(flood['rate_ft_per_h'])} and peaks"
            f" {duration_text(flood['rise_h'])} later at {peak}"
        )
    if not np.isnan(flood["half_life_h"]):
        sentences.append(
            f"Half of its height is gone {duration_text(flood['half_life_h'])} after the peak."
        )
    if flood["ends"] == "fall":
        sentences.append(
            f"It ends on {display.time(flood['end'])}, after {flood['duration_h']:.1f} hours."
        )
    else:
        sentences.append(
            f"Its end was not observed: it lasted at least {flood['duration_h']:.1f} hours."
        )
    if table is not None:
        parts = [
            f"{landmark_text(str(name), each['landmark_ft'], display)} after"
            f" {duration_text(each['after_start_h'])}"
            for name, each in table.dropna(subset="reached").iterrows()
        ]
        sentences.append(f"It reaches {join_words(parts)}." if parts else "It reaches no landmark.")
    return " ".join(sentences)


def _landmark_times(
    at: Floats, stage: Floats, start: float, end: float, marks: Mapping[str, float]
) -> pd.DataFrame:
    rows = slice(int(np.searchsorted(at, start)), int(np.searchsorted(at, end, side="right")))
    own, heights = at[rows], stage[rows]
    held = hold_times(at)[rows]
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


def _rates(
    axes: Axes, at: Floats, stage: Floats, span: tuple[float, float], display: Display
) -> None:
    rates = display.convert(events.rise_rates(at, stage))
    first, last = span
    rows = slice(int(np.searchsorted(at, first)), int(np.searchsorted(at, last, side="right")))
    when, rate = _datetimes(at[rows]), rates[rows]
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
    axes.set_ylabel(f"Rise ({display.unit}/h);\nbelow 0: fall")


def overlay(
    readings: pd.DataFrame,
    floods: pd.DataFrame,
    *,
    max_lines: int = len(STYLES),
    align: Literal["peak", "start"] = "peak",
    before: float = 6.0,
    after: float = 18.0,
    title: str | None = None,
    display: Display = DEFAULT,
) -> CaptionedFigure:
    """Draw floods on top of each other, so that their shapes can be compared.

    Parameters
    ----------
    floods
        Floods from :func:`creeklab.creek.analysis.floods.find`, or some rows of them.
    max_lines
        How many floods, the highest first, get a line of their own; the others are thin and gray.
    align
        The time of hour 0.
    before, after
        Hours of the record to show before and after it.
    display
        Time zone and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``floods``, and for each line ``flood_<n>_peak_ft``. Its table is that of
        :func:`creeklab.creek.analysis.floods.overlay`.

    Raises
    ------
    ValueError
        If there is no flood, or no such alignment.
    """
    aligned = events.overlay(readings, floods, align=align, before=before, after=after)
    order = floods.sort_values("peak_ft", ascending=False, kind="stable")
    own = order.index[: min(max_lines, len(STYLES))]
    title = title or f"{len(floods)} floods, aligned at their {align}"
    figure, (axes,) = new_figure(4.6)
    for number, each in aligned.groupby("flood"):
        if number not in own:
            axes.plot(*_broken(each, display), color="#9a9a9a", linewidth=0.5, zorder=1)
    for style, number in zip(STYLES, own, strict=False):
        hours, stage = _broken(aligned[aligned["flood"] == number], display)
        label = (
            f"{display.day(floods.loc[number, 'peak_time'])},"
            f" {display.stage(floods.loc[number, 'peak_ft'])}"
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
    axes.legend(loc="upper right", fontsize=8, title=f"Peak ({display.zone})", handlelength=4.5)
    axes.set_ylabel(display.label)
    axes.set_xlabel(f"Hours from the {'peak' if align == 'peak' else 'start'}")
    shown: Numbers = {"floods": len(floods)}
    shown |= {f"flood_{n}_peak_ft": float(floods.loc[n, "peak_ft"]) for n in own}
    peaks = [
        f"{display.stage(floods.loc[n, 'peak_ft'])} ({display.day(floods.loc[n, 'peak_time'])})"
        for n in own
    ]
    description = f"{title}. The highest: {join_words(peaks)}."
    if len(floods) > len(own):
        description += f" The other {len(floods) - len(own)} are thin and gray."
    rises = floods.loc[own, "rise_h"].dropna()
    if len(rises):
        description += (
            f" They took {rises.min():.1f} to {rises.max():.1f} hours from start to peak."
        )
    note = f"Floods with equal stages may carry different amounts of water. {STAGE_NOTE}"
    return finalize(figure, readings.attrs, title, description, shown, note=note, table=aligned)


def _broken(one: pd.DataFrame, display: Display) -> tuple[Floats, Floats]:
    """Return hours and stages of one flood, with a break where readings are missing."""
    hours, stage = one["hours"].to_numpy(), display.convert(one["stage_ft"].to_numpy())
    after = np.flatnonzero(is_gap(hours * HOUR)) + 1
    return np.insert(hours, after, hours[after]), np.insert(stage, after, np.nan)


def rise_rates(
    readings: pd.DataFrame, floods: pd.DataFrame | None = None, *, title: str | None = None
) -> CaptionedFigure:
    """Draw how fast the creek rises: the hours that it spent rising at each rate.

    Parameters
    ----------
    floods
        Floods from :func:`creeklab.creek.analysis.floods.find`; the steepest rise of each is
        marked.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``rising_percent`` of the readings with a rate; the rates below which 50, 90,
        99 and 99.9 percent of the rising ones lie (``p<percent>_ft_per_h``); ``fastest_ft_per_h``
        and ``fastest_time``. Its table: ``from_ft_per_h``, ``to_ft_per_h`` and ``hours`` of each
        bar.

    Raises
    ------
    ValueError
        If this is not a table of readings, or the stage never rises.
    """
    time, stage = measured_values(readings)
    at = seconds(time)
    rates = events.rise_rates(at, stage)
    known = ~np.isnan(rates)
    rising = np.flatnonzero(known & (rates > _MIN_RISE))
    if not rising.size:
        raise ValueError(
            f"This record never rises by {_MIN_RISE} ft/h, so there is nothing to draw."
        )
    title = title or "How fast the creek rises"
    up = rates[rising]
    fastest = rising[int(np.argmax(up))]
    shown: Numbers = {"rising_percent": round(100 * rising.size / int(known.sum()), 2)}
    shown |= {f"p{p:g}_ft_per_h": float(np.percentile(up, p).round(2)) for p in _PERCENTILES}
    shown |= {
        "fastest_ft_per_h": float(round(rates[fastest], 2)),
        "fastest_time": DEFAULT.time(time[fastest]),
    }
    edges = np.geomspace(_MIN_RISE, max(float(up.max()) * 1.001, 2 * _MIN_RISE), 15)
    hours = np.histogram(up, edges, weights=hold_times(at)[rising] / HOUR)[0]
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
        axes.axvline(
            rate, color="black", linestyle=style, label=f"{p:g}% rise more slowly: {rate:.2f}"
        )
    description = (
        f"{title}: in {shown['rising_percent']}% of the readings, the creek rises by more than"
        f" {_MIN_RISE} ft/h; half of these rise more slowly than {shown['p50_ft_per_h']} ft/h, and"
        f" 99% more slowly than {shown['p99_ft_per_h']}. The fastest rise was"
        f" {shown['fastest_ft_per_h']} ft/h, on {shown['fastest_time']}."
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
            label=f"steepest rise of each of {len(steepest)} floods",
        )
        middle = float(steepest.median())
        shown["median_flood_ft_per_h"] = round(middle, 2)
        description += (
            f" In half of the floods, the steepest half hour rises faster than {middle:.2f} ft/h."
        )
    axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel("Rate of rise over half an hour (ft/h)")
    axes.set_ylabel("Hours in the record")
    note = (
        "These rates apply to this place only, and do not tell how much water came: the same water"
        " rises more slowly where the creek is wider."
    )
    return finalize(figure, readings.attrs, title, description, shown, note=note, table=table)


def _datetimes(at: Floats | list[float]) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    """Return seconds since 1970 as times for matplotlib."""
    return np.round(np.asarray(at) * 1e6).astype("datetime64[us]")
