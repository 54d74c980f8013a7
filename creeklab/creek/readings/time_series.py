"""From any table to a table of readings, and the gaps in one.

Everything else in this package takes a table of readings as :mod:`creeklab.creek.readings.samples`
defines it and rejects anything else. :func:`normalize` is the one place where another table becomes
one. It repairs only what needs no guess, and records what it did in ``attrs["processing"]``:

============================ =====================================================================
In the table                 What happens
============================ =====================================================================
rows out of order            sorted, counted
the same row twice           kept once, counted
two rows for one time that   merged into one row, counted
fill each other's blanks
two values for one time      an error: nobody can know which of the two is right
times in several zones       all converted to UTC
times without a zone         an error, unless ``zone`` is given
an hour that happens twice,  an error with the row, unless the order of the rows resolves it and
or never (clock changes)     ``ambiguous="infer"`` is given
times in another format      an error with the row, unless ``format`` is given
numbers as text, blanks      numbers, NaN
fill values such as -9999    NaN, counted, with a warning
text among numbers, infinity an error with column, row and value
stage below zero             kept, counted: a stage can lie below the datum
no rows                      an error
one row, or only NaN         accepted; functions that need measured values raise an error
============================ =====================================================================

Row numbers in messages count from 0, as in ``DataFrame.iloc``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.readings.numbers import as_numbers, without_fill_values
from creeklab.creek.readings.samples import STAGE, add_processing, list_columns, numbers, times
from creeklab.creek.readings.times import Ambiguous, utc

HOUR = 3600.0

# A step longer than this many sampling intervals means that a reading is missing.
GAP_FACTOR = 1.5

_JITTER = 0.1  # of the interval: so much a step can differ without being another interval
_AROUND = 24  # steps before and after one that tell the sampling interval at its time


def normalize(
    table: pd.DataFrame,
    *,
    time: str | None = None,
    zone: str | None = None,
    format: str | None = None,
    ambiguous: Ambiguous = "raise",
) -> pd.DataFrame:
    """Return a table of readings made from any table, or raise an error that says what is wrong.

    Parameters
    ----------
    table
        Has a column ``stage_ft`` in feet and any others. Columns whose names end in a unit
        (``_ft``, ``_degC``) hold numbers. The table is not changed.
    time
        The column that holds the times; None for the index.
    zone
        The time zone of times that have none, such as ``"America/New_York"``.
    format, ambiguous
        How to read the times; see :func:`creeklab.creek.readings.times.utc`.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``time`` (UTC), strictly increasing. ``attrs`` are those of the table, with the
        changes made here added to ``processing``.

    Raises
    ------
    ValueError
        If the table cannot be repaired (see the table at the top of this module); the message names
        column and row.
    """
    if table.empty:
        raise ValueError("This table has no rows, so there is nothing to read.")
    if time is not None and time not in table:
        raise ValueError(f"There is no column {time!r} in this table, only {list_columns(table)}.")
    if STAGE not in table:
        raise ValueError(
            f"There is no column {STAGE!r} in this table, only {list_columns(table)}. Rename the"
            " column that holds the stage, and convert it to feet if necessary (1 m is 3.28084 ft)."
        )
    index = utc(table.index if time is None else table[time], zone, format, ambiguous)
    readings = table.drop(columns=[] if time is None else [time]).set_axis(index, axis=0)
    steps: list[str] = []
    for column in map(str, readings):
        if column.endswith(("_ft", "_degC")):
            values = as_numbers(readings[column], column)
            readings[column], removed = without_fill_values(values, column)
            steps += removed
    readings.attrs = dict(table.attrs)
    add_processing(readings, *steps)
    readings = sort_by_time(readings)
    numbers(readings, STAGE)
    return readings


def sort_by_time(readings: pd.DataFrame) -> pd.DataFrame:
    """Sort readings by time (UTC) and merge rows with equal times; record both in ``processing``.

    Raises
    ------
    ValueError
        If two rows have different values for one time.
    """
    done = []
    attrs = dict(readings.attrs)  # Grouping loses them.
    late = int((np.diff(pd.DatetimeIndex(readings.index).asi8) < 0).sum())
    if late:
        done.append(f"sorted by time: {late} rows came after a later row")
        readings = readings.sort_index(kind="stable")
    if readings.index.has_duplicates:
        before = len(readings)
        readings = _merge_equal_times(readings)
        done.append(f"merged {before - len(readings)} rows that repeated a time")
    below = int((readings[STAGE] < 0).sum()) if STAGE in readings else 0
    if below:
        done.append(f"kept {below} stages below the datum (negative)")
    readings.attrs = attrs
    add_processing(readings, *done)
    times(readings)
    return readings


def measured_values(
    readings: pd.DataFrame, column: str = STAGE
) -> tuple[pd.DatetimeIndex, NDArray[np.float64]]:
    """Return the times at which a column was measured, and the values.

    Raises
    ------
    ValueError
        If this is not a table of readings (see :mod:`creeklab.creek.readings.samples`), or nothing
        was measured.
    """
    time, values = times(readings), numbers(readings, column)
    measured = ~np.isnan(values)
    if not measured.any():
        raise ValueError(f"Column {column!r} has no measured value in {len(values)} rows.")
    return (time, values) if measured.all() else (time[measured], values[measured])


def seconds(time: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Return times as seconds since 1970, exact to the microsecond for any year of this century."""
    return np.asarray(time.as_unit("us").asi8 / 1e6, dtype=np.float64)


def sampling_interval(at: NDArray[np.float64]) -> float:
    """Return the median time between two readings in seconds; NaN for fewer than two."""
    return float(np.median(np.diff(at))) if at.size > 1 else np.nan


def local_intervals(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each step between two readings, the sampling interval at that time in seconds.

    The interval belongs to a stretch of time, because a logger can be set to another one. It is the
    median of the steps around each step.
    """
    step = np.diff(at)
    if not step.size:
        return step
    # A step that occurs: the mean of two intervals would be neither.
    usual = float(np.quantile(step, 0.5, method="lower"))
    local = np.full(step.size, usual)
    odd = np.abs(step - usual) > _JITTER * usual
    # Only near an unusual step can the interval differ from the median of all.
    window = np.ones(2 * _AROUND + 1, dtype=np.int32)
    near = np.flatnonzero(np.convolve(odd, window)[_AROUND : _AROUND + step.size])
    if near.size:
        padded = np.pad(step, _AROUND, mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, window.size)
        for rows in np.array_split(near, -(-near.size // 100_000)):
            local[rows] = np.median(windows[rows], axis=1)
    return local


def is_gap(at: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return, for each step between two readings, whether readings are missing in it."""
    return np.asarray(np.diff(at) > GAP_FACTOR * local_intervals(at))


def hold_times(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the seconds for which each reading stands: until the next one, but not for a gap."""
    if at.size < 2:
        return np.zeros(at.size)
    local = local_intervals(at)
    step = np.diff(at)
    return np.append(np.where(step > GAP_FACTOR * local, local, step), local[-1])


def gaps(readings: pd.DataFrame, column: str = STAGE) -> pd.DataFrame:
    """Return when nothing was measured, whether the value is missing or the whole row.

    Returns
    -------
    pandas.DataFrame
        One row per gap: ``start`` (last measured time before it), ``end`` (first one after it),
        ``hours`` between the two, and ``readings``, the number missing at the sampling
        interval of that time. If values are missing before the first or after the last
        measurement, that gap starts or ends at the first or last row instead.
    """
    time, _ = measured_values(readings, column)
    at, every = seconds(time), seconds(times(readings))
    local = local_intervals(every) if every.size > 1 else np.array([np.nan])
    step = local[np.searchsorted(every, at[:-1])]
    after = np.flatnonzero(np.diff(at) > GAP_FACTOR * step)
    start, end = at[after], at[after + 1]
    missing = np.round((end - start) / step[after]) - 1
    # The record may begin or end without a value. There, the outermost row is missing too.
    if every[0] < at[0]:
        start, end = np.r_[every[0], start], np.r_[at[0], end]
        missing = np.r_[np.round((at[0] - every[0]) / local[0]), missing]
    if every[-1] > at[-1]:
        start, end = np.r_[start, at[-1]], np.r_[end, every[-1]]
        missing = np.r_[missing, np.round((every[-1] - at[-1]) / local[-1])]
    return pd.DataFrame(
        {
            "start": to_datetimes(start),
            "end": to_datetimes(end),
            "hours": (end - start) / HOUR,
            "readings": missing.astype("int64"),
        }
    )


def to_datetimes(at: NDArray[np.float64]) -> pd.DatetimeIndex:
    """Return times from seconds since 1970: the inverse of :func:`seconds`."""
    return pd.DatetimeIndex(np.round(at * 1e6).astype("datetime64[us]"), tz="UTC")


def _merge_equal_times(readings: pd.DataFrame) -> pd.DataFrame:
    """Merge rows that share a time, unless they contradict each other."""
    repeated = readings[readings.index.duplicated(keep=False)]
    conflicts = repeated.groupby(level=0).nunique() > 1
    for column in conflicts:
        if conflicts[column].any():
            time = conflicts.index[conflicts[column]][0]
            values = sorted(repeated[column][repeated.index == time].dropna().unique())
            raise ValueError(
                f"Column {column!r} has more than one value at {time}:"
                f" {', '.join(str(value) for value in values)}. Keep the one that is right."
            )
    return readings.groupby(level=0).first()
