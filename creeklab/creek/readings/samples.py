"""Tables of readings: the definition, and the samples in the repository (``data/samples``).

A table of readings is a DataFrame with one row per time. Its index is the time, with a time zone,
strictly increasing. Column names end in their unit, and a value that was not measured is NaN, never
a guess. :func:`times` and :func:`numbers` return the index and one column, or say what is wrong
with the table.

A sample is such a table in Parquet. The file itself states the source of the data, its license,
units, datum and processing; :func:`load` returns all of that in ``DataFrame.attrs``, and
``data/samples/README.md`` describes it in prose.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

STAGE = "stage_ft"
TEMPERATURE = "water_temperature_degC"

FOLDER = Path(__file__).resolve().parents[3] / "data" / "samples"


def names() -> list[str]:
    """Return the names of all samples, in alphabetical order.

    Raises
    ------
    FileNotFoundError
        If the repository's folder ``data/samples`` does not exist.
    """
    if not FOLDER.is_dir():
        raise FileNotFoundError(
            f"The samples are missing: there is no folder {FOLDER}. They are part of the repository"
            " and are not installed with the package: work in a clone."
        )
    return sorted(path.stem for path in FOLDER.glob("*.parquet"))


def load(name: str) -> pd.DataFrame:
    """Load one sample.

    Parameters
    ----------
    name
        One of :func:`names`, for instance ``"plumtree-run-flood-2018-08-31"``.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``time`` (UTC). ``attrs`` holds ``title``, ``site``, ``source``, ``license``,
        ``datum``, ``time_zone``, ``processing``, ``source_file`` and ``source_sha256`` as text,
        and ``units`` as a dictionary from column to unit.

    Raises
    ------
    FileNotFoundError
        If there is no such sample; the message lists all samples.
    """
    known = names()
    if name not in known:
        raise FileNotFoundError(
            f"There is no sample called {name!r}. Samples: {', '.join(known) or 'none'}."
        )
    table = pq.read_table(FOLDER / f"{name}.parquet")
    frame: pd.DataFrame = table.to_pandas().set_index("time")
    frame.attrs = {
        key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()
    }
    frame.attrs["units"] = json.loads(frame.attrs["units"])
    return frame


def time_index(readings: pd.DataFrame) -> pd.DatetimeIndex:
    """Return the index of a table in UTC, in any order.

    Raises
    ------
    ValueError
        If the index holds no times with a time zone, or a time is missing.
    """
    index = readings.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise ValueError(
            "The index of readings must be their time with a time zone. This index is a"
            f" {type(index).__name__} of {index.dtype};"
            " creeklab.creek.readings.time_series.normalize converts such a table."
        )
    missing = np.flatnonzero(index.isna())
    if missing.size:
        raise ValueError(f"Row {missing[0]} has no time (NaT).")
    return index.tz_convert("UTC")


def times(readings: pd.DataFrame) -> pd.DatetimeIndex:
    """Return the times of a table of readings, in UTC.

    Raises
    ------
    ValueError
        If the index holds no times with a time zone, or a row is not later than the row before it;
        the message names the row.
    """
    index = time_index(readings)
    early = np.flatnonzero(np.diff(index.asi8) <= 0) + 1
    if early.size:
        row = int(early[0])
        raise ValueError(
            f"Row {row} ({index[row]}) is not later than row {row - 1} ({index[row - 1]}). Sort the"
            " readings by time, and keep only one row per time."
        )
    return index


def numbers(readings: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return one column of a table of readings; NaN where nothing was measured.

    Raises
    ------
    ValueError
        If there is no such column, or it does not hold finite numbers; the message names it.
    """
    if column not in readings:
        raise ValueError(
            f"There is no column {column!r} in these readings, only {list_columns(readings)}."
        )
    values = readings[column]
    if not pd.api.types.is_numeric_dtype(values):
        raise ValueError(
            f"Column {column!r} holds {values.dtype} instead of numbers; see pandas.to_numeric."
        )
    array = values.to_numpy(dtype="float64", na_value=np.nan, copy=True)
    infinite = np.flatnonzero(np.isinf(array))
    if infinite.size:
        row = int(infinite[0])
        raise ValueError(f"Column {column!r} is infinite in row {row} ({readings.index[row]}).")
    return array


def list_columns(table: pd.DataFrame) -> str:
    """Return the names of a table's columns, for messages."""
    return ", ".join(repr(str(name)) for name in table) or "no columns"


def add_processing(readings: pd.DataFrame, *steps: str) -> None:
    """Add processing steps to the description in ``attrs["processing"]``."""
    known = [readings.attrs["processing"]] if readings.attrs.get("processing") else []
    readings.attrs["processing"] = "; ".join([*known, *steps])
