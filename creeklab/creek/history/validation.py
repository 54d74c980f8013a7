"""What a history stores: readings are checked, and their description selected, before the merge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.readings.numbers import as_numbers
from creeklab.creek.readings.samples import time_index
from creeklab.creek.readings.units import unit_of

_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED_NAMES = ("time", "thing", "month")


def validate(readings: pd.DataFrame) -> pd.DataFrame:
    """Return a table to append, with times in UTC, numbers, and portable column names."""
    time = time_index(readings).as_unit("us").rename("time")
    columns: dict[str, NDArray[np.float64]] = {}
    for column in readings:
        if not isinstance(column, str) or not _COLUMN.fullmatch(column) or column in RESERVED_NAMES:
            raise ValueError(
                f"Column {column!r} cannot be stored. A name consists of letters, digits and _, and"
                f" is not {', '.join(RESERVED_NAMES)}."
            )
        if isinstance(readings[column], pd.DataFrame):
            raise ValueError(f"There are two columns {column!r}. Rename one of them.")
        columns[column] = as_numbers(readings[column], column).to_numpy()
    return pd.DataFrame(columns, index=time)


def metadata_to_store(
    readings: pd.DataFrame, attrs: Mapping[Any, Any] | None = None
) -> dict[str, Any]:
    """Return the text of the attributes, and the unit of each column."""
    attrs = readings.attrs if attrs is None else attrs
    text = {str(key): text for key, text in attrs.items() if isinstance(text, str) and text}
    names = [name for name in map(str, readings) if name != "thing"]
    units = {name: attrs.get("units", {}).get(name) or unit_of(name) for name in names}
    return {**text, "units": units}
