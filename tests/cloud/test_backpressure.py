"""Publishers wait for slow subscribers, and nobody waits for one that does not acknowledge."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from creeklab.cloud.mqtt import backpressure
from creeklab.cloud.mqtt.backpressure import Backpressure
from creeklab.cloud.mqtt.codec.packets import Puback, Publish
from creeklab.cloud.mqtt.session import session as session_module
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.session import Session
from tests.cloud.broker_fixture import subscribe
from tests.hardening.in_process_cloud import InProcessCloud, start_cloud

MESSAGES = 3_000


def queue(waiting: int) -> Session:
    session = Session("slow", 5, "ab" * 32)
    message = OutboundMessage("creek", b"1", 1, {})
    session.waiting.extend((message, False, position) for position in range(waiting))
    return session


@pytest.fixture
def resumed() -> list[int]:
    return []


def waits(pressure: Backpressure, resumed: list[int]) -> Callable[[], None]:
    return lambda: pressure.wait(lambda: resumed.append(1))


def test_publishers_wait_from_a_long_queue_to_a_short_one(resumed: list[int]) -> None:
    pressure = Backpressure()
    session = queue(backpressure.LONG_QUEUE - 1)
    pressure.on_queue(session)
    assert not pressure.reached
    session.waiting.append(session.waiting[0])
    pressure.on_queue(session)
    assert pressure.reached
    assert pressure.is_slow(session)
    waits(pressure, resumed)()
    while len(session.waiting) > backpressure.SHORT_QUEUE:
        assert resumed == []
        session.waiting.popleft()
        pressure.on_acknowledge(session, 1)
    assert resumed == [1]
    assert not pressure.is_slow(session)


def test_publishers_continue_a_few_at_a_time(resumed: list[int]) -> None:
    pressure = Backpressure()
    session = queue(backpressure.LONG_QUEUE)
    pressure.on_queue(session)
    for _ in range(20):
        waits(pressure, resumed)()
    session.waiting.clear()
    pressure.on_acknowledge(session, 1)
    assert len(resumed) == backpressure.RESUMED_AT_ONCE
    pressure.tick()
    assert len(resumed) == 20


@pytest.mark.parametrize("lacking", [0, 1])
def test_nobody_waits_for_a_subscriber_without_progress(resumed: list[int], lacking: int) -> None:
    count = backpressure.MIN_ACKNOWLEDGED - lacking
    pressure = Backpressure()
    session = queue(backpressure.LONG_QUEUE)
    pressure.on_queue(session)
    waits(pressure, resumed)()
    pressure.on_acknowledge(session, count)
    pressure.tick()
    waited_for = not lacking
    assert resumed == [1] * (not waited_for)
    pressure.reached = False
    pressure.on_queue(session)
    assert pressure.reached is waited_for  # and not again before its queue is short
    session.waiting.clear()
    pressure.on_acknowledge(session, 1)
    session.waiting.extend(queue(backpressure.LONG_QUEUE).waiting)
    pressure.on_queue(session)
    assert pressure.reached


def test_nobody_waits_for_a_subscriber_that_has_disconnected(resumed: list[int]) -> None:
    pressure = Backpressure()
    session = queue(backpressure.LONG_QUEUE)
    pressure.on_queue(session)
    waits(pressure, resumed)()
    pressure.remove(session)
    assert resumed == [1]


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessCloud]:
    monkeypatch.setattr(session_module, "MAX_WAITING", 400)
    monkeypatch.setattr(backpressure, "LONG_QUEUE", 100)
    monkeypatch.setattr(backpressure, "SHORT_QUEUE", 20)
    monkeypatch.setattr(backpressure, "MIN_ACKNOWLEDGED", 0)
    with start_cloud(tmp_path / "home") as running:
        yield running


def publish(cloud: InProcessCloud, number: int) -> None:
    """Publish as fast as the cloud acknowledges, with 50 messages in flight."""
    with contextlib.closing(cloud.connect(f"publisher-{number}")) as client:
        acknowledged = (each for each in client.packets() if isinstance(each, Puback))
        for first in range(0, MESSAGES, 50):
            ids = range(first + 1, first + 51)
            client.send(*(Publish("flood", b"%d" % each, 1, packet_id=each) for each in ids))
            for packet_id in ids:
                assert next(acknowledged) == Puback(packet_id)


def test_a_connected_subscriber_receives_everything_that_was_acknowledged(
    cloud: InProcessCloud,
) -> None:
    """Though it acknowledges one message at a time, and two clients publish at full speed."""
    with contextlib.closing(cloud.connect("slow")) as client:
        client.send(subscribe("flood"))
        publishers = [threading.Thread(target=publish, args=(cloud, each)) for each in range(2)]
        for each in publishers:
            each.start()
        received = 0
        for packet in client.packets():
            if isinstance(packet, Publish):
                received += 1
                client.send(Puback(packet.packet_id))
                if received == 2 * MESSAGES:
                    break
        for each in publishers:
            each.join()
    assert cloud.entries("dropped") == []
