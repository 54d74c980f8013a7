"""A USGS download in RDB form: tab-separated, with a commented header and a row of widths.

The service that writes these files ends in early 2027; files that people have stay readable. For
the new service, see :mod:`creeklab.creek.readings.formats.usgs_water_data`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from creeklab.creek.readings.building import finish
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.formats.usgs import INTERPOLATED, PARAMETERS, USGS, one_site
from creeklab.creek.readings.numbers import as_numbers
from creeklab.creek.readings.samples import list_columns
from creeklab.creek.readings.times import utc

HOURS_BEHIND_UTC = {
    **{"UTC": 0, "GMT": 0, "AST": 4, "ADT": 3, "EST": 5, "EDT": 4, "CST": 6, "CDT": 5},
    **{"MST": 7, "MDT": 6, "PST": 8, "PDT": 7, "AKST": 9, "AKDT": 8, "HST": 10, "HDT": 9},
}
"""Time zones that the USGS writes beside each time (``tz_cd``)."""

NOT_A_VALUE = frozenset(
    "*** -- Bkw Dis Eqp Fld Ice Mnt Pmp Rat Ssn Tst Unk Zfl".split()  # noqa: SIM905
)
"""Codes that the USGS writes instead of a value: ``Eqp`` (equipment fault), ``Ice``, and so on."""


def read_rdb(path: str | Path, *, site: str | None = None) -> pd.DataFrame:
    """Read a USGS file (RDB) with the instantaneous values of one site.

    Each row is converted to UTC by its own zone (``tz_cd``), so the hour that daylight saving time
    repeats is unambiguous. A value with the code ``~`` was interpolated by the USGS's system, and a
    word in place of a value (``Ice``, ``Eqp``, ...) is not a value; both become NaN.

    Parameters
    ----------
    path
        The file.
    site
        The number of the site, if the file has several.

    Returns
    -------
    pandas.DataFrame
        One column for each parameter in :data:`PARAMETERS`. ``attrs`` holds ``site``, ``source``,
        ``license``, ``datum``, ``units`` and ``processing``; ``codes`` counts the quality codes of
        each column, such as ``{"stage_ft": {"P": 6587, "P:~": 36}}``.

    Raises
    ------
    ValueError
        If the file has another format or several sites, or a row cannot be read.
    """
    text = text_of(Path(path))
    blocks = [_block(path, block) for block in _blocks(text)]
    sites = {str(number) for rows in blocks for number in rows["site_no"].dropna()}
    site = one_site(path, sites, site)
    rows = next(rows for rows in blocks if site in set(rows["site_no"]) or not site)
    rows = rows[rows["site_no"] == site].reset_index(drop=True) if site else rows
    index = _local_to_utc(rows)
    values, codes = {}, {}
    blank = interpolated = 0
    for name, parameter in _parameters(rows).items():
        column = PARAMETERS[parameter]
        raw, code = rows[name], rows.get(f"{name}_cd", pd.Series("", rows.index)).fillna("")
        is_word = raw.isin(NOT_A_VALUE)
        guessed = code.str.contains(INTERPOLATED, regex=False)
        blank, interpolated = blank + int(is_word.sum()), interpolated + int(guessed.sum())
        numbers = as_numbers(raw.mask(is_word).set_axis(index), name)
        values[column] = numbers.mask(guessed.to_numpy())
        codes[column] = {
            str(key): int(count)
            for key, count in pd.concat([code[code != ""], raw[is_word]]).value_counts().items()
        }
    if not values:
        raise ValueError(
            f"{path} has none of the parameters {', '.join(PARAMETERS)}. Its columns are"
            f" {list_columns(rows)}."
        )
    named = re.findall(rf"^#\s+(USGS {site} .+)", text, re.M)
    return finish(
        pd.DataFrame(values, index=index),
        {
            "site": named[0].strip() if named else f"USGS {site}",
            **USGS,
            "processing": (
                f"Converted to UTC by tz_cd; {interpolated} interpolated values (~) and {blank}"
                " words in place of a value left empty"
            ),
            "codes": codes,
        },
    )


def _blocks(text: str) -> list[str]:
    """Return the tables of a file: a download of several sites has one after the other."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    starts = [row for row, line in enumerate(lines) if line.startswith("agency_cd\t")] or [0]
    return ["\n".join(lines[a:b]) for a, b in pairwise([*starts, len(lines)])]


def _block(path: str | Path, text: str) -> pd.DataFrame:
    rows = table(path, text, sep="\t")
    if not {"datetime", "tz_cd", "site_no"} <= set(rows) or not _are_widths(rows.iloc[0]):
        raise ValueError(
            f"{path} is not an RDB file of instantaneous values. Such a file has the columns"
            " 'site_no', 'datetime' and 'tz_cd', and a row of widths such as 5s below their names."
            f" This one has {list_columns(rows)}."
        )
    return rows.iloc[1:].reset_index(drop=True)


def _local_to_utc(rows: pd.DataFrame) -> pd.DatetimeIndex:
    hours = rows["tz_cd"].map(HOURS_BEHIND_UTC)
    unknown = np.flatnonzero(hours.isna())
    if unknown.size:
        row = int(unknown[0])
        raise ValueError(
            f"Row {row} has {rows['tz_cd'].iloc[row]!r} in column 'tz_cd', which is not a time zone"
            f" of the USGS: {', '.join(HOURS_BEHIND_UTC)}."
        )
    behind = pd.TimedeltaIndex(pd.to_timedelta(hours, unit="h"), name="time")
    return (utc(rows["datetime"], "UTC") + behind).as_unit("us")


def _parameters(rows: pd.DataFrame) -> dict[str, str]:
    """Find the columns of values: ``01_00065``, or ``69928_00065`` in newer files."""
    found: dict[str, str] = {}
    for name in map(str, rows):
        match = re.fullmatch(r"\d+_(\d{5})(?:_\d{5})?", name)
        if match and match[1] in PARAMETERS:
            if match[1] in found.values():
                raise ValueError(
                    f"Parameter {match[1]} is in two columns, one of them {name!r}, because the"
                    " site has two such sensors. Remove the column of one of them."
                )
            found[name] = match[1]
    return dict(sorted(found.items(), key=lambda item: list(PARAMETERS).index(item[1])))


def _are_widths(row: pd.Series) -> bool:
    """Return whether a row of an RDB file holds column widths and types: 5s, 14n."""
    return all(re.fullmatch(r"\d+[sdn]", str(cell)) for cell in row)


FORMAT = Format(
    "USGS download (RDB)",
    lambda head: head.startswith("#") and "agency_cd\tsite_no" in head,
    lambda path, choices: read_rdb(path, site=choices.site),
)
