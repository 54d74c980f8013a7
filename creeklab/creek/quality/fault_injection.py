"""Faults injected into good readings, to measure how well a check finds them.

Nobody lists the faults in a real record. Here the list comes first: a :class:`Fault` has a kind, a
start, an end and a size, :func:`inject` applies it to a table of readings, and the findings of a
quality check can then be compared with it, reading by reading (:meth:`Fault.covers`).

============ ============================================== =========================
Kind         Effect on the readings from start to end       Size
============ ============================================== =========================
spike        adds the size                                  amount added
gap          the row exists, but its value is missing       (none)
flat line    repeats the last value before it               (none)
drift        adds a line that grows from zero to the size   amount added at the end
noise        adds a normally distributed random number      standard deviation
dead sensor  returns a constant, whatever the creek does    the constant
power cut    removes the row: nothing measured, or sent     (none)
network loss none: readings are measured, but arrive late   (none)
============ ============================================== =========================

A dead sensor returns 0 by default. So does the Elkhorn's: a broken current loop reads far below
zero depth, and the published code never lets a depth fall below 0.

A network loss leaves the table unchanged. A replay (:mod:`creeklab.creek.sensor.replay`) delays the
readings until the network is back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.readings.samples import STAGE, add_processing, numbers, times

Kind = Literal[
    "spike", "gap", "flat line", "drift", "noise", "dead sensor", "power cut", "network loss"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Good readings that a fault leaves on each side of its slot, so that two faults never touch.
_MARGIN = 3

# Shortest and longest duration of a fault, in hours. A spike is one reading.
_HOURS: dict[Kind, tuple[float, float]] = {
    "spike": (0, 0),
    "gap": (1, 48),
    "flat line": (6, 48),
    "drift": (48, 240),
    "noise": (3, 24),
    "dead sensor": (6, 120),
    "power cut": (0.5, 12),
    "network loss": (0.5, 12),
}

# Smallest and largest size, as a multiple of the scale; the sign is random too.
_SIZES: dict[Kind, tuple[float, float]] = {"spike": (1, 3), "drift": (0.5, 2), "noise": (0.1, 0.3)}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind, when it starts and ends, and its size.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    start, end
        Its first and last time, both inclusive, with a time zone.
    size
        In the unit of the column; its meaning depends on the kind.

    Raises
    ------
    ValueError
        If there is no such kind, a time has no zone, the end is before the start, or the size is
        not a number.
    """

    kind: Kind
    start: pd.Timestamp
    end: pd.Timestamp
    size: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"There is no fault {self.kind!r}. Faults: {', '.join(KINDS)}.")
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"The start and the end of the {self.kind} need a time zone.")
        if self.end < self.start:
            raise ValueError(f"The {self.kind} ends ({self.end}) before it starts ({self.start}).")
        if not np.isfinite(self.size):
            raise ValueError(f"The size of the {self.kind} is {self.size}, which is not a number.")

    def covers(self, index: pd.DatetimeIndex) -> NDArray[np.bool_]:
        """Return for each time whether the fault was present."""
        return np.asarray((index >= self.start) & (index <= self.end), dtype=bool)


def inject(readings: pd.DataFrame, faults: Iterable[Fault], *, column: str = STAGE) -> pd.DataFrame:
    """Inject faults into one column of a table of readings.

    Parameters
    ----------
    readings
        A table of readings (see :mod:`creeklab.creek.readings.samples`); it is not changed.
    faults
        Applied one after the other, in this order.

    Returns
    -------
    pandas.DataFrame
        A copy with the faults, and without the rows of a power cut. Values that were not measured
        stay NaN, except during a dead sensor or a flat line. ``attrs`` are those of the readings;
        ``processing`` also lists the faults.

    Raises
    ------
    ValueError
        If this is not a table of readings, or has no such column of numbers.
    """
    index = times(readings)
    values, kept = numbers(readings, column), np.ones(len(index), dtype=bool)
    faults = list(faults)
    for fault in faults:
        hit = fault.covers(index)
        if fault.kind == "power cut":
            kept &= ~hit
        elif hit.any():
            values[hit] = _faulty_values(fault, index, values, hit)
    changed = readings.assign(**{column: values})[kept]
    if faults:
        counted = ", ".join(f"{n} {kind}" for kind, n in Counter(f.kind for f in faults).items())
        add_processing(changed, f"faults injected into {column}: {counted}")
    return changed


def _faulty_values(
    fault: Fault, index: pd.DatetimeIndex, values: NDArray[np.float64], hit: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the readings that replace the values in the rows of a fault."""
    good = values[hit]
    match fault.kind:
        case "spike":
            return good + fault.size
        case "gap":
            return np.full(good.size, np.nan)
        case "flat line":
            before = values[: int(hit.argmax())]
            known = before[~np.isnan(before)]
            return np.full(good.size, known[-1] if known.size else good[0])
        case "drift":
            length = fault.end - fault.start
            passed = np.asarray((index[hit] - fault.start) / length) if length else 1.0
            return good + fault.size * passed
        case "noise":
            # The fault is the seed, so the same faults always produce the same readings.
            random = np.random.default_rng(abs(fault.start.value))
            return good + random.normal(0, abs(fault.size), good.size)
        case "dead sensor":
            return np.full(good.size, fault.size)
    return good  # a network loss


def send_times(index: pd.DatetimeIndex, faults: Iterable[Fault]) -> pd.DatetimeIndex:
    """Return when the reading of each time can be sent: later only during a network loss."""
    sent = index.to_series()
    for fault in faults:
        if fault.kind == "network loss":
            sent[fault.covers(index)] = fault.end
    return pd.DatetimeIndex(sent)


def random_faults(
    index: pd.DatetimeIndex,
    seed: int,
    *,
    kinds: Sequence[Kind] = KINDS,
    each: int = 3,
    scale: float = 1.0,
) -> list[Fault]:
    """Return random faults, equally many of each kind, spread over a record and never adjacent.

    The record is divided into one slot per fault, with equal numbers of readings. The kind of fault
    in each slot, its start, duration and size are random, and the same for the same seed. A fault
    that would not fit into its slot is shortened.

    Parameters
    ----------
    index
        The times of the readings, increasing. Pass only times at which something was measured
        (``readings[STAGE].dropna().index``), because nobody can find a fault in a gap.
    each
        Number of faults of each kind.
    scale
        A large change in this creek, in the unit of the column. A spike is one to three times as
        large, a drift half to twice, and the standard deviation of noise is a tenth to three
        tenths.

    Returns
    -------
    list of Fault
        In order of time.

    Raises
    ------
    ValueError
        If the record has too few readings for so many faults.
    """
    random = np.random.default_rng(seed)
    order = [kind for kind in kinds for _ in range(each)]
    random.shuffle(order)
    length = len(index) // len(order) if order else 0
    if order and length < 2 * _MARGIN + 2:
        raise ValueError(
            f"{len(index)} readings are too few for {len(order)} faults with good readings in"
            f" between. Use at least {len(order) * (2 * _MARGIN + 2)} readings, or fewer faults."
        )
    return [
        _random_fault(kind, index[slot * length : (slot + 1) * length], random, scale)
        for slot, kind in enumerate(order)
    ]


def _random_fault(
    kind: Kind, slot: pd.DatetimeIndex, random: np.random.Generator, scale: float
) -> Fault:
    first = int(random.integers(_MARGIN, len(slot) // 2 + 1))
    duration = pd.Timedelta(minutes=round(60 * random.uniform(*_HOURS[kind])))
    last = int(slot.searchsorted(slot[first] + duration, side="right")) - 1
    last = min(last, len(slot) - 1 - _MARGIN)
    size = 0.0
    if kind in _SIZES:
        size = round(random.uniform(*_SIZES[kind]) * scale * random.choice([-1, 1]), 3)
    return Fault(kind, slot[first], slot[last], abs(size) if kind == "noise" else size)
