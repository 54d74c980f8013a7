"""Every reason code that the broker gives, once: what a client does, and what it is told.

A table of MQTT 5. MQTT 3.1.1 has no word for most of it: there the same packets end the connection
without one, or with the one return code that there is. Whatever a client has done, nothing of it is
left in the broker when it has gone.

Sources: MQTT 5, sections 2.4 and 4.13; AWS IoT developer guide, "MQTT 5 reason codes".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.packets import (
    Connack,
    Disconnect,
    Packet,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from creeklab.cloud.storage.database import Database
from tests.cloud.broker_fixture import BrokerFixture, Client, connect, subscribe

Sent = Packet | bytes | Callable[[BrokerFixture], object]


@dataclass(frozen=True)
class Row:
    """What a client sends, or what happens, and what it hears then.

    `first` is a CONNECT or what comes in its place; `old` is what a client of MQTT 3.1.1 hears,
    None if it cannot say or meet the same.
    """

    name: str
    sent: Sequence[Sent]
    hears: Packet
    old: list[Packet] | None
    first: Packet | bytes | None = None
    stays: bool = False


def raw(first: int, body: str) -> bytes:
    content = bytes.fromhex(body)
    return bytes((first, len(content))) + content


def publish(topic: str, qos: int = 1, payload: bytes = b"", **options: Any) -> Publish:
    return Publish(topic, payload, qos, packet_id=qos and 5, **options)


def filters(count: int, start: int = 0) -> Subscribe:
    return Subscribe(9, [Subscription(f"f/{n}", 1) for n in range(start, start + count)])


def will(topic: str, qos: int = 0) -> Packet:
    return connect("a", 5, will=Will(topic, b"", qos))


def time_passes(fixture: BrokerFixture) -> None:
    fixture.clock.now += 91
    fixture.broker.tick()


def connects_again(fixture: BrokerFixture) -> None:
    fixture.connected("a", 5)


ROWS = (
    # --- 0x81, malformed: it cannot be read
    Row("reserved flags", [raw(0xC1, "")], Disconnect(0x81), []),
    Row("packet type 0", [raw(0x00, "")], Disconnect(0x81), []),
    Row("QoS 3", [raw(0x36, "0001 61 0001 00")], Disconnect(0x81), []),
    Row("a length of five bytes", [b"\xc0\x80\x80\x80\x80\x01"], Disconnect(0x81), []),
    Row("a field that goes on after the end", [raw(0x30, "0009 61")], Disconnect(0x81), []),
    Row("a packet that goes on after its fields", [raw(0xC0, "00")], Disconnect(0x81), []),
    Row("a topic that is not UTF-8", [raw(0x30, "0001 ff 00")], Disconnect(0x81), []),
    Row("U+0000", [raw(0x82, "0001 00 0001 00 01")], Disconnect(0x81), []),
    Row("a property of another packet", [raw(0x30, "0001 61 02 13 00 00")], Disconnect(0x81), None),
    Row("CONNECT, cut off", [], Connack(False, 0x81), [], first=raw(0x10, "0004 4d515454 05 02")),
    # --- 0x82, protocol error: it can be read, and is not allowed
    Row("a second CONNECT", [connect("a", 5)], Disconnect(0x82), []),
    Row("what only a server sends", [Connack(False)], Disconnect(0x82), []),
    Row("PUBREL", [raw(0x62, "0001")], Disconnect(0x82), []),
    Row("AUTH", [raw(0xF0, "")], Disconnect(0x82), []),
    Row("packet id 0", [raw(0x32, "0001 61 0000 00")], Disconnect(0x82), []),
    Row("no topic filter", [raw(0x82, "0001 00")], Disconnect(0x82), None),
    Row("a topic alias never set", [raw(0x30, "0000 03 23 0001")], Disconnect(0x82), None),
    Row("topic alias 0", [raw(0x30, "0001 61 03 23 0000")], Disconnect(0x82), None),
    Row("neither topic nor alias", [raw(0x30, "0000 00")], Disconnect(0x82), None),
    Row("a property twice", [raw(0x30, "0001 61 04 0100 0100 61")], Disconnect(0x82), None),
    Row(
        "the subscription identifier of a server",
        [raw(0x30, "0001 61 02 0b01")],
        Disconnect(0x82),
        None,
    ),
    Row("no local, shared", [subscribe("$share/g/x", no_local=True)], Disconnect(0x82), None),
    Row(
        "an expiry from nothing",
        [Disconnect(0, {"session_expiry_interval": 1})],
        Disconnect(0x82),
        None,
    ),
    Row("PUBLISH first", [], Connack(False, 0x82), [], first=raw(0x30, "0001 61")),
    Row(
        "a receive maximum of 0",
        [],
        Connack(False, 0x82),
        None,
        first=raw(0x10, "0004 4d515454 05 02 003c 03 21 0000 0001 61"),
    ),
    # --- CONNECT refused
    Row(
        "level 6",
        [],
        Connack(False, 0x84),
        None,
        first=raw(0x10, "0004 4d515454 06 02 003c 00 0001 61"),
    ),
    Row("a client ID with $", [], Connack(False, 0x85), [], first=connect("$a", 5)),
    Row("a client ID too long", [], Connack(False, 0x85), [], first=connect("a" * 129, 5)),
    Row("not allowed to connect", [], Connack(False, 0x87), [], first=connect("denied", 5)),
    Row("a will not allowed", [], Connack(False, 0x87), [], first=will("denied")),
    Row("a will of QoS 2", [], Connack(False, 0x9B), [], first=will("a", 2)),
    Row("a will too deep", [], Connack(False, 0x90), [], first=will("a/b/c/d/e/f/g/h/i")),
    # --- requests refused
    Row("QoS 0 not allowed", [publish("denied", 0)], Disconnect(0x87), []),
    Row("QoS 1 not allowed", [publish("denied")], Puback(5, 0x87), [], stays=True),
    Row("a filter not allowed", [subscribe("denied")], Suback(7, [0x87]), [], stays=True),
    Row("a filter that is none", [subscribe("a#")], Suback(7, [0x8F]), [], stays=True),
    Row("one of two filters", [subscribe("a", "a#")], Suback(7, [1, 0x8F]), [], stays=True),
    Row("a topic too deep", [publish("a/b/c/d/e/f/g/h/i")], Puback(5, 0x90), [], stays=True),
    Row("a reserved topic", [publish("$SYS/x")], Puback(5, 0x90), [], stays=True),
    Row("a wildcard in a topic", [raw(0x30, "0001 2b 00")], Disconnect(0x90), []),
    Row("topic alias 9", [raw(0x30, "0001 61 03 23 0009")], Disconnect(0x94), None),
    Row("a packet too large", [b"\x30\x81\x90\x09"], Disconnect(0x95), []),
    Row("a payload too large", [publish("a", 1, bytes(131_073))], Puback(5, 0x97), [], stays=True),
    Row("nine filters", [filters(9)], Disconnect(0x97), []),
    Row("QoS 2", [publish("a", 2)], Disconnect(0x9B), []),
    Row(
        "a subscription identifier",
        [Subscribe(7, [Subscription("a", 1)], {"subscription_identifier": 1})],
        Disconnect(0xA1),
        None,
    ),
    # --- what happens to a client
    Row("silence", [time_passes], Disconnect(0x8D), []),
    Row("its client ID connects again", [connects_again], Disconnect(0x8E), []),
    Row("the cloud ends", [lambda fixture: fixture.broker.close()], Disconnect(0x8B), []),
    Row(
        "DeleteConnection",
        [lambda fixture: fixture.broker.disconnect("a", False, False)],
        Disconnect(0x98),
        [],
    ),
)


@pytest.fixture
def fixture() -> BrokerFixture:
    fixture = BrokerFixture()
    fixture.authorization.denied |= {
        ("iot:Connect", "client/denied"),
        ("iot:Publish", "topic/denied"),
        ("iot:Subscribe", "topicfilter/denied"),
    }
    return fixture


def play(fixture: BrokerFixture, client: Client, sent: Sequence[Sent]) -> list[Packet]:
    heard: list[Packet] = []
    for each in sent:
        if callable(each):
            each(fixture)
        elif isinstance(each, bytes):
            client.connection.receive(each)
        else:
            client.connection.receive(packets.encode(each, client.version))
        fixture.broker.commit_and_acknowledge()
        heard += client.receive()
    return heard


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_mqtt_5(fixture: BrokerFixture, row: Row) -> None:
    client = fixture.client(5) if row.first else fixture.connected("a", 5)
    if isinstance(row.first, bytes) and row.first[0] != 0x10:
        # Nobody knows the version yet: what was said in neither is answered in neither.
        assert play(fixture, client, [row.first]) == []
    else:
        assert play(fixture, client, [row.first, *row.sent] if row.first else row.sent) == [
            row.hears
        ]
    assert client.closed is not row.stays
    leaves_nothing(fixture, client)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.old is not None], ids=lambda row: row.name
)
def test_mqtt_311(fixture: BrokerFixture, row: Row) -> None:
    client = fixture.client(4) if row.first else fixture.connected("a", 4)
    first = row.first
    if isinstance(first, packets.Connect):
        first.version, first.properties = 4, {}
    elif isinstance(first, bytes):
        first = first.replace(b"MQTT\x05", b"MQTT\x04")
    assert play(fixture, client, [first, *row.sent] if first else row.sent) == row.old
    assert client.closed
    leaves_nothing(fixture, client)


def leaves_nothing(fixture: BrokerFixture, client: Client) -> None:
    broker = fixture.broker
    client.connection.connection_lost("it went away")
    for connection in list(broker.connections.values()):
        connection.connection_lost("the other one, too")
    fixture.clock.now += 1
    broker.tick()
    assert (broker.connections, broker._sessions, [*broker._wills]) == ({}, {}, [])
    assert broker._tree._root.empty


def test_more_in_flight_than_the_receive_maximum(tmp_path: Path) -> None:
    store = Database(tmp_path / "cloud.db")
    fixture = BrokerFixture(store)
    fixture.connected("away", 5, session_expiry_interval=60).send(subscribe("#"))
    client = fixture.connected("a", 5)
    sent = [Publish("a", b"", 1, packet_id=number) for number in range(1, 102)]
    client.connection.receive(b"".join(packets.encode(each, 5) for each in sent))
    assert client.receive() == [Disconnect(0x93)]
    assert client.closed
    fixture.broker.close()
    store.close()


def test_a_puback_that_has_gone_out_makes_room(tmp_path: Path) -> None:
    """Whether the client has read it or not; one that has to wait does not."""
    store = Database(tmp_path / "cloud.db")
    fixture = BrokerFixture(store)
    fixture.connected("away", 5, session_expiry_interval=60).send(subscribe("kept"))
    client = fixture.connected("a", 5)

    def send(topic: str, numbers: range) -> None:
        sent = [Publish(topic, b"", 1, packet_id=number) for number in numbers]
        client.connection.receive(b"".join(packets.encode(each, 5) for each in sent))

    send("a", range(1, 101))
    send("a", range(101, 201))
    assert client.receive() == [Puback(number) for number in range(1, 201)]
    send("kept", range(1, 61))
    assert client.receive() == []
    fixture.broker.commit_and_acknowledge()
    send("kept", range(61, 121))
    assert client.receive() == [Puback(number) for number in range(1, 61)]
    send("kept", range(121, 162))
    assert client.receive() == [Disconnect(0x93)]
    fixture.broker.close()
    store.close()


def test_more_subscriptions_than_fifty(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    for start in range(0, 48, 8):
        client.send(filters(8, start))
    assert client.send(filters(4, 48)) == [Suback(9, [1, 1, 0x97, 0x97])]
    assert len(client.send(Unsubscribe(8, ["f/0"]))) == 1
    assert client.send(filters(1, 50)) == [Suback(9, [1])]


def test_messages_that_cannot_be_stored(tmp_path: Path) -> None:
    store = Database(tmp_path / "cloud.db")
    fixture = BrokerFixture(store)
    fixture.connected("away", 5, session_expiry_interval=60).send(subscribe("#"))
    client = fixture.connected("a", 5)
    (pages,) = store.execute("PRAGMA page_count").fetchone()
    store.execute(f"PRAGMA max_page_count = {pages}")
    assert client.send(Publish("a", bytes(50_000), 1, packet_id=5)) == [Puback(5, 0x80)]
    store.close()
