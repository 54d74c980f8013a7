"""A recorder loses no reading that it took and keeps none twice, whatever ends it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creeklab.creek.history import History, Recorder, bounded_log, journal
from creeklab.creek.history import recorder as recorder_module
from creeklab.creek.readings import samples
from creeklab.creek.sensor.replay import Replay

from .test_history import Crash, Crashed

FLOOD = samples.load("plumtree-run-flood-2018-08-31")


class Message(NamedTuple):
    topic: str
    payload: bytes
    retain: bool = False


def messages(readings: pd.DataFrame) -> list[Message]:
    """Return the messages that a replay of the readings sends."""
    sent: list[Message] = []
    Replay(
        readings,
        lambda reading: sent.append(Message("creek", json.dumps(reading.message()).encode())),
        progress=False,
    ).run()
    return sent


def message_with(**fields: Any) -> Message:
    return Message("creek", json.dumps({"time": "2018-08-31T12:00:00Z", **fields}).encode())


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


@pytest.fixture
def recorder(history: History) -> Iterator[Recorder]:
    with Recorder(history, "Test2", every=None) as recorder:
        yield recorder


def quarantine(history: History) -> list[dict[str, Any]]:
    assert history.storage.folder is not None
    lines = (history.storage.folder / "_journal/quarantine.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


class TestRecording:
    def test_the_flood(self, history: History, recorder: Recorder) -> None:
        recorder.record(messages(FLOOD))
        back = history.read()
        pd.testing.assert_frame_equal(back, FLOOD, check_freq=False, check_exact=True)
        assert back.attrs == {
            "title": "Test2, recorded",
            "source": "Recorded from messages",
            "time_zone": "UTC",
            "units": FLOOD.attrs["units"],
        }
        assert repr(recorder) == (
            "Recorder: 577 readings, 0 ignored, 0 quarantined; history: 577 new, 0 known,"
            " 0 values replaced"
        )

    def test_delivered_again_and_out_of_order(self, history: History, recorder: Recorder) -> None:
        sent = messages(FLOOD)
        recorder.record(sent[300:] + sent[:10] + sent[250:400] + sent[:300][::-1])
        pd.testing.assert_frame_equal(history.read(), FLOOD, check_freq=False, check_exact=True)
        assert (recorder.new, recorder.readings, recorder.replaced) == (577, 737, 0)

    def test_messages_with_one_time_are_one_reading(
        self, history: History, recorder: Recorder
    ) -> None:
        recorder.record([message_with(depth=1.5), message_with(temperature=68)])
        assert history.read().to_numpy().tolist() == [[1.5, 20]]

    def test_a_correction(self, history: History, recorder: Recorder) -> None:
        recorder.record([message_with(depth=1.5, temperature=68)])
        recorder.record([message_with(depth=2.5), message_with(depth=2.5)])
        assert history.read().to_numpy().tolist() == [[2.5, 20]]
        assert recorder.replaced == 1
        [entry] = quarantine(history)
        assert entry.pop("time").startswith("2018-08-31T12:00:00")
        assert entry == {
            "reason": "replaced",
            "thing": "Test2",
            "column": "stage_ft",
            "was": 1.5,
            "now": 2.5,
        }

    def test_a_message_without_a_time_gets_its_arrival_time(
        self, history: History, recorder: Recorder
    ) -> None:
        before = pd.Timestamp.now("UTC").floor("us")
        recorder.record([Message("creek", b'{"depth": 1.5}')])
        [time] = history.read().index
        assert before <= time <= pd.Timestamp.now("UTC")

    def test_malformed_messages_are_quarantined(self, history: History, recorder: Recorder) -> None:
        recorder.record(
            [
                Message("creek", b"\xff\x00"),
                message_with(depth="dry"),
                Message("$aws/things/Test2/shadow/get/accepted", b"{}"),
                message_with(depth=1.5),
            ]
        )
        assert (recorder.readings, recorder.ignored, recorder.quarantined) == (1, 1, 2)
        first, second = quarantine(history)
        assert first["topic"] == "creek"
        assert first["payload"] == "\\xff\x00"
        assert first["reason"].startswith("it is not JSON")
        assert second["reason"] == "its depth is 'dry', which is not a number"
        assert pd.Timestamp(second["arrived"]).tzinfo is not None

    def test_the_quarantine_is_bounded(
        self, history: History, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bounded_log, "MAX_BYTES", 1000)
        for number in range(100):
            recorder.on_message(Message("creek", str(number).encode()))
        assert recorder.quarantined == 100
        assert history.storage.folder is not None
        kept = sorted((history.storage.folder / "_journal").glob("quarantine*"))
        assert [path.name for path in kept] == ["quarantine-older.jsonl", "quarantine.jsonl"]
        assert sum(path.stat().st_size for path in kept) < 3000
        assert quarantine(history)[-1]["payload"] == "99"

    def test_several_things_fields_and_metadata(self, history: History) -> None:
        with Recorder(
            history,
            lambda topic: topic.split("/")[1],
            fields={"level": ("stage_ft", "m"), "air": ("air_degC", "degF")},
            metadata={"datum": "the bridge", "source": "us"},
            every=None,
        ) as recorder:
            for name in "ab":
                recorder.on_message(Message(f"creek/{name}/level", b'{"level": 0.3048, "air": 50}'))
        assert history.things == ["a", "b"]
        back = history.read("b")
        assert (list(back), back.to_numpy().tolist()) == (["stage_ft", "air_degC"], [[1, 10]])
        assert back.attrs["datum"] == "the bridge"

    def test_memory_is_bounded(
        self, history: History, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Any number of waiting readings is merged in bounded parts."""
        monkeypatch.setattr(recorder_module, "MAX_LINES", 100)
        merged = []
        read = journal.read
        monkeypatch.setattr(
            recorder_module, "read", lambda file: (merged.append(read(file)), merged[-1])[1]
        )
        recorder.record(messages(FLOOD))
        assert [len(readings) for readings, _ in merged] == [100] * 5 + [77]
        assert len(history.read()) == 577


class TestBackgroundThread:
    def test_it_writes_to_the_history(self, history: History) -> None:
        with Recorder(history, "Test2", every=0.02) as recorder:
            for message in messages(FLOOD):
                recorder.on_message(message)
            while recorder.new < 577:  # The suite's own bound ends it.
                recorder._closed.wait(0.01)
            assert len(history.read()) == 577

    @pytest.mark.skipif(
        not Path("/proc/self/fd").exists(), reason="needs /proc to find the file of a descriptor"
    )
    def test_it_reaches_the_disk_within_a_second(
        self, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recorder_module, "SYNC_INTERVAL", 0.01)
        synced: list[str] = []
        fsync = os.fsync

        def record_sync(descriptor: int) -> None:
            synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", record_sync)
        with Recorder(history, "Test2", every=60) as recorder:
            recorder.on_message(message_with(depth=1.5))
            while "000000000001.jsonl" not in synced:
                recorder._closed.wait(0.01)
            assert recorder.new == 0
        assert len(history.read()) == 1

    def test_close_is_final(self, history: History) -> None:
        recorder = Recorder(history, "Test2")
        recorder.close()
        recorder.close()
        with pytest.raises(RuntimeError, match="This recorder is closed"):
            recorder.on_message(message_with(depth=1.5))
        Recorder(history, "Test2").close()

    def test_two_recorders_need_two_journals(self, history: History, tmp_path: Path) -> None:
        with Recorder(history, "Test2", every=None) as one:
            with pytest.raises(RuntimeError, match="Another recorder is using the journal in"):
                Recorder(history, "Test2", every=None)
            with Recorder(history, "Test2", every=None, journal=tmp_path / "other") as two:
                one.record(messages(FLOOD[::2]))
                two.record(messages(FLOOD[1::2]))
        pd.testing.assert_frame_equal(history.read(), FLOOD, check_freq=False, check_exact=True)


class TestErrors:
    def test_the_journal_keeps_readings_while_the_history_cannot_be_written(
        self, history: History, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError("No space left on device")

        sent = messages(FLOOD)
        with monkeypatch.context() as patch:
            patch.setattr(type(history.storage), "write", full)
            for part in (sent[:100], sent[100:200]):
                with pytest.raises(OSError, match="No space left"):
                    recorder.record(part)
        assert history.things == []
        recorder.record(sent[200:])
        pd.testing.assert_frame_equal(history.read(), FLOOD, check_freq=False, check_exact=True)

    def test_its_thread_reports_the_error_and_tries_again(
        self, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = type(history.storage).write
        tries: list[str] = []

        def busy(self: Any, path: str, content: Any) -> None:
            tries.append(path)
            if len(tries) < 3:
                raise OSError("the bucket cannot be reached")
            write(self, path, content)

        monkeypatch.setattr(type(history.storage), "write", busy)
        with Recorder(history, "Test2", every=0.01) as recorder:
            recorder.on_message(message_with(depth=1.5))
            while recorder.error is None:
                recorder._closed.wait(0.001)
            while recorder.new < 1:
                recorder._closed.wait(0.001)
        assert recorder.error is None
        assert len(history.read()) == 1

    def test_a_partly_written_message_is_removed_from_the_journal(
        self, history: History, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder.on_message(message_with(depth=1.5))

        class Full:
            """A disk that takes half a line."""

            def __init__(self, file: Any) -> None:
                self.file = file

            def write(self, data: bytes) -> int:
                return int(self.file.write(data[: len(data) // 2]))

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

        whole = recorder._journal._file
        recorder._journal._file = Full(whole)  # type: ignore[assignment]
        with pytest.raises(OSError, match="only part of a line"):
            recorder.on_message(message_with(temperature=68))
        recorder._journal._file = whole
        assert recorder.readings == 1
        recorder.record([message_with(temperature=50)])
        assert history.read().to_numpy().tolist() == [[1.5, 10]]

    def test_a_torn_line_is_quarantined_and_the_others_kept(self, history: History) -> None:
        with Recorder(history, "Test2", every=None):
            pass
        assert history.storage.folder is not None
        (history.storage.folder / "_journal/000000000007.jsonl").write_bytes(
            b'["stage_ft", "water_temperature_degC"]\n'
            b'["Test2", 0, 1.5, null]\n["Test2", 60000000, 2\n'
            b'["Test2", 120000000, 3.5, null]\n["Test2", 180'
        )
        with Recorder(history, "Test2", every=None):
            pass
        assert history.read()["stage_ft"].tolist() == [1.5, 3.5]
        assert [entry["line"] for entry in quarantine(history)] == [
            '["Test2", 60000000, 2',
            '["Test2", 180',
        ]

    def test_a_history_in_a_bucket_needs_a_folder_for_the_journal(self) -> None:
        with pytest.raises(ValueError, match="the journal needs a folder of its own"):
            Recorder(History("mock:///creek"), "Test2")


class Change(NamedTuple):
    connected: bool
    session_present: bool = False


class TestGaps:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
        """Return a list whose only element is the time of the recorder's clock."""
        now = [datetime(2018, 8, 31, 12, tzinfo=UTC)]

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return now[0]

        monkeypatch.setattr(recorder_module, "datetime", Clock)
        return now

    def test_the_first_connection_ends_no_gap(self, history: History) -> None:
        with Recorder(history, "Test2", every=None) as recorder:
            recorder.on_connection(Change(True))
            assert recorder.gaps.empty
            assert "NOT FILLED" not in repr(recorder)

    def test_a_lost_connection(self, recorder: Recorder, clock: list[datetime]) -> None:
        recorder.on_connection(Change(True))
        clock[0] += timedelta(hours=1)
        recorder.on_connection(Change(False))
        clock[0] += timedelta(minutes=4)
        recorder.on_connection(Change(True, session_present=True))
        assert recorder.gaps[["seconds", "filled"]].to_numpy().tolist() == [[240.0, True]]
        assert "NOT FILLED" not in repr(recorder)
        recorder.disconnected()
        clock[0] += timedelta(hours=2)
        recorder.resumed(session_present=False)
        last = recorder.gaps.iloc[-1]
        assert last["start"] == pd.Timestamp("2018-08-31 13:04", tz="UTC")
        assert (last["seconds"], last["filled"]) == (7200, False)
        assert repr(recorder).endswith(
            "; 1 of 2 gaps NOT FILLED, the last from 2018-08-31 13:04:00 to 2018-08-31 15:04:00"
            " UTC (7200 s)"
        )

    def test_a_crash(self, history: History, clock: list[datetime]) -> None:
        """The gap starts when the recorder was last known to run."""
        first = Recorder(history, "Test2", every=0.001)
        first.resumed(session_present=False)
        clock[0] += timedelta(minutes=7)
        assert history.storage.folder is not None
        sign = history.storage.folder / "_journal/last-connected"
        while sign.stat().st_mtime != clock[0].timestamp():
            first._closed.wait(0.001)
        first._closed.set()  # As after a kill, nothing else happens.
        assert first._thread is not None
        first._thread.join()
        first._journal._lock.release()
        clock[0] += timedelta(seconds=90)
        with Recorder(history, "Test2", every=None) as second:
            second.resumed(session_present=False)
            assert second.gaps[["seconds", "filled"]].to_numpy().tolist() == [[90.0, False]]

    def test_a_restart_after_a_clean_end(self, history: History, clock: list[datetime]) -> None:
        with Recorder(history, "Test2", every=None) as recorder:
            recorder.resumed(session_present=False)
        clock[0] += timedelta(days=1)
        with Recorder(history, "Test2", every=None) as recorder:
            recorder.resumed(session_present=True)
            assert recorder.gaps["seconds"].tolist() == [86_400]

    def test_a_torn_line_in_the_log(self, history: History, recorder: Recorder) -> None:
        recorder.resumed(session_present=False)
        recorder.resumed(session_present=False)
        assert history.storage.folder is not None
        with (history.storage.folder / "_journal/gaps.jsonl").open("a") as file:
            file.write('{"start": "2018')
        assert len(recorder.gaps) == 1
        recorder.resumed(session_present=False)
        assert len(recorder.gaps) == 2


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[pd.DataFrame, list[Message]]:
    """Return readings, and messages that hold them in any order and some of them repeatedly."""
    readings = FLOOD.iloc[draw(st.integers(0, 300)) :: 40]
    sent = messages(readings)
    sent += draw(st.lists(st.sampled_from(sent), max_size=4))
    return readings, draw(st.permutations(sent))


class TestCrash:
    @settings(deadline=None, max_examples=25)
    @given(deliveries(), st.data())
    def test_at_any_point(
        self, given: tuple[pd.DataFrame, list[Message]], data: st.DataObject
    ) -> None:
        """Every reading taken is in the history once, without being delivered again."""
        readings, sent = given
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            crash = Crash(patch)
            left = iter(sent)
            message: Message | None = None
            crashes = data.draw(st.lists(st.integers(0, 25), max_size=6))
            done = False
            while not done:
                recorder = Recorder(History(folder), "Test2", every=None)
                if crashes:
                    crash.after(crashes.pop())
                try:
                    if message is not None:
                        recorder.on_message(message)
                    for message in left:
                        recorder.on_message(message)
                        message = None
                        if data.draw(st.integers(0, 5)) == 0:
                            recorder.flush()
                    recorder.flush()
                    done = True
                except Crashed:
                    pass
                finally:
                    crash.over()
                    recorder._journal._lock.release()  # as the end of a process does
                    if recorder._journal._file is not None:
                        recorder._journal._file.close()
            pd.testing.assert_frame_equal(
                History(folder).read(), readings, check_freq=False, check_exact=True
            )

    program = """
import json, sys
from pathlib import Path
from creeklab.creek.history import History, Recorder, recorder

recorder.MAX_LINES = 50
class Message:
    topic, retain = "creek", False
    def __init__(self, payload): self.payload = payload
recording = Recorder(History(sys.argv[1]), "Test2", every=0.01)
print("ready", flush=True)
for line in sys.stdin.buffer:
    recording.on_message(Message(line))
    print("taken", flush=True)
recording.close()
"""

    def run(self, history: History, sent: list[Message], kill_after: int | None) -> int:
        """Record in a process, kill it after a number of readings, and return how many it took."""
        command = [sys.executable, "-c", self.program, str(history.storage.folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            taken = 0
            for message in sent:
                child.stdin.write(message.payload + b"\n")
                child.stdin.flush()
                if kill_after == taken:
                    child.kill()
                    break
                assert child.stdout.readline() == b"taken\n"
                taken += 1
            with suppress(BrokenPipeError):
                child.stdin.close()
            taken += child.stdout.read().count(b"taken")
        assert child.returncode == (0 if kill_after is None else -signal.SIGKILL)
        return taken

    def test_kill_9(self, history: History) -> None:
        """Every reading taken before the kill is in the history, without being sent again."""
        sent = messages(FLOOD)
        begin = 0
        for kill_after in (0, 37, 260, None):
            begin += self.run(history, sent[begin:], kill_after)
            if kill_after is None:
                break
        pd.testing.assert_frame_equal(history.read(), FLOOD, check_freq=False, check_exact=True)
        np.testing.assert_array_equal(len(list(history.months())), 2)
        assert history.storage.folder is not None
        assert not list((history.storage.folder / "_journal").glob("[0-9]*"))


def test_readings_that_the_journal_cannot_take_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recorder(History(tmp_path), "Test2", every=None) as recorder:

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(recorder._journal, "write", full)
            with pytest.raises(OSError, match="No space"):
                recorder.on_message(
                    Message("creek", b'{"time": "2018-08-31T23:30:00Z", "depth": 6.63}')
                )
        assert recorder.lost == 1
        assert "1 LOST because the journal could not be written" in repr(recorder)
