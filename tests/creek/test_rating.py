"""Rating curves: a known curve is found again, intervals hold, and a curve ends where it ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from creeklab.creek.analysis import rating

from .conftest import Make

RATING = Path(__file__).parent / "usgs-rating.rdb"


def pairs(count: int, scatter: float = 0.0, seed: int = 1) -> pd.DataFrame:
    """Return measurements of Q = 12 (h - 0.6)^1.7 between 1 and 5 ft."""
    random = np.random.default_rng(seed)
    stage = random.uniform(1, 5, count)
    flow = 12 * (stage - 0.6) ** 1.7 * np.exp(random.normal(0, scatter, count))
    return pd.DataFrame({"stage_ft": stage, "discharge_ft3_s": flow})


class TestFit:
    def test_a_known_curve_is_found_again(self, record: Make) -> None:
        found = rating.fit(pairs(20))
        assert found.zero_ft == pytest.approx(0.6, abs=0.02)
        assert found.exponent == pytest.approx(1.7, abs=0.01)
        flow = found.discharge(record([1.5, 3.0, 4.5]))["discharge_ft3_s"]
        np.testing.assert_allclose(flow, 12 * (np.array([1.5, 3, 4.5]) - 0.6) ** 1.7, rtol=0.005)

    def test_nine_of_ten_measurements_lie_in_the_interval(self, record: Make) -> None:
        inside = []
        for seed in range(60):
            found = rating.fit(pairs(12, 0.1, seed))
            other = pairs(40, 0.1, 1000 + seed)
            other = other[other["stage_ft"].between(found.stage_ft[0], found.stage_ft[-1])]
            flow = found.discharge(record(other["stage_ft"].tolist()))
            measured = other["discharge_ft3_s"].to_numpy()
            inside.append(((flow["low_ft3_s"] < measured) & (measured < flow["high_ft3_s"])).mean())
        assert 0.85 <= np.mean(inside) <= 0.95

    def test_the_end_of_the_curve(self, record: Make) -> None:
        found = rating.fit(pairs(20))
        flow = found.discharge(record([0.7, 3.0, 9.0, np.nan]))
        assert flow["beyond"].tolist() == [True, False, True, False]
        assert flow["discharge_ft3_s"].isna().tolist() == [True, False, True, True]
        said = flow.attrs["processing"]
        assert "2 stages beyond the curve left empty (1 below, 1 above)" in said
        further = found.discharge(record([9.0]), extrapolate=True)
        assert further["discharge_ft3_s"].iloc[0] == pytest.approx(12 * 8.4**1.7, rel=0.02)
        assert "1 stages beyond the curve extrapolated" in further.attrs["processing"]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (pairs(4), "4 pairs at 4 stages.* at least 5 pairs"),
            (pairs(9).assign(discharge_ft3_s=0.0), "0 pairs at 0 stages"),
            (pairs(9).assign(stage_ft=2.0), "9 pairs at 1 stages"),
            (pairs(9).rename(columns={"stage_ft": "level"}), "no column 'stage_ft', only 'level'"),
            (pairs(9).assign(discharge_ft3_s=lambda p: 1 / p["stage_ft"]), "does not grow with"),
        ],
    )
    def test_errors(self, given: pd.DataFrame, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            rating.fit(given)


class TestUsgs:
    def test_the_table(self, record: Make) -> None:
        """The table is Q = 10 (h - 0.5)^2, and interpolation in logarithms keeps it exact."""
        found = rating.read_usgs(RATING)
        assert found.source == "the USGS rating of 01581752"
        flow = found.discharge(record([1.0, 2.0, 3.5, 4.5, 4.6]))
        np.testing.assert_allclose(flow["discharge_ft3_s"], [2.5, 22.5, 90, 160, np.nan])
        assert flow["low_ft3_s"].isna().all()

    def test_another_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("a\tb\n5s\t5s\n1\t2\n")
        with pytest.raises(ValueError, match="not a rating table of the USGS: it has 'a', 'b'"):
            rating.read_usgs(path)


def test_plumtree_run_against_the_discharge_of_the_usgs(three_years: pd.DataFrame) -> None:
    """A curve through 30 of the USGS's own values gives half of the others within a tenth."""
    known = three_years.dropna(subset=["stage_ft", "discharge_ft3_s"])
    levels = known.loc["2018"].drop_duplicates("stage_ft").sort_values("stage_ft")
    chosen = levels.iloc[np.linspace(0, len(levels) - 1, 30).astype(int)]
    found = rating.fit(chosen)
    others = known.loc["2018"]
    flow = found.discharge(others)["discharge_ft3_s"]
    error = (flow / others["discharge_ft3_s"] - 1).abs()
    assert error.median() < 0.1
