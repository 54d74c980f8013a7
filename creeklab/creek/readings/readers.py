"""Read any logger's file: you name its columns and their units.

:mod:`creeklab.creek.readings.formats` recognizes common formats by their first lines. For any other
file, :func:`read_csv` returns a table as :mod:`creeklab.creek.readings.samples` defines it: in UTC,
strictly increasing in time, column names ending in their unit, and NaN for values that were not
measured. The table in :mod:`creeklab.creek.readings.time_series` says how problems such as rows out
of order are handled; ``attrs["processing"]`` lists what was done. Anything unreadable raises an
error that names column and row.

Rows are counted from 0, after the header.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import pandas as pd

from creeklab.creek.readings.building import Choices, Columns, build, selected
from creeklab.creek.readings.files import table
from creeklab.creek.readings.samples import list_columns
from creeklab.creek.readings.times import Ambiguous, utc
from creeklab.creek.readings.units import converter

_OPTIONS = frozenset(
    """sep delimiter header names skiprows skipfooter nrows usecols comment encoding quotechar
    skipinitialspace engine compression decimal thousands na_values""".split()  # noqa: SIM905
)
"""The options of `pandas.read_csv` that have a meaning here; the others convert what is read."""


def read_csv(
    path: str | Path | IO[str],
    columns: Columns,
    *,
    time: str,
    zone: str | None = None,
    format: str | None = None,
    ambiguous: Ambiguous = "raise",
    where: Mapping[str, str] | None = None,
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
        Format of the times, as for `strptime`: ``"%d.%m.%Y %H:%M"``; or ``"epoch seconds"``. None
        is ISO 8601. Nothing is guessed: 01/02/2018 can be a day in January or in February.
    ambiguous
        ``"infer"`` resolves the hour that happens twice in autumn by the order of the rows.
    where
        In a long table, the rows to read: ``{"entity_id": "sensor.creek_depth"}``.
    metadata
        ``source``, ``site``, ``datum`` and ``license`` of the readings, kept in ``attrs``.
    options
        Options of `pandas.read_csv` that concern the text of the file: ``sep=";"``,
        ``decimal=","``, ``thousands="."``, ``skiprows=8``, ``na_values=[-9999]``,
        ``encoding="latin-1"``. Numbers among ``na_values`` match by value: -9999.00 too.

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
    for column, (_, unit) in columns.items():
        converter(unit, column)
    if not columns:
        raise ValueError(
            "No columns are given. Pass, for example, {'stage_ft': ('Level (m)', 'm')}."
        )
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise ValueError(
            f"read_csv does not take {unknown[0]!r}, because it converts times and numbers itself."
            f" Options of pandas that it takes: {', '.join(sorted(_OPTIONS))}."
        )
    marks = options.pop("decimal", "."), options.pop("thousands", None)
    texts, fills = _missing(options.pop("na_values", []))
    rows = table(path, na_values=["", *texts], **options)
    names = [name for name, _ in columns.values()]
    for name in (time, *names):
        if name not in rows:
            raise ValueError(f"There is no column {name!r} in {path}, only {list_columns(rows)}.")
    rows = selected(path, rows, Choices(where=where or {}), [time, *names])
    origins = [f"{column} from {name!r} in {unit}" for column, (name, unit) in columns.items()]
    attrs = {"processing": ", ".join(origins), **(metadata or {})}
    index = utc(rows[time], zone, format, ambiguous)
    return build(rows, index, columns, attrs, fill_values=fills, marks=marks)


def _missing(na_values: Any) -> tuple[list[str], list[float]]:
    """Divide the values that stand for no measurement into text and numbers."""
    given: Iterable[Any] = [na_values] if isinstance(na_values, (str, float, int)) else na_values
    numbers = pd.to_numeric(pd.Series(list(given), dtype=object), errors="coerce")
    texts = [str(each) for each, number in zip(given, numbers, strict=True) if pd.isna(number)]
    return texts, [float(number) for number in numbers.dropna()]
