"""The Elkhorn's pressure sensor, step by step from the water to a packet of twelve bytes, and back.

The sensor hangs in a pipe in Elkhorn Creek, Kentucky. Its builder published these steps::

    depth     x 0.43 psi/ft          pressure     the weight of a foot of fresh water
    pressure  0..15 psi -> 4..20 mA  current      a loop current works over a long cable, and 0 mA
                                                  can only mean a broken one
    current   x 51.1 ohm             voltage      across a resistor
    voltage   x 2 counts/mV          counts       12-bit converter of a PSoC 4
    counts    (counts - 408)/46.8807 depth        one formula for all four steps back
    depth     (new + 7 old)/8        depth        a filter, applied to each reading

408 is 51.1 ohm x 4 mA x 2 counts/mV = 408.8 without its decimals. A foot is 46.8807 counts, because
16 mA are 1635.2 counts and 15 psi are 34.88 ft. Dropping the 0.8 makes every depth 0.02 ft too
large.

The comments beside the published formula say something else, "0.42 psi/ft" and "2 mv/count". Both
contradict its arithmetic; :func:`counts_to_depth_stepwise` shows what each of them would give.

Since May 2020, a line corrects the depth (:func:`calibrate`), after eleven comparisons with a
ruler during one flood (:data:`RULER_PAIRS`), and a depth below 0 becomes 0.

Every step accepts a number or an array. Source: the articles about "The Creek" on iotexpert.com and
the repository iotexpert/TheCreek, of which only facts are used here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.readings.samples import STAGE, TEMPERATURE, add_processing, numbers, times

Array = NDArray[Any]
Number = TypeVar("Number", float, Array)

FULL_SCALE_PSI = 15.0  # US381-000005-015PG: gauge pressure, relative to that of the air
ZERO_MA, FULL_SCALE_MA = 4.0, 20.0
RESISTOR_OHM = 51.1
COUNTS_PER_MV = 2.0
PSI_PER_FT = 0.43

ZERO_COUNTS = 408
COUNTS_PER_FT = 46.8807
FULL_SCALE_COUNTS = 2044  # 51.1 ohm x 20 mA x 2 counts/mV
FULL_SCALE_FT = 34.88

CALIBRATION_SLOPE, CALIBRATION_OFFSET_FT = 1.0106, 1.5589

REFRESH_SECONDS = 10.0  # The sensor makes a new packet about this often.


# --- from the depth to the counts, and back -------------------------------------------------------


def depth_to_pressure(depth_ft: Number, psi_per_ft: float = PSI_PER_FT) -> Number:
    """Return the pressure (psi, relative to the air) under a depth of water (ft)."""
    return depth_ft * psi_per_ft


def pressure_to_current(pressure_psi: Number) -> Number:
    """Return the current (mA) in the sensor's loop: 4 at no pressure, 20 at 15 psi."""
    return ZERO_MA + pressure_psi * ((FULL_SCALE_MA - ZERO_MA) / FULL_SCALE_PSI)


def current_to_voltage(current_ma: Number) -> Number:
    """Return the voltage (mV) of a current (mA) across 51.1 ohm."""
    return current_ma * RESISTOR_OHM


def voltage_to_counts(voltage_mv: Number, counts_per_mv: float = COUNTS_PER_MV) -> Number:
    """Return the counts for a voltage (mV), before the converter rounds them."""
    return voltage_mv * counts_per_mv


def counts_to_voltage(counts: Number, counts_per_mv: float = COUNTS_PER_MV) -> Number:
    """Return the voltage (mV) for counts."""
    return counts / counts_per_mv


def voltage_to_current(voltage_mv: Number) -> Number:
    """Return the current (mA) for a voltage (mV) across 51.1 ohm."""
    return voltage_mv / RESISTOR_OHM


def current_to_pressure(current_ma: Number) -> Number:
    """Return the pressure (psi) for a loop current (mA)."""
    return (current_ma - ZERO_MA) * (FULL_SCALE_PSI / (FULL_SCALE_MA - ZERO_MA))


def pressure_to_depth(pressure_psi: Number, psi_per_ft: float = PSI_PER_FT) -> Number:
    """Return the depth (ft) of water for a pressure (psi)."""
    return pressure_psi / psi_per_ft


def counts_to_depth_stepwise(
    counts: Number, *, psi_per_ft: float = PSI_PER_FT, counts_per_mv: float = COUNTS_PER_MV
) -> Number:
    """Return the depth (ft) for counts, computed step by step, if you like with other constants.

    With the constants in the published comments, ``psi_per_ft=0.42`` gives 2.4% more depth, and
    "2 mv/count" (``counts_per_mv=0.5``) is far beyond the range of the sensor.
    """
    current = voltage_to_current(counts_to_voltage(counts, counts_per_mv))
    return pressure_to_depth(current_to_pressure(current), psi_per_ft)


def counts_to_depth(counts: Number) -> Number:
    """Return the depth (ft) by the published formula, ``(counts - 408) / 46.8807``."""
    return (counts - ZERO_COUNTS) / COUNTS_PER_FT


@overload
def depth_to_counts(depth_ft: float) -> int: ...
@overload
def depth_to_counts(depth_ft: Array) -> NDArray[np.int64]: ...
def depth_to_counts(depth_ft: float | Array) -> int | NDArray[np.int64]:
    """Return the whole counts from which the published formula gives this depth (ft), or nearly.

    A count is 0.0213 ft, so converting a depth to counts and back changes it by at most half of
    that. Out of the water the sensor gives its zero, and beyond 34.88 ft its full scale.

    Raises
    ------
    ValueError
        If a depth is NaN, which has no counts.
    """
    if np.isnan(depth_ft).any():
        raise ValueError("A depth is NaN, which has no counts. Remove such rows first.")
    exact = np.clip(
        np.asarray(depth_ft) * COUNTS_PER_FT + ZERO_COUNTS, ZERO_COUNTS, FULL_SCALE_COUNTS
    )
    counts = np.rint(exact).astype(np.int64)
    return counts if counts.ndim else int(counts)


# --- corrections of a depth -----------------------------------------------------------------------


def smooth(new: Number, old: Number) -> Number:
    """Return the next value of the filter, ``(new + 7 old) / 8``.

    After a step, the output is within 1/e of the new value after 7.5 readings; behind a steady rise
    it lags by 7 readings. The published program never sets its first ``old``, so its start is
    undefined, and a NaN that gets in stays forever.
    """
    value: Number = (new + 7 * old) / 8
    return value


def clamp(depth_ft: Number) -> Number:
    """Return the depth (ft), or 0 if it is negative, as from a broken loop."""
    if isinstance(depth_ft, np.ndarray):
        return np.maximum(depth_ft, 0.0)
    return max(depth_ft, 0.0)


def calibrate(depth_ft: Number) -> Number:
    """Return the calibrated depth (ft): ``1.0106 depth + 1.5589``, in use since May 2020."""
    return depth_ft * CALIBRATION_SLOPE + CALIBRATION_OFFSET_FT


def uncalibrate(depth_ft: Number) -> Number:
    """Return the depth (ft) before :func:`calibrate`."""
    return (depth_ft - CALIBRATION_OFFSET_FT) / CALIBRATION_SLOPE


class Pair(NamedTuple):
    """One comparison: the hour, the sensor's depth (ft), the ruler's depth (ft)."""

    hour: str
    sensor_ft: float
    ruler_ft: float


RULER_PAIRS = (
    Pair("08:15", 13.0, 14.6),
    Pair("08:52", 13.4, 14.8),
    Pair("09:34", 13.3, 15.0),
    Pair("10:17", 13.5, 15.2),
    Pair("10:46", 13.6, 15.3),
    Pair("12:54", 14.0, 15.7),
    Pair("13:43", 14.2, 16.0),
    Pair("15:00", 14.7, 16.4),
    Pair("16:18", 15.0, 16.7),
    Pair("17:50", 15.2, 17.0),
    Pair("07:55, next day", 13.8, 15.5),
)
"""Sensor and ruler, from "Calibration in a Storm" on iotexpert.com: one flood, with a ruler on a
post whose foot is 12.6 ft above the normal water level. No other readings of the Elkhorn itself
have been published."""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line fitted to pairs, ``slope * x + offset``, and its uncertainty.

    Parameters
    ----------
    slope, offset
        The line; the offset is in the unit of the pairs.
    count, mean, spread
        The number of pairs, their mean x, and the sum of squared distances from it.
    scatter
        Standard deviation of the pairs about the line.
    """

    slope: float
    offset: float
    count: int
    mean: float
    spread: float
    scatter: float

    def __call__(self, x: Number) -> Number:
        """Return the line's value at x."""
        return x * self.slope + self.offset

    def error(self, x: float) -> float:
        """Return the standard error of the line at x: small among the pairs, large far away."""
        return self.scatter * math.sqrt(1 / self.count + (x - self.mean) ** 2 / self.spread)


def fit_line(pairs: Sequence[Pair] = RULER_PAIRS) -> Line:
    """Fit a line from the sensor's depth to the ruler's depth, by least squares.

    The eleven published pairs lie between 13.0 and 15.2 ft. There, the standard error of the line
    is 0.03 ft. At normal water, where the line is used most of the time, it is half a foot: a line
    from such a narrow range extrapolates badly, and no residual shows it.

    Raises
    ------
    ValueError
        If there are fewer than three pairs, or all have the same sensor depth: then there is no
        line, or no error of it.
    """
    x = np.array([pair.sensor_ft for pair in pairs])
    y = np.array([pair.ruler_ft for pair in pairs])
    if len(pairs) < 3 or not np.ptp(x):
        raise ValueError(
            f"Cannot fit a line to {len(pairs)} pairs with {len(set(x))} different sensor depths."
            " It takes at least three pairs, and more than one depth."
        )
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    offset = float(y.mean() - slope * x.mean())
    scatter = math.sqrt(float(((y - slope * x - offset) ** 2).sum()) / (len(pairs) - 2))
    return Line(slope, offset, len(pairs), float(x.mean()), spread, scatter)


# --- the temperature ------------------------------------------------------------------------------


@overload
def temperature_to_voltage(temperature_degc: float) -> int: ...
@overload
def temperature_to_voltage(temperature_degc: Array) -> NDArray[np.int64]: ...
def temperature_to_voltage(temperature_degc: float | Array) -> int | NDArray[np.int64]:
    """Return the voltage (whole mV) of a TMP36: 500 at 0 degC, and 10 more per degree.

    The published program uses whole millivolts, so temperatures have steps of 0.1 degC.
    """
    voltage = np.rint(np.asarray(temperature_degc) * 10 + 500).astype(np.int64)
    return voltage if voltage.ndim else int(voltage)


def voltage_to_centi_degc(voltage_mv: Any) -> Any:
    """Return hundredths of a degree Celsius: ``10 mV - 5000``; int for int, array for array."""
    return 10 * voltage_mv - 5000


# --- the packet -----------------------------------------------------------------------------------


class BadPacket(ValueError):
    """A packet that a working sensor cannot have sent: ``field`` (or "length") and ``value``."""

    def __init__(self, field: str, value: float, meaning: str) -> None:
        super().__init__(f"Bad packet: {field} is {value}, {meaning}")
        self.field = field
        self.value = value


@dataclass(frozen=True, slots=True)
class Packet:
    """The twelve bytes that a Raspberry Pi reads from the sensor over I2C every two minutes.

    Little-endian and packed: uint16 counts, int16 hundredths of degC, float32 depth, float32
    temperature. The first two are raw; the last two have passed the filter.

    Parameters
    ----------
    counts
        Counts of the pressure sensor, 408 to 2044.
    centi_degc
        Hundredths of a degree Celsius from the TMP36, -4000 to 12500.
    depth_ft
        Filtered depth in feet, 0 to 36.81 (full scale, calibrated).
    temperature_degc
        Filtered temperature in degrees Celsius, -40 to 125.

    Raises
    ------
    BadPacket
        If a value is out of its range, NaN or infinite; the message explains the likely cause.
    """

    counts: int
    centi_degc: int
    depth_ft: float
    temperature_degc: float

    def __post_init__(self) -> None:
        if self.counts < ZERO_COUNTS:
            raise BadPacket(
                "counts",
                self.counts,
                f"below {ZERO_COUNTS}, which is 4 mA, the current of a sensor out of the water. The"
                " loop is broken or has no power, so the depth is meaningless. Check the cable, its"
                " connectors and the power supply.",
            )
        if self.counts > FULL_SCALE_COUNTS:
            raise BadPacket(
                "counts",
                self.counts,
                f"above {FULL_SCALE_COUNTS}, which is 20 mA, the sensor's full scale of"
                f" {FULL_SCALE_FT} ft. The cause is either such a flood or a short circuit. Check"
                " for water in a connector and for wires that touch.",
            )
        _within(
            "centi_degc",
            self.centi_degc,
            -4000,
            12500,
            "A TMP36 without power gives 0 mV, which reads as -5000. Check its power supply.",
        )
        deepest = calibrate(FULL_SCALE_FT)
        _within("depth_ft", self.depth_ft, 0, deepest, "The counts are the raw value: check those.")
        _within("temperature_degc", self.temperature_degc, -40, 125, "The unit is degC.")

    def pack(self) -> bytes:
        """Return the twelve bytes, with depth and temperature rounded to float32."""
        return _LAYOUT.pack(self.counts, self.centi_degc, self.depth_ft, self.temperature_degc)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the packet in twelve bytes.

        Raises
        ------
        BadPacket
            If there are not twelve bytes, or a working sensor does not send such a value.
        """
        if len(data) != _LAYOUT.size:
            raise BadPacket(
                "length",
                len(data),
                f"not {_LAYOUT.size} bytes. The transfer was cut short, or the sensor runs another"
                " version of its program.",
            )
        return cls(*_LAYOUT.unpack(data))


_LAYOUT = struct.Struct("<Hhff")


def _within(field: str, value: float, low: float, high: float, hint: str) -> None:
    if not math.isfinite(value):
        raise BadPacket(
            field,
            value,
            "which is not a number. The filter was never initialized, or received such a value"
            " once, and keeps it forever. Restart the sensor.",
        )
    if not low <= value <= high:
        raise BadPacket(field, value, f"outside {low:g} to {round(high, 2):g}. {hint}")


# --- a recorded creek through the sensor ----------------------------------------------------------


def through_sensor(
    readings: pd.DataFrame, *, refresh_seconds: float = REFRESH_SECONDS
) -> pd.DataFrame:
    """Return what the Elkhorn's sensor would have reported of a recorded creek.

    The recorded stage is taken as the depth over the sensor, and changes linearly between two
    readings. The sensor measures every ten seconds, in whole counts, and filters. The field
    calibration is not applied, because it belongs to the place of that sensor. After a gap, the
    filter starts again with the first reading.

    Parameters
    ----------
    readings
        A table of readings (see :mod:`creeklab.creek.readings.samples`) with ``stage_ft`` and
        possibly ``water_temperature_degC``.
    refresh_seconds
        Seconds between two measurements of the sensor.

    Returns
    -------
    pandas.DataFrame
        With the same rows: ``stage_ft`` as reported, ``counts`` and ``quantized_ft`` before the
        filter, and the temperature as reported. NaN where nothing was measured.
    """
    index = times(readings)
    stage = numbers(readings, STAGE)
    measured = ~np.isnan(stage)
    counts = np.full(stage.size, np.nan)
    counts[measured] = depth_to_counts(stage[measured])
    reported = _sampled(
        index, stage, refresh_seconds, lambda depth: counts_to_depth(depth_to_counts(depth))
    )
    columns = {STAGE: clamp(reported), "counts": counts, "quantized_ft": counts_to_depth(counts)}
    if TEMPERATURE in readings:
        columns[TEMPERATURE] = _sampled(
            index,
            numbers(readings, TEMPERATURE),
            refresh_seconds,
            lambda degc: voltage_to_centi_degc(temperature_to_voltage(degc)) / 100,
        )
    played = pd.DataFrame(columns, index=readings.index)
    played.attrs = dict(readings.attrs)
    add_processing(played, "passed through the Elkhorn's sensor: whole counts, filtered")
    return played


def _sampled(
    index: pd.DatetimeIndex, values: Array, step: float, measure: Callable[[Array], Array]
) -> Array:
    """Measure and filter at each step; return the filtered value at each time of the index."""
    seconds = (index - index[:1].min()).total_seconds().to_numpy()
    rows = np.flatnonzero(~np.isnan(values))
    result = np.full(values.size, np.nan)
    if not rows.size:
        return result
    pauses = np.diff(seconds[rows])
    usual = float(np.median(np.diff(seconds))) if seconds.size > 1 else step
    for run in np.split(rows, np.flatnonzero(pauses > 2 * usual) + 1):
        grid = np.arange(seconds[run[0]], seconds[run[-1]] + step, step)
        measured = measure(np.interp(grid, seconds[run], values[run]))
        # Equals smooth() applied step by step, starting with the first value.
        filtered = pd.Series(measured).ewm(alpha=1 / 8, adjust=False).mean().to_numpy()
        # A reader gets the latest complete packet.
        latest = np.searchsorted(grid, seconds[run], side="right") - 1
        result[run] = filtered[latest]
    return result
