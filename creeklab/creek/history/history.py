"""The history of a creek: every reading of every Thing, in Parquet that other programs read too.

A history is a tree of folders, one file a Thing and month (UTC)::

    history/thing=Test2/month=2018-08/readings.parquet

Folders named ``key=value`` are how Hive lays out a table. So Athena, Spark, Dask and pandas read a
history as it stands, and take up only the months that are asked for. They know nothing of this
program, and therefore all that it promises is true in the files themselves: each time once, in
order, in UTC, and every column named with its unit.

That is why a month is one file. What arrives is merged into it and the file replaced, whole or not
at all, so that no reader ever finds a reading twice or half a file; at the end of a crash there is
the file before or the file after. A month of readings, one a minute, is half a megabyte.

A time that is there already keeps what it has: the same reading again changes nothing, and a blank
overwrites nothing. Only **another value for a known time and column replaces the old one**: what
was said last is taken for a correction. :meth:`History.append` returns what was replaced, so that
nothing goes unseen.

How others read it, if it lies in ``s3://creek/history``:

**pandas, pyarrow**::

    pd.read_parquet("s3://creek/history", filters=[("month", ">=", "2018-08")])
    pyarrow.dataset.dataset("s3://creek/history", partitioning="hive")

**Athena**, where every month is found without being announced (partition projection). ``time`` is a
word of SQL and needs its quotes, and each query names one Thing; for several at once leave out the
properties, and announce new months with ``MSCK REPAIR TABLE creek``::

    CREATE EXTERNAL TABLE creek (`time` timestamp, stage_ft double, water_temperature_degC double)
    PARTITIONED BY (thing string, month string)
    STORED AS PARQUET
    LOCATION 's3://creek/history/'
    TBLPROPERTIES (
      'projection.enabled' = 'true',
      'projection.thing.type' = 'injected',
      'projection.month.type' = 'date',
      'projection.month.range' = '2016-01,NOW',
      'projection.month.format' = 'yyyy-MM',
      'projection.month.interval' = '1',
      'projection.month.interval.unit' = 'MONTHS',
      'storage.location.template' = 's3://creek/history/thing=${thing}/month=${month}/');

    SELECT "time", stage_ft FROM creek WHERE thing = 'Test2' AND month = '2018-08';

**Spark**, told not to take a month for a date nor a Thing called 007 for a number::

    spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    creek = spark.read.option("mergeSchema", "true").parquet("s3a://creek/history")
    creek.where("thing = 'Test2' AND month = '2018-08'")

**Dask**, with s3fs beside it::

    dask.dataframe.read_parquet("s3://creek/history", filters=[("month", "==", "2018-08")])
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from creeklab.creek.readings.time_series import as_numbers
from creeklab.creek.readings.units import unit_of

FILE = "readings.parquet"

READERS = 8

_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAKEN = ("time", "thing", "month")


@dataclass(frozen=True)
class AppendResult:
    """What an append has changed.

    Parameters
    ----------
    new, known
        How many times there were not yet, and how many there were.
    replaced
        One row for each value that another one took the place of: ``time``, ``column``, ``was``,
        ``now``.
    """

    new: int
    known: int
    replaced: pd.DataFrame


class History:
    """A history in a folder or in a bucket.

    Parameters
    ----------
    where
        A folder, which need not be there yet; or a URI of pyarrow's, such as
        ``s3://bucket/prefix?region=us-east-2`` (a stand-in for S3 needs ``scheme=http`` and
        ``endpoint_override=localhost:9000`` as well).
    filesystem
        If a URI cannot say it, a file system of pyarrow's: ``S3FileSystem(anonymous=True, ...)``.
        Then ``where`` is the path in it, ``bucket/prefix``.

    Examples
    --------
    >>> import tempfile
    >>> from creeklab.creek import samples
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
        """The Things that have readings here, in order."""
        return sorted(_values(self.storage.list(), "thing"))

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
            Of which Thing; may be left out if there is only one.
        start, end
            From the start on and before the end; None is as far as there is. Anything that
            `pandas.Timestamp` takes; without a zone it is UTC.
        columns
            Only these; None is all of them.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``time`` (UTC), in order, no time twice. NaN where nothing was measured.
            ``attrs`` are those of the readings that were appended, and ``units`` by column. There
            may be no rows.

        Raises
        ------
        ValueError
            There is no such Thing or column, or the start lies behind the end.
        """
        thing, months, (first, last) = self._span(thing, start, end)
        # With none in the span, any month will say which columns there are.
        months = months or self._months(thing)[-1:]
        with ThreadPoolExecutor(READERS) as pool:
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
        """Read a span month by month (UTC), for one that does not fit into memory.

        The parameters are those of :meth:`read`. A month without readings in the span is left out.
        """
        thing, months, (first, last) = self._span(thing, start, end)
        for month in months:
            frame = _frame([self._table(thing, month, first, last, columns)], thing, columns)
            if len(frame):
                yield frame

    def overview(self) -> pd.DataFrame:
        """List what is here.

        Returns
        -------
        pandas.DataFrame
            One row a Thing and month (UTC): ``thing``, ``month``, ``readings`` (how many times),
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
        """Say which Thing is meant, which of its months lie in the span, and the span."""
        there = self.things
        if thing is None and len(there) == 1:
            thing = there[0]
        if thing is None or thing not in there:
            wanted = "No Thing is named" if thing is None else f"There is no Thing {thing!r}"
            raise ValueError(
                f"{wanted}: in {self.storage.name} there are"
                f" {', '.join(map(repr, there)) or 'none yet'}."
            )
        first, last = _moment(start, "start"), _moment(end, "end")
        if first is not None and last is not None and first > last:
            raise ValueError(f"The start, {first}, lies behind the end, {last}.")
        months = [
            month
            for month in self._months(thing)
            if (first is None or month >= f"{first:%Y-%m}")
            and (last is None or month <= f"{last:%Y-%m}")
        ]
        return thing, months, (first, last)

    def _months(self, thing: str) -> list[str]:
        return sorted(_values(self.storage.list(f"thing={quote(thing, safe='')}"), "month"))

    def _table(
        self,
        thing: str,
        month: str,
        first: pd.Timestamp | None = None,
        last: pd.Timestamp | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table:
        """Read a month, or what of it lies in the span, each time once and in order."""
        folder = _folder(thing, month)
        files = self._files(folder)
        whole = join([self._part(f"{folder}/{name}", first, last, columns) for name in files])
        at = whole["time"].cast(pa.int64()).to_numpy()
        if (np.diff(at) > 0).all():
            return whole
        # More than one file, or not one of ours.
        merged, _ = merge(pd.DataFrame(), to_pandas(whole))
        return to_arrow(merged, metadata_of(whole.schema))

    def _files(self, folder: str) -> list[str]:
        """Name the files of a month: ours first, and what others say after it corrects it."""
        there = [name for name in self.storage.list(folder) if name.endswith(".parquet")]
        return sorted(there, key=lambda name: (name != FILE, name))

    def _part(
        self,
        path: str,
        first: pd.Timestamp | None,
        last: pd.Timestamp | None,
        columns: list[str] | None,
    ) -> pa.Table:
        try:
            return self._taken(path, first, last, columns)
        except pa.ArrowInvalid:
            pass  # In a bucket, it may have been replaced just now.
        try:
            return self._taken(path, first, last, columns)
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{self.storage.name}/{path} is no Parquet file ({error}). This program leaves none"
                " that is half written: look at the disk, and put back a copy or take it away."
            ) from None

    def _taken(
        self,
        path: str,
        first: pd.Timestamp | None,
        last: pd.Timestamp | None,
        columns: list[str] | None,
    ) -> pa.Table:
        with self.storage.read(path) as file:
            part = ds.ParquetFileFormat().make_fragment(file)
            schema = part.physical_schema
            wanted = None
            time = ds.field("time").cast(TIME, safe=False)
            if schema.field("time").type == TIME:
                time = ds.field("time")  # which its statistics are of
            if first is not None:
                wanted = time >= pa.scalar(first, TIME)
            if last is not None:
                wanted = (
                    time < pa.scalar(last, TIME)
                    if wanted is None
                    else wanted & (time < pa.scalar(last, TIME))
                )
            names = [
                name
                for name in schema.names
                if name not in _TAKEN and (columns is None or name in columns)
            ]
            taken = {"time": time, **{name: ds.field(name) for name in names}}
            # The threads are one a file, in `read`.
            table = part.to_table(columns=taken, filter=wanted, use_threads=False)
        return table.replace_schema_metadata(schema.metadata)

    # --- writing ----------------------------------------------------------------------------------

    def append(
        self,
        thing: str,
        readings: pd.DataFrame,
        *,
        replacing: Callable[[pd.DataFrame], object] | None = None,
    ) -> AppendResult:
        """Put readings into the history; what it has already, it does not take again.

        Month by month, each on disk when the next begins. A crash in between leaves the months
        before, and the same call again does the rest.

        Parameters
        ----------
        thing
            Whose they are.
        readings
            Indexed by time with a time zone, in any order; of two values for one time the later row
            is right. The columns hold numbers. Texts in ``attrs`` (source, licence, datum, ...) are
            kept beside them.
        replacing
            Called with what is about to be replaced (as of :class:`Change`) before it is, month by
            month; for whoever keeps it, so that not even a crash can lose it.

        Returns
        -------
        Change
            How many were new, and what was replaced.

        Raises
        ------
        ValueError
            These are no readings; the message names column and row. Then nothing is written.
        TimeoutError
            Another program writes here, and does not end.
        """
        if not thing:
            raise ValueError("Whose readings are these? The name of the Thing is empty.")
        added, said = _checked(readings), readings.attrs
        about = {str(key): text for key, text in said.items() if isinstance(text, str) and text}
        units = {name: said.get("units", {}).get(name) or unit_of(name) for name in map(str, added)}
        with self.storage.alone():
            changes = [
                self._add(thing, month, part, about, units, replacing)
                for month, part in by_month(added)
            ]
        replaced = [change.replaced for change in changes if len(change.replaced)]
        return AppendResult(
            sum(change.new for change in changes),
            sum(change.known for change in changes),
            pd.concat(replaced, ignore_index=True) if replaced else replacements(),
        )

    def compact(self) -> int:
        """Make one file of each month that has several, as other programs may have left them.

        Which value holds for a time that is in several files is settled as by :meth:`append`, by
        the order of their names, :data:`FILE` first. Not while such a program writes.

        Returns
        -------
        int
            How many files are fewer now.
        """
        fewer = 0
        with self.storage.alone():
            for thing in self.things:
                for month in self._months(thing):
                    folder = _folder(thing, month)
                    files = self._files(folder)
                    if files in ([], [FILE]):
                        continue
                    table = self._table(thing, month)
                    self.storage.write(f"{folder}/{FILE}", encode(table))
                    others = [name for name in files if name != FILE]
                    for name in others:
                        self.storage.remove(f"{folder}/{name}")
                    fewer += len(files) - 1
        return fewer

    def _add(
        self,
        thing: str,
        month: str,
        added: pd.DataFrame,
        about: dict[str, str],
        units: dict[str, str | None],
        replacing: Callable[[pd.DataFrame], object] | None,
    ) -> AppendResult:
        path = f"{_folder(thing, month)}/{FILE}"
        old, before = pd.DataFrame(), dict[str, Any]()
        try:
            table = self._part(path, None, None, None)
        except FileNotFoundError:
            pass
        else:
            old, before = to_pandas(table), metadata_of(table.schema)
        merged, replaced = merge(old, added)
        new = len(merged) - len(old)
        after = {**before, **about, "units": {**before.get("units", {}), **units}}
        if len(replaced) and replacing is not None:
            replacing(replaced)
        if new or after != before or not merged.equals(old):
            self.storage.write(path, encode(to_arrow(merged, after)))
        return AppendResult(new, added.index.nunique() - new, replaced)


# --- what is asked for, and what is given ---------------------------------------------------------


def _folder(thing: str, month: str) -> str:
    """Name the folder of a month. As in Hive, what no folder may be called is escaped."""
    return f"thing={quote(thing, safe='')}/month={month}"


def _values(folders: list[str], key: str) -> list[str]:
    start = f"{key}="
    return [unquote(name.removeprefix(start)) for name in folders if name.startswith(start)]


def _moment(given: Any, name: str) -> pd.Timestamp | None:
    if given is None:
        return None
    try:
        moment = pd.Timestamp(given)
    except (ValueError, TypeError):
        moment = None
    if moment is None or pd.isna(moment):
        raise ValueError(f"The {name} is {given!r}, which is no time. Write 2018-08-31 12:00.")
    moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    return moment.as_unit("us")


def _checked(readings: pd.DataFrame) -> pd.DataFrame:
    """Take a table to append: times in UTC, numbers, columns that any program can name."""
    index = readings.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise ValueError(
            "Readings need their time, with its time zone, as index. This one is a"
            f" {type(index).__name__} of {index.dtype}; creeklab.creek.readings.time_series.tidy makes it one."
        )
    unknown = np.flatnonzero(index.isna())
    if unknown.size:
        raise ValueError(f"Row {unknown[0]} has no time (NaT).")
    columns: dict[str, NDArray[np.float64]] = {}
    for column in readings:
        if not isinstance(column, str) or not _COLUMN.fullmatch(column) or column in _TAKEN:
            raise ValueError(
                f"Column {column!r} cannot be kept in a history: a name is made of letters, digits"
                f" and _, and is not {', '.join(_TAKEN)}."
            )
        if isinstance(readings[column], pd.DataFrame):
            raise ValueError(f"There are two columns {column!r}.")
        columns[column] = as_numbers(readings[column], column).to_numpy()
    time = index.tz_convert("UTC").as_unit("us").rename("time")
    return pd.DataFrame(columns, index=time)


def _frame(tables: list[pa.Table], thing: str, columns: list[str] | None) -> pd.DataFrame:
    whole = join(tables)
    frame = to_pandas(whole)
    if columns is not None:
        missing = [column for column in columns if column not in frame]
        if missing:
            raise ValueError(
                f"Thing {thing!r} has no column {missing[0]!r} in this span; it may be in another."
            )
        frame = frame[columns]
    about = metadata_of(whole.schema)
    units = {name: unit for name, unit in about.get("units", {}).items() if name in frame}
    attrs: dict[Any, Any] = {"time_zone": "UTC", **about, "units": units}
    frame.attrs = attrs
    return frame
