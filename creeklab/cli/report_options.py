"""The options of ``creeklab report``: the page, and what a file does not say itself.

Imports only the standard library; see :mod:`creeklab.cli.main`.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("readings", metavar="SAMPLE", help="a sample, a history folder or a file")
    parser.add_argument("--thing", help="the Thing to report on, if the history has several")
    parser.add_argument("-o", "--output", type=Path, default=Path("flood-report.html"))
    parser.add_argument("--start", type=float, help="a flood starts above this stage (2.5 ft)")
    parser.add_argument("--end", type=float, help="it ends below this stage (1.75 ft)")
    parser.add_argument(
        "--zone", default="UTC", help="time zone of the page, such as America/New_York"
    )
    parser.add_argument(
        "--units",
        choices=("feet", "metric"),
        default="feet",
        help="unit of stages, on the page and in these options",
    )
    parser.add_argument(
        "--file-zone",
        metavar="ZONE",
        help="time zone of a file whose times have none; Etc/GMT+5 is UTC-5 all year",
    )
    parser.add_argument(
        "--time-format",
        metavar="FORMAT",
        help="format of a file's times, such as '%%d/%%m/%%Y %%H:%%M'",
    )
    parser.add_argument(
        "--stage",
        type=_stage_column,
        metavar="COLUMN:UNIT",
        help="the column of a file that holds the stage, and its unit",
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        type=_assignment,
        metavar="COLUMN=VALUE",
        help="the rows of a file to read, if it has several sensors; can be repeated",
    )
    parser.add_argument("--site", help="the site to read, if a file has several")
    parser.add_argument(
        "--landmark",
        action="append",
        default=[],
        type=_landmark,
        metavar="NAME=STAGE",
        help="a landmark and the stage that reaches it; can be repeated",
    )


def _landmark(text: str) -> tuple[str, float]:
    name, _, height = text.rpartition("=")
    try:
        return name.strip(), float(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=STAGE, such as Bank=7.6") from None


def _stage_column(text: str) -> tuple[str, str | None]:
    column, _, unit = text.rpartition(":")
    return (column, unit) if column else (text, None)


def _assignment(text: str) -> tuple[str, str]:
    column, mark, value = text.partition("=")
    if not mark:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=VALUE, such as entity_id=depth")
    return column.strip(), value.strip()
