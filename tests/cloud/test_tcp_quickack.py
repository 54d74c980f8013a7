"""When TCP acknowledges by itself: at once where the client waits for it, else a moment later."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from creeklab.cloud.mqtt.listeners import tcp_quickack
from creeklab.cloud.mqtt.listeners.tcp_quickack import DelayedAcks, QuickAck
from tests.hardening.in_process_cloud import start_cloud

pytestmark = pytest.mark.skipif(tcp_quickack._OPTION is None, reason="only Linux can be asked to")


class Transport:
    def __init__(self, lent: socket.socket) -> None:
        self.lent = lent
        self.closing = False

    def get_extra_info(self, name: str) -> Any:
        return self.lent

    def is_closing(self) -> bool:
        return self.closing


class Recorder(QuickAck):
    """Notes the acknowledgments."""

    count = 0

    def _acknowledge(self) -> None:
        super()._acknowledge()
        self.count += 1


@pytest.fixture
def transport() -> Iterator[Any]:
    with socket.socket() as lent:
        yield Transport(lent)


def test_acknowledges_at_once_while_the_client_sends_next(transport: Any) -> None:
    async def play() -> None:
        ack = Recorder(transport, DelayedAcks())
        for number in range(1, 4):
            ack.on_receive()
            ack.on_no_reply()
            assert ack.count == number
        ack.close()

    asyncio.run(play())


def test_acknowledges_later_while_the_cloud_sends_next(
    transport: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_quickack, "DELAY", 0.0)

    async def play() -> None:
        ack = Recorder(transport, DelayedAcks())
        ack.on_no_reply()
        ack.on_send()
        ack.on_receive()
        ack.on_no_reply()
        ack.on_send()  # it carries the acknowledgment along
        await asyncio.sleep(0.01)
        assert ack.count == 1
        ack.on_receive()
        ack.on_no_reply()
        assert ack.count == 1
        await asyncio.sleep(0.01)
        assert ack.count == 2
        ack.on_receive()  # the client was next: it may have waited
        ack.on_no_reply()
        assert ack.count == 3
        ack.close()

    asyncio.run(play())


def test_one_timer_serves_all_connections(transport: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_quickack, "DELAY", 0.0)

    async def play() -> None:
        delayed, timers = DelayedAcks(), []
        loop = asyncio.get_running_loop()
        call_later = loop.call_later
        monkeypatch.setattr(
            loop, "call_later", lambda *args: timers.append(args) or call_later(*args)
        )
        acks = [Recorder(transport, delayed) for _ in range(3)]
        for ack in acks:
            ack.on_no_reply()
            ack.on_send()
            for _ in range(2):
                ack.on_receive()
                ack.on_send()
                ack._client_is_next = False
                ack.on_no_reply()
        acks[1].on_send()
        assert len(timers) == 1
        await asyncio.sleep(0.01)
        assert [ack.count for ack in acks] == [2, 1, 2]
        for ack in acks:
            ack.close()

    asyncio.run(play())


def test_a_reply_does_not_tell_which_side_sends_next(transport: Any) -> None:
    async def play() -> None:
        ack = Recorder(transport, DelayedAcks())
        ack.on_no_reply()
        ack.on_receive()
        ack.on_send()
        ack.on_receive()
        ack.on_no_reply()
        assert ack.count == 2
        ack.close()

    asyncio.run(play())


def test_the_transport_keeps_its_socket(transport: Any) -> None:
    async def play() -> None:
        ack = QuickAck(transport, DelayedAcks())
        ack.on_no_reply()
        ack.on_send()
        ack.on_no_reply()  # a moment later ...
        ack.close()  # ... there is nothing to acknowledge
        ack.on_no_reply()
        await asyncio.sleep(2 * tcp_quickack.DELAY)

    asyncio.run(play())
    assert transport.lent.fileno() >= 0
    transport.lent.getsockname()


def test_the_transport_keeps_its_socket_after_garbage_collection(transport: Any) -> None:
    ack = QuickAck(transport, DelayedAcks())
    del ack
    gc.collect()
    transport.lent.getsockname()


def test_each_update_of_a_device_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK leaves Nagle's algorithm on; Linux would take 40 ms for each update."""
    acknowledged: list[QuickAck] = []
    acknowledge = QuickAck._acknowledge

    def record(self: QuickAck) -> None:
        acknowledge(self)
        acknowledged.append(self)

    monkeypatch.setattr(QuickAck, "_acknowledge", record)
    with (
        start_cloud(tmp_path / "home") as cloud,
        cloud.lab.connect(cloud.thing.name) as device,
    ):
        device.shadow.update(reported={"depth": 0})
        acknowledged.clear()
        for number in range(10):
            device.shadow.update(reported={"depth": number})
        # A busy machine can combine some packets; the median update must not wait.
        assert len(acknowledged) > 5
