"""Slow faults of a gage that no test of single readings finds: a shifted datum, a drifting sensor.

Both show in the hourly medians of the stage, which single wild readings do not affect.

**Datum shift.** Someone reinstalls the sensor, or a log pushes it: from one hour to the next, all
stages are higher, or lower, and stay that way. A flood also makes steps, but each takes several
readings, and then it falls. Before a shift, the stage hardly moves for a day; then it makes a step
from one reading to the next, and all but the lowest quarter of the following day (a storm can only
add to it) is higher, or lower, by exactly that step. Across a gap in the record, where a step
cannot be seen, the difference must exceed the change that the creek usually makes in that time.

**Drift.** Dirt grows on a sensor, or a cable leaks: for days, the stage creeps away from the truth,
until someone cleans the sensor and it steps back to the true level. So a step back to an earlier
calm level is not a shift, but the end of a drift. A drift that nobody ended is found only where the
stage creeps *up*: a creek rises fast and falls slowly, and does nearly all its rising in hours that
are faster than a certain rate. Slower rises are added up, and falls are subtracted (a cumulative
sum, after E. S. Page). When the sum reaches twice the step that a storm sustains between two
readings, it does not come from the creek. A sensor that creeps *down* looks like the recession of a
creek. That drift is found only when it is corrected, or when it falls below where the creek ever
was.

**What the drift test is worth.** It finds planted drifts, but a real creek also creeps: snow melts,
and leaves dam the water. See :data:`DRIFT_CAVEAT`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.quality.limits import Limits, hourly
from creeklab.creek.readings.time_series import HOUR

DRIFT_CAVEAT = (
    "Drift is a weak finding. At one real station with 25,883 readings, this test flagged 16,322"
    " of them, where the technician had marked 72. Compare the gage with a ruler before you believe"
    " it."
)

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_DAY_HOURS = 24  # must be calm on either side of a shift
_MAX_DRIFT_HOURS = 45 * 24  # before it was corrected


@dataclass(frozen=True, slots=True)
class SlowFault:
    """A slow fault.

    Parameters
    ----------
    kind
        The kind of fault.
    start, end
        The hours (seconds since 1970) in which it starts and ends; for a shift, the last hour
        before it and the first one after it.
    size_ft
        By how much all stages after a shift are higher; how far a drift got.
    corrected
        Whether the stage stepped back, because someone repaired the sensor.
    """

    kind: Literal["datum shift", "drift"]
    start: float
    end: float
    size_ft: float
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class _Hours:
    """Hourly medians, and figures of the day that ends with each hour.

    ``median`` and ``low`` are the day's median and lower quartile, ``moved`` is the distance
    between its quartiles, and ``whole`` says whether the day has no long gap.
    """

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
        Times in seconds since 1970, in order.
    stage
        Stages (ft), without those that are missing or failed.
    limits
        The limit for spikes defines a large step.
    """
    hours = _hours(at, stage)
    if hours is None:
        return []
    found, drifts = (
        [],
        _uncorrected_drifts(hours, limits.slow_ft_per_h, 2 * limits.spike_suspect_ft),
    )
    for before, after, size in _steps(hours, limits.spike_suspect_ft):
        if not _is_one_step(at, stage, (hours.hour[before] * HOUR, hours.hour[after] * HOUR), size):
            continue
        since = _away_since(hours, before, after, size)
        start, end = float(hours.hour[before] * HOUR), float(hours.hour[after] * HOUR)
        if since is None:
            found.append(SlowFault("datum shift", start, end, size))
        else:
            drifts.append(SlowFault("drift", float(hours.hour[since] * HOUR), end, -size, True))
    return sorted(found + _merged(drifts), key=lambda each: each.start)


def _hours(at: Floats, stage: Floats) -> _Hours | None:
    """Return the hourly medians and the days; None for a record of less than a week."""
    hour, level = hourly(at, stage)
    if level.size < 7 * _DAY_HOURS:
        return None
    days = np.sort(np.lib.stride_tricks.sliding_window_view(level, _DAY_HOURS), axis=1)
    empty = np.full(_DAY_HOURS - 1, np.nan)
    half, quarter = _DAY_HOURS // 2, _DAY_HOURS // 4
    median: Floats = np.append(empty, (days[:, half - 1] + days[:, half]) / 2)
    low: Floats = np.append(empty, days[:, quarter])
    moved: Floats = np.append(empty, days[:, 3 * quarter]) - low
    whole = np.zeros(level.size, dtype=bool)
    whole[_DAY_HOURS - 1 :] = hour[_DAY_HOURS - 1 :] - hour[: 1 - _DAY_HOURS] <= 1.5 * _DAY_HOURS
    return _Hours(hour, level, median, low, moved, whole)


def _steps(hours: _Hours, min_step: float) -> list[tuple[int, int, float]]:
    """Return where one calm level ends and another begins: both rows and the difference."""
    n = hours.level.size
    candidates = []
    # A step within an hour may leave that hour's median in between, so also skip one hour.
    for width in (1, 2):
        before = np.arange(_DAY_HOURS - 1, n - _DAY_HOURS - width + 1)
        after = before + width
        day_after = after + _DAY_HOURS - 1
        jump = hours.level[after] - hours.level[before]
        size = hours.low[day_after] - hours.median[before]
        apart = hours.hour[after] - hours.hour[before]
        limit = np.where(apart > _DAY_HOURS, min_step + 2 * _usual_change(hours, apart), min_step)
        calm = hours.moved[before] <= np.abs(size) / 3
        # A storm on the day after blurs the step, which must then be twice as large.
        limit = np.where(hours.moved[day_after] <= np.abs(size) / 3, limit, 2 * limit)
        sudden = np.abs(jump - size) <= np.abs(size) / 4
        usable = (
            hours.whole[before] & hours.whole[day_after] & ((width == 1) | (apart <= _DAY_HOURS))
        )
        good = usable & calm & sudden & (np.abs(size) >= limit) & (np.abs(jump) >= limit)
        candidates += [
            (int(row), int(row + width), float(size[i]), float(abs(jump[i])))
            for i, row in zip(np.flatnonzero(good), before[good], strict=True)
        ]
    # Among adjacent candidates, the largest jump is the step.
    steps: list[tuple[int, int, float]] = []
    for first, last, change, _ in sorted(candidates, key=lambda each: -each[3]):
        if all(last < b - 2 or first > a + 2 for b, a, _ in steps):
            steps.append((first, last, change))
    return sorted(steps)


def _is_one_step(at: Floats, stage: Floats, between: tuple[float, float], size: float) -> bool:
    """Return whether one reading made the step: a storm, however sudden, takes several."""
    first, last = np.searchsorted(at, [between[0], between[1] + HOUR])
    steps = np.diff(stage[first:last]) * np.sign(size)
    return bool(steps.max() >= 0.75 * abs(size))


def _usual_change(hours: _Hours, apart: Rows) -> Floats:
    """Return how much the creek's level usually changes in these hours (only for long gaps)."""
    change = np.zeros(apart.size)
    level = pd.Series(hours.level, index=hours.hour)
    level = level.reindex(np.arange(hours.hour[0], hours.hour[-1] + 1))
    for i in np.flatnonzero(apart > _DAY_HOURS):
        lag = min(int(apart[i]), len(level) // 2)
        change[i] = float((level - level.shift(lag)).abs().median())
    return np.nan_to_num(change, nan=np.inf)


def _away_since(hours: _Hours, before: int, after: int, size: float) -> int | None:
    """Return the row in which the stage was last calm at the level that it has stepped to.

    None if that was too long ago, or only a day ago: then the stage did not creep away.
    """
    target, near = hours.low[after + _DAY_HOURS - 1], abs(size) / 4
    ends = np.arange(max(_DAY_HOURS - 1, before - _MAX_DRIFT_HOURS), before + 1)
    ends = ends[hours.hour[before] - hours.hour[ends] <= _MAX_DRIFT_HOURS]
    at_level = (np.abs(hours.median[ends] - target) <= near) & (hours.moved[ends] <= near)
    last = ends[at_level & hours.whole[ends]]
    if not last.size or hours.hour[before] - hours.hour[last[-1]] < _DAY_HOURS:
        return None
    # In a drift, no single hour makes most of the change, even in the last calm day.
    path = hours.level[last[-1] - _DAY_HOURS + 1 : before + 1]
    steps = np.diff(path) * -np.sign(size)
    return None if steps.size and steps.max() > 0.75 * abs(size) else int(last[-1])


def _uncorrected_drifts(hours: _Hours, slow: float, limit: float) -> list[SlowFault]:
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
    """Merge drifts that overlap; the size of a corrected one is the more reliable."""
    merged: list[SlowFault] = []
    for each in sorted(drifts, key=lambda drift: drift.start):
        if merged and each.start <= merged[-1].end:
            last = merged.pop()
            reliable = each if each.corrected else last
            each = SlowFault(
                "drift",
                last.start,
                max(last.end, each.end),
                reliable.size_ft,
                last.corrected or each.corrected,
            )
        merged.append(each)
    return merged
