"""Messages, as they arrive, into the history.

A :class:`Recorder` takes messages from whoever has them: :meth:`Recorder.take` is a callback for a
subscription (``device.subscribe("creek/#", call=recorder.take)``), :meth:`Recorder.record` takes an
inbox or any other row of messages. It reads each (:mod:`creeklab.creek.history.message_parser`), writes what was
measured into its journal (:mod:`creeklab.creek.history.journal`), and merges that into the history
(:mod:`creeklab.creek.history.history`) every few seconds. So there is a message

- when ``take`` has returned, in the journal: killing the process loses no reading that was taken.
  awscrt's client acknowledges a message when the callback has returned, so at QoS 1 a kill loses
  none that was acknowledged, either. It acknowledges one that ``take`` could not write, too, on a
  full disk for instance: ``lost`` counts those, and the recorder's repr says so;
- within a second, on the disk: a power cut loses at most that second;
- within ``every`` seconds, in the history.

The next recorder with the same journal merges what a killed one has left behind. While the history
cannot be written, because a bucket cannot be reached for instance, the journal keeps it all.

**No reading twice**: a reading is known by its Thing and its time. Delivered again, or sent again
by a device that lost an acknowledgement, it changes nothing. With another value it is a correction;
the value that it replaces is put aside. This holds as far as a device says when it measured:
without a ``time`` in it, a message that comes again is a new reading.

**Put aside**, into ``aside.jsonl`` beside the journal, with its topic, when it came and why: each
message that is no reading, each value that was replaced, each line of the journal that was torn.
Of more than ten million bytes the older ones make room.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import pandas as pd

from creeklab.creek.history.history import History
from creeklab.creek.history.journal import Journal, read
from creeklab.creek.history.message_parser import FIELDS, MessageLike, MessageParser, NotAReading

SYNC_INTERVAL = 1.0
LINES = 20_000  # in a file of the journal, and in memory while it is merged
QUARANTINE_BYTES = 5_000_000  # in each of two files


class Recorder:
    """Records messages into a history.

    Parameters
    ----------
    history
        Where to.
    thing
        Whose the messages are: a name, or what gives it for a topic, for instance
        ``lambda topic: topic.split("/")[1]``. None if all are a shadow's, whose topic names it.
    fields
        Which fields are read, into which column, and in which unit they come.
    about
        What to say of the readings, kept with them: ``datum``, ``source``, ``site``, ``licence``.
    journal
        Folder for the journal and what is put aside. By default ``_journal`` in the history's own
        folder, where no other program looks; a history in a bucket needs one here.
    every
        Seconds after which what has arrived is in the history. None is only when :meth:`flush` or
        :meth:`close` is called.

    Attributes
    ----------
    readings, ignored, aside : int
        Messages taken as a reading; not about anything measured; put aside because they are none.
    lost : int
        Messages whose reading the journal could not be given, because of a full disk for instance.
    new, known, replaced : int
        Of the readings that are in the history: times it did not have; times it had; values that
        took the place of others.
    trouble : Exception or None
        Why the history could not be written last time. It is tried again.

    Raises
    ------
    RuntimeError
        Another recorder uses this journal.
    ValueError
        The fields are none, or there is no folder for the journal.

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
    ...     recorder.take(Message("creek", b'{"time": "2018-08-31T23:30:00Z", "depth": 6.63}'))
    >>> recorder
    Recorder: 1 reading, 0 ignored, 0 put aside; in the history 1 new, 0 known, 0 values replaced
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
        about: Mapping[str, str] | None = None,
        journal: str | Path | None = None,
        every: float | None = 5.0,
    ) -> None:
        self.history = history
        self.readings = self.ignored = self.quarantine = self.lost = 0
        self.new = self.known = self.replaced = 0
        self.trouble: Exception | None = None
        self._understanding = MessageParser(thing, fields)
        self._about = {"source": "Recorded from its messages", **(about or {})}
        folder = None if journal is None else Path(journal).expanduser()
        if folder is None:
            if history.storage.folder is None:
                raise ValueError(
                    f"{history} is in no folder of this machine. Say where the journal is to be, in"
                    " which readings wait: journal=FOLDER."
                )
            folder = history.storage.folder / "_journal"
        self._journal = Journal(folder, self._understanding.columns)
        self._aside = folder / "aside.jsonl"
        # What is held while a message is taken, the history is written, something is put aside.
        self._taking, self._merging = threading.Lock(), threading.Lock()
        self._putting_aside = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if every is not None:
            self._thread = threading.Thread(
                target=self._work, args=(every,), name="recorder", daemon=True
            )
            self._thread.start()

    def __repr__(self) -> str:
        trouble = "" if self.trouble is None else f"; the history lags behind: {self.trouble}"
        if self.lost:
            trouble = f"; {self.lost} GAP_FACTOR, as the journal could not be written{trouble}"
        plural = "" if self.readings == 1 else "s"
        return (
            f"Recorder: {self.readings} reading{plural}, {self.ignored} ignored,"
            f" {self.quarantine} put aside; in the history {self.new} new, {self.known} known,"
            f" {self.replaced} values replaced{trouble}"
        )

    def on_message(self, message: MessageLike) -> None:
        """Take one message. From any thread.

        Raises
        ------
        OSError
            The journal cannot be written. The message is not taken.
        RuntimeError
            The recorder is closed.
        """
        arrived = datetime.now(UTC)
        with self._taking:
            if self._closed.is_set():
                raise RuntimeError("This recorder is closed. Make another one.")
            try:
                observation = self._understanding.read(message, arrived)
            except NotAReading as error:
                payload = message.payload.decode(errors="backslashreplace")
                said = {"topic": message.topic, "payload": payload}
                self._quarantine({"arrived": arrived.isoformat(), "why": str(error), **said})
                self.quarantine += 1
                return
            if observation is None:
                self.ignored += 1
                return
            try:
                self._journal.write(observation)
            except OSError as error:
                self.lost += 1
                self.trouble = error
                raise
            self.readings += 1
            if self._journal.lines >= LINES:
                self._journal.seal()

    def record(self, messages: Iterable[MessageLike]) -> Self:
        """Take every message of an inbox, or of any row of them, and put them into the history."""
        for message in messages:
            self.on_message(message)
        self.flush()
        return self

    def flush(self) -> None:
        """Put all that was taken into the history.

        Raises
        ------
        Exception
            Whatever keeps the history from being written. Nothing is lost, and it is tried again.
        """
        with self._merging:
            with self._taking:
                self._journal.seal()
                files = self._journal.files
            for file in files:
                self._merge(file)
            self.trouble = None

    def close(self) -> None:
        """Put all that was taken into the history, and end.

        Raises
        ------
        Exception
            As :meth:`flush` says. The recorder is closed all the same, and the journal keeps what
            the history did not take.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.flush()
        finally:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self, every: float) -> None:
        passed = 0.0
        while not self._closed.wait(min(SYNC_INTERVAL, every)):
            passed += min(SYNC_INTERVAL, every)
            try:
                if passed >= every:
                    passed = 0.0
                    self.flush()
                else:
                    with self._taking:
                        self._journal.sync()
            except Exception as error:
                self.trouble = error

    def _merge(self, file: Path) -> None:
        observed, torn = read(file)
        for line in torn:
            self._quarantine({"why": f"a torn line in {file.name}", "line": line})
        for thing, readings in observed.items():
            for key, text in {"title": f"{thing}, recorded", **self._about}.items():
                readings.attrs[key] = text
            change = self.history.append(thing, readings, replacing=partial(self._tell, thing))
            self.new += change.new
            self.known += change.known
            self.replaced += len(change.replaced)
        file.unlink()

    def _tell(self, thing: str, replaced: pd.DataFrame) -> None:
        """Put values aside before others take their place. After a crash, perhaps once more."""
        for row in json.loads(replaced.to_json(orient="records", date_format="iso")):
            self._quarantine({"why": "replaced", "thing": thing, **row})

    def _quarantine(self, what: dict[str, Any]) -> None:
        with self._putting_aside:
            if self._aside.exists() and self._aside.stat().st_size > QUARANTINE_BYTES:
                self._aside.replace(self._aside.with_name("aside-older.jsonl"))
            with self._aside.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(what) + "\n")
