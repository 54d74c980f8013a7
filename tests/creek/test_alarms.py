"""Alarm rules: small cases, and what the rules are worth on a recorded creek."""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.creek import alarms
from creeklab.creek.alarms import Rules, State, check_silence, step
from creeklab.creek.analysis.alarm_trial import Trial, try_rules

FIVE_MINUTES = 300.0


def kinds(
    stages: list[float | None], rules: Rules | None = None, state: State | None = None
) -> list[tuple[int, str]]:
    """Return the row and the kind of each alarm, for one reading every five minutes."""
    state, found = state or State(), []
    for row, stage in enumerate(stages):
        state, raised = step(rules or Rules(), state, FIVE_MINUTES * (row + 1), stage)
        found += [(row, alarm.kind) for alarm in raised]
    return found


class TestThreshold:
    def test_one_alarm_and_one_all_clear(self) -> None:
        stages = [2.0, 2.6, 2.4, 2.7, 1.8, 1.7, 2.0, 2.6]
        assert kinds(stages) == [(1, "flood"), (5, "all-clear"), (7, "flood")]

    def test_exactly_at_a_threshold_nothing_changes(self) -> None:
        assert kinds([2.5, 2.5]) == []
        assert kinds([2.6, 1.75]) == [(0, "flood")]

    def test_thresholds_in_the_wrong_order(self) -> None:
        with pytest.raises(ValueError, match=r"2.5 ft must be below the alarm at 2.5 ft"):
            Rules(low_ft=2.5)


class TestRising:
    rules = Rules(high_ft=9, landmarks={"Bank": 3.0, "Barn": 9.0})

    def test_a_straight_rise(self) -> None:
        """At 1.2 ft per hour, the bank is an hour away at 1.8 ft, and is warned of once."""
        state, found = State(), []
        for row in range(30):
            state, raised = step(self.rules, state, FIVE_MINUTES * (row + 1), 1 + 0.1 * row)
            found += raised
        assert [(alarm.landmark, round(alarm.minutes or 0)) for alarm in found] == [("Bank", 60)]
        assert found[0].stage_ft == pytest.approx(1.8)
        assert "reaches Bank (3 ft) in 60 minutes" in found[0].text

    def test_again_after_the_all_clear(self) -> None:
        rise = [2.0, 2.2, 2.4, 2.6]
        found = kinds([*rise, 2.0, *[1.7] * 7, *rise], self.rules)
        assert [kind for _, kind in found] == ["rising"] * 2

    def test_a_slow_rise_and_a_fall_warn_of_nothing(self) -> None:
        assert kinds([2 + 0.02 * row for row in range(12)], self.rules) == []
        assert kinds([2.9, 2.8, 2.7, 2.6], self.rules) == []


class TestDoubt:
    def test_one_wild_reading_raises_nothing(self) -> None:
        assert kinds([1.0, 30.0, 1.0, 1.0]) == []

    def test_a_second_reading_confirms_a_jump(self) -> None:
        assert kinds([1.0, 4.0, 4.1]) == [(2, "flood")]

    def test_a_run_of_doubtful_readings(self) -> None:
        nothing: list[float | None] = [None, math.nan]
        assert kinds([1.0, *nothing, 99.0, None, 1.0]) == [(3, "doubtful")]

    def test_a_reading_outside_the_span_confirms_nothing(self) -> None:
        rules = Rules(span_ft=(0, 34.88))
        assert kinds([1.0, 40.0, 40.0, 40.0], rules) == [(3, "doubtful")]


class TestSilence:
    def test_a_silent_sensor_and_its_return(self) -> None:
        state, _ = step(Rules(), State(), 0.0, 1.0)
        assert check_silence(Rules(), state, 29 * 60) == (state, ())
        state, (alarm,) = check_silence(Rules(), state, 31 * 60)
        assert (alarm.kind, alarm.text) == ("silent", "The sensor has sent nothing for 31 minutes.")
        assert check_silence(Rules(), state, 99 * 60) == (state, ())
        state, (back,) = step(Rules(), state, 6000.0, 1.0)
        assert back.kind == "back"
        assert not state.silent

    def test_before_the_first_reading_nothing_is_silent(self) -> None:
        assert check_silence(Rules(), State(), 1e9) == (State(), ())


def test_repeated_and_late_readings_change_nothing() -> None:
    state, _ = step(Rules(), State(), 600.0, 1.0)
    for time in (600.0, 300.0):
        assert step(Rules(), state, time, 9.0) == (state, ())


@given(st.lists(st.none() | st.floats(0, 10), max_size=40), st.integers(0, 40))
def test_the_state_survives_json(stages: list[float | None], cut: int) -> None:
    """A function that stores the state between two calls raises the same alarms."""
    rules = Rules(landmarks={"Bank": 4.0})
    state, expected = State(), []
    stored, found = State(), []
    for row, stage in enumerate(stages):
        time = FIVE_MINUTES * (row + 1)
        state, raised = step(rules, state, time, stage)
        expected += raised
        if row >= cut:
            stored = State.from_json(stored.to_json())
        stored, raised = step(rules, stored, time, stage)
        found += raised
    assert found == expected
    assert stored == state


def test_it_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(alarms.__file__).read_text(encoding="utf-8"))
    names = {
        each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names
    }
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


class TestPlumtreeRun:
    @pytest.fixture(scope="class")
    @classmethod
    def trial(cls, three_years: pd.DataFrame) -> Trial:
        rules = Rules(landmarks={"3 ft": 3.0, "4 ft": 4.0, "5 ft": 5.0})
        return try_rules(three_years, rules)

    def test_each_of_the_74_floods_raises_one_alarm(self, trial: Trial) -> None:
        assert trial.counts()["flood"] == 74

    def test_what_the_warnings_were_worth(self, trial: Trial) -> None:
        """A straight line promises too much: most of its warnings are false, and they are short."""
        table = trial.landmarks
        assert table["reached"].tolist() == [30, 6, 2]
        assert table["missed"].tolist() == [0, 0, 0]
        assert table["false"].tolist() == [89, 61, 33]
        assert table["median_min"].tolist() == [27.5, 42.5, 30]
        assert table["shortest_min"].tolist() == [5, 10, 20]
