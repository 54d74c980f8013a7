"""Landmarks: how long they are under water, and how long after the alert."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from creeklab.creek.analysis import floods, landmarks

from .conftest import Make

MARKS = {"path": 3.0, "bridge": 5.0, "house": 8.0}


class TestAbove:
    def test_plumtree_run(self, three_years: pd.DataFrame) -> None:
        table = landmarks.above(three_years, MARKS)
        assert table.index.tolist() == ["path", "bridge", "house"]
        assert table["times"].tolist() == [32, 2, 0]
        assert table["hours"].tolist() == [32.25, pytest.approx(17 / 12), 0]
        assert table.loc["bridge", "first"] == pd.Timestamp("2017-08-18 22:30", tz="UTC")
        assert pd.isna(table.loc["house", "first"])
        assert table["over_ft"].tolist() == pytest.approx([3.63, 1.63, -1.37])

    def test_a_gap_does_not_count(self, record: Make) -> None:
        table = landmarks.above(record([1, 4, 4, np.nan, np.nan, np.nan, 1, 1]), {"path": 3.0})
        assert table.loc["path", "hours"] == pytest.approx(10 / 60)
        assert table.loc["path", "percent"] == pytest.approx(40)

    def test_a_stage_at_the_landmark_is_not_above_it(self, record: Make) -> None:
        assert landmarks.above(record([3, 3]), {"path": 3.0}).loc["path", "times"] == 0

    def test_one_reading(self, record: Make) -> None:
        table = landmarks.above(record([4]), {"path": 3})
        assert table.loc["path", ["hours", "percent", "times"]].tolist() == [0, 0, 1]

    def test_lowest_first(self, record: Make) -> None:
        table = landmarks.above(record([4]), {"high": 3, "low": 1})
        assert table.index.tolist() == ["low", "high"]

    @pytest.mark.parametrize(
        ("marks", "message"),
        [
            ({}, "no landmark"),
            ({"House": "high"}, "'House' is at 'high'"),
            ({"House": True}, "'House' is at True"),
            ({"House": np.nan}, "not a height"),
        ],
    )
    def test_no_landmarks(self, record: Make, marks: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            landmarks.above(record([4]), marks)


class TestForecast:
    @pytest.mark.parametrize(
        ("stage", "rate", "expected"),
        [
            (2.0, 2.0, [0.5, 1.5, 3.0]),
            (4.0, 1.0, [0.0, 1.0, 4.0]),
            (4.0, 0.0, [0.0, np.inf, np.inf]),
            (4.0, -1.0, [0.0, np.inf, np.inf]),
            (2.0, np.nan, [np.nan] * 3),
        ],
    )
    def test_a_straight_line(self, stage: float, rate: float, expected: list[float]) -> None:
        hours = landmarks.forecast(stage, rate, MARKS)
        assert hours.index.tolist() == ["path", "bridge", "house"]
        np.testing.assert_array_equal(hours, expected)


class TestLeadTimes:
    def test_a_landmark_that_no_flood_reached(self, record: Make) -> None:
        readings = record([1, 3, 1])
        lead = landmarks.lead_times(readings, floods.find(readings), {"Barn": 20})
        assert lead["reached"].tolist() == [False]
        assert lead["reached_time"].isna().all()

    def test_a_creek_that_rises_in_a_straight_line(self, record: Make) -> None:
        # One foot per half hour, from 1 to 6 ft: a sixth of a foot every five minutes.
        readings = record(np.r_[np.ones(12), np.arange(7, 36.1) / 6, 6.0, 1.0])
        table = landmarks.lead_times(readings, floods.find(readings), MARKS)
        assert table["landmark"].tolist() == ["path", "bridge", "house"]
        assert table["reached"].tolist() == [True, True, False]
        # The first reading above 2.5 ft is 2 2/3 ft.
        assert table["stage_ft"].unique() == pytest.approx([16 / 6])
        np.testing.assert_allclose(table["rate_ft_per_h"], 2.0)
        np.testing.assert_allclose(table["forecast_h"], [1 / 6, 7 / 6, 16 / 6])
        np.testing.assert_allclose(table["lead_h"], [1 / 6, 7 / 6, np.nan])
        assert pd.isna(table["reached_time"].iloc[2])

    def test_a_later_alert(self, record: Make) -> None:
        readings = record(np.r_[np.ones(12), np.arange(7, 36.1) / 6, 6.0, 1.0])
        found = floods.find(readings)
        table = landmarks.lead_times(readings, found, MARKS, alert=4.0)
        assert table["landmark"].tolist() == ["bridge", "house"]
        assert (table["alert_time"] > found["start"].iloc[0]).all()
        assert landmarks.lead_times(readings, found, MARKS, alert=7.0).empty
        assert landmarks.lead_times(readings, found, {"low": 1.0}).empty
        with pytest.raises(ValueError, match="lower start"):
            landmarks.lead_times(readings, found, MARKS, alert=2.0)

    def test_a_flood_with_an_unobserved_start_gives_no_alert(self, record: Make) -> None:
        readings = record([3, 4, 1])
        assert landmarks.lead_times(readings, floods.find(readings), MARKS).empty

    def test_plumtree_run(self, three_years: pd.DataFrame) -> None:
        found = floods.find(three_years)
        table = landmarks.lead_times(three_years, found, MARKS)
        assert len(table) == 3 * len(found)
        assert table.groupby("landmark")["reached"].sum().to_dict() == {
            "bridge": 2,
            "house": 0,
            "path": 30,
        }
        big = table[(table["flood"] == 55) & (table["landmark"] == "bridge")].iloc[0]
        assert big["lead_h"] == pytest.approx(25 / 60)
        assert big["forecast_h"] == pytest.approx(1.008, abs=0.001)


def test_the_elkhorn() -> None:
    assert list(landmarks.check(landmarks.ELKHORN)) == list(landmarks.ELKHORN)
    assert landmarks.ELKHORN["House Floor"] == 23.0
