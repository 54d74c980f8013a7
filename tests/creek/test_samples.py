"""The recorded samples: known answers, what they say about themselves, and where they come from."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from creeklab.creek import samples

FLOOD = "plumtree-run-flood-2018-08-31"
PUBLISHED = samples.FOLDER.parents[2] / "shared" / "data" / "plumtree-run" / "graphing-2.parquet"


@pytest.fixture
def maker() -> ModuleType:
    """Give a fresh copy of the script that makes the samples."""
    spec = importlib.util.spec_from_file_location("maker", samples.FOLDER / "make_samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestTheFlood:
    def test_known_answers(self) -> None:
        flood = samples.load(FLOOD)
        assert len(flood) == 577
        assert flood.index[0] == pd.Timestamp("2018-08-31 12:00", tz="UTC")
        assert flood.index[-1] == pd.Timestamp("2018-09-02 12:00", tz="UTC")
        assert (np.diff(flood.index) == np.timedelta64(5, "m")).all()
        assert flood["stage_ft"].notna().sum() == 577
        assert flood["stage_ft"].max() == 6.63
        assert flood["stage_ft"].idxmax() == pd.Timestamp("2018-08-31 23:30", tz="UTC")
        assert flood["water_temperature_degC"].notna().sum() == 577
        assert flood["water_temperature_degC"].agg(["min", "max"]).tolist() == [21.4, 24.0]

    def test_it_is_a_table_of_readings(self) -> None:
        flood = samples.load(FLOOD)
        assert flood.index.name == "time"
        assert str(flood.index.tz) == "UTC"
        assert list(flood) == [samples.STAGE, samples.TEMPERATURE]

    def test_the_file_says_where_it_comes_from(self) -> None:
        metadata = pq.read_schema(samples.FOLDER / f"{FLOOD}.parquet").metadata
        about = samples.load(FLOOD).attrs
        assert {key.decode() for key in metadata} == set(about)
        assert about["units"] == {"stage_ft": "ft", "water_temperature_degC": "degC"}
        assert "01581752" in about["site"]
        assert "Geological Survey" in about["source"]
        assert about["licence"].startswith("Public domain")
        assert "own datum" in about["datum"]
        assert about["time_zone"] == "UTC"
        assert "hf.missing" in about["processing"]
        assert about["title"]
        assert about["source_file"].endswith("hydrofunctions 0.2.4")
        assert len(about["source_sha256"]) == 64


class TestNames:
    def test_every_sample_loads_and_is_in_the_readme(self) -> None:
        readme = (samples.FOLDER / "README.md").read_text(encoding="utf-8")
        assert FLOOD in samples.names()
        for name in samples.names():
            frame = samples.load(name)
            assert f"## {name}" in readme
            assert f"`{frame.attrs['source_sha256']}`" in readme
            for column in frame:
                assert f"`{column}`" in readme

    @pytest.mark.parametrize("name", ["elkhorn", "", "../samples/" + FLOOD, FLOOD + ".parquet"])
    def test_an_unknown_name_lists_those_that_there_are(self, name: str) -> None:
        with pytest.raises(FileNotFoundError, match=f"There are: .*{FLOOD}"):
            samples.load(name)

    def test_no_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(samples, "FOLDER", tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match="work in a clone"):
            samples.load(FLOOD)


class TestWhereItComesFrom:
    def test_the_readme_states_the_hash_of_what_is_here(self, maker: ModuleType) -> None:
        readme = (samples.FOLDER / "README.md").read_text(encoding="utf-8")
        table = pq.read_table(samples.FOLDER / f"{FLOOD}.parquet")
        assert f"`{maker.fingerprint(table)}`" in readme

    def test_it_is_what_the_published_file_gives(
        self, maker: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if not PUBLISHED.exists():
            pytest.skip("the published file is not part of the repository and is not here")
        assert maker.main([str(PUBLISHED), "--check"]) == 0
        assert "as made" in capsys.readouterr().out

    def test_nothing_is_made_from_another_file(self, maker: ModuleType, tmp_path: Path) -> None:
        (tmp_path / "other.parquet").write_bytes(b"other")
        with pytest.raises(ValueError, match="not the published file"):
            maker.make(tmp_path / "other.parquet")

    @pytest.fixture
    def source(self, maker: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """Give a small published file, with one interpolated stage, that the script accepts."""
        index = pd.date_range("2018-08-31 11:55", periods=4, freq="5min", tz="UTC")
        columns: dict[str, object] = {}
        for _, published in maker.COLUMNS.values():
            columns[published] = [1.0, 2.0, 3.0, 4.0]
            columns[f"{published}_qualifiers"] = ["A", "A", "A", "P"]
        stage = maker.COLUMNS[samples.STAGE][1]
        columns[f"{stage}_qualifiers"] = ["A", "A", "A,hf.missing", "P"]
        path = tmp_path / "source.parquet"
        pd.DataFrame(columns, index=index).to_parquet(path)
        monkeypatch.setattr(maker, "SOURCE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
        monkeypatch.setattr(maker, "FOLDER", tmp_path)
        return path

    def test_an_interpolated_value_is_not_a_measurement(
        self, maker: ModuleType, source: Path
    ) -> None:
        made = maker.make(source)
        assert made["stage_ft"].to_pylist() == [2.0, None, 4.0]
        assert made["water_temperature_degC"].to_pylist() == [2.0, 3.0, 4.0]
        assert json.loads(made.schema.metadata[b"units"])["stage_ft"] == "ft"

    def test_check_finds_a_changed_sample(
        self, maker: ModuleType, source: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sample = source.parent / f"{FLOOD}.parquet"
        assert maker.main([str(source)]) == 0
        table = pq.read_table(sample)
        pq.write_table(table, sample, compression="none")
        assert maker.main([str(source), "--check"]) == 0, "other bytes, same content"

        for changed in (
            table.slice(1),
            table.rename_columns(["time", "depth", "water_temperature_degC"]),
            table.replace_schema_metadata({**table.schema.metadata, b"licence": b"none"}),
            table.set_column(1, "stage_ft", [[2.0, None, 4.01]]),
        ):
            pq.write_table(changed, sample)
            assert maker.main([str(source), "--check"]) == 1
            assert "but it is made as" in capsys.readouterr().out


UTC_TIMES = pd.date_range("2018-08-31 12:00", periods=3, freq="5min", tz="UTC")


class TestTablesOfReadings:
    @pytest.mark.parametrize(
        ("index", "message"),
        [
            (pd.RangeIndex(3), "RangeIndex of int64"),
            (UTC_TIMES.tz_localize(None), "with its time zone"),
            (
                UTC_TIMES[[0, 2, 1]],
                r"Row 2 \(2018-08-31 12:05:00\+00:00\) does not come after row 1",
            ),
            (UTC_TIMES[[0, 1, 1]], "Row 2 .* does not come after row 1"),
            (pd.DatetimeIndex([UTC_TIMES[0], pd.NaT, UTC_TIMES[2]]), "Row 1 has no time"),
        ],
        ids=["no time", "no zone", "unsorted", "repeated", "NaT"],
    )
    def test_bad_times(self, index: pd.Index, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            samples.times(pd.DataFrame({"stage_ft": [1.0, 2.0, 3.0]}, index=index))

    def test_local_times_keep_their_order_through_the_end_of_summer_time(self) -> None:
        utc = pd.date_range("2018-11-04 04:30", periods=6, freq="30min", tz="UTC")
        local = pd.DataFrame({"stage_ft": 1.0}, index=utc.tz_convert("America/New_York"))
        assert samples.times(local).equals(utc)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"depth": [1.0, 2.0, 3.0]}, "no column 'stage_ft' .* only 'depth'"),
            ({}, "only no columns"),
            ({"stage_ft": ["1", "2", "dry"]}, "instead of numbers"),
            ({"stage_ft": [1.0, np.inf, 3.0]}, "infinite in row 1 .2018-08-31 12:05"),
        ],
    )
    def test_bad_numbers(self, values: dict[str, list[object]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            samples.numbers(pd.DataFrame(values, index=UTC_TIMES), "stage_ft")

    @pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "double[pyarrow]"])
    def test_what_was_not_measured_is_nan(self, dtype: str) -> None:
        frame = pd.DataFrame({"stage_ft": pd.array([1.5, None, 3.0], dtype=dtype)}, index=UTC_TIMES)
        np.testing.assert_array_equal(samples.numbers(frame, "stage_ft"), [1.5, np.nan, 3.0])
