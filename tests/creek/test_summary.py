"""Summaries of the samples, with known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from creeklab.creek.analysis.summary import summarize
from creeklab.creek.readings import samples
from tests.creek.conftest import Make


def test_plumtree_run(three_years: pd.DataFrame) -> None:
    found = summarize(three_years)
    assert found.numbers == {
        "start": "2016-01-01 05:00 UTC",
        "end": "2019-01-01 04:55 UTC",
        "days": 1096.0,
        "rows": 315_648,
        "readings": 305_958,
        "step_min": 5.0,
        "missing": 9_690,
        "missing_percent": 3.07,
        "gaps": 37,
        "longest_gap_h": 372.58,
        "lowest_ft": 0.84,
        "median_ft": 1.11,
        "highest_ft": 6.63,
        "highest_time": "2018-08-31 23:30 UTC",
        "flood_start_ft": 2.5,
        "flood_end_ft": 1.75,
        "floods": 74,
        "water_temperature_coldest_degC": -0.1,
        "water_temperature_median_degC": 12.8,
        "water_temperature_warmest_degC": 27.0,
        "water_temperature_missing": 8_024,
    }
    assert len(found.floods) == 74
    for text in ("Plumtree Run, 2016 to 2018", "305,958", "9,690", "6.63 ft", "74", "27.0 °C"):
        assert text in repr(found)
    assert found.table().loc["readings", "value"] == "305,958"
    assert "<pre>Plumtree Run" in found._repr_html_()


def test_a_river_that_is_always_above_the_thresholds_of_a_creek() -> None:
    river = samples.load("kentucky-river-2014")
    found = summarize(river)
    assert found.numbers["highest_ft"] == 26.79
    assert found.numbers["missing"] == 40  # four of them are rows that are not there
    assert "use thresholds that suit it" in found.text()
    assert "not its own" not in summarize(river, start=20, end=15).text()


def test_a_record_without_a_title(record: Make) -> None:
    found = summarize(record([1, 3, np.nan, 1], zone="America/New_York"))
    assert found.numbers["start"] == "2018-08-31 12:00 UTC"
    assert (found.numbers["rows"], found.numbers["readings"], found.numbers["missing"]) == (4, 3, 1)
    assert found.title == "A record of stage_ft"


def test_one_reading_and_none(record: Make) -> None:
    one = summarize(record([1]))
    assert "step_min" not in one.numbers
    assert "none are missing" in one.text()
    with pytest.raises(ValueError, match="no measured value"):
        summarize(record([np.nan]))
