"""From the values of a file to numbers: other decimal marks, blanks, and fill values.

Many loggers write a number such as -9999 or 7999 when they measured nothing. Taken as a stage, it
becomes the highest flood of the record. :func:`without_fill_values` finds such numbers, because
they are written with nothing but nines (or are Campbell's 6999 and 7999) *and* are farther from
every other value than all other values are from each other. It leaves them empty, and warns.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable

import numpy as np
import pandas as pd

_FILL = re.compile(r"-?(9{3,6}(\.9+)?|[67]999|999\.25|99999)$")


def as_numbers(
    values: pd.Series, column: str, *, decimal: str = ".", thousands: str | None = None
) -> pd.Series:
    """Return values indexed by time with text converted to numbers; blanks become NaN.

    Raises
    ------
    ValueError
        If there is any other text, or infinity; the message names column and row.
    """
    if pd.api.types.is_bool_dtype(values):
        raise ValueError(f"Column {column!r} holds true and false instead of numbers.")
    if not pd.api.types.is_numeric_dtype(values):
        values = _parsed(values, column, decimal, thousands)
    array = values.to_numpy(dtype="float64", na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(array))
    if infinite.size:
        row = int(infinite[0])
        raise ValueError(f"Column {column!r} is infinite in row {row} ({values.index[row]}).")
    return pd.Series(array, index=values.index)


def _parsed(values: pd.Series, column: str, decimal: str, thousands: str | None) -> pd.Series:
    text = values.astype("string").str.strip()
    blank = text.isna() | (text == "")
    plain = text
    if thousands:
        mark = re.escape(thousands)
        # Only groups of three: with thousands=".", the text 1.23 is not a number.
        grouped = text.str.fullmatch(
            rf"[+-]?\d{{1,3}}(?:{mark}\d{{3}})+(?:{re.escape(decimal)}\d*)?"
        )
        plain = text.mask(grouped, text.str.replace(thousands, "", regex=False))
        plain = plain.mask(plain.str.contains(mark), pd.NA) if thousands != decimal else plain
    if decimal != ".":
        plain = plain.mask(plain.str.contains(".", regex=False), pd.NA)
        plain = plain.str.replace(decimal, ".", regex=False)
    parsed = pd.to_numeric(plain.mask(blank), errors="coerce").astype("Float64")
    wrong = np.flatnonzero((parsed.isna() & ~blank).to_numpy(dtype=bool))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            f"Column {column!r} has {values.iloc[row]!r} in row {row} ({values.index[row]}),"
            f" which is not a number, and {wrong.size - 1} more like it. Leave a value empty"
            " if it was not measured."
        )
    return parsed


def without_fill_values(
    values: pd.Series, column: str, known: Iterable[float] = ()
) -> tuple[pd.Series, list[str]]:
    """Return numbers without fill values, and a sentence for each kind that was left out.

    Parameters
    ----------
    values
        Numbers as they are in the file, before any conversion of units.
    column
        Name of the column, for the warning.
    known
        Numbers that the caller knows to be fill values; for these there is no warning.

    Warns
    -----
    UserWarning
        For each fill value that was found and not announced.
    """
    array = values.to_numpy(dtype=np.float64)
    steps = []
    known = [float(each) for each in known]
    for fill in [*known, *(each for each in _found(array) if each not in known)]:
        rows = np.flatnonzero(array == fill)
        if not rows.size:
            continue
        text = f"{rows.size} fill values {fill:g} in {column!r} left empty"
        if fill not in known:
            warnings.warn(
                f"Column {column!r} has {fill:g} in {rows.size} rows, the first in row {rows[0]}"
                f" ({values.index[rows[0]]}). That is a fill value and not a measurement, so it is"
                " left empty.",
                stacklevel=2,
            )
        array = np.where(array == fill, np.nan, array)
        steps.append(text)
    return pd.Series(array, index=values.index), steps


def _found(array: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    unique = np.unique(array[~np.isnan(array)])
    # Only the outermost values can be fill values, because those are far from all others.
    suspects = [float(each) for each in (*unique[:4], *unique[-4:]) if _FILL.match(f"{each:g}")]
    rest = unique[~np.isin(unique, suspects)]
    if not rest.size:
        return sorted({each for each in suspects if each < 0})
    span, found = float(np.ptp(rest)), []
    for each in dict.fromkeys(suspects):
        distance = float(np.abs(rest - each).min())
        if distance > abs(each) / 2 and (each < 0 or distance > span):
            found.append(each)
    return sorted(found)
