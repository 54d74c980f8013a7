"""What was measured, one line each, on its way into the history: so that a crash loses nothing.

A line is written before its message counts as taken, and it leaves this process with that: whoever
kills the process does not stop it. :meth:`Journal.sync` has it reach the disk, so that not even a
power cut does.

The lines are in files that are numbered. One is written; the others are sealed, wait to be merged
into the history, and are removed when they are. Merging a file twice changes nothing, so it does
not matter where in between a crash comes: what is sealed or left behind is merged again.

The first line of a file names the columns. A line that is torn, as a power cut may leave the last,
is handed out as text.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from creeklab.creek.history.message_parser import Observation
from creeklab.creek.history.storage import sync_folder

NAMES = "[0-9]*.jsonl"


class Journal:
    """The lines of one recorder.

    Parameters
    ----------
    folder
        Where; nobody else writes there.
    columns
        What the values of an observation are.

    Raises
    ------
    RuntimeError
        Another recorder writes there.
    """

    def __init__(self, folder: Path, columns: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._columns = columns
        self._lock = FileLock(folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise RuntimeError(
                f"Another recorder is at work in {folder}. Close it, or give this one a journal of"
                " its own: Recorder(..., journal=FOLDER)."
            ) from None
        self._file: IO[bytes] | None = None
        self._unsynced = False
        self.lines = 0

    def write(self, observation: Observation) -> None:
        """Add a line.

        Raises
        ------
        OSError
            It cannot be written, because the disk is full for instance. Nothing of it is there.
        """
        if self._file is None:
            self._file = self._begin()
        line = json.dumps([observation.thing, observation.time, *observation.values])
        _add(self._file, line)
        self.lines += 1
        self._unsynced = True

    def sync(self) -> None:
        """Have every line reach the disk."""
        if self._unsynced and self._file is not None:
            self._unsynced = False
            os.fsync(self._file.fileno())

    def seal(self) -> None:
        """Let the next line begin a new file."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file, self.lines = None, 0

    @property
    def files(self) -> list[Path]:
        """All files, oldest first; also what another process left behind."""
        return sorted(self._folder.glob(NAMES))

    def close(self) -> None:
        """Seal, and let others write here."""
        self.seal()
        self._lock.release()

    def _begin(self) -> IO[bytes]:
        number = int(self.files[-1].stem) + 1 if self.files else 1
        file = (self._folder / f"{number:012}.jsonl").open("xb", buffering=0)
        try:
            _add(file, json.dumps(self._columns))
            sync_folder(self._folder)
        except BaseException:
            file.close()
            raise
        return file


def read(file: Path) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Read a file of a journal.

    Returns
    -------
    dict, list
        What was measured, by Thing, in the order in which it came; and the lines that are torn.
    """
    lines = file.read_text(encoding="utf-8", errors="backslashreplace").split("\n")
    torn: list[str] = []
    rows: list[Any] = []
    columns: list[str] = []
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            row = json.loads(line)
            if number == 0:
                columns = [str(column) for column in row]
            elif len(row) == len(columns) + 2:
                rows.append(row)
            else:
                raise ValueError
        except (ValueError, TypeError):
            torn.append(line)
    things: dict[str, list[Any]] = {}
    for thing, *rest in rows:
        things.setdefault(thing, []).append(rest)
    return {thing: _frame(of, columns) for thing, of in things.items()}, torn


def _frame(rows: list[Any], columns: list[str]) -> pd.DataFrame:
    micros = np.array([row[0] for row in rows], dtype="int64")
    values = np.array([row[1:] for row in rows], dtype="float64")  # None becomes NaN
    index = pd.DatetimeIndex(micros.astype("datetime64[us]"), tz="UTC", name="time")
    return pd.DataFrame(values, index=index, columns=columns)


def _add(file: IO[bytes], line: str) -> None:
    """Add a line to a file, or nothing."""
    data = line.encode() + b"\n"
    start = file.seek(0, os.SEEK_END)
    try:
        if file.write(data) != len(data):
            raise OSError(f"{file.name}: the disk took only part of a line.")
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(start)
        raise
