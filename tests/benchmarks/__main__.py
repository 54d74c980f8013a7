"""Measure the local cloud and print one table.

Each repetition measures every row once, cloud and peer one after the other, so that what else the
machine does falls on both. The peer is Debian's mosquitto, where it is installed, with the same
client doing the same; a ratio is the cloud's median divided by the peer's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from creeklab.cloud import process
from creeklab.creek import samples
from creeklab.creek.replay import Reading, Replay
from creeklab.device import Device
from creeklab.lab import open_lab

from . import mosquitto


@dataclass(frozen=True)
class Row:
    """A row of the table: what is measured, in which unit, which way is better, against what."""

    name: str
    unit: str
    best: Callable[[list[float]], float]
    peer: str | None = None


NEW = Row("open_lab() to ready, home new", "s", min)
READY = Row("open_lab() to ready, cloud stopped", "s", min)
CONNACK = Row("open_lab() to a new Thing's first CONNACK, cloud stopped", "s", min)
MEMORY = Row("memory of the idle cloud (RSS)", "MB", min, "mosquitto, idle")
LOCKSTEP = Row("QoS 1 publishes, one at a time", "/s", max, "mosquitto, the same")
REPLAY = Row("readings of the flood into the shadow", "/s", max, "mosquitto, QoS 1 publishes")
ROWS = (NEW, READY, CONNACK, MEMORY, LOCKSTEP, REPLAY)

FLOOD = samples.load("plumtree-run-flood-2018-08-31")

Figures = defaultdict[Row, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default: 5)")
    count = parser.parse_args().repeat
    cloud: Figures = defaultdict(list)
    peer: Figures = defaultdict(list)
    print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} processors")
    load = _load()
    for number in range(1, count + 1):
        print(f"{number} of {count} ...", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            measure_cloud(Path(folder, "home"), cloud)
            if mosquitto.program():
                measure_peer(Path(folder), peer)
    print(f"load average before {load}, after {_load()}\n")
    print_table(cloud, peer)
    if not mosquitto.program():
        print("\nNo peer: mosquitto is not installed.")


def measure_cloud(home: Path, figures: Figures) -> None:
    try:
        figures[NEW].append(first_connack(home)["ready"])
        process.stop(home)
        times = first_connack(home)
        figures[READY].append(times["ready"])
        figures[CONNACK].append(times["connack"])
        running = process.status(home)
        assert running is not None
        figures[MEMORY].append(resident_megabytes(running.pid))
        with open_lab(home=home).connect(times["thing"]) as device:
            figures[LOCKSTEP].append(publishes_per_second(device))
            figures[REPLAY].append(
                readings_per_second(
                    lambda reading: device.shadow.update(reported=reading.message())
                )
            )
    finally:
        process.stop(home)


def measure_peer(folder: Path, figures: Figures) -> None:
    with mosquitto.running(folder) as peer:
        figures[MEMORY].append(resident_megabytes(peer.pid))
        with peer.connect() as device:
            rate = publishes_per_second(device)
    figures[LOCKSTEP].append(rate)
    figures[REPLAY].append(rate)


def first_connack(home: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.first_connack"],
        env={**os.environ, "CREEKLAB_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
    )
    times: dict[str, Any] = json.loads(done.stdout)
    return times


def publishes_per_second(device: Device) -> float:
    """Publish each reading when the one before is acknowledged."""
    return readings_per_second(lambda reading: device.publish("creek", reading.message()))


def readings_per_second(send: Callable[[Reading], object]) -> float:
    began = time.perf_counter()
    sent = Replay(FLOOD, send, progress=False).run().sent
    return sent / (time.perf_counter() - began)


def resident_megabytes(pid: int) -> float:
    """Memory of a process as ``ps`` counts it, in units of a million bytes."""
    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(said.stdout) * 1024 / 1e6


def print_table(cloud: Figures, peer: Figures) -> None:
    line = "{:<58} {:>8} {:>8} {:>3}  {:<4} {:>8} {:>8} {:>6}  {}"
    print(
        line.format("", "median", "best", "n", "unit", "peer", "best", "ratio", "peer is").rstrip()
    )
    for row in ROWS:
        ours, theirs = cloud[row], peer[row]
        median = statistics.median(ours)
        cells = [row.name, _figure(median), _figure(row.best(ours)), len(ours), row.unit]
        if theirs and row.peer:
            other = statistics.median(theirs)
            cells += [_figure(other), _figure(row.best(theirs)), f"{median / other:.2f}", row.peer]
        else:
            cells += [""] * 4
        print(line.format(*cells).rstrip())


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _load() -> str:
    return " ".join(f"{each:.2f}" for each in os.getloadavg())


if __name__ == "__main__":
    main()
