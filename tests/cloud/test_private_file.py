"""Private files survive a power failure: the old content or the new one, never a part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from creeklab.cloud.private_file import write_private


def test_the_content_is_on_the_disk_before_it_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "account.json"
    file.write_text("old")
    synced: list[tuple[str, str]] = []

    def fsync(descriptor: int) -> None:
        draft = file.with_name("account.json.new")
        assert os.fstat(descriptor).st_ino == draft.stat().st_ino
        synced.append((draft.read_text(), file.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_private(file, "new")
    assert synced == [("new", "old")]
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["account.json"]
