"""Data reaches the disk: what the settings of the database and the private files promise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from creeklab.cloud.private_file import write_private
from creeklab.cloud.storage.database import Database

NORMAL = 1
"""The value of SQLite's ``synchronous`` in the documentation of its pragmas."""


def test_the_database_survives_a_loss_of_power(tmp_path: Path) -> None:
    """In write-ahead mode, NORMAL keeps it consistent; OFF can corrupt it."""
    store = Database(tmp_path / "cloud.db")
    try:
        assert store.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert store.execute("PRAGMA synchronous").fetchone()[0] == NORMAL
    finally:
        store.close()


def test_a_private_file_is_on_disk_before_it_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.pem"
    file.write_text("old")
    on_disk: list[tuple[str, str]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        fsync(descriptor)
        on_disk.append((Path(f"{file}.new").read_text(), file.read_text()))

    monkeypatch.setattr(os, "fsync", record)
    write_private(file, "new")
    assert on_disk == [("new", "old")]
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
