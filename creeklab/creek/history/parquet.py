"""A month of readings as Parquet and as a table, and the merging of two such tables.

Nothing here reads or writes a file: tables in, tables out.

In Parquet, a time is a timestamp in UTC with microseconds, a value is a double, and a missing value
is null, because most programs return NaN for a mean that includes a NaN. The metadata of the
schema describes the readings (source, license, datum, units).
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

# Small enough to find a few days in a month, large enough to justify the header of each group.
ROW_GROUP_SIZE = 16_384

# Metadata that other programs write for their own use.
_FOREIGN_KEYS = ("pandas", "ARROW:", "org.", "com.", "writer.", "parquet.")


def to_arrow(readings: pd.DataFrame, metadata: dict[str, Any]) -> pa.Table:
    """Return readings and their metadata as an Arrow table."""
    columns: dict[str, pa.Array] = {"time": pa.array(readings.index, TIME)}
    for column in readings:
        columns[str(column)] = pa.array(readings[column], pa.float64(), from_pandas=True)
    return pa.table(columns, metadata=_metadata(metadata))


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as readings."""
    frame: pd.DataFrame = table.to_pandas().set_index("time")
    return frame


def encode(table: pa.Table) -> pa.Buffer:
    """Return a table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        row_group_size=ROW_GROUP_SIZE,
        use_dictionary=[name for name in table.column_names if name != "time"],
    )
    return sink.getvalue()


def metadata_of(schema: pa.Schema) -> dict[str, Any]:
    """Return the metadata of the readings in a file."""
    metadata: dict[str, Any] = {
        key.decode(errors="replace"): text.decode(errors="replace")
        for key, text in (schema.metadata or {}).items()
        if not key.decode(errors="replace").startswith(_FOREIGN_KEYS)
    }
    if "units" in metadata:
        metadata["units"] = json.loads(metadata["units"])
    if "licence" in metadata:  # the spelling of creeklab 0.1
        metadata.setdefault("license", metadata.pop("licence"))
    return metadata


def _metadata(metadata: dict[str, Any]) -> dict[str, str]:
    return {**metadata, "units": json.dumps(metadata["units"])} if "units" in metadata else metadata


def join(parts: list[pa.Table]) -> pa.Table:
    """Concatenate tables; a column that one of them lacks is empty there."""
    metadata: dict[str, Any] = {}
    for part in parts:
        own = metadata_of(part.schema)
        metadata |= {**own, "units": {**metadata.get("units", {}), **own.get("units", {})}}
    # A crash may have left a folder before its first file.
    empty = pa.table({"time": pa.array([], TIME)})
    whole = pa.concat_tables(parts or [empty], promote_options="permissive")
    return whole.replace_schema_metadata(_metadata(metadata))


def by_month(readings: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Split readings by month (UTC). Rows with equal times keep their order."""
    readings = readings.sort_index(kind="stable")
    month = pd.DatetimeIndex(readings.index).tz_localize(None).to_numpy().astype("datetime64[M]")
    starts = np.flatnonzero(month[1:] != month[:-1]) + 1
    for start, end in pairwise([0, *starts, len(month)] if len(month) else []):
        yield str(month[start]), readings.iloc[start:end]


def merge(old: pd.DataFrame, added: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Merge readings so that each time is one row with the latest value; list what was replaced."""
    both = (pd.concat([old, added]) if len(old) else added).sort_index(kind="stable")
    if not both.index.has_duplicates:
        return both, replacements()
    repeated = both[both.index.duplicated(keep=False)]
    replaced = [replacements()]
    for column in both:
        values = repeated[column].dropna()
        was = values.groupby(level=0).shift()
        changed = (was.notna() & (was != values)).to_numpy()
        if changed.any():
            rows = values[changed]
            replaced.append(replacements(rows.index, str(column), was[changed], rows))
    return both.groupby(level=0).last(), pd.concat(replaced[1:] or replaced, ignore_index=True)


def replacements(time: Any = (), column: str = "", was: Any = (), now: Any = ()) -> pd.DataFrame:
    """Return a table of replaced values of a column; without arguments, an empty one."""
    return pd.DataFrame(
        {
            "time": pd.DatetimeIndex(time, tz="UTC").as_unit("us"),
            "column": pd.Series([column] * len(time), dtype=object),
            "was": np.asarray(was, dtype="float64"),
            "now": np.asarray(now, dtype="float64"),
        }
    )
