"""Several gages, several years, and rain: what a single line of stage does not show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from creeklab.creek.plots.figure_style import (
    BLUE,
    STAGE_NOTE,
    STYLES,
    CaptionedFigure,
    Numbers,
    draw_line,
    finalize,
    join_words,
    new_figure,
    plural,
    time_axis,
)
from creeklab.creek.readings.display import DEFAULT, Display
from creeklab.creek.readings.samples import numbers, times
from creeklab.creek.readings.time_series import measured_values

RAIN = "precipitation_in"


def gages(
    records: Mapping[str, pd.DataFrame], *, title: str | None = None, display: Display = DEFAULT
) -> CaptionedFigure:
    """Draw the rise of several gages over the same time, each above its own median.

    A stage belongs to its gage's datum, so stages of different gages cannot be compared. How far
    each creek rises above its own median can.

    Parameters
    ----------
    records
        A name and a table of readings for each gage; at most six.
    display
        Time zone and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers, for each gage: ``<name>_median_ft`` and ``<name>_rise_ft``, the highest rise
        above it.

    Raises
    ------
    ValueError
        If there are fewer than two gages or more than six.
    """
    if not 2 <= len(records) <= len(STYLES):
        raise ValueError(f"Pass two to {len(STYLES)} gages, not {len(records)}.")
    title = title or f"{len(records)} gages, each above its own median"
    figure, (axes,) = new_figure(4.6)
    shown: Numbers = {}
    parts, spans = [], []
    for style, (name, readings) in zip(STYLES, records.items(), strict=False):
        time, stage = measured_values(readings)
        median, peak = float(np.median(stage)), int(stage.argmax())
        rise = display.convert(stage - median)
        draw_line(axes, time, rise, str(style["color"]))
        axes.lines[-1].set(linestyle=style["linestyle"], label=name)
        shown |= {
            f"{name}_median_ft": round(median, 3),
            f"{name}_rise_ft": round(float(stage[peak]) - median, 3),
        }
        highest = display.stage(float(stage[peak]) - median)
        parts.append(f"{name} by {highest} ({display.time(time[peak])})")
        spans.append(time[[0, -1]])
    axes.legend(loc="upper right", fontsize=8, handlelength=4)
    axes.set_ylabel(f"Rise above the gage's median ({display.unit})")
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    time_axis(axes, pd.DatetimeIndex([first, last]), display)
    description = f"{title}. The highest rise: {join_words(parts)}."
    attrs = {}
    for key in ("site", "source", "license"):
        stated = [str(each.attrs[key]) for each in records.values() if key in each.attrs]
        if stated:
            attrs[key] = "; ".join(dict.fromkeys(stated))
    return finalize(figure, attrs, title, description, shown)


def years(
    readings: pd.DataFrame, *, title: str | None = None, display: Display = DEFAULT
) -> CaptionedFigure:
    """Draw the highest stage of each day, with the calendar years on top of each other.

    Parameters
    ----------
    display
        Time zone, in which days and years begin, and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``years``, and for each of them ``<year>_highest_ft`` and ``<year>_days`` with
        a reading. Its table: the highest stage by day of the year (rows) and year (columns).

    Raises
    ------
    ValueError
        If the record has more than six years.
    """
    time, stage = measured_values(readings)
    local = time.tz_convert(display.zone)
    by_day = pd.Series(stage).groupby([np.asarray(local.day_of_year), np.asarray(local.year)]).max()
    table = by_day.unstack()
    table.index.name, table.columns.name = "day of the year", "year"
    if len(table.columns) > len(STYLES):
        raise ValueError(
            f"The record has {len(table.columns)} years, and {len(STYLES)} lines can be told"
            " apart. Pass a part of it."
        )
    table = table.reindex(range(1, 367))
    title = title or f"The highest stage of each day in {plural(len(table.columns), 'year')}"
    figure, (axes,) = new_figure(4.6)
    shown: Numbers = {"years": len(table.columns)}
    for style, year in zip(STYLES, table, strict=False):
        column = table[year]
        shown |= {
            f"{year}_highest_ft": float(column.max()),
            f"{year}_days": int(column.notna().sum()),
        }
        axes.plot(
            table.index,
            display.convert(column.to_numpy()),
            linewidth=1.3,
            markevery=30,
            markersize=4.5,
            label=str(year),
            **style,
        )
    firsts = pd.date_range("2018-01-01", periods=12, freq="MS")
    axes.set_xticks(firsts.day_of_year, [f"{day:%b}" for day in firsts])
    axes.set_xlim(1, 366)
    axes.set_ylabel(display.label)
    axes.set_xlabel(f"Day of the year ({display.zone})")
    axes.legend(loc="upper right", fontsize=8, handlelength=4)
    peaks = [f"{display.stage(float(table[year].max()))} in {year}" for year in table]
    description = f"{title}. The highest: {join_words(peaks)}."
    return finalize(figure, readings.attrs, title, description, shown, table=table)


def rain_and_stage(
    readings: pd.DataFrame,
    rain: pd.DataFrame | None = None,
    *,
    title: str | None = None,
    display: Display = DEFAULT,
) -> CaptionedFigure:
    """Draw rain above the stage, so that the time from the rain to the rise can be seen.

    Parameters
    ----------
    rain
        A table indexed by time (with a zone) with a column ``precipitation_in``, the rain since the
        row before; None takes it from the readings.
    display
        Time zone and unit to show; rain is in millimeters if metric.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``rain_in`` in total, ``wettest_hour_in`` and ``wettest_hour``, ``peak_ft`` and
        ``peak_time``, and ``lag_h`` from the wettest hour's end to the peak if the peak came after
        it. Its table: rain by hour.

    Raises
    ------
    ValueError
        If there is no such column, or no rain was measured in the time of the readings.
    """
    time, stage = measured_values(readings)
    source = readings if rain is None else rain
    fell = pd.Series(numbers(source, RAIN), index=times(source))
    fell = fell[(fell.index >= time[0]) & (fell.index <= time[-1])].dropna()
    if fell.empty:
        raise ValueError("No rain was measured between the first and the last reading.")
    hourly = fell.resample("1h").sum()
    wettest = int(hourly.to_numpy().argmax())
    hours = pd.DatetimeIndex(hourly.index)
    hour, peak = hours[wettest], int(stage.argmax())
    end = hour + pd.Timedelta("1h")
    total, most = float(fell.sum()), float(hourly.iloc[wettest])
    shown: Numbers = {
        "rain_in": round(total, 3),
        "wettest_hour_in": round(most, 3),
        "wettest_hour": DEFAULT.time(hour),
        "peak_ft": float(stage[peak]),
        "peak_time": DEFAULT.time(time[peak]),
    }
    factor, unit = (25.4, "mm") if display.metric else (1.0, "in")
    title = title or "Rain, and the stage after it"
    description = (
        f"{title}: {total * factor:.2f} {unit} of rain, {most * factor:.2f} {unit} of it in the"
        f" hour from {display.time(hour)}. The creek peaks at {display.stage(stage[peak])} on"
        f" {display.time(time[peak])}"
    )
    if time[peak] > end:
        lag = (time[peak] - end).total_seconds() / 3600
        shown["lag_h"] = round(lag, 2)
        description += f", {lag:.1f} hours after that hour"
    figure, (top, bottom) = new_figure(5.4, [1, 2])
    top.bar(
        hours.tz_localize(None).to_numpy(dtype="datetime64[us]"),
        hourly.to_numpy() * factor,
        np.timedelta64(3600, "s"),
        align="edge",
        facecolor="white",
        edgecolor=BLUE,
        hatch="////",
    )
    top.invert_yaxis()
    top.set_ylabel(f"Rain ({unit}/h)")
    draw_line(bottom, time, display.convert(stage), "black")
    bottom.set_ylabel(display.label)
    time_axis(bottom, time, display)
    table = hourly.to_frame("rain_in").rename_axis("hour")
    note = f"Rain at one place is not the rain on the whole creek. {STAGE_NOTE}"
    return finalize(figure, readings.attrs, title, f"{description}.", shown, note=note, table=table)
