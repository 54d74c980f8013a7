"""The QARTOD tests of the stage, each carried out by ioos_qc.

QARTOD (Quality Assurance of Real-Time Oceanographic Data) is how the U.S. Integrated Ocean
Observing System marks data: every test gives every value one flag, 1 good, 2 not evaluated,
3 suspect, 4 fail, 9 missing. A flag removes nothing: what to do with it, the reader decides.

The tests are ioos_qc's. What is done here is to hand each the readings in the shape that it needs:

- It takes neighbours for neighbours, however long nothing came between them. So a missing row is
  made a missing value, and the reading after a gap is not evaluated where a neighbour is needed.
- Its flat line test looks at a window before every reading, which for windows of days is gigabytes.
  Only a stage that stays the same can be flat, so it gets just those runs that last long enough,
  thinned out; and as the whole record is there, the whole run is flagged and not only what comes
  after the window.
- Its spike test goes through the readings one by one, which for millions takes most of the time.
  Only a reading that steps away from both neighbours by more than the limit, or lacks one, can be
  anything but good: it gets just those, with their neighbours.
- A reading that failed its range, or is flat, is missing to the spike test, and a spike to the
  rate test: else the good reading after a spike would be a change too fast.
- The time gap test says that something is missing *before* a reading. That is no fault of the
  reading, so it does not count in ``overall``.

Source: U.S. IOOS, Manual for Real-Time Quality Control of Water Level Data (QARTOD).
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from creeklab.creek.quality.limits import Limits, flat_class, runs
from creeklab.creek.readings.time_series import GAP_FACTOR, HOUR, sampling_interval

GOOD, UNKNOWN, SUSPECT, FAIL, MISSING = 1, 2, 3, 4, 9
MEANING = {
    GOOD: "good",
    UNKNOWN: "not evaluated",
    SUSPECT: "suspect",
    FAIL: "fail",
    MISSING: "missing",
}

Floats = NDArray[np.float64]
Flags = NDArray[np.uint8]

_WINDOW = 50  # readings that a window of the flat line test is thinned out to


def tests(at: Floats, stage: Floats, limits: Limits) -> dict[str, Flags]:
    """Carry out every test on readings that are in order of time.

    Parameters
    ----------
    at
        When, in seconds since 1970.
    stage
        What (ft); NaN where it was not measured.
    limits
        See :mod:`creeklab.creek.quality.limits`.

    Returns
    -------
    dict of str to numpy.ndarray
        Flags by the name of the test.
    """
    flags = {"gross_range": _gross_range(stage, limits), "flat_line": _flat_line(at, stage, limits)}
    left = _without(stage, *flags.values())
    flags["spike"] = _spike(at, left, limits)
    left = _without(left, flags["spike"], worst=SUSPECT)
    flags["rate_of_change"] = _rate(at, left, limits)
    flags["time_gap"] = _time_gap(at, stage, limits)
    missing = np.isnan(stage)
    for each in flags.values():
        each[missing] = MISSING
    return flags


def overall(flags: list[Flags]) -> Flags:
    """Give each reading the worst of its flags; one that nothing evaluated is 2."""
    return np.asarray(_library().qartod_compare(flags), dtype=np.uint8)


def _gross_range(stage: Floats, limits: Limits) -> Flags:
    low, high = limits.span_ft
    usual = (max(limits.floor_ft, low), high)
    return _flags(_library().gross_range_test(stage, limits.span_ft, usual))


def _flat_line(at: Floats, stage: Floats, limits: Limits) -> Flags:
    flags = np.full(stage.size, GOOD, dtype=np.uint8)
    there = np.flatnonzero(~np.isnan(stage))
    if there.size < 3:
        return np.full(stage.size, UNKNOWN, dtype=np.uint8)
    known, values = at[there], stage[there]
    step = sampling_interval(known)
    first, last = runs(known, values, step)
    which = flat_class(limits.flat, values[first])
    suspect = np.array([each.suspect_h for each in limits.flat]) * HOUR
    for run in np.flatnonzero(known[last] - known[first] >= suspect[which]):
        rows = slice(first[run], last[run] + 1)
        limit = limits.flat[which[run]]
        thin = slice(None, None, max(1, int(limit.suspect_h * HOUR / step / _WINDOW)))
        found = _library().flat_line_test(
            values[rows][thin],
            _times(known[rows][thin]),
            suspect_threshold=limit.suspect_h * HOUR,
            fail_threshold=limit.fail_h * HOUR,
            tolerance=1e-9,  # the range has to be smaller than this: in a run it is 0
        )
        flags[there[rows]] = int(found.max())
    return flags


def _spike(at: Floats, stage: Floats, limits: Limits) -> Flags:
    if stage.size < 3:
        return np.full(stage.size, UNKNOWN, dtype=np.uint8)
    _, values, own = _with_gaps(at, stage)
    step = np.abs(np.diff(values))
    # A comparison with NaN is false: what has a missing neighbour is looked at.
    still = np.minimum(step[:-1], step[1:]) <= limits.spike_suspect_ft
    look = np.r_[True, ~still & ~np.isnan(values[1:-1]), True]
    given = look.copy()
    given[:-1] |= look[1:]
    given[1:] |= look[:-1]
    found = _library().spike_test(
        values[given], limits.spike_suspect_ft, limits.spike_fail_ft, method="differential"
    )
    flags = np.full(values.size, GOOD, dtype=np.uint8)
    flags[look] = _flags(found)[look[given]]
    return _not_evaluated(flags[own], stage)


def _rate(at: Floats, stage: Floats, limits: Limits) -> Flags:
    if stage.size < 2:
        return np.full(stage.size, UNKNOWN, dtype=np.uint8)
    moments, values, own = _with_gaps(at, stage)
    found = _flags(
        _library().rate_of_change_test(values, _times(moments), limits.rate_ft_per_h / HOUR)
    )
    # ioos_qc calls good what has nothing before it.
    found[np.r_[True, np.isnan(values[:-1])]] = UNKNOWN
    return _not_evaluated(found[own], stage)


def _time_gap(at: Floats, stage: Floats, limits: Limits) -> Flags:
    flags = np.full(stage.size, UNKNOWN, dtype=np.uint8)
    there = ~np.isnan(stage)
    if there.sum() > 1:
        flags[there] = _flags(_library().time_gap_test(_times(at[there]), limits.gap_h))
    return flags


def _with_gaps(at: Floats, stage: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Put a missing value where a row is missing; say where the given rows are now."""
    after = np.flatnonzero(np.diff(at) > GAP_FACTOR * sampling_interval(at))
    own = np.arange(at.size) + np.searchsorted(after, np.arange(at.size), side="left")
    moments = np.insert(at, after + 1, (at[after] + at[after + 1]) / 2)
    return moments, np.insert(stage, after + 1, np.nan), own


def _without(stage: Floats, *flags: Flags, worst: int = FAIL) -> Floats:
    """Leave out what is flagged as bad as this, or worse."""
    bad = np.zeros(stage.size, dtype=bool)
    for each in flags:
        bad |= (each >= worst) & (each <= FAIL)
    return np.where(bad, np.nan, stage)


def _not_evaluated(flags: Flags, stage: Floats) -> Flags:
    """Mark what this test was not given."""
    flags[np.isnan(stage)] = UNKNOWN
    return flags


def _times(at: Floats) -> NDArray[np.datetime64]:
    return np.round(at * 1e6).astype("datetime64[us]").astype("datetime64[ns]")


def _flags(found: object) -> Flags:
    return np.array(found, dtype=np.uint8)


def _library() -> ModuleType:
    """Import ioos_qc when it is needed: with xarray it takes most of a second.

    What it imports warns of its own future, which is no business of a notebook.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ioos_qc.qartod

    return ioos_qc.qartod  # type: ignore[no-any-return]
