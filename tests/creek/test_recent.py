"""Recent readings: a recorder of many Things writes little, and readers see each reading once."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creeklab.creek.history import History, Recorder
from creeklab.creek.history import history as history_module
from creeklab.creek.history.history import RECENT
from creeklab.creek.history.recent import EMPTY, Recent

from .test_history import Crash, Crashed

START = pd.Timestamp("2018-08-31 23:50", tz="UTC")
THINGS = ["007", "a/b", "c"]


class Message(NamedTuple):
    topic: str
    payload: bytes
    retain: bool = False


def readings(rows: list[tuple[str, int, float]], column: str = "stage_ft") -> pd.DataFrame:
    """Return a table of Things, minutes and values."""
    index = START + pd.to_timedelta([minute for _, minute, _ in rows], unit="min")
    frame = pd.DataFrame({column: [value for _, _, value in rows]}, index=index.rename("time"))
    return frame.assign(thing=[thing for thing, _, _ in rows])


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge only one Thing with each call."""
    monkeypatch.setattr(history_module, "MERGE_TIME", -1.0)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


def merged(history: History) -> pd.DataFrame:
    """Return what other programs see."""
    assert history.storage.folder is not None
    table = ds.dataset(history.storage.folder, partitioning="hive").to_table()
    return table.to_pandas().sort_values("time")


def test_the_longest_waiting_thing_is_merged_first(history: History) -> None:
    for minute in range(4):
        change = history.add(readings([(thing, minute, minute) for thing in THINGS]))
        assert change.new >= 1
        for thing in THINGS:
            assert history.read(thing)["stage_ft"].tolist() == list(range(minute + 1))
    # The first call merged 007, the second a/b, the third c, and the fourth 007 again.
    counts = merged(history)["thing"].astype(str).value_counts()
    assert counts.to_dict() == {"007": 4, "a/b": 2, "c": 3}
    assert history.add(merge_all=True).new == 3
    assert not (history.storage.folder / RECENT).exists()  # type: ignore[operator]
    assert len(merged(history)) == 12


def test_recent_readings_are_readings(history: History) -> None:
    rows = [(thing, minute, minute + 0.5) for thing in THINGS for minute in (2, 1, 12)]
    history.add(readings(rows), {thing: {"datum": f"of {thing}"} for thing in THINGS})
    assert history.things == THINGS
    overview = history.overview()
    assert overview["month"].tolist() == ["2018-08", "2018-09"] * 3
    assert overview["readings"].tolist() == [2, 1] * 3
    back = history.read("c")
    assert back["stage_ft"].tolist() == [1.5, 2.5, 12.5]
    assert back.attrs["datum"] == "of c"
    assert back.attrs["units"] == {"stage_ft": "ft"}
    assert history.read("c", START + pd.Timedelta("2min"), "2018-09-01")["stage_ft"].tolist() == [
        2.5
    ]
    assert [len(month) for month in history.months("c")] == [2, 1]
    with pytest.raises(ValueError, match="no column 'air_degC'"):
        history.read("c", columns=["air_degC"])


def test_each_thing_has_only_its_own_columns(history: History) -> None:
    history.add(readings([("c", 0, 1.0)]))
    history.add(readings([("007", 0, 1.0), ("a/b", 0, 3.0)]))
    history.add(readings([("a/b", 1, 20.0), ("x", 1, 20.0)], "air_degC"))
    assert list(history.read("x")) == ["air_degC"]
    assert list(history.read("007")) == ["stage_ft"]
    both = history.read("a/b")
    np.testing.assert_array_equal(both, [[3, np.nan], [np.nan, 20]])


def test_the_last_value_counts_and_every_replaced_one_is_reported(history: History) -> None:
    history.append("c", readings([("c", 0, 1.0)])[["stage_ft"]])
    replaced: list[tuple[str, float, float]] = []

    def report(thing: str, values: pd.DataFrame) -> None:
        replaced.extend((thing, was, now) for was, now in values[["was", "now"]].to_numpy())

    history.add(readings([("007", 0, 9.0), ("c", 0, 2.0)]), before_replacing=report)
    assert history.read("c")["stage_ft"].tolist() == [2]
    assert merged(history).query("thing == 'c'")["stage_ft"].tolist() == [1]
    history.add(readings([("007", 1, 9.0), ("c", 0, 3.0)]), before_replacing=report)
    assert history.read("c")["stage_ft"].tolist() == [3]
    assert replaced == [("c", 1, 2), ("c", 2, 3)]


def test_appending_corrects_recent_readings(history: History) -> None:
    history.add(readings([("007", 0, 9.0), ("c", 0, 2.0), ("c", 1, 2.0)]))
    change = history.append("c", readings([("c", 0, 5.0)])[["stage_ft"]])
    assert (change.new, len(change.replaced)) == (0, 1)
    assert history.read("c")["stage_ft"].tolist() == [5, 2]
    assert merged(history).query("thing == 'c'")["stage_ft"].tolist() == [5, 2]
    history.compact()
    assert history.read("c")["stage_ft"].tolist() == [5, 2]


def test_compacting_merges_everything(history: History) -> None:
    history.add(readings([(thing, 0, 1.0) for thing in THINGS]))
    assert history.compact() == 0
    assert len(merged(history)) == 3


def test_readers_see_each_reading_once_at_any_moment(history: History) -> None:
    history.add(readings([(thing, 0, 0.0) for thing in THINGS]))
    done = threading.Event()
    seen: dict[str, list[int]] = {thing: [] for thing in THINGS}
    failed: list[AssertionError] = []

    def look() -> None:
        try:
            while not done.is_set():
                for thing in THINGS:
                    found = history.read(thing)["stage_ft"].tolist()
                    assert found == list(range(len(found)))
                    seen[thing].append(len(found))
                others = merged(history)
                assert not others.duplicated(["thing", "time"]).any()
        except AssertionError as error:
            failed.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for minute in range(1, 25):
        history.add(readings([(thing, minute, minute) for thing in THINGS]))
    done.set()
    reader.join()
    assert not failed
    assert all(sizes and sizes == sorted(sizes) for sizes in seen.values())


def test_the_file_keeps_everything() -> None:
    metadata = {name: {"datum": name, "units": {"stage_ft": "ft"}} for name in "ab"}
    first = Recent.of(readings([("b", 0, 1.0), ("a", 1, np.nan)]), metadata)
    again = Recent.decode(first.encode())
    assert again.things == ["b", "a"]
    for name in "ab":
        pd.testing.assert_frame_equal(again.readings(name), first.readings(name))
        assert again.readings(name).attrs == metadata[name]
    assert EMPTY.plus(first).without(["b"]).things == ["a"]
    assert len(EMPTY.readings("b")) == 0


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[str, int]]:
    rows = st.tuples(st.sampled_from(THINGS), st.integers(0, 15))
    return draw(st.lists(rows, min_size=1, max_size=15))


@settings(deadline=None, max_examples=25)
@given(deliveries(), st.data())
def test_a_crash_at_any_point_loses_and_repeats_nothing(
    sent: list[tuple[str, int]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_module, "MERGE_TIME", -1.0)
        crash = Crash(patch)
        left = list(sent)
        crashes = data.draw(st.lists(st.integers(0, 25), max_size=6))
        done = False
        while not done:
            recorder = Recorder(History(folder), lambda topic: topic, every=None)
            if crashes:
                crash.after(crashes.pop())
            try:
                while left:
                    thing, minute = left[0]
                    payload = {"time": (START + pd.Timedelta(minutes=minute)).isoformat()}
                    payload["depth"] = str(minute)
                    recorder.on_message(Message(thing, json.dumps(payload).encode()))
                    del left[0]
                    if data.draw(st.integers(0, 3)) == 0:
                        recorder.flush()
                recorder.flush()
                done = True
            except Crashed:
                pass
            finally:
                crash.over()
                check(History(folder), set(sent[: len(sent) - len(left)]), set(sent))
                recorder._journal._lock.release()  # as the end of a process does
                if recorder._journal._file is not None:
                    recorder._journal._file.close()
        History(folder).compact()
        check(History(folder), set(sent), set(sent))
        assert len(merged(History(folder))) == len(set(sent))


def check(history: History, taken: set[tuple[str, int]], sent: set[tuple[str, int]]) -> None:
    """Check that the history and the journal hold what was taken, and nothing else."""
    assert history.storage.folder is not None
    rows: list[Any] = []
    for file in (history.storage.folder / "_journal").glob("[0-9]*.jsonl"):
        rows += [json.loads(line) for line in file.read_text().splitlines()[1:]]
    known = {(row[0], round(row[2])) for row in rows}
    for thing in history.things:
        values = history.read(thing).get("stage_ft", pd.Series(dtype=float))
        assert not values.index.has_duplicates
        known |= {(thing, round(value)) for value in values}
    assert taken <= known <= sent
