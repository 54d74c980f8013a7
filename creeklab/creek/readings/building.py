"""From the rows of a file to a table of readings: which column is the stage, and in which unit.

Every reader ends here. The columns of a file are chosen by the caller, or recognized by their
headings, which must then leave no doubt: one column that is called level, stage or depth, with a
unit. Its numbers are converted, fill values are left out with a warning, and rows are sorted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from creeklab.creek.readings.numbers import as_numbers, without_fill_values
from creeklab.creek.readings.samples import STAGE, TEMPERATURE, list_columns
from creeklab.creek.readings.time_series import sort_by_time
from creeklab.creek.readings.times import Ambiguous, fitting_formats, utc
from creeklab.creek.readings.units import UNITS, converter, heading_unit, known_unit, unit_of

Columns = Mapping[str, tuple[str, str]]

QUALIFIER = "stage_qualifier"
"""Column of text: what the publisher says about a stage, such as ``ICE``; empty if nothing."""

_STAGE = re.compile(r"level|stage|depth|gage|gauge|height|lvl|pegel|niveau", re.I)
_NOT_STAGE = re.compile(r"rain|precip|snow|baro|batt|snr|pres", re.I)
_WATER = re.compile(r"temp|^wt", re.I)
_NOT_WATER = re.compile(r"air|box|batt|panel|ptemp|logger|enclosure|barn|dew", re.I)
_RAIN = re.compile(r"rain|precip", re.I)

# Columns that say which sensor, place or quantity a row is about.
_IDENTITIES = re.compile(
    r"(entity|sensor|device|station|site|feed|thing|measure|variable|param(eter)?|topic|name"
    r"|location|monitoring_location|unit|unit_of_measure(ment)?|attribute|tag|id)"
    r"(_?(id|no|number|code|name))?$",
    re.I,
)


@dataclass(frozen=True)
class Choices:
    """What a person says about a file that the file does not say itself.

    Parameters
    ----------
    zone
        The time zone of times that have none.
    time_format
        The format of the times; None recognizes it, if the whole column leaves no doubt.
    ambiguous
        See :func:`creeklab.creek.readings.times.utc`.
    stage
        The column that holds the stage, and its unit if its heading does not name it.
    where
        For each of these columns, the value of the rows to read.
    site
        The site to read, if the file has several.
    """

    zone: str | None = None
    time_format: str | None = None
    ambiguous: Ambiguous = "raise"
    stage: tuple[str, str | None] | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    site: str | None = None


def build(
    rows: pd.DataFrame,
    index: pd.DatetimeIndex,
    columns: Columns,
    metadata: Mapping[str, Any],
    *,
    fill_values: Iterable[float] = (),
    marks: tuple[str, str | None] = (".", None),
) -> pd.DataFrame:
    """Return the table of readings that some columns of a file hold.

    Parameters
    ----------
    rows
        The rows of the file, as text.
    index
        Their times, in UTC.
    columns
        For each column to create, the column of the file and its unit there.
    metadata
        The readings' ``attrs``.
    fill_values
        Numbers that stand for no measurement.
    marks
        The decimal mark, and the mark between thousands.

    Raises
    ------
    ValueError
        If a value is not a number, or a unit is unknown or contradicts the column's own heading.
    """
    values, steps = {}, []
    for column, (name, unit) in columns.items():
        check_unit(name, unit)
        convert: Any = converter(unit, column)
        text = rows[name].set_axis(index)
        numbers = as_numbers(text, name, decimal=marks[0], thousands=marks[1])
        numbers, removed = without_fill_values(numbers, name, fill_values)
        steps += removed
        values[column] = convert(numbers.to_numpy())
    done = [*filter(None, [metadata.get("processing")]), *steps]
    return finish(pd.DataFrame(values, index=index), {**metadata, "processing": "; ".join(done)})


def finish(values: pd.DataFrame, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Sort readings by time and attach their metadata."""
    units = {column: unit for column in map(str, values) if (unit := unit_of(column))}
    attrs: dict[Any, Any] = {"time_zone": "UTC", **metadata, "units": units}
    values.attrs = attrs
    return sort_by_time(values)


def recognized(
    path: object, rows: pd.DataFrame, choices: Choices, units: Mapping[str, str]
) -> Columns:
    """Return the columns that hold stage, water temperature and rain, as their headings say.

    Parameters
    ----------
    path
        The file, for messages.
    rows
        Its rows.
    choices
        The caller's choices.
    units
        Units that the file states elsewhere than in its headings.

    Raises
    ------
    ValueError
        If it is not clear which column holds the stage, or in which unit.
    """
    found = {name: units.get(name) or heading_unit(name) for name in map(str, rows)}
    name, unit = choices.stage or _stage(path, found)
    if name not in found:
        raise ValueError(f"There is no column {name!r} in {path}, only {list_columns(rows)}.")
    unit = unit or found[name]
    if unit is None:
        raise ValueError(
            f"{path} does not say in which unit column {name!r} is. Pass it, for example"
            f" {_option(name, 'ft')}."
        )
    columns = {STAGE: (name, unit)}
    for column, kind, yes, no in (
        (TEMPERATURE, "temperature", _WATER, _NOT_WATER),
        ("precipitation_in", "length", _RAIN, re.compile("$^")),
    ):
        fitting = [
            each
            for each, own in found.items()
            if own and UNITS[own].kind == kind and yes.search(each) and not no.search(each)
        ]
        if len(fitting) == 1 and fitting[0] != name:
            columns[column] = (fitting[0], str(found[fitting[0]]))
    return columns


def _stage(path: object, found: Mapping[str, str | None]) -> tuple[str, str | None]:
    named = [each for each in found if _STAGE.search(each) and not _NOT_STAGE.search(each)]
    fitting = [each for each in named if (u := found[each]) and UNITS[u].kind == "length"]
    if len(fitting) == 1:
        return fitting[0], None
    if len(named) == 1 and found[named[0]] is None:
        return named[0], None
    several = ", ".join(map(repr, fitting or named or found))
    example = (fitting or named or [*found])[-1]
    raise ValueError(
        f"{path} does not say which column holds the stage: it may be one of {several}. Name the"
        f" column and its unit, for example {_option(example, found[example] or 'ft')}."
    )


def _option(name: str, unit: str) -> str:
    return f'--stage "{name}:{unit}" (in Python: stage=({name!r}, {unit!r}))'


def selected(
    path: object, rows: pd.DataFrame, choices: Choices, used: Iterable[str]
) -> pd.DataFrame:
    """Return the rows of one sensor.

    Raises
    ------
    ValueError
        If the rows are about several sensors, places or quantities; the message lists them.
    """
    for column, value in choices.where.items():
        if column not in rows:
            raise ValueError(f"There is no column {column!r} in {path}, only {list_columns(rows)}.")
        kept = rows[rows[column].astype("string").str.strip() == value]
        if kept.empty:
            raise ValueError(
                f"No row of {path} has {value!r} in column {column!r}, only {_some(rows[column])}."
            )
        rows = kept
    for column in map(str, rows):
        if column in used or column in choices.where or not _IDENTITIES.match(column):
            continue
        values = rows[column].dropna().unique()
        if 1 < len(values) <= max(2, len(rows) // 2):
            raise ValueError(
                f"The rows of {path} are about several sensors: column {column!r} has"
                f" {_some(rows[column])}. Choose one, for example --where"
                f" {column}={values[0]} (in Python: where={{{column!r}: {str(values[0])!r}}})."
            )
    return rows.reset_index(drop=True)


def _some(column: pd.Series) -> str:
    values = [str(each) for each in column.dropna().unique()]
    return ", ".join(values[:6]) + (f" and {len(values) - 6} more" if len(values) > 6 else "")


def local_times(
    path: object, text: pd.Series, formats: Iterable[str], choices: Choices, zone: str | None = None
) -> pd.DatetimeIndex:
    """Return times that have one of some formats, in UTC.

    Parameters
    ----------
    path
        The file, for messages.
    text
        The times.
    formats
        The formats that this kind of file can have.
    choices
        The caller's choices.
    zone
        The time zone that the file states, if any.

    Raises
    ------
    ValueError
        If no format fits every row, or several do and the column does not tell which one it is.
    """
    zone = zone or choices.zone
    if choices.time_format is not None:
        return utc(text, zone, choices.time_format, choices.ambiguous)
    found = fitting_formats(text, list(formats))
    if not found:
        fits = {each: pd.to_datetime(text, format=each, errors="coerce") for each in formats}
        best = max(fits, key=lambda each: int(fits[each].notna().sum()))
        row = int(fits[best].isna().to_numpy().argmax())
        raise ValueError(
            f"Row {row} of {path} has the time {text.iloc[row]!r}, which is not in the format of"
            f" the others ({best}). Pass the format, for example --time-format '%d/%m/%Y %H:%M'."
        )
    first = next(iter(found.values()))
    if any(not times.equals(first) for times in found.values()):
        raise ValueError(
            f"The times of {path}, such as {text.iloc[0]!r}, may be {' or '.join(found)}. Pass"
            f" the right one, for example --time-format '{next(iter(found))}'."
        )
    return utc(first, zone, None, choices.ambiguous)


def check_unit(name: str, unit: str) -> None:
    """Raise ValueError if a unit contradicts the one in the column's own heading."""
    named = heading_unit(name)
    if named is not None and named != known_unit(unit):
        raise ValueError(
            f"The name of column {name!r} says {named}, not {unit}. Pass {named!r} as its unit."
        )
