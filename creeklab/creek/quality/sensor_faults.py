"""Slow faults of a gauge, which no test of single readings sees: a moved datum, a drifting sensor.

Both show in the hourly medians of the stage, which single wild readings do not touch.

**Datum shift.** Somebody re-installs the sensor, or a log pushes it: from one hour to the next all
stages are higher, or lower, and stay so. A flood also makes steps, but takes several readings for
one, and then it falls. Before a shift the stage hardly moves for a day, then it makes a step from
one reading to the next, and all but the lowest quarter of the day after (its storms only add) is
higher, or lower, by just that step. Over a gap in the record, where a step cannot be seen, the
difference has to be larger than what the creek changes in such a time anyway.

**Drift.** Dirt grows on a sensor, a cable leaks: the stage creeps away from the truth for days,
until somebody cleans it and it steps back to where the creek was all along. So a step back to the
calm level of before is no shift but the end of a drift. A drift that nobody ended is seen where the
stage creeps *up*: a creek rises fast and falls slowly, and nearly all of what it rises it rises in
hours that are faster than some rate of its own. Rises slower than that are added up, falls are
taken off (a cumulative sum, as E. S. Page's), and when the sum gets to twice what a storm keeps up
from one reading to the next, something is not the creek. A sensor that creeps *down* looks like the
recession of a creek, and is seen only when it is corrected, or below where the creek ever was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.quality.limits import Limits, hourly
from creeklab.creek.readings.time_series import HOUR

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_DAY = 24  # hours that have to be calm on either side of a shift
_MEMORY = 45 * 24  # hours that a drift may have lasted before it was corrected


@dataclass(frozen=True, slots=True)
class SlowFault:
    """A slow fault.

    Parameters
    ----------
    kind
        What it is.
    start, end
        The hours (seconds since 1970) from which to which; of a shift, the last hour before it
        and the first after it.
    size_ft
        By how much all stages after a shift are higher; how far a drift got.
    corrected
        Whether the stage came back by itself, that is, by somebody's hand.
    """

    kind: Literal["datum shift", "drift"]
    start: float
    end: float
    size_ft: float
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class _Hours:
    """Hourly medians; of each day that ends with an hour its median, lower quartile, and how much
    it moved between its quartiles."""

    hour: Rows
    level: Floats
    median: Floats
    low: Floats
    moved: Floats
    whole: NDArray[np.bool_]


def find(at: Floats, stage: Floats, limits: Limits) -> list[SlowFault]:
    """Find datum shifts and drifts.

    Parameters
    ----------
    at
        When, in seconds since 1970, in order.
    stage
        What (ft), without what is missing or failed.
    limits
        The spike's limit says what a large step is.
    """
    hours = _hours(at, stage)
    if hours is None:
        return []
    found, drifts = [], _creeping(hours, limits.slow_ft_per_h, 2 * limits.spike_suspect_ft)
    for before, after, size in _steps(hours, limits.spike_suspect_ft):
        if not _sudden(at, stage, (hours.hour[before] * HOUR, hours.hour[after] * HOUR), size):
            continue
        since = _away_since(hours, before, after, size)
        start, end = float(hours.hour[before] * HOUR), float(hours.hour[after] * HOUR)
        if since is None:
            found.append(SlowFault("datum shift", start, end, size))
        else:
            drifts.append(SlowFault("drift", float(hours.hour[since] * HOUR), end, -size, True))
    return sorted(found + _merged(drifts), key=lambda each: each.start)


def _hours(at: Floats, stage: Floats) -> _Hours | None:
    """Take the hourly medians, and the days; None for a record of less than a week."""
    hour, level = hourly(at, stage)
    if level.size < 7 * _DAY:
        return None
    days = np.sort(np.lib.stride_tricks.sliding_window_view(level, _DAY), axis=1)
    empty = np.full(_DAY - 1, np.nan)
    half, quarter = _DAY // 2, _DAY // 4
    median: Floats = np.append(empty, (days[:, half - 1] + days[:, half]) / 2)
    low: Floats = np.append(empty, days[:, quarter])
    moved: Floats = np.append(empty, days[:, 3 * quarter]) - low
    whole = np.zeros(level.size, dtype=bool)
    whole[_DAY - 1 :] = hour[_DAY - 1 :] - hour[: 1 - _DAY] <= 1.5 * _DAY
    return _Hours(hour, level, median, low, moved, whole)


def _steps(hours: _Hours, least: float) -> list[tuple[int, int, float]]:
    """Find where a calm day ends and one at another level begins: both rows and the difference."""
    n = hours.level.size
    candidates = []
    # A step within an hour may leave that hour's median in between: look over it too.
    for wide in (1, 2):
        before = np.arange(_DAY - 1, n - _DAY - wide + 1)
        after = before + wide
        day_after = after + _DAY - 1
        jump = hours.level[after] - hours.level[before]
        size = hours.low[day_after] - hours.median[before]
        apart = hours.hour[after] - hours.hour[before]
        limit = np.where(apart > _DAY, least + 2 * _usual_change(hours, apart), least)
        calm = hours.moved[before] <= np.abs(size) / 3
        # A storm on the day after makes it hard to tell: then only twice as large a step counts.
        limit = np.where(hours.moved[day_after] <= np.abs(size) / 3, limit, 2 * limit)
        sudden = np.abs(jump - size) <= np.abs(size) / 4
        usable = hours.whole[before] & hours.whole[day_after] & ((wide == 1) | (apart <= _DAY))
        good = usable & calm & sudden & (np.abs(size) >= limit) & (np.abs(jump) >= limit)
        candidates += [
            (int(row), int(row + wide), float(size[i]), float(abs(jump[i])))
            for i, row in zip(np.flatnonzero(good), before[good], strict=True)
        ]
    # Of candidates that touch, the largest jump is the step.
    steps: list[tuple[int, int, float]] = []
    for first, last, change, _ in sorted(candidates, key=lambda each: -each[3]):
        if all(last < b - 2 or first > a + 2 for b, a, _ in steps):
            steps.append((first, last, change))
    return sorted(steps)


def _sudden(at: Floats, stage: Floats, between: tuple[float, float], size: float) -> bool:
    """Say whether one reading made the step: a storm, however sudden, takes several."""
    first, last = np.searchsorted(at, [between[0], between[1] + HOUR])
    steps = np.diff(stage[first:last]) * np.sign(size)
    return bool(steps.max() >= 0.75 * abs(size))


def _usual_change(hours: _Hours, apart: Rows) -> Floats:
    """Say by how much the creek's level usually changes in so many hours (only for long gaps)."""
    change = np.zeros(apart.size)
    level = pd.Series(hours.level, index=hours.hour)
    level = level.reindex(np.arange(hours.hour[0], hours.hour[-1] + 1))
    for i in np.flatnonzero(apart > _DAY):
        lag = min(int(apart[i]), len(level) // 2)
        change[i] = float((level - level.shift(lag)).abs().median())
    return np.nan_to_num(change, nan=np.inf)


def _away_since(hours: _Hours, before: int, after: int, size: float) -> int | None:
    """Say in which row the stage was last calm at the level that it has stepped to.

    None if it was not within the memory, or only a day ago: then it did not creep away.
    """
    target, near = hours.low[after + _DAY - 1], abs(size) / 4
    ends = np.arange(max(_DAY - 1, before - _MEMORY), before + 1)
    ends = ends[hours.hour[before] - hours.hour[ends] <= _MEMORY]
    at_level = (np.abs(hours.median[ends] - target) <= near) & (hours.moved[ends] <= near)
    last = ends[at_level & hours.whole[ends]]
    if not last.size or hours.hour[before] - hours.hour[last[-1]] < _DAY:
        return None
    # It crept: no single hour made most of the way. The last calm day may have ended with that one.
    path = hours.level[last[-1] - _DAY + 1 : before + 1]
    steps = np.diff(path) * -np.sign(size)
    return None if steps.size and steps.max() > 0.75 * abs(size) else int(last[-1])


def _creeping(hours: _Hours, slow: float, limit: float) -> list[SlowFault]:
    """Find where slow rises add up."""
    change = np.diff(hours.level)
    total = np.r_[0.0, np.cumsum(np.where(change > slow, 0.0, change))]
    crept = total - np.minimum.accumulate(total)
    found = []
    up = np.r_[False, crept > 0, False]
    for first, last in zip(
        np.flatnonzero(~up[:-1] & up[1:]), np.flatnonzero(up[:-1] & ~up[1:]), strict=True
    ):
        top = first + int(np.argmax(crept[first:last]))
        if crept[top] >= limit:
            start, end = hours.hour[max(int(first) - 1, 0)] * HOUR, hours.hour[top] * HOUR
            found.append(SlowFault("drift", float(start), float(end), float(crept[top])))
    return found


def _merged(drifts: list[SlowFault]) -> list[SlowFault]:
    """Make one of drifts that overlap; one that was corrected knows its size."""
    merged: list[SlowFault] = []
    for each in sorted(drifts, key=lambda drift: drift.start):
        if merged and each.start <= merged[-1].end:
            last = merged.pop()
            known = each if each.corrected else last
            each = SlowFault(
                "drift",
                last.start,
                max(last.end, each.end),
                known.size_ft,
                last.corrected or each.corrected,
            )
        merged.append(each)
    return merged
