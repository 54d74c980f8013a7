"""Landmarks: what a stage means to someone standing beside the creek.

A landmark has a name and the stage at which the creek reaches it. The published work behind the
course has nine of them, from the bank of Elkhorn Creek to the floor of the owner's house
(:data:`ELKHORN`). They are heights above the datum of *that* sensor on *that* farm; for another
creek, someone must survey landmarks during a flood.

When a creek rises, its neighbors want to know how much time is left. The simplest forecast from the
current stage and rate of rise is a straight line: distance divided by rate (:func:`forecast`). It
is exact only if the creek rises in a straight line, which no creek does. :func:`lead_times`
compares the forecast with what happened in each recorded flood, including the false alarms.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from creeklab.creek.analysis.floods import rise_rates
from creeklab.creek.readings.time_series import (
    HOUR,
    hold_times,
    measured_values,
    seconds,
)

# Feet of depth at the sensor of Elkhorn Creek, from the published work behind the course.
ELKHORN: Mapping[str, float] = {
    "Bank": 7.6,
    "Tall Grass Edge": 10.7,
    "River Cut Across": 11.0,
    "Bird House": 12.7,
    "Garden Oak": 16.2,
    "Hawkins Driveway": 16.6,
    "Barn Pad": 16.9,
    "Barn Floor": 18.0,
    "House Floor": 23.0,
}


def check(marks: Mapping[str, float]) -> dict[str, float]:
    """Return landmarks in order of height, or raise an error that says what is wrong.

    Raises
    ------
    ValueError
        If there is no landmark, or a height is not a number.
    """
    if not marks:
        raise ValueError("There are no landmarks. Pass names and stages, such as {'Bank': 7.6}.")
    for name, height in marks.items():
        if isinstance(height, bool) or not isinstance(height, (int, float)):
            raise ValueError(f"The landmark {name!r} is at {height!r}. It must be a stage in feet.")
        if not np.isfinite(height):
            raise ValueError(f"The landmark {name!r} is at {height} ft, which is not a height.")
    return {name: float(height) for name, height in sorted(marks.items(), key=lambda m: m[1])}


def above(readings: pd.DataFrame, marks: Mapping[str, float]) -> pd.DataFrame:
    """Return how long the creek was above each landmark.

    Parameters
    ----------
    marks
        The stage of each landmark, in feet above the datum of these readings.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``landmark``, the lowest first: ``landmark_ft``; ``hours`` above it, where a
        reading stands for the time until the next one, but never for a gap; ``percent`` of the
        measured time; ``times`` it went above; ``first`` and ``last`` reading above it (NaT if
        there is none); ``over_ft``, the most that it was above (negative: how far it stayed below).

    Raises
    ------
    ValueError
        If a landmark has no height, or nothing was measured.
    """
    time, stage = measured_values(readings)
    at = seconds(time)
    held = hold_times(at)
    total, peak = float(held.sum()), float(stage.max())
    rows = []
    for height in check(marks).values():
        over = stage > height
        rows_over = np.flatnonzero(over)
        hours = float(held[over].sum()) / HOUR
        rows.append(
            {
                "landmark_ft": height,
                "hours": hours,
                "percent": 100 * hours * HOUR / total if total else 0.0,
                "times": int(np.count_nonzero(over & ~np.r_[False, over[:-1]])),
                "first": time[rows_over[0]] if rows_over.size else pd.NaT,
                "last": time[rows_over[-1]] if rows_over.size else pd.NaT,
                "over_ft": peak - height,
            }
        )
    table = pd.DataFrame(rows, index=pd.Index(check(marks), name="landmark"))
    for column in ("first", "last"):
        table[column] = pd.to_datetime(table[column], utc=True)
    return table


def forecast(stage_ft: float, rate_ft_per_h: float, marks: Mapping[str, float]) -> pd.Series:
    """Return the hours until the creek reaches each landmark if it keeps rising at this rate.

    Returns
    -------
    pandas.Series
        Hours by landmark: 0 if it is already reached, infinity if the creek does not rise, NaN if
        the rate is unknown.
    """
    heights = pd.Series(check(marks), name="hours").rename_axis("landmark")
    left = (heights - stage_ft).clip(lower=0)
    if rate_ft_per_h <= 0:
        return left.where(left == 0, np.inf)
    return left / rate_ft_per_h


def lead_times(
    readings: pd.DataFrame,
    floods: pd.DataFrame,
    marks: Mapping[str, float],
    *,
    alert: float | None = None,
) -> pd.DataFrame:
    """Return the time from the alert to each landmark in each flood, and the forecast of it.

    Parameters
    ----------
    floods
        Floods from :func:`creeklab.creek.analysis.floods.find`. A flood whose beginning was not
        observed (``begins``) gave no alert and is left out.
    marks
        The stage of each landmark; those not above the alert are left out.
    alert
        The stage at which people are alerted. Default: the start of a flood.

    Returns
    -------
    pandas.DataFrame
        One row for each flood that reached the alert and each landmark: ``flood``, ``landmark``,
        ``landmark_ft``, ``alert_time`` (first reading above the alert), ``stage_ft`` then,
        ``rate_ft_per_h`` over the half hour before
        (:func:`~creeklab.creek.analysis.floods.rise_rates`), ``forecast_h`` (:func:`forecast`),
        ``reached`` (whether the flood got there), ``reached_time`` (first reading at or above the
        landmark) and ``lead_h`` from the alert until then.

    Raises
    ------
    ValueError
        If the alert is below the start of a flood, a landmark has no height, or nothing was
        measured.
    """
    start = float(floods.attrs["start_ft"])
    alert = start if alert is None else alert
    if not alert >= start:
        raise ValueError(
            f"The alert is at {alert} ft, but these floods start at {start} ft. Find the floods"
            " with a lower start, or raise the alert."
        )
    higher = {name: height for name, height in check(marks).items() if height > alert}
    time, stage = measured_values(readings)
    at = seconds(time)
    seen = floods[floods["begins"] == "rise"]
    rows = []
    firsts = time.get_indexer(pd.DatetimeIndex(seen["start"]))
    lasts = time.get_indexer(pd.DatetimeIndex(seen["end"]))
    for flood, first, last in zip(seen.index, firsts, lasts, strict=True):
        over = np.flatnonzero(stage[first : last + 1] > alert)
        if not over.size:
            continue
        now = int(first + over[0])
        # Go far enough back for the rate of the last half hour.
        back = int(np.searchsorted(at, at[now] - 2 * HOUR))
        rate = float(rise_rates(at[back : now + 1], stage[back : now + 1])[-1])
        left = forecast(float(stage[now]), rate, higher) if higher else pd.Series(dtype="float64")
        for name, height in higher.items():
            above_it = np.flatnonzero(stage[now : last + 1] >= height)
            row = now + int(above_it[0]) if above_it.size else None
            rows.append(
                {
                    "flood": flood,
                    "landmark": name,
                    "landmark_ft": height,
                    "alert_time": time[now],
                    "stage_ft": float(stage[now]),
                    "rate_ft_per_h": rate,
                    "forecast_h": left[name],
                    "reached": row is not None,
                    "reached_time": pd.NaT if row is None else time[row],
                    "lead_h": np.nan if row is None else (at[row] - at[now]) / HOUR,
                }
            )
    table = pd.DataFrame(rows, columns=list(_LEAD_COLUMNS))
    # A column with nothing but NaT has no zone.
    table["reached_time"] = pd.to_datetime(table["reached_time"], utc=True)
    table = table.astype(_LEAD_COLUMNS)
    table.attrs = {"alert_ft": alert}
    return table


_LEAD_COLUMNS = {
    "flood": "int64",
    "landmark": "str",
    "landmark_ft": "float64",
    "alert_time": "datetime64[us, UTC]",
    "stage_ft": "float64",
    "rate_ft_per_h": "float64",
    "forecast_h": "float64",
    "reached": "bool",
    "reached_time": "datetime64[us, UTC]",
    "lead_h": "float64",
}
