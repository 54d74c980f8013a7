"""Packets that arrive in one read have the same effect as the same packets one by one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.cloud.mqtt.codec.packets import Publish, encode, encode_puback
from tests.cloud.broker_fixture import BrokerFixture, Client, subscribe

SIZES = [0, 1, 50, 118, 119, 120, 128, 16_370, 16_384, 20_000]
TOPICS = ["creek/depth", "creek/temperature", "$aws/things/creek/shadow/get", "creek/é"]


def two_subscribers(fixture: BrokerFixture) -> list[Client]:
    return [fixture.connected("b", 5), fixture.connected("c", 4)]


def shared_group(fixture: BrokerFixture) -> list[Client]:
    members = [fixture.connected("b", 5), fixture.connected("c", 5)]
    for member in members:
        member.send(subscribe("$share/g/creek/#", qos=0))
    return members


def small_max_packet(fixture: BrokerFixture) -> list[Client]:
    return [fixture.connected("b", 5, maximum_packet_size=60), fixture.connected("c", 5)]


def slow_reader(fixture: BrokerFixture) -> list[Client]:
    slow = fixture.connected("b", 5)
    slow.connection.congested = True
    return [slow, fixture.connected("c", 5)]


def disconnected_session(fixture: BrokerFixture) -> list[Client]:
    gone = fixture.connected("b", 5, clean=False, session_expiry_interval=60)
    gone.send(subscribe("creek/#", qos=1))
    gone.connection.connection_lost("gone")
    return [fixture.connected("c", 5)]


def receive_denied(fixture: BrokerFixture) -> list[Client]:
    fixture.authorization.denied.add(("iot:Receive", "topic/creek/depth"))
    return two_subscribers(fixture)


Receivers = Callable[[BrokerFixture], list[Client]]
RECEIVERS: list[Receivers] = [
    two_subscribers,
    shared_group,
    small_max_packet,
    slow_reader,
    disconnected_session,
    receive_denied,
]


def play(
    sent: list[Publish], version: int, receivers: Receivers, together: bool, rate: int = 0
) -> Any:
    """Send messages in one read or in one each; return everything that anybody can observe."""
    random.seed(0)  # which member of a group a message goes to
    fixture = BrokerFixture(publish_rate=rate)
    sender = fixture.connected("a", version)
    sender.send(subscribe("creek/depth", qos=0))
    clients = receivers(fixture)
    for client in clients:
        client.send(subscribe("creek/#", qos=1))
    for topic in TOPICS:  # the decoder has a fast path for topics that it knows
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
def test_messages_in_one_read(
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
def test_acknowledgments_in_one_read(version: int) -> None:
    """The same messages follow, whether the PUBACKs arrive together or one by one."""
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
