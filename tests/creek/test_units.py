"""Units are converted exactly as they are defined, and only into their own kind."""

from __future__ import annotations

import numpy as np
import pytest

from creeklab.creek.readings.units import converter, unit_of


@pytest.mark.parametrize(
    ("value", "unit", "column", "expected"),
    [
        (0.3048, "m", "stage_ft", 1.0),
        (30.48, "cm", "stage_ft", 1.0),
        (304.8, "mm", "stage_ft", 1.0),
        (18, "in", "stage_ft", 1.5),
        (1.0, "ft", "stage_m", 0.3048),
        (-1.0, "ft", "stage_cm", -30.48),
        (32, "degF", "air_degC", 0.0),
        (73.58, "degF", "air_degC", 23.1),
        (-40, "degC", "air_degF", -40.0),
        (273.15, "K", "air_degC", 0.0),
        (1, "m3/s", "discharge_ft3_s", 35.314666721),
        (6.63, "ft", "stage_ft", 6.63),
    ],
)
def test_converted(value: float, unit: str, column: str, expected: float) -> None:
    convert = converter(unit, column)
    assert convert(value) == expected
    np.testing.assert_array_equal(convert(np.array([value, np.nan])), [expected, np.nan])


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("discharge_ft3_s", "ft3/s"),
        ("specific_conductance_uS_cm", "uS/cm"),
        ("range_cm", "cm"),
        ("level_m", "m"),
        ("depth", None),
        ("draft", None),
    ],
)
def test_the_unit_of_a_column(column: str, unit: str | None) -> None:
    assert unit_of(column) == unit


@pytest.mark.parametrize(
    ("unit", "column", "message"),
    [
        ("degF", "stage_ft", "'stage_ft' is a length in ft, but 'degF' is the unit of a temp"),
        (
            "fathom",
            "stage_ft",
            "'fathom', for column 'stage_ft', is not a known unit. Known units: ft,",
        ),
        ("m", "stage", "column 'stage' does not end in a unit. .* such as 'stage_ft'"),
    ],
)
def test_errors(unit: str, column: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        converter(unit, column)
