"""A replay sends every reading once, in order, on time, and can always go on where it was."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm.auto import tqdm

from creeklab.creek import replay as replay_module
from creeklab.creek import samples
from creeklab.creek.replay import Reading, Replay


def table(stage: list[float], celsius: list[float] | None = None) -> pd.DataFrame:
    """Five-minute readings from noon."""
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

    def test_fahrenheit_gives_the_celsius_back(self) -> None:
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

    def test_temperature_need_not_be_there(self) -> None:
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
        """Play with a ``send`` that takes so long; give the seconds at which each was sent."""
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

    def test_a_slow_send_is_caught_up_with_and_leaves_no_drift(self) -> None:
        _, sent_at = self.play(table([1.0] * 6), 300, [0.2, 2.5, 0.1, 0.1, 0.1, 0.1])
        assert sent_at == pytest.approx([0, 1, 3.5, 3.6, 4, 5])

    def test_a_gap_takes_its_time(self) -> None:
        readings = table([1.0, 2.0, float("nan"), 4.0, 5.0]).drop(index="2018-08-31 12:15+00:00")
        assert self.play(readings, 300, [0.0] * 3)[1] == pytest.approx([0, 1, 4])

    def test_as_fast_as_it_goes_never_waits(self) -> None:
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
    def test_no_speed(self, speed: float) -> None:
        with pytest.raises(ValueError, match="3600 for an hour a second"):
            Replay(table([1.0]), pytest.fail, speed=speed)


class TestResume:
    @pytest.mark.parametrize("error", [ConnectionError("cut off"), KeyboardInterrupt()])
    def test_it_goes_on_with_the_reading_that_failed(self, error: BaseException) -> None:
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

    def test_another_process_plays_the_rest(self) -> None:
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

    def test_at_the_end_there_is_nothing_left_to_send(self) -> None:
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


class TestReadings:
    def test_bad_readings_are_refused_before_anything_is_sent(self) -> None:
        with pytest.raises(ValueError, match="does not come after"):
            Replay(table([1.0, 2.0]).iloc[::-1], pytest.fail)
        with pytest.raises(ValueError, match="no column 'stage_ft'"):
            Replay(table([1.0]).rename(columns={"stage_ft": "depth"}), pytest.fail)

    def test_local_time_is_sent_as_utc(self) -> None:
        heard: list[Reading] = []
        readings = table([1.0]).tz_convert("America/New_York")
        Replay(readings, heard.append, progress=False).run()
        assert heard[0].message()["time"] == "2018-08-31T12:00:00Z"

    def test_the_readings_may_change_afterwards(self) -> None:
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

    def test_the_bar_goes_on_where_the_replay_does(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
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

    def test_what_a_notebook_stores_of_the_bar_does_not_depend_on_time(self) -> None:
        def first(elapsed: float) -> str:
            return tqdm.format_meter(
                0, 577, elapsed, unit=" readings", bar_format=replay_module._BAR
            )

        assert first(0) == first(0.4) == first(75)
        assert "0/577" in first(0)
