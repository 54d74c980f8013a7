"""Parquet files: those that the hydrofunctions package makes of a USGS site, and one's own.

One's own needs a column ``stage_ft``, and the time in its index or a column ``time``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from creeklab.creek.readings.building import Choices, finish
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.formats.usgs import PARAMETERS, USGS, one_site
from creeklab.creek.readings.numbers import as_numbers
from creeklab.creek.readings.samples import list_columns
from creeklab.creek.readings.time_series import normalize
from creeklab.creek.readings.times import utc

HF_INTERPOLATED = "hf.missing"
"""Qualifier of a value that hydrofunctions interpolated."""


def read_nwis_parquet(
    path: str | Path, *, site: str | None = None, statistic: str | None = None
) -> pd.DataFrame:
    """Read a Parquet file that hydrofunctions made from one USGS site.

    A value whose qualifier contains ``hf.missing`` was interpolated by that package, not measured,
    and becomes NaN.

    Parameters
    ----------
    path
        The file; its columns are called ``USGS:site:parameter:statistic``, and ``..._qualifiers``.
    site
        The number of the site, if the file has several.
    statistic
        The statistic to read, if the file has no instantaneous values (``00000``): ``"00001"`` is
        the daily maximum, ``"00002"`` the minimum, ``"00003"`` the mean.

    Returns
    -------
    pandas.DataFrame
        As from :func:`creeklab.creek.readings.formats.usgs_rdb.read_rdb`.

    Raises
    ------
    ValueError
        If the file has another format, or it is not clear which site or statistic to read.
    """
    rows = pd.read_parquet(path)
    pattern = re.compile(r"USGS:(\d+):(\d{5}):(\d{5})")
    found = {name: match for name in rows if (match := pattern.fullmatch(str(name)))}
    found = {name: match for name, match in found.items() if match[2] in PARAMETERS}
    if not found:
        raise ValueError(
            f"{path} is not a file of a USGS site: it has {list_columns(rows)}, but needs"
            " columns such as 'USGS:01581752:00065:00000'."
        )
    site = one_site(path, {match[1] for match in found.values()}, site)
    found = {name: match for name, match in found.items() if match[1] == site}
    wanted = _statistic(path, {match[3] for match in found.values()}, statistic)
    known = {name: PARAMETERS[match[2]] for name, match in found.items() if match[3] == wanted}
    values, codes = {}, {}
    interpolated = 0
    index = utc(rows.index, None)
    for name, column in known.items():
        qualifiers = rows.get(f"{name}_qualifiers", pd.Series("", rows.index)).fillna("")
        guessed = qualifiers.str.contains(HF_INTERPOLATED, regex=False).to_numpy(dtype=bool)
        interpolated += int(guessed.sum())
        values[column] = as_numbers(rows[name].set_axis(index), str(name)).mask(guessed)
        codes[column] = {str(key): int(n) for key, n in qualifiers.value_counts().items()}
    order = [column for column in PARAMETERS.values() if column in values]
    return finish(
        pd.DataFrame(values, index=index)[order],
        {
            "site": f"USGS {site}",
            **USGS,
            "processing": f"{interpolated} interpolated values (hf.missing) left empty",
            "codes": codes,
        },
    )


def _statistic(path: object, found: set[str], wanted: str | None) -> str:
    """Return the statistic to read: instantaneous values, if nothing else is asked for."""
    wanted = wanted or "00000"
    if wanted not in found:
        raise ValueError(
            f"{path} has no statistic {wanted} ({_MEANING.get(wanted, 'unknown')}), only"
            f" {', '.join(f'{each} ({_MEANING.get(each, each)})' for each in sorted(found))}."
            f" A daily value is not a reading: pass the one you want, for example"
            f" statistic={min(found)!r}."
        )
    return wanted


_MEANING = {
    "00000": "instantaneous",
    "00001": "daily maximum",
    "00002": "daily minimum",
    "00003": "daily mean",
}


def read_parquet(path: Path, choices: Choices) -> pd.DataFrame:
    """Read a Parquet file; raise as :func:`read_nwis_parquet` or ``normalize`` does."""
    if any(str(name).startswith("USGS:") for name in pq.read_schema(path).names):
        return read_nwis_parquet(path, site=choices.site)
    rows = pd.read_parquet(path)
    time = "time" if "time" in rows else None
    return normalize(rows, time=time, zone=choices.zone, format=choices.time_format)


FORMAT = Format("Parquet file", lambda head: head.startswith("PAR1"), read_parquet)
