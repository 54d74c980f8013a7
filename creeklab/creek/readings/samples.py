"""Tables of readings: what one is, and those that come with the clone (``data/samples``).

A table of readings is a DataFrame with one row per moment, indexed by time with its time zone, in
order and without repetition. Its column names end in their unit, and what was not measured is NaN,
never a guess. :func:`times` and :func:`numbers` take a table apart, or say what is wrong with it.

A sample is such a table in Parquet. The file itself says where the data comes from, under which
licence, in which units, above which datum and what was done to it; :func:`load` hands all of that
over in ``DataFrame.attrs``, and ``data/samples/README.md`` says the same in prose.
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
    """Name every sample that can be loaded, in alphabetical order.

    Raises
    ------
    FileNotFoundError
        The clone's folder ``data/samples`` is not there.
    """
    if not FOLDER.is_dir():
        raise FileNotFoundError(
            f"The recorded samples should be in {FOLDER}, and there is no such folder. They are"
            " part of the repository and are not installed with the package: work in a clone."
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
        Indexed by ``time`` (UTC). ``attrs`` holds ``title``, ``site``, ``source``, ``licence``,
        ``datum``, ``time_zone``, ``processing``, ``source_file`` and ``source_sha256`` as text,
        and ``units`` as a dictionary from column to unit.

    Raises
    ------
    FileNotFoundError
        There is no such sample; the message lists those that there are.
    """
    known = names()
    if name not in known:
        raise FileNotFoundError(
            f"There is no sample called {name!r}. There are: {', '.join(known) or 'none'}."
        )
    table = pq.read_table(FOLDER / f"{name}.parquet")
    frame: pd.DataFrame = table.to_pandas().set_index("time")
    frame.attrs = {
        key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()
    }
    frame.attrs["units"] = json.loads(frame.attrs["units"])
    return frame


def times(readings: pd.DataFrame) -> pd.DatetimeIndex:
    """Take the times of a table of readings, in UTC.

    Raises
    ------
    ValueError
        The index is no time with a time zone, or a row does not come after the one before it;
        the message names the row.
    """
    index = readings.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise ValueError(
            "Readings need their time, with its time zone, as index: a DatetimeIndex in UTC. This"
            f" one is a {type(index).__name__} of {index.dtype}; see tz_localize and set_index."
        )
    unknown = np.flatnonzero(index.isna())
    if unknown.size:
        raise ValueError(f"Row {unknown[0]} has no time (NaT).")
    early = np.flatnonzero(np.diff(index.asi8) <= 0) + 1
    if early.size:
        row = int(early[0])
        raise ValueError(
            f"Row {row} ({index[row]}) does not come after row {row - 1} ({index[row - 1]}). Sort"
            " the readings by time, and keep one of those that share a time."
        )
    return index.tz_convert("UTC")


def numbers(readings: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Take one column of a table of readings; NaN where nothing was measured.

    Raises
    ------
    ValueError
        There is no such column, or it holds something else than numbers; the message names it.
    """
    if column not in readings:
        there = ", ".join(repr(name) for name in readings) or "no columns"
        raise ValueError(f"There is no column {column!r} in these readings, only {there}.")
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
