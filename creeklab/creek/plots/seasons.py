"""The year and the day of a creek: a calendar of its stage, and the cycles of its temperature."""

from __future__ import annotations

import calendar as month_names

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.colors import BoundaryNorm
from matplotlib.patches import Patch, Rectangle

from creeklab.creek.plots.figure_style import (
    BLUE,
    STYLES,
    CaptionedFigure,
    Floats,
    Numbers,
    finalize,
    join_words,
    new_figure,
)
from creeklab.creek.readings.display import DEFAULT, Display
from creeklab.creek.readings.samples import times
from creeklab.creek.readings.time_series import hold_times, measured_values, seconds

_DAY = 86400.0
_COMPLETE_SHARE = 0.9  # A day with fewer readings is partly missing.
_QUARTERS = ("Dec to Feb", "Mar to May", "Jun to Aug", "Sep to Nov")


def calendar(
    readings: pd.DataFrame,
    threshold: float | None = None,
    *,
    title: str | None = None,
    display: Display = DEFAULT,
) -> CaptionedFigure:
    """Draw the highest stage of each day, with one row per month.

    Parameters
    ----------
    threshold
        Days above it, in feet, are marked with a dot.
    display
        Time zone and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``days`` with a reading, ``days_missing`` without, ``days_partly_missing``,
        ``highest_day`` and ``highest_ft``, and with a threshold ``days_above``. Its table has, for
        each month, ``days`` with a reading, ``median_ft`` and ``highest_ft`` of their maxima, and
        ``days_above``.
    """
    time, stage = measured_values(readings)
    time, every = time.tz_convert(display.zone), times(readings).tz_convert(display.zone)
    held = hold_times(seconds(time)) if time.size > 1 else np.array([_DAY])
    by_day = pd.DataFrame({"stage": stage, "held": held}, index=time).resample("D")
    daily = by_day.agg({"stage": "max", "held": "sum"})
    days = pd.date_range(every[0].normalize(), every[-1].normalize(), freq="D")
    daily = daily.reindex(days)
    highest = daily["stage"].to_numpy(dtype=np.float64)
    part = daily["held"].fillna(0).to_numpy() < _COMPLETE_SHARE * _DAY
    gone = np.isnan(highest)
    above = highest > threshold if threshold is not None else np.zeros(highest.size, dtype=bool)
    title = title or "The highest stage of each day"

    year, month = np.asarray(days.year), np.asarray(days.month)
    row = (year - year[0]) * 12 + month - month[0]
    column = np.asarray(days.day) - 1
    grid = np.full((int(row[-1]) + 1, 31), np.nan)
    grid[row, column] = display.convert(highest)
    figure, (axes,) = new_figure(max(3.6, 1.9 + 0.165 * len(grid)))
    axes.grid(visible=False)
    shades = display.convert(highest)
    classes = np.unique(np.nanquantile(shades, [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 1]).round(2))
    if classes.size < 2:
        classes = np.array([classes[0], classes[0] + 0.01])
    image = axes.pcolormesh(
        np.arange(32) + 0.5,
        np.arange(len(grid) + 1) - 0.5,
        grid,
        cmap="Blues",
        norm=BoundaryNorm(list(classes), 256),
        edgecolor="white",
        linewidth=0.5,
    )
    for number in np.flatnonzero(gone | part):
        axes.add_patch(
            Rectangle(
                (int(column[number]) + 0.5, row[number] - 0.5),
                1,
                1,
                facecolor="none",
                edgecolor="#6b6b6b",
                hatch="xxxx" if gone[number] else "//",
                linewidth=0,
            )
        )
    dots = np.flatnonzero(above)
    axes.plot(
        column[dots] + 1, row[dots], "o", color="black", markeredgecolor="white", markersize=5
    )
    axes.set_ylim(len(grid) - 0.5, -0.5)
    axes.set_yticks(range(len(grid)), _month_names(days))
    axes.set_xticks([1, 5, 10, 15, 20, 25, 31])
    axes.set_xlabel(f"Day of the month ({display.zone})")
    axes.tick_params(length=0, labelsize=8)
    axes.spines[["left", "bottom"]].set_visible(False)
    bar = figure.colorbar(image, ax=axes, ticks=classes, aspect=40, pad=0.01, spacing="uniform")
    bar.set_label(f"Highest stage of the day ({display.unit})")
    key: list[Artist] = [
        Patch(facecolor="white", edgecolor="#6b6b6b", hatch="xxxx", label="nothing measured"),
        Patch(facecolor="white", edgecolor="#6b6b6b", hatch="//", label="partly missing"),
    ]
    if threshold is not None:
        key += axes.plot([], [], "o", color="black", label=f"above {display.stage(threshold, 'g')}")
    figure.legend(handles=key, loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    period = days.tz_localize(None).to_period("M")
    table = (
        pd.DataFrame({"days": ~gone, "stage": highest, "above": above})
        .groupby(pd.Index(period, name="month"))
        .agg(
            days=("days", "sum"),
            median_ft=("stage", "median"),
            highest_ft=("stage", "max"),
            days_above=("above", "sum"),
        )
    )
    top = int(np.nanargmax(highest))
    shown: Numbers = {
        "days": int((~gone).sum()),
        "days_missing": int(gone.sum()),
        "days_partly_missing": int((part & ~gone).sum()),
        "highest_day": f"{days[top]:%Y-%m-%d}",
        "highest_ft": float(highest[top]),
    }
    description = (
        f"{title}, {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}: the highest of {shown['days']} days"
        f" is {shown['highest_day']}, with {display.stage(highest[top])}; on half of the days,"
        f" the stage stays below {display.stage(np.nanmedian(highest))}. Nothing was measured on"
        f" {shown['days_missing']} days (hatched), and {shown['days_partly_missing']} days are"
        " partly missing."
    )
    if threshold is not None:
        shown["days_above"] = int(above.sum())
        description += (
            f" The stage exceeds {display.stage(threshold, 'g')} on {int(above.sum())} days (dots)."
        )
        if above.any():
            wettest = pd.Series(above).groupby(month).sum()
            name = month_names.month_name[int(wettest.index[int(wettest.argmax())])]
            description += f" {name} has most of them."
    return finalize(figure, readings.attrs, title, description, shown, table=table)


def _month_names(days: pd.DatetimeIndex) -> list[str]:
    months = pd.period_range(days[0].tz_localize(None), days[-1].tz_localize(None), freq="M")
    return [
        f"{each:%Y  %b}" if each.month == 1 or not number else f"{each:%b}"
        for number, each in enumerate(months)
    ]


def temperature_cycles(
    readings: pd.DataFrame,
    column: str | None = None,
    *,
    zone: str = "UTC",
    title: str | None = None,
) -> CaptionedFigure:
    """Draw how a temperature changes over the year and over the day.

    The upper panel shows the median of each month and the range between its lowest and highest
    tenth. The lower panel shows the difference from the mean of the day at each hour, by season; it
    uses only days of which at least nine tenths were measured.

    Parameters
    ----------
    column
        The temperature; default: the first column whose name ends in ``temperature_degC``.
    zone
        The time zone of the hours and days, because the sun follows local time.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``coldest_month`` and ``warmest_month`` (by median) with their ``_degC``, and
        for each season that has days ``swing_<season>_degC``, from the coldest to the warmest hour,
        and ``warmest_hour_<season>``. Its table: for each month ``low_degC``, ``median_degC``,
        ``high_degC`` and ``readings``.

    Raises
    ------
    ValueError
        If there is no such temperature, or nothing of it was measured.
    """
    if column is None:
        found = [str(c) for c in readings if str(c).endswith("temperature_degC")]
        if not found:
            raise ValueError(
                "These readings have no temperature: no column ends in temperature_degC."
            )
        column = found[0]
    utc, values = measured_values(readings, column)
    time = utc.tz_convert(zone)
    name = column.removesuffix("_degC").replace("_", " ")
    title = title or f"The {name} over the year and the day"
    by_month = pd.Series(values).groupby(np.asarray(time.month))
    table = by_month.quantile(np.array([0.1, 0.5, 0.9])).unstack()
    table.columns = pd.Index(["low_degC", "median_degC", "high_degC"])
    table["readings"] = by_month.size()
    table.index.name = "month"
    middle = table["median_degC"]
    cold, warm = (int(table.index[int(row)]) for row in (middle.argmin(), middle.argmax()))
    shown: Numbers = {
        "coldest_month": month_names.month_name[cold],
        "coldest_month_degC": round(float(middle[cold]), 2),
        "warmest_month": month_names.month_name[warm],
        "warmest_month_degC": round(float(middle[warm]), 2),
    }
    description = (
        f"{title}: {shown['coldest_month']} is coldest (median {middle[cold]:.1f} °C),"
        f" {shown['warmest_month']} warmest ({middle[warm]:.1f} °C)."
    )
    figure, (top, bottom) = new_figure(6.2, [1, 1], share=False)
    rows = table.reindex(range(1, 13))
    top.fill_between(
        rows.index,
        rows["low_degC"].to_numpy(dtype=np.float64),
        rows["high_degC"].to_numpy(dtype=np.float64),
        facecolor="#e4ecf4",
        edgecolor=BLUE,
        hatch="///",
        linewidth=0.6,
        label="8 of 10 readings",
    )
    top.plot(rows.index, rows["median_degC"], "o-", color="black", label="median")
    top.set_xticks(range(1, 13), [month_names.month_abbr[m] for m in range(1, 13)])
    top.set_xlim(0.5, 12.5)
    top.set_ylabel(f"{name.capitalize()} (°C)")
    top.legend(loc="upper left", fontsize=8)
    swings = []
    for style, (season, hourly) in zip(STYLES, _diel(time, values).items(), strict=False):
        key = season.replace(" ", "_").lower()
        swing, hour = float(np.ptp(hourly)), int(np.argmax(hourly))
        shown |= {f"swing_{key}_degC": round(swing, 2), f"warmest_hour_{key}": hour}
        swings.append(f"{swing:.1f} °C in {season} (warmest at {hour}:00)")
        bottom.plot(np.arange(24), hourly, markersize=4, label=season, **style)
    bottom.axhline(0, color="black", linewidth=0.8)
    bottom.set_xticks(range(0, 25, 3))
    bottom.set_xlabel(f"Hour of the day ({zone})")
    bottom.set_ylabel("Difference from\nthe mean of the day (°C)")
    if swings:
        bottom.legend(loc="upper left", fontsize=8, ncols=2, handlelength=4)
        description += (
            f" The average swing from the coldest to the warmest hour is {join_words(swings)}."
        )
    else:
        description += " No season has enough complete days to show a daily swing."
    note = f"This is the {name} at the thermometer, which is not the temperature anywhere else."
    return finalize(figure, readings.attrs, title, description, shown, note=note, table=table)


def _diel(time: pd.DatetimeIndex, values: Floats) -> dict[str, Floats]:
    """Return, for each season, 24 mean differences from the mean of the day."""
    day = time.tz_localize(None).to_numpy(dtype="datetime64[D]")
    at = seconds(time)
    table = pd.DataFrame({"day": day, "value": values, "hour": np.asarray(time.hour)})
    table["held"] = hold_times(at)
    by_day = table.groupby("day")["value"]
    table["value"] -= by_day.transform("mean")
    table["quarter"] = np.asarray(time.month) % 12 // 3
    kept = table[table.groupby("day")["held"].transform("sum") >= _COMPLETE_SHARE * _DAY]
    cycles = {}
    for quarter, each in kept.groupby("quarter"):
        hourly = each.groupby("hour")["value"].mean()
        if len(hourly) == 24:
            cycles[_QUARTERS[int(str(quarter))]] = hourly.to_numpy(dtype=np.float64)
    return cycles
