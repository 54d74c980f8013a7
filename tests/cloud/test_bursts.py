"""Messages that come in one reading: nobody can tell them from the same messages one by one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.cloud.mqtt.codec.decoder import Decoder, PubackBatch, PublishBatch
from creeklab.cloud.mqtt.codec.packets import Puback, Publish, encode, encode_puback
from creeklab.cloud.mqtt.codec.wire import ProtocolError
from tests.cloud.broker_fixture import BrokerFixture, Client, FakeAuthorization, connect, subscribe

SIZES = [0, 1, 50, 118, 119, 120, 128, 16_370, 16_384, 20_000]
TOPICS = ["creek/depth", "creek/temperature", "$aws/things/creek/shadow/get", "creek/é"]


@dataclass
class Cached(FakeAuthorization):
    """FakeAuthorization that remember what they have allowed, as the real ones do."""

    publishable: Any = field(default_factory=set)
    receivable: Any = field(default_factory=set)

    def may_receive(self, topic: str, refused: Any) -> bool:
        allowed = super().may_receive(topic, refused)
        if allowed:
            self.receivable.add(topic)
        return allowed


def plain(fixture: BrokerFixture) -> list[Client]:
    return [fixture.connected("b", 5), fixture.connected("c", 4)]


def a_group(fixture: BrokerFixture) -> list[Client]:
    members = [fixture.connected("b", 5), fixture.connected("c", 5)]
    for member in members:
        member.send(subscribe("$share/g/creek/#", qos=0))
    return members


def one_that_takes_little(fixture: BrokerFixture) -> list[Client]:
    return [fixture.connected("b", 5, maximum_packet_size=60), fixture.connected("c", 5)]


def one_that_does_not_read(fixture: BrokerFixture) -> list[Client]:
    slow = fixture.connected("b", 5)
    slow.connection.congested = True
    return [slow, fixture.connected("c", 5)]


def one_that_is_away(fixture: BrokerFixture) -> list[Client]:
    gone = fixture.connected("b", 5, clean=False, session_expiry_interval=60)
    gone.send(subscribe("creek/#", qos=1))
    gone.connection.connection_lost("gone")
    return [fixture.connected("c", 5)]


def one_that_may_not_receive(fixture: BrokerFixture) -> list[Client]:
    fixture.authorization.denied.add(("iot:Receive", "topic/creek/depth"))
    return plain(fixture)


Receivers = Callable[[BrokerFixture], list[Client]]
RECEIVERS: list[Receivers] = [
    plain,
    a_group,
    one_that_takes_little,
    one_that_does_not_read,
    one_that_is_away,
    one_that_may_not_receive,
]


def play(
    sent: list[Publish], version: int, receivers: Receivers, together: bool, rate: int = 0
) -> Any:
    """Send messages in one reading, or each in one of its own; return all that anybody notices."""
    random.seed(0)  # which member of a group a message goes to
    fixture = BrokerFixture(publish_rate=rate)
    fixture.authorization = Cached()
    sender = fixture.connected("a", version)
    sender.send(subscribe("creek/depth", qos=0))
    clients = receivers(fixture)
    for client in clients:
        client.send(subscribe("creek/#", qos=1))
    for topic in TOPICS:  # what is known of a topic after the first message on it
        sender.send(Publish(topic, b"first"))
    frames = [encode(each, version) for each in sent]
    for frame in [b"".join(frames)] if together else frames:
        sender.connection.receive(frame)
    fixture.broker.commit_and_acknowledge()
    entries = fixture.event_log.entries()
    return [client.receive() for client in (sender, *clients)], entries, counted(fixture)


def counted(fixture: BrokerFixture) -> dict[str, int]:
    return dict(fixture.event_log.metrics.mqtt)


messages = st.builds(
    Publish,
    st.sampled_from(TOPICS),
    st.sampled_from(SIZES).map(bytes),
    qos=st.sampled_from([0, 0, 0, 1]),
    retain=st.sampled_from([False, False, False, True]),
    packet_id=st.just(0),
)


@pytest.mark.parametrize("receivers", RECEIVERS)
@given(
    runs=st.lists(st.tuples(messages, st.integers(1, 4)), max_size=6),
    version=st.sampled_from([4, 5]),
    rate=st.sampled_from([0, 3]),
)
def test_nobody_can_tell(
    receivers: Receivers, runs: list[tuple[Publish, int]], version: int, rate: int
) -> None:
    sent = []
    for message, times in runs:
        for _ in range(times):
            packet_id = len(sent) + 1 if message.qos else 0
            topic, retain = message.topic, message.retain and message.topic != TOPICS[2]
            sent.append(Publish(topic, message.payload, message.qos, retain, False, packet_id))
    together = play(sent, version, receivers, together=True, rate=rate)
    assert together == play(sent, version, receivers, together=False, rate=rate)


@pytest.mark.parametrize("version", [4, 5])
def test_it_is_sent_on_as_a_whole(version: int) -> None:
    """Or this file would test nothing."""
    written: list[bytes] = []
    fixture = BrokerFixture()
    fixture.authorization = Cached()
    sender, receiver = fixture.connected("a", version), fixture.connected("b", 5)
    receiver.send(subscribe("creek/depth", qos=1))
    sender.send(Publish("creek/depth", b"first"))
    receiver.connection._write = written.append
    sent = [Publish("creek/depth", str(number).encode()) for number in range(300)]
    sender.connection.receive(b"".join(encode(each, version) for each in sent))
    assert written == [b"".join(encode(each, 5) for each in sent)]
    told = [
        (one["payload"], one["to"])
        for one in fixture.event_log.entries()
        if one["kind"] == "publish"
    ]
    assert told[-300:] == [(each.payload.decode(), ["b"]) for each in sent]


def test_rights_that_were_lost_count_at_once() -> None:
    fixture = BrokerFixture()
    fixture.authorization = Cached()
    sender, receiver = fixture.connected("a", 5), fixture.connected("b", 5)
    receiver.send(subscribe("creek/depth", qos=0))
    burst = encode(Publish("creek/depth", b"1"), 5) * 3
    sender.send(Publish("creek/depth", b"first"))
    sender.connection.receive(burst)
    assert len(receiver.receive()) == 4
    fixture.authorization.denied.add(("iot:Publish", "topic/creek/depth"))
    fixture.authorization.publishable.clear()
    sender.connection.receive(burst)
    assert sender.closed
    assert receiver.receive() == []


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_a_burst(version: int, size: int) -> None:
    message = Publish("creek/depth", bytes(size))
    decoder = Decoder(bursts=True)
    list(decoder.feed(encode(connect("a", version), version)))
    frame = encode(message, version)
    assert list(decoder.feed(frame)) == [message]  # by itself, it is none
    others = [
        Publish("creek/depth", b"x"),
        Publish("creek/dept", b"hx"),
        Publish("creek/depth", b"x", retain=True),
        Publish("creek/depth", b"x", 1, packet_id=1),
    ]
    cut = frame[:-1] if size else frame[:5]
    data = frame * 3 + b"".join(encode(each, version) for each in others) + cut
    first, *rest = decoder.feed(data)
    if len(frame) <= 3 + 16_383:
        payloads = [message.payload] * 3 + [b"x"]
        assert first == PublishBatch(
            "creek/depth", payloads, frame * 3 + encode(others[0], version)
        )
        assert rest == others[1:]
    else:
        assert [first, *rest] == [message] * 3 + others
    [last] = decoder.feed(frame[len(cut) :])
    assert last == message


def test_no_packet_of_a_burst_is_larger_than_is_taken() -> None:
    decoder = Decoder(bursts=True, max_packet_size=100)
    list(decoder.feed(encode(connect("a", 5), 5)))
    frames = [encode(Publish("a", bytes(size)), 5) for size in (10, 10, 200)]
    packets = iter(decoder.feed(b"".join(frames)))
    assert next(packets) == next(packets) == Publish("a", bytes(10))
    with pytest.raises(Exception, match="a packet may have 100"):
        next(packets)


@pytest.mark.parametrize("version", [4, 5])
def test_acknowledgements_in_a_row(version: int) -> None:
    """In one reading or in many, the same messages come after them."""
    heard = []
    for together in (True, False):
        fixture = BrokerFixture()
        receiver = fixture.connected("b", version)
        receiver.send(subscribe("creek", qos=1))
        for number in range(250):
            fixture.broker.publish("creek", b"%d" % number, 1)
        came = [each.payload for each in receiver.receive()]
        assert len(came) == 100
        acks = [encode_puback(packet_id) for packet_id in (*range(1, 81), 80, 7777)]
        for data in [b"".join(acks)] if together else acks:
            receiver.connection.receive(data)
        came += [each.payload for each in receiver.receive()]
        heard.append(came)
    assert heard[0] == heard[1] == [b"%d" % number for number in range(180)]


def test_what_is_a_row_of_acknowledgements() -> None:
    decoder = Decoder(bursts=True)
    list(decoder.feed(encode(connect("a", 5), 5)))
    row = b"".join(map(encode_puback, (1, 2, 65_535)))
    told = encode(Puback(4, 0x10), 5)
    assert list(decoder.feed(row + told + encode_puback(5) + b"\x40\x02\x00")) == [
        PubackBatch([1, 2, 65_535]),
        Puback(4, 0x10),
        Puback(5),
    ]
    assert list(decoder.feed(b"\x06")) == [Puback(6)]
    with pytest.raises(ProtocolError, match="packet id 0"):
        list(decoder.feed(row + encode_puback(0)))
