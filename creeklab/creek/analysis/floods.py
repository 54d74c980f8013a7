"""Floods as events: from when the creek rises above one stage until it falls below a lower one.

With two thresholds (hysteresis), a creek that hovers around one of them does not have a flood every
five minutes. The published work behind the course starts a flood above 2.5 ft and ends it below
1.75 ft. Those numbers belong to the Elkhorn and its datum: another creek has its own thresholds,
and a creek whose sensor was reinstalled has new ones.

Only measured readings count. Nobody knows what the creek did between two of them, so a gap never
starts or ends a flood or holds its peak, and a peak is the highest *measured* stage. By default, a
gap is bridged: a flood continues after it if the first reading after it has not fallen below the
end. ``bridge`` sets the longest gap that is bridged. A longer one ends the flood, and if the stage
after it is still above the start, another flood begins there. In Plumtree Run's three years, there
are 74 floods with or without bridging, because no flood has a gap.

Every event says what it begins with (a rise, or the start of the record or the end of a gap during
a flood) and what it ends with. Only an event that begins with a rise and ends with a fall was
observed completely.
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

START_FT, END_FT = 2.5, 1.75  # for the Elkhorn, from the published work

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_RATE_WINDOW = 1800.0  # seconds over which a rate of rise is taken
_RISE_LOOKBACK = 3 * HOUR  # The steepest rise may come this long before a flood starts.

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
        A flood starts with the first reading above ``start`` and ends with the first later reading
        below ``end``, in feet above the gage's datum.
    bridge
        The longest gap that a flood can continue through, such as ``"1h"``; None bridges all.

    Returns
    -------
    pandas.DataFrame
        One row per flood, numbered from 1 (``flood``), in order of time:

        ``start``, ``end``
            First reading above the start; first reading below the end, or the last reading of the
            flood if its end was not observed.
        ``peak_ft``, ``peak_time``
            The highest measured stage, and the first reading that had it.
        ``rise_h``
            Hours from start to peak; NaN if the start was not observed.
        ``rate_ft_per_h``
            How fast it rose in the steepest half hour before the peak (:func:`rise_rates`).
        ``half_life_h``
            Hours from the peak to the first reading at which half of the peak's height above
            ``end`` was gone; NaN if that was not observed. For a recession that decays
            exponentially to ``end``, this is its half-life. The stage alone does not reveal the
            baseflow.
        ``duration_h``
            Hours from start to end; a minimum if either was not observed.
        ``longest_gap_h``
            The longest time without a reading; 0 if none is missing.
        ``readings``
            Number of measured readings from start to end, both inclusive.
        ``begins``
            ``"rise"``; or ``"record"`` or ``"gap"`` if the flood was already under way.
        ``ends``
            ``"fall"``; or ``"record"`` or ``"gap"`` if that cut it off.

    Raises
    ------
    ValueError
        If a threshold is not a number, the end is above the start, ``bridge`` is not a duration,
        this is not a table of readings, or nothing was measured.
    """
    if not (np.isfinite(start) and np.isfinite(end) and end <= start):
        raise ValueError(
            f"Cannot start a flood above {start} ft and end it below {end} ft. Both must be"
            " numbers, and the end must not be above the start."
        )
    time, stage = measured_values(readings)
    at = seconds(time)
    breaks = np.zeros(at.size, dtype=bool)
    if bridge is not None:
        longest = pd.Timedelta(bridge).total_seconds()
        if not longest > 0:
            raise ValueError(f"bridge is {bridge!r}. It must be a duration above 0, such as '1h'.")
        breaks[1:] = np.diff(at) > longest
    first, last = spans(stage, breaks, start, end)
    events = [_event(at, stage, breaks, i, j, end) for i, j in zip(first, last, strict=True)]
    table = pd.DataFrame(events, columns=list(_COLUMNS))
    for column in ("start", "end", "peak_time"):
        table[column] = time[table[column].to_numpy(dtype=np.intp)]
    table = table.astype(_COLUMNS)
    table.index = pd.RangeIndex(1, len(table) + 1, name="flood")
    table.attrs = {"start_ft": start, "end_ft": end}
    return table


def spans(stage: Floats, breaks: NDArray[np.bool_], start: float, end: float) -> tuple[Rows, Rows]:
    """Return the first and the last row of each event.

    Parameters
    ----------
    stage
        Measured stages in order of time, without NaN.
    breaks
        True for a reading that does not continue an event before it.
    start, end
        The two thresholds.

    Returns
    -------
    first, last
        The rows of the first and the last reading of each event. The last one is the last that is
        not below ``end``; it may be in the last row, or just before a break.
    """
    above = stage > start
    # Between the thresholds, a reading continues the state of the last one that was decisive.
    decisive = above | (stage < end) | breaks
    flood = above[np.maximum.accumulate(np.where(decisive, np.arange(stage.size), 0))]
    before = np.r_[False, flood[:-1]]
    after = np.r_[flood[1:], False]
    break_next = np.r_[breaks[1:], True]
    return np.flatnonzero(flood & (~before | breaks)), np.flatnonzero(flood & (~after | break_next))


def _event(
    at: Floats, stage: Floats, breaks: NDArray[np.bool_], first: int, last: int, end: float
) -> dict[str, object]:
    """Measure one event; ``start``, ``end`` and ``peak_time`` are rows."""
    peak = first + int(np.argmax(stage[first : last + 1]))
    fell = last + 1 < at.size and not breaks[last + 1]
    close = last + 1 if fell else last
    begins = "gap" if breaks[first] else "record" if first == 0 else "rise"
    half = (stage[peak] + end) / 2
    fallen = np.flatnonzero(stage[peak : close + 1] <= half)
    foot = int(np.searchsorted(at, at[first] - _RISE_LOOKBACK)) if begins == "rise" else first
    # Include the reading after the peak, so that a peak of a single reading makes no rate.
    rates = rise_rates(at[foot : peak + 2], stage[foot : peak + 2])[: peak + 1 - foot]
    steps = np.diff(at[first : close + 1])
    gap = float(steps.max()) if steps.size else 0.0
    return {
        "start": first,
        "end": close,
        "peak_ft": stage[peak],
        "peak_time": peak,
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


def rise_rates(at: Floats, stage: Floats, window: float = _RATE_WINDOW) -> Floats:
    """Return how fast the stage rose up to each reading, without depending on single readings.

    Each stage is first replaced by the median of itself and its two neighbors, which removes spikes
    of one reading. The rate is the difference between two of those, at least ``window`` apart.

    Parameters
    ----------
    at
        Times, in seconds.
    stage
        Stages (ft), without NaN.
    window
        Seconds between the two stages.

    Returns
    -------
    numpy.ndarray
        ft/h; negative where the stage fell. NaN if there is no earlier reading close enough: within
        twice the window, or the usual interval if readings are further apart than that.
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
    """Align floods: return the same hours around the peak, or the start, of each.

    Parameters
    ----------
    floods
        Rows from :func:`find`.
    align
        The time of hour 0.
    before, after
        Hours of the record to return before and after it.

    Returns
    -------
    pandas.DataFrame
        One row for each measured reading of each flood: ``flood`` (its number), ``hours`` since
        hour 0, ``stage_ft``. If floods follow each other closely, a reading can belong to both.

    Raises
    ------
    ValueError
        If there is no flood, or no such alignment.
    """
    if align not in ("peak", "start"):
        raise ValueError(f"Floods can be aligned at 'peak' or 'start', not at {align!r}.")
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
