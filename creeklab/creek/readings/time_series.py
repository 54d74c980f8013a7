"""From whatever table somebody has to a table of readings, and what a table does not contain.

Everything else in this package takes a table of readings as :mod:`creeklab.creek.readings.samples` defines
it and refuses anything less. :func:`tidy` is the one place where a table from elsewhere becomes
one. It repairs only what can be repaired without a guess, and says what it did in
``attrs["processing"]``:

============================ =====================================================================
In the table                 What happens
============================ =====================================================================
rows out of order            sorted, counted
the same row twice           kept once, counted
two rows of one time that    made one row, counted
fill each other's blanks
two values for one time      an error: which of the two is right, nobody can know
times of several zones       all become UTC
times without a zone         an error, unless ``zone`` says which it is
an hour that happens twice,  an error with the row: only the logger's owner can know
or never (summer time)
numbers as text, blanks      numbers, NaN
text among numbers, infinity an error with column, row and what stands there
stage below zero             kept, counted: below the datum is a place like any other
no rows                      an error
one row, nothing measured    a table of readings; what has to be measured says so where it is used
============================ =====================================================================

Row numbers in messages count from 0, as ``DataFrame.iloc`` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.readings.samples import STAGE, numbers, times

HOUR = 3600.0

# A step between two readings that is longer than this many usual ones has lost a reading.
LOST = 1.5


def normalize(
    table: pd.DataFrame, *, time: str | None = None, zone: str | None = None
) -> pd.DataFrame:
    """Make a table of readings of a table from elsewhere, or say what is wrong with it.

    Parameters
    ----------
    table
        With a column ``stage_ft`` in feet, and any others; it is not changed. Columns whose names
        end in a unit (``_ft``, ``_degC``) hold numbers.
    time
        The column that holds the times; None for the index.
    zone
        The time zone of times that have none, such as ``"America/New_York"``.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``time`` (UTC), in order, no time twice. Its ``attrs`` are those of the table;
        ``processing`` in them also says what was done here.

    Raises
    ------
    ValueError
        As the table in :mod:`creeklab.creek.readings.time_series` says; the message names column and row.
    """
    if table.empty:
        raise ValueError("This table has no rows: there is nothing to read from it.")
    if time is not None and time not in table:
        raise ValueError(f"There is no column {time!r} in this table, only {_list(table)}.")
    if STAGE not in table:
        raise ValueError(
            f"There is no column {STAGE!r} in this table, only {_list(table)}. Rename the one that"
            " holds the stage, and turn it into feet if it is in another unit (1 m is 3.28084 ft)."
        )
    moment = utc(table.index if time is None else table[time], zone)
    readings = table.drop(columns=[] if time is None else [time]).set_axis(moment, axis=0)
    for column in readings:
        if str(column).endswith(("_ft", "_degC")):
            readings[column] = as_numbers(readings[column], str(column))
    readings.attrs = dict(table.attrs)
    readings = sort_by_time(readings)
    numbers(readings, STAGE)
    return readings


def sort_by_time(readings: pd.DataFrame) -> pd.DataFrame:
    """Put readings in order, no time twice, and say so: the last step of :func:`tidy`.

    Parameters
    ----------
    readings
        Indexed by time (UTC).

    Raises
    ------
    ValueError
        Two rows give different values for one time.
    """
    done = []
    about = dict(readings.attrs)
    late = int((np.diff(pd.DatetimeIndex(readings.index).asi8) < 0).sum())
    if late:
        done.append(f"sorted by time: {late} rows came after a later one")
        readings = readings.sort_index(kind="stable")
    if readings.index.has_duplicates:
        before = len(readings)
        readings = _one_row_a_time(readings)
        done.append(f"{before - len(readings)} rows that repeated a time made one with it")
    below = int((readings[STAGE] < 0).sum()) if STAGE in readings else 0
    if below:
        done.append(f"{below} stages below the datum (negative) kept")
    said = [about["processing"]] if "processing" in about else []
    readings.attrs = {**about, "processing": "; ".join(said + done)}
    times(readings)
    return readings


def dropna(
    readings: pd.DataFrame, column: str = STAGE
) -> tuple[pd.DatetimeIndex, NDArray[np.float64]]:
    """Take the times at which something was measured, and what.

    Raises
    ------
    ValueError
        These are no readings (see :mod:`creeklab.creek.readings.samples`), or nothing was measured.
    """
    time, values = times(readings), numbers(readings, column)
    there = ~np.isnan(values)
    if not there.any():
        raise ValueError(f"Column {column!r} has no measured value in {len(values)} rows.")
    return (time, values) if there.all() else (time[there], values[there])


def seconds(time: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Give times as seconds since 1970, exact to the microsecond for any year of this century."""
    return np.asarray(time.as_unit("us").asi8 / 1e6, dtype=np.float64)


def sampling_interval(at: NDArray[np.float64]) -> float:
    """Give the usual time between two readings in seconds: the median; NaN for fewer than two."""
    return float(np.median(np.diff(at))) if at.size > 1 else np.nan


def gaps(readings: pd.DataFrame, column: str = STAGE) -> pd.DataFrame:
    """List when nothing was measured, be it that the value is missing or the row.

    Parameters
    ----------
    readings
        A table of readings.
    column
        What was not measured.

    Returns
    -------
    pandas.DataFrame
        One row a gap: ``start`` (last measured time before it), ``end`` (first one after it),
        ``hours`` between the two, and ``readings`` that would have fitted in between at the usual
        step. Missing values before the first measured one and after the last are no gap between
        two readings: there ``start`` or ``end`` is the time of the first or last row.
    """
    time, _ = dropna(readings, column)
    at, every = seconds(time), seconds(times(readings))
    step = sampling_interval(every)
    after = np.flatnonzero(np.diff(at) > LOST * step)
    start, end = at[after], at[after + 1]
    fitted = np.round((end - start) / step) - 1
    # The record may have begun, or gone on, without the sensor. There the outer row is lost too.
    if every[0] < at[0]:
        start, end = np.r_[every[0], start], np.r_[at[0], end]
        fitted = np.r_[np.round((at[0] - every[0]) / step), fitted]
    if every[-1] > at[-1]:
        start, end = np.r_[start, at[-1]], np.r_[end, every[-1]]
        fitted = np.r_[fitted, np.round((every[-1] - at[-1]) / step)]
    return pd.DataFrame(
        {
            "start": to_datetimes(start),
            "end": to_datetimes(end),
            "hours": (end - start) / HOUR,
            "readings": fitted.astype("int64"),
        }
    )


def to_datetimes(at: NDArray[np.float64]) -> pd.DatetimeIndex:
    """Give times from seconds since 1970: the way back from :func:`seconds`."""
    return pd.DatetimeIndex(np.round(at * 1e6).astype("datetime64[us]"), tz="UTC")


def utc(given: pd.Index | pd.Series, zone: str | None) -> pd.DatetimeIndex:
    """Turn times of any kind into UTC.

    Parameters
    ----------
    given
        Times, or texts that say them.
    zone
        The time zone of those that have none; None if each has its own.

    Raises
    ------
    ValueError
        As the table above says; the message names the row.
    """
    if not isinstance(given.dtype, (np.dtype, pd.DatetimeTZDtype)) or given.dtype.kind in "OTSU":
        return _parsed(list(given), zone)
    if isinstance(given.dtype, np.dtype) and given.dtype.kind != "M":
        raise ValueError(
            f"The times are {given.dtype}, not times. Give a DatetimeIndex, or the name of the"
            " column that holds the times; numbers since an epoch become times with"
            " pandas.to_datetime(..., unit='s', utc=True)."
        )
    index = pd.DatetimeIndex(given)
    _no_time(index)
    return _localized(index, zone) if index.tz is None else _named(index.tz_convert("UTC"))


def _parsed(given: list[Any], zone: str | None) -> pd.DatetimeIndex:
    """Parse times written as text: all at once if they are of one kind, else one by one."""
    try:
        index = pd.DatetimeIndex(pd.to_datetime(pd.Index(given), format="ISO8601"))
    except (ValueError, TypeError):
        pass  # Their zones differ, or one of them is none: the next lines know which.
    else:
        if not index.hasnans:
            return _localized(index, zone) if index.tz is None else _named(index.tz_convert("UTC"))
    found = []
    for row, text in enumerate(given):
        try:
            moment = pd.Timestamp(text)
        except (TypeError, ValueError):
            raise ValueError(f"Row {row} has {text!r} where its time should be.") from None
        if pd.isna(moment):
            raise ValueError(f"Row {row} has no time.")
        found.append(moment)
    naive = [row for row, moment in enumerate(found) if moment.tzinfo is None]
    if naive and len(naive) < len(found):
        raise ValueError(
            f"Row {naive[0]} ({given[naive[0]]}) has no time zone, but others have. Give each time"
            " its offset, such as +00:00."
        )
    if naive:
        return _localized(pd.DatetimeIndex(found), zone)
    return _named(pd.DatetimeIndex([moment.tz_convert("UTC") for moment in found]))


def _localized(index: pd.DatetimeIndex, zone: str | None) -> pd.DatetimeIndex:
    if zone is None:
        raise ValueError(
            f"The times have no time zone (row 0: {index[0]}). Say which they are in, for instance"
            " zone='UTC' or zone='America/New_York'."
        )
    nowhere = index.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    unclear = np.flatnonzero(nowhere.isna())
    if unclear.size:
        row = int(unclear[0])
        raise ValueError(
            f"Row {row} ({index[row]}) happens twice or never in {zone}, where the clocks change"
            f" then, and so do {unclear.size - 1} more. Give the times in UTC or with their offset."
        )
    return _named(nowhere.tz_convert("UTC"))


def _named(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    return index.as_unit("us").rename("time")


def _no_time(index: pd.DatetimeIndex) -> None:
    unknown = np.flatnonzero(index.isna())
    if unknown.size:
        raise ValueError(f"Row {unknown[0]} has no time.")


def as_numbers(values: pd.Series, column: str) -> pd.Series:
    """Turn numbers written as text into numbers; blanks are NaN.

    Parameters
    ----------
    values
        Indexed by time.
    column
        What a message shall call them.

    Raises
    ------
    ValueError
        There is any other text, or infinity; the message names column and row.
    """
    if pd.api.types.is_bool_dtype(values):
        raise ValueError(f"Column {column!r} holds true and false instead of numbers.")
    if not pd.api.types.is_numeric_dtype(values):
        text = values.astype("string").str.strip()
        blank = text.isna() | (text == "")
        turned = pd.to_numeric(text.mask(blank), errors="coerce").astype("Float64")
        wrong = np.flatnonzero((turned.isna() & ~blank).to_numpy(dtype=bool))
        if wrong.size:
            row = int(wrong[0])
            raise ValueError(
                f"Column {column!r} has {values.iloc[row]!r} in row {row} ({values.index[row]}),"
                f" which is no number, and {wrong.size - 1} more like it. Empty what was not"
                " measured."
            )
        values = turned
    array = values.to_numpy(dtype="float64", na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(array))
    if infinite.size:
        row = int(infinite[0])
        raise ValueError(f"Column {column!r} is infinite in row {row} ({values.index[row]}).")
    return pd.Series(array, index=values.index)


def _one_row_a_time(readings: pd.DataFrame) -> pd.DataFrame:
    """Make one row of those that share a time, unless they contradict each other."""
    twice = readings[readings.index.duplicated(keep=False)]
    several = twice.groupby(level=0).nunique() > 1
    for column in several:
        if several[column].any():
            moment = several.index[several[column]][0]
            said = sorted(twice[column][twice.index == moment].dropna().unique())
            raise ValueError(
                f"Column {column!r} has more than one value at {moment}:"
                f" {', '.join(str(value) for value in said)}. Keep the one that is right."
            )
    return readings.groupby(level=0).first()


def _list(table: pd.DataFrame) -> str:
    return ", ".join(repr(name) for name in table) or "no columns"
