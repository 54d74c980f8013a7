"""Many Things at once: Dask, DuckDB, Polars and pandas agree with creeklab, value by value."""

from __future__ import annotations

from pathlib import Path

import dask
import dask.dataframe
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from creeklab.creek.analysis import fleet, floods, summary
from creeklab.creek.history import History
from creeklab.creek.quality import quality
from creeklab.creek.readings import samples

NAMES = ["007", "1e5", "Elkhorn creek/2%", "2018-08"]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Return a history whose names look like numbers and dates, with a column that comes late."""
    history = History(tmp_path_factory.mktemp("fleet"))
    years = samples.load("plumtree-run-2016-2018")[["stage_ft", "water_temperature_degC"]]
    for number, name in enumerate(NAMES):
        readings = years["2018-05-01":"2018-09-10"] * (1 + number / 10)  # type: ignore[misc]
        history.append(name, readings[:"2018-07-15"][["stage_ft"]])  # type: ignore[misc]
        history.append(name, readings["2018-07-15":])  # type: ignore[misc]
    return history


@pytest.fixture(scope="module")
def expected(history: History) -> pd.DataFrame:
    """Return all readings as creeklab reads them."""
    tables = [history.read(name).reset_index().assign(thing=name) for name in NAMES]
    return in_order(pd.concat(tables))


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    table = table[["thing", "time", "stage_ft", "water_temperature_degC"]]
    table = table.astype({"thing": "object"}).sort_values(["thing", "time"], ignore_index=True)
    return table.assign(time=table["time"].dt.tz_convert("UTC").dt.as_unit("us"))


def files(history: History) -> str:
    return f"{history.storage.folder}/*/*/*.parquet"


def check(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(in_order(found), expected, check_exact=True)


def partitions(schema: pa.Schema) -> pa.Schema:
    return pa.schema([schema.field("thing"), schema.field("month")])


class TestEngines:
    def test_the_schema(self, history: History) -> None:
        schema = history.schema()
        assert schema.names == ["time", "stage_ft", "water_temperature_degC", "thing", "month"]
        assert schema.field("thing").type == schema.field("month").type == pa.string()

    def test_duckdb(self, history: History, expected: pd.DataFrame) -> None:
        query = f"""
            SELECT * FROM read_parquet('{files(history)}', hive_partitioning = true,
            hive_types = {{'thing': VARCHAR, 'month': VARCHAR}}, union_by_name = true)"""
        check(duckdb.sql(query).df(), expected)

    def test_polars(self, history: History, expected: pd.DataFrame) -> None:
        columns = pl.Schema(history.schema().empty_table().schema)
        hive = {name: columns.pop(name) for name in ("thing", "month")}
        table = pl.scan_parquet(
            files(history), schema=columns, hive_schema=hive, missing_columns="insert"
        )
        check(table.collect().to_pandas(), expected)

    # Dask uses a parameter that the latest pandas deprecates.
    @pytest.mark.filterwarnings("ignore:The inplace keyword")
    def test_dask(self, history: History, expected: pd.DataFrame) -> None:
        schema = history.schema()
        table = dask.dataframe.read_parquet(
            str(history.storage.folder),
            dataset={
                "schema": schema,
                "partitioning": {"flavor": "hive", "schema": partitions(schema)},
            },
        )
        check(table.compute(), expected)

    def test_pandas(self, history: History, expected: pd.DataFrame) -> None:
        schema = history.schema()
        partitioning = pa.dataset.partitioning(partitions(schema), flavor="hive")
        found = pd.read_parquet(history.storage.folder, schema=schema, partitioning=partitioning)
        check(found, expected)

    def test_a_month_of_one_thing_in_sql(self, history: History, expected: pd.DataFrame) -> None:
        query = f"""
            SELECT max(stage_ft) FROM read_parquet('{files(history)}', hive_partitioning = true,
            hive_types = {{'thing': VARCHAR, 'month': VARCHAR}}, union_by_name = true)
            WHERE thing = '007' AND month = '2018-08'"""
        august = expected[(expected["thing"] == "007") & (expected["time"].dt.month == 8)]
        assert duckdb.sql(query).fetchall() == [(august["stage_ft"].max(),)]


class TestAnalyses:
    @pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
    def test_floods(self, history: History, scheduler: str) -> None:
        with dask.config.set(scheduler=scheduler):
            found = fleet.floods(history, start=3.0, end=2.0)
        assert found.index.names == ["thing", "flood"]
        for name in NAMES:
            alone = floods.find(history.read(name), start=3.0, end=2.0)
            assert len(alone) > 3
            pd.testing.assert_frame_equal(found.loc[name], alone)

    def test_summary(self, history: History) -> None:
        found = fleet.summary(history)
        assert found.index.tolist() == sorted(NAMES)
        for name in NAMES:
            assert found.loc[name].to_dict() == summary.summarize(history.read(name)).numbers

    def test_quality(self, history: History) -> None:
        found = fleet.quality(history, ["007"])
        counts = quality.check(history.read("007")).counts().loc["overall"]
        assert found.loc["007"].to_dict() == counts.to_dict()

    def test_a_thing_that_cannot_be_analyzed_is_named(
        self, history: History, tmp_path: Path
    ) -> None:
        other = History(tmp_path)
        flood = samples.load("plumtree-run-flood-2018-08-31")
        other.append("creek", flood)
        other.append("barn", flood[["water_temperature_degC"]])
        with pytest.warns(UserWarning, match="1 of 2 Things are left out. 'barn': .*stage_ft"):
            found = fleet.floods(other)
        assert found.index.get_level_values("thing").unique().tolist() == ["creek"]
        np.testing.assert_array_equal(found["peak_ft"], floods.find(flood)["peak_ft"])
