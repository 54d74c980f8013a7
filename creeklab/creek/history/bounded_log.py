"""A log of JSON lines in two files: when the newer one is full, it replaces the older one."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

MAX_BYTES = 5_000_000  # in each of two files


class BoundedLog:
    """A log in ``<name>.jsonl`` and ``<name>-older.jsonl``. Any thread can write to it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file, self._older = folder / f"{name}.jsonl", folder / f"{name}-older.jsonl"
        self._lock = threading.Lock()

    def write(self, entry: dict[str, Any]) -> None:
        """Add an entry."""
        with self._lock:
            if self._file.exists() and self._file.stat().st_size > MAX_BYTES:
                self._file.replace(self._older)
            with self._file.open("ab+") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(size - 1, 0))
                torn = size > 0 and stream.read(1) != b"\n"  # by a crash
                stream.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")

    def read(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first; a line that a crash has cut off is left out."""
        entries = []
        with self._lock:
            for file in (self._older, self._file):
                for line in file.read_text().splitlines() if file.exists() else ():
                    try:
                        entries.append(json.loads(line))
                    except ValueError:
                        continue
        return entries
