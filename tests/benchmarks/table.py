"""Rows, figures, and the table that shows them.

A ratio is the cloud's median divided by the peer's: other work of the machine falls on both, since
each repetition measures one after the other.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes
    ----------
    best
        ``max`` or ``min``: which way is better.
    peer
        What the same is measured of beside the cloud, if anything.
    goal
        What to reach: a ratio to the peer, or without one a figure in `unit`.
    """

    name: str
    unit: str
    best: Callable[[list[float]], float]
    peer: str | None = None
    goal: float | None = None


Figures = defaultdict[Row, list[float]]


def new_figures() -> Figures:
    return defaultdict(list)


def print_table(rows: Iterable[Row], cloud: Figures, peer: Figures) -> None:
    line = "{:<50} {:>8} {:>8} {:>3}  {:<4} {:>8} {:>8} {:>6} {:>6}  {}"
    heads = ("", "median", "best", "n", "unit", "peer", "best", "ratio", "goal", "peer is")
    print(line.format(*heads).rstrip())
    for row in rows:
        ours, theirs = cloud[row], peer[row]
        if not ours:
            continue
        median = statistics.median(ours)
        cells: list[object] = [row.name, figure(median), figure(row.best(ours)), len(ours)]
        cells.append(row.unit)
        if theirs and row.peer:
            other = statistics.median(theirs)
            ratio = f"{median / other:.2f}" if other else ""
            cells += [figure(other), figure(row.best(theirs)), ratio]
        else:
            cells += [""] * 3
        cells += ["" if row.goal is None else f"{row.goal:g}", (theirs and row.peer) or ""]
        print(line.format(*cells).rstrip())


def figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def resident_megabytes(pid: int) -> float:
    """Memory of a process as ``ps`` counts it, in units of a million bytes."""
    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(said.stdout) * 1024 / 1e6


def processor_seconds(pid: int) -> float:
    """Return the user and system time of a process with all its threads, in seconds (Linux)."""
    # The name in parentheses may contain spaces; utime and stime are fields 14 and 15.
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
