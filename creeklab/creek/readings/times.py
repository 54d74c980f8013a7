"""From the times of a file to times in UTC: nothing is guessed, and nothing is guessed per row.

Times written as text have one format, for the whole column: ISO 8601, or a format that the caller
names. A format that would fit only some rows is an error that names the first row it does not fit,
because a day-first date that is read as month-first moves a flood by months. Times without a zone
need one from the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

Ambiguous = Literal["raise", "infer"]

EPOCHS = {"epoch seconds": "s", "epoch milliseconds": "ms"}
"""Formats of times that are numbers: seconds or milliseconds since 1970, in UTC."""

_ISO = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)? ?(Z|UTC|[+-]\d\d(?::?\d\d)?)?$"

# The zone of a place, and the fixed offset, for abbreviations that loggers and people write.
_ABBREVIATIONS = {
    **dict.fromkeys(("EDT", "EST", "ET"), ("America/New_York", 5)),
    **dict.fromkeys(("CDT", "CST", "CT"), ("America/Chicago", 6)),
    **dict.fromkeys(("MDT", "MST", "MT"), ("America/Denver", 7)),
    **dict.fromkeys(("PDT", "PST", "PT"), ("America/Los_Angeles", 8)),
    **dict.fromkeys(("AKDT", "AKST"), ("America/Anchorage", 9)),
    **dict.fromkeys(("ADT", "AST"), ("America/Halifax", 4)),
    **dict.fromkeys(("BST",), ("Europe/London", 0)),
    **dict.fromkeys(("CEST", "MESZ", "MEZ"), ("Europe/Berlin", -1)),
}


def check_zone(zone: str) -> ZoneInfo:
    """Return a time zone by its name, or raise a ValueError that suggests one.

    An abbreviation such as EDT is not a zone: it says nothing about the other half of the year.
    """
    known = _ABBREVIATIONS.get(zone.upper())
    if known is None:
        try:
            return ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"There is no time zone {zone!r}. Use a name such as America/New_York."
            ) from None
    place, hours = known
    hours -= zone.upper() in ("EDT", "CDT", "MDT", "PDT", "AKDT", "ADT", "BST", "CEST", "MESZ")
    offset = f"Etc/GMT{hours:+d}"
    raise ValueError(
        f"There is no time zone {zone!r}: that is an abbreviation. Use {place!r} if the times"
        f" follow the clock on the wall, or {offset!r} if the logger stays on {zone} all year."
    )


def utc(
    source: pd.Index | pd.Series,
    zone: str | None,
    format: str | None = None,
    ambiguous: Ambiguous = "raise",
) -> pd.DatetimeIndex:
    """Return times of any kind in UTC.

    Parameters
    ----------
    source
        Times, or text that holds times.
    zone
        The time zone of times that have none; None if each has its own.
    format
        Format of times written as text, as for `strptime`, or one of :data:`EPOCHS`; None is
        ISO 8601. Nothing is guessed.
    ambiguous
        What to do with the local hour that happens twice when the clocks change in autumn:
        ``"raise"`` an error, or ``"infer"`` it from the order of the rows, as in pandas.

    Raises
    ------
    ValueError
        If a time is missing, unreadable, ambiguous or without a zone; the message names the row.
    """
    if format in EPOCHS:
        return _epoch(pd.Series(source), EPOCHS[format])
    if not isinstance(source.dtype, (np.dtype, pd.DatetimeTZDtype)) or source.dtype.kind in "OTSU":
        return _parsed(pd.Series(source).reset_index(drop=True), zone, format, ambiguous)
    if isinstance(source.dtype, np.dtype) and source.dtype.kind != "M":
        raise ValueError(
            f"The times are {source.dtype} instead of times. Pass a DatetimeIndex, or the name of"
            " the column that holds the times. If they are seconds since 1970, pass"
            " format='epoch seconds'."
        )
    index = pd.DatetimeIndex(source)
    missing = np.flatnonzero(index.isna())
    if missing.size:
        raise ValueError(f"Row {missing[0]} has no time.")
    return _localized(index, zone, ambiguous) if index.tz is None else _in_utc(index)


def fitting_formats(text: pd.Series, formats: Sequence[str]) -> dict[str, pd.DatetimeIndex]:
    """Return the formats that fit every row, with the times that they give.

    The whole column decides, never a row: if several formats fit every row, only those are returned
    under which time makes the fewest jumps. A day-first file that is read as month-first fits only
    if it has no day after the 12th, and then jumps by a month at each midnight.
    """
    found: dict[str, pd.DatetimeIndex] = {}
    for each in formats:
        times = pd.to_datetime(text.str.strip(), format=each, errors="coerce")
        if not times.isna().any():
            found[each] = pd.DatetimeIndex(times)
    jumps = {}
    for each, index in found.items():
        steps = np.diff(index.as_unit("us").asi8)
        usual = np.median(steps) if steps.size else 0
        jumps[each] = int(((steps <= 0) | (steps > 3 * usual)).sum())
    least = min(jumps.values(), default=0)
    return {each: times for each, times in found.items() if jumps[each] == least}


def _epoch(source: pd.Series, unit: str) -> pd.DatetimeIndex:
    numbers = pd.to_numeric(source, errors="coerce")
    wrong = np.flatnonzero(numbers.isna())
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(f"Row {row} has {source.iloc[row]!r}, which is not a number of {unit}.")
    index = pd.DatetimeIndex(pd.to_datetime(numbers.astype("float64"), unit=unit, utc=True))  # type: ignore[call-overload]
    early = np.flatnonzero((index.year < 1990) | (index.year > 2100))
    if early.size:
        raise ValueError(
            f"Row {early[0]} has {source.iloc[early[0]]}, which is {index[early[0]]:%Y-%m-%d} if"
            f" the unit is {unit}. Use the other one of {', '.join(map(repr, EPOCHS))}."
        )
    return _in_utc(index.round("us"))


def _parsed(
    source: pd.Series, zone: str | None, format: str | None, ambiguous: Ambiguous
) -> pd.DatetimeIndex:
    """Parse times written as text that all have one format."""
    where = f" in column {source.name!r}" if source.name is not None else ""
    text = source.astype("string").str.strip()
    blank = np.flatnonzero(text.isna() | (text == ""))
    if blank.size:
        raise ValueError(f"Row {blank[0]} has no time{where}.")
    if format is None:
        is_iso, has_zone = text.str.match(_ISO), text.str.extract(f"^{_ISO}", expand=False).notna()
        iso = text.where(is_iso).str.replace(" ?UTC$", "Z", regex=True)
        times = pd.to_datetime(iso, format="ISO8601", errors="coerce", utc=True)
        expected = "in ISO 8601 (2018-08-31 12:00). For another format, pass format"
    else:
        has_zone = pd.Series("%z" in format, index=text.index)
        times = pd.to_datetime(text, format=format, errors="coerce", utc=True)
        expected = f"in the format {format!r}"
    wrong = np.flatnonzero(times.isna())
    if wrong.size:
        first = text.iloc[wrong[0]]
        if format is None and first.replace(".", "", 1).isdigit() and len(first) >= 10:
            unit = "epoch seconds" if len(first.partition(".")[0]) == 10 else "epoch milliseconds"
            expected += f"={unit!r} if these are {unit.removeprefix('epoch ')} since 1970"
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
    return _localized(index.tz_localize(None), zone, ambiguous) if naive.size else _in_utc(index)


def _localized(index: pd.DatetimeIndex, zone: str | None, ambiguous: Ambiguous) -> pd.DatetimeIndex:
    if zone is None:
        raise ValueError(
            f"The times have no time zone (row 0: {index[0]}). Pass their zone, for instance"
            " zone='UTC' or zone='America/New_York'."
        )
    place = check_zone(zone)
    local = index.tz_localize(place, ambiguous="NaT", nonexistent="NaT")
    unclear = np.flatnonzero(local.isna())
    if not unclear.size:
        return _in_utc(local)
    row = int(unclear[0])
    advice = "Use times in UTC or with an offset"
    if ambiguous == "infer":
        try:
            return _in_utc(index.tz_localize(place, ambiguous="infer", nonexistent="raise"))
        except ValueError as error:
            advice = f"The order of the rows does not tell which one it is ({error}). {advice}"
    else:
        advice += ", or pass ambiguous='infer' if the rows are in the order in which they happened"
    raise ValueError(
        f"Row {row} ({index[row]}) happens twice or never in {zone}, because the clocks change"
        f" then; {unclear.size - 1} more rows do too. {advice}."
    )


def _in_utc(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    return index.tz_convert("UTC").as_unit("us").rename("time")
