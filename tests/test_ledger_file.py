"""The ledger's file: no entry is lost, and a line cut short by a crash does no harm."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from creeklab.ledger.ledger_file import LedgerFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lab" / "ledger.jsonl"


def numbers(file: Path) -> list[int]:
    return [entry["n"] for entry in LedgerFile(file).read()]


def test_entries_are_read_in_order(file: Path) -> None:
    ledger, other = LedgerFile(file), LedgerFile(file)
    assert ledger.read() == []
    ledger.add({"n": 1}, {"n": 2, "name": "Ä'\n\""})
    assert other.read() == [{"n": 1}, {"n": 2, "name": "Ä'\n\""}]
    other.add({"n": 3})
    ledger.add()
    assert [entry["n"] for entry in ledger.read()] == [1, 2, 3]
    assert [entry["n"] for entry in other.read()] == [1, 2, 3]


def test_only_the_owner_can_read_the_file(file: Path) -> None:
    LedgerFile(file).add({"n": 1})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("cut", range(1, len('{"n":2}\n')))
def test_a_line_cut_short_at_any_place_is_skipped(file: Path, cut: int) -> None:
    ledger = LedgerFile(file)
    ledger.add({"n": 1}, {"n": 2})
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    assert numbers(file) == [1]
    LedgerFile(file).add({"n": 3})
    found = numbers(file)
    # Only the line's end may have been missing.
    assert found == ([1, 2, 3] if cut == 1 else [1, 3])


def test_a_removed_file_starts_empty(file: Path) -> None:
    ledger = LedgerFile(file)
    ledger.add({"n": 1}, {"n": 2})
    assert len(ledger.read()) == 2
    file.unlink()
    assert ledger.read() == []
    ledger.add({"n": 3})
    assert [entry["n"] for entry in ledger.read()] == [3]


@pytest.mark.parametrize("line", [b"[1]", b"null", b"nonsense", b"\xff\xfe", b""])
def test_a_line_that_is_not_an_entry_is_skipped(file: Path, line: bytes) -> None:
    LedgerFile(file).add({"n": 1})
    with file.open("ab") as stream:
        stream.write(line + b"\n")
    LedgerFile(file).add({"n": 2})
    assert numbers(file) == [1, 2]


def test_several_programs_append_at_once(file: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from creeklab.ledger.ledger_file import LedgerFile\n"
        "ledger = LedgerFile(Path(sys.argv[1]))\n"
        "for n in range(50): ledger.add({'who': sys.argv[2], 'n': n, 'text': 'x' * 300})"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(file), who]) for who in ("a", "b", "c")
    ]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    entries = LedgerFile(file).read()
    for who in ("a", "b", "c"):
        assert [entry["n"] for entry in entries if entry["who"] == who] == list(range(50))
    assert len(entries) == 150


def test_it_is_never_written_into_a_git_work_tree(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(ValueError, match="git work tree"):
        LedgerFile(tmp_path / "lab" / "ledger.jsonl").add({"n": 1})
    assert not (tmp_path / "lab").exists()
