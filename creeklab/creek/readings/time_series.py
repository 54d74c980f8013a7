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
an hour that happens twice,  an error with the row: only the logger's owner can know
or never (summer time)
numbers as text, blanks      numbers, NaN
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

from creeklab.creek.readings.samples import STAGE, add_processing, list_columns, numbers, times

HOUR = 3600.0

# A step longer than this many sampling intervals means that a reading is missing.
GAP_FACTOR = 1.5


def normalize(
    table: pd.DataFrame, *, time: str | None = None, zone: str | None = None
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
    index = utc(table.index if time is None else table[time], zone)
    readings = table.drop(columns=[] if time is None else [time]).set_axis(index, axis=0)
    for column in readings:
        if str(column).endswith(("_ft", "_degC")):
            readings[column] = as_numbers(readings[column], str(column))
    readings.attrs = dict(table.attrs)
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
    steps = np.diff(at)
    # If most steps are equal, they are the median. Millions of readings are not sorted for that.
    if 2 * np.count_nonzero(steps == steps[:1]) > steps.size:
        return float(steps[0])
    return float(np.median(steps)) if steps.size else np.nan


def hold_times(at: NDArray[np.float64], interval: float) -> NDArray[np.float64]:
    """Return the seconds for which each reading stands: until the next one, but not for a gap."""
    held = np.append(np.diff(at), interval)
    held[held > GAP_FACTOR * interval] = interval
    return held


def gaps(readings: pd.DataFrame, column: str = STAGE) -> pd.DataFrame:
    """Return when nothing was measured, whether the value is missing or the whole row.

    Returns
    -------
    pandas.DataFrame
        One row per gap: ``start`` (last measured time before it), ``end`` (first one after it),
        ``hours`` between the two, and ``readings``, the number missing at the usual sampling
        interval. If values are missing before the first or after the last measurement, that gap
        starts or ends at the first or last row instead.
    """
    time, _ = measured_values(readings, column)
    at, every = seconds(time), seconds(times(readings))
    step = sampling_interval(every)
    after = np.flatnonzero(np.diff(at) > GAP_FACTOR * step)
    start, end = at[after], at[after + 1]
    missing = np.round((end - start) / step) - 1
    # The record may begin or end without a value. There, the outermost row is missing too.
    if every[0] < at[0]:
        start, end = np.r_[every[0], start], np.r_[at[0], end]
        missing = np.r_[np.round((at[0] - every[0]) / step), missing]
    if every[-1] > at[-1]:
        start, end = np.r_[start, at[-1]], np.r_[end, every[-1]]
        missing = np.r_[missing, np.round((every[-1] - at[-1]) / step)]
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


def utc(
    source: pd.Index | pd.Series, zone: str | None, format: str | None = None
) -> pd.DatetimeIndex:
    """Return times of any kind in UTC.

    Parameters
    ----------
    source
        Times, or text that holds times.
    zone
        The time zone of times that have none; None if each has its own.
    format
        Format of times written as text, as for `strptime`; None is ISO 8601. Nothing is guessed.

    Raises
    ------
    ValueError
        If a time is missing, unreadable, ambiguous or without a zone; the message names the row.
    """
    if not isinstance(source.dtype, (np.dtype, pd.DatetimeTZDtype)) or source.dtype.kind in "OTSU":
        return _parsed(pd.Series(source).reset_index(drop=True), zone, format)
    if isinstance(source.dtype, np.dtype) and source.dtype.kind != "M":
        raise ValueError(
            f"The times are {source.dtype} instead of times. Pass a DatetimeIndex, or the name of"
            " the column that holds the times. Convert seconds since an epoch with"
            " pandas.to_datetime(..., unit='s', utc=True)."
        )
    index = pd.DatetimeIndex(source)
    missing = np.flatnonzero(index.isna())
    if missing.size:
        raise ValueError(f"Row {missing[0]} has no time.")
    return _localized(index, zone) if index.tz is None else _in_utc(index)


_ISO = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)? ?(Z|UTC|[+-]\d\d(?::?\d\d)?)?$"


def _parsed(source: pd.Series, zone: str | None, format: str | None) -> pd.DatetimeIndex:
    """Parse times written as text that all have one format."""
    where = f" in column {source.name!r}" if source.name is not None else ""
    text = source.astype("string").str.strip()
    blank = np.flatnonzero(text.isna() | (text == ""))
    if blank.size:
        raise ValueError(f"Row {blank[0]} has no time{where}.")
    if format is None:
        offset = text.str.extract(f"^{_ISO}", expand=False)
        is_iso, has_zone = text.str.match(_ISO), offset.notna()
        iso = text.where(is_iso).str.replace(" ?UTC$", "Z", regex=True)
        times = pd.to_datetime(iso, format="ISO8601", errors="coerce", utc=True)
        expected = "in ISO 8601 (2018-08-31 12:00). For another format, pass format"
    else:
        has_zone = pd.Series("%z" in format, index=text.index)
        times = pd.to_datetime(text, format=format, errors="coerce", utc=True)
        expected = f"in the format {format!r}"
    wrong = np.flatnonzero(times.isna())
    if wrong.size:
        raise ValueError(
            f"Row {wrong[0]} has {source.iloc[wrong[0]]!r}{where}, which is not a time {expected}."
        )
    naive = np.flatnonzero(~has_zone)
    if naive.size and naive.size < len(text):
        raise ValueError(
            f"Row {naive[0]} ({source.iloc[naive[0]]}) has no time zone, but others have one. Add"
            " an offset to each time, such as +00:00."
        )
    index = pd.DatetimeIndex(times)
    return _localized(index.tz_localize(None), zone) if naive.size else _in_utc(index)


def _localized(index: pd.DatetimeIndex, zone: str | None) -> pd.DatetimeIndex:
    if zone is None:
        raise ValueError(
            f"The times have no time zone (row 0: {index[0]}). Pass their zone, for instance"
            " zone='UTC' or zone='America/New_York'."
        )
    local = index.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    unclear = np.flatnonzero(local.isna())
    if unclear.size:
        row = int(unclear[0])
        raise ValueError(
            f"Row {row} ({index[row]}) happens twice or never in {zone}, because the clocks change"
            f" then; {unclear.size - 1} more rows do too. Use times in UTC or with an offset."
        )
    return _in_utc(local)


def _in_utc(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    return index.tz_convert("UTC").as_unit("us").rename("time")


def as_numbers(values: pd.Series, column: str) -> pd.Series:
    """Return values indexed by time with text converted to numbers; blanks become NaN.

    Raises
    ------
    ValueError
        If there is any other text, or infinity; the message names column and row.
    """
    if pd.api.types.is_bool_dtype(values):
        raise ValueError(f"Column {column!r} holds true and false instead of numbers.")
    if not pd.api.types.is_numeric_dtype(values):
        text = values.astype("string").str.strip()
        blank = text.isna() | (text == "")
        parsed = pd.to_numeric(text.mask(blank), errors="coerce").astype("Float64")
        wrong = np.flatnonzero((parsed.isna() & ~blank).to_numpy(dtype=bool))
        if wrong.size:
            row = int(wrong[0])
            raise ValueError(
                f"Column {column!r} has {values.iloc[row]!r} in row {row} ({values.index[row]}),"
                f" which is not a number, and {wrong.size - 1} more like it. Leave a value empty"
                " if it was not measured."
            )
        values = parsed
    array = values.to_numpy(dtype="float64", na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(array))
    if infinite.size:
        row = int(infinite[0])
        raise ValueError(f"Column {column!r} is infinite in row {row} ({values.index[row]}).")
    return pd.Series(array, index=values.index)


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
