"""The history of a creek: every reading of every Thing, in Parquet files that any program can read.

A history is a tree of folders with one file per Thing and month (UTC)::

    history/thing=Test2/month=2018-08/readings.parquet

Hive names the partitions of a table like this (``key=value``). Therefore Athena, Spark, Dask and
pandas read a history as it is, and read only the months that they need. They know nothing of this
program, so its promises hold in the files themselves: each time occurs once, in order, in UTC, and
every column name ends in its unit.

That is why a month is one file. New readings are merged into it, and the file is replaced
atomically, so no reader ever sees a reading twice or half a file, and after a crash there is either
the old file or the new one. A month with one reading per minute takes half a megabyte.

Appending a reading again changes nothing, and a blank overwrites nothing. Only **a different value
for a known time and column replaces the old one**: the last value counts as a correction.
:meth:`History.append` returns the replaced values, so that no change goes unnoticed.

``docs/history-files.md`` shows how other programs read a history.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
from numpy.typing import NDArray

from creeklab.creek.history.parquet import (
    TIME,
    by_month,
    encode,
    join,
    merge,
    metadata_of,
    replacements,
    to_arrow,
    to_pandas,
)
from creeklab.creek.history.storage import FileStore
from creeklab.creek.readings.samples import time_index
from creeklab.creek.readings.time_series import as_numbers
from creeklab.creek.readings.units import unit_of

FILE = "readings.parquet"

READ_THREADS = 8

_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED_NAMES = ("time", "thing", "month")


@dataclass(frozen=True)
class AppendResult:
    """What an append changed.

    Parameters
    ----------
    new, known
        Number of times that were added, and that existed before.
    replaced
        One row for each replaced value: ``time``, ``column``, ``was``, ``now``.
    """

    new: int
    known: int
    replaced: pd.DataFrame


class History:
    """A history in a folder or in a bucket.

    Parameters
    ----------
    where
        A folder, which need not exist yet; or a pyarrow URI such as
        ``s3://bucket/prefix?region=us-east-2`` (for another S3 service, add ``scheme=http`` and
        ``endpoint_override=localhost:9000``).
    filesystem
        A pyarrow file system, for options that a URI cannot express:
        ``S3FileSystem(anonymous=True, ...)``. ``where`` is then the path in it, ``bucket/prefix``.

    Examples
    --------
    >>> import tempfile
    >>> from creeklab.creek.readings import samples
    >>> folder = tempfile.TemporaryDirectory()
    >>> history = History(folder.name)
    >>> history.append("plumtree", samples.load("plumtree-run-flood-2018-08-31")).new
    577
    >>> history.read("plumtree", "2018-08-31 23:25", "2018-08-31 23:35")["stage_ft"].tolist()
    [6.57, 6.63]
    >>> folder.cleanup()
    """

    def __init__(
        self, where: str | Path, *, filesystem: pyarrow.fs.FileSystem | None = None
    ) -> None:
        self.storage = FileStore(where, filesystem)

    def __repr__(self) -> str:
        return f"History in {self.storage.name}"

    @property
    def things(self) -> list[str]:
        """Names of all Things that have readings, sorted."""
        return sorted(_partition_values(self.storage.list(), "thing"))

    # --- reading ----------------------------------------------------------------------------------

    def read(
        self,
        thing: str | None = None,
        start: Any = None,
        end: Any = None,
        *,
        columns: list[str] | None = None,
    ) -> pd.DataFrame:
        """Read a span as one table of readings.

        Parameters
        ----------
        thing
            Name of the Thing; optional if there is only one.
        start, end
            The span, from ``start`` to before ``end``; None is open. Anything that
            `pandas.Timestamp` accepts; without a zone it is UTC.
        columns
            Only these columns; None reads all.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``time`` (UTC), strictly increasing. NaN where nothing was measured.
            ``attrs`` holds the metadata of the readings that were appended, and ``units`` by
            column. The table may have no rows.

        Raises
        ------
        ValueError
            If there is no such Thing or column, or the start is after the end.
        """
        thing, months, (first, last) = self._span(thing, start, end)
        # If the span holds no month, read another one for its columns.
        months = months or self._months(thing)[-1:]
        with ThreadPoolExecutor(READ_THREADS) as pool:
            tables = list(
                pool.map(lambda month: self._table(thing, month, first, last, columns), months)
            )
        return _frame(tables, thing, columns)

    def months(
        self,
        thing: str | None = None,
        start: Any = None,
        end: Any = None,
        *,
        columns: list[str] | None = None,
    ) -> Iterator[pd.DataFrame]:
        """Read a span month by month (UTC), for spans that do not fit into memory.

        The parameters are those of :meth:`read`. Months without readings in the span are skipped.
        """
        thing, months, (first, last) = self._span(thing, start, end)
        for month in months:
            frame = _frame([self._table(thing, month, first, last, columns)], thing, columns)
            if len(frame):
                yield frame

    def overview(self) -> pd.DataFrame:
        """List the months of all Things.

        Returns
        -------
        pandas.DataFrame
            One row per Thing and month (UTC): ``thing``, ``month``, ``readings`` (number of times),
            ``first`` and ``last``.
        """
        rows = []
        for thing in self.things:
            for month in self._months(thing):
                index = to_pandas(self._table(thing, month, columns=[])).index
                if len(index):
                    rows.append((thing, month, len(index), index.min(), index.max()))
        return pd.DataFrame(rows, columns=["thing", "month", "readings", "first", "last"])

    def _span(
        self, thing: str | None, start: Any, end: Any
    ) -> tuple[str, list[str], tuple[pd.Timestamp | None, pd.Timestamp | None]]:
        """Return the Thing, its months that lie in the span, and the span."""
        things = self.things
        if thing is None and len(things) == 1:
            thing = things[0]
        if thing is None or thing not in things:
            problem = "Name a Thing" if thing is None else f"There is no Thing {thing!r}"
            raise ValueError(
                f"{problem}. Things in {self.storage.name}:"
                f" {', '.join(map(repr, things)) or 'none yet'}."
            )
        first, last = _parse_time(start, "start"), _parse_time(end, "end")
        if first is not None and last is not None and first > last:
            raise ValueError(f"The start, {first}, is after the end, {last}.")
        months = [
            month
            for month in self._months(thing)
            if (first is None or month >= f"{first:%Y-%m}")
            and (last is None or month <= f"{last:%Y-%m}")
        ]
        return thing, months, (first, last)

    def _months(self, thing: str) -> list[str]:
        return sorted(
            _partition_values(self.storage.list(f"thing={quote(thing, safe='')}"), "month")
        )

    def _table(
        self,
        thing: str,
        month: str,
        first: pd.Timestamp | None = None,
        last: pd.Timestamp | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table:
        """Read a month, or its part in the span, with each time once and in order."""
        folder = _month_folder(thing, month)
        files = self._files(folder)
        whole = join([self._read_file(f"{folder}/{name}", first, last, columns) for name in files])
        at = whole["time"].cast(pa.int64()).to_numpy()
        if (np.diff(at) > 0).all():
            return whole
        # Several files, or a file that another program wrote.
        merged, _ = merge(pd.DataFrame(), to_pandas(whole))
        return to_arrow(merged, metadata_of(whole.schema))

    def _files(self, folder: str) -> list[str]:
        """Return the names of the files of a month, ours first: later files correct it."""
        names = [name for name in self.storage.list(folder) if name.endswith(".parquet")]
        return sorted(names, key=lambda name: (name != FILE, name))

    def _read_file(
        self,
        path: str,
        first: pd.Timestamp | None,
        last: pd.Timestamp | None,
        columns: list[str] | None,
    ) -> pa.Table:
        with contextlib.suppress(pa.ArrowInvalid):  # In a bucket, it may have been replaced.
            return self._read_span(path, first, last, columns)
        try:
            return self._read_span(path, first, last, columns)
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{self.storage.name}/{path} is not a Parquet file ({error}). creeklab never leaves"
                " a half-written file, so check the disk. Then restore a copy, or remove the file."
            ) from None

    def _read_span(
        self,
        path: str,
        first: pd.Timestamp | None,
        last: pd.Timestamp | None,
        columns: list[str] | None,
    ) -> pa.Table:
        with self.storage.read(path) as file:
            part = ds.ParquetFileFormat().make_fragment(file)
            schema = part.physical_schema
            time = ds.field("time")
            if schema.field("time").type != TIME:
                time = time.cast(TIME, safe=False)  # Statistics apply only without a cast.
            bounds = [] if first is None else [time >= pa.scalar(first, TIME)]
            bounds += [] if last is None else [time < pa.scalar(last, TIME)]
            names = [
                name
                for name in schema.names
                if name not in _RESERVED_NAMES and (columns is None or name in columns)
            ]
            # `read` already uses one thread per file.
            table = part.to_table(
                columns={"time": time, **{name: ds.field(name) for name in names}},
                filter=reduce(and_, bounds) if bounds else None,
                use_threads=False,
            )
        return table.replace_schema_metadata(schema.metadata)

    # --- writing ----------------------------------------------------------------------------------

    def append(
        self,
        thing: str,
        readings: pd.DataFrame,
        *,
        before_replacing: Callable[[pd.DataFrame], object] | None = None,
    ) -> AppendResult:
        """Append readings; those that are already in the history change nothing.

        Works month by month, and each month is on disk before the next begins. A crash in between
        keeps the months before it, and the same call again does the rest.

        Parameters
        ----------
        thing
            Name of the Thing.
        readings
            Indexed by time with a time zone, in any order; if a time occurs twice, the later row
            counts. The columns hold numbers. Text in ``attrs`` (source, license, datum, ...) is
            stored with them.
        before_replacing
            Called for each month with the values that are about to be replaced (as in
            :class:`AppendResult`), so that they can be saved first and no crash loses them.

        Returns
        -------
        AppendResult
            How many times were new, and which values were replaced.

        Raises
        ------
        ValueError
            If these are not readings; the message names column and row. Nothing is written then.
        TimeoutError
            If another program is writing to this history and does not finish.
        """
        if not thing:
            raise ValueError("The name of the Thing is empty.")
        added, attrs = _validate(readings), readings.attrs
        metadata = {str(key): text for key, text in attrs.items() if isinstance(text, str) and text}
        units = {
            name: attrs.get("units", {}).get(name) or unit_of(name) for name in map(str, added)
        }
        with self.storage.lock():
            changes = [
                self._append_month(thing, month, part, metadata, units, before_replacing)
                for month, part in by_month(added)
            ]
        replaced = [change.replaced for change in changes if len(change.replaced)]
        return AppendResult(
            sum(change.new for change in changes),
            sum(change.known for change in changes),
            pd.concat(replaced, ignore_index=True) if replaced else replacements(),
        )

    def compact(self) -> int:
        """Merge the files of each month into one, in case other programs added files.

        If several files have a value for one time, the last file counts, in the order of their
        names with :data:`FILE` first. Do not call this while such a program is writing.

        Returns
        -------
        int
            By how many files there are fewer now.
        """
        fewer = 0
        with self.storage.lock():
            for thing in self.things:
                for month in self._months(thing):
                    folder = _month_folder(thing, month)
                    files = self._files(folder)
                    if files in ([], [FILE]):
                        continue
                    table = self._table(thing, month)
                    self.storage.write(f"{folder}/{FILE}", encode(table))
                    for name in files:
                        if name != FILE:
                            self.storage.remove(f"{folder}/{name}")
                    fewer += len(files) - 1
        return fewer

    def _append_month(
        self,
        thing: str,
        month: str,
        added: pd.DataFrame,
        metadata: dict[str, str],
        units: dict[str, str | None],
        before_replacing: Callable[[pd.DataFrame], object] | None,
    ) -> AppendResult:
        path = f"{_month_folder(thing, month)}/{FILE}"
        old, before = pd.DataFrame(), dict[str, Any]()
        try:
            table = self._read_file(path, None, None, None)
        except FileNotFoundError:
            pass
        else:
            old, before = to_pandas(table), metadata_of(table.schema)
        merged, replaced = merge(old, added)
        new = len(merged) - len(old)
        after = {**before, **metadata, "units": {**before.get("units", {}), **units}}
        if len(replaced) and before_replacing is not None:
            before_replacing(replaced)
        if new or after != before or not merged.equals(old):
            self.storage.write(path, encode(to_arrow(merged, after)))
        return AppendResult(new, added.index.nunique() - new, replaced)


# --- arguments and results ------------------------------------------------------------------------


def _month_folder(thing: str, month: str) -> str:
    """Return the folder of a month, escaping reserved characters as Hive does."""
    return f"thing={quote(thing, safe='')}/month={month}"


def _partition_values(folders: list[str], key: str) -> list[str]:
    start = f"{key}="
    return [unquote(name.removeprefix(start)) for name in folders if name.startswith(start)]


def _parse_time(text: Any, name: str) -> pd.Timestamp | None:
    if text is None:
        return None
    try:
        time = pd.Timestamp(text)
    except (ValueError, TypeError):
        time = None
    if time is None or pd.isna(time):
        raise ValueError(
            f"The {name} is {text!r}, which is not a time. Write it like 2018-08-31 12:00."
        )
    time = time.tz_localize("UTC") if time.tzinfo is None else time.tz_convert("UTC")
    return time.as_unit("us")


def _validate(readings: pd.DataFrame) -> pd.DataFrame:
    """Return a table to append, with times in UTC, numbers, and portable column names."""
    time = time_index(readings).as_unit("us").rename("time")
    columns: dict[str, NDArray[np.float64]] = {}
    for column in readings:
        if (
            not isinstance(column, str)
            or not _COLUMN.fullmatch(column)
            or column in _RESERVED_NAMES
        ):
            raise ValueError(
                f"Column {column!r} cannot be stored. A name consists of letters, digits and _, and"
                f" is not {', '.join(_RESERVED_NAMES)}."
            )
        if isinstance(readings[column], pd.DataFrame):
            raise ValueError(f"There are two columns {column!r}. Rename one of them.")
        columns[column] = as_numbers(readings[column], column).to_numpy()
    return pd.DataFrame(columns, index=time)


def _frame(tables: list[pa.Table], thing: str, columns: list[str] | None) -> pd.DataFrame:
    whole = join(tables)
    frame = to_pandas(whole)
    if columns is not None:
        missing = [column for column in columns if column not in frame]
        if missing:
            raise ValueError(
                f"Thing {thing!r} has no column {missing[0]!r} in this span. Another may have it."
            )
        frame = frame[columns]
    metadata = metadata_of(whole.schema)
    units = {name: unit for name, unit in metadata.get("units", {}).items() if name in frame}
    attrs: dict[Any, Any] = {"time_zone": "UTC", **metadata, "units": units}
    frame.attrs = attrs
    return frame
