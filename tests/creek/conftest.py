"""Readings that several tests use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from creeklab.creek.readings import samples

Make = Callable[..., pd.DataFrame]


@pytest.fixture(scope="session")
def three_years() -> pd.DataFrame:
    """Return Plumtree Run, 2016 to 2018, every five minutes, as measured. Do not change it."""
    return samples.load("plumtree-run-2016-2018")


@pytest.fixture
def record() -> Make:
    """Return a table of readings with these stages, by default one every five minutes."""
    return make_record


def make_record(
    stages: Sequence[float], start: str = "2018-08-31 12:00", step: str = "5min", zone: str = "UTC"
) -> pd.DataFrame:
    index = pd.date_range(start, periods=len(stages), freq=step, tz="UTC", name="time")
    values = np.asarray(stages, dtype="float64")
    return pd.DataFrame({"stage_ft": values}, index=index.tz_convert(zone))
