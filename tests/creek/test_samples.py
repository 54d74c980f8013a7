"""The recorded samples: known answers, metadata and origin."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from creeklab.creek.readings import samples

THREE_YEARS = "plumtree-run-2016-2018"
FLOOD = "plumtree-run-flood-2018-08-31"
PUBLISHED = samples.FOLDER.parents[2] / "shared" / "data"


@pytest.fixture
def maker() -> Iterator[ModuleType]:
    """Return a fresh copy of the script that makes the samples."""
    spec = importlib.util.spec_from_file_location("maker", samples.FOLDER / "make_samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["maker"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules["maker"]


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


class TestKnownAnswers:
    @pytest.mark.parametrize(
        ("name", "rows", "first", "last", "lowest", "peak", "peak_time"),
        [
            (
                THREE_YEARS,
                315_648,
                "2016-01-01 05:00",
                "2019-01-01 04:55",
                0.84,
                6.63,
                "2018-08-31 23:30",
            ),
            (FLOOD, 577, "2018-08-31 12:00", "2018-09-02 12:00", 1.03, 6.63, "2018-08-31 23:30"),
            (
                "plumtree-run-flood-2018-09-09",
                577,
                "2018-09-09 00:00",
                "2018-09-11 00:00",
                1.32,
                3.34,
                "2018-09-09 14:35",
            ),
            (
                "trout-creek-2021",
                15_780,
                "2021-08-18 20:55:54",
                "2021-10-12 15:55:09",
                0,
                3.806,
                "2021-08-28 04:46:46",
            ),
            (
                "trout-creek-2022",
                31_595,
                "2022-05-26 21:39:37",
                "2022-09-13 14:38:24",
                0,
                2.493,
                "2022-06-13 19:21:53",
            ),
            (
                "kentucky-river-2014",
                6871,
                "2014-01-01 05:00",
                "2014-03-13 19:30",
                7.84,
                26.79,
                "2014-02-06 13:45",
            ),
        ],
    )
    def test_stage(
        self,
        name: str,
        rows: int,
        first: str,
        last: str,
        lowest: float,
        peak: float,
        peak_time: str,
    ) -> None:
        readings = samples.load(name)
        assert len(readings) == rows
        assert (readings.index[0], readings.index[-1]) == (at(first), at(last))
        assert readings["stage_ft"].agg(["min", "max"]).tolist() == [lowest, peak]
        assert readings["stage_ft"].idxmax() == at(peak_time)

    def test_three_years_have_gaps_where_nothing_was_measured(self) -> None:
        years = samples.load(THREE_YEARS)
        assert (np.diff(years.index) == np.timedelta64(5, "m")).all()
        assert years.isna().sum().to_dict() == {
            "stage_ft": 9690,
            "water_temperature_degC": 8024,
            "discharge_ft3_s": 10146,
        }
        empty = years["stage_ft"].isna()
        longest = empty.groupby((~empty).cumsum()).sum().max()
        assert longest * 5 / 60 / 24 == pytest.approx(15.52, abs=0.01)

    def test_the_flood_is_cut_from_the_three_years(self) -> None:
        flood = samples.load(FLOOD)
        cut = samples.load(THREE_YEARS).loc[flood.index, list(flood)]
        pd.testing.assert_frame_equal(flood, cut, check_freq=False)
        assert (np.diff(flood.index) == np.timedelta64(5, "m")).all()
        assert flood["water_temperature_degC"].agg(["min", "max"]).tolist() == [21.4, 24.0]

    def test_the_second_flood_crosses_its_threshold_three_times(self) -> None:
        stage = samples.load("plumtree-run-flood-2018-09-09")["stage_ft"]
        assert ((stage > 2.5) & (stage.shift() <= 2.5)).sum() == 3
        rise, fall = stage[stage > 2.5].index[[0, -1]]
        assert stage[rise:fall].min() > 1.75

    def test_trout_creek_is_stage_above_its_own_lowest_water(self) -> None:
        for year, constant, hottest in ((2021, 382, 75.85), (2022, 383, 83.48)):
            creek = samples.load(f"trout-creek-{year}")
            computed = (constant - creek["range_cm"]) / 30.48
            np.testing.assert_allclose(creek["stage_ft"], computed, atol=5e-4)
            assert f"({constant} - range_cm)" in creek.attrs["datum"]
            assert creek["box_temperature_degC"].max() == hottest
            noise = creek["range_cm"] - creek["range_cm"].rolling(25, center=True).median()
            assert 2.5 < noise.std() < 3.5

    def test_the_kentucky_river_was_converted_to_utc_row_by_row(self) -> None:
        river = samples.load("kentucky-river-2014")
        steps = pd.Series(np.diff(river.index)).value_counts().to_dict()
        assert steps == {pd.Timedelta(minutes=15): 6869, pd.Timedelta(minutes=75): 1}
        local = river.index.tz_convert("America/New_York")
        change = river.index.get_loc(at("2014-03-09 07:00"))
        assert isinstance(change, int)
        clock = [f"{time:%H:%M %Z}" for time in local[[change - 1, change]]]
        assert clock == ["01:45 EST", "03:00 EDT"]

    def test_the_kentucky_river_leaves_out_interpolated_values(self) -> None:
        river = samples.load("kentucky-river-2014")
        assert river.isna().sum().to_dict() == {
            "stage_ft": 36,
            "water_temperature_degC": 41,
            "discharge_ft3_s": 312,
        }
        assert river["water_temperature_degC"].diff().abs().max() == pytest.approx(2.7)


class TestEverySample:
    def test_the_names(self) -> None:
        assert samples.names() == [
            "kentucky-river-2014",
            THREE_YEARS,
            FLOOD,
            "plumtree-run-flood-2018-09-09",
            "trout-creek-2021",
            "trout-creek-2022",
        ]

    @pytest.mark.parametrize("name", samples.names())
    def test_it_is_a_table_of_readings(self, name: str) -> None:
        readings = samples.load(name)
        assert readings.index.name == "time"
        assert str(readings.index.tz) == "UTC"
        assert samples.times(readings).equals(readings.index)
        assert samples.STAGE in readings
        for column in readings:
            samples.numbers(readings, str(column))

    @pytest.mark.parametrize("name", samples.names())
    def test_the_file_states_its_origin(self, name: str) -> None:
        attrs = samples.load(name).attrs
        for key in ("title", "site", "source", "license", "datum", "processing", "source_file"):
            assert len(attrs[key]) > 5
        assert attrs["time_zone"].startswith("UTC")
        assert len(attrs["source_sha256"]) == 64
        assert list(attrs["units"]) == list(samples.load(name))
        for column, unit in attrs["units"].items():
            assert column.endswith(unit.replace("/", "_"))

    @pytest.mark.parametrize("name", samples.names())
    def test_the_readme_says_the_same(self, name: str, maker: ModuleType) -> None:
        readme = (samples.FOLDER / "README.md").read_text(encoding="utf-8")
        attrs = samples.load(name).attrs
        assert f"### {name}\n" in readme
        assert f"| `{name}` |" in readme
        assert f"`{attrs['source_sha256']}`" in readme
        assert (
            f"`{maker.fingerprint(pq.read_table(samples.FOLDER / (name + '.parquet')))}`" in readme
        )
        for column in attrs["units"]:
            assert f"| `{column}` |" in readme

    def test_all_of_them_are_small(self) -> None:
        sizes = [path.stat().st_size for path in samples.FOLDER.glob("*.parquet")]
        assert sum(sizes) < 1_000_000


class TestNames:
    @pytest.mark.parametrize("name", ["elkhorn", "", "../samples/" + FLOOD, FLOOD + ".parquet"])
    def test_an_unknown_name_lists_the_samples(self, name: str) -> None:
        with pytest.raises(FileNotFoundError, match=f"Samples: .*{FLOOD}"):
            samples.load(name)

    def test_no_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(samples, "FOLDER", tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match="work in a clone"):
            samples.load(FLOOD)


class TestOrigin:
    def test_the_published_files_yield_the_samples(
        self, maker: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if not PUBLISHED.exists():
            pytest.skip("the published files are not part of the repository and are not here")
        assert maker.main([str(PUBLISHED), "--check"]) == 0
        assert capsys.readouterr().out.count("as expected") == len(samples.names())

    def test_the_script_knows_every_sample(self, maker: ModuleType) -> None:
        assert sorted(sample.name for sample in maker.SAMPLES) == samples.names()

    def test_no_sample_is_made_from_a_different_file(
        self, maker: ModuleType, tmp_path: Path
    ) -> None:
        with pytest.raises(FileNotFoundError, match=r"no graphing-2\.parquet"):
            maker.main([str(tmp_path)])
        (tmp_path / "graphing-2.parquet").write_bytes(b"other")
        with pytest.raises(ValueError, match="not the published file"):
            maker.main([str(tmp_path)])


class TestMaking:
    """These tests use a small file with the form of the published one."""

    def published(self, maker: ModuleType, path: Path) -> object:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return maker.Published(path.name, "made up", digest)

    def test_check_finds_a_changed_sample(
        self,
        maker: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        source = tmp_path / "log.txt"
        source.write_text(
            "Lib\nTime [UTC],TempOB [C],Range [cm],\n2021/08/17 18:13:06,1.5,300,\n"
            "2021/08/17 18:18:06,1.5,310,\n"
        )
        published = self.published(maker, source)
        sample = maker.trout_deployment(1999, published, "August", 310)
        monkeypatch.setattr(maker, "SAMPLES", [sample])
        monkeypatch.setattr(maker, "FOLDER", tmp_path)
        arguments = [str(tmp_path), "--check"]
        assert maker.main(arguments) == 1
        assert "missing" in capsys.readouterr().out
        assert maker.main(arguments[:1]) == 0
        assert maker.main(arguments) == 0
        table = pq.read_table(sample.file)
        pq.write_table(table, sample.file, compression="none")
        assert maker.main(arguments) == 0, "other bytes, same content"

        stage = table["stage_ft"].to_pylist()
        for changed in (
            table.slice(1),
            table.rename_columns(["time", "depth", *table.column_names[2:]]),
            table.replace_schema_metadata({**table.schema.metadata, b"license": b"none"}),
            table.set_column(1, "stage_ft", [[stage[0] + 0.001, stage[1]]]),
            table.set_column(1, "stage_ft", [[None, stage[1]]]),
        ):
            pq.write_table(changed, sample.file)
            assert maker.main(arguments) == 1
            assert ", expected " in capsys.readouterr().out


UTC_TIMES = pd.date_range("2018-08-31 12:00", periods=3, freq="5min", tz="UTC")


class TestTablesOfReadings:
    @pytest.mark.parametrize(
        ("index", "message"),
        [
            (pd.RangeIndex(3), "RangeIndex of int64"),
            (UTC_TIMES.tz_localize(None), "with a time zone"),
            (
                UTC_TIMES[[0, 2, 1]],
                r"Row 2 \(2018-08-31 12:05:00\+00:00\) is not later than row 1",
            ),
            (UTC_TIMES[[0, 1, 1]], "Row 2 .* is not later than row 1"),
            (pd.DatetimeIndex([UTC_TIMES[0], pd.NaT, UTC_TIMES[2]]), "Row 1 has no time"),
        ],
        ids=["no time", "no zone", "unsorted", "repeated", "NaT"],
    )
    def test_bad_times(self, index: pd.Index, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            samples.times(pd.DataFrame({"stage_ft": [1.0, 2.0, 3.0]}, index=index))

    def test_local_times_keep_their_order_when_daylight_saving_time_ends(self) -> None:
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
    def test_missing_values_are_nan(self, dtype: str) -> None:
        frame = pd.DataFrame({"stage_ft": pd.array([1.5, None, 3.0], dtype=dtype)}, index=UTC_TIMES)
        np.testing.assert_array_equal(samples.numbers(frame, "stage_ft"), [1.5, np.nan, 3.0])
