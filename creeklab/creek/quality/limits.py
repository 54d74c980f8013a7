"""The limits of the quality tests, derived from a creek's own record.

A limit that suits one creek makes a storm on another one look like a fault. Therefore each limit
here comes from the record itself, by a rule that a few faults in the record cannot distort:

- **Spike.** A spike goes out and comes back; a storm continues. The smaller of two successive steps
  *in the same direction* is a step that the creek sustained, and one wild reading cannot make such
  a pair, because it goes one way and then the other. The step that only one pair in ten thousand
  exceeds measures the storms. A reading that is undone at once is suspect if it sticks out by more
  than that, and fails at twice that. (Noise makes small pairs in either direction. The limit is
  therefore also at shortest three times what 99 in 100 readings stick out from both neighbors, and
  five times the resolution of the sensor.)
- **Rate of change.** Single steps in a storm are several times the step that it sustains for two
  readings. A change between two readings is suspect at eight times the limit for spikes.
- **Range.** The calm creek has a floor: three times as far below the median as the lowest tenth. A
  stage below it is suspect. There is no upper limit, because the highest flood has yet to happen. A
  stage outside the span that the sensor can read fails, if the span is given.
- **Drift.** A creek rises fast: of its whole rise from hour to hour, only a twentieth comes in
  hours slower than a certain rate. That rate separates slow from fast.
- **Flat line.** High water never stands still, but low water does for days. So the stages are
  divided into classes. In each, the measure is how long the stage stays the same in all but one run
  in a hundred. Six times that is suspect, and twelve times fails. A class with fewer than fifty
  runs has no limit. Below the range, one hour is suspect and two hours fail: a stage where the
  creek never was, and which does not change, comes from a dead sensor.

With fewer than a few hundred readings, or without a storm among them, these numbers mean little.
Derive them from a long record, keep them, and use them to check new readings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.readings.time_series import (
    HOUR,
    is_gap,
    measured_values,
    sampling_interval,
    seconds,
)

Floats = NDArray[np.float64]

# See the rules above.
_SUSTAINED_QUANTILE = 0.9999  # of all pairs of steps
_STICKS_OUT_QUANTILE = 0.99
_MIN_RESOLUTIONS = 5
_RATE_FACTOR = 8
_CLASS_QUANTILES = (0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.98)
_RUN_QUANTILE = 0.99
_FLAT_FACTOR = 6
_LONGEST_RUN_QUANTILE = 0.999
_SLOW_SHARE = 0.05  # of the whole rise
_MIN_RUNS = 50  # per class
_MIN_RUN_READINGS = 12  # A shorter run is never called flat,
_MIN_RUN_HOURS = 1.0  # in readings or in hours.


@dataclass(frozen=True, slots=True)
class Flat:
    """How long the stage may stay the same, for one class of stages.

    Parameters
    ----------
    below_ft
        The class contains the stages below this that are not in a lower class.
    suspect_h, fail_h
        Hours after which an unchanged stage is suspect, and fails.
    """

    below_ft: float
    suspect_h: float
    fail_h: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the quality tests.

    Parameters
    ----------
    span_ft
        What the sensor can read; a stage outside fails.
    floor_ft
        A stage below this is suspect.
    spike_suspect_ft, spike_fail_ft
        How far a reading may stick out from both neighbors.
    rate_ft_per_h
        A faster change between two readings is suspect.
    flat
        Classes of stage, lowest first; the first ends at the floor, the last at infinity.
    slow_ft_per_h
        The creek does nearly all its rising in hours that rise faster than this.
    gap_h
        A longer time without a reading is a gap, in hours.
    """

    span_ft: tuple[float, float]
    floor_ft: float
    spike_suspect_ft: float
    spike_fail_ft: float
    rate_ft_per_h: float
    flat: tuple[Flat, ...]
    slow_ft_per_h: float
    gap_h: float

    def table(self) -> pd.DataFrame:
        """Return the limits with their units: ``test``, ``suspect``, ``fail``, ``unit``."""
        low, high = self.span_ft
        rows: list[tuple[str, str, str, str]] = [
            ("gross range", f"below {self.floor_ft:.2f}", f"outside {low:g} to {high:g}", "ft"),
            ("spike", f"{self.spike_suspect_ft:.2f}", f"{self.spike_fail_ft:.2f}", "ft"),
            ("rate of change", f"{self.rate_ft_per_h:.1f}", "", "ft/h"),
        ]
        rows += [
            (
                f"flat line below {each.below_ft:.2f} ft",
                f"{each.suspect_h:.1f}",
                f"{each.fail_h:.1f}",
                "h",
            )
            for each in self.flat
        ]
        rows.append(("drift, rises slower than", f"{self.slow_ft_per_h:.3f}", "", "ft/h"))
        rows.append(("time gap", "", f"{self.gap_h:.2f}", "h"))
        return pd.DataFrame(rows, columns=["test", "suspect", "fail", "unit"]).set_index("test")


def derive(readings: pd.DataFrame, *, span_ft: tuple[float, float] = (-np.inf, np.inf)) -> Limits:
    """Derive the limits from a record of the creek.

    Parameters
    ----------
    readings
        A table of readings, preferably over months; a few faults among them do little harm.
    span_ft
        What the sensor can read. The Elkhorn's reads from 0 to 34.88 ft.

    Raises
    ------
    ValueError
        If the lower end of the span is not below the upper end, or nothing was measured.
    """
    if not span_ft[0] < span_ft[1]:
        raise ValueError(f"The sensor's span is {span_ft}. Put the lower end first.")
    time, stage = measured_values(readings)
    at = seconds(time)
    step = sampling_interval(at) if at.size > 1 else HOUR
    lower, median = np.quantile(_moving(at, stage), [0.1, 0.5])
    floor = max(float(median - 3 * (median - lower)), span_ft[0])
    spike = _spike(at, stage)
    return Limits(
        span_ft=span_ft,
        floor_ft=floor,
        spike_suspect_ft=spike,
        spike_fail_ft=2 * spike,
        rate_ft_per_h=_RATE_FACTOR * spike / (step / HOUR),
        flat=_flat(at, stage, step, floor),
        slow_ft_per_h=_slow_rise(at, stage),
        gap_h=max(1.0, 3 * step / HOUR),
    )


def runs(at: Floats, stage: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and the last row of each run in which the stage stays exactly the same.

    A run ends at a gap.
    """
    new = np.r_[True, (np.diff(stage) != 0) | is_gap(at)]
    first = np.flatnonzero(new)
    return first, np.append(first[1:], at.size) - 1


def flat_class(flat: tuple[Flat, ...], stage: Floats) -> NDArray[np.intp]:
    """Return the class of each stage."""
    return np.searchsorted([each.below_ft for each in flat], stage, side="right")


def _moving(at: Floats, stage: Floats) -> Floats:
    """Return the stages without the rest of any run that is among the longest one in a thousand.

    Otherwise, half a year of a dead sensor would define what is usual for this creek.
    """
    first, last = runs(at, stage)
    lengths = last - first + 1
    longest = np.quantile(lengths, _LONGEST_RUN_QUANTILE, method="lower")
    since = np.arange(stage.size) - np.repeat(first, lengths)
    moving: Floats = stage[since < longest]
    return moving


def _spike(at: Floats, stage: Floats) -> float:
    """Return how far a reading may stick out; see the top of this file."""
    close = ~is_gap(at)
    change = np.diff(stage)
    pairs = close[1:] & close[:-1]
    one, other = change[:-1][pairs], change[1:][pairs]
    if not one.size:
        return np.inf  # no pair of steps
    smaller = np.minimum(np.abs(one), np.abs(other))
    sustained = np.quantile(np.where(one * other > 0, smaller, 0), _SUSTAINED_QUANTILE)
    sticks_out = np.quantile(np.where(one * other < 0, smaller, 0), _STICKS_OUT_QUANTILE)
    moved = np.abs(change[np.abs(change) > 1e-6])
    resolution = float(moved.min()) if moved.size else 0.01
    return float(max(sustained, 3 * sticks_out, _MIN_RESOLUTIONS * resolution))


def _flat(at: Floats, stage: Floats, step: float, floor: float) -> tuple[Flat, ...]:
    """Return how long the stage may stay the same; see the top of this file."""
    edges = np.unique(np.quantile(_moving(at, stage), _CLASS_QUANTILES))
    edges = np.append(edges[edges > floor], np.inf)
    first, last = runs(at, stage)
    hours = (at[last] - at[first]) / HOUR
    shortest = max(_MIN_RUN_READINGS * step / HOUR, _MIN_RUN_HOURS)
    classes = [Flat(floor, shortest, 2 * shortest)]
    which = np.searchsorted(edges, stage[first], side="right")
    outside = stage[first] < floor
    for number, edge in enumerate(edges):
        inside = hours[(which == number) & ~outside]
        suspect = np.inf
        if inside.size >= _MIN_RUNS:
            suspect = max(_FLAT_FACTOR * float(np.quantile(inside, _RUN_QUANTILE)), shortest)
        classes.append(Flat(float(edge), suspect, 2 * suspect))
    return tuple(classes)


def hourly(at: Floats, stage: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return the hours in which something was measured (since 1970) and their median stages."""
    medians = pd.Series(stage).groupby((at // HOUR).astype(np.intp)).median()
    return medians.index.to_numpy(dtype=np.intp), np.asarray(medians, dtype=np.float64)


def _slow_rise(at: Floats, stage: Floats) -> float:
    """Return the rate that separates slow from fast hours; see the top of this file."""
    hour, level = hourly(at, stage)
    change = np.diff(level)[np.diff(hour) == 1]
    rises = np.sort(change[change > 0])
    if not rises.size:
        return 0.0
    return float(rises[np.searchsorted(np.cumsum(rises), _SLOW_SHARE * rises.sum())])
