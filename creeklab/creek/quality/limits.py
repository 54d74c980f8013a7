"""What is usual for this creek: the limits of its quality tests, taken from its own record.

A limit that suits one creek calls a storm in another a fault. So each limit here is a number that
the record itself gives, by a rule that a few faults in the record cannot bend:

- **Spike.** A spike goes out and comes back; a storm goes on. The smaller of two steps that follow
  each other *in the same direction* is a step that the creek kept up, and one wild reading cannot
  make such a pair: it goes one way and then the other. The largest one in ten thousand of them is
  the measure of a storm, and what is undone at once has to be larger than that to be suspect,
  and twice that to fail. (Noise makes small pairs in either direction. So the limit is also at
  least three times what 99 in 100 readings stick out from both neighbours, and five steps of the
  sensor's resolution.)
- **Rate of change.** Single steps in a storm are several times what it keeps up for two readings.
  Suspect is eight times the spike's limit from one reading to the next.
- **Range.** The calm creek has a floor: three times as far below the median as the lowest tenth.
  Below it a stage is suspect. There is no limit above: the highest flood is the one that has not
  happened yet. What the sensor cannot read at all (its span) fails, if somebody gives the span.
- **Drift.** A creek rises fast: of all that it rises from hour to hour, only a twentieth comes in
  hours slower than some rate. That rate is the limit of what counts as slow.
- **Flat line.** High water never stands still, low water does for days. So the stages are sorted
  into classes, and in each the time that it stays the same, but for one time in a hundred, is
  its measure: six times that is suspect, twelve times that fails. A class in which it did so less
  than fifty times has no limit. Below the range one hour is suspect and two hours fail: a stage
  where the creek never was, and unmoved, is a dead sensor.

With fewer than some hundred readings, or without a storm among them, these numbers say little:
derive them from a long record, keep them, and check new readings with them.
"""

from __future__ import annotations

from dataclasses import dataclass

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

Floats = NDArray[np.float64]

_KEPT_UP = 0.9999  # of all pairs of steps
_STICKS_OUT = 0.99
_RESOLUTIONS = 5
_RATE = 8
_CLASSES = (0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.98)
_STANDS = 0.99
_LONGER = 6
_EVER = 0.999
_SLOW = 0.05  # of all that it rises
_ENOUGH_RUNS = 50  # in a class, to say how long one lasts
_LEAST_RUN = 12  # readings, and
_LEAST_HOURS = 1.0  # hours: nothing shorter is called flat


@dataclass(frozen=True, slots=True)
class Flat:
    """How long the stage may stay the same, for stages below some height.

    Parameters
    ----------
    below_ft
        The class is of stages below this and not below the one before.
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
        A stage below is suspect.
    spike_suspect_ft, spike_fail_ft
        How far a reading may stick out from both its neighbours.
    rate_ft_per_h
        A change faster than this from one reading to the next is suspect.
    flat
        Classes of stage, lowest first; the first ends at the floor, the last at infinity.
    slow_ft_per_h
        The creek does nearly all its rising in hours that rise faster than this.
    gap_h
        More hours than this without a reading are a gap.
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
        """List the limits with their units: ``test``, ``suspect``, ``fail``, ``unit``."""
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
    """Take the limits from a record of the creek.

    Parameters
    ----------
    readings
        A table of readings, months of it if possible; faults among them do little harm.
    span_ft
        What the sensor can read. The Elkhorn's reads from 0 to 34.88 ft.

    Raises
    ------
    ValueError
        The span is the wrong way round, or nothing was measured.
    """
    if not span_ft[0] < span_ft[1]:
        raise ValueError(f"The sensor's span is {span_ft}, but its lower end comes first.")
    time, stage = measured_values(readings)
    at = seconds(time)
    step = sampling_interval(at) if at.size > 1 else HOUR
    lower, median = np.quantile(_moving(at, stage, step), [0.1, 0.5])
    floor = max(float(median - 3 * (median - lower)), span_ft[0])
    spike = _spike(at, stage, step)
    return Limits(
        span_ft=span_ft,
        floor_ft=floor,
        spike_suspect_ft=spike,
        spike_fail_ft=2 * spike,
        rate_ft_per_h=_RATE * spike / (step / HOUR),
        flat=_flat(at, stage, step, floor),
        slow_ft_per_h=_slow_rise(at, stage),
        gap_h=max(1.0, 3 * step / HOUR),
    )


def runs(at: Floats, stage: Floats, step: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find where the stage stays exactly the same: first and last row of each run.

    A run ends at a gap.
    """
    new = np.r_[True, (np.diff(stage) != 0) | (np.diff(at) > GAP_FACTOR * step)]
    first = np.flatnonzero(new)
    return first, np.append(first[1:], at.size) - 1


def flat_class(flat: tuple[Flat, ...], stage: Floats) -> NDArray[np.intp]:
    """Say to which class each stage belongs."""
    return np.searchsorted([each.below_ft for each in flat], stage, side="right")


def _moving(at: Floats, stage: Floats, step: float) -> Floats:
    """Leave out what goes on unchanged for longer than all but one in a thousand runs.

    Half a year of a dead sensor would otherwise be what is usual for this creek.
    """
    first, last = runs(at, stage, step)
    lengths = last - first + 1
    longest = np.quantile(lengths, _EVER, method="lower")
    since = np.arange(stage.size) - np.repeat(first, lengths)
    moving: Floats = stage[since < longest]
    return moving


def _spike(at: Floats, stage: Floats, step: float) -> float:
    """Say how far a reading may stick out; see the top of this file."""
    close = np.diff(at) <= GAP_FACTOR * step
    change = np.diff(stage)
    pairs = close[1:] & close[:-1]
    one, other = change[:-1][pairs], change[1:][pairs]
    if not one.size:
        return np.inf  # nothing to measure it by
    smaller = np.minimum(np.abs(one), np.abs(other))
    kept_up = np.quantile(np.where(one * other > 0, smaller, 0), _KEPT_UP)
    sticks_out = np.quantile(np.where(one * other < 0, smaller, 0), _STICKS_OUT)
    moved = np.abs(change[np.abs(change) > 1e-6])
    resolution = float(moved.min()) if moved.size else 0.01
    return float(max(kept_up, 3 * sticks_out, _RESOLUTIONS * resolution))


def _flat(at: Floats, stage: Floats, step: float, floor: float) -> tuple[Flat, ...]:
    """Say how long the stage may stay the same; see the top of this file."""
    edges = np.unique(np.quantile(_moving(at, stage, step), _CLASSES))
    edges = np.append(edges[edges > floor], np.inf)
    first, last = runs(at, stage, step)
    hours = (at[last] - at[first]) / HOUR
    least = max(_LEAST_RUN * step / HOUR, _LEAST_HOURS)
    classes = [Flat(floor, least, 2 * least)]
    which = np.searchsorted(edges, stage[first], side="right")
    outside = stage[first] < floor
    for number, edge in enumerate(edges):
        inside = hours[(which == number) & ~outside]
        suspect = np.inf
        if inside.size >= _ENOUGH_RUNS:
            suspect = max(_LONGER * float(np.quantile(inside, _STANDS)), least)
        classes.append(Flat(float(edge), suspect, 2 * suspect))
    return tuple(classes)


def hourly(at: Floats, stage: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Give the hours in which something was measured (since 1970) and their median stages."""
    medians = pd.Series(stage).groupby((at // HOUR).astype(np.intp)).median()
    return medians.index.to_numpy(dtype=np.intp), np.asarray(medians, dtype=np.float64)


def _slow_rise(at: Floats, stage: Floats) -> float:
    """Say how fast an hour has to rise to count as one of the creek's; see the top of this file."""
    hour, level = hourly(at, stage)
    change = np.diff(level)[np.diff(hour) == 1]
    rises = np.sort(change[change > 0])
    if not rises.size:
        return 0.0
    return float(rises[np.searchsorted(np.cumsum(rises), _SLOW * rises.sum())])
