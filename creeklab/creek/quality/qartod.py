"""The QARTOD tests of the stage, each carried out by ioos_qc.

QARTOD (Quality Assurance of Real-Time Oceanographic Data) is how the U.S. Integrated Ocean
Observing System flags data: every test gives every value one flag, 1 good, 2 not evaluated,
3 suspect, 4 fail, 9 missing. A flag removes nothing; the user of the data decides what to do.

This module passes the readings to ioos_qc in the form that each test needs:

- ioos_qc treats adjacent rows as neighbors, however long the gap between them. Therefore, a missing
  row becomes a missing value, and the reading after a gap is not evaluated by tests that need a
  neighbor.
- Its flat line test builds a window before every reading, which takes gigabytes for windows of
  days. Only a stage that stays the same can be flat, so the test gets only the runs that last long
  enough, thinned out. Because the whole record is known, the whole run is flagged, and not only the
  part after the window.
- Its spike test loops over the readings, which takes most of the time for millions. Only a reading
  that differs from both neighbors by more than the limit, or lacks a neighbor, can be anything but
  good, so the test gets only those and their neighbors.
- A reading that failed its range, or is flat, counts as missing in the spike test, and a spike in
  the rate test: otherwise, the good reading after a spike would change too fast.
- The time gap test says that something is missing *before* a reading. The reading itself may be
  good, so this test does not count in ``overall``.

Source: U.S. IOOS, Manual for Real-Time Quality Control of Water Level Data (QARTOD).
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from creeklab.creek.quality.limits import Limits, flat_class, runs
from creeklab.creek.readings.time_series import HOUR, is_gap, sampling_interval

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

_WINDOW_READINGS = 50  # in a window of the flat line test, after thinning


def tests(at: Floats, stage: Floats, limits: Limits) -> dict[str, Flags]:
    """Carry out every test on readings in order of time.

    Parameters
    ----------
    at
        Times, in seconds since 1970.
    stage
        Stages (ft); NaN where nothing was measured.

    Returns
    -------
    dict of str to numpy.ndarray
        Flags by the name of the test.
    """
    flags = {"gross_range": _gross_range(stage, limits), "flat_line": _flat_line(at, stage, limits)}
    rest = _without(stage, *flags.values())
    flags["spike"] = _spike(at, rest, limits)
    rest = _without(rest, flags["spike"], least=SUSPECT)
    flags["rate_of_change"] = _rate(at, rest, limits)
    flags["time_gap"] = _time_gap(at, stage, limits)
    missing = np.isnan(stage)
    for each in flags.values():
        each[missing] = MISSING
    return flags


def overall(flags: list[Flags]) -> Flags:
    """Return the worst flag of each reading; 2 if no test evaluated it."""
    return np.asarray(_library().qartod_compare(flags), dtype=np.uint8)


def _gross_range(stage: Floats, limits: Limits) -> Flags:
    low, high = limits.span_ft
    usual = (max(limits.floor_ft, low), high)
    return _flags(_library().gross_range_test(stage, limits.span_ft, usual))


def _flat_line(at: Floats, stage: Floats, limits: Limits) -> Flags:
    flags = np.full(stage.size, GOOD, dtype=np.uint8)
    measured = np.flatnonzero(~np.isnan(stage))
    if measured.size < 3:
        return np.full(stage.size, UNKNOWN, dtype=np.uint8)
    known, values = at[measured], stage[measured]
    step = sampling_interval(known)
    first, last = runs(known, values)
    which = flat_class(limits.flat, values[first])
    suspect = np.array([each.suspect_h for each in limits.flat]) * HOUR
    for run in np.flatnonzero(known[last] - known[first] >= suspect[which]):
        rows = slice(first[run], last[run] + 1)
        limit = limits.flat[which[run]]
        thin = slice(None, None, max(1, int(limit.suspect_h * HOUR / step / _WINDOW_READINGS)))
        found = _library().flat_line_test(
            values[rows][thin],
            _times(known[rows][thin]),
            suspect_threshold=limit.suspect_h * HOUR,
            fail_threshold=limit.fail_h * HOUR,
            tolerance=1e-9,  # The range must be smaller than this; in a run it is 0.
        )
        flags[measured[rows]] = int(found.max())
    return flags


def _spike(at: Floats, stage: Floats, limits: Limits) -> Flags:
    if stage.size < 3:
        return np.full(stage.size, UNKNOWN, dtype=np.uint8)
    _, values, own = _with_gaps(at, stage)
    step = np.abs(np.diff(values))
    # A comparison with NaN is false, so readings with a missing neighbor are tested.
    is_good = np.minimum(step[:-1], step[1:]) <= limits.spike_suspect_ft
    tested = np.r_[True, ~is_good & ~np.isnan(values[1:-1]), True]
    passed = tested.copy()
    passed[:-1] |= tested[1:]
    passed[1:] |= tested[:-1]
    found = _library().spike_test(
        values[passed], limits.spike_suspect_ft, limits.spike_fail_ft, method="differential"
    )
    flags = np.full(values.size, GOOD, dtype=np.uint8)
    flags[tested] = _flags(found)[tested[passed]]
    return _not_evaluated(flags[own], stage)


def _rate(at: Floats, stage: Floats, limits: Limits) -> Flags:
    if stage.size < 2:
        return np.full(stage.size, UNKNOWN, dtype=np.uint8)
    spaced, values, own = _with_gaps(at, stage)
    found = _flags(
        _library().rate_of_change_test(values, _times(spaced), limits.rate_ft_per_h / HOUR)
    )
    # ioos_qc calls a reading with nothing before it good.
    found[np.r_[True, np.isnan(values[:-1])]] = UNKNOWN
    return _not_evaluated(found[own], stage)


def _time_gap(at: Floats, stage: Floats, limits: Limits) -> Flags:
    flags = np.full(stage.size, UNKNOWN, dtype=np.uint8)
    measured = ~np.isnan(stage)
    if measured.sum() > 1:
        flags[measured] = _flags(_library().time_gap_test(_times(at[measured]), limits.gap_h))
    return flags


def _with_gaps(at: Floats, stage: Floats) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Insert a missing value where a row is missing; also return the new rows of all readings."""
    after = np.flatnonzero(is_gap(at))
    own = np.arange(at.size) + np.searchsorted(after, np.arange(at.size), side="left")
    spaced = np.insert(at, after + 1, (at[after] + at[after + 1]) / 2)
    return spaced, np.insert(stage, after + 1, np.nan), own


def _without(stage: Floats, *flags: Flags, least: int = FAIL) -> Floats:
    """Return the stages without those whose flag is this bad, or worse."""
    bad = np.zeros(stage.size, dtype=bool)
    for each in flags:
        bad |= (each >= least) & (each <= FAIL)
    return np.where(bad, np.nan, stage)


def _not_evaluated(flags: Flags, stage: Floats) -> Flags:
    """Mark the readings that this test did not get."""
    flags[np.isnan(stage)] = UNKNOWN
    return flags


def _times(at: Floats) -> NDArray[np.datetime64]:
    return np.round(at * 1e6).astype("datetime64[us]").astype("datetime64[ns]")


def _flags(found: object) -> Flags:
    return np.array(found, dtype=np.uint8)


def _library() -> ModuleType:
    """Import ioos_qc when it is needed: with xarray, the import takes most of a second.

    Its dependencies emit deprecation warnings, which do not concern the reader of a notebook.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ioos_qc.qartod

    return ioos_qc.qartod  # type: ignore[no-any-return]
