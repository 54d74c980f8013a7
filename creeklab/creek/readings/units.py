"""Units of loggers and devices, and of the columns in a table of readings.

Column names end in their unit: ``stage_ft``, ``air_degC``. Values in another unit are converted
when they are read, and only between units of the same kind.
"""

from __future__ import annotations

import re
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
    "psi": Unit("pressure", (6.894757293168, 1)),
    "kPa": Unit("pressure", (1, 1)),
    "hPa": Unit("pressure", (1, 10)),
    "mbar": Unit("pressure", (1, 10)),
}

_SPELLINGS = {
    **{unit.lower(): unit for unit in UNITS},
    **dict.fromkeys(("feet", "foot"), "ft"),
    **dict.fromkeys(("inch", "inches"), "in"),
    **dict.fromkeys(("meter", "meters", "metre", "metres", "masd", "maod"), "m"),
    **dict.fromkeys(("centimeter", "centimeters", "centimetre", "centimetres"), "cm"),
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("c", "°c", "deg c", "deg_c", "celsius", "degrees c"), "degC"),
    **dict.fromkeys(("f", "°f", "deg f", "deg_f", "fahrenheit", "degrees f"), "degF"),
    **dict.fromkeys(("kelvin",), "K"),
    **dict.fromkeys(("cfs", "ft^3/s", "ft³/s"), "ft3/s"),
    **dict.fromkeys(("cms", "m^3/s", "m³/s"), "m3/s"),
    **dict.fromkeys(("µs/cm", "us/cm"), "uS/cm"),
    **dict.fromkeys(("kilopascal", "kpa"), "kPa"),
}

# Further decimals are artifacts of binary fractions: 73.58 degF is 23.1 degC.
_DECIMALS = 9


def unit_of(column: str) -> str | None:
    """Return the unit that a column name ends in, if any: ``discharge_ft3_s`` is in ft3/s."""
    endings = [unit for unit in UNITS if column.endswith("_" + unit.replace("/", "_"))]
    return max(endings, key=len, default=None)


def known_unit(text: str) -> str | None:
    """Return the unit that a text spells, if any: ``feet`` is ft, ``°C`` is degC."""
    return _SPELLINGS.get(text.strip().lower())


def heading_unit(heading: str) -> str | None:
    """Return the unit that the heading of a column names, wherever it stands in the heading.

    It may be in brackets, ``Level (m)``; after a comma, ``Water Level, meters (LGR S/N: 1)``; or at
    the end, ``depth_cm``. A single letter and the word "in" count only in those places.
    """
    places = re.findall(r"[\[(]\s*([^\])]+?)\s*[\])]", heading)
    plain = re.sub(r"[\[(].*", "", heading).strip()
    places += [plain.rsplit(",", 1)[1]] if "," in plain else []
    words = re.split(r"[\s_,.:-]+", plain)
    places += [" ".join(words[-2:]), words[-1]] if len(words) > 1 else []
    places += [word for word in words if len(word) > 2 or word.lower() in ("ft", "cm", "mm", "m")]
    return next((unit for place in places if (unit := known_unit(place))), None)


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
    known = known_unit(unit)
    if known is None:
        raise ValueError(
            f"{unit!r}, for column {column!r}, is not a known unit. Known units:"
            f" {', '.join(UNITS)}."
        )
    source, target = UNITS[known], UNITS[to]
    if source.kind != target.kind:
        hint = (
            " A pressure becomes a depth of water only after the pressure of the air has been"
            " subtracted from it: export the water level from the logger's own program."
            if (source.kind, target.kind) == ("pressure", "length")
            else ""
        )
        raise ValueError(
            f"Column {column!r} is a {target.kind} in {to}, but {unit!r} is the unit of a"
            f" {source.kind}.{hint}"
        )
    if known == to:
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
