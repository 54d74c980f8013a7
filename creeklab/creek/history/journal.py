"""A journal of readings on their way into the history, so that a crash loses none.

Each reading is one line, written to the file before its message counts as taken, so killing the
process cannot lose it. :meth:`Journal.sync` forces lines to the disk, so that a power cut cannot
lose them either.

The lines are in numbered files. One is being written; the others are sealed, wait to be merged into
the history, and are then removed. Merging a file twice changes nothing, so a crash can come at any
point: files that are left behind are merged again.

The first line of a file names the columns. :func:`read` returns torn lines, such as a power cut may
leave at the end, as text.
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
    """The journal of one recorder.

    Parameters
    ----------
    folder
        Folder for the files; no other recorder may use it.
    columns
        Names of the values in an observation.

    Raises
    ------
    RuntimeError
        If another recorder uses the folder.
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
                f"Another recorder is using the journal in {folder}. Close it, or give this one"
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
            If it cannot be written, for instance because the disk is full. No part of it remains.
        """
        if self._file is None:
            self._file = self._create()
        line = json.dumps([observation.thing, observation.time, *observation.values])
        _append(self._file, line)
        self.lines += 1
        self._unsynced = True

    def sync(self) -> None:
        """Force all lines to the disk."""
        if self._unsynced and self._file is not None:
            self._unsynced = False
            os.fsync(self._file.fileno())

    def seal(self) -> None:
        """Close the file, so that the next line starts a new one."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file, self.lines = None, 0

    @property
    def files(self) -> list[Path]:
        """All files, oldest first, including those that another process left behind."""
        return sorted(self._folder.glob(NAMES))

    def close(self) -> None:
        """Seal the file and release the folder."""
        self.seal()
        self._lock.release()

    def _create(self) -> IO[bytes]:
        number = int(self.files[-1].stem) + 1 if self.files else 1
        file = (self._folder / f"{number:012}.jsonl").open("xb", buffering=0)
        try:
            _append(file, json.dumps(self._columns))
            sync_folder(self._folder)
        except BaseException:
            file.close()
            raise
        return file


def read(file: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the readings of one file, with a column ``thing``, and its torn lines."""
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
    micros = np.array([row[1] for row in rows], dtype="int64")
    values = np.array([row[2:] for row in rows], dtype="float64")  # None becomes NaN
    index = pd.DatetimeIndex(micros.astype("datetime64[us]"), tz="UTC", name="time")
    frame = pd.DataFrame(values.reshape(len(rows), len(columns)), index=index, columns=columns)
    return frame.assign(thing=[row[0] for row in rows]), torn


def _append(file: IO[bytes], line: str) -> None:
    """Add a whole line to a file, or nothing."""
    data = line.encode() + b"\n"
    start = file.seek(0, os.SEEK_END)
    try:
        if file.write(data) != len(data):
            raise OSError(f"Could not write to {file.name}: the disk took only part of a line.")
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(start)
        raise
