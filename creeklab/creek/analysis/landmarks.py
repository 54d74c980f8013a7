"""Landmarks: what the stage means to somebody who stands beside the creek.

A landmark is a name and a stage: when the creek is that high, it is there. The published work
behind the course has nine of them, from the bank of Elkhorn Creek to the floor of the owner's
house (:data:`ELKHORN`). They are heights above the datum of *that* sensor on *that* farm: for any
other creek somebody has to walk along it, in a flood, with a pencil.

What a neighbour wants to know of a rising creek is how much time is left. With the stage and the
rate of rise of this moment the simplest forecast is a straight line: distance divided by rate
(:func:`forecast`). It is as good as creeks rise straight, which they do not: :func:`lead_times`
puts the forecast beside what happened in each recorded flood, the false alarms included.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from creeklab.creek.analysis.floods import rise_rates
from creeklab.creek.readings.time_series import (
    GAP_FACTOR,
    HOUR,
    measured_values,
    sampling_interval,
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
    """Put landmarks in order of height, or say what is wrong with one.

    Raises
    ------
    ValueError
        There is none, or the height of one is no number.
    """
    if not marks:
        raise ValueError("There is no landmark: give names and stages, such as {'Bank': 7.6}.")
    for name, height in marks.items():
        if isinstance(height, bool) or not isinstance(height, (int, float)):
            raise ValueError(f"The landmark {name!r} is at {height!r}, but it needs a stage in ft.")
        if not np.isfinite(height):
            raise ValueError(f"The landmark {name!r} is at {height} ft, which is nowhere.")
    return {name: float(height) for name, height in sorted(marks.items(), key=lambda m: m[1])}


def above(readings: pd.DataFrame, marks: Mapping[str, float]) -> pd.DataFrame:
    """Tell how long the creek was above each landmark.

    Parameters
    ----------
    readings
        A table of readings.
    marks
        The stage of each landmark, in feet above the datum of these readings.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``landmark``, the lowest first: ``landmark_ft``; ``hours`` above it, where a
        reading stands for the time until the next one, but never for a gap; ``percent`` of the
        measured time; ``times`` it went above; ``first`` and ``last`` reading above it (NaT where
        there is none); ``over_ft``, by how much at most (negative: by how much it stayed below).

    Raises
    ------
    ValueError
        A landmark has no height, or nothing was measured.
    """
    time, stage = measured_values(readings)
    at = seconds(time)
    step = sampling_interval(at)
    held = np.append(np.diff(at), step if at.size > 1 else 0.0)
    held[held > GAP_FACTOR * step] = step
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
    """Tell in how many hours each landmark would be reached if the creek kept rising like this.

    Parameters
    ----------
    stage_ft
        The stage now.
    rate_ft_per_h
        How fast it rises.
    marks
        The stage of each landmark.

    Returns
    -------
    pandas.Series
        Hours by landmark: 0 where it is reached, infinity where the creek does not rise, NaN
        where the rate is not known.
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
    """Tell how much time was left at the alert in each flood, and how much a straight line said.

    Parameters
    ----------
    readings
        The readings that the floods were found in.
    floods
        What :func:`creeklab.creek.analysis.floods.find` gave. One whose beginning was not seen
        (``begins``) gave no alert and is left out.
    marks
        The stage of each landmark; those not above the alert are left out.
    alert
        The stage at which somebody is told. Default: where a flood starts.

    Returns
    -------
    pandas.DataFrame
        One row for each flood that reached the alert and each landmark: ``flood``, ``landmark``,
        ``landmark_ft``, ``alert_time`` (first reading above the alert), ``stage_ft`` then,
        ``rate_ft_per_h`` over the half hour before
        (:func:`~creeklab.creek.analysis.floods.rise_rates`), ``forecast_h`` (:func:`forecast`),
        ``reached`` (whether the flood got there), ``reached_time`` (first reading at or above the
        landmark) and ``lead_h`` from alert to that.

    Raises
    ------
    ValueError
        The alert is below the start of a flood, a landmark has no height, or nothing was measured.
    """
    start = float(floods.attrs["start_ft"])
    alert = start if alert is None else alert
    if not alert >= start:
        raise ValueError(
            f"The alert is at {alert} ft, below {start} ft where these floods start: look for the"
            " floods with a lower start."
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
        # Far enough back for the rate of the last half hour.
        back = int(np.searchsorted(at, at[now] - 2 * HOUR))
        rate = float(rise_rates(at[back : now + 1], stage[back : now + 1])[-1])
        left = forecast(float(stage[now]), rate, higher) if higher else pd.Series(dtype="float64")
        for name, height in higher.items():
            there = np.flatnonzero(stage[now : last + 1] >= height)
            row = now + int(there[0]) if there.size else None
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
    table = pd.DataFrame(rows, columns=list(_LEAD_COLUMNS)).astype(_LEAD_COLUMNS)
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
