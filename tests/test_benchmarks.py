"""The benchmarks print figures that no test asserts, but the command must work."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks import classroom, mosquitto, open_loop
from tests.benchmarks.__main__ import PARTS
from tests.benchmarks.table import new_figures
from tests.benchmarks.traffic import Line

Start = Callable[[Path], contextlib.AbstractContextManager[classroom.Classroom]]


def _cloud(folder: Path) -> contextlib.AbstractContextManager[classroom.Classroom]:
    return classroom.cloud_class(folder / "home", [], devices=3)


def _mosquitto(folder: Path) -> contextlib.AbstractContextManager[classroom.Classroom]:
    if not mosquitto.program():
        pytest.skip("mosquitto is not installed")
    return classroom.mosquitto_class(folder, devices=3)


def test_they_run_and_print_their_tables() -> None:
    parts = ["start", "rules", "broker", "--only", "lockstep"]
    command = [sys.executable, "-m", "tests.benchmarks", "--repeat", "1", *parts]
    clone = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    for row in (
        "CONNACK of a Thing",
        "memory of the idle cloud",
        "readings of the flood",
        "lockstep",
        "publish path with ten rules",
    ):
        assert row in done.stdout


def test_a_fraction_of_the_replay() -> None:
    parts = ["creek-replay", "--only", "fraction"]
    command = [sys.executable, "-m", "tests.benchmarks", "--repeat", "1", *parts]
    clone = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "a fraction, 10,000 readings" in done.stdout


@pytest.mark.parametrize("start", [_cloud, _mosquitto])
def test_a_short_lesson_of_a_small_class(start: Start, tmp_path: Path) -> None:
    with start(tmp_path) as room:
        lesson = room.lesson(rate=150, seconds=1)
    assert len(lesson.to_subscribers) == 150
    assert len(lesson.to_watchers) == 300
    assert lesson.lost == 0
    assert min(lesson.to_subscribers + lesson.to_watchers) > 0


def test_a_missing_delivery_counts_as_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer = open_loop.offer

    def expect_one_more(
        senders: list[Line], receivers: list[tuple[Line, int]], messages: list[open_loop.Message]
    ) -> open_loop.Outcome:
        (first, count), *others = receivers
        return offer(senders, [(first, count + 1), *others], messages, silence=0.2)

    monkeypatch.setattr(open_loop, "offer", expect_one_more)
    with _cloud(tmp_path) as room:
        assert room.lesson(rate=30, seconds=1).lost == 1


@pytest.mark.parametrize("start", [_cloud, _mosquitto])
def test_a_device_of_the_class_publishes_to_its_own_topics_only(
    start: Start, tmp_path: Path
) -> None:
    message = open_loop.Message(0, 0.0, "creek/creek-02/reading", b"{}")
    with start(tmp_path) as room:
        device, other = room.devices["creek-01"], room.subscribers[1]
        with pytest.raises((AssertionError, ConnectionError), match=r"No PUBACK|closed"):
            open_loop.offer([device], [(other, 1)], [message], silence=0.5)


FINE = classroom.Lesson([0.001] * 100, [0.002] * 100, 0, 0.0001, 0.5)
SLOW = classroom.Lesson([0.001] * 100, [0.051] * 100, 0, 0.0001, 0.5)
LOSSY = classroom.Lesson([0.001] * 100, [0.002] * 100, 3, 0.0001, 0.5)


@pytest.mark.parametrize(
    ("at_6000", "at_8000", "highest", "lost"),
    [
        ([FINE], [SLOW, SLOW], 6_000, 0),
        ([SLOW, FINE], [SLOW, SLOW], 6_000, 0),  # one stall is forgiven
        ([SLOW, SLOW], [], 4_000, 0),
        ([FINE], [LOSSY], 6_000, 3),
        ([LOSSY], [], 4_000, 3),
    ],
)
def test_the_highest_load_of_a_class(
    at_6000: list[classroom.Lesson], at_8000: list[classroom.Lesson], highest: int, lost: int
) -> None:
    lessons = {1_000: [FINE, FINE], 2_000: [FINE], 4_000: [FINE], 6_000: at_6000, 8_000: at_8000}
    figures = new_figures()  # the first lesson warms up
    climb = classroom.Climb("scripted", lambda rate, _: lessons[rate].pop(0), figures)
    for rate in classroom.RATES:
        if not climb.ended:
            climb.step(rate)
    climb.finish()
    assert set(figures) == set(classroom.ROWS)
    assert figures[classroom.HIGHEST] == [highest]
    assert figures[classroom.LOST] == [lost]
    assert PARTS["class"][0] == classroom.ROWS
