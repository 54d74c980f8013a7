"""Units: what loggers and devices measure in, and what the name of a column ends in.

The names of the columns of a table of readings end in their unit: ``stage_ft``, ``air_degC``. What
comes in another one is converted on the way in, and only between units of the same kind.
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
    """What it measures, and how many of the kind's own unit ``n`` of it are: ``n * size + zero``.

    ``size`` is a fraction, because 304.8 mm are exactly a foot and 0.00328... ft only nearly a mm.
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

# What is beyond is the arithmetic of binary fractions: 73.58 degF are 23.1 degC.
_DECIMALS = 9


def unit_of(column: str) -> str | None:
    """Give the unit that the name of a column ends in, if any: ``discharge_ft3_s`` in ft3/s."""
    endings = [unit for unit in UNITS if column.endswith("_" + unit.replace("/", "_"))]
    return max(endings, key=len, default=None)


def converter(unit: str, column: str) -> Callable[[Number], Number]:
    """Give the function that turns values of a unit into those of a column.

    Parameters
    ----------
    unit
        One of :data:`UNITS`.
    column
        Whose name ends in a unit.

    Raises
    ------
    ValueError
        The unit is not known, the column has none, or they do not measure the same.
    """
    to = unit_of(column)
    if to is None:
        raise ValueError(
            f"Column {column!r} does not say its unit: let its name end in one, such as"
            f" {column + '_ft'!r}. Known are {_known()}."
        )
    if unit not in UNITS:
        raise ValueError(
            f"{unit!r}, for column {column!r}, is no known unit. There are {_known()}."
        )
    here, there = UNITS[unit], UNITS[to]
    if here.kind != there.kind:
        raise ValueError(
            f"Column {column!r} is a {there.kind} in {to}, and {unit!r} is the unit of a"
            f" {here.kind}."
        )
    if unit == to:
        return lambda values: values
    up, down = here.size[0] * there.size[1], here.size[1] * there.size[0]
    shift = (here.zero - there.zero) * there.size[1] / there.size[0]

    def convert(values: Number) -> Number:
        turned: Any = values * up / down + shift
        # For one number, Python's own is much faster.
        several = isinstance(turned, np.ndarray)
        rounded: Any = np.round(turned, _DECIMALS) if several else round(turned, _DECIMALS)
        return cast(Number, rounded)

    return convert


def _known() -> str:
    return ", ".join(UNITS)
