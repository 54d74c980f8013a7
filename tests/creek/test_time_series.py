"""Any table becomes a table of readings, or an error says what is wrong with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from creeklab.creek.analysis import frequency
from creeklab.creek.quality.fault_injection import Fault, inject
from creeklab.creek.quality.limits import derive
from creeklab.creek.quality.qartod import FAIL
from creeklab.creek.quality.quality import check
from creeklab.creek.readings import samples, time_series

from .conftest import Make

UTC_TIMES = pd.date_range("2018-08-31 12:00", periods=3, freq="5min", tz="UTC")


def table(values: object, index: object = UTC_TIMES) -> pd.DataFrame:
    return pd.DataFrame({"stage_ft": values}, index=index)


class TestNormalize:
    def test_a_table_of_readings_stays_unchanged(self) -> None:
        flood = samples.load("plumtree-run-flood-2018-08-31")
        again = time_series.normalize(flood)
        pd.testing.assert_frame_equal(again, flood)
        assert again.attrs["processing"] == flood.attrs["processing"]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (pd.DataFrame(), "no rows"),
            (table([], UTC_TIMES[:0]), "no rows"),
            (table([1.0, 2.0, 3.0]).rename(columns={"stage_ft": "stage_m"}), "1 m is 3.28084 ft"),
            (table([1.0, 2.0, 3.0], range(3)), "The times are int64"),
            (table([1.0, 2.0, 3.0], UTC_TIMES.tz_localize(None)), "row 0: 2018-08-31 12:00:00"),
            (table([1.0, 2.0], ["2018-08-31 12:00Z", "noon"]), "Row 1 has 'noon'"),
            (table([1.0, 2.0], ["2018-08-31 12:00Z", None]), "Row 1 has no time"),
            (table([1.0, 2.0], [UTC_TIMES[0], pd.NaT]), "Row 1 has no time"),
            (
                table([1.0, 2.0], ["2018-08-31 12:00Z", "2018-08-31 12:05"]),
                r"Row 1 \(2018-08-31 12:05\) has no time zone, but others have",
            ),
            (table([1.0, 2.0], ["31/08/2018 12:00", "01/09/2018 12:00"]), "Row 0 has '31/08/2018"),
            (table([1.0, 2.0], ["2018-08-31 12:00Z", "12:30"]), "Row 1 has '12:30'"),
            (table([1.0, 2.0], ["2018-08-31 12:00Z", "now"]), "Row 1 has 'now'"),
            (table(["1.5", "2,5", "3"]), r"'stage_ft' has '2,5' in row 1 \(2018-08-31 12:05"),
            (table([1.0, "dry", None]), "'stage_ft' has 'dry' in row 1"),
            (table([1.0, 2.0, -np.inf]), "'stage_ft' is infinite in row 2"),
            (table(["1", "2", "inf"]), "'stage_ft' is infinite in row 2"),
            (table([True, False, True]), "'stage_ft' holds true and false"),
            (
                table([1.0, 1.5, 2.0], UTC_TIMES[[0, 1, 1]]),
                r"'stage_ft' has more than one value at 2018-08-31 12:05:00\+00:00: 1.5, 2.0",
            ),
            (table([1.0, 2.0, 3.0]).assign(air_degC=[1, 2, "x"]), "'air_degC' has 'x' in row 2"),
        ],
    )
    def test_errors(self, given: pd.DataFrame, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            time_series.normalize(given)

    def test_no_such_time_column(self) -> None:
        with pytest.raises(ValueError, match="no column 'when' in this table, only 'stage_ft'"):
            time_series.normalize(table([1.0, 2.0, 3.0]), time="when")

    def test_rows_out_of_order(self) -> None:
        readings = time_series.normalize(table([3.0, 1.0, 2.0], UTC_TIMES[[2, 0, 1]]))
        assert readings["stage_ft"].tolist() == [1.0, 2.0, 3.0]
        assert readings.attrs["processing"] == "sorted by time: 1 rows came after a later row"

    def test_repeated_rows_and_rows_that_complete_each_other(self) -> None:
        given = table([1.0, 1.0, np.nan, 2.0], UTC_TIMES[[0, 0, 1, 1]])
        given["water_temperature_degC"] = [20.0, 20.0, 21.0, np.nan]
        readings = time_series.normalize(given)
        assert readings.to_numpy().tolist() == [[1.0, 20.0], [2.0, 21.0]]
        assert readings.attrs["processing"] == "merged 2 rows that repeated a time"

    def test_numbers_as_text_and_blanks(self) -> None:
        readings = time_series.normalize(table(["1.5", " ", None]))
        np.testing.assert_array_equal(readings["stage_ft"], [1.5, np.nan, np.nan])

    def test_a_stage_below_the_datum_is_kept_and_counted(self) -> None:
        readings = time_series.normalize(table([1.0, -0.2, -0.1]))
        assert readings["stage_ft"].tolist() == [1.0, -0.2, -0.1]
        assert "2 stages below the datum" in readings.attrs["processing"]

    def test_times_in_several_zones(self) -> None:
        given = table([1.0, 2.0], ["2018-08-31T08:00:00-04:00", "2018-08-31T12:05:00+00:00"])
        assert time_series.normalize(given).index.equals(UTC_TIMES[:2])

    def test_local_times_in_a_column(self) -> None:
        given = pd.DataFrame({"when": ["2018-08-31 08:00", "2018-08-31 08:05"], "stage_ft": [1, 2]})
        readings = time_series.normalize(given, time="when", zone="America/New_York")
        assert readings.index.equals(UTC_TIMES[:2])
        assert readings.index.name == "time"
        assert list(readings) == ["stage_ft"]

    def test_a_named_format(self) -> None:
        given = table([1.0, 2.0], ["31/08/2018 12:00", "01/09/2018 12:00"])
        readings = time_series.normalize(given, format="%d/%m/%Y %H:%M", zone="UTC")
        assert [f"{time:%Y-%m-%d}" for time in readings.index] == ["2018-08-31", "2018-09-01"]

    def test_fill_values(self) -> None:
        given = table([1.5, -9999.0, 2.5])
        with pytest.warns(UserWarning, match=r"'stage_ft' has -9999 in 1 rows, the first in row 1"):
            readings = time_series.normalize(given)
        np.testing.assert_array_equal(readings["stage_ft"], [1.5, np.nan, 2.5])

    @pytest.mark.parametrize("when", ["2018-11-04 01:30", "2018-03-11 02:30"])
    def test_hours_that_happen_twice_or_never(self, when: str) -> None:
        given = table([1.0, 2.0], pd.DatetimeIndex(["2018-03-11 00:30", when]))
        with pytest.raises(ValueError, match=rf"Row 1 \({when}:00\) happens twice or never"):
            time_series.normalize(given, zone="America/New_York")

    def test_one_row_and_an_empty_column_are_accepted(self) -> None:
        assert len(time_series.normalize(table([1.0], UTC_TIMES[:1]))) == 1
        assert time_series.normalize(table([np.nan] * 3))["stage_ft"].isna().all()

    def test_the_argument_is_not_changed(self) -> None:
        given = table(["3", "1", "2"], UTC_TIMES[[2, 0, 1]])
        before = given.copy(deep=True)
        time_series.normalize(given)
        pd.testing.assert_frame_equal(given, before)

    def test_earlier_processing_is_kept(self) -> None:
        given = table([3.0, 1.0, 2.0], UTC_TIMES[[2, 0, 1]])
        given.attrs = {"processing": "cut", "source": "me"}
        said = time_series.normalize(given).attrs
        assert said["processing"].startswith("cut; sorted")
        assert said["source"] == "me"


class TestGaps:
    def test_known_answer(self, three_years: pd.DataFrame) -> None:
        gaps = time_series.gaps(three_years)
        assert int(gaps["readings"].sum()) == 9690
        assert len(gaps) == 37
        longest = gaps.loc[gaps["hours"].idxmax()]
        assert longest["start"] == pd.Timestamp("2017-12-27 06:05", tz="UTC")
        assert longest["hours"] == pytest.approx(15.524 * 24, abs=0.01)

    def test_missing_values_missing_rows_and_both_ends(self, record: Make) -> None:
        readings = record([np.nan, np.nan, 1, 2, np.nan, 3, 4, 5, 6, 7, np.nan])
        readings = readings.drop(readings.index[[7, 8]])
        gaps = time_series.gaps(readings)
        assert gaps["readings"].tolist() == [2, 1, 2, 1]
        assert gaps["hours"].mul(60).round(6).tolist() == [10, 10, 15, 5]
        assert gaps["start"].dt.strftime("%H:%M").tolist() == ["12:00", "12:15", "12:30", "12:45"]
        assert gaps["end"].dt.strftime("%H:%M").tolist() == ["12:10", "12:25", "12:45", "12:50"]
        missing = readings["stage_ft"].isna().sum() + 2
        assert gaps["readings"].sum() == missing

    def test_none(self, record: Make) -> None:
        assert time_series.gaps(record([1, 2, 3])).empty
        assert time_series.gaps(record([1])).empty

    def test_nothing_measured(self, record: Make) -> None:
        with pytest.raises(ValueError, match="'stage_ft' has no measured value in 2 rows"):
            time_series.gaps(record([np.nan, np.nan]))


class TestAChangedInterval:
    """A logger that was set from 15 to 5 minutes: the interval belongs to a stretch of time."""

    @pytest.fixture
    def readings(self, three_years: pd.DataFrame) -> pd.DataFrame:
        slow = three_years.loc["2017-03":"2017-05"].iloc[::3]
        return pd.concat([slow, three_years.loc["2017-06":"2017-07"]])

    def test_the_slow_stretch_misses_nothing(
        self, readings: pd.DataFrame, three_years: pd.DataFrame
    ) -> None:
        fast = time_series.gaps(three_years.loc["2017-06":"2017-07"])["readings"].sum()
        slow = readings.loc["2017-03":"2017-05", "stage_ft"].isna().sum()
        assert time_series.gaps(readings)["readings"].sum() == fast + slow

    def test_a_missing_row_is_found_in_both_stretches(self, record: Make) -> None:
        index = pd.DatetimeIndex([*pd.date_range("2019-12-01", periods=200, freq="15min")])
        index = index.append(
            pd.date_range(index[-1] + pd.Timedelta("5min"), periods=200, freq="5min")
        )
        readings = pd.DataFrame({"stage_ft": np.arange(400.0)}, index=index.tz_localize("UTC"))
        assert time_series.gaps(readings).empty
        thinned = readings.drop(readings.index[[50, 51, 300]])
        assert time_series.gaps(thinned)["readings"].tolist() == [2, 1]
        held = time_series.hold_times(time_series.seconds(readings.index))
        assert held[:199].tolist() == [900] * 199
        assert held[199:].tolist() == [300] * 201

    def test_spikes_are_found_in_both_stretches(self, readings: pd.DataFrame) -> None:
        limits = derive(readings)
        times = pd.DatetimeIndex(["2017-04-02 12:00", "2017-06-20 12:00"], tz="UTC")
        spikes = [Fault("spike", time, time, 9.0) for time in times]
        flags = check(inject(readings, spikes), limits).flags
        assert flags.loc[times, "spike"].tolist() == [FAIL, FAIL]

    def test_years_are_as_long_as_they_were_measured(self, three_years: pd.DataFrame) -> None:
        mixed = pd.concat([three_years.loc["2016"].iloc[::3], three_years.loc["2017":]])
        expected = frequency.annual_maxima(three_years, year="calendar")["measured"]
        measured = frequency.annual_maxima(mixed, year="calendar")["measured"]
        np.testing.assert_allclose(measured, expected, atol=0.002)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_seconds_and_back(unit: str) -> None:
    index = UTC_TIMES.as_unit(unit)  # type: ignore[arg-type]
    at = time_series.seconds(index)
    assert at[0] == 1535716800.0
    assert time_series.to_datetimes(at).equals(UTC_TIMES)
    assert time_series.sampling_interval(at) == 300
