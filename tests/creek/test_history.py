"""A history holds each time once, in order, in UTC, however it was written."""

from __future__ import annotations

import doctest
import os
import tempfile
import threading
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import creeklab.creek.history.history
import creeklab.creek.history.recorder
from creeklab.creek.history import storage
from creeklab.creek.history.history import FILE, RECENT, History
from creeklab.creek.readings import samples

from .conftest import make_record

FLOOD = samples.load("plumtree-run-flood-2018-08-31")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory, three_years: pd.DataFrame) -> History:
    """Return a history of Plumtree Run, which no test changes."""
    history = History(tmp_path_factory.mktemp("history"))
    history.append("plumtree", three_years)
    return history


def table(stages: list[float | None], minutes: list[int] | None = None) -> pd.DataFrame:
    """Return readings, one per minute, from shortly before the end of a month."""
    at = range(len(stages)) if minutes is None else minutes
    index = pd.Timestamp("2018-08-31 23:58", tz="UTC") + pd.to_timedelta(list(at), unit="min")
    values = np.array(stages, dtype="float64")
    return pd.DataFrame({"stage_ft": values}, index=index.as_unit("us").rename("time"))


def files(history: History) -> list[str]:
    folder = history.storage.folder
    assert folder is not None
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*.parquet"))


class TestRoundTrip:
    @pytest.mark.parametrize("name", samples.names())
    def test_a_sample_is_read_back_unchanged(self, history: History, name: str) -> None:
        sample = samples.load(name)
        change = history.append(name, sample)
        assert (change.new, change.known, len(change.replaced)) == (len(sample), 0, 0)
        back = history.read()
        pd.testing.assert_frame_equal(back, sample, check_freq=False, check_exact=True)
        assert back.attrs == sample.attrs  # source, license, units, datum, ...
        assert samples.times(back).equals(sample.index)

    def test_the_layout_uses_hive_partitions(self, history: History) -> None:
        history.append("Test2", table([1, 2, 3]))
        assert files(history) == [
            "thing=Test2/month=2018-08/readings.parquet",
            "thing=Test2/month=2018-09/readings.parquet",
        ]
        assert repr(history) == f"History in {history.storage.folder}"

    def test_each_file_has_types_and_metadata(self, history: History) -> None:
        history.append("Test2", FLOOD)
        assert history.storage.folder is not None
        schema = pq.read_schema(history.storage.folder / files(history)[0])
        assert schema.field("time").type == pa.timestamp("us", tz="UTC")
        assert schema.field("stage_ft").type == pa.float64()
        assert schema.metadata[b"license"].startswith(b"Public domain")
        assert schema.metadata[b"units"] == b'{"stage_ft": "ft", "water_temperature_degC": "degC"}'

    def test_several_things(self, history: History) -> None:
        history.append("b:1", table([1, 2]))
        history.append("a/../..=?%", table([3]))
        history.append("007", table([4]))
        assert history.things == ["007", "a/../..=?%", "b:1"]
        assert history.read("007")["stage_ft"].tolist() == [4]
        assert history.read("b:1")["stage_ft"].tolist() == [1, 2]
        assert history.read("a/../..=?%")["stage_ft"].tolist() == [3]
        overview = history.overview()
        assert overview["thing"].tolist() == history.things
        assert overview["month"].tolist() == ["2018-08"] * 3
        assert overview["readings"].tolist() == [1, 1, 2]
        assert overview["last"].iloc[-1] == pd.Timestamp("2018-08-31 23:59", tz="UTC")

    def test_columns_added_later(self, history: History) -> None:
        history.append("Test2", table([1.0], [0]))
        history.append("Test2", table([2.0], [2]).assign(air_degC=20.0))
        history.append("Test2", table([3.0], [44_000]).assign(snow_cm=3.0))
        back = history.read()
        assert list(back) == ["stage_ft", "air_degC", "snow_cm"]
        assert back["stage_ft"].tolist() == [1, 2, 3]
        np.testing.assert_array_equal(back["air_degC"], [np.nan, 20, np.nan])
        assert back.attrs["units"] == {"stage_ft": "ft", "air_degC": "degC", "snow_cm": "cm"}

    def test_metadata_is_stored_once(self, history: History) -> None:
        readings = table([1.0, 2.0])
        readings.attrs = {"Owner's name": "Mül", "count": 3, "blank": ""}
        history.append("Test2", readings)
        assert history.storage.folder is not None
        before = (history.storage.folder / files(history)[0]).stat().st_ino
        history.append("Test2", readings)
        assert (history.storage.folder / files(history)[0]).stat().st_ino == before
        expected = {"time_zone": "UTC", "Owner's name": "Mül", "units": {"stage_ft": "ft"}}
        assert history.read().attrs == expected

    def test_a_file_of_an_earlier_version_keeps_its_license(self, history: History) -> None:
        history.append("Test2", FLOOD)
        assert history.storage.folder is not None
        for name in files(history):
            stored = pq.read_table(history.storage.folder / name, partitioning=None)
            metadata = dict(stored.schema.metadata)
            metadata[b"licence"] = metadata.pop(b"license")
            pq.write_table(stored.replace_schema_metadata(metadata), history.storage.folder / name)
        attrs = history.read("Test2").attrs
        assert attrs["license"] == FLOOD.attrs["license"]
        assert "licence" not in attrs

    def test_years_of_any_number_of_digits(self, history: History) -> None:
        index = pd.DatetimeIndex(
            ["0997-05-01", "1969-12-31 23:59:59.999999", "9999-01-01"]
        ).as_unit("us")
        history.append("Test2", pd.DataFrame({"stage_ft": 1.0}, index.tz_localize("UTC")))
        assert [name.split("/")[1] for name in files(history)] == [
            "month=0997-05",
            "month=1969-12",
            "month=9999-01",
        ]
        assert history.read().index.tz_localize(None).equals(index)


class TestSpans:
    @pytest.mark.parametrize(
        ("start", "end"),
        [
            (None, None),
            ("2018-08-31 12:00", "2018-09-02 12:05"),
            ("2018-08-01", "2018-09-01"),
            ("2018-08-31T20:00-04:00", None),
            (None, "2016-01-01 05:05"),
            ("2018-08-31 23:30", "2018-08-31 23:30"),
            ("2018-08-31 23:30", "2018-08-31 23:30:00.000001"),
            ("2016-01-31 23:57", "2016-02-01"),
            ("2025", None),
            (None, "1999"),
        ],
    )
    def test_from_the_start_and_before_the_end(
        self, years: History, three_years: pd.DataFrame, start: str | None, end: str | None
    ) -> None:
        def utc(text: str) -> pd.Timestamp:
            moment = pd.Timestamp(text)
            return moment.tz_localize("UTC") if moment.tzinfo is None else moment

        expected = three_years
        expected = expected if start is None else expected[expected.index >= utc(start)]
        expected = expected if end is None else expected[expected.index < utc(end)]
        found = years.read("plumtree", start, end)
        pd.testing.assert_frame_equal(found, expected, check_freq=False, check_exact=True)
        assert found.attrs["units"] == three_years.attrs["units"]
        months = list(years.months("plumtree", start, end))
        assert sum(map(len, months)) == len(expected)
        if months:
            pd.testing.assert_frame_equal(
                pd.concat(months), expected, check_freq=False, check_exact=True
            )

    def test_month_by_month(self, years: History) -> None:
        months = years.months(columns=["stage_ft"])
        first = next(months)
        assert (len(first), list(first)) == (8868, ["stage_ft"])
        assert first.attrs["units"] == {"stage_ft": "ft"}
        assert len(list(months)) == 36

    def test_only_the_months_of_the_span_are_opened(
        self, years: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = []
        read = storage.FileStore.read
        monkeypatch.setattr(
            storage.FileStore, "read", lambda self, path: (opened.append(path), read(self, path))[1]
        )
        years.read("plumtree", "2018-08-31", "2018-09-01 00:01")
        assert sorted(opened) == [
            RECENT,
            *(f"thing=plumtree/month={month}/{FILE}" for month in ("2018-08", "2018-09")),
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("barn",), "There is no Thing 'barn'\\. Things in .*: 'plumtree'"),
            (("plumtree", "noon"), "The start is 'noon', which is not a time"),
            (("plumtree", None, pd.NaT), "The end is NaT, which is not a time"),
            (("plumtree", "2018", "2017"), "The start, 2018.* is after the end, 2017"),
        ],
    )
    def test_an_invalid_span_is_rejected(
        self, years: History, arguments: tuple[Any, ...], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            years.read(*arguments)
        with pytest.raises(ValueError, match=message):
            next(years.months(*arguments))

    def test_an_unknown_column_is_rejected(self, years: History) -> None:
        with pytest.raises(ValueError, match="'plumtree' has no column 'depth' in this span"):
            years.read(columns=["depth"])

    def test_an_empty_history(self, history: History) -> None:
        assert history.things == []
        assert history.overview().empty
        with pytest.raises(ValueError, match=r"Name a Thing\. Things in .*: none yet"):
            history.read()

    def test_two_things_need_a_name(self, history: History) -> None:
        history.append("a", table([1]))
        history.append("b", table([1]))
        with pytest.raises(ValueError, match=r"Name a Thing\. Things in .*: 'a', 'b'"):
            history.read()


class TestAppendingAgain:
    def test_equal_readings_change_nothing(self, history: History) -> None:
        history.append("Test2", FLOOD)
        assert history.storage.folder is not None
        paths = [history.storage.folder / name for name in files(history)]
        before = [path.stat() for path in paths]
        change = history.append("Test2", FLOOD.sample(frac=1, random_state=1))
        assert (change.new, change.known, len(change.replaced)) == (0, 577, 0)
        assert [path.stat().st_ino for path in paths] == [stat.st_ino for stat in before]

    def test_a_different_value_replaces_the_old_one(self, history: History) -> None:
        history.append("Test2", table([1.0, 2.0, 3.0]))
        change = history.append("Test2", table([2.5, 2.6, 9.0], [1, 1, 3]))
        assert (change.new, change.known) == (1, 1)
        time = pd.Timestamp("2018-08-31 23:59", tz="UTC")
        assert change.replaced.to_numpy().tolist() == [
            [time, "stage_ft", 2.0, 2.5],
            [time, "stage_ft", 2.5, 2.6],
        ]
        assert history.read()["stage_ft"].tolist() == [1.0, 2.6, 3.0, 9.0]

    def test_replaced_values_are_reported_first(self, history: History) -> None:
        history.append("Test2", table([1.0, 2.0, 3.0]))
        states: list[list[float]] = []

        def report(replaced: pd.DataFrame) -> None:
            states.append([*replaced["was"], *history.read()["stage_ft"]])

        history.append("Test2", table([1.0, 2.5, 3.5]), before_replacing=report)
        assert states == [[2.0, 1, 2, 3], [3.0, 1, 2.5, 3]]

    def test_a_blank_replaces_nothing_and_is_filled(self, history: History) -> None:
        history.append("Test2", table([1.0, None, None]))
        history.append("Test2", table([None, 2.0]).assign(air_degC=[20.0, np.nan]))
        back = history.read()
        np.testing.assert_array_equal(back["stage_ft"], [1, 2, np.nan])
        np.testing.assert_array_equal(back["air_degC"], [20, np.nan, np.nan])


@st.composite
def batches(draw: st.DrawFn) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return readings with gaps, and the same in any order and batches, some of them repeated."""
    minutes = draw(st.lists(st.integers(0, 90_000), min_size=1, max_size=12, unique=True))
    number = st.none() | st.floats(-5, 40)
    whole = table([draw(number) for _ in minutes], minutes)
    whole["air_degC"] = np.array([draw(number) for _ in minutes], dtype="float64")
    parts: list[pd.DataFrame] = []
    for row in range(len(whole)):
        one = whole.iloc[[row]]
        # A device may send what it measures in one message, or each by itself.
        parts += draw(st.sampled_from([[one], [one[["air_degC"]], one[["stage_ft"]]]]))
    parts += draw(st.lists(st.sampled_from(parts), max_size=6))
    parts = draw(st.permutations(parts))
    zone = draw(st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"]))
    cuts = sorted(draw(st.sets(st.integers(1, len(parts)), max_size=3)) | {0, len(parts)})
    together = [pd.concat(parts[a:b]).tz_convert(zone) for a, b in pairwise(cuts)]
    return whole.sort_index(), together


class TestAnyOrder:
    @settings(deadline=None, max_examples=25)
    @given(batches())
    def test_any_order_any_batches_any_zone_any_repetition(
        self, given: tuple[pd.DataFrame, list[pd.DataFrame]]
    ) -> None:
        whole, parts = given
        with tempfile.TemporaryDirectory() as folder:
            history = History(folder)
            changes = [history.append("Test2", part) for part in parts]
            back = history.read()
        pd.testing.assert_frame_equal(back[list(whole)], whole, check_freq=False, check_exact=True)
        assert sum(change.new for change in changes) == len(whole)
        assert not any(len(change.replaced) for change in changes)

    @settings(deadline=None, max_examples=25)
    @given(batches(), st.data())
    def test_a_crash_at_any_point(
        self, given: tuple[pd.DataFrame, list[pd.DataFrame]], data: st.DataObject
    ) -> None:
        """A crash at any step of a write keeps the old readings; writing again adds the rest."""
        whole, parts = given
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            crash = Crash(patch)
            history = History(folder)
            for part in parts:
                before = history.read("Test2") if history.things else None
                crash.after(data.draw(st.integers(0, 12)))
                try:
                    history.append("Test2", part)
                except Crashed:
                    crash.over()
                    self.check_nothing_is_lost(History(folder), before, whole)
                    history = History(folder)
                    history.append("Test2", part)
                crash.over()
            back = history.read()
            pd.testing.assert_frame_equal(
                back[list(whole)], whole, check_freq=False, check_exact=True
            )

    def check_nothing_is_lost(
        self, history: History, before: pd.DataFrame | None, whole: pd.DataFrame
    ) -> None:
        if before is None:
            return
        now = history.read("Test2")
        for column in before:
            known = before[column].dropna()
            assert now[column].reindex(known.index).equals(known)
            assert set(now[column].dropna().index) <= set(whole[column].dropna().index)


class Crashed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Crash:
    """Raises Crashed at the n-th step by which something reaches the disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, self.step(getattr(owner, name)))

    def after(self, steps: int) -> None:
        self.left = steps

    def over(self) -> None:
        self.left = None

    def step(self, function: Any) -> Any:
        def stepped(*arguments: Any, **options: Any) -> Any:
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Crashed
            return function(*arguments, **options)

        return stepped


class TestFiles:
    def test_a_file_is_on_the_disk_before_it_takes_its_name(
        self, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []
        fsync, replace = os.fsync, Path.replace

        def logged(name: str, function: Any) -> Any:
            return lambda *arguments: (steps.append(name), function(*arguments))[1]

        monkeypatch.setattr(os, "fsync", logged("fsync", fsync))
        monkeypatch.setattr(Path, "replace", logged("replace", replace))
        history.append("Test2", table([1]))
        # The file; then the names of the file, its month and its Thing.
        assert steps == ["fsync", "replace", "fsync", "fsync", "fsync"]

    def test_a_draft_left_behind_is_invisible(self, history: History) -> None:
        history.append("Test2", table([1]))
        folder = history.storage.folder
        assert folder is not None
        (folder / "thing=Test2/month=2018-08/.readings.parquet.new").write_bytes(b"half")
        assert len(history.read()) == 1
        assert len(pd.read_parquet(folder)) == 1

    def test_a_crash_before_the_first_file(self, history: History) -> None:
        with pytest.MonkeyPatch.context() as patch:
            crash = Crash(patch)
            crash.after(0)
            with pytest.raises(Crashed):
                history.append("Test2", table([1]))
        assert history.things == ["Test2"]
        assert history.read().empty
        assert history.overview().empty
        assert history.compact() == 0
        assert list(history.months()) == []

    def test_readers_during_writes(self, history: History) -> None:
        """Each reader finds a complete month: the readings from before, and perhaps more."""
        history.append("Test2", FLOOD[:100])
        done = threading.Event()
        sizes: list[int] = []

        def look() -> None:
            while not done.is_set():
                found = history.read("Test2")
                assert found["stage_ft"].tolist() == FLOOD["stage_ft"][: len(found)].tolist()
                sizes.append(len(found))

        reader = threading.Thread(target=look)
        reader.start()
        for end in range(105, 140, 5):
            history.append("Test2", FLOOD[end - 5 : end])
        done.set()
        reader.join()
        assert sizes == sorted(sizes)
        assert sizes[0] >= 100

    def test_two_writers_lose_nothing(self, history: History) -> None:
        halves = FLOOD[::2], FLOOD[1::2]

        def write(half: pd.DataFrame) -> None:
            for start in range(0, 40, 10):
                History(str(history.storage.folder)).append("Test2", half[start : start + 10])

        writers = [threading.Thread(target=write, args=[half]) for half in halves]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert history.read()["stage_ft"].tolist() == FLOOD["stage_ft"][:80].tolist()

    def test_a_writer_that_never_finishes(
        self, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(storage, "LOCK_TIMEOUT", 0.01)
        with history.storage.lock(), pytest.raises(TimeoutError, match="another program has been"):
            History(str(history.storage.folder)).append("Test2", table([1]))


class TestForeignFiles:
    """Spark, Dask or a copy may have left more than one file in a month."""

    @pytest.fixture
    def crowded(self, history: History) -> History:
        history.append("Test2", table([1.0, 2.0]))
        folder = history.storage.folder
        assert folder is not None
        month = folder / "thing=Test2/month=2018-08"
        naive = table([2.5, 0.5, None], [1, -5, -4]).tz_localize(None)
        naive.index = naive.index.as_unit("ns")
        naive.reset_index().to_parquet(month / "part-0.parquet", index=False)
        (month / "_SUCCESS").write_bytes(b"")
        return history

    def test_all_files_are_read(self, crowded: History) -> None:
        back = crowded.read()
        np.testing.assert_array_equal(back["stage_ft"], [0.5, np.nan, 1, 2.5])
        assert samples.times(back)[0] == pd.Timestamp("2018-08-31 23:53", tz="UTC")
        assert crowded.read(start="2018-08-31 23:58")["stage_ft"].tolist() == [1, 2.5]

    def test_compact_merges_them(self, crowded: History) -> None:
        before = crowded.read()
        assert crowded.compact() == 1
        assert files(crowded) == ["thing=Test2/month=2018-08/readings.parquet"]
        pd.testing.assert_frame_equal(crowded.read(), before)
        assert crowded.compact() == 0

    def test_a_crash_while_compacting_changes_nothing(
        self, crowded: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = crowded.read()
        for steps in range(8):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    storage.FileStore, "remove", lambda *_: (_ for _ in ()).throw(Crashed)
                )
                crash = Crash(patch)
                crash.after(steps)
                with pytest.raises(Crashed):
                    crowded.compact()
            pd.testing.assert_frame_equal(crowded.read(), before)


class TestOtherPrograms:
    """Other programs read the files as they are, each time once."""

    @pytest.fixture
    def folder(self, history: History) -> Path:
        for part in (FLOOD[::2], FLOOD[1::2], FLOOD):
            history.append("Test2", part)
        history.append("007", FLOOD[:10])
        assert history.storage.folder is not None
        return history.storage.folder

    def test_pandas(self, folder: Path) -> None:
        frame = pd.read_parquet(folder, filters=[("thing", "==", "Test2")])
        assert frame["stage_ft"].tolist() == FLOOD["stage_ft"].tolist()
        assert frame["time"].tolist() == FLOOD.index.tolist()
        september = pd.read_parquet(folder, filters=[("month", "==", "2018-09")])
        assert september["time"].min() == pd.Timestamp("2018-09-01", tz="UTC")

    def test_pyarrow_with_predicates(self, folder: Path) -> None:
        dataset = ds.dataset(folder, partitioning="hive")
        assert dataset.schema.names == [
            "time",
            "stage_ft",
            "water_temperature_degC",
            "thing",
            "month",
        ]
        august = list(dataset.get_fragments(ds.field("month") == "2018-08"))
        assert len(august) == 2
        deep = dataset.to_table(filter=(ds.field("stage_ft") > 6) & (ds.field("thing") == "Test2"))
        assert len(deep) == (FLOOD["stage_ft"] > 6).sum()

    def test_statistics_let_a_reader_skip(
        self, history: History, three_years: pd.DataFrame
    ) -> None:
        index = pd.date_range("2018-01-01", periods=44_640, freq="min", tz="UTC")
        history.append("minutes", pd.DataFrame({"stage_ft": 1.0}, index=index))
        assert history.storage.folder is not None
        file = pq.ParquetFile(history.storage.folder / files(history)[0])
        groups = [
            file.metadata.row_group(n).column(0).statistics for n in range(file.num_row_groups)
        ]
        assert len(groups) == 3
        assert all(a.max < b.min for a, b in pairwise(groups))


class TestBadInput:
    @pytest.mark.parametrize(
        ("readings", "message"),
        [
            (table([1.0]).reset_index(drop=True), "This index is a RangeIndex"),
            (table([1.0]).tz_localize(None), "with a time zone"),
            (table([1.0]).set_axis([pd.NaT]), "with a time zone|Row 0 has no time"),
            (
                table([1.0, 2.0]).set_axis(pd.DatetimeIndex([pd.NaT, "2018"], tz="UTC")),
                "Row 0 has no time",
            ),
            (
                table([1.0, 2.0]).astype(object).replace(2.0, "dry"),
                r"'stage_ft' has 'dry' in row 1 \(2018-08-31 23:59",
            ),
            (table([1.0, np.inf]), "'stage_ft' is infinite in row 1"),
            (table([1.0]) > 0, "'stage_ft' holds true and false"),
            (table([1.0]).assign(month=1.0), "'month' cannot be stored"),
            (table([1.0]).rename(columns={"stage_ft": "Level (m)"}), r"'Level \(m\)' cannot be"),
            (table([1.0]).rename(columns={"stage_ft": 1}), "Column 1 cannot be stored"),
            (
                pd.concat([table([1.0]), table([1.0])], axis=1),
                "two columns 'stage_ft'",
            ),
        ],
    )
    def test_invalid_readings_are_rejected_and_nothing_is_written(
        self, history: History, readings: pd.DataFrame, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            history.append("Test2", readings)
        assert history.things == []

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"not Parquet at all"])
    def test_a_file_that_is_not_parquet(self, history: History, content: bytes) -> None:
        history.append("Test2", table([1.0, 2.0, 3.0]))
        assert history.storage.folder is not None
        (history.storage.folder / files(history)[0]).write_bytes(content)
        with pytest.raises(ValueError, match=r"2018-08/readings.parquet is not a Parquet file"):
            history.read()
        with pytest.raises(ValueError, match=r"2018-08/readings.parquet is not a Parquet file"):
            history.append("Test2", table([1.0]))
        assert history.read(start="2018-09")["stage_ft"].tolist() == [3]

    def test_an_empty_name_is_rejected(self, history: History) -> None:
        with pytest.raises(ValueError, match="name of the Thing is empty"):
            history.append("", table([1.0]))

    def test_an_empty_table_changes_nothing(self, history: History) -> None:
        change = history.append("Test2", table([]))
        assert (change.new, change.known, len(change.replaced)) == (0, 0, 0)

    @pytest.mark.parametrize(
        ("readings", "stages"),
        [
            (table([1.5]), [1.5]),
            (table([None, None]), [np.nan, np.nan]),
            (table([1.0, 1.0, 2.0], [0, 0, 1]), [1, 2]),
            (table([3.0, 1.0, 2.0], [2, 0, 1]), [1, 2, 3]),
            (table([-0.2, 1.0]), [-0.2, 1]),
            (table([1.0, 2.0]).astype(str), [1, 2]),
            (table([1.0, 2.0]).astype("Float64"), [1, 2]),
            (table([1.0, 2.0]).astype("float32"), [1, 2]),
            (make_record([1, 2], zone="America/New_York"), [1, 2]),
        ],
        ids=["one", "nothing", "twice", "unsorted", "negative", "text", "Float64", "32", "zone"],
    )
    def test_harmless_input_is_accepted(
        self, history: History, readings: pd.DataFrame, stages: list[float]
    ) -> None:
        history.append("Test2", readings)
        np.testing.assert_array_equal(history.read()["stage_ft"], stages)


@pytest.mark.parametrize(
    "module", [creeklab.creek.history.history, creeklab.creek.history.recorder]
)
def test_the_examples(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted
    assert not done.failed
