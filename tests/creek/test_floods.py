"""Floods: known answers, small cases, and properties of any record."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.creek.analysis import floods
from creeklab.creek.readings import samples, time_series

from .conftest import Make, make_record


class TestKnownAnswers:
    def test_plumtree_run(self, three_years: pd.DataFrame) -> None:
        assert int(three_years["stage_ft"].isna().sum()) == 9690
        found = floods.find(three_years)
        assert len(found) == 74
        highest = found.loc[found["peak_ft"].idxmax()]
        assert highest["peak_ft"] == 6.63
        assert highest["peak_time"] == pd.Timestamp("2018-08-31 23:30", tz="UTC")
        assert highest["start"] == pd.Timestamp("2018-08-31 22:35", tz="UTC")
        assert highest["end"] == pd.Timestamp("2018-09-01 07:35", tz="UTC")
        assert highest["rise_h"] == pytest.approx(55 / 60)
        assert found["begins"].unique().tolist() == ["rise"]
        assert found["ends"].value_counts().to_dict() == {"fall": 73, "record": 1}

    def test_kentucky_river(self) -> None:
        river = samples.load("kentucky-river-2014")
        found = floods.find(river, start=20, end=15)
        assert found["peak_ft"].max() == 26.79
        assert river["stage_ft"].max() == 26.79

    @pytest.mark.parametrize("bridge", ["6min", "1h", "2D"])
    def test_no_gap_at_plumtree_run_is_in_a_flood(
        self, three_years: pd.DataFrame, bridge: str
    ) -> None:
        assert len(floods.find(three_years, bridge=bridge)) == 74

    def test_a_plain_loop_finds_the_same_floods(self, three_years: pd.DataFrame) -> None:
        stages = three_years["stage_ft"].dropna()
        expected, flood = [], False
        for time, stage in stages.items():
            if not flood and stage > 2.5:
                flood = True
                expected.append([time, None])
            elif flood and stage < 1.75:
                flood = False
                expected[-1][1] = time
        expected[-1][1] = stages.index[-1]
        found = floods.find(three_years)[["start", "end"]]
        assert found.to_numpy().tolist() == expected


class TestSmallCases:
    @pytest.mark.parametrize(
        ("stages", "expected"),
        [
            ([1, 2, 3, 4, 2, 1], [(2, 5, 4.0, "rise", "fall")]),
            ([1, 2.5, 1], []),
            ([1, 2.51, 1.75, 1.74], [(1, 3, 2.51, "rise", "fall")]),
            ([1, 3, 2, 3, 1], [(1, 4, 3.0, "rise", "fall")]),
            ([1, 3, 1, 3, 1], [(1, 2, 3.0, "rise", "fall"), (3, 4, 3.0, "rise", "fall")]),
            ([3, 1], [(0, 1, 3.0, "record", "fall")]),
            ([1, 3], [(1, 1, 3.0, "rise", "record")]),
            ([3], [(0, 0, 3.0, "record", "record")]),
            ([2, 2, 1], []),
            ([1, 3, np.nan, np.nan, np.nan, 2, 1], [(1, 6, 3.0, "rise", "fall")]),
            ([np.nan, 3, 1, np.nan], [(1, 2, 3.0, "record", "fall")]),
        ],
    )
    def test_events(
        self, record: Make, stages: list[float], expected: list[tuple[object, ...]]
    ) -> None:
        readings = record(stages)
        found = floods.find(readings)
        rows = [
            (
                readings.index.get_loc(each.start),
                readings.index.get_loc(each.end),
                each.peak_ft,
                each.begins,
                each.ends,
            )
            for each in found.itertuples()
        ]
        assert rows == expected

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            (3.0, [("rise", "gap"), ("gap", "fall")]),
            (2.0, [("rise", "gap")]),
            (1.0, [("rise", "gap")]),
        ],
    )
    def test_a_gap_that_is_not_bridged(
        self, record: Make, after: float, expected: list[tuple[str, str]]
    ) -> None:
        readings = record([1, 3, np.nan, np.nan, after, after, 1])
        found = floods.find(readings, bridge="10min")
        assert list(zip(found["begins"], found["ends"], strict=True)) == expected
        assert len(floods.find(readings, bridge="15min")) == 1
        assert len(floods.find(readings)) == 1

    def test_measures(self, record: Make) -> None:
        # Up by 1 ft each 5 minutes, down to the half of 8 - 1.75 after three readings.
        found = floods.find(record([1, 1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 4.8, 3, 1.7])).iloc[0]
        assert found["peak_ft"] == 8
        assert found["rise_h"] == pytest.approx(25 / 60)
        assert found["half_life_h"] == pytest.approx(15 / 60)
        assert found["duration_h"] == pytest.approx(50 / 60)
        assert found["rate_ft_per_h"] == pytest.approx((7 - 1) / 0.5)
        assert found["readings"] == 11
        assert found["longest_gap_h"] == 0

    def test_unobserved_measures_are_nan(self, record: Make) -> None:
        found = floods.find(record([3, 4])).iloc[0]
        assert np.isnan(found["rise_h"])
        assert np.isnan(found["half_life_h"])
        assert found["duration_h"] == pytest.approx(5 / 60)

    def test_the_longest_gap(self, record: Make) -> None:
        found = floods.find(record([1, 1, 3, 4, np.nan, np.nan, 3, 3, 1])).iloc[0]
        assert found["longest_gap_h"] == pytest.approx(0.25)

    def test_one_outlier_does_not_make_a_rate(self, record: Make) -> None:
        calm = [1.0] * 20
        wild = [*calm, 9.0, *calm]
        found = floods.find(record(wild)).iloc[0]
        assert found["peak_ft"] == 9.0
        assert found["rate_ft_per_h"] == pytest.approx(0, abs=1e-9)

    def test_no_flood_is_an_empty_table_of_the_same_shape(self, record: Make) -> None:
        none, some = floods.find(record([1, 1])), floods.find(record([1, 3]))
        assert none.empty
        assert none.dtypes.to_dict() == some.dtypes.to_dict()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"start": 1.0}, "the end must not be above the start"),
            ({"start": np.nan}, "above nan ft"),
            ({"end": -np.inf}, "Both must be numbers"),
            ({"bridge": "-1h"}, "a duration above 0"),
        ],
    )
    def test_bad_options(self, record: Make, options: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            floods.find(record([1, 3]), **options)

    def test_nothing_measured(self, record: Make) -> None:
        with pytest.raises(ValueError, match="no measured value"):
            floods.find(record([np.nan]))
        with pytest.raises(ValueError, match="no measured value in 0 rows"):
            floods.find(record([]))


class TestRates:
    def test_a_steady_rise(self) -> None:
        at = np.arange(0, 7200, 300.0)
        rates = floods.rise_rates(at, at / 3600 * 2)
        assert np.isnan(rates[:6]).all()
        # The last reading has no neighbor after it and stands for itself.
        np.testing.assert_allclose(rates[7:], 2)

    def test_readings_far_apart(self) -> None:
        at = np.arange(0, 5 * 7200, 7200.0)
        np.testing.assert_allclose(floods.rise_rates(at, at / 3600)[2:], 1)

    def test_no_rate_across_a_gap(self) -> None:
        at = np.r_[np.arange(0, 3600, 300.0), 90000 + np.arange(0, 3600, 300.0)]
        rates = floods.rise_rates(at, np.arange(at.size, dtype=float))
        assert np.isnan(rates[12:18]).all()
        assert not np.isnan(rates[18:]).any()

    def test_too_few(self) -> None:
        assert floods.rise_rates(np.zeros(0), np.zeros(0)).size == 0
        assert np.isnan(floods.rise_rates(np.zeros(1), np.ones(1))).all()


class TestOverlay:
    def test_aligned_at_the_peak(self, three_years: pd.DataFrame) -> None:
        found = floods.find(three_years)
        high = found[found["peak_ft"] > 4]
        laid = floods.overlay(three_years, high, before=1, after=2)
        assert laid["flood"].unique().tolist() == high.index.tolist()
        assert laid["hours"].min() == -1
        assert laid["hours"].max() == 2
        top = laid.loc[laid.groupby("flood")["stage_ft"].idxmax()]
        assert top["stage_ft"].tolist() == high["peak_ft"].tolist()
        assert (top["hours"] == 0).all()

    def test_aligned_at_the_start(self, record: Make) -> None:
        readings = record([1, 2, 3, 4, 1])
        laid = floods.overlay(readings, floods.find(readings), align="start")
        assert laid["hours"].mul(60).round().tolist() == [-10, -5, 0, 5, 10]

    def test_no_flood_to_overlay(self, record: Make) -> None:
        readings = record([1, 3, 1])
        with pytest.raises(ValueError, match="no flood"):
            floods.overlay(readings, floods.find(readings).iloc[:0])
        with pytest.raises(ValueError, match="not at 'end'"):
            floods.overlay(readings, floods.find(readings), align="end")  # type: ignore[arg-type]


# --- properties of any record ---------------------------------------------------------------------

# Eighths of a foot: sums of these are exact in binary.
STAGES = st.lists(
    st.one_of(st.just(np.nan), st.integers(0, 40).map(lambda n: n / 8)), min_size=1, max_size=60
).filter(lambda stages: not np.isnan(stages).all())
BRIDGES = st.sampled_from([None, "5min", "10min", "1h"])


@given(stages=STAGES, bridge=BRIDGES)
def test_events_never_overlap_and_respect_the_thresholds(
    stages: list[float], bridge: str | None
) -> None:
    readings = make_record(stages)
    found = floods.find(readings, start=2.5, end=1.75, bridge=bridge)
    stage = readings["stage_ft"]
    outside = stage.copy()
    for each in found.itertuples():
        inside = stage[each.start : each.end]
        assert inside.iloc[0] > 2.5
        if each.ends == "fall":
            assert inside.iloc[-1] < 1.75
            inside = inside.iloc[:-1]
        assert not (inside < 1.75).any()
        assert not np.isnan(each.peak_ft)
        assert inside[each.peak_time] == each.peak_ft == inside.max()
        outside[inside.index] = np.nan
    assert not (outside > 2.5).any(), "whatever is above the start is in a flood"
    ends, starts = found["end"].iloc[:-1], found["start"].iloc[1:]
    assert (ends.to_numpy() < starts.to_numpy()).all()


@given(stages=STAGES, shift=st.integers(-80, 80).map(lambda n: n / 8), bridge=BRIDGES)
def test_another_datum_changes_no_event(
    stages: list[float], shift: float, bridge: str | None
) -> None:
    readings = make_record(stages)
    here = floods.find(readings, start=2.5, end=1.75, bridge=bridge)
    there = floods.find(readings + shift, start=2.5 + shift, end=1.75 + shift, bridge=bridge)
    there["peak_ft"] -= shift
    pd.testing.assert_frame_equal(here, there)


@given(
    stages=STAGES,
    zone=st.sampled_from(["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
    start=st.sampled_from(["2018-03-11 05:30", "2018-11-04 04:30", "2018-04-01 14:00"]),
)
def test_time_zones_and_summer_time_shift_no_event(
    stages: list[float], zone: str, start: str
) -> None:
    utc = make_record(stages, start=start)
    local = make_record(stages, start=start, zone=zone)
    pd.testing.assert_frame_equal(floods.find(utc), floods.find(local))


@given(stages=STAGES, data=st.data())
def test_shuffled_rows_give_the_same_events(stages: list[float], data: st.DataObject) -> None:
    readings = make_record(stages)
    order = data.draw(st.permutations(range(len(readings))))
    again = time_series.normalize(readings.iloc[list(order)])
    pd.testing.assert_frame_equal(floods.find(again), floods.find(readings))


@given(stages=STAGES, bridge=BRIDGES)
def test_a_missing_value_equals_a_missing_row(stages: list[float], bridge: str | None) -> None:
    readings = make_record(stages)
    pd.testing.assert_frame_equal(
        floods.find(readings, bridge=bridge), floods.find(readings.dropna(), bridge=bridge)
    )
