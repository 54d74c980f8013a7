"""Ten years of a creek, a reading a minute, into a history and back; and messages into a recorder.

Each in a process of its own, whose largest memory counts. Beside it the plain way: the same
readings as CSV, by pandas alone. ``python -m tests.benchmarks creek-history --repeat 1``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from creeklab.creek.history import History, Recorder
from creeklab.creek.readings import samples
from creeklab.creek.sensor import Replay

from .table import Figures, Row

PEER = "pandas and CSV"
EACH_MONTH = "merging each month"
WRITE = Row("history: ten years of minutes written", "s", min, PEER)
WRITE_MEMORY = Row("history: memory of that", "MB", min, PEER)
READ = Row("history: ten years of minutes read", "s", min, PEER)
READ_MEMORY = Row("history: memory of that ", "MB", min, PEER)
MONTHS = Row("history: the same, month by month", "s", min)
MONTHS_MEMORY = Row("history: memory of that  ", "MB", min)
DAY = Row("history: one day out of ten years", "s", min, PEER)
SIZE = Row("history: size on the disk", "MB", min, PEER)
AGAIN = Row("history: a late day put into ten years", "s", min)
RECORD = Row("recorder: messages taken, and in the history", "/s", max)
# One reading every five minutes. The peer merges each Thing into its month with every flush.
FLUSH_FIRST = Row("recorder: flush of 200 Things, first hour of a month", "s", min, EACH_MONTH)
FLUSH_LAST = Row("recorder: flush of 200 Things, last hour of a month", "s", min, EACH_MONTH)
FLUSH_LONGEST = Row("recorder: the longest of these", "s", min, EACH_MONTH)
ROWS = (
    *(WRITE, WRITE_MEMORY, READ, READ_MEMORY, MONTHS, MONTHS_MEMORY, DAY, SIZE, AGAIN),
    *(RECORD, FLUSH_FIRST, FLUSH_LAST, FLUSH_LONGEST),
)
FLUSH_ROWS = (FLUSH_FIRST, FLUSH_LAST, FLUSH_LONGEST)
THINGS = [f"creek-{number:03}" for number in range(200)]

MINUTES = 5_300_000


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once."""
    with tempfile.TemporaryDirectory() as folder:
        for name, figures, rows in (
            ("write", cloud, (WRITE, WRITE_MEMORY)),
            ("read", cloud, (READ, READ_MEMORY)),
            ("months", cloud, (MONTHS, MONTHS_MEMORY)),
            ("day", cloud, (DAY,)),
            ("again", cloud, (AGAIN,)),
            ("record", cloud, (RECORD,)),
            ("flush", cloud, FLUSH_ROWS),
            ("flush_by_months", peer, FLUSH_ROWS),
            ("write_csv", peer, (WRITE, WRITE_MEMORY)),
            ("read_csv", peer, (READ, READ_MEMORY)),
            ("day_csv", peer, (DAY,)),
        ):
            command = [sys.executable, "-m", "tests.benchmarks.creek_history", name, folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            for row, value in zip(rows, json.loads(done.stdout), strict=False):
                figures[row].append(value)
        files = Path(folder, "history").rglob("*.parquet")
        cloud[SIZE].append(sum(file.stat().st_size for file in files) / 1e6)
        peer[SIZE].append(Path(folder, "creek.csv").stat().st_size / 1e6)


def minutes() -> pd.DataFrame:
    """Make ten years of Plumtree Run's three, a reading a minute: in between, straight lines."""
    years = samples.load("plumtree-run-2016-2018").iloc[:, :2].ffill()
    index = pd.date_range("2009-01-01", periods=MINUTES, freq="min", tz="UTC", name="time")
    position = (np.arange(MINUTES) / 5) % (len(years) - 1)
    columns = {
        name: np.round(np.interp(position, np.arange(len(years)), values), 3)
        for name, values in years.items()
    }
    return pd.DataFrame(columns, index=index.as_unit("us"))


# --- what is measured, each in a process of its own -----------------------------------------------


def _write(folder: Path, readings: pd.DataFrame) -> None:
    History(folder / "history").append("plumtree", readings)


def _read(folder: Path) -> None:
    assert len(History(folder / "history").read()) == MINUTES


def _months(folder: Path) -> None:
    assert sum(map(len, History(folder / "history").months())) == MINUTES


def _day(folder: Path) -> None:
    assert len(History(folder / "history").read(None, "2015-06-15", "2015-06-16")) == 1440


def _again(folder: Path, readings: pd.DataFrame) -> None:
    late = readings["2015-06-15 00:00:30":"2015-06-16"].iloc[:1440]  # type: ignore[misc]
    late = late.set_axis(late.index + pd.Timedelta("10s"))
    assert History(folder / "history").append("plumtree", late).new == 1440


def _write_csv(folder: Path, readings: pd.DataFrame) -> None:
    readings.to_csv(folder / "creek.csv")


def _read_csv(folder: Path) -> None:
    frame = pd.read_csv(folder / "creek.csv", parse_dates=["time"], index_col="time")
    assert len(frame) == MINUTES


def _day_csv(folder: Path) -> None:
    frame = pd.read_csv(folder / "creek.csv", parse_dates=["time"], index_col="time")
    assert len(frame["2015-06-15":"2015-06-15"]) == 1440  # type: ignore[misc]


class _Message(NamedTuple):
    topic: str
    payload: bytes
    retain: bool = False


def _record(folder: Path) -> list[float]:
    messages: list[_Message] = []
    Replay(
        samples.load("plumtree-run-2016-2018")[:50_000],
        lambda each: messages.append(_Message("creek", json.dumps(each.message()).encode())),
        progress=False,
    ).run()
    began = time.perf_counter()
    with Recorder(History(folder / "recorded"), "plumtree") as recorder:
        for message in messages:
            recorder.on_message(message)
    assert recorder.new == len(messages)
    return [len(messages) / (time.perf_counter() - began)]


def _flush(folder: Path, merge: Callable[[History, pd.DataFrame], object]) -> list[float]:
    """Measure the flushes of an hour, at the start and at the end of a month."""
    history = History(folder / f"flushes-{merge.__name__}")
    years = samples.load("plumtree-run-2016-2018").iloc[:, :2]
    month = years["2018-08-01":"2018-08-31 22:59"]  # type: ignore[misc]
    hour = years["2018-08-31 23:00":"2018-08-31 23:55"]  # type: ignore[misc]
    hours = (hour.set_axis(hour.index - pd.Timedelta("31D")), hour)
    medians, longest = [], 0.0
    for readings in hours:
        took = []
        for row in range(len(readings)):
            batch = pd.concat([readings.iloc[[row]].assign(thing=name) for name in THINGS])
            began = time.perf_counter()
            merge(history, batch)
            took.append(time.perf_counter() - began)
        medians.append(float(np.median(took)))
        longest = max(longest, *took)
        if readings is hours[0]:
            for name in THINGS:
                history.append(name, month)
    assert sum(len(history.read(name)[-12:]) for name in THINGS[::50]) == 48
    return [*medians, longest]


def _add(history: History, batch: pd.DataFrame) -> None:
    history.add(batch)


def _append_each(history: History, batch: pd.DataFrame) -> None:
    for name, readings in batch.groupby("thing"):
        history.append(str(name), readings.drop(columns="thing"))


WITH_READINGS: dict[str, Callable[[Path, pd.DataFrame], None]] = {
    "write": _write,
    "again": _again,
    "write_csv": _write_csv,
}
WITHOUT: dict[str, Callable[[Path], None]] = {
    "read": _read,
    "months": _months,
    "day": _day,
    "read_csv": _read_csv,
    "day_csv": _day_csv,
}


def main(name: str, folder: Path) -> list[float]:
    """Do one of them; give its seconds, and the largest memory of this process in MB."""
    if name == "record":
        return _record(folder)
    if name.startswith("flush"):
        return _flush(folder, _add if name == "flush" else _append_each)
    readings = minutes() if name in WITH_READINGS else None
    began = time.perf_counter()
    if readings is None:
        WITHOUT[name](folder)
    else:
        WITH_READINGS[name](folder, readings)
    took = time.perf_counter() - began
    return [took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
