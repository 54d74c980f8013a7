"""Readings that several tests look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from creeklab.creek import samples

Make = Callable[..., pd.DataFrame]


@pytest.fixture(scope="session")
def three_years() -> pd.DataFrame:
    """Plumtree Run, 2016 to 2018, five minutes, what was measured. Not to be changed."""
    published = samples.FOLDER.parents[2] / "shared/data/plumtree-run/graphing-2.parquet"
    if not published.exists():
        pytest.skip("the published file is not here")
    rows = pd.read_parquet(published)
    columns = {"stage_ft": "00065", "water_temperature_degC": "00010"}
    readings = pd.DataFrame(
        {
            ours: rows[f"USGS:01581752:{theirs}:00000"].where(
                ~rows[f"USGS:01581752:{theirs}:00000_qualifiers"].str.contains("hf.missing")
            )
            for ours, theirs in columns.items()
        }
    )
    return readings.rename_axis("time")


@pytest.fixture
def record() -> Make:
    """Make a table of readings from stages, one every five minutes unless told otherwise."""
    return make_record


def make_record(
    stages: Sequence[float], start: str = "2018-08-31 12:00", step: str = "5min", zone: str = "UTC"
) -> pd.DataFrame:
    index = pd.date_range(start, periods=len(stages), freq=step, tz="UTC", name="time")
    values = np.asarray(stages, dtype="float64")
    return pd.DataFrame({"stage_ft": values}, index=index.tz_convert(zone))
