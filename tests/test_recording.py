"""Nothing is lost while a recorder and the cloud fail: ``python -m tests.hardening recording``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.hardening import recording

SEED = 8


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_each_acknowledged_reading_is_recorded_once(home: Path) -> None:
    assert list(recording.rounds(home, 1, SEED)) == [1]
