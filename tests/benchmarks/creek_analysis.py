"""Analyze three years of five minutes, and ten years of one minute, against plain pandas.

Ours loads Parquet, derives the limits, flags every reading, finds the floods and makes the summary.
The peer does as much of that as a script with pandas would: parse it, flag
spikes and flat lines with ``diff`` and ``rolling``, find floods in a loop, describe. Each runs in a
process of its own, and its time begins after its imports. The ten years are the three years over
and over, a reading a minute by straight lines in between, gaps left as they are.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from creeklab.creek.analysis import floods, summary
from creeklab.creek.quality import qartod, quality
from creeklab.creek.readings import samples

from .table import Figures, Row, new_figures, print_table

MINUTES = 5_300_000

PEER = "pandas, from CSV"
THREE = Row("3 years, 315,000 readings (at most 1 s)", "s", min, PEER)
TEN = Row("10 years, 5.3 million readings (at most 10 s)", "s", min, PEER)
THREE_PROCESSOR = Row("3 years: processor time, whatever else runs", "s", min, PEER)
TEN_PROCESSOR = Row("10 years: processor time", "s", min, PEER)
THREE_MEMORY = Row("3 years: peak memory", "MB", min, PEER)
TEN_MEMORY = Row("10 years: peak memory (at most 1500 MB)", "MB", min, PEER)
ROWS = (THREE, THREE_PROCESSOR, THREE_MEMORY, TEN, TEN_PROCESSOR, TEN_MEMORY)


def measure(ours: Figures, theirs: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once. No cloud is involved, so there are no settings."""
    folder = Path(_data().name)
    for name, took, worked, held in (
        ("three", THREE, THREE_PROCESSOR, THREE_MEMORY),
        ("ten", TEN, TEN_PROCESSOR, TEN_MEMORY),
    ):
        found = set()
        for way, ending, figures in (("ours", "parquet", ours), ("plain", "csv", theirs)):
            said = _run(way, str(folder / f"{name}.{ending}"))
            figures[took].append(said["seconds"])
            figures[worked].append(said["processor"])
            figures[held].append(said["megabytes"])
            found.add(said["floods"])
        assert len(found) == 1, f"both ways find the same floods: {found}"


def _run(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.creek_analysis", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    said: dict[str, float] = json.loads(done.stdout)
    return said


@functools.cache
def _data() -> tempfile.TemporaryDirectory[str]:
    """Write the files in a separate process, so that its memory does not count."""
    folder = tempfile.TemporaryDirectory()
    _run("make", folder.name)
    return folder


def make(folder: Path) -> int:
    """Write both records as Parquet and as CSV; return the number of readings in the longer one."""
    three = samples.load("plumtree-run-2016-2018")[["stage_ft"]]
    at = (three.index - three.index[0]).total_seconds().to_numpy()
    minute = np.arange(MINUTES) * 60.0
    stage = np.interp(minute % (at[-1] + 300), at, three["stage_ft"].to_numpy()).round(2)
    time_of = pd.date_range("2010-01-01", periods=MINUTES, freq="1min", tz="UTC").as_unit("us")
    ten = pd.DataFrame({"stage_ft": stage}, index=time_of.rename("time"))
    for name, record in (("three", three), ("ten", ten)):
        table = pa.Table.from_pandas(record.reset_index(), preserve_index=False)
        pq.write_table(table, folder / f"{name}.parquet")
        pyarrow.csv.write_csv(table, folder / f"{name}.csv")
    return len(ten)


def ours(file: Path) -> int:
    """Load, flag, find the floods, summarize; return the number of floods."""
    readings = pq.read_table(file).to_pandas().set_index("time")
    checked = quality.check(readings)
    checked.counts()
    return len(summary.summarize(readings).floods)


def plain(file: Path) -> int:
    """Do the same, or less, with plain pandas."""
    readings = pd.read_csv(file, parse_dates=["time"], index_col="time")
    stage = readings["stage_ft"].dropna()
    step = stage.diff()
    readings["spike"] = (step.abs() > 0.28) & (step * step.shift(-1) < 0)
    window = stage.rolling("3h")
    readings["flat"] = window.max() - window.min() == 0
    readings.describe()
    readings["stage_ft"].isna().sum()
    found, since = [], None
    peak = 0.0
    for when, height in stage.items():
        if since is None and height > floods.START_FT:
            since, peak = when, height
        elif since is not None:
            peak = max(peak, height)
            if height < floods.END_FT:
                found.append((since, when, peak))
                since = None
    return len(found) + (since is not None)


def _peak_megabytes() -> float:
    """Return the peak memory of this process, minus its memory at the start."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def _child(way: str, path: str) -> None:
    ways: dict[str, Callable[[Path], int]] = {"ours": ours, "plain": plain, "make": make}
    if way == "ours":
        qartod._library()  # an import that comes late
    began, worked = time.perf_counter(), time.process_time()
    said: dict[str, float] = {"floods": ways[way](Path(path))}
    said |= {"seconds": time.perf_counter() - began, "processor": time.process_time() - worked}
    print(json.dumps({**said, "megabytes": _peak_megabytes()}))


def main() -> None:
    """Print the table of three repetitions."""
    ours_, theirs = new_figures(), new_figures()
    for _ in range(3):
        measure(ours_, theirs, [], "")
    print_table(ROWS, ours_, theirs)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _child(sys.argv[1], sys.argv[2])
    else:
        main()
