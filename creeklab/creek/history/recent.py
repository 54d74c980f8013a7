"""The latest readings of many Things, in one table, until they are merged into the months.

Writing a month costs the same whether one reading is new or a thousand. A recorder of many Things
therefore adds its readings to this table, which is one small file, and merges a few Things at a
time. A Thing that waits longest comes first, so the order of the rows is the only state.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from creeklab.creek.history.parquet import TIME

_METADATA = b"things"


class Recent:
    """Readings in the order in which they arrived. Immutable.

    Parameters
    ----------
    rows
        The columns ``thing`` and ``time``, and a column for each kind of value.
    metadata
        For each Thing, the metadata of its readings. ``units`` names its columns.
    """

    def __init__(self, rows: pa.Table, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows, self._metadata = rows, metadata

    @classmethod
    def of(cls, readings: pd.DataFrame, metadata: Mapping[str, Mapping[str, Any]]) -> Recent:
        """Return a table indexed by time, with a column ``thing``, as recent readings."""
        columns: dict[str, pa.Array] = {
            "thing": pa.array(readings["thing"], pa.string()),
            "time": pa.array(readings.index, TIME),
        }
        for column in readings.columns.drop("thing"):
            columns[column] = pa.array(readings[column], pa.float64(), from_pandas=True)
        return cls(pa.table(columns), metadata)

    @classmethod
    def decode(cls, file: Any) -> Recent:
        """Read what :meth:`encode` has written."""
        rows = pa.ipc.open_file(file).read_all()
        return cls(rows.replace_schema_metadata(), json.loads(rows.schema.metadata[_METADATA]))

    def encode(self) -> pa.Buffer:
        """Return the readings as the bytes of an Arrow file."""
        rows = self._rows.replace_schema_metadata({_METADATA: json.dumps(self._metadata)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        return sink.getvalue()

    @property
    def things(self) -> list[str]:
        """Names of the Things; the one that waits longest is first."""
        names: list[str] = pc.unique(self._rows["thing"]).to_pylist()
        return names

    def readings(self, thing: str) -> pd.DataFrame:
        """Return the readings of one Thing, in order of arrival, with their metadata."""
        metadata = self._metadata.get(thing, {})
        own = self._rows.filter(pc.equal(self._rows["thing"], thing))
        values = {name: own[name].to_numpy() for name in metadata.get("units", {})}
        micros = own["time"].cast(pa.int64()).to_numpy().astype("datetime64[us]")
        frame = pd.DataFrame(values, index=pd.DatetimeIndex(micros, tz="UTC", name="time"))
        frame.attrs.update(metadata)
        return frame

    def plus(self, later: Recent) -> Recent:
        """Return these readings, followed by later ones."""
        rows = pa.concat_tables([self._rows, later._rows], promote_options="default")
        metadata = {**self._metadata}
        for thing, own in later._metadata.items():
            units = {**metadata.get(thing, {}).get("units", {}), **own["units"]}
            metadata[thing] = {**metadata.get(thing, {}), **own, "units": units}
        return Recent(rows, metadata)

    def without(self, things: Collection[str]) -> Recent:
        """Return the readings of all other Things."""
        left = np.flatnonzero(~np.isin(self._rows["thing"].to_numpy(), list(things)))
        metadata = {name: own for name, own in self._metadata.items() if name not in things}
        return Recent(self._rows.take(left), metadata)

    def __len__(self) -> int:
        return len(self._rows)


EMPTY = Recent(pa.table({"thing": pa.array([], pa.string()), "time": pa.array([], TIME)}), {})
