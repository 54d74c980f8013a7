"""Units of loggers and devices, and of the columns in a table of readings.

Column names end in their unit: ``stage_ft``, ``air_degC``. Values in another unit are converted
when they are read, and only between units of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: ``n`` of it are ``n * size + zero`` of the base unit of its kind.

    ``size`` is a fraction, because 304.8 mm is exactly a foot and 0.00328... ft only nearly a mm.
    """

    kind: str
    size: tuple[float, float]
    zero: float = 0.0


UNITS = {
    "ft": Unit("length", (304.8, 1)),
    "in": Unit("length", (25.4, 1)),
    "m": Unit("length", (1000, 1)),
    "cm": Unit("length", (10, 1)),
    "mm": Unit("length", (1, 1)),
    "degC": Unit("temperature", (1, 1)),
    "degF": Unit("temperature", (5, 9), -160 / 9),
    "K": Unit("temperature", (1, 1), -273.15),
    "ft3/s": Unit("discharge", (0.3048**3, 1)),
    "m3/s": Unit("discharge", (1, 1)),
    "uS/cm": Unit("specific conductance", (1, 1)),
    "FNU": Unit("turbidity", (1, 1)),
}

# Further decimals are artifacts of binary fractions: 73.58 degF is 23.1 degC.
_DECIMALS = 9


def unit_of(column: str) -> str | None:
    """Return the unit that a column name ends in, if any: ``discharge_ft3_s`` is in ft3/s."""
    endings = [unit for unit in UNITS if column.endswith("_" + unit.replace("/", "_"))]
    return max(endings, key=len, default=None)


def converter(unit: str, column: str) -> Callable[[Number], Number]:
    """Return the function that converts values of a unit into those of a column.

    Raises
    ------
    ValueError
        If the unit is unknown, the column name has no unit, or the two measure different things.
    """
    to = unit_of(column)
    if to is None:
        raise ValueError(
            f"The name of column {column!r} does not end in a unit. Add one, such as"
            f" {column + '_ft'!r}. Known units: {', '.join(UNITS)}."
        )
    if unit not in UNITS:
        raise ValueError(
            f"{unit!r}, for column {column!r}, is not a known unit. Known units:"
            f" {', '.join(UNITS)}."
        )
    source, target = UNITS[unit], UNITS[to]
    if source.kind != target.kind:
        raise ValueError(
            f"Column {column!r} is a {target.kind} in {to}, but {unit!r} is the unit of a"
            f" {source.kind}."
        )
    if unit == to:
        return lambda values: values
    up, down = source.size[0] * target.size[1], source.size[1] * target.size[0]
    shift = (source.zero - target.zero) * target.size[1] / target.size[0]

    def convert(values: Number) -> Number:
        converted: Any = values * up / down + shift
        # For a single number, Python's own round is much faster.
        is_array = isinstance(converted, np.ndarray)
        rounded: Any = np.round(converted, _DECIMALS) if is_array else round(converted, _DECIMALS)
        return cast(Number, rounded)

    return convert
