"""Record messages in a history.

A :class:`Recorder` takes messages from any source: :meth:`Recorder.on_message` is a callback for
all messages of a device, and :meth:`Recorder.record` takes an inbox or any other iterable of
messages. To record around the clock, connect with a persistent session, so that the broker keeps
the messages while the recorder is away::

    recorder = Recorder(History("history"), "Test2")
    device = lab.connect(
        "Recorder", session="1h",
        on_message=recorder.on_message, on_connection=recorder.on_connection,
    )
    device.subscribe("creek/#")

The recorder parses each message
(:mod:`creeklab.creek.history.message_parser`), writes the reading to its journal
(:mod:`creeklab.creek.history.journal`), and merges the journal into the history
(:mod:`creeklab.creek.history.history`) every few seconds. A reading is therefore

- in the journal when ``on_message`` returns: killing the process loses none of them. If
  the MQTT client acknowledges a message when the callback returns, a kill loses no acknowledged
  message either. Some clients also acknowledge a message that ``on_message`` could not write, for
  instance because the disk is full: ``lost`` counts those, and the recorder's repr shows it;
- on the disk within a second: a power cut loses at most that second;
- in the history within ``every`` seconds.

**No gap in silence**: after each time without a connection, also after a crash,
:attr:`Recorder.gaps` has a row that says how long it was, and whether the broker still had the
session, so that it has delivered what was sent meanwhile. If not, those readings are missing.

The next recorder with the same journal merges the readings that a killed one left behind. While
the history cannot be written, for instance because a bucket is unreachable, the journal keeps all
readings.

**No reading twice**: a Thing and a time identify a reading. If a message is delivered again, or
sent again by a device that lost an acknowledgment, nothing changes. A different value is a
correction, and the old value is quarantined. This works only if messages have a ``time``: without
one, a repeated message is a new reading.

**Quarantine**: ``quarantine.jsonl``, next to the journal, keeps each message that is not a reading,
with its topic, time of arrival and the reason; each value that was replaced; and each torn line of
the journal. It holds at most ten million bytes; older entries are dropped.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, Self

import pandas as pd

from creeklab.creek.history.bounded_log import BoundedLog
from creeklab.creek.history.gap_log import GapLog
from creeklab.creek.history.history import History
from creeklab.creek.history.journal import Journal, read
from creeklab.creek.history.message_parser import FIELDS, MessageLike, MessageParser, NotAReading

SYNC_INTERVAL = 1.0
MAX_LINES = 20_000  # per journal file, which is merged in memory


class ConnectionChangeLike(Protocol):
    """A connection that was made or lost, as a device reports it."""

    @property
    def connected(self) -> bool:
        """Whether the device is connected now."""

    @property
    def session_present(self) -> bool:
        """Whether the broker still had the session."""


class Recorder:
    """Record messages in a history.

    Parameters
    ----------
    history
        The history to write to.
    thing
        The Thing that sends the messages: its name, or a function that returns the name for a
        topic, for instance ``lambda topic: topic.split("/")[1]``. None if every message names its
        Thing, as the answers of a device's shadow do.
    fields
        For each field of a message to read: its column, and the unit of the field.
    metadata
        ``datum``, ``source``, ``site`` and ``license`` of the readings, stored with them.
    journal
        Folder for the journal and the quarantine. The default is ``_journal`` in the history's
        folder, which other programs ignore; a history in a bucket needs a folder here.
    every
        Seconds between merges into the history. None merges only in :meth:`flush` and
        :meth:`close`.

    Attributes
    ----------
    readings, ignored, quarantined : int
        Messages that held a reading, that measured nothing, and that should hold a reading but do
        not.
    lost : int
        Readings that could not be written to the journal, for instance because the disk was full.
        A device with a session does not acknowledge them, so they are delivered again.
    new, known, replaced : int
        Readings in the history: times that were new, times that it already had, and values that
        replaced others.
    error : Exception or None
        Why the history could not be written last time. The recorder tries again.

    Raises
    ------
    RuntimeError
        If another recorder uses this journal.
    ValueError
        If the fields are wrong, or there is no folder for the journal.

    Examples
    --------
    >>> import tempfile
    >>> from typing import NamedTuple
    >>> class Message(NamedTuple):
    ...     topic: str
    ...     payload: bytes
    ...     retain: bool = False
    >>> folder = tempfile.TemporaryDirectory()
    >>> history = History(folder.name)
    >>> with Recorder(history, "Test2") as recorder:
    ...     recorder.on_message(Message("creek", b'{"time": "2018-08-31T23:30Z", "depth": 6.63}'))
    >>> recorder
    Recorder: 1 reading, 0 ignored, 0 quarantined; history: 1 new, 0 known, 0 values replaced
    >>> history.read("Test2")["stage_ft"].tolist()
    [6.63]
    >>> folder.cleanup()
    """

    def __init__(
        self,
        history: History,
        thing: str | Callable[[str], str | None] | None = None,
        *,
        fields: Mapping[str, tuple[str, str]] = FIELDS,
        metadata: Mapping[str, str] | None = None,
        journal: str | Path | None = None,
        every: float | None = 5.0,
    ) -> None:
        self.history = history
        self.readings = self.ignored = self.quarantined = self.lost = 0
        self.new = self.known = self.replaced = 0
        self.error: Exception | None = None
        self._parser = MessageParser(thing, fields)
        self._metadata = {"source": "Recorded from messages", **(metadata or {})}
        folder = None if journal is None else Path(journal).expanduser()
        if folder is None:
            if history.storage.folder is None:
                raise ValueError(
                    f"{history} is not in a local folder, so the journal needs a folder of its own."
                    " Pass journal=FOLDER."
                )
            folder = history.storage.folder / "_journal"
        self._journal = Journal(folder, self._parser.columns)
        self._quarantine = BoundedLog(folder, "quarantine")
        self._gaps = GapLog(folder)
        # Separate locks, so that taking a message never waits for the history to be written.
        self._journal_lock, self._merge_lock = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if every is not None:
            self._thread = threading.Thread(
                target=self._run, args=(every,), name="recorder", daemon=True
            )
            self._thread.start()

    def __repr__(self) -> str:
        problems = "" if self.error is None else f"; the history lags behind: {self.error}"
        gaps = self.gaps
        open_gaps = gaps[~gaps["filled"]]
        if len(open_gaps):
            start, end, seconds, _ = open_gaps.iloc[-1]
            problems = (
                f"; {len(open_gaps)} of {len(gaps)} gaps NOT FILLED, the last from {start:%F %T} to"
                f" {end:%F %T} UTC ({seconds:.0f} s){problems}"
            )
        if self.lost:
            problems = f"; {self.lost} LOST because the journal could not be written{problems}"
        plural = "" if self.readings == 1 else "s"
        return (
            f"Recorder: {self.readings} reading{plural}, {self.ignored} ignored,"
            f" {self.quarantined} quarantined; history: {self.new} new, {self.known} known,"
            f" {self.replaced} values replaced{problems}"
        )

    def on_message(self, message: MessageLike) -> None:
        """Take one message, from any thread.

        Raises
        ------
        OSError
            If the journal cannot be written. The message is not taken.
        RuntimeError
            If the recorder is closed.
        """
        arrived = datetime.now(UTC)
        with self._journal_lock:
            if self._closed.is_set():
                raise RuntimeError("This recorder is closed. Create another one.")
            try:
                observation = self._parser.parse(message, arrived)
            except NotAReading as error:
                payload = message.payload.decode(errors="backslashreplace")
                origin = {"topic": message.topic, "payload": payload}
                entry = {"arrived": arrived.isoformat(), "reason": str(error), **origin}
                self._quarantine.write(entry)
                self.quarantined += 1
                return
            if observation is None:
                self.ignored += 1
                return
            try:
                self._journal.write(observation)
            except OSError as error:
                self.lost += 1
                self.error = error
                raise
            self.readings += 1
            if self._journal.lines >= MAX_LINES:
                self._journal.seal()

    def on_connection(self, change: ConnectionChangeLike) -> None:
        """Take a device's connection change: :meth:`resumed` or :meth:`disconnected`."""
        if change.connected:
            self.resumed(session_present=change.session_present)
        else:
            self.disconnected()

    def resumed(self, *, session_present: bool) -> None:
        """Record that messages arrive again, after a restart or a lost connection.

        Parameters
        ----------
        session_present
            Whether the broker still had the session, so that it delivers what was sent meanwhile.
            If not, the gap in :attr:`gaps` is not filled.
        """
        self._gaps.resumed(datetime.now(UTC), session_present=session_present)

    def disconnected(self) -> None:
        """Record that no messages arrive until :meth:`resumed`."""
        self._gaps.disconnected(datetime.now(UTC))

    @property
    def gaps(self) -> pd.DataFrame:
        """The times without a connection, including those of earlier processes.

        One row for each: ``start``, ``end``, ``seconds``, and ``filled``, which is False if the
        broker no longer had the session, so that what was sent meanwhile is missing.
        """
        return self._gaps.table()

    def record(self, messages: Iterable[MessageLike]) -> Self:
        """Take every message of an inbox or another iterable, and write them to the history."""
        for message in messages:
            self.on_message(message)
        self.flush()
        return self

    def flush(self) -> None:
        """Write everything taken so far to the history.

        Raises
        ------
        Exception
            Any error that keeps the history from being written. Nothing is lost; the next flush
            tries again.
        """
        with self._merge_lock:
            with self._journal_lock:
                self._journal.seal()
                files = self._journal.files
            for file in files:
                self._merge(file)
            if not files:
                self._add()  # Things of an earlier flush may still wait for their turn.
            self.error = None

    def close(self) -> None:
        """Write everything taken so far to the history and stop.

        Raises
        ------
        Exception
            As in :meth:`flush`. The recorder is closed nevertheless, and the journal keeps the
            readings that did not reach the history.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        self.disconnected()
        if self._thread is not None:
            self._thread.join()
        try:
            self.flush()
            self._add(merge_all=True)
        finally:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, every: float) -> None:
        passed = 0.0
        while not self._closed.wait(min(SYNC_INTERVAL, every)):
            passed += min(SYNC_INTERVAL, every)
            try:
                self._gaps.alive(datetime.now(UTC))
                if passed >= every:
                    passed = 0.0
                    self.flush()
                else:
                    with self._journal_lock:
                        self._journal.sync()
            except Exception as error:
                self.error = error

    def _merge(self, file: Path) -> None:
        observed, torn = read(file)
        for line in torn:
            self._quarantine.write({"reason": f"a torn line in {file.name}", "line": line})
        self._add(observed)
        file.unlink()

    def _add(self, readings: pd.DataFrame | None = None, *, merge_all: bool = False) -> None:
        names = () if readings is None else readings["thing"].unique()
        attrs = {name: {"title": f"{name}, recorded", **self._metadata} for name in names}
        change = self.history.add(
            readings, attrs, merge_all=merge_all, before_replacing=self._log_replaced
        )
        self.new += change.new
        self.known += change.known
        self.replaced += len(change.replaced)

    def _log_replaced(self, thing: str, replaced: pd.DataFrame) -> None:
        """Quarantine values before others replace them; after a crash, perhaps twice."""
        for row in json.loads(replaced.to_json(orient="records", date_format="iso")):
            self._quarantine.write({"reason": "replaced", "thing": thing, **row})
