"""What is done about clients that take more than their share, over TLS and over WebSocket."""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import Pingreq, Puback, Publish, Unsubscribe
from creeklab.cloud.mqtt.listeners import tls_listener, websocket_listener
from creeklab.cloud.mqtt.listeners.tcp_quickack import QuickAck
from creeklab.cloud.mqtt.rate_limits import Throughput
from creeklab.cloud.mqtt.routing.topic_tree import MAX_PAYLOAD
from tests.cloud.broker_fixture import BrokerFixture, connect, subscribe

PING = packets.encode(Pingreq(), 5)
LARGE = bytes(MAX_PAYLOAD)


def asking(qos: int) -> bytes:
    """Ask for a retained message, as often as one packet can."""
    return packets.encode(subscribe(*["a"] * 8, qos=qos), 5)


class Socket:
    """A transport, and all the rest that a protocol asks it for."""

    def __init__(self) -> None:
        self.written = b""
        self.unread = 0
        self.paused = False
        self.gone = False
        self.socket = socket.socket()
        weakref.finalize(self, self.socket.close)

    def get_extra_info(self, name: str) -> Any:
        address = "127.0.0.1", 8883
        known = {"peername": address, "sockname": address, "peercert": {}, "socket": self.socket}
        return known.get(name, self)

    def getpeercert(self, binary_form: bool) -> bytes:
        return b"certificate"

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written += data
        if len(data) > tls_listener.HIGH_WATER:
            self.full()

    def full(self) -> None:
        """Say that no more should come, if that is what the test is about."""

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.gone

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.gone = True

    close = abort


def in_a_loop(scene: Callable[[BrokerFixture, Any, Socket], Any]) -> None:
    """Play a scene with a client that is connected."""

    async def play() -> None:
        fixture, socket = BrokerFixture(), Socket()
        outgoing = tls_listener._WriteQueue(asyncio.get_running_loop())
        protocol = tls_listener._MqttProtocol(lambda *_: fixture.broker, outgoing)
        protocol.connection_made(socket)  # type: ignore[arg-type]
        protocol.received(packets.encode(connect("a", 5), 5))
        try:
            await scene(fixture, protocol, socket)
        finally:
            protocol.connection_lost(None)
            socket.socket.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("unread", "stays"), [(tls_listener.MAX_UNREAD, True), (tls_listener.MAX_UNREAD + 1, False)]
)
def test_who_reads_no_answer_is_cut_off(unread: int, stays: bool) -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        socket.unread = unread
        protocol.pause_writing()
        protocol.received(PING)
        await asyncio.sleep(0)
        assert socket.gone is not stays
        assert ("a" in fixture.broker.connections) is stays
        if not stays:
            assert "16 MiB wait for the device to read them" in fixture.refusal

    in_a_loop(scene)


def test_a_client_that_reads_receives_everything() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        socket.unread = tls_listener.MAX_UNREAD + 1
        protocol.received(PING)
        await asyncio.sleep(0)
        assert "a" in fixture.broker.connections

    in_a_loop(scene)


def test_a_few_bytes_do_not_queue_many() -> None:
    """All in one reading, in which nothing can be sent and nobody can read."""

    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        await asyncio.sleep(0)
        before = len(socket.written)
        fixture.broker.publish("a", LARGE, 0, retain=True)
        protocol.received(asking(0) * 400)
        sent = len(socket.written) - before
        assert tls_listener.HIGH_WATER < sent < tls_listener.HIGH_WATER + 2 * MAX_PAYLOAD
        # It has read all of it, so it gets what comes.
        fixture.broker.publish("a", b"the next", 0)
        await asyncio.sleep(0)
        assert socket.written.endswith(b"the next")

    in_a_loop(scene)


def messages_in(data: bytes) -> list[Publish]:
    return [each for each in Decoder(version=5).feed(data) if isinstance(each, Publish)]


def test_retained_messages_are_sent_as_the_client_reads() -> None:
    """More of them than a client is sent at once, asked for in one reading."""

    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        topics = [f"creek/{number}" for number in range(30)]
        for topic in topics:
            fixture.broker.publish(topic, LARGE, 0, retain=True)
        before = len(socket.written)
        socket.full = protocol.pause_writing
        asked = [subscribe(*topics[at : at + 5]) for at in range(0, 30, 5)]
        protocol.received(b"".join(packets.encode(each, 5) for each in asked))
        fixture.broker.publish("creek/29", b"newer", 0, retain=True)
        unsubscribe = packets.encode(Unsubscribe(8, ["creek/28"]), 5)
        protocol.received(unsubscribe)
        for _ in range(20):
            await asyncio.sleep(0)
            assert len(socket.written) - before < tls_listener.HIGH_WATER + 2 * MAX_PAYLOAD
            before = len(socket.written)
            protocol.resume_writing()
        messages = messages_in(socket.written)
        assert [each.topic for each in messages] == topics[:28] + topics[29:]
        assert messages[-1].payload == b"newer"
        assert all(each.retain for each in messages)
        # The live one was dropped, the retained one came instead of it.
        dropped = [each for each in fixture.event_log.entries() if each["kind"] == "dropped"]
        assert [each["topic"] for each in dropped] == ["creek/29"]

    in_a_loop(scene)


def test_unread_bytes_in_the_transport_count() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        fixture.broker.publish("a", LARGE, 0, retain=True)
        protocol.received(asking(0) * 2)
        protocol.pause_writing()
        await asyncio.sleep(0)
        fixture.broker.publish("a", b"missed", 0)
        await asyncio.sleep(0)
        assert not socket.written.endswith(b"missed")
        protocol.resume_writing()
        fixture.broker.publish("a", b"not missed", 0)
        await asyncio.sleep(0)
        assert socket.written.endswith(b"not missed")

    in_a_loop(scene)


def test_a_client_that_acknowledges_unsent_messages_is_cut_off() -> None:
    """Each PUBACK makes room for one message more."""

    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        fixture.broker.publish("a", LARGE, 1, retain=True)
        unread = asking(1) * 40
        unread += b"".join(packets.encode(Puback(n, 0, {}), 5) for n in range(1, 300))
        before = socket.written
        protocol.received(unread)
        assert socket.gone
        assert socket.written == before
        assert "a" not in fixture.broker.connections
        assert "wait for the device to read them" in fixture.refusal

    in_a_loop(scene)


def test_no_tcp_acknowledgment_before_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        unanswered: list[bool] = []
        monkeypatch.setattr(QuickAck, "on_no_reply", lambda _: unanswered.append(True))
        protocol.received(PING)
        protocol._connection.deferred_pubacks = 1  # a PUBACK that waits until its message is kept
        protocol.received(packets.encode(Puback(1, 0, {}), 5))
        assert unanswered == []
        protocol._connection.deferred_pubacks = 0
        protocol.received(packets.encode(Puback(2, 0, {}), 5))
        assert unanswered == [True]

    in_a_loop(scene)


def test_other_connections_get_a_turn_during_a_flood() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        await asyncio.sleep(0)
        protocol.received(PING * 100)
        assert not socket.paused
        protocol.received(PING * (tls_listener.READ_BUDGET // 2))
        assert socket.paused
        await asyncio.sleep(0)
        assert not socket.paused
        assert socket.written.endswith(b"\xd0\x00" * (100 + tls_listener.READ_BUDGET // 2))

    in_a_loop(scene)


class WebSocket:
    """A WebSocket whose other end does not read."""

    def __init__(self) -> None:
        self.transport = Socket()

    async def send(self, data: bytes) -> None:
        await asyncio.Event().wait()


def test_a_slow_websocket_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_listener, "MAX_UNREAD", 1000)

    async def play() -> None:
        fixture = BrokerFixture()
        web_socket: Any = WebSocket()
        conversation = websocket_listener._Conversation(fixture.broker, web_socket, "user")
        sending = asyncio.ensure_future(conversation._send())
        await conversation._process(packets.encode(connect("a", 5), 5))
        await asyncio.sleep(0)
        await conversation._process(PING * 500)
        await asyncio.sleep(0)
        assert "a" in fixture.broker.connections
        await conversation._process(PING)
        await asyncio.sleep(0)
        assert "a" not in fixture.broker.connections
        assert "keeps asking for more" in fixture.refusal
        conversation._close_timeout.cancel()
        sending.cancel()

    asyncio.run(play())


class ReadWebSocket:
    """A WebSocket whose other end reads."""

    def __init__(self) -> None:
        self.transport = Socket()
        self.written = b""

    async def send(self, data: bytes) -> None:
        self.written += data


def test_retained_messages_over_websocket() -> None:
    async def play() -> None:
        fixture = BrokerFixture()
        web_socket: Any = ReadWebSocket()
        conversation = websocket_listener._Conversation(fixture.broker, web_socket, "user")
        sending = asyncio.ensure_future(conversation._send())
        await conversation._process(packets.encode(connect("a", 5), 5))
        topics = [f"creek/{number}" for number in range(24)]
        for topic in topics:
            fixture.broker.publish(topic, LARGE, 0, retain=True)
        for at in range(0, 24, 8):
            await conversation._process(packets.encode(subscribe(*topics[at : at + 8]), 5))
        assert conversation._queued_bytes < websocket_listener.HIGH_WATER + 2 * MAX_PAYLOAD
        await asyncio.sleep(0)
        assert [each.topic for each in messages_in(web_socket.written)] == topics
        sending.cancel()

    asyncio.run(play())


def test_a_defect_while_writing_closes_one_connection() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        others = []
        for name in ("b", "c"):
            other = tls_listener._MqttProtocol(lambda *_: fixture.broker, protocol._outgoing)
            other.connection_made(Socket())  # type: ignore[arg-type]
            other.received(packets.encode(connect(name, 5), 5))
            other.received(packets.encode(subscribe("news", qos=0), 5))
            others.append(other)

        def broken() -> None:
            raise RuntimeError("a defect")

        others[0]._transport.write = lambda _: broken()
        for number in range(2):
            fixture.broker.publish("news", b"%d" % number, 0)
            await asyncio.sleep(0)
        assert set(fixture.broker.connections) == {"a", "c"}
        assert messages_in(others[1]._transport.written)[-1].payload == b"1"
        for other in others:
            other.connection_lost(None)
            other._transport.socket.close()

    in_a_loop(scene)


def test_others_have_a_turn_after_each_refused_message() -> None:
    """A decision can take as long as ten messages; fifty refusals arrive at once here."""

    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        fixture.authorization.denied.add(("iot:Publish", "topic/secret"))
        loop = protocol._loop = LaterLoop()
        before = socket.written.count(b"\x87")
        sent = [Publish("secret", b"", 1, packet_id=number) for number in range(1, 51)]
        protocol.received(b"".join(packets.encode(each, 5) for each in sent))
        for answered in range(1, 51):
            assert socket.written.count(b"\x87") == before + answered
            assert socket.paused
            loop.soon.pop()()
        assert not socket.paused
        assert loop.soon == []

    in_a_loop(scene)


def test_others_have_a_turn_after_each_new_topic() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        fixture.authorization.publishable = set()  # type: ignore[misc]
        loop = protocol._loop = LaterLoop()
        topics = ["a", "a", "b", "a", "b", "c"]
        protocol.received(b"".join(packets.encode(Publish(each, b""), 5) for each in topics))
        turns = 1
        while loop.soon:
            loop.soon.pop()()
            turns += 1
        assert turns == 4  # after a, b and c
        assert protocol._steps is None

    in_a_loop(scene)


def test_a_defect_while_reading_closes_one_connection() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        def defect(_: bytes) -> Iterator[None]:
            raise RuntimeError("a defect")
            yield

        protocol._connection.steps = defect
        protocol._connection.connection_lost = None  # called, it fails
        protocol.received(PING)
        assert socket.gone
        assert not protocol._outgoing.reading
        del protocol._connection.steps, protocol._connection.connection_lost

    in_a_loop(scene)


def test_nothing_is_sent_after_the_connection_is_lost() -> None:
    """Though a quota of throughput held it back until then."""

    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        protocol._pace = Throughput(1000, fixture.clock())
        protocol.received(packets.encode(subscribe("news", qos=0), 5))
        for _ in range(3):
            fixture.broker.publish("news", bytes(2000), 0)
        await asyncio.sleep(0)
        assert protocol._out
        assert protocol._send_timer is not None
        before = socket.written
        protocol.connection_lost(None)
        assert not protocol._out
        fixture.clock.now += 60
        await asyncio.sleep(0)
        assert socket.written == before
        protocol.connection_made(socket)

    in_a_loop(scene)


class LaterLoop:
    """Stands in for a connection's event loop, and calls nothing until the test does."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        self.later.append((delay, callback))
        return Handle()


class Handle:
    def cancel(self) -> None:
        pass


def test_bytes_above_the_throughput_are_read_after_the_delay() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        loop = protocol._loop = LaterLoop()
        protocol._pace = Throughput(1000, fixture.clock())
        protocol.received(packets.encode(Publish("a", bytes(2500)), 5))
        assert socket.paused
        loop.soon.pop()()
        [(delay, resume)] = loop.later
        assert delay == pytest.approx(1.5, abs=0.1)
        assert socket.paused
        fixture.clock.now += delay / 2  # called too early, it waits for the rest
        resume()
        assert socket.paused
        [_, (rest, resume)] = loop.later
        assert rest == pytest.approx(delay / 2, abs=0.001)
        fixture.clock.now += rest + 0.001
        resume()
        assert not socket.paused

    in_a_loop(scene)


def test_messages_above_the_throughput_are_sent_after_the_delay() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        protocol.received(packets.encode(subscribe("news", qos=0), 5))
        protocol._pace = Throughput(1000, fixture.clock())
        loop = protocol._loop = LaterLoop()
        before = len(messages_in(socket.written))
        for number in range(3):
            fixture.broker.publish("news", b"%d" % number + bytes(1500), 0)
        for received in range(1, 4):
            protocol.flush() if received == 1 else None
            assert len(messages_in(socket.written)) == before + received
            if received < 3:
                delay, send = loop.later.pop()
                fixture.clock.now += delay + 0.001
                send()

    in_a_loop(scene)


def test_bytes_above_the_throughput_delay_a_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [10.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(websocket_listener.asyncio, "sleep", sleep)
    conversation = websocket_listener._Conversation.__new__(websocket_listener._Conversation)
    conversation._closed = False
    conversation._timer = lambda: now[0]
    conversation._pace = Throughput(1000, now[0])
    asyncio.run(conversation._limit_throughput(900))
    assert slept == []
    asyncio.run(conversation._limit_throughput(2100))
    assert sum(slept) == pytest.approx(2.0)


def test_a_client_is_cut_off_once() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        protocol._connection.record_slow_consumer(17 << 20)
        protocol._connection.record_slow_consumer(18 << 20)
        cut = [
            each for each in fixture.event_log.entries() if "MiB wait" in str(each.get("refusal"))
        ]
        assert len(cut) == 1

    in_a_loop(scene)


def test_a_waiting_retained_message_follows_the_current_subscription() -> None:
    async def scene(fixture: BrokerFixture, protocol: Any, socket: Socket) -> None:
        for number in range(12):
            fixture.broker.publish(f"creek/{number}", LARGE, 1, retain=True)
        socket.full = protocol.pause_writing
        filters = [f"creek/{number}" for number in range(12)]
        asked = [subscribe(*filters[:8], qos=0), subscribe(*filters[8:], qos=0)]
        protocol.received(b"".join(packets.encode(each, 5) for each in asked))
        waiting = list(protocol._connection._retained_due)
        assert waiting
        again = subscribe(waiting[0], qos=1, retain_handling=2)
        gone = Unsubscribe(8, waiting[1:])
        protocol.received(packets.encode(again, 5) + packets.encode(gone, 5))
        assert not protocol._connection._retained_due
        count = len(messages_in(socket.written))
        protocol.resume_writing()
        await asyncio.sleep(0)
        assert len(messages_in(socket.written)) == count

    in_a_loop(scene)
