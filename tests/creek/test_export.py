"""Exported readings come back as they were."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from creeklab.creek.readings import export, samples
from creeklab.creek.readings.formats import read_file

AUTUMN = pd.date_range("2018-11-04 04:00", periods=16, freq="15min", tz="UTC").as_unit("us")


@pytest.fixture
def flood() -> pd.DataFrame:
    return samples.load("plumtree-run-flood-2018-08-31")


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_csv(tmp_path: Path, flood: pd.DataFrame, zone: str) -> None:
    export.to_csv(flood, tmp_path / "flood.csv", zone=zone)
    back = read_file(tmp_path / "flood.csv")
    pd.testing.assert_frame_equal(back, flood, check_freq=False)


def test_csv_across_the_change_of_the_clocks(tmp_path: Path) -> None:
    readings = pd.DataFrame({"stage_ft": [1.5] * 16}, AUTUMN.rename("time"))
    export.to_csv(readings, tmp_path / "night.csv", zone="America/New_York")
    assert "2018-11-04 01:30:00-04:00,1.5" in (tmp_path / "night.csv").read_text()
    assert read_file(tmp_path / "night.csv").index.equals(AUTUMN)


def test_excel(tmp_path: Path, flood: pd.DataFrame) -> None:
    export.to_excel(flood, tmp_path / "flood.xlsx")
    back = read_file(tmp_path / "flood.xlsx")
    pd.testing.assert_frame_equal(back, flood, check_freq=False)
    about = pd.read_excel(tmp_path / "flood.xlsx", sheet_name="about", index_col="what")
    assert about.loc["license", "text"] == flood.attrs["license"]


def test_too_many_rows_for_excel(tmp_path: Path) -> None:
    index = pd.date_range("2000", periods=1_048_576, freq="5min", tz="UTC")
    readings = pd.DataFrame({"stage_ft": 1.0}, index)
    with pytest.raises(ValueError, match="has room for 1,048,575 readings"):
        export.to_excel(readings, tmp_path / "long.xlsx")
