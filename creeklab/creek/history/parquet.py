"""A month of readings as a Parquet file and as a table, and two of them made one.

Nothing here reads or writes a file: tables in, tables out.

In Parquet a time is a timestamp in UTC, to the microsecond, a value is a double, and what was not
measured is null: in most programs a mean over one NaN is NaN. What is to be said of the readings
(source, licence, datum, units) is in the metadata of the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

TIME = pa.timestamp("us", tz="UTC")

# Small enough for a few days to be found in a month, large enough to be worth their head.
ROWS_A_GROUP = 16_384


# Metadata that other programs write for themselves.
_OTHERS = ("pandas", "ARROW:", "org.", "com.", "writer.", "parquet.")


def to_arrow(readings: pd.DataFrame, about: dict[str, Any]) -> pa.Table:
    """Turn readings into what a file holds, with what is to be said about them."""
    columns: dict[str, pa.Array] = {"time": pa.array(readings.index, TIME)}
    for column in readings:
        columns[str(column)] = pa.array(readings[column], pa.float64(), from_pandas=True)
    return pa.table(columns, metadata=_metadata(about))


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Turn what a file holds into readings."""
    frame: pd.DataFrame = table.to_pandas().set_index("time")
    return frame


def encode(table: pa.Table) -> pa.Buffer:
    """Give the bytes of a file."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        row_group_size=ROWS_A_GROUP,
        use_dictionary=[name for name in table.column_names if name != "time"],
    )
    return sink.getvalue()


def metadata_of(schema: pa.Schema) -> dict[str, Any]:
    """Take what a file says of its readings."""
    about: dict[str, Any] = {
        key.decode(errors="replace"): text.decode(errors="replace")
        for key, text in (schema.metadata or {}).items()
        if not key.decode(errors="replace").startswith(_OTHERS)
    }
    if "units" in about:
        about["units"] = json.loads(about["units"])
    return about


def _metadata(about: dict[str, Any]) -> dict[str, str]:
    return {**about, "units": json.dumps(about["units"])} if "units" in about else about


def join(parts: list[pa.Table]) -> pa.Table:
    """Put tables one after the other; a column that one of them lacks is empty there."""
    about: dict[str, Any] = {}
    for part in parts:
        said = metadata_of(part.schema)
        about |= {**said, "units": {**about.get("units", {}), **said.get("units", {})}}
    # A crash may have left a folder before its first file.
    empty = pa.table({"time": pa.array([], TIME)})
    whole = pa.concat_tables(parts or [empty], promote_options="permissive")
    return whole.replace_schema_metadata(_metadata(about))


def by_month(readings: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Cut readings into months (UTC). Those that share a time stay in their order."""
    readings = readings.sort_index(kind="stable")
    month = pd.DatetimeIndex(readings.index).tz_localize(None).to_numpy().astype("datetime64[M]")
    starts = np.flatnonzero(month[1:] != month[:-1]) + 1
    for start, end in pairwise([0, *starts, len(month)] if len(month) else []):
        yield str(month[start]), readings.iloc[start:end]


def merge(old: pd.DataFrame, added: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make each time one row, with what was said last in each column; list what was replaced."""
    both = (pd.concat([old, added]) if len(old) else added).sort_index(kind="stable")
    if not both.index.has_duplicates:
        return both, replacements()
    twice = both[both.index.duplicated(keep=False)]
    replaced = [replacements()]
    for column in both:
        said = twice[column].dropna()
        was = said.groupby(level=0).shift()
        other = (was.notna() & (was != said)).to_numpy()
        if other.any():
            replaced.append(replacements(said.index[other], str(column), was[other], said[other]))
    return both.groupby(level=0).last(), pd.concat(replaced[1:] or replaced, ignore_index=True)


def replacements(time: Any = (), column: str = "", was: Any = (), now: Any = ()) -> pd.DataFrame:
    """List values of a column that others took the place of; none, if nothing is given."""
    return pd.DataFrame(
        {
            "time": pd.DatetimeIndex(time, tz="UTC").as_unit("us"),
            "column": pd.Series([column] * len(time), dtype=object),
            "was": np.asarray(was, dtype="float64"),
            "now": np.asarray(now, dtype="float64"),
        }
    )
