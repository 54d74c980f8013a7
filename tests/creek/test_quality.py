"""A storm is not a fault, faults are found, and the tests are those of ioos_qc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ioos_qc.qartod
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.creek.analysis import floods
from creeklab.creek.quality import limits, qartod, quality
from creeklab.creek.quality.fault_injection import Fault, Kind, inject, random_faults
from creeklab.creek.quality.qartod import FAIL, GOOD, MISSING, SUSPECT, UNKNOWN
from creeklab.creek.quality.score import detection_scores
from creeklab.creek.readings import samples, time_series

from .conftest import Make, make_record

KINDS: tuple[Kind, ...] = ("spike", "gap", "flat line", "drift", "dead sensor")
LIMITS = limits.Limits(
    span_ft=(0.0, 34.88),
    floor_ft=0.5,
    spike_suspect_ft=0.3,
    spike_fail_ft=0.6,
    rate_ft_per_h=24.0,
    flat=(limits.Flat(0.5, 0.5, 1.0), limits.Flat(np.inf, 1.0, 2.0)),
    slow_ft_per_h=0.03,
    gap_h=1.0,
)


@pytest.fixture(scope="module")
def clean(three_years: pd.DataFrame) -> quality.Quality:
    return quality.check(three_years)


def flags_of(stages: list[float], test: str) -> list[int]:
    return quality.check(make_record(stages), LIMITS).flags[test].tolist()


class TestStormsAreNotFaults:
    def test_no_flood_of_three_years_is_flagged(
        self, three_years: pd.DataFrame, clean: quality.Quality
    ) -> None:
        found = floods.find(three_years)
        assert len(found) == 74
        for flood in found.itertuples():
            rise = flood.start - pd.Timedelta("6h")
            flags = clean.flags["overall"][rise : flood.end]
            assert set(flags.unique()) <= {GOOD, UNKNOWN}, flood.Index

    def test_few_readings_are_flagged(self, clean: quality.Quality) -> None:
        counts = clean.counts()
        assert counts.loc["overall", "missing"] == 9690
        assert counts.loc["overall", "fail"] == 0
        assert counts.loc["overall", "suspect"] < 306
        assert (counts.sum(axis=1) == 315_648).all()

    @pytest.mark.parametrize(
        "name", ["kentucky-river-2014", "trout-creek-2021", "trout-creek-2022"]
    )
    def test_neither_a_river_nor_noise_is_flagged(self, name: str) -> None:
        found = quality.check(samples.load(name))
        flags = found.flags["overall"]
        assert not flags.isin([SUSPECT, FAIL]).any()
        assert set(found.intervals["kind"]) <= {"missing"}

    def test_a_naive_limit_would_have_flagged_the_storm(self, three_years: pd.DataFrame) -> None:
        """A fixed limit of half a foot per hour looks reasonable until the first storm."""
        storm = three_years["2018-08-31 20:00":"2018-09-01 08:00"]
        taken = limits.derive(three_years)
        naive = limits.Limits(
            **{**{k: getattr(taken, k) for k in taken.__slots__}, "rate_ft_per_h": 0.5}
        )
        assert (quality.check(storm, naive).flags["rate_of_change"] == SUSPECT).sum() > 30
        assert (quality.check(storm, taken).flags["rate_of_change"] == SUSPECT).sum() == 0


class TestFaultsAreFound:
    def test_precision_and_recall(self, three_years: pd.DataFrame, clean: quality.Quality) -> None:
        measured = three_years["stage_ft"].dropna().index
        lists = [random_faults(measured, seed, kinds=KINDS, each=10) for seed in (1, 2, 3)]
        table = detection_scores(
            [quality.check(inject(three_years, faults)) for faults in lists], lists, clean
        )
        print(table)
        recall, precision = table["recall"], table["precision"]
        assert table.loc[list(KINDS), "faults"].tolist() == [30] * 5
        assert recall["spike"] >= 0.95
        assert precision["spike"] >= 0.95
        assert recall["gap"] == precision["gap"] == 1
        assert recall["dead sensor"] >= 0.95
        assert precision["dead sensor"] >= 0.95
        assert recall["drift"] >= 0.7
        assert precision["drift"] >= 0.9
        # Most are at low water, where a creek can stand still for as long: see the next test.
        assert recall["flat line"] >= 0.05
        assert precision["flat line"] >= 0.3

    def test_a_flat_line_in_high_water(self, three_years: pd.DataFrame) -> None:
        found = floods.find(three_years)
        long = found[found["duration_h"] > 5].iloc[::5]
        faults = [Fault("flat line", peak, peak + pd.Timedelta("6h")) for peak in long["peak_time"]]
        assert len(faults) >= 6
        checked = quality.check(inject(three_years, faults))
        flags = checked.flags["flat_line"]
        for fault in faults:
            assert (flags[fault.start : fault.end] == FAIL).all()

    @pytest.mark.parametrize(
        ("when", "size"),
        [
            # In the steepest five minutes, half a foot, only what is larger than the rise.
            ("2018-08-31 22:50", 2.0),
            ("2018-08-31 22:50", -3.0),
            ("2018-08-31 23:30", 0.4),
            ("2018-08-31 23:30", -0.6),
            ("2018-09-01 03:00", 0.4),
            ("2018-09-01 03:00", -0.4),
        ],
    )
    def test_spikes_in_the_middle_of_a_storm(
        self, three_years: pd.DataFrame, when: str, size: float
    ) -> None:
        taken = limits.derive(three_years)
        storm = three_years["2018-08-31 12:00":"2018-09-02 12:00"]
        moment = pd.Timestamp(when, tz="UTC")
        flags = quality.check(inject(storm, [Fault("spike", moment, moment, size)]), taken).flags
        bad = flags.index[flags["overall"].isin([SUSPECT, FAIL])]
        # During the rise, the neighbor of a spike may stick out, too.
        assert moment in bad
        assert (abs(bad - moment) <= pd.Timedelta("5min")).all()

    @pytest.mark.parametrize("step", [0.8, -0.6])
    @pytest.mark.parametrize("away", ["0h", "200D"])
    def test_a_datum_shift(self, three_years: pd.DataFrame, step: float, away: str) -> None:
        moment = pd.Timestamp("2017-04-20 15:10", tz="UTC")
        shifted = three_years[["stage_ft"]].copy()
        shifted.loc[moment:, "stage_ft"] += step
        gone = (shifted.index >= moment) & (shifted.index < moment + pd.Timedelta(away))
        found = quality.check(shifted[~gone]).intervals
        shifts = found[found["kind"] == "datum shift"]
        assert len(shifts) == 1
        assert shifts["size_ft"].iloc[0] == pytest.approx(step, abs=0.25)
        assert abs(shifts["start"].iloc[0] - moment) < pd.Timedelta("2h")
        assert ("higher" if step > 0 else "lower") in shifts["text"].iloc[0]

    def test_an_uncorrected_drift(self, three_years: pd.DataFrame) -> None:
        creek = three_years["2016-09-01":"2016-12-15"][["stage_ft"]].copy()
        days = (creek.index - creek.index[0]) / pd.Timedelta("1D")
        creek["stage_ft"] += np.clip((days - 40) * 0.08, 0, None)
        checked = quality.check(creek)
        found = checked.intervals
        drifts = found[found["kind"] == "drift"]
        assert not drifts.empty
        assert "flagged 16,322 of them, where the technician had marked 72" in checked.text()
        assert drifts["start"].min() > creek.index[0] + pd.Timedelta("38D")
        assert drifts["size_ft"].max() > 0.5

    def test_a_sensor_that_is_dead_for_half_a_year(self, three_years: pd.DataFrame) -> None:
        start = pd.Timestamp("2018-04-01", tz="UTC")
        dead = Fault("dead sensor", start, start + pd.Timedelta("180D"), 0.0)
        found = quality.check(inject(three_years, [dead]))
        flags = found.flags["overall"][dead.start : dead.end]
        assert (flags == FAIL).all()
        assert found.good()["stage_ft"][dead.start : dead.end].isna().all()


class TestFlags:
    @pytest.mark.parametrize(
        ("test", "stages", "expected"),
        [
            ("gross_range", [1, 0.4, -1, 40, np.nan], [1, 3, 4, 4, 9]),
            ("spike", [1, 1, 1.25, 1, 1], [2, 1, 1, 1, 2]),
            ("spike", [1, 1, 1.5, 1, 1], [2, 1, 3, 1, 2]),
            ("spike", [1, 1, 2, 1, 1], [2, 1, 4, 1, 2]),
            ("spike", [1, 1, 2, 3, 3], [2, 1, 1, 1, 2]),
            ("spike", [1, 1, np.nan, 1, 1], [2, 2, 9, 2, 2]),
            ("rate_of_change", [1, 2.9, 5, 5], [2, 1, 3, 1]),
            # The step back from a spike is not a change of the creek.
            ("rate_of_change", [1, 1, 8, 1, 1], [2, 1, 2, 2, 1]),
            ("flat_line", [1, *[2.0] * 13, 1], [1, *[3] * 13, 1]),
            ("flat_line", [1, *[2.0] * 12, 1], [1] * 14),
            ("flat_line", [1, *[2.0] * 25, 1], [1, *[4] * 25, 1]),
            ("flat_line", [1, *[0.0] * 7, 1], [1, *[3] * 7, 1]),
            ("flat_line", [1, *[2.0] * 7, np.nan, *[2.0] * 7], [*[1] * 8, 9, *[1] * 7]),
            ("overall", [1, 1, 2, 1, np.nan], [1, 1, 4, 1, 9]),
            ("drift", [1, np.nan], [2, 9]),
        ],
    )
    def test_table(self, test: str, stages: list[float], expected: list[int]) -> None:
        assert flags_of(stages, test) == expected

    def test_a_missing_row_is_not_a_neighbor(self, record: Make) -> None:
        readings = record([1, 1, 1.9, 1, 1])
        readings.index = readings.index[:2].append(readings.index[2:] + pd.Timedelta("1D"))
        flags = quality.check(readings, LIMITS).flags
        assert flags["spike"].tolist() == [2, 2, 2, 1, 2]
        assert flags["rate_of_change"].tolist() == [2, 1, 2, 1, 1]
        assert flags["time_gap"].tolist() == [1, 1, 4, 1, 1]
        assert flags["overall"].tolist() == [1] * 5, "the reading after a gap is good"

    @pytest.mark.parametrize("stages", [[1.0], [1.0, 2.0], [1.0, np.nan], [1.0] * 60])
    def test_short_and_still_records(self, stages: list[float]) -> None:
        found = quality.check(make_record(stages))
        assert len(found.flags) == len(stages)
        assert not found.flags["overall"].isin([SUSPECT, FAIL]).any()

    @pytest.mark.parametrize("stages", [[], [np.nan], [np.nan] * 5])
    def test_nothing_measured(self, stages: list[float]) -> None:
        with pytest.raises(ValueError, match="'stage_ft' has no measured value"):
            quality.check(make_record(stages))

    def test_an_invalid_span_is_rejected(self, record: Make) -> None:
        with pytest.raises(ValueError, match="Put the lower end first"):
            limits.derive(record([1.0]), span_ft=(3, 0))
        taken = limits.derive(record([1.0, 1.1, 1.2]), span_ft=(0, 34.88))
        assert quality.check(record([1.0, 40.0, 1.0]), taken).flags["gross_range"].tolist() == [
            1,
            4,
            1,
        ]


class TestSameAsIoosQc:
    """Passing pieces to ioos_qc gives the same result as passing the whole record."""

    def test_spike(self, three_years: pd.DataFrame, clean: quality.Quality) -> None:
        stage, taken = three_years["stage_ft"].to_numpy(), clean.limits
        whole = ioos_qc.qartod.spike_test(
            stage, taken.spike_suspect_ft, taken.spike_fail_ft, method="differential"
        )
        left = clean.flags["flat_line"].to_numpy() == GOOD  # the others were not handed on
        left &= np.r_[left[1:], True] & np.r_[True, left[:-1]]
        np.testing.assert_array_equal(clean.flags["spike"][left], np.asarray(whole)[left])

    @given(
        stages=st.lists(
            st.one_of(st.just(np.nan), st.integers(0, 40).map(lambda n: n / 8)),
            min_size=3,
            max_size=60,
        )
    )
    def test_spike_of_any_readings(self, stages: list[float]) -> None:
        stage = np.array(stages)
        ours = qartod._spike(np.arange(stage.size) * 300.0, stage, LIMITS)
        whole = np.asarray(
            ioos_qc.qartod.spike_test(
                stage, LIMITS.spike_suspect_ft, LIMITS.spike_fail_ft, method="differential"
            )
        )
        # The caller marks the missing values.
        there = ~np.isnan(stage)
        np.testing.assert_array_equal(ours[there], whole[there])

    @given(
        lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
        suspect=st.integers(3, 20),
    )
    def test_flat_line(self, lengths: list[int], suspect: int) -> None:
        stages = np.repeat(1.0 + np.arange(len(lengths)) % 2, lengths)
        at = np.arange(stages.size) * 300.0
        taken = limits.Limits(
            **{k: getattr(LIMITS, k) for k in LIMITS.__slots__ if k != "flat"},
            flat=(limits.Flat(np.inf, suspect / 12, suspect / 6),),
        )
        ours = qartod.tests(at, stages, taken)["flat_line"]
        if stages.size < 3:
            assert set(ours) == {UNKNOWN}
            return
        # The same fractions of an hour: 13/6 of it is a bit less than 7800 seconds.
        suspect_s, fail_s = taken.flat[0].suspect_h * 3600, taken.flat[0].fail_h * 3600
        whole = ioos_qc.qartod.flat_line_test(
            stages, at.astype("datetime64[s]"), suspect_s, fail_s, tolerance=1e-9
        )
        # ioos_qc flags the readings after the window, creeklab the whole run.
        ends = np.cumsum(lengths)
        expected = np.concatenate(
            [
                np.full(n, np.asarray(whole)[end - n : end].max())
                for n, end in zip(lengths, ends, strict=True)
            ]
        )
        np.testing.assert_array_equal(ours, expected)

    def test_ioos_qc_is_imported_late_and_without_warnings(self) -> None:
        program = (
            "import sys; from creeklab.creek import quality; assert 'xarray' not in sys.modules;"
            "from creeklab.creek.readings import samples;"
            "quality.check(samples.load('plumtree-run-flood-2018-08-31'));"
            "assert 'xarray' in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")


STAGES = st.lists(
    st.one_of(st.just(np.nan), st.integers(0, 40).map(lambda n: n / 8)), min_size=1, max_size=60
).filter(lambda stages: not np.isnan(stages).all())


@given(stages=STAGES, shift=st.integers(-80, 80).map(lambda n: n / 8))
def test_another_datum_changes_no_flag(stages: list[float], shift: float) -> None:
    readings = make_record(stages)
    here, there = quality.check(readings), quality.check(readings + shift)
    pd.testing.assert_frame_equal(here.flags, there.flags)


@given(stages=STAGES, zone=st.sampled_from(["America/New_York", "Asia/Kolkata"]))
def test_time_zones_and_summer_time_change_no_flag(stages: list[float], zone: str) -> None:
    start = "2018-11-04 04:30"
    utc = quality.check(make_record(stages, start=start))
    local = quality.check(make_record(stages, start=start, zone=zone))
    np.testing.assert_array_equal(utc.flags, local.flags)
    pd.testing.assert_frame_equal(utc.intervals, local.intervals)


@given(stages=STAGES)
def test_every_reading_has_every_flag(stages: list[float]) -> None:
    readings = make_record(stages)
    flags = quality.check(readings).flags
    assert flags.index.equals(readings.index)
    assert set(np.unique(flags)) <= {GOOD, UNKNOWN, SUSPECT, FAIL, MISSING}
    missing = readings["stage_ft"].isna().to_numpy()
    assert ((flags == MISSING).to_numpy() == missing[:, None]).all()


class TestTheReport:
    def test_text(self, three_years: pd.DataFrame) -> None:
        month = three_years["2016-05-01":"2016-07-31"]
        moment = pd.Timestamp("2016-06-10 03:00", tz="UTC")
        faults = [
            Fault("spike", moment, moment, 2.0),
            Fault("dead sensor", moment + pd.Timedelta("5D"), moment + pd.Timedelta("6D")),
            Fault("gap", moment + pd.Timedelta("10D"), moment + pd.Timedelta("13D")),
        ]
        found = quality.check(inject(month, faults), limits.derive(three_years))
        text = repr(found)
        for part in (
            "25,631 of 26,496 readings have a stage; 290 of them fail",
            "Spike: 1.\n  - 3.05 ft at 2016-06-10 03:00 UTC sticks out from its neighbors (fail)",
            "Dead sensor: 1.\n  - unchanged at 0.00 ft, where the creek never is, for 24.0 hours"
            " from 2016-06-15 03:00 UTC",
            "Missing: 1.\n  - 865 readings in 3.0 days from 2016-06-20 02:55 to 2016-06-23 03:05",
        ):
            assert part in text
        html = found._repr_html_()
        assert "sticks out" in html
        assert "<table" in html

    def test_only_the_worst_are_listed(self, clean: quality.Quality) -> None:
        text = clean.text(worst=2)
        assert "15.5 days" in text
        assert "and 35 more" in text

    def test_nothing_to_report(self) -> None:
        found = quality.check(samples.load("plumtree-run-flood-2018-08-31"))
        assert repr(found).endswith("No reading is missing, and no test found a fault.")

    def test_good_readings_list_the_removed_stages(self, record: Make) -> None:
        readings = record([1, 1, 9, 1, 1])
        good = quality.check(readings, LIMITS).good()
        np.testing.assert_array_equal(good["stage_ft"], [1, 1, np.nan, 1, 1])
        assert good.attrs["processing"] == "removed 1 stages that failed a quality test"
        assert readings["stage_ft"].tolist() == [1, 1, 9, 1, 1]
        same = quality.check(readings.drop(readings.index[2]), LIMITS).good()
        assert "processing" not in same.attrs

    def test_limits_as_a_table(self, clean: quality.Quality) -> None:
        table = clean.limits.table()
        assert table.loc["spike", ["suspect", "fail", "unit"]].tolist() == ["0.28", "0.56", "ft"]
        assert table.index[-1] == "time gap"


def test_intervals_of_shuffled_rows(three_years: pd.DataFrame) -> None:
    month = three_years["2016-02-01":"2016-02-29"]
    shuffled = time_series.normalize(month.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(quality.check(shuffled).intervals, quality.check(month).intervals)
