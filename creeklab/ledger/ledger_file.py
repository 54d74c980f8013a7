"""The append-only file of a ledger.

Each line is a JSON object. `add` writes it with one call and returns when it is on disk; `read`
skips a line that a crash cut short. Several notebooks can write at the same time.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

from creeklab.home import refuse_git_work_tree


class LedgerFile:
    """The entries in `file`, which may not exist yet."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._end = 0
        self._entries: list[dict[str, Any]] = []

    @classmethod
    def of(cls, folder: Path, account: str) -> LedgerFile:
        """Return the file of an account in a lab's folder; a workshop has an account of its own."""
        return cls(folder / f"ledger-{account}.jsonl")

    def add(self, *entries: Mapping[str, Any]) -> None:
        """Append entries."""
        if not entries:
            return
        refuse_git_work_tree(self.file.parent)
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
        with filelock.FileLock(self.file.with_name(self.file.name + ".lock"), mode=0o600):
            number = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(number, "r+b", buffering=0) as stream:
                if stream.seek(0, os.SEEK_END):
                    stream.seek(-1, os.SEEK_END)
                    if stream.read(1) != b"\n":  # a crash cut the last line short
                        lines = "\n" + lines
                stream.write(lines.encode())
                os.fsync(number)

    def read(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first. Only new lines are read from disk."""
        with self._lock:
            try:
                with self.file.open("rb") as stream:
                    if stream.seek(0, os.SEEK_END) < self._end:  # another file has replaced it
                        self._end, self._entries = 0, []
                    stream.seek(self._end)
                    lines = stream.read()
            except FileNotFoundError:
                self._end, self._entries = 0, []
                return []
            whole = lines[: lines.rfind(b"\n") + 1]  # the rest is still being written
            self._end += len(whole)
            self._entries += filter(None, map(_entry, whole.splitlines()))
            return list(self._entries)


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:  # cut short by a crash
        return None
    return entry if isinstance(entry, dict) else None
