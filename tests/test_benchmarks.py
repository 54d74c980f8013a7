"""The benchmarks print figures, and nobody asserts those; but the command has to work."""

import subprocess
import sys
from pathlib import Path


def test_they_run_and_print_their_tables() -> None:
    parts = ["start", "broker", "--only", "lockstep"]
    command = [sys.executable, "-m", "tests.benchmarks", "--repeat", "1", *parts]
    clone = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for row in (
        "CONNACK of a Thing",
        "memory of the idle cloud",
        "readings of the flood",
        "lockstep",
    ):
        assert row in done.stdout


def test_a_fraction_of_the_replay() -> None:
    parts = ["creek-replay", "--only", "fraction"]
    command = [sys.executable, "-m", "tests.benchmarks", "--repeat", "1", *parts]
    clone = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "a fraction, 10,000 readings" in done.stdout
