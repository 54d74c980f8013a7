"""The Elkhorn's pressure sensor, step by step from the water to twelve bytes on a wire, and back.

The sensor hangs in a pipe in Elkhorn Creek, Kentucky, and this is how its builder published it::

    depth     x 0.43 psi/ft          pressure     fresh water weighs that much per foot
    pressure  0..15 psi -> 4..20 mA  current      a loop current does not suffer from a long cable,
                                                  and 0 mA can only be a broken one
    current   x 51.1 ohm             voltage      across a resistor
    voltage   x 2 counts/mV          counts       12-bit converter of a PSoC 4
    counts    (counts - 408)/46.8807 depth        one formula back over all four steps
    depth     (new + 7 old)/8        depth        a filter, at each of its readings

408 is 51.1 ohm x 4 mA x 2 counts/mV = 408.8 without its decimals, and 46.8807 counts are a foot:
16 mA give 1635.2 counts, 15 psi are 34.88 ft. Dropping the 0.8 makes every depth 0.02 ft too deep.

The comments beside that formula say two other things, "0.42 psi/ft" and "2 mv/count". Both
contradict its arithmetic; :func:`counts_to_depth_stepwise` shows what each of them would give.

Since May 2020 a line is put through the depth (:func:`calibrate`), after eleven comparisons with a
ruler during one flood (:data:`RULER_PAIRS`), and the depth never falls below 0.

Every step takes a number or an array of them. Source: the articles about "The Creek" on
iotexpert.com and the repository iotexpert/TheCreek. Of both only facts are used here.
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

from creeklab.creek.readings.samples import STAGE, TEMPERATURE, numbers, times

Array = NDArray[Any]
Number = TypeVar("Number", float, Array)

FULL_SCALE_PSI = 15.0  # US381-000005-015PG: gauge pressure, that is above the air's
ZERO_MA, FULL_SCALE_MA = 4.0, 20.0
RESISTOR_OHM = 51.1
COUNTS_PER_MV = 2.0
PSI_PER_FT = 0.43

ZERO_COUNTS = 408
COUNTS_PER_FT = 46.8807
FULL_SCALE_COUNTS = 2044  # 51.1 ohm x 20 mA x 2 counts/mV
FULL_SCALE_FT = 34.88

CALIBRATION_SLOPE, CALIBRATION_OFFSET_FT = 1.0106, 1.5589

REFRESH_SECONDS = 10.0  # about: how often the sensor makes a new packet


# --- from the depth to the counts, and back -------------------------------------------------------


def depth_to_pressure(depth_ft: Number, psi_per_ft: float = PSI_PER_FT) -> Number:
    """Give the pressure (psi, above the air's) under so many feet of water."""
    return depth_ft * psi_per_ft


def pressure_to_current(pressure_psi: Number) -> Number:
    """Give the current (mA) in the sensor's loop: 4 at no pressure, 20 at 15 psi."""
    return ZERO_MA + pressure_psi * ((FULL_SCALE_MA - ZERO_MA) / FULL_SCALE_PSI)


def current_to_voltage(current_ma: Number) -> Number:
    """Give the voltage (mV) that a current (mA) leaves across 51.1 ohm."""
    return current_ma * RESISTOR_OHM


def voltage_to_counts(voltage_mv: Number, counts_per_mv: float = COUNTS_PER_MV) -> Number:
    """Give the counts that stand for a voltage (mV), before the converter makes them whole."""
    return voltage_mv * counts_per_mv


def counts_to_voltage(counts: Number, counts_per_mv: float = COUNTS_PER_MV) -> Number:
    """Give the voltage (mV) that counts stand for."""
    return counts / counts_per_mv


def voltage_to_current(voltage_mv: Number) -> Number:
    """Give the current (mA) behind a voltage (mV) across 51.1 ohm."""
    return voltage_mv / RESISTOR_OHM


def current_to_pressure(current_ma: Number) -> Number:
    """Give the pressure (psi) behind a loop current (mA)."""
    return (current_ma - ZERO_MA) * (FULL_SCALE_PSI / (FULL_SCALE_MA - ZERO_MA))


def pressure_to_depth(pressure_psi: Number, psi_per_ft: float = PSI_PER_FT) -> Number:
    """Give the depth (ft) of water behind a pressure (psi)."""
    return pressure_psi / psi_per_ft


def counts_to_depth_stepwise(
    counts: Number, *, psi_per_ft: float = PSI_PER_FT, counts_per_mv: float = COUNTS_PER_MV
) -> Number:
    """Go back from counts to depth (ft) over every step, with other constants if you like.

    For what the published comments say: ``psi_per_ft=0.42`` is 2.4 % deeper, and "2 mv/count"
    (``counts_per_mv=0.5``) lies far beyond what the sensor can measure.
    """
    current = voltage_to_current(counts_to_voltage(counts, counts_per_mv))
    return pressure_to_depth(current_to_pressure(current), psi_per_ft)


def counts_to_depth(counts: Number) -> Number:
    """Give the depth (ft) as the published formula has it: ``(counts - 408) / 46.8807``."""
    return (counts - ZERO_COUNTS) / COUNTS_PER_FT


@overload
def depth_to_counts(depth_ft: float) -> int: ...
@overload
def depth_to_counts(depth_ft: Array) -> NDArray[np.int64]: ...
def depth_to_counts(depth_ft: float | Array) -> int | NDArray[np.int64]:
    """Give the whole counts that the published formula turns into a depth (ft), or nearly.

    A count is 0.0213 ft, so the way there and back changes a depth by at most half of that. Out of
    the water the sensor gives its zero, and beyond 34.88 ft its full scale.

    Raises
    ------
    ValueError
        A depth is NaN: no count stands for that.
    """
    if np.isnan(depth_ft).any():
        raise ValueError("A depth is NaN, and no count stands for that. Leave such rows out.")
    exact = np.clip(
        np.asarray(depth_ft) * COUNTS_PER_FT + ZERO_COUNTS, ZERO_COUNTS, FULL_SCALE_COUNTS
    )
    counts = np.rint(exact).astype(np.int64)
    return counts if counts.ndim else int(counts)


# --- what is made of a depth ----------------------------------------------------------------------


def smooth(new: Number, old: Number) -> Number:
    """Give the filter's next value, ``(new + 7 old) / 8``.

    After a step it is 1/e from the new value after 7.5 readings, and behind a steady rise it stays
    7 readings late. Where it begins, the published program leaves open: it never sets its first
    ``old``. And a NaN that once came in never leaves it.
    """
    value: Number = (new + 7 * old) / 8
    return value


def clamp(depth_ft: Number) -> Number:
    """Give the depth (ft), but 0 for less than 0: what a broken loop reads is not below ground."""
    if isinstance(depth_ft, np.ndarray):
        return np.maximum(depth_ft, 0.0)
    return max(depth_ft, 0.0)


def calibrate(depth_ft: Number) -> Number:
    """Give the calibrated depth (ft): ``1.0106 depth + 1.5589``, in use since May 2020."""
    return depth_ft * CALIBRATION_SLOPE + CALIBRATION_OFFSET_FT


def uncalibrate(depth_ft: Number) -> Number:
    """Give the depth (ft) before :func:`calibrate`."""
    return (depth_ft - CALIBRATION_OFFSET_FT) / CALIBRATION_SLOPE


class Pair(NamedTuple):
    """One comparison: the hour, the sensor's depth (ft), the ruler's (ft)."""

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
"""Sensor against ruler, from "Calibration in a Storm" on iotexpert.com: one flood, read off a ruler
on a post whose foot stands 12.6 ft above the normal water. No other reading of the Elkhorn itself
has been published."""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through pairs: ``slope * x + offset``, and how sure it is.

    Parameters
    ----------
    slope, offset
        The line; the offset in the unit of the pairs.
    count, mean, spread
        How many pairs, their mean x, and the sum of squared distances from it.
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
        """Give the line's value at x."""
        return x * self.slope + self.offset

    def error(self, x: float) -> float:
        """Give the standard error of the line at x: small among the pairs, large far from them."""
        return self.scatter * math.sqrt(1 / self.count + (x - self.mean) ** 2 / self.spread)


def fit_line(pairs: Sequence[Pair] = RULER_PAIRS) -> Line:
    """Fit a line from the sensor's depth to the ruler's, by least squares.

    The eleven published pairs lie between 13.0 and 15.2 ft. There the line is good to 0.03 ft; at
    normal water, which is what it is mostly used for, to half a foot. A line from so narrow a range
    extrapolates badly, and no residual shows it.

    Raises
    ------
    ValueError
        There are fewer than three pairs, or all of one sensor depth: no line, or no error of it.
    """
    x = np.array([pair.sensor_ft for pair in pairs])
    y = np.array([pair.ruler_ft for pair in pairs])
    if len(pairs) < 3 or not np.ptp(x):
        raise ValueError(
            f"{len(pairs)} pairs with {len(set(x))} different sensor depths: a line and its error"
            " need at least three pairs, not all at one depth."
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
    """Give the voltage (whole mV) of a TMP36: 500 at 0 degC and 10 more per degree.

    The published program takes whole millivolts, so a temperature has steps of 0.1 degC.
    """
    voltage = np.rint(np.asarray(temperature_degc) * 10 + 500).astype(np.int64)
    return voltage if voltage.ndim else int(voltage)


def voltage_to_centi_degc(voltage_mv: Any) -> Any:
    """Give hundredths of a degree Celsius: ``10 mV - 5000``; int for int, array for array."""
    return 10 * voltage_mv - 5000


# --- the packet -----------------------------------------------------------------------------------


class BadPacket(ValueError):
    """A packet that cannot be what a working sensor sent.

    Attributes
    ----------
    field
        The field at fault, or ``"length"``.
    value
        Its value.
    """

    def __init__(self, field: str, value: float, meaning: str) -> None:
        super().__init__(f"Bad packet: {field} is {value}, {meaning}")
        self.field = field
        self.value = value


@dataclass(frozen=True, slots=True)
class Packet:
    """What a Raspberry Pi reads from the sensor over I2C, every two minutes: twelve bytes.

    Little-endian and packed: uint16 counts, int16 hundredths of degC, float32 depth, float32
    temperature. The first two are as measured, the last two have been through the filter.

    Parameters
    ----------
    counts
        Of the pressure sensor, 408 to 2044.
    centi_degc
        Hundredths of a degree Celsius, of the TMP36, -4000 to 12500.
    depth_ft
        Feet, filtered, 0 to 36.81 (full scale, calibrated).
    temperature_degc
        Degrees Celsius, filtered, -40 to 125.

    Raises
    ------
    BadPacket
        A value is out of its range, NaN or infinite; the message says what that may mean.
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
                f"below {ZERO_COUNTS}, which is 4 mA, the current of a sensor that hangs in the"
                " air. The loop is broken or has no power, and the depth means nothing: look at"
                " the cable, its connectors and the supply.",
            )
        if self.counts > FULL_SCALE_COUNTS:
            raise BadPacket(
                "counts",
                self.counts,
                f"above {FULL_SCALE_COUNTS}, which is 20 mA, the sensor's full scale of"
                f" {FULL_SCALE_FT} ft. Such a flood, or a short circuit: water in a connector, two"
                " wires that touch.",
            )
        _within(
            "centi_degc",
            self.centi_degc,
            -4000,
            12500,
            "A TMP36 without power gives 0 mV, which reads as -5000.",
        )
        deepest = calibrate(FULL_SCALE_FT)
        _within("depth_ft", self.depth_ft, 0, deepest, "The counts tell more: look at those.")
        _within("temperature_degc", self.temperature_degc, -40, 125, "It is stored in degC.")

    def pack(self) -> bytes:
        """Give the twelve bytes. Of depth and temperature only what a float32 holds is kept."""
        return _LAYOUT.pack(self.counts, self.centi_degc, self.depth_ft, self.temperature_degc)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read twelve bytes.

        Raises
        ------
        BadPacket
            They are not twelve, or a value is not one that a working sensor sends.
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
            "which is no number. It came from the filter, whose start was never set or which was"
            " fed such a value once; it does not heal: the sensor has to be started again.",
        )
    if not low <= value <= high:
        raise BadPacket(field, value, f"outside {low:g} to {round(high, 2):g}. {hint}")


# --- a recorded creek before the sensor -----------------------------------------------------------


def through_sensor(
    readings: pd.DataFrame, *, refresh_seconds: float = REFRESH_SECONDS
) -> pd.DataFrame:
    """Play a recorded creek before the Elkhorn's sensor: what would it have reported?

    The recorded stage is taken for the depth over the sensor, and between two readings the creek is
    taken to change steadily. The sensor measures every ten seconds, in whole counts, and filters.
    The field calibration is not applied: it belongs to where that sensor hung. After a gap the
    filter starts again, with the first reading.

    Parameters
    ----------
    readings
        A table of readings (see :mod:`creeklab.creek.readings.samples`) with ``stage_ft`` and, if
        there is one, ``water_temperature_degC``.
    refresh_seconds
        How often the sensor measures.

    Returns
    -------
    pandas.DataFrame
        With the same rows: ``stage_ft`` as reported, ``counts`` and ``quantised_ft`` as they were
        before the filter, and the temperature as reported. NaN where nothing was measured.

    Raises
    ------
    ValueError
        The readings are no table of readings.
    """
    index = times(readings)
    stage = numbers(readings, STAGE)
    measured = ~np.isnan(stage)
    counts = np.full(stage.size, np.nan)
    counts[measured] = depth_to_counts(stage[measured])
    reported = _sampled(
        index, stage, refresh_seconds, lambda depth: counts_to_depth(depth_to_counts(depth))
    )
    columns = {STAGE: clamp(reported), "counts": counts, "quantised_ft": counts_to_depth(counts)}
    if TEMPERATURE in readings:
        columns[TEMPERATURE] = _sampled(
            index,
            numbers(readings, TEMPERATURE),
            refresh_seconds,
            lambda degc: voltage_to_centi_degc(temperature_to_voltage(degc)) / 100,
        )
    played = pd.DataFrame(columns, index=readings.index)
    said = [text for text in [readings.attrs.get("processing")] if text]
    said += ["played through the Elkhorn's sensor: whole counts, filtered"]
    played.attrs = {**readings.attrs, "processing": "; ".join(said)}
    return played


def _sampled(
    index: pd.DatetimeIndex, values: Array, step: float, measure: Callable[[Array], Array]
) -> Array:
    """Measure and filter every step; give the filter's value at each time of the index."""
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
        # The same as smooth() from one to the next, beginning with the first.
        filtered = pd.Series(measured).ewm(alpha=1 / 8, adjust=False).mean().to_numpy()
        # What a reader gets is the last packet that was ready.
        latest = np.searchsorted(grid, seconds[run], side="right") - 1
        result[run] = filtered[latest]
    return result
