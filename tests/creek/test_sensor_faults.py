"""Slow faults in synthetic records: shifts, drifts, and neither."""

from __future__ import annotations

import numpy as np
import pytest

from creeklab.creek.quality import sensor_faults
from creeklab.creek.quality.limits import Limits

HOUR = 3600.0
LIMITS = Limits((-np.inf, np.inf), 0.0, 0.3, 0.6, 24.0, (), 0.035, 1.0)


def calm(days: float, level: float = 1.0) -> list[float]:
    """Return a creek that hardly moves, with a reading every quarter of an hour."""
    n = round(days * 96)
    return list(level + 0.01 * (np.arange(n) // 37 % 2))


def storm(height: float, base: float = 1.0) -> list[float]:
    """Return a flood that rises within 1.5 hours and falls with a half-life of three hours."""
    up = np.linspace(0, height, 7)[1:]
    down = height * 0.5 ** (np.arange(1, 193) / 12)
    return list(base + np.r_[up, down])


def ramp(days: float, by: float, base: float = 1.0) -> list[float]:
    return list(base + np.linspace(0, by, round(days * 96)))


def found(stages: list[float], gone: tuple[float, float] | None = None) -> list[tuple[str, float]]:
    at = np.arange(len(stages)) * HOUR / 4
    stage = np.array(stages)
    if gone is not None:
        there = (at < gone[0] * 24 * HOUR) | (at >= gone[1] * 24 * HOUR)
        at, stage = at[there], stage[there]
    return [(each.kind, round(each.size_ft, 1)) for each in sensor_faults.find(at, stage, LIMITS)]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (calm(20), []),
        (calm(10) + storm(0.5) + storm(5) + calm(10), []),
        (calm(10) + calm(10, 1.5), [("datum shift", 0.5)]),
        (calm(10) + calm(10, 0.5), [("datum shift", -0.5)]),
        (calm(10) + calm(10, 1.2), []),
        (calm(10, 1) + calm(0.3, 2) + storm(3, 2) + calm(10, 2), [("datum shift", 1.0)]),
        (
            calm(10) + calm(5, 1.8) + calm(10),
            [("datum shift", 0.8), ("datum shift", -0.8)],
        ),
        (calm(10) + ramp(6, 0.9) + calm(10), [("drift", 0.8)]),
        (calm(10) + ramp(6, -0.9) + calm(10), [("drift", -0.8)]),
        # Never corrected: upward drift is found, downward drift looks like the creek.
        (calm(10) + ramp(9, 0.9) + calm(10, 1.9), [("drift", 0.9)]),
        (calm(10) + ramp(9, -0.9) + calm(10, 0.1), []),
        (calm(3), []),
        ([], []),
    ],
)
def test_find(stages: list[float], expected: list[tuple[str, float]]) -> None:
    assert found(stages) == expected


@pytest.mark.parametrize(
    ("level", "expected"),
    [(1.5, [("datum shift", 0.5)]), (1.1, []), (0.6, [("datum shift", -0.4)])],
)
def test_a_shift_during_a_gap(level: float, expected: list[tuple[str, float]]) -> None:
    assert found(calm(55) + calm(60, level), gone=(50, 60)) == expected


def test_a_creek_can_change_by_itself_during_a_gap() -> None:
    seasons = [
        level for block in range(8) for level in calm(8, 1 + 0.4 * (block % 2)) + storm(2, 1.2)
    ]
    assert found(seasons, gone=(18, 29)) == []


def test_start_and_end_of_a_shift() -> None:
    at = np.arange(20 * 96) * HOUR / 4
    (shift,) = sensor_faults.find(at, np.array(calm(10) + calm(10, 1.5)), LIMITS)
    assert shift.start <= 10 * 24 * HOUR <= shift.end
    assert shift.end - shift.start <= 2 * HOUR
    (drift,) = sensor_faults.find(
        np.arange(26 * 96) * HOUR / 4, np.array(calm(10) + ramp(6, 0.9) + calm(10)), LIMITS
    )
    assert drift.corrected
    assert drift.start == pytest.approx(10.5 * 24 * HOUR, abs=36 * HOUR)
    assert drift.end == pytest.approx(16 * 24 * HOUR, abs=2 * HOUR)
