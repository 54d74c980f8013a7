"""Measure creeklab and print tables: ``python -m tests.benchmarks [PART ...]``.

Each repetition measures every row once, the cloud and its peer one after the other. The peer is
Debian's mosquitto, where it is installed, with the same client doing the same.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys

from . import (
    account,
    broker,
    classroom,
    creek_analysis,
    creek_fleet,
    creek_history,
    creek_replay,
    denials,
    mosquitto,
    neighbor,
    rules,
    start,
)
from .table import new_figures, print_table

PARTS = {
    "start": (start.ROWS, start.measure),
    "broker": (tuple(broker.WORK), broker.measure),
    "class": (classroom.ROWS, classroom.measure),
    "neighbor": (neighbor.ROWS, neighbor.measure),
    "account": (account.ROWS, account.measure),
    "rules": (rules.ROWS, rules.measure),
    "denials": (denials.ROWS, denials.measure),
    "creek-analysis": (creek_analysis.ROWS, creek_analysis.measure),
    "creek-fleet": (creek_fleet.ROWS, creek_fleet.measure),
    "creek-history": (creek_history.ROWS, creek_history.measure),
    "creek-replay": (creek_replay.ROWS, creek_replay.measure),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}: all")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument(
        "--only",
        default="",
        help="of the broker, neighbor and creek-replay, rows with this in their name",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="a setting",
    )
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} processors")
    for part in options.parts or PARTS:
        rows, measure = PARTS[part]
        ours, theirs = new_figures(), new_figures()
        load = _load()
        for number in range(1, options.repeat + 1):
            print(f"{part}: {number} of {options.repeat} ...", file=sys.stderr)
            measure(ours, theirs, options.settings, options.only)
        print(f"\n{part}; load average before {load}, after {_load()}")
        print_table(rows, ours, theirs)
    if not mosquitto.program():
        print("\nNo peer: mosquitto is not installed.")


def _load() -> str:
    return " ".join(f"{each:.2f}" for each in os.getloadavg())


if __name__ == "__main__":
    main()
