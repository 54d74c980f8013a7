"""Annual maxima and peaks over a threshold, with plotting positions and an honest caveat."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from creeklab.creek.analysis import frequency

from .conftest import Make


class TestAnnualMaxima:
    def test_calendar_years_of_plumtree_run(self, three_years: pd.DataFrame) -> None:
        years = frequency.annual_maxima(three_years, year="calendar")
        assert years["peak_ft"].to_dict() == {2016: 4.72, 2017: 5.02, 2018: 6.63, 2019: 2.58}
        ranked = years.loc[:2018]
        assert ranked["rank"].tolist() == [3, 2, 1]
        assert ranked["probability"].tolist() == [0.75, 0.5, 0.25]
        assert ranked["return_period_years"].tolist() == [4 / 3, 2, 4]
        assert np.isnan(years.loc[2019, "rank"]), "five hours are no year"
        assert years.attrs["years"] == 3

    def test_water_years_of_plumtree_run(self, three_years: pd.DataFrame) -> None:
        years = frequency.annual_maxima(three_years)
        assert years["rank"].dropna().to_dict() == {2017: 2, 2018: 1}
        assert years.loc[2018, "measured"] == pytest.approx(0.945, abs=0.001)
        assert years.loc[2019, "peak_time"] == pd.Timestamp("2018-11-25 01:15", tz="UTC")

    def test_the_share_of_a_year_that_must_be_measured(self, three_years: pd.DataFrame) -> None:
        assert frequency.annual_maxima(three_years, complete=0.95).attrs["years"] == 1
        assert frequency.annual_maxima(three_years, complete=0.2).attrs["years"] == 4

    def test_the_boundary_between_years(self, record: Make) -> None:
        readings = record([1, 2, 3, 4], start="2017-09-30 23:50")
        assert frequency.annual_maxima(readings)["peak_ft"].to_dict() == {2017: 2, 2018: 4}
        readings = record([1, 2, 3, 4], start="2017-12-31 23:50")
        assert frequency.annual_maxima(readings, year="calendar")["peak_ft"].to_dict() == {
            2017: 2,
            2018: 4,
        }

    def test_no_such_year(self, record: Make) -> None:
        with pytest.raises(ValueError, match="not 'fiscal'"):
            frequency.annual_maxima(record([1]), year="fiscal")  # type: ignore[arg-type]


class TestPeaksOverThreshold:
    def test_plumtree_run(self, three_years: pd.DataFrame) -> None:
        peaks = frequency.peaks_over_threshold(three_years, 2.5)
        assert peaks["peak_ft"].head(3).tolist() == [6.63, 5.02, 4.72]
        assert peaks.attrs["years"] == pytest.approx(2.909, abs=0.001)
        assert peaks["return_period_years"].iloc[0] == pytest.approx(3.909, abs=0.001)
        assert (np.diff(np.sort(peaks["peak_time"])) > np.timedelta64(2, "D")).all()

    @pytest.mark.parametrize(
        ("apart", "expected"),
        [
            ("0min", [(5, 1), (4, 1), (3, 1)]),
            ("10min", [(5, 1), (4, 1), (3, 1)]),
            ("11min", [(5, 2), (3, 1)]),
            ("1h", [(5, 3)]),
        ],
    )
    def test_declustering(
        self, record: Make, apart: str, expected: list[tuple[float, int]]
    ) -> None:
        stages = [1, 4, 1, 5, 1, 1, 3, 1] if apart == "11min" else [1, 5, 1, 4, 1, 3, 1]
        peaks = frequency.peaks_over_threshold(record(stages), 2.5, apart=apart)
        assert list(zip(peaks["peak_ft"], peaks["rises"], strict=True)) == expected

    def test_none(self, record: Make) -> None:
        none = frequency.peaks_over_threshold(record([1, 1]), 2.5)
        some = frequency.peaks_over_threshold(record([1, 3]), 2.5)
        assert none.empty
        assert list(none) == list(some)

    @pytest.mark.parametrize(
        ("threshold", "apart", "message"),
        [(np.nan, "2D", "The threshold is nan"), (2.5, "-2D", "apart is '-2D'")],
    )
    def test_bad_options(self, record: Make, threshold: float, apart: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            frequency.peaks_over_threshold(record([1, 3]), threshold, apart=apart)


def test_plotting_positions() -> None:
    """All agree on the middle of a record, and differ most about the highest flood."""
    table = frequency.plotting_positions(9, 9)
    assert table.loc[5].tolist() == pytest.approx([2.0] * 4)
    assert table.loc[1].round(2).tolist() == [10, 15.33, 16.29, 18]


class TestCaveat:
    def test_three_years(self) -> None:
        note = frequency.caveat(3)
        for text in (
            "3 years of stage",
            "a return period of 4 years",
            "1.6 or 59 years",
            "No level is extrapol",
        ):
            assert text in note

    def test_its_range_agrees_with_the_probability(self) -> None:
        """The largest of three exceeds the level of period T with probability 1 - (1 - 1/T)^3."""
        random = np.random.default_rng(0)
        exceeded = 1 - random.random((100_000, 3)).max(axis=1)  # chance of a year above the largest
        low, high = np.quantile(1 / exceeded, [0.05, 0.95])
        assert low == pytest.approx(1.6, abs=0.05)
        assert high == pytest.approx(59, rel=0.05)

    def test_it_names_the_other_plotting_positions(self) -> None:
        expected = (
            "other plotting positions would give it 5.3 (Cunnane), 5.6 (Gringorten), 6.0 (Hazen)"
        )
        assert expected in frequency.caveat(3)

    def test_no_complete_year(self) -> None:
        assert "No year of this record is complete" in frequency.caveat(0)
        assert "1 year of stage" in frequency.caveat(1)
