"""Faults put into good readings on purpose, so that whoever claims to find faults can be marked.

A real record has faults that nobody listed. Here the list comes first: a :class:`Fault` has a kind,
a start, an end and a size, :func:`inject` puts it into a table of readings, and what a quality
check finds afterwards can be compared with it, reading by reading (:meth:`Fault.covers`).

============ ============================================== =========================
Kind         What it does to the readings from start to end Size
============ ============================================== =========================
spike        adds the size                                  what is added
gap          the value is missing, the row is there         (none)
flat line    repeats the last value before it               (none)
drift        adds a line from nothing up to the size        what is added at the end
noise        adds a normal random number to each            standard deviation
dead sensor  gives the same value whatever the creek does   that value
power cut    no row: nothing was measured and nothing sent  (none)
network loss nothing: they were measured, but arrive late   (none)
============ ============================================== =========================

A dead sensor gives 0 unless told otherwise. That is what the Elkhorn's gives: its broken current
loop reads far below zero depth, and the published code never lets a depth fall below 0.

A network loss leaves the table as it is. It is for :class:`~creeklab.creek.sensor.replay.Replay`,
which holds back what was measured during the loss until the network is there again.
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

# Of its slot a fault leaves free this many readings on each side: what is before and after a fault
# is good data, and two faults never touch.
_MARGIN = 3

# How long a fault lasts, in hours, from and to. A spike is one reading.
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

# How large it is, as a multiple of the scale, from and to; the sign is random too.
_SIZES: dict[Kind, tuple[float, float]] = {
    "spike": (1, 3),
    "drift": (0.5, 2),
    "noise": (0.1, 0.3),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what goes wrong, from when to when, and how badly.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    start, end
        Its first and its last moment, both included, with a time zone.
    size
        In the unit of the column that it is put into; what it means, the kind decides.

    Raises
    ------
    ValueError
        There is no such kind, a time has no zone, the end is before the start, or the size is no
        number.
    """

    kind: Kind
    start: pd.Timestamp
    end: pd.Timestamp
    size: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"There is no fault {self.kind!r}. There are: {', '.join(KINDS)}.")
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"The {self.kind} needs a start and an end with a time zone.")
        if self.end < self.start:
            raise ValueError(f"The {self.kind} ends ({self.end}) before it starts ({self.start}).")
        if not np.isfinite(self.size):
            raise ValueError(f"The size of the {self.kind} is {self.size}, which is no size.")

    def covers(self, index: pd.DatetimeIndex) -> NDArray[np.bool_]:
        """Say of each time whether the fault was there then."""
        return np.asarray((index >= self.start) & (index <= self.end), dtype=bool)


def inject(readings: pd.DataFrame, faults: Iterable[Fault], *, column: str = STAGE) -> pd.DataFrame:
    """Put faults into one column of a table of readings.

    Parameters
    ----------
    readings
        A table of readings (see :mod:`creeklab.creek.readings.samples`); it is not changed.
    faults
        Put in one after the other, in this order.
    column
        The column that the faults are of.

    Returns
    -------
    pandas.DataFrame
        A copy with the faults, and without the rows of a power cut. What was not measured stays
        NaN, except that a dead sensor and a flat line give a value all the same. ``attrs`` are
        those of the readings; ``processing`` in them says which faults were put in.

    Raises
    ------
    ValueError
        The readings are no table of readings, or have no such column of numbers.
    """
    index = times(readings)
    values, there = numbers(readings, column), np.ones(len(index), dtype=bool)
    faults = list(faults)
    for fault in faults:
        hit = fault.covers(index)
        if fault.kind == "power cut":
            there &= ~hit
        elif hit.any():
            values[hit] = _wrong(fault, index, values, hit)
    changed = readings.assign(**{column: values})[there]
    if faults:
        counted = ", ".join(f"{n} {kind}" for kind, n in Counter(f.kind for f in faults).items())
        add_processing(changed, f"faults injected into {column}: {counted}")
    return changed


def _wrong(
    fault: Fault, index: pd.DatetimeIndex, values: NDArray[np.float64], hit: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Give what is read instead of the values that a fault hits."""
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
            # Seeded by the fault itself: the same list of faults always gives the same readings.
            random = np.random.default_rng(abs(fault.start.value))
            return good + random.normal(0, abs(fault.size), good.size)
        case "dead sensor":
            return np.full(good.size, fault.size)
    return good  # a network loss


def send_times(index: pd.DatetimeIndex, faults: Iterable[Fault]) -> pd.DatetimeIndex:
    """Say when the reading of each time can leave the device: later only in a network loss."""
    moments = index.to_series()
    for fault in faults:
        if fault.kind == "network loss":
            moments[fault.covers(index)] = fault.end
    return pd.DatetimeIndex(moments)


def random_faults(
    index: pd.DatetimeIndex,
    seed: int,
    *,
    kinds: Sequence[Kind] = KINDS,
    each: int = 3,
    scale: float = 1.0,
) -> list[Fault]:
    """Make up faults for a record: as many of each kind, spread over it, none near another.

    The record is cut into as many slots of equally many readings as there will be faults. Which
    kind comes into which slot, where it starts there, how long it lasts and how large it is are
    random, and the same for the same seed. A fault that would last longer than its slot is shorter.

    Parameters
    ----------
    index
        The times of the readings, increasing. Give only those at which something was measured
        (``readings[STAGE].dropna().index``): nobody can find a fault in a gap.
    seed
        Of the random numbers.
    kinds
        Which kinds.
    each
        How many of each kind.
    scale
        What counts as a large change in this creek, in the unit of the column: a spike is one to
        three times as large, a drift half to twice, noise has a tenth to three tenths of it as its
        standard deviation.

    Returns
    -------
    list of Fault
        In the order of time.

    Raises
    ------
    ValueError
        The record has too few readings for so many faults.
    """
    random = np.random.default_rng(seed)
    order = [kind for kind in kinds for _ in range(each)]
    random.shuffle(order)
    length = len(index) // len(order) if order else 0
    if order and length < 2 * _MARGIN + 2:
        raise ValueError(
            f"{len(index)} readings are too few for {len(order)} faults with good readings in"
            f" between: take at least {len(order) * (2 * _MARGIN + 2)} readings, or fewer faults."
        )
    return [
        _random_fault(kind, index[slot * length : (slot + 1) * length], random, scale)
        for slot, kind in enumerate(order)
    ]


def _random_fault(
    kind: Kind, slot: pd.DatetimeIndex, random: np.random.Generator, scale: float
) -> Fault:
    first = int(random.integers(_MARGIN, len(slot) // 2 + 1))
    long = pd.Timedelta(minutes=round(60 * random.uniform(*_HOURS[kind])))
    last = int(slot.searchsorted(slot[first] + long, side="right")) - 1
    last = min(last, len(slot) - 1 - _MARGIN)
    size = 0.0
    if kind in _SIZES:
        size = round(random.uniform(*_SIZES[kind]) * scale * random.choice([-1, 1]), 3)
    return Fault(kind, slot[first], slot[last], abs(size) if kind == "noise" else size)
