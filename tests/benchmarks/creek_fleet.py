"""A thousand creeks: monthly maxima and floods of 210 million readings, against plain pandas.

Each Thing has two years of readings, one every five minutes. DuckDB finds the monthly maxima and
Dask the floods, on two cores. The peer reads as many Things as fit into a small machine into one
DataFrame and does the same with pandas. Each runs in a process of its own; the times are for one
Thing, and the memory is the peak of all processes. ``python -m tests.benchmarks creek-fleet``.
"""

from __future__ import annotations

import functools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from creeklab.creek.history import History
from creeklab.creek.readings import samples

from .table import Figures, Row

THINGS, FIT, DIFFERENT = 1000, 100, 10
PEER = f"pandas, {FIT} Things"
MAXIMA = Row(f"{THINGS:,} Things: monthly maxima", "ms", min, PEER)
MAXIMA_MEMORY = Row("memory of that", "MB", min, PEER)
FLOODS = Row(f"{THINGS:,} Things: floods", "ms", min, PEER)
FLOODS_MEMORY = Row("memory of that ", "MB", min, PEER)
ROWS = (MAXIMA, MAXIMA_MEMORY, FLOODS, FLOODS_MEMORY)


def measure(ours: Figures, theirs: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once."""
    for rows, mine, plain in (
        ((MAXIMA, MAXIMA_MEMORY), "maxima", "plain_maxima"),
        ((FLOODS, FLOODS_MEMORY), "floods", "plain_floods"),
    ):
        for name, figures in ((mine, ours), (plain, theirs)):
            for row, value in zip(rows, _run(name, _data().name), strict=True):
                figures[row].append(value)


def _run(*arguments: str) -> list[float]:
    command = [sys.executable, "-m", "tests.benchmarks.creek_fleet", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


@functools.cache
def _data() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    _run("make", folder.name)
    return folder


def make(folder: Path) -> int:
    """Write a few different Things, and copy them under other names."""
    history = History(folder)
    years = samples.load("plumtree-run-2016-2018")[["stage_ft", "water_temperature_degC"]]
    two = years[years.index >= "2017-01-01"]
    for number in range(THINGS):
        name = f"{number:04}"
        if number < DIFFERENT:
            history.append(name, two * (1 + number / DIFFERENT))
        else:
            first = folder / f"thing={number % DIFFERENT:04}"
            shutil.copytree(first, folder / f"thing={name}")
    return THINGS


def maxima(folder: Path) -> int:
    """Find the monthly maxima of all Things with DuckDB."""
    import duckdb

    query = f"""
        SELECT thing, month, max(stage_ft) FROM read_parquet('{folder}/*/*/*.parquet',
        hive_partitioning = true, hive_types = {{'thing': VARCHAR, 'month': VARCHAR}},
        union_by_name = true) GROUP BY thing, month"""
    duckdb.sql("SET threads = 2")
    assert len(duckdb.sql(query).fetchall()) >= 24 * THINGS
    return THINGS


def floods(folder: Path) -> int:
    """Find the floods of all Things with Dask, in two processes."""
    import dask

    from creeklab.creek.analysis import fleet

    with dask.config.set(scheduler="processes", num_workers=2):
        found = fleet.floods(History(folder))
    assert found.index.get_level_values("thing").nunique() == THINGS
    return THINGS


def _plain(folder: Path) -> pd.DataFrame:
    folders = [folder / f"thing={number:04}" for number in range(FIT)]
    return pd.concat([pd.read_parquet(each).assign(thing=each.name) for each in folders])


def plain_maxima(folder: Path) -> int:
    """Find the monthly maxima of some Things with pandas."""
    readings = _plain(folder)
    readings.groupby(["thing", "month"], observed=True)["stage_ft"].max()
    return FIT


def plain_floods(folder: Path) -> int:
    """Find the floods of some Things with a loop over a DataFrame."""
    readings = _plain(folder)
    found = []
    for thing, own in readings.groupby("thing"):
        since = None
        own = own.set_index("time")["stage_ft"].dropna()
        for when, stage in own.items():
            if since is None and stage > 2.5:
                since = when
            elif since is not None and stage < 1.75:
                found.append((thing, since, when))
                since = None
    assert found
    return FIT


def main(name: str, folder: Path) -> list[float]:
    """Do one of them; return milliseconds for one Thing, and the peak memory in MB."""
    ways: dict[str, Callable[[Path], int]] = {
        "make": make,
        "maxima": maxima,
        "floods": floods,
        "plain_maxima": plain_maxima,
        "plain_floods": plain_floods,
    }
    began = time.perf_counter()
    things = ways[name](folder)
    took = (time.perf_counter() - began) / things * 1000
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = [resource.getrusage(each).ru_maxrss * 1024 / 1e6 for each in who]
    # Dask's two processes work at the same time; the system knows only the larger one's peak.
    return [took, peak[0] + 2 * peak[1]]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
