"""The sensor's steps agree with the published values, with each other, and with their inverses."""

from __future__ import annotations

import contextlib
import math
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.creek.readings import samples
from creeklab.creek.readings.samples import STAGE, TEMPERATURE
from creeklab.creek.sensor import conversion
from creeklab.creek.sensor.conversion import BadPacket, Packet, Pair

depths = st.floats(0, conversion.FULL_SCALE_FT)
HALF_A_COUNT = 0.5 / conversion.COUNTS_PER_FT


class TestTheChain:
    @pytest.mark.parametrize(
        ("depth", "psi", "ma", "mv", "counts"),
        [
            (0, 0, 4, 204.4, 408.8),
            (10, 4.3, 8.586667, 438.778667, 877.557333),
            (15 / 0.43, 15, 20, 1022, 2044),
        ],
    )
    def test_known_answers(
        self, depth: float, psi: float, ma: float, mv: float, counts: float
    ) -> None:
        assert conversion.depth_to_pressure(depth) == pytest.approx(psi)
        assert conversion.pressure_to_current(psi) == pytest.approx(ma)
        assert conversion.current_to_voltage(ma) == pytest.approx(mv)
        assert conversion.voltage_to_counts(mv) == pytest.approx(counts)
        assert conversion.counts_to_voltage(counts) == pytest.approx(mv)
        assert conversion.voltage_to_current(mv) == pytest.approx(ma)
        assert conversion.current_to_pressure(ma) == pytest.approx(psi)
        assert conversion.pressure_to_depth(psi) == pytest.approx(depth)
        assert conversion.counts_to_depth_stepwise(counts) == pytest.approx(depth)

    def test_the_published_formula_is_the_chain_without_the_dropped_decimals(self) -> None:
        counts = np.arange(conversion.ZERO_COUNTS, conversion.FULL_SCALE_COUNTS + 1)
        formula, steps = (
            conversion.counts_to_depth(counts),
            conversion.counts_to_depth_stepwise(counts),
        )
        dropped = 0.8 / conversion.COUNTS_PER_FT
        np.testing.assert_allclose(formula - steps, dropped, atol=0.004)  # 34.8837 was rounded

    def test_arrays(self) -> None:
        for step in (
            conversion.depth_to_pressure,
            conversion.pressure_to_current,
            conversion.current_to_voltage,
            conversion.voltage_to_counts,
            conversion.counts_to_voltage,
            conversion.voltage_to_current,
            conversion.current_to_pressure,
            conversion.pressure_to_depth,
            conversion.counts_to_depth,
            conversion.counts_to_depth_stepwise,
            conversion.depth_to_counts,
            conversion.clamp,
            conversion.calibrate,
            conversion.uncalibrate,
            conversion.temperature_to_voltage,
            conversion.voltage_to_centi_degc,
        ):
            function: Any = step
            numbers = [0.5, 7.25, 20.0]
            many = function(np.array(numbers))
            np.testing.assert_array_equal(many, [function(number) for number in numbers])

    @given(depths)
    def test_depth_to_counts_and_back_within_half_a_count(self, depth: float) -> None:
        counts = conversion.depth_to_counts(depth)
        assert isinstance(counts, int)
        assert conversion.ZERO_COUNTS <= counts <= conversion.FULL_SCALE_COUNTS
        assert abs(conversion.counts_to_depth(counts) - depth) <= HALF_A_COUNT + 1e-12

    @given(st.integers(conversion.ZERO_COUNTS, conversion.FULL_SCALE_COUNTS))
    def test_counts_to_depth_and_back(self, counts: int) -> None:
        assert conversion.depth_to_counts(conversion.counts_to_depth(counts)) == counts

    def test_out_of_the_water_and_too_deep(self) -> None:
        assert conversion.depth_to_counts(-1) == conversion.ZERO_COUNTS
        assert conversion.depth_to_counts(100) == conversion.FULL_SCALE_COUNTS
        assert conversion.depth_to_counts(np.array([-1.0, math.inf])).tolist() == [408, 2044]
        with pytest.raises(ValueError, match="A depth is NaN"):
            conversion.depth_to_counts(np.array([1.0, math.nan]))


class TestTheContradictions:
    def test_the_result_of_each_comment(self) -> None:
        """720 counts are 6.66 ft by the formula; the steps keep the 0.8 counts that it drops."""
        assert conversion.counts_to_depth(720) == pytest.approx(6.655, abs=5e-4)
        assert conversion.counts_to_depth_stepwise(720) == pytest.approx(6.639, abs=5e-4)
        lighter = conversion.counts_to_depth_stepwise(720, psi_per_ft=0.42)
        assert lighter == pytest.approx(6.797, abs=5e-4)
        assert lighter / conversion.counts_to_depth_stepwise(720) == pytest.approx(0.43 / 0.42)
        wrong_way = conversion.counts_to_depth_stepwise(720, counts_per_mv=0.5)
        assert wrong_way == pytest.approx(52.72, abs=5e-3)
        assert wrong_way > conversion.FULL_SCALE_FT

    def test_the_numbers_of_the_formula_follow_from_the_others(self) -> None:
        zero = conversion.voltage_to_counts(conversion.current_to_voltage(conversion.ZERO_MA))
        full = conversion.voltage_to_counts(conversion.current_to_voltage(conversion.FULL_SCALE_MA))
        deepest = conversion.pressure_to_depth(conversion.FULL_SCALE_PSI)
        assert (int(zero), round(full, 1)) == (conversion.ZERO_COUNTS, conversion.FULL_SCALE_COUNTS)
        assert round(deepest, 2) == conversion.FULL_SCALE_FT
        assert round((full - zero) / conversion.FULL_SCALE_FT, 3) == round(
            conversion.COUNTS_PER_FT, 3
        )
        assert (
            round(conversion.pressure_to_depth(15.0, 0.42), 2) == 35.71
        )  # not the 34.88 beside it


class TestTheFilter:
    @given(st.floats(-1e6, 1e6), st.lists(st.floats(-1e6, 1e6), min_size=1))
    def test_it_stays_within_the_range_of_its_input(
        self, start: float, inputs: list[float]
    ) -> None:
        value, low, high = start, start, start
        for new in inputs:
            value, low, high = conversion.smooth(new, value), min(low, new), max(high, new)
            slack = 1e-15 * max(abs(low), abs(high))  # eight roundings of the last bit
            assert low - 8 * slack <= value <= high + 8 * slack

    def test_a_step_and_a_ramp(self) -> None:
        value = 0.0
        for _ in range(7):
            value = conversion.smooth(1.0, value)
        assert value < 1 - 1 / math.e < conversion.smooth(1.0, value)
        value = 0.0
        for number in range(500):
            value = conversion.smooth(float(number), value)
        assert 499 - value == pytest.approx(7)

    def test_nan_stays(self) -> None:
        assert math.isnan(conversion.smooth(1.0, conversion.smooth(math.nan, 1.0)))

    def test_below_zero(self) -> None:
        assert conversion.clamp(conversion.counts_to_depth(0)) == 0
        assert conversion.clamp(np.array([-8.7, 0.0, 1.2])).tolist() == [0, 0, 1.2]


class TestCalibration:
    @given(depths)
    def test_round_trip(self, depth: float) -> None:
        assert conversion.uncalibrate(conversion.calibrate(depth)) == pytest.approx(depth, abs=1e-9)

    def test_the_published_line_agrees_with_the_ruler(self) -> None:
        for pair in conversion.RULER_PAIRS:
            assert abs(conversion.calibrate(pair.sensor_ft) - pair.ruler_ft) < 0.31

    def test_the_fit_is_the_least_squares_line(self) -> None:
        line = conversion.fit_line()
        x = [pair.sensor_ft for pair in conversion.RULER_PAIRS]
        y = [pair.ruler_ft for pair in conversion.RULER_PAIRS]
        assert [line.slope, line.offset] == pytest.approx(np.polyfit(x, y, 1).tolist())
        assert (round(line.slope, 4), round(line.offset, 4)) == (1.0788, 0.5810)
        assert line(np.array([13.0])).tolist() == [line(13.0)]

    def test_it_extrapolates_badly_and_its_error_shows_it(self) -> None:
        line = conversion.fit_line()
        assert line.error(14) == pytest.approx(0.029, abs=0.001)
        assert line.error(1) == pytest.approx(0.546, abs=0.001)
        # Two lines through the same storm: the same there, nearly a foot apart at normal water.
        assert abs(line(14.0) - conversion.calibrate(14.0)) < 0.03
        assert conversion.calibrate(1.0) - line(1.0) == pytest.approx(0.91, abs=0.005)

    @pytest.mark.parametrize("depth", [[13.0, 14.0], [13.0, 13.0, 13.0], []])
    def test_no_line(self, depth: list[float]) -> None:
        with pytest.raises(ValueError, match="at least three pairs"):
            conversion.fit_line([Pair("08:00", each, each) for each in depth])


class TestTemperature:
    @pytest.mark.parametrize(
        ("degc", "mv", "centi"),
        [(0, 500, 0), (25, 750, 2500), (-40, 100, -4000), (21.37, 714, 2140)],
    )
    def test_tmp36(self, degc: float, mv: int, centi: int) -> None:
        assert conversion.temperature_to_voltage(degc) == mv
        assert conversion.voltage_to_centi_degc(mv) == centi

    @given(st.floats(-40, 125))
    def test_round_trip_within_half_a_millivolt(self, degc: float) -> None:
        back = conversion.voltage_to_centi_degc(conversion.temperature_to_voltage(degc)) / 100
        assert abs(back - degc) <= 0.05 + 1e-9


# --- the packet -----------------------------------------------------------------------------------

packets = st.builds(
    Packet,
    counts=st.integers(408, 2044),
    centi_degc=st.integers(-4000, 12500),
    depth_ft=st.floats(0, 36, width=32),
    temperature_degc=st.floats(-40, 125, width=32),
)


def packed(
    counts: int = 720, centi: int = 2140, depth: float = 6.5, temperature: float = 21.5
) -> bytes:
    return struct.pack("<Hhff", counts, centi, depth, temperature)


class TestPacket:
    def test_bytes(self) -> None:
        data = bytes.fromhex("d002 5c08 0000d040 0000ac41")
        assert Packet(720, 2140, 6.5, 21.5).pack() == data
        assert Packet.parse(data) == Packet(720, 2140, 6.5, 21.5)

    @given(packets)
    def test_round_trip(self, packet: Packet) -> None:
        assert len(packet.pack()) == 12
        assert Packet.parse(packet.pack()) == packet

    def test_a_float32_keeps_seven_digits(self) -> None:
        packet = Packet.parse(Packet(720, 2140, 6.63, 23.1).pack())
        assert packet.depth_ft != 6.63
        assert packet.depth_ft == pytest.approx(6.63, rel=1e-7)

    @pytest.mark.parametrize(
        ("data", "field", "value", "meaning"),
        [
            (b"", "length", 0, "not 12 bytes. The transfer was cut short"),
            (packed() + b"\0", "length", 13, "another version of its program"),
            (packed(counts=0), "counts", 0, "4 mA.*loop is broken or has no power"),
            (packed(counts=407), "counts", 407, "below 408"),
            (packed(counts=2045), "counts", 2045, "above 2044.*20 mA.*short circuit"),
            (packed(centi=-5000), "centi_degc", -5000, "without power gives 0 mV"),
            (packed(centi=12501), "centi_degc", 12501, "outside -4000 to 12500"),
            (packed(depth=math.nan), "depth_ft", math.nan, "not a number.*keeps it forever"),
            (packed(depth=math.inf), "depth_ft", math.inf, "not a number"),
            (packed(depth=-0.5), "depth_ft", -0.5, "outside 0 to 36.81"),
            (packed(depth=40), "depth_ft", 40.0, "outside 0 to 36.81"),
            (packed(temperature=-math.inf), "temperature_degc", -math.inf, "not a number"),
            (packed(temperature=126), "temperature_degc", 126.0, "outside -40 to 125.*degC"),
        ],
    )
    def test_bad(self, data: bytes, field: str, value: float, meaning: str) -> None:
        with pytest.raises(BadPacket, match=f"Bad packet: {field} is {value}.*{meaning}") as bad:
            Packet.parse(data)
        assert bad.value.field == field
        assert str(bad.value.value) == str(value)

    @given(st.binary(min_size=12, max_size=12))
    def test_any_twelve_bytes_are_a_packet_or_an_error(self, data: bytes) -> None:
        with contextlib.suppress(BadPacket):
            assert Packet.parse(data).pack() == data


# --- a recorded creek through the sensor ----------------------------------------------------------


class TestThroughTheSensor:
    def test_the_flood(self) -> None:
        flood = samples.load("plumtree-run-flood-2018-08-31")
        seen = conversion.through_sensor(flood)
        assert seen.index.equals(flood.index)
        assert list(seen) == [STAGE, "counts", "quantized_ft", TEMPERATURE]
        assert abs(seen["quantized_ft"] - flood[STAGE]).max() <= HALF_A_COUNT + 1e-12
        assert seen.loc["2018-08-31 23:30", "counts"] == 719  # 408 + 46.8807 * 6.63
        # The filter lags by about 70 seconds, so a rise reads low, and the peak slightly, too.
        late = (flood[STAGE] - seen[STAGE]).loc["2018-08-31 22:40"]
        assert late == pytest.approx(0.28, abs=0.005)
        assert 0 < 6.63 - seen[STAGE].max() < 0.02
        assert "passed through the Elkhorn's sensor" in seen.attrs["processing"]
        assert seen.attrs["site"] == flood.attrs["site"]

    def test_it_is_the_filter_step_by_step(self) -> None:
        index = pd.date_range("2018-08-31 12:00", periods=4, freq="1min", tz="UTC")
        readings = pd.DataFrame({STAGE: [1.0, 1.6, 2.8, 2.2]}, index=index)
        value, at_minutes = None, []
        for second in range(0, 181, 10):
            depth = float(np.interp(second, [0, 60, 120, 180], readings[STAGE]))
            new = conversion.counts_to_depth(conversion.depth_to_counts(depth))
            value = new if value is None else conversion.smooth(new, value)
            if second % 60 == 0:
                at_minutes.append(value)
        seen = conversion.through_sensor(readings)
        assert seen[STAGE].tolist() == pytest.approx(at_minutes)
        assert list(seen) == [STAGE, "counts", "quantized_ft"]

    def test_after_a_gap_the_filter_starts_again(self) -> None:
        index = pd.date_range("2018-08-31 12:00", periods=8, freq="5min", tz="UTC").delete([5, 6])
        readings = pd.DataFrame({STAGE: [1.0, 1.0, math.nan, math.nan, 5.0, 9.0]}, index=index)
        seen = conversion.through_sensor(readings)[STAGE]
        np.testing.assert_allclose(seen, [1, 1, np.nan, np.nan, 5, 9], atol=HALF_A_COUNT)

    def test_times_that_are_not_a_multiple_of_ten_seconds(self) -> None:
        index = pd.DatetimeIndex(["2018-08-31 12:00:07", "2018-08-31 12:05:03"], tz="UTC")
        seen = conversion.through_sensor(pd.DataFrame({STAGE: [1.0, 4.0]}, index=index))
        late = 76 / 296 * 3  # 70 seconds of the filter, 6 since the packet was made
        assert seen[STAGE].iloc[1] == pytest.approx(4 - late, abs=0.05)

    @pytest.mark.parametrize("stage", [[], [math.nan], [2.0]])
    def test_one_value_or_none(self, stage: list[float]) -> None:
        index = pd.date_range("2018-08-31 12:00", periods=len(stage), freq="5min", tz="UTC")
        readings = pd.DataFrame({STAGE: pd.Series(stage, index=index, dtype="float64")})
        seen = conversion.through_sensor(readings)[STAGE]
        np.testing.assert_allclose(seen, stage, atol=HALF_A_COUNT)
