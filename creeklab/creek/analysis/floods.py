"""Floods as events: when the creek rose above one stage until it fell below a lower one.

Two thresholds instead of one (hysteresis) keep a creek that hovers about a threshold from having a
flood every five minutes. The published work behind the course starts a flood above 2.5 ft and ends
it below 1.75 ft. Those two numbers are the Elkhorn's, above the Elkhorn's datum: another creek has
its own, and a creek whose sensor was re-installed has new ones.

Only measured readings count. Between two of them nobody knows what the creek did, so a gap never
starts, ends or tops a flood, and a peak is the highest stage that was *measured*. By default a gap
is bridged: a flood before it goes on after it, if the first reading after it has not fallen below
the end. ``bridge`` says how long a gap may be for that; a longer one ends the flood, and if the
stage after it still is above the start, another flood begins there. On Plumtree Run's three years
bridging makes 74 floods, and so does ending at every gap: none of its gaps lies in a flood.

Every event says what began it (a rise, or that the record or what follows a gap begins in a flood)
and what ended it. Only one that a rise began and a fall ended was seen whole.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.readings.time_series import (
    GAP_FACTOR,
    HOUR,
    measured_values,
    sampling_interval,
    seconds,
)

START_FT, END_FT = 2.5, 1.75  # the Elkhorn's, from the published work

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_RATE_SECONDS = 1800.0  # a rate of rise is taken over half an hour
_FOOT_SECONDS = 3 * HOUR  # a flood's steepest rise may come this long before it is called one

_COLUMNS = {
    "start": "datetime64[us, UTC]",
    "end": "datetime64[us, UTC]",
    "peak_ft": "float64",
    "peak_time": "datetime64[us, UTC]",
    "rise_h": "float64",
    "rate_ft_per_h": "float64",
    "half_life_h": "float64",
    "duration_h": "float64",
    "longest_gap_h": "float64",
    "readings": "int64",
    "begins": "str",
    "ends": "str",
}


def find(
    readings: pd.DataFrame,
    *,
    start: float = START_FT,
    end: float = END_FT,
    bridge: pd.Timedelta | str | None = None,
) -> pd.DataFrame:
    """List the floods of a record.

    Parameters
    ----------
    readings
        A table of readings (see :mod:`creeklab.creek.readings.samples`) with a column ``stage_ft``.
    start, end
        A flood starts with the first reading above ``start`` and ends with the first one after it
        below ``end``, in feet above the gage's datum.
    bridge
        The longest gap that a flood may go on through, such as ``"1h"``; None bridges all.

    Returns
    -------
    pandas.DataFrame
        One row a flood, numbered from 1 (``flood``), in order of time:

        ``start``, ``end``
            First reading above the start; first reading below the end, or the last one of the
            flood where it was not seen to end.
        ``peak_ft``, ``peak_time``
            The highest measured stage, and the first reading that had it.
        ``rise_h``
            From start to peak; NaN where the start was not seen.
        ``rate_ft_per_h``
            How fast it rose in the steepest half hour up to the peak (:func:`rise_rates`).
        ``half_life_h``
            From the peak until the first reading at which half of the peak's height above ``end``
            was gone; NaN where that was not seen. For a recession that decays exponentially to
            ``end`` this is its half-life; from stage alone no baseflow can be told apart.
        ``duration_h``
            From start to end: at least so long, where either was not seen.
        ``longest_gap_h``
            The longest time in it without a reading; 0 where none is missing.
        ``readings``
            How many were measured from start to end, both included.
        ``begins``
            ``"rise"``, or ``"record"`` or ``"gap"`` where that is what the flood begins with.
        ``ends``
            ``"fall"``, or ``"record"`` or ``"gap"`` where that is what cut it off.

    Raises
    ------
    ValueError
        The thresholds are no numbers or the wrong way round, the gap is no duration, these are no
        readings, or nothing was measured.
    """
    if not (np.isfinite(start) and np.isfinite(end) and end <= start):
        raise ValueError(
            f"A flood starts above {start} ft and ends below {end} ft: the end must be a number"
            " that is not above the start."
        )
    time, stage = measured_values(readings)
    at = seconds(time)
    breaks = np.zeros(at.size, dtype=bool)
    if bridge is not None:
        longest = pd.Timedelta(bridge).total_seconds()
        if not longest > 0:
            raise ValueError(f"bridge is {bridge!r}, but it is a duration above 0, such as '1h'.")
        breaks[1:] = np.diff(at) > longest
    first, last = spans(stage, breaks, start, end)
    events = [_event(at, stage, breaks, i, j, end) for i, j in zip(first, last, strict=True)]
    table = pd.DataFrame(events, columns=["start", "end", "peak", *list(_COLUMNS)[4:]])
    peaks = table.pop("peak").to_numpy(dtype=np.intp)
    table.insert(2, "peak_ft", stage[peaks])
    table.insert(3, "peak_time", time[peaks])
    for column in ("start", "end"):
        table[column] = time[table[column].to_numpy(dtype=np.intp)]
    table = table.astype(_COLUMNS)
    table.index = pd.RangeIndex(1, len(table) + 1, name="flood")
    table.attrs = {"start_ft": start, "end_ft": end}
    return table


def spans(stage: Floats, breaks: NDArray[np.bool_], start: float, end: float) -> tuple[Rows, Rows]:
    """Find the events in measured stages.

    Parameters
    ----------
    stage
        In order of time, no NaN.
    breaks
        True for a reading at which whatever was before is forgotten.
    start, end
        The two thresholds.

    Returns
    -------
    first, last
        The rows of the first and the last reading of each event. The last one is the last that is
        not below ``end``; it may be in the last row, or in one before a break.
    """
    above = stage > start
    # What decides a reading: itself, if it says anything, or else the last one before it that did.
    says = above | (stage < end) | breaks
    decides = np.maximum.accumulate(np.where(says, np.arange(stage.size), 0))
    flood = above[decides]
    before = np.r_[False, flood[:-1]]
    after = np.r_[flood[1:], False]
    ahead = np.r_[breaks[1:], True]
    return np.flatnonzero(flood & (~before | breaks)), np.flatnonzero(flood & (~after | ahead))


def _event(
    at: Floats, stage: Floats, breaks: NDArray[np.bool_], first: int, last: int, end: float
) -> dict[str, object]:
    """Measure one event; ``start``, ``end`` and ``peak`` are rows."""
    peak = first + int(np.argmax(stage[first : last + 1]))
    fell = last + 1 < at.size and not breaks[last + 1]
    close = last + 1 if fell else last
    begins = "gap" if breaks[first] else "record" if first == 0 else "rise"
    half = (stage[peak] + end) / 2
    fallen = np.flatnonzero(stage[peak : close + 1] <= half)
    foot = int(np.searchsorted(at, at[first] - _FOOT_SECONDS)) if begins == "rise" else first
    # With the reading after the peak, so that a peak of one reading only makes no rate.
    rates = rise_rates(at[foot : peak + 2], stage[foot : peak + 2])[: peak + 1 - foot]
    steps = np.diff(at[first : close + 1])
    gap = float(steps.max()) if steps.size else 0.0
    return {
        "start": first,
        "end": close,
        "peak": peak,
        "rise_h": (at[peak] - at[first]) / HOUR if begins == "rise" else np.nan,
        "rate_ft_per_h": float(np.nanmax(rates)) if (~np.isnan(rates)).any() else np.nan,
        "half_life_h": (at[peak + fallen[0]] - at[peak]) / HOUR if fallen.size else np.nan,
        "duration_h": (at[close] - at[first]) / HOUR,
        "longest_gap_h": gap / HOUR
        if gap > GAP_FACTOR * sampling_interval(at[foot : close + 1])
        else 0.0,
        "readings": close - first + 1,
        "begins": begins,
        "ends": "fall" if fell else "record" if last + 1 == at.size else "gap",
    }


def rise_rates(at: Floats, stage: Floats, window: float = _RATE_SECONDS) -> Floats:
    """Tell how fast the stage rose up to each reading, so that no single reading decides it.

    Each stage is first replaced by the median of itself and its two neighbours, which takes out
    what lasts for one reading only. The rate is the difference of two of those, at least
    ``window`` apart.

    Parameters
    ----------
    at
        When it was measured, in seconds.
    stage
        What was measured (ft), no NaN.
    window
        Over how many seconds.

    Returns
    -------
    numpy.ndarray
        ft/h; negative where it fell. NaN where there is no earlier reading, or none close enough:
        within twice the window, or the usual step where readings are further apart than that.
    """
    rates = np.full(at.size, np.nan)
    if at.size < 2:
        return rates
    smooth = stage.copy()
    if at.size > 2:
        before, here, after = stage[:-2], stage[1:-1], stage[2:]
        low, high = np.minimum(before, here), np.maximum(before, here)
        smooth[1:-1] = np.maximum(low, np.minimum(high, after))
    since = np.searchsorted(at, at - window, side="right") - 1
    usable = since >= 0
    span = at - at[np.maximum(since, 0)]
    usable &= span <= max(2 * window, GAP_FACTOR * sampling_interval(at))
    rates[usable] = (smooth - smooth[np.maximum(since, 0)])[usable] / span[usable] * HOUR
    return rates


def overlay(
    readings: pd.DataFrame,
    floods: pd.DataFrame,
    *,
    align: Literal["peak", "start"] = "peak",
    before: float = 6.0,
    after: float = 18.0,
) -> pd.DataFrame:
    """Lay floods over each other: the same hours around the peak, or the start, of each.

    Parameters
    ----------
    readings
        The readings that the floods were found in.
    floods
        Rows of what :func:`find` gave.
    align
        Where hour 0 is.
    before, after
        Hours of the record to show before and after it.

    Returns
    -------
    pandas.DataFrame
        One row for each measured reading of each flood: ``flood`` (its number), ``hours`` since
        hour 0, ``stage_ft``. Where floods follow each other closely, one reading is in both.

    Raises
    ------
    ValueError
        There is no flood, or no such alignment.
    """
    if align not in ("peak", "start"):
        raise ValueError(f"Floods are aligned at 'peak' or 'start', not at {align!r}.")
    if floods.empty:
        raise ValueError("There is no flood to show.")
    time, stage = measured_values(readings)
    at = seconds(time)
    zeros = seconds(pd.DatetimeIndex(floods["peak_time" if align == "peak" else "start"]))
    pieces = []
    for number, zero in zip(floods.index, zeros, strict=True):
        first = int(np.searchsorted(at, zero - before * HOUR, side="left"))
        last = int(np.searchsorted(at, zero + after * HOUR, side="right"))
        hours = (at[first:last] - zero) / HOUR
        pieces.append(
            pd.DataFrame({"flood": number, "hours": hours, "stage_ft": stage[first:last]})
        )
    return pd.concat(pieces, ignore_index=True)
