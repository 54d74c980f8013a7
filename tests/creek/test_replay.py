"""A replay sends every reading once, in order and on time, and can always resume."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm.auto import tqdm

from creeklab.creek.quality.fault_injection import Fault
from creeklab.creek.readings import samples
from creeklab.creek.sensor import replay as replay_module
from creeklab.creek.sensor.replay import Reading, Replay
from creeklab.creek.sensor.replay_position import ReplayPosition


def table(stage: list[float], celsius: list[float] | None = None) -> pd.DataFrame:
    """Return readings every five minutes from noon."""
    index = pd.date_range("2018-08-31 12:00", periods=len(stage), freq="5min", tz="UTC")
    columns = {"stage_ft": stage}
    if celsius is not None:
        columns["water_temperature_degC"] = celsius
    return pd.DataFrame(columns, index=index, dtype="float64")


class Time:
    """A clock that only moves when someone sleeps or works."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def at(minute: int) -> pd.Timestamp:
    return pd.Timestamp("2018-08-31 12:00", tz="UTC") + pd.Timedelta(minutes=minute)


class TestReading:
    noon = datetime(2018, 8, 31, 12, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("depth", "temperature", "rest"),
        [
            (6.63, 73.58, {"depth": 6.63, "temperature": 73.58}),
            (6.63, None, {"depth": 6.63}),
            (None, 73.58, {"temperature": 73.58}),
            (0.0, 0.0, {"depth": 0.0, "temperature": 0.0}),
        ],
    )
    def test_message(
        self, depth: float | None, temperature: float | None, rest: dict[str, float]
    ) -> None:
        message = Reading(self.noon, depth, temperature).message()
        assert message == {"time": "2018-08-31T12:00:00Z", **rest}


class TestTheFlood:
    def test_every_reading_once_in_order_with_its_peak(self) -> None:
        flood = samples.load("plumtree-run-flood-2018-08-31")
        heard: list[Reading] = []
        replay = Replay(flood, heard.append, progress=False).run()
        assert (replay.sent, replay.skipped, replay.next) == (577, 0, None)
        assert repr(replay) == "Replay: 577 of 577 rows done (577 sent, 0 skipped)"
        assert [reading.time for reading in heard] == list(flood.index)
        assert [reading.depth for reading in heard] == flood["stage_ft"].tolist()
        peak = max(heard, key=lambda reading: reading.depth or 0)
        assert peak.message() == {
            "time": "2018-08-31T23:30:00Z",
            "depth": 6.63,
            "temperature": 73.58,  # 23.1 degC
        }
        for reading in heard:
            json.dumps(reading.message(), allow_nan=False)

    def test_fahrenheit_converts_back_to_celsius(self) -> None:
        flood = samples.load("plumtree-run-flood-2018-08-31")
        heard: list[Reading] = []
        Replay(flood, heard.append, progress=False).run()
        back = [round(((reading.temperature or 0) - 32) / 1.8, 6) for reading in heard]
        assert back == flood["water_temperature_degC"].tolist()


class TestGaps:
    def test_a_row_with_nothing_measured_is_skipped_and_counted(self) -> None:
        nan = float("nan")
        heard: list[Reading] = []
        readings = table([1.0, nan, nan, 4.0], [20.0, 20.0, nan, nan])
        replay = Replay(readings, heard.append, progress=False).run()
        assert (replay.sent, replay.skipped) == (3, 1)
        assert [(reading.depth, reading.temperature) for reading in heard] == [
            (1.0, 68.0),
            (None, 68.0),
            (4.0, None),
        ]
        assert [reading.time.minute for reading in heard] == [0, 5, 15]

    def test_temperature_is_optional(self) -> None:
        heard: list[Reading] = []
        Replay(table([1.0]), heard.append, progress=False).run()
        assert heard == [Reading(datetime(2018, 8, 31, 12, 0, tzinfo=UTC), 1.0)]

    def test_no_readings_at_all(self) -> None:
        replay = Replay(table([]), pytest.fail, progress=False).run()
        assert (replay.sent, replay.skipped, replay.next) == (0, 0, None)


class TestPace:
    def play(
        self, readings: pd.DataFrame, speed: float | None, work: list[float]
    ) -> tuple[Time, list[float]]:
        """Play with a ``send`` of this duration; return the seconds at which each was sent."""
        time, sent_at, start = Time(), [], 1000.0
        durations = iter(work)

        def send(_: Reading) -> None:
            sent_at.append(time.now - start)
            time.now += next(durations)

        Replay(
            readings, send, speed=speed, progress=False, clock=time.clock, sleep=time.sleep
        ).run()
        return time, sent_at

    def test_an_hour_of_creek_in_a_second(self) -> None:
        _, sent_at = self.play(table([1.0] * 13), 3600, [0.0] * 13)
        assert sent_at == pytest.approx([row / 12 for row in range(13)])

    def test_real_time(self) -> None:
        assert self.play(table([1.0] * 3), 1, [0.0] * 3)[1] == pytest.approx([0, 300, 600])

    def test_the_schedule_catches_up_after_a_slow_send(self) -> None:
        _, sent_at = self.play(table([1.0] * 6), 300, [0.2, 2.5, 0.1, 0.1, 0.1, 0.1])
        assert sent_at == pytest.approx([0, 1, 3.5, 3.6, 4, 5])

    def test_a_gap_takes_as_long_as_it_did(self) -> None:
        readings = table([1.0, 2.0, float("nan"), 4.0, 5.0]).drop(index="2018-08-31 12:15+00:00")
        assert self.play(readings, 300, [0.0] * 3)[1] == pytest.approx([0, 1, 4])

    def test_full_speed_never_waits(self) -> None:
        time, sent_at = self.play(table([1.0] * 3), None, [0.0] * 3)
        assert (time.slept, sent_at) == ([], [0, 0, 0])

    def test_after_a_break_the_schedule_starts_again(self) -> None:
        time, sent_at, broken = Time(), [], True

        def send(_: Reading) -> None:
            if broken and len(sent_at) == 2:
                raise ConnectionError
            sent_at.append(time.now - 1000)

        replay = Replay(
            table([1.0] * 4), send, speed=300, progress=False, clock=time.clock, sleep=time.sleep
        )
        with pytest.raises(ConnectionError):
            replay.run()
        broken, time.now = False, 1100.0
        replay.run()
        assert sent_at == pytest.approx([0, 1, 100, 101])

    @pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
    def test_invalid_speeds(self, speed: float) -> None:
        with pytest.raises(ValueError, match="3600 to play an hour per"):
            Replay(table([1.0]), pytest.fail, speed=speed)


class TestResume:
    @pytest.mark.parametrize("error", [ConnectionError("cut off"), KeyboardInterrupt()])
    def test_it_resumes_with_the_reading_that_failed(self, error: BaseException) -> None:
        heard: list[float | None] = []

        def send(reading: Reading) -> None:
            if reading.depth == 3.0 and not failed:
                failed.append(reading)
                raise error
            heard.append(reading.depth)

        failed: list[Reading] = []
        replay = Replay(table([1.0, float("nan"), 3.0, 4.0]), send, progress=False)
        with pytest.raises(type(error)) as caught:
            replay.run()
        assert caught.value is error
        assert repr(replay) == "Replay: 2 of 4 rows done (1 sent, 1 skipped)"
        assert replay.next == datetime(2018, 8, 31, 12, 10, tzinfo=UTC)
        assert replay.run() is replay
        assert heard == [1.0, 3.0, 4.0]

    def test_another_process_resumes(self) -> None:
        readings = table([1.0, 2.0, 3.0])
        heard: list[float | None] = []

        def send(reading: Reading) -> None:
            if len(heard) == 1:
                raise ConnectionError
            heard.append(reading.depth)

        replay = Replay(readings, send, progress=False)
        with pytest.raises(ConnectionError):
            replay.run()
        rest: list[Reading] = []
        Replay(readings[readings.index >= replay.next], rest.append, progress=False).run()
        assert heard + [reading.depth for reading in rest] == [1.0, 2.0, 3.0]

    def test_a_finished_replay_sends_nothing(self) -> None:
        heard: list[Reading] = []
        replay = Replay(table([1.0, 2.0]), heard.append, progress=False)
        replay.run().run()
        assert len(heard) == 2

    @given(
        measured=st.lists(st.booleans(), max_size=30),
        failures=st.lists(st.booleans(), max_size=60),
    )
    def test_each_reading_exactly_once_whatever_fails(
        self, measured: list[bool], failures: list[bool]
    ) -> None:
        stage = [float(row) if there else np.nan for row, there in enumerate(measured)]
        fails, heard = iter(failures), []

        def send(reading: Reading) -> None:
            if next(fails, False):
                raise ConnectionError
            heard.append(reading.depth)

        replay = Replay(table(stage), send, progress=False)
        for _ in range(len(failures) + 1):
            try:
                replay.run()
            except ConnectionError:
                continue
        assert heard == [row for row, there in enumerate(measured) if there]
        assert (replay.sent, replay.skipped) == (len(heard), len(measured) - len(heard))
        assert replay.next is None


class Answer:
    """An acknowledgment, or rejection, that arrives when someone waits for it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.here = False

    def done(self) -> bool:
        return self.here

    def result(self, timeout: float | None = None) -> None:
        self.here = True
        if self.error is not None:
            raise self.error


class TestAcknowledgments:
    def test_the_window_limits_the_readings_in_flight(self) -> None:
        answers: list[Answer] = []
        most = 0

        def send(_: Reading) -> Answer:
            nonlocal most
            answers.append(Answer())
            most = max(most, sum(not answer.here for answer in answers))
            return answers[-1]

        replay = Replay(table([1.0] * 50), send, window=8, progress=False).run()
        assert (replay.sent, most) == (50, 8)
        assert all(answer.here for answer in answers)

    def test_a_reading_counts_as_sent_when_it_is_acknowledged(self) -> None:
        counted: list[int] = []

        def send(_: Reading) -> Answer:
            counted.append(replay.sent)
            return Answer()

        replay = Replay(table([1.0] * 3), send, progress=False)
        replay.run()
        assert counted == [0, 0, 0]
        assert replay.sent == 3

    def test_it_waits_for_the_acknowledgment_while_there_is_time(self) -> None:
        time, counted = Time(), []

        def send(_: Reading) -> Answer:
            counted.append(replay.sent)
            return Answer()

        replay = Replay(
            table([1.0] * 3), send, speed=300, progress=False, clock=time.clock, sleep=time.sleep
        )
        replay.run()
        assert counted == [0, 1, 2]

    def test_readings_that_arrived_after_a_rejected_one_are_not_sent_again(self) -> None:
        heard: list[float | None] = []
        refusals = [ConnectionError("cut off")]

        def send(reading: Reading) -> Answer:
            heard.append(reading.depth)
            return Answer(refusals.pop() if reading.depth == 2.0 and refusals else None)

        replay = Replay(table([0.0, 1.0, 2.0, float("nan"), 4.0, 5.0]), send, progress=False)
        with pytest.raises(ConnectionError, match="cut off"):
            replay.run()
        assert repr(replay) == "Replay: 2 of 6 rows done (2 sent, 0 skipped)"
        replay.run()
        assert heard == [0, 1, 2, 4, 5, 2]
        assert (replay.sent, replay.skipped) == (5, 1)

    def test_an_acknowledgment_that_never_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replay_module, "ACK_TIMEOUT", 0.01)
        monkeypatch.setattr(replay_module, "DRAIN_TIMEOUT", 0.01)
        silent: Future[None] = Future()
        replay = Replay(table([1.0, 2.0]), lambda _: silent, progress=False)
        with pytest.raises(TimeoutError):
            replay.run()
        assert replay.sent == 0
        silent.set_result(None)
        assert replay.run().sent == 2

    def test_invalid_window(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            Replay(table([1.0]), pytest.fail, window=0)

    @given(
        measured=st.lists(st.booleans(), max_size=40),
        fates=st.lists(st.sampled_from(["at once", "later", "refused", "raised"]), max_size=60),
        window=st.integers(1, 9),
    )
    def test_each_reading_exactly_once_whatever_fails(
        self, measured: list[bool], fates: list[str], window: int
    ) -> None:
        stage = [float(row) if there else np.nan for row, there in enumerate(measured)]
        fate, heard = iter(fates), []

        def send(reading: Reading) -> Answer | None:
            what = next(fate, "later")
            if what == "raised":
                raise ConnectionError
            if what == "refused":
                return Answer(ConnectionError())
            heard.append(reading.depth)
            return Answer() if what == "later" else None

        replay = Replay(table(stage), send, window=window, progress=False)
        for _ in range(len(fates) + 1):
            with contextlib.suppress(ConnectionError):
                replay.run()
        assert sorted(heard) == [row for row, there in enumerate(measured) if there]
        assert (replay.sent, replay.skipped) == (len(heard), len(measured) - len(heard))


class TestStopAndPause:
    """Commands from another thread or from ``send`` take effect before the next reading."""

    def test_stop(self) -> None:
        heard: list[float | None] = []

        def send(reading: Reading) -> Answer:
            heard.append(reading.depth)
            if len(heard) == 2:
                replay.stop()
            return Answer()

        replay = Replay(table([1.0, 2.0, 3.0]), send, progress=False)
        assert replay.run().sent == 2
        assert replay.run().sent == 3
        assert heard == [1, 2, 3]

    def test_stop_does_not_wait_until_the_next_reading_is_due(self) -> None:
        heard = threading.Event()
        replay = Replay(table([1.0, 2.0]), lambda _: heard.set(), speed=1, progress=False)
        run = threading.Thread(target=replay.run)
        run.start()
        assert heard.wait(10)
        replay.stop()
        run.join(10)
        assert not run.is_alive()
        assert replay.sent == 1

    @pytest.mark.parametrize("then", ["resume", "stop"])
    def test_pause(self, then: str) -> None:
        heard: list[float | None] = []
        answers: list[Answer] = []
        paused = threading.Event()

        class Slow(Answer):
            def result(self, timeout: float | None = None) -> None:
                super().result(timeout)
                paused.set()

        def send(reading: Reading) -> Answer:
            heard.append(reading.depth)
            answers.append(Slow())
            if len(heard) == 2:
                replay.pause()
            return answers[-1]

        replay = Replay(table([1.0, 2.0, 3.0]), send, progress=False)
        run = threading.Thread(target=replay.run)
        run.start()
        assert paused.wait(10)
        assert heard == [1, 2]
        getattr(replay, then)()
        run.join(10)
        assert not run.is_alive()
        assert all(answer.here for answer in answers)
        assert replay.sent == (3 if then == "resume" else 2)

    def test_after_a_pause_the_schedule_starts_again(self) -> None:
        time, sent_at = Time(), []

        def send(_: Reading) -> None:
            sent_at.append(time.now - 1000)
            if len(sent_at) == 2:
                replay.pause()
                time.now += 50
                threading.Timer(0.01, replay.resume).start()

        replay = Replay(
            table([1.0] * 4), send, speed=300, progress=False, clock=time.clock, sleep=time.sleep
        )
        replay.run()
        assert sent_at == pytest.approx([0, 1, 51, 52])


class TestPosition:
    def test_another_replay_resumes_from_it(self, tmp_path: Path) -> None:
        readings = table([0.0, 1.0, float("nan"), 3.0, 4.0, 5.0])
        heard: list[float | None] = []

        def send(reading: Reading) -> Answer:
            heard.append(reading.depth)
            first = reading.depth == 3.0 and heard.count(3.0) == 1
            return Answer(ConnectionError() if first else None)

        with pytest.raises(ConnectionError):
            Replay(readings, send, position_file=tmp_path / "position", progress=False).run()
        replay = Replay(readings, send, position_file=tmp_path / "position", progress=False)
        assert repr(replay) == "Replay: 3 of 6 rows done (2 sent, 1 skipped)"
        replay.run()
        assert heard == [0, 1, 3, 4, 5, 3]
        assert (
            Replay(readings, pytest.fail, position_file=str(tmp_path / "position")).run().next
            is None
        )

    def test_it_is_never_behind_if_there_is_time_between_readings(self, tmp_path: Path) -> None:
        """A program that is killed while it waits sends nothing twice."""
        time, file, positions = Time(), tmp_path / "position", []

        def sleep(seconds: float) -> None:
            positions.append(json.loads(file.read_text())["sent"])
            time.sleep(seconds)

        Replay(
            table([1.0] * 4),
            lambda _: Answer(),
            speed=300,
            position_file=file,
            progress=False,
            clock=time.clock,
            sleep=sleep,
        ).run()
        assert positions == [1, 2, 3]

    def test_at_full_speed_it_is_at_most_half_a_second_behind(self, tmp_path: Path) -> None:
        time, file, behind = Time(), tmp_path / "position", []

        def send(_: Reading) -> None:
            time.now += 0.1
            saved = json.loads(file.read_text())["sent"] if file.exists() else 0
            behind.append(replay.sent - saved)

        replay = Replay(
            table([1.0] * 40), send, position_file=file, progress=False, clock=time.clock
        )
        replay.run()
        assert 4 <= max(behind) <= 6

    def test_a_crash_while_writing_keeps_the_old_position(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "position"
        ReplayPosition("a", 1).save(file)

        def crash(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("os.fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            ReplayPosition("a", 2).save(file)
        monkeypatch.undo()
        assert ReplayPosition.load(file, "a").sent == 1
        ReplayPosition("a", 3, 1, [7]).save(file)
        assert ReplayPosition.load(file, "a") == ReplayPosition("a", 3, 1, [7])
        assert [path.name for path in tmp_path.iterdir()] == ["position"]

    def test_another_recording_needs_another_file(self, tmp_path: Path) -> None:
        Replay(
            table([1.0, 2.0]), lambda _: None, position_file=tmp_path / "position", progress=False
        ).run()
        for other in (table([1.0, 2.1]), table([1.0]), table([1.0, 2.0], [20.0, 20.0])):
            with pytest.raises(ValueError, match="holds the position in another recording"):
                Replay(other, pytest.fail, position_file=tmp_path / "position")

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"recording": "a", "rows": 1}', "\0"])
    def test_not_a_position(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "position").write_text(text)
        with pytest.raises(ValueError, match="does not hold the position of a replay"):
            Replay(table([1.0]), pytest.fail, position_file=tmp_path / "position")

    @settings(max_examples=30)
    @given(
        fates=st.lists(st.sampled_from(["later", "refused", "lost", "raised"]), max_size=40),
        window=st.integers(1, 9),
    )
    def test_no_reading_is_lost_and_only_unacknowledged_ones_are_repeated(
        self, fates: list[str], window: int
    ) -> None:
        fate, heard, unheard = iter(fates), [], []

        def send(reading: Reading) -> Answer:
            what = next(fate, "later")
            if what == "raised":
                raise ConnectionError
            if what != "refused":
                heard.append(reading.depth)
            if what == "lost":
                unheard.append(reading.depth)
            return Answer(None if what == "later" else ConnectionError())

        readings = table([float(row) for row in range(20)])
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(len(fates) + 1):
                process = Replay(
                    readings,
                    send,
                    window=window,
                    position_file=Path(folder, "position"),
                    progress=False,
                )
                with contextlib.suppress(ConnectionError):
                    process.run()
        assert process.sent == 20
        assert sorted([*range(20), *unheard]) == sorted(depth or 0 for depth in heard)


class TestFaults:
    def test_a_network_loss_delays_its_readings(self) -> None:
        time, sent = Time(), []
        loss = Fault("network loss", at(5), at(14))
        Replay(
            table([0.0, 1.0, 2.0, 3.0]),
            lambda reading: sent.append((time.now - 1000, reading.depth)),
            speed=300,
            faults=[loss],
            progress=False,
            clock=time.clock,
            sleep=time.sleep,
        ).run()
        assert [depth for _, depth in sent] == [0, 1, 2, 3]
        assert [moment for moment, _ in sent] == pytest.approx([0, 2.8, 2.8, 3])

    def test_other_faults_change_the_readings(self) -> None:
        heard: list[float | None] = []
        faults = [Fault("power cut", at(5), at(5)), Fault("spike", at(10), at(10), 5)]
        Replay(
            table([0.0, 1.0, 2.0]),
            lambda reading: heard.append(reading.depth),
            faults=faults,
            progress=False,
        ).run()
        assert heard == [0, 7]


class TestReadings:
    @pytest.mark.parametrize("name", samples.names())
    def test_every_sample_is_a_device(self, name: str) -> None:
        readings = samples.load(name).iloc[:3000]
        heard: list[Reading] = []
        Replay(readings, heard.append, progress=False).run()
        used = [name for name in readings if name.endswith(("stage_ft", "temperature_degC"))]
        rows = readings[readings[used].notna().any(axis=1)]
        assert [reading.time for reading in heard] == list(rows.index)
        depths = [np.nan if reading.depth is None else reading.depth for reading in heard]
        np.testing.assert_array_equal(depths, rows["stage_ft"])
        assert any(reading.temperature is not None for reading in heard)

    def test_bad_readings_are_rejected_before_anything_is_sent(self) -> None:
        with pytest.raises(ValueError, match="is not later than"):
            Replay(table([1.0, 2.0]).iloc[::-1], pytest.fail)
        with pytest.raises(ValueError, match="no column 'stage_ft'"):
            Replay(table([1.0]).rename(columns={"stage_ft": "depth"}), pytest.fail)

    def test_local_time_is_sent_as_utc(self) -> None:
        heard: list[Reading] = []
        readings = table([1.0]).tz_convert("America/New_York")
        Replay(readings, heard.append, progress=False).run()
        assert heard[0].message()["time"] == "2018-08-31T12:00:00Z"

    def test_changing_the_readings_later_has_no_effect(self) -> None:
        readings, heard = table([1.0]), []
        replay = Replay(readings, heard.append, progress=False)
        readings.iloc[0, 0] = 9.0
        replay.run()
        assert [reading.depth for reading in heard] == [1.0]


class TestProgress:
    def test_the_bar_counts_rows(self, capsys: pytest.CaptureFixture[str]) -> None:
        Replay(table([1.0, float("nan")]), lambda _: None).run()
        captured = capsys.readouterr()
        assert "2/2" in captured.err
        assert captured.out == ""

    def test_the_bar_resumes_with_the_replay(self, capsys: pytest.CaptureFixture[str]) -> None:
        def send(reading: Reading) -> None:
            if reading.depth == 3.0 and not failed:
                failed.append(reading)
                raise ConnectionError

        failed: list[Reading] = []
        replay = Replay(table([1.0, 2.0, 3.0]), send)
        with pytest.raises(ConnectionError):
            replay.run()
        assert "2/3" in capsys.readouterr().err
        replay.run()
        again = capsys.readouterr().err
        assert "2/3" in again
        assert "3/3" in again

    def test_no_bar(self, capsys: pytest.CaptureFixture[str]) -> None:
        Replay(table([1.0]), lambda _: None, progress=False).run()
        assert capsys.readouterr() == ("", "")

    def test_the_stored_bar_does_not_depend_on_time(self) -> None:
        def first(elapsed: float) -> str:
            return tqdm.format_meter(
                0, 577, elapsed, unit=" readings", bar_format=replay_module._BAR
            )

        assert first(0) == first(0.4) == first(75)
        assert "0/577" in first(0)
