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

Merging costs more the longer the month is. Therefore :meth:`History.add`, for a recorder of many
Things, puts new readings into a small file of recent readings (``_recent.arrow``) and merges only a
few Things each time. This class reads both. Other programs ignore the file, so they see a reading
once, but later: a recorder of a single Thing merges every time, and one of 200 Things takes four
minutes for all of them in turn. :meth:`History.compact` merges everything.

Appending a reading again changes nothing, and a blank overwrites nothing. Only **a different value
for a known time and column replaces the old one**: the last value counts as a correction.
:meth:`History.append` returns the replaced values, so that no change goes unnoticed.

``docs/history-files.md`` shows how other programs read a history.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from operator import and_
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

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
from creeklab.creek.history.recent import EMPTY, Recent
from creeklab.creek.history.storage import FileStore
from creeklab.creek.history.validation import RESERVED_NAMES, metadata_to_store, validate

FILE = "readings.parquet"
RECENT = "_recent.arrow"  # Hive's readers ignore names that start with an underscore.

MERGE_TIME = 0.05  # seconds that an `add` spends on merging, unless one month takes longer

READ_THREADS = 8


@dataclass(frozen=True)
class AppendResult:
    """What an append changed.

    Parameters
    ----------
    new, known
        Number of times that were added to the months, and that existed before.
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
        return self._things(self._recent())

    def _things(self, recent: Recent) -> list[str]:
        return sorted({*_partition_values(self.storage.list(), "thing"), *recent.things})

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
        span = self._span(thing, start, end)
        # If the span holds no month, read another one for its columns.
        months = span.months or span.all_months[-1:]
        with ThreadPoolExecutor(READ_THREADS) as pool:
            tables = list(pool.map(lambda month: self._table(span, month, columns), months))
        return _frame(tables, span.thing, columns)

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
        span = self._span(thing, start, end)
        for month in span.months:
            frame = _frame([self._table(span, month, columns)], span.thing, columns)
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
            span = self._span(thing)
            for month in span.months:
                index = to_pandas(self._table(span, month, columns=[])).index
                if len(index):
                    rows.append((thing, month, len(index), index.min(), index.max()))
        return pd.DataFrame(rows, columns=["thing", "month", "readings", "first", "last"])

    def schema(self) -> pa.Schema:
        """Return the columns of all files, and ``thing`` and ``month`` as text.

        Pass it to programs that take the columns from the first file, or would read a Thing called
        ``007`` as a number; ``docs/history-files.md`` shows how.
        """
        paths = [
            f"{folder}/{name}"
            for thing in self.things
            for folder in (_month_folder(thing, month) for month in self._months(thing))
            for name in self._files(folder)
        ]

        def fields(path: str) -> dict[str, pa.DataType]:
            with self.storage.read(path) as file:
                return {each.name: each.type for each in pq.read_schema(file)}

        columns: dict[str, pa.DataType] = {"time": TIME}
        with ThreadPoolExecutor(READ_THREADS) as pool:
            for found in pool.map(fields, paths):
                columns = {**found, **columns}
        values = {name: columns[name] for name in columns if name not in RESERVED_NAMES}
        text = {"thing": pa.string(), "month": pa.string()}
        return pa.schema({"time": TIME, **values, **text})

    def _span(self, thing: str | None, start: Any = None, end: Any = None) -> _Span:
        """Return what to read.

        The recent readings are read before the months, so that a reading that is merged in the
        meantime is found twice and not missed.
        """
        recent = self._recent()
        things = self._things(recent)
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
        waiting = recent.readings(thing)
        by_months = dict(by_month(waiting))
        all_months = sorted({*self._months(thing), *by_months})
        return _Span(thing, all_months, first, last, by_months, waiting.attrs)

    def _months(self, thing: str) -> list[str]:
        folders = self.storage.list(f"thing={quote(thing, safe='')}")
        return sorted(_partition_values(folders, "month"))

    def _recent(self) -> Recent:
        try:
            with self.storage.read(RECENT) as file:
                return Recent.decode(file)
        except FileNotFoundError:
            return EMPTY

    def _table(self, span: _Span, month: str, columns: list[str] | None = None) -> pa.Table:
        """Read a month, or its part in the span, with each time once and in order."""
        folder = _month_folder(span.thing, month)
        parts = [
            self._read_file(f"{folder}/{name}", span.first, span.last, columns)
            for name in self._files(folder)
        ]
        if month in span.recent:
            recent = span.recent[month]
            start = 0 if span.first is None else recent.index.searchsorted(span.first)
            end = None if span.last is None else recent.index.searchsorted(span.last)
            names = [name for name in recent if columns is None or name in columns]
            parts.append(to_arrow(recent.iloc[start:end][names], span.recent_metadata))
        whole = join(parts)
        at = whole["time"].cast(pa.int64()).to_numpy()
        if (np.diff(at) > 0).all():
            return whole
        # Several files, recent readings, or a file that another program wrote.
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
                if name not in RESERVED_NAMES and (columns is None or name in columns)
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
        added, metadata = validate(readings), metadata_to_store(readings)
        with self.storage.lock():
            recent = self._recent()
            # Older readings of this Thing come first, so that these can correct them.
            waiting = recent.readings(thing)
            if len(waiting):
                self._merge(thing, waiting, before_replacing)
            added.attrs.update(metadata)
            change = self._merge(thing, added, before_replacing)
            if len(waiting):
                self._write_recent(recent.without([thing]))
        return change

    def add(
        self,
        readings: pd.DataFrame | None = None,
        attrs: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        merge_all: bool = False,
        before_replacing: Callable[[str, pd.DataFrame], object] | None = None,
    ) -> AppendResult:
        """Add readings of many Things, at a cost that hardly grows with the history.

        The readings are on disk and visible to this class when the call returns. Part of them is
        merged into the months, for at most `MERGE_TIME`, or one Thing. In a bucket, which has no
        lock for a shared file, all of them are merged.

        Parameters
        ----------
        readings
            As in :meth:`append`, with a column ``thing``. None only merges.
        attrs
            For each Thing, what :meth:`append` takes from ``readings.attrs``.
        merge_all
            Merge everything, including what was added before.
        before_replacing
            As in :meth:`append`, called with the Thing's name first.

        Returns
        -------
        AppendResult
            What was merged into the months, including what was added before.
        """
        added = EMPTY
        if readings is not None:
            values = validate(readings.drop(columns="thing"))
            common = metadata_to_store(values)
            metadata = {
                name: common | {} if attrs is None else metadata_to_store(values, attrs[name])
                for name in readings["thing"].unique()
            }
            added = Recent.of(values.assign(thing=readings["thing"].array), metadata)
        merge_all = merge_all or self.storage.folder is None
        changes: list[AppendResult] = []
        with self.storage.lock():
            before = self._recent()
            recent = before.plus(added)
            merged: list[str] = []
            start = monotonic()
            for thing in recent.things:
                if merged and not merge_all and monotonic() - start > MERGE_TIME:
                    break
                report = None if before_replacing is None else partial(before_replacing, thing)
                changes.append(self._merge(thing, recent.readings(thing), report))
                merged.append(thing)
            left = recent.without(merged)
            if len(left) or len(before):
                self._write_recent(left)
        return _total(changes)

    def compact(self) -> int:
        """Merge recent readings and the files of other programs, so that each month is one file.

        If several files have a value for one time, the last file counts, in the order of their
        names with :data:`FILE` first. Do not call this while such a program is writing.

        Returns
        -------
        int
            By how many files there are fewer now.
        """
        self.add(merge_all=True)
        fewer = 0
        with self.storage.lock():
            for thing in self.things:
                for month in self._months(thing):
                    folder = _month_folder(thing, month)
                    files = self._files(folder)
                    if files in ([], [FILE]):
                        continue
                    table = self._table(self._span(thing), month)
                    self.storage.write(f"{folder}/{FILE}", encode(table))
                    for name in files:
                        if name != FILE:
                            self.storage.remove(f"{folder}/{name}")
                    fewer += len(files) - 1
        return fewer

    def _merge(
        self,
        thing: str,
        added: pd.DataFrame,
        before_replacing: Callable[[pd.DataFrame], object] | None,
    ) -> AppendResult:
        """Merge readings, with their metadata in ``attrs``, into the months of a Thing."""
        metadata = {str(key): text for key, text in added.attrs.items() if key != "units"}
        units = added.attrs["units"]
        return _total(
            [
                self._append_month(thing, month, part, metadata, units, before_replacing)
                for month, part in by_month(added)
            ]
        )

    def _write_recent(self, recent: Recent) -> None:
        if len(recent):
            self.storage.write(RECENT, recent.encode())
        else:
            self.storage.remove(RECENT)

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


@dataclass(frozen=True)
class _Span:
    """A Thing, its months, the part of them to read, and its recent readings by month."""

    thing: str
    all_months: list[str]
    first: pd.Timestamp | None
    last: pd.Timestamp | None
    recent: dict[str, pd.DataFrame]
    recent_metadata: dict[Any, Any]

    @property
    def months(self) -> list[str]:
        """The months that lie in the span."""
        return [
            month
            for month in self.all_months
            if (self.first is None or month >= f"{self.first:%Y-%m}")
            and (self.last is None or month <= f"{self.last:%Y-%m}")
        ]


def _total(changes: list[AppendResult]) -> AppendResult:
    replaced = [change.replaced for change in changes if len(change.replaced)]
    return AppendResult(
        sum(change.new for change in changes),
        sum(change.known for change in changes),
        pd.concat(replaced, ignore_index=True) if replaced else replacements(),
    )


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
