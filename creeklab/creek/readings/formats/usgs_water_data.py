"""CSV and GeoJSON of the USGS Water Data API (api.waterdata.usgs.gov, collection *continuous*).

Each row, or feature, is one value of one parameter. Only instantaneous values are readings; daily
statistics are not. What the USGS says about a stage, such as ``ICE``, becomes the column
``stage_qualifier``, and the quality check calls such a reading suspect.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import QUALIFIER, Choices, finish
from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.formats.format import Format
from creeklab.creek.readings.formats.usgs import PARAMETERS, USGS, one_site
from creeklab.creek.readings.numbers import as_numbers, without_fill_values
from creeklab.creek.readings.samples import STAGE
from creeklab.creek.readings.times import utc
from creeklab.creek.readings.units import converter

_NEEDED = ("monitoring_location_id", "parameter_code", "time", "value", "unit_of_measure")
_INSTANTANEOUS = ("00000", "00011")  # in older and in newer time series


def read_csv(path: Path, choices: Choices) -> pd.DataFrame:
    """Read the CSV form; raise as :func:`read_features` does."""
    return read_features(path, table(path, text_of(path)), choices)


def read_geojson(path: Path, choices: Choices) -> pd.DataFrame:
    """Read the GeoJSON form; raise as :func:`read_features` does."""
    try:
        features = json.loads(text_of(path))["features"]
        rows = pd.DataFrame([each["properties"] for each in features])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as GeoJSON of the USGS ({error}).") from None
    if rows.empty:
        raise ValueError(f"{path} has no features, so it has no readings.")
    return read_features(path, rows, choices)


def read_features(path: Path, rows: pd.DataFrame, choices: Choices) -> pd.DataFrame:
    """Return the readings in the rows of the API.

    Raises
    ------
    ValueError
        If a column is missing, there are several sites and none is chosen, a parameter has several
        time series, or there are no instantaneous values.
    """
    missing = [name for name in _NEEDED if name not in rows]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}; ask the API for all properties.")
    number = rows["monitoring_location_id"].str.removeprefix("USGS-")
    site = one_site(path, number.dropna().unique(), choices.site)
    rows = rows[number == site]
    if "statistic_id" in rows:
        statistics = sorted(rows["statistic_id"].dropna().unique())
        rows = rows[rows["statistic_id"].isna() | rows["statistic_id"].isin(_INSTANTANEOUS)]
        if rows.empty:
            raise ValueError(
                f"{path} has only statistics of days ({', '.join(statistics)}), such as a daily"
                " mean, and no readings. Request the collection 'continuous'."
            )
    columns: dict[str, pd.Series] = {}
    steps = ["Retrieved from the USGS Water Data API"]
    for code, own in rows[rows["parameter_code"].isin(PARAMETERS)].groupby("parameter_code"):
        column = PARAMETERS[str(code)]
        if "time_series_id" in own and own["time_series_id"].nunique() > 1:
            raise ValueError(
                f"{path} has {own['time_series_id'].nunique()} time series of parameter {code},"
                " because the site has several such sensors. Keep the rows of one of them."
            )
        index = utc(own["time"], None)
        units = own["unit_of_measure"].dropna().unique()
        if len(units) != 1:
            raise ValueError(f"{path} has {len(units)} units of parameter {code}; one is needed.")
        values = as_numbers(own["value"].set_axis(index), f"value of {code}")
        values, removed = without_fill_values(values, f"value of {code}")
        steps += removed
        columns[column] = pd.Series(converter(units[0], column)(values.to_numpy()), index)
        if column == STAGE and "qualifier" in own:
            columns[QUALIFIER] = own["qualifier"].map(_qualifiers).set_axis(index)
    if not columns:
        raise ValueError(f"{path} has none of the parameters {', '.join(PARAMETERS)}.")
    repeated = [name for name, each in columns.items() if each.index.has_duplicates]
    if repeated:
        raise ValueError(f"{path} has two values of {repeated[0]} for one time. Keep one of them.")
    about = {"site": f"USGS {site}", **USGS, "processing": "; ".join(steps)}
    return finish(pd.DataFrame(columns), about)


def _qualifiers(value: object) -> str:
    """Return the qualifiers of one value: a list in GeoJSON, a list written as text in CSV."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return ",".join(re.findall(r"[A-Za-z_]+", value)) if isinstance(value, str) else ""


CSV = Format(
    "USGS Water Data API (CSV)",
    lambda head: all(name in head.split("\n", 1)[0] for name in _NEEDED),
    read_csv,
)
GEOJSON = Format(
    "USGS Water Data API (GeoJSON)",
    lambda head: head.lstrip().startswith("{") and "FeatureCollection" in head,
    read_geojson,
)
