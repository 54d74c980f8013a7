"""Live readings of the USGS, with a recorded response instead of the network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from creeklab.creek.readings import usgs_live
from creeklab.creek.readings.formats import read_file

RECORDED = Path(__file__).parent / "files" / "usgs-water-data.json"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Answer every request with the recorded response, and remember what was asked."""
    asked: dict[str, Any] = {}

    def get_continuous(**query: Any) -> tuple[pd.DataFrame, None]:
        asked.update(query)
        features = json.loads(RECORDED.read_text())["features"]
        rows = pd.DataFrame([each["properties"] for each in features])
        return rows[rows["monitoring_location_id"] == query["monitoring_location_id"]], None

    package, module = ModuleType("dataretrieval"), ModuleType("dataretrieval.waterdata")
    module.get_continuous = get_continuous  # type: ignore[attr-defined]
    package.waterdata = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dataretrieval", package)
    monkeypatch.setitem(sys.modules, "dataretrieval.waterdata", module)
    return asked


def test_the_same_readings_as_from_the_file(asked: dict[str, Any]) -> None:
    readings = usgs_live.fetch("01581752", "2025-01-21", "2025-01-22")
    pd.testing.assert_frame_equal(readings, read_file(RECORDED))
    assert asked["time"] == "2025-01-21/2025-01-22"
    assert "00065" in asked["parameter_code"]


def test_a_site_without_readings(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no readings of site 99 from 2025-01-21"):
        usgs_live.fetch("USGS-99", "2025-01-21", "2025-01-22")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dataretrieval", None)
    with pytest.raises(ModuleNotFoundError, match="pip install dataretrieval"):
        usgs_live.fetch("01581752", "2025-01-21", "2025-01-22")


def test_the_library_has_the_function_and_its_arguments() -> None:
    """The stand-in above would hide a change of the library."""
    waterdata = pytest.importorskip("dataretrieval.waterdata")
    names = waterdata.get_continuous.__code__.co_varnames
    assert {"monitoring_location_id", "parameter_code", "time", "convert_type"} <= set(names)
