"""Readers that turn other people's files into tables of readings.

=============================== ====================================================================
:func:`read_rdb`                a USGS download (RDB): tab-separated, with a commented header
:func:`read_nwis_parquet`       the Parquet file that the hydrofunctions package makes of one
:func:`read_trout_creek`        a log of the homemade gage at Trout Creek: a lidar above the water
:func:`read_csv`                any logger's file: you name the columns and their units
=============================== ====================================================================

Each returns a table as :mod:`creeklab.creek.readings.samples` defines it: in UTC, strictly
increasing in time, column names ending in their unit, and NaN for values that were not measured,
even if the file has an interpolated number there. The table in
:mod:`creeklab.creek.readings.time_series` says how problems such as rows out of order are handled;
``attrs["processing"]`` lists what was done. Anything unreadable raises an error that names column
and row.

Rows are counted from 0, after the header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from creeklab.creek.readings.samples import STAGE, TEMPERATURE, list_columns
from creeklab.creek.readings.time_series import as_numbers, sort_by_time, utc
from creeklab.creek.readings.units import UNITS, converter, unit_of

PARAMETERS = {
    "00065": STAGE,
    "00010": TEMPERATURE,
    "00060": "discharge_ft3_s",
    "00045": "precipitation_in",
    "00095": "specific_conductance_uS_cm",
    "63680": "turbidity_FNU",
}
"""USGS parameter codes, and the column that each becomes."""

HOURS_BEHIND_UTC = {
    **{"UTC": 0, "GMT": 0, "AST": 4, "ADT": 3, "EST": 5, "EDT": 4, "CST": 6, "CDT": 5},
    **{"MST": 7, "MDT": 6, "PST": 8, "PDT": 7, "AKST": 9, "AKDT": 8, "HST": 10, "HDT": 9},
}
"""Time zones that the USGS writes beside each time (``tz_cd``)."""

NOT_A_VALUE = frozenset(
    "*** -- Bkw Dis Eqp Fld Ice Mnt Pmp Rat Ssn Tst Unk Zfl".split()  # noqa: SIM905
)
"""Codes that the USGS writes instead of a value: ``Eqp`` (equipment fault), ``Ice``, and so on."""

INTERPOLATED = "~"
"""USGS code for a value that its system interpolated."""

HF_INTERPOLATED = "hf.missing"
"""Qualifier of a value that hydrofunctions interpolated."""

CM_PER_FT = 30.48

_USGS = {
    "source": "U.S. Geological Survey, National Water Information System",
    "license": "Public domain (work of the United States government)",
    "datum": "stage_ft is the gage height above the station's own datum",
}


def read_rdb(path: str | Path) -> pd.DataFrame:
    """Read a USGS file (RDB) with the instantaneous values of one site.

    Each row is converted to UTC by its own zone (``tz_cd``), so the hour that daylight saving time
    repeats is unambiguous. A value with the code ``~`` was interpolated by the USGS's system, and a
    word in place of a value (``Ice``, ``Eqp``, ...) is not a value; both become NaN.

    Parameters
    ----------
    path
        The file.

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
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    head = [line for line in text.splitlines() if line.startswith("#")]
    rows = _table(path, sep="\t", comment="#")
    if not {"datetime", "tz_cd"} <= set(rows) or not _are_widths(rows.iloc[0]):
        raise ValueError(
            f"{path} is not an RDB file of instantaneous values. Such a file has the columns"
            " 'datetime' and 'tz_cd', and a row of widths such as 5s below their names. This one"
            f" has {list_columns(rows)}."
        )
    rows = rows.iloc[1:].reset_index(drop=True)
    sites = sorted(rows["site_no"].dropna().unique()) if "site_no" in rows else []
    if len(sites) > 1:
        raise ValueError(
            f"{path} has {len(sites)} sites ({', '.join(sites)}). Download one file per site."
        )
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
            str(key): int(count) for key, count in code[code != ""].value_counts().items()
        }
    if not values:
        raise ValueError(
            f"{path} has none of the parameters {', '.join(PARAMETERS)}. Its columns are"
            f" {list_columns(rows)}."
        )
    named = [match[1] for line in head if (match := re.match(r"#\s+(USGS \d+ .+)", line))]
    return _readings(
        pd.DataFrame(values, index=index),
        {
            "site": named[0].strip() if named else f"USGS {', '.join(sites)}",
            **_USGS,
            "processing": (
                f"Converted to UTC by tz_cd; {interpolated} interpolated values (~) and {blank}"
                " words in place of a value left empty"
            ),
            "codes": codes,
        },
    )


def read_nwis_parquet(path: str | Path) -> pd.DataFrame:
    """Read a Parquet file that hydrofunctions made from one USGS site.

    A value whose qualifier contains ``hf.missing`` was interpolated by that package, not measured,
    and becomes NaN.

    Parameters
    ----------
    path
        The file; its columns are called ``USGS:site:parameter:statistic``, and ``..._qualifiers``.

    Returns
    -------
    pandas.DataFrame
        As from :func:`read_rdb`.

    Raises
    ------
    ValueError
        If the file has another format or several sites.
    """
    rows = pd.read_parquet(path)
    pattern = re.compile(r"USGS:(\d+):(\d{5}):\d{5}")
    found = {name: match for name in rows if (match := pattern.fullmatch(str(name)))}
    sites = sorted({match[1] for match in found.values()})
    known = {name: PARAMETERS[match[2]] for name, match in found.items() if match[2] in PARAMETERS}
    if len(sites) != 1 or not known:
        raise ValueError(
            f"{path} is not a file of one USGS site: it has {list_columns(rows)}, but needs"
            " columns such as 'USGS:01581752:00065:00000' of one site."
        )
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
    return _readings(
        pd.DataFrame(values, index=index)[order],
        {
            "site": f"USGS {sites[0]}",
            **_USGS,
            "processing": f"{interpolated} interpolated values (hf.missing) left empty",
            "codes": codes,
        },
    )


def read_trout_creek(path: str | Path, constant_cm: float | None = None) -> pd.DataFrame:
    """Read a log of the gage at Trout Creek (Wickert et al. 2022), a lidar above the water.

    Parameters
    ----------
    path
        A file ``Log....txt``.
    constant_cm
        Range at stage 0; the stage is this minus the range. None uses the largest range in the
        file, so that 0 ft is the lowest water in it. The gage was remounted for each deployment.

    Returns
    -------
    pandas.DataFrame
        ``stage_ft`` (rounded to 0.001 ft), ``range_cm`` and ``box_temperature_degC``, which is the
        temperature inside the logger's box, not of the air or the water.

    Raises
    ------
    ValueError
        If the file is not such a log, or a row cannot be read.
    """
    # The first line identifies the logger, and every row ends in a comma.
    rows = _table(path, header=1, index_col=False, skipinitialspace=True, na_values="NAN")
    names = {"range_cm": "Range [cm]", "box_temperature_degC": "TempOB [C]"}
    missing = [name for name in ("Time [UTC]", *names.values()) if name not in rows]
    if missing:
        raise ValueError(
            f"{path} is not a log of the Trout Creek gage: it has no column {missing[0]!r}, only"
            f" {list_columns(rows)}."
        )
    index = utc(rows["Time [UTC]"], "UTC", "%Y/%m/%d %H:%M:%S")
    values = {
        column: as_numbers(rows[name].set_axis(index), name) for column, name in names.items()
    }
    constant = float(values["range_cm"].max()) if constant_cm is None else constant_cm
    stage = ((constant - values["range_cm"]) / CM_PER_FT).round(3)
    return _readings(
        pd.DataFrame({STAGE: stage, **values}),
        {
            "site": "Trout Creek, Minnesota: a homemade stream gage on a bridge",
            "source": "Wickert et al. (2022), Trout Creek stream gauge, doi 10.5281/zenodo.7192005",
            "license": "CC BY 4.0 (cite the source; changes are listed under processing)",
            "datum": f"stage_ft = ({constant:g} - range_cm) / 30.48, no surveyed datum",
            "processing": "Stage computed from the range (see datum), rounded to 0.001 ft",
        },
    )


def read_csv(
    path: str | Path | IO[str],
    columns: Mapping[str, tuple[str, str]],
    *,
    time: str,
    zone: str | None = None,
    format: str | None = None,
    metadata: Mapping[str, str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Read the file of any logger.

    Parameters
    ----------
    path
        The file, or one that is open.
    columns
        For each column to create, whose name ends in the unit it will have, the name of the column
        in the file and its unit there: ``{"stage_ft": ("Level (m)", "m")}``. Known units are those
        of :data:`creeklab.creek.readings.units.UNITS`.
    time
        The column of the file that holds the times.
    zone
        The time zone of times that have none, ``"America/New_York"``. A logger without daylight
        saving time has the same offset all year: ``"Etc/GMT+5"`` is five hours behind UTC.
    format
        Format of the times, as for `strptime`: ``"%d.%m.%Y %H:%M"``. None is ISO 8601. Nothing is
        guessed: 01/02/2018 can be a day in January or in February.
    metadata
        ``source``, ``site``, ``datum`` and ``license`` of the readings, kept in ``attrs``.
    options
        Anything else for `pandas.read_csv`: ``sep=";"``, ``decimal=","``, ``skiprows=8``,
        ``na_values=["-9999"]``, ``encoding="latin-1"``.

    Returns
    -------
    pandas.DataFrame
        A table of readings with these columns.

    Raises
    ------
    ValueError
        If the file is empty, a column is missing, a unit is unknown or contradicts the one in the
        column's own name, or a row cannot be read; the message names column and row.

    Examples
    --------
    >>> import io
    >>> file = io.StringIO("when,Level (m),Temp\\n2018-08-31 08:00,1.2192,68\\n")
    >>> columns = {"stage_ft": ("Level (m)", "m"), "water_temperature_degC": ("Temp", "degF")}
    >>> read_csv(file, columns, time="when", zone="America/New_York")
                               stage_ft  water_temperature_degC
    time
    2018-08-31 12:00:00+00:00       4.0                    20.0
    """
    convert = {column: converter(unit, column) for column, (_, unit) in columns.items()}
    if not columns:
        raise ValueError(
            "No columns are given. Pass, for example, {'stage_ft': ('Level (m)', 'm')}."
        )
    decimal = options.pop("decimal", ".")
    rows = _table(path, **options)
    for name in (time, *(name for name, _ in columns.values())):
        if name not in rows:
            raise ValueError(f"There is no column {name!r} in {path}, only {list_columns(rows)}.")
    index = utc(rows[time], zone, format)
    values = {}
    for column, (name, unit) in columns.items():
        _check_unit(name, unit)
        text = rows[name] if decimal == "." else rows[name].str.replace(decimal, ".", regex=False)
        numbers = as_numbers(text.set_axis(index), name).to_numpy()
        values[column] = convert[column](numbers)
    origins = [f"{column} from {name!r} in {unit}" for column, (name, unit) in columns.items()]
    return _readings(
        pd.DataFrame(values, index=index), {"processing": ", ".join(origins), **(metadata or {})}
    )


# --- shared by the readers -----------------------------------------------------------------------


def _table(path: str | Path | IO[str], **options: Any) -> pd.DataFrame:
    """Read a table as text, so that pandas converts nothing on its own."""
    try:
        text = {"dtype": str, "keep_default_na": False, "na_values": [""]}
        rows: pd.DataFrame = pd.read_csv(path, **{**text, **options})
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty.") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None
    if rows.empty:
        raise ValueError(f"{path} has a header ({list_columns(rows)}) but no rows.")
    return rows


def _readings(values: pd.DataFrame, metadata: dict[str, Any]) -> pd.DataFrame:
    """Sort the values by time and attach their metadata."""
    units = {column: unit_of(str(column)) for column in values}
    attrs: dict[Any, Any] = {"time_zone": "UTC", **metadata, "units": units}
    values.attrs = attrs
    return sort_by_time(values)


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


def _check_unit(name: str, unit: str) -> None:
    """Raise ValueError if a unit contradicts the one in brackets in the column's own name."""
    own = re.search(r"[\[(]\s*°?\s*([^\])]+?)\s*[\])]", name)
    named = _SPELLINGS.get(own[1].lower()) if own else None
    if named is not None and named != unit:
        raise ValueError(
            f"The name of column {name!r} says {named}, not {unit}. Pass {named!r} as its unit."
        )


_SPELLINGS = {
    **{unit.lower(): unit for unit in UNITS},
    **{"c": "degC", "f": "degF", "feet": "ft", "foot": "ft", "meter": "m", "meters": "m"},
    **{"metre": "m", "metres": "m", "inch": "in", "inches": "in", "cfs": "ft3/s"},
    **{"celsius": "degC", "fahrenheit": "degF", "kelvin": "K", "centimeters": "cm"},
}
