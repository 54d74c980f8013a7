"""Hours of traffic without growth: a short run of ``python -m tests.hardening soak``.

What minutes can show is not growth but what is left: when everyone has gone and time has passed,
every table is as empty as in the beginning.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.hardening.process_usage import ON_LINUX, slope
from tests.hardening.soak import Classroom, Growth, Sample, add_arguments, real

SEED = 20180831


def test_nothing_is_left_after_a_class(tmp_path: Path) -> None:
    room = Classroom(tmp_path, SEED)
    try:
        before = room.sample(0)
        for _ in range(120):
            room.second()
        assert room.services.event_log.last_number > 1000
        room.dismiss()
        broker = room.services.broker
        assert not broker.connections
        assert not broker._sessions
        assert not [*broker._wills]
        assert broker._tree._root.empty
        assert broker._backlog.bytes == 0
        assert not broker._deferred_pubacks
        for table in ("sessions", "messages", "queued"):
            [(left,)] = room.services.database.execute(f"SELECT count(*) FROM {table}")
            assert left == 0, table
        assert room.sample(0).handles == before.handles
    finally:
        room.services.close()


@pytest.mark.skipif(not ON_LINUX, reason="What a process uses is read from /proc.")
def test_a_real_cloud_does_not_grow() -> None:
    """A leak of a connection or a call adds to the objects.

    Memory itself depends on the machine; ``python -m tests.hardening soak`` judges it.
    """
    first, *_, last = real(3, SEED, turns=25, filled=False)
    assert last.handles <= first.handles
    assert last.objects <= first.objects


def samples(resident: list[int], handles: list[int]) -> list[Sample]:
    pairs = enumerate(zip(resident, handles, strict=True))
    return [Sample(hour, used, used, number, 0) for hour, (used, number) in pairs]


@pytest.mark.parametrize(
    ("resident", "handles", "found"),
    [
        ([50, 80, 90, 99, 100, 100, 100, 100], [9] * 8, False),  # warming up is no growth
        ([100, 100, 100, 100, 101, 100, 100, 101], [9] * 8, False),  # nor is noise
        ([100, 100, 100, 100, 100, 101, 102, 103], [9] * 8, True),
        ([100, 100, 100, 100, 100, 101, 101, 101], [9] * 8, True),
        ([100] * 8, [9, 9, 9, 9, 9, 9, 9, 10], True),
        ([100] * 8, [9, 9, 9, 12, 12, 12, 12, 12], False),
    ],
)
def test_growth_is_judged_by_the_second_half(
    resident: list[int], handles: list[int], found: bool
) -> None:
    scaled = [used * 1000 for used in resident]
    assert Growth.of(samples(scaled, handles)).is_found is found


@pytest.mark.parametrize(("hours", "accepted"), [("8", 8), ("6", 6), ("0", 0), ("0.1", None)])
def test_a_run_that_is_too_short_to_be_judged_is_rejected(
    hours: str, accepted: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its buffers would still fill up in its second half, which looks like growth."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    if accepted is not None:
        assert parser.parse_args(["--hours", hours]).hours == accepted
        return
    with pytest.raises(SystemExit):
        parser.parse_args(["--hours", hours])
    assert "0.1 hours cannot be judged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "found"),
    [([0, 0, 0, 0, 0, 1, 1, 1], False), ([0, 0, 0, 0, 0, 1, 2, 3], True)],
)
def test_process_memory_grows_in_steps(steps: list[int], found: bool) -> None:
    used = [Sample(hour, (80 + step) << 20, 400_000, 9, 0) for hour, step in enumerate(steps)]
    assert Growth.of(used).is_found is found


def test_slope() -> None:
    assert slope([0, 1, 2, 3], [5, 7, 9, 11]) == pytest.approx(2)
