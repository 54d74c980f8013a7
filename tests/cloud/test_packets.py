"""Bytes to packets and back: exact bytes, an independent codec, and whatever else may arrive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creeklab.cloud.mqtt.codec import wire
from creeklab.cloud.mqtt.codec.decoder import Decoder, Pubacks
from creeklab.cloud.mqtt.codec.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
    encode,
    encode_publish_around_id,
)
from creeklab.cloud.mqtt.codec.wire import Properties, ProtocolError, Reason

no_deadline = settings(deadline=None)

CONNECT = {
    4: bytes.fromhex("10 0d 0004 4d515454 04 02 003c 0001 63"),
    5: bytes.fromhex("10 0e 0004 4d515454 05 02 003c 00 0001 63"),
}
SENT_BY_SERVER = (Connack, Suback, Unsuback, Pingresp)


def run(decoder: Decoder, *chunks: bytes) -> tuple[list[Packet], ProtocolError | None]:
    """Feed the chunks; return the packets, and the error that ended it."""
    seen: list[Packet] = []
    try:
        for chunk in chunks:
            seen.extend(decoder.feed(chunk))
    except ProtocolError as error:
        return seen, error
    return seen, None


def end(version: int, *, server: bool = True) -> Decoder:
    """Return one end of a connection after CONNECT."""
    if not server:
        return Decoder(version=version)
    decoder = Decoder()
    assert run(decoder, CONNECT[version])[1] is None
    return decoder


def read(data: bytes, version: int, *, server: bool = True) -> Packet:
    seen, error = run(end(version, server=server), data)
    assert error is None
    assert len(seen) == 1
    return seen[0]


def frame(first: int, body: str | bytes) -> bytes:
    """Put first byte and length before a short body, which may be given in hex."""
    body = bytes.fromhex(body) if isinstance(body, str) else body
    assert len(body) < 128
    return bytes((first, len(body))) + body


# Exact bytes, both ways ---------------------------------------------------------------------------

EVERY_CONNECT_PROPERTY: Properties = {
    "session_expiry_interval": 600,
    "receive_maximum": 10,
    "maximum_packet_size": 1024,
    "topic_alias_maximum": 8,
    "request_response_information": 1,
    "request_problem_information": 0,
    "user_properties": [("k", "v"), ("k", "w")],
    "authentication_method": "m",
    "authentication_data": b"\x00\xff",
}
WILL_PROPERTIES: Properties = {
    "will_delay_interval": 5,
    "payload_format_indicator": 1,
    "message_expiry_interval": 60,
    "content_type": "t",
    "response_topic": "r",
    "correlation_data": b"\x01",
}

EXACT: list[tuple[int, str, Packet]] = [
    (4, "10 0d 0004 4d515454 04 02 003c 0001 63", Connect("c", 4, True, 60)),
    (4, "10 0c 0004 4d515454 04 00 0000 0000", Connect("", 4, False)),
    (
        4,
        "10 1e 0004 4d515454 04 f6 003c 0001 63 0003 772f74 0003 627965 0001 75 0002 00ff",
        Connect("c", 4, True, 60, "u", b"\x00\xff", Will("w/t", b"bye", 2, True)),
    ),
    (4, "10 10 0004 4d515454 04 82 0000 0001 63 0001 75", Connect("c", 4, username="u")),
    (5, "10 0e 0004 4d515454 05 02 003c 00 0001 63", Connect("c", 5, True, 60)),
    (
        5,
        "10 39 0004 4d515454 05 02 0000 2b 11 00000258 21 000a 27 00000400 22 0008 19 01 17 00"
        "26 0001 6b 0001 76 26 0001 6b 0001 77 15 0001 6d 16 0002 00ff 0001 63",
        Connect("c", 5, properties=EVERY_CONNECT_PROPERTY),
    ),
    (
        5,
        "10 2c 0004 4d515454 05 0e 0000 00 0001 63 18 18 00000005 01 01 02 0000003c"
        "03 0001 74 08 0001 72 09 0001 01 0001 77 0000",
        Connect("c", 5, will=Will("w", b"", 1, False, WILL_PROPERTIES)),
    ),
    (5, "10 11 0004 4d515454 05 42 0000 00 0001 63 0001 70", Connect("c", 5, password=b"p")),
    (4, "20 02 00 00", Connack(False, 0)),
    (4, "20 02 01 00", Connack(True, 0)),
    (4, "20 02 00 05", Connack(False, 5)),
    (5, "20 03 01 00 00", Connack(True, 0)),
    (5, "20 03 00 87 00", Connack(False, Reason.NOT_AUTHORIZED)),
    (
        5,
        "20 34 00 00 31 21 0064 24 01 25 01 27 00024800 22 0008 28 01 29 00 2a 01 13 04b0"
        "11 00000e10 12 0001 61 1f 0001 72 1a 0001 69 1c 0001 73 15 0001 6d",
        Connack(
            False,
            0,
            {
                "receive_maximum": 100,
                "maximum_qos": 1,
                "retain_available": 1,
                "maximum_packet_size": 149504,
                "topic_alias_maximum": 8,
                "wildcard_subscription_available": 1,
                "subscription_identifier_available": 0,
                "shared_subscription_available": 1,
                "server_keep_alive": 1200,
                "session_expiry_interval": 3600,
                "assigned_client_identifier": "a",
                "reason_string": "r",
                "response_information": "i",
                "server_reference": "s",
                "authentication_method": "m",
            },
        ),
    ),
    (4, "30 07 0003 612f62 6869", Publish("a/b", b"hi")),
    (4, "31 05 0003 612f62", Publish("a/b", b"", retain=True)),
    (4, "32 07 0003 612f62 0102", Publish("a/b", b"", 1, packet_id=258)),
    (4, "3d 08 0003 612f62 ffff 00", Publish("a/b", b"\0", 2, True, True, 65535)),
    (5, "30 08 0003 612f62 00 6869", Publish("a/b", b"hi")),
    (5, "3a 0a 0003 612f62 0001 00 6869", Publish("a/b", b"hi", 1, dup=True, packet_id=1)),
    (5, "34 08 0003 612f62 0001 00", Publish("a/b", b"", 2, packet_id=1)),
    (5, "30 07 0000 03 23 0004 78", Publish("", b"x", properties={"topic_alias": 4})),
    (5, "30 07 0004 c3a9ceb1 00", Publish("é\u03b1", b"")),
    (
        5,
        "32 27 0001 61 0001 20 01 00 02 00000001 03 0004 6a736f6e 08 0001 72 09 0002 0001"
        "26 0001 6b 0000 23 0001 78",
        Publish(
            "a",
            b"x",
            1,
            packet_id=1,
            properties={
                "payload_format_indicator": 0,
                "message_expiry_interval": 1,
                "content_type": "json",
                "response_topic": "r",
                "correlation_data": b"\0\1",
                "user_properties": [("k", "")],
                "topic_alias": 1,
            },
        ),
    ),
    (4, "40 02 000a", Puback(10)),
    (5, "40 02 000a", Puback(10)),
    (5, "40 04 000a 87 00", Puback(10, 0x87)),
    (5, "40 08 000a 00 04 1f 0001 72", Puback(10, 0, {"reason_string": "r"})),
    (4, "82 08 0001 0003 612f23 01", Subscribe(1, [Subscription("a/#", 1)])),
    (
        4,
        "82 0a 0001 0001 61 00 0001 2b 02",
        Subscribe(1, [Subscription("a", 0), Subscription("+", 2)]),
    ),
    (5, "82 09 0001 00 0003 612f23 01", Subscribe(1, [Subscription("a/#", 1)])),
    (
        5,
        "82 13 ffff 0d 0b ffffff7f 26 0001 6b 0002 7676 0000 2d",
        Subscribe(
            65535,
            [Subscription("", 1, True, True, 2)],
            {"subscription_identifier": 268_435_455, "user_properties": [("k", "vv")]},
        ),
    ),
    (4, "90 05 0001 00 01 80", Suback(1, [0, 1, 0x80])),
    (5, "90 06 0001 00 01 87 97", Suback(1, [1, 0x87, 0x97])),
    (4, "a2 08 0001 0001 61 0001 62", Unsubscribe(1, ["a", "b"])),
    (5, "a2 06 0001 00 0001 61", Unsubscribe(1, ["a"])),
    (4, "b0 02 0001", Unsuback(1)),
    (5, "b0 05 0001 00 00 11", Unsuback(1, [0, 0x11])),
    (4, "c0 00", Pingreq()),
    (5, "c0 00", Pingreq()),
    (4, "d0 00", Pingresp()),
    (5, "d0 00", Pingresp()),
    (4, "e0 00", Disconnect()),
    (5, "e0 00", Disconnect()),
    (5, "e0 02 04 00", Disconnect(4)),
    (5, "e0 07 00 05 11 0000003c", Disconnect(0, {"session_expiry_interval": 60})),
]


@pytest.mark.parametrize(("version", "data", "packet"), EXACT)
def test_exact_bytes_are_read(version: int, data: str, packet: Packet) -> None:
    if isinstance(packet, Connect):
        decoder = Decoder()
        assert run(decoder, bytes.fromhex(data)) == ([packet], None)
        assert decoder.version == version
    else:
        server = not isinstance(packet, SENT_BY_SERVER)
        assert read(bytes.fromhex(data), version, server=server) == packet


@pytest.mark.parametrize(("version", "data", "packet"), EXACT)
def test_exact_bytes_are_written(version: int, data: str, packet: Packet) -> None:
    assert encode(packet, version).hex(" ") == bytes.fromhex(data).hex(" ")


@pytest.mark.parametrize(
    ("version", "data", "packet"),
    [
        (5, "40 03 000a 00", Puback(10)),
        (5, "40 03 000a 87", Puback(10, 0x87)),
        (5, "40 04 000a 00 00", Puback(10)),
        (5, "e0 01 00", Disconnect()),
        (5, "e0 01 8c", Disconnect(0x8C)),
        (5, "e0 02 00 00", Disconnect()),
        (4, "30 87 00 0003 612f62 6869", Publish("a/b", b"hi")),
    ],
)
def test_longer_and_shorter_forms_mean_the_same(version: int, data: str, packet: Packet) -> None:
    assert read(bytes.fromhex(data), version) == packet


def test_subscription_identifiers_reach_a_subscriber() -> None:
    data = bytes.fromhex("32 0c 0001 61 0004 05 0b01 0bac02 78")
    packet = Publish("a", b"x", 1, packet_id=4, properties={"subscription_identifiers": [1, 300]})
    assert read(data, 5, server=False) == packet
    assert encode(packet, 5) == data


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("size", [0, 121, 122, 123, 124, 16_377, 16_378, 2_097_144, 2_097_146])
def test_payloads_around_each_size_of_the_length(version: int, size: int) -> None:
    publish = Publish("a", b"x" * size, 1, packet_id=7)
    assert read(encode(publish, version), version) == publish


def test_version_4_leaves_out_what_it_cannot_carry() -> None:
    properties: Properties = {"user_properties": [("k", "v")]}
    for full, plain in [
        (Publish("a", b"x", properties=properties), Publish("a", b"x")),
        (Puback(1, 0x87, properties), Puback(1)),
        (Suback(1, [0, 0x87, 0x97], properties), Suback(1, [0, 0x80, 0x80])),
        (Unsuback(1, [0], properties), Unsuback(1)),
        (Disconnect(0x8E, properties), Disconnect()),
        (
            Subscribe(1, [Subscription("a", 1, True, True, 2)], properties),
            Subscribe(1, [Subscription("a", 1)]),
        ),
    ]:
        assert encode(full, 4) == encode(plain, 4)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Connect("c", 5, username="u", password=b"secret"))


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (Publish("a\0", b""), ValueError),
        (Publish("\ud800", b""), ValueError),
        (Publish("a" * 65536, b""), ValueError),
        (Publish("a", b"", 1, packet_id=65536), OverflowError),
        (Publish("a", b"", properties={"will_delay_interval": 1}), ValueError),
        (Puback(-1), OverflowError),
        (Puback(1, 256), OverflowError),
        (Subscribe(1, [], {"subscription_identifier": 1 << 28}), ValueError),
        (Disconnect(0, {"session_expiry_interval": 1 << 32}), OverflowError),
    ],
)
def test_what_the_wire_cannot_carry_is_not_written(packet: Packet, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(packet, 5)


@pytest.mark.parametrize("version", [4, 5])
def test_a_frame_for_many_subscribers(version: int) -> None:
    topic, payload, properties = "a/b", b"x" * 200, {"content_type": "t"}
    head, tail = encode_publish_around_id(topic, payload, properties, version, 0b0011)
    for packet_id in (1, 258, 65535):
        sent = Publish(topic, payload, 1, True, False, packet_id, properties)
        assert head + packet_id.to_bytes(2, "big") + tail == encode(sent, version)
    sent = Publish(topic, payload, 0, False, False, 0, properties)
    frame = encode_publish_around_id(topic, payload, properties, version, 0)
    assert frame == (encode(sent, version), b"")


# Properties ---------------------------------------------------------------------------------------

# Table 2-4 of the standard once more, with a value for each.
PROPERTIES = {
    0x01: ("01 01", "PUBLISH WILL"),
    0x02: ("02 00000000", "PUBLISH WILL"),
    0x03: ("03 0001 61", "PUBLISH WILL"),
    0x08: ("08 0001 61", "PUBLISH WILL"),
    0x09: ("09 0001 61", "PUBLISH WILL"),
    0x0B: ("0b 01", "PUBLISH SUBSCRIBE"),
    0x11: ("11 00000000", "CONNECT CONNACK DISCONNECT"),
    0x12: ("12 0001 61", "CONNACK"),
    0x13: ("13 0000", "CONNACK"),
    0x15: ("15 0001 61", "CONNECT CONNACK"),
    0x16: ("16 0001 61 15 0001 61", "CONNECT CONNACK"),
    0x17: ("17 01", "CONNECT"),
    0x18: ("18 00000000", "WILL"),
    0x19: ("19 01", "CONNECT"),
    0x1A: ("1a 0001 61", "CONNACK"),
    0x1C: ("1c 0001 61", "CONNACK DISCONNECT"),
    0x1F: ("1f 0001 61", "CONNACK PUBACK SUBACK UNSUBACK DISCONNECT"),
    0x21: ("21 0001", "CONNECT CONNACK"),
    0x22: ("22 0000", "CONNECT CONNACK"),
    0x23: ("23 0001", "PUBLISH"),
    0x24: ("24 01", "CONNACK"),
    0x25: ("25 01", "CONNACK"),
    0x26: (
        "26 0001 61 0000",
        "CONNECT WILL CONNACK PUBLISH PUBACK SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT",
    ),
    0x27: ("27 00000001", "CONNECT CONNACK"),
    0x28: ("28 01", "CONNACK"),
    0x29: ("29 01", "CONNACK"),
    0x2A: ("2a 01", "CONNACK"),
}
# First byte, and the body around the properties.
AROUND_PROPERTIES = {
    "CONNECT": (0x10, "0004 4d515454 05 02 0000", "0001 63"),
    "WILL": (0x10, "0004 4d515454 05 06 0000 00 0001 63", "0001 77 0000"),
    "CONNACK": (0x20, "00 00", ""),
    "PUBLISH": (0x30, "0001 61", "00 6869"),
    "PUBACK": (0x40, "0001 00", ""),
    "SUBSCRIBE": (0x82, "0001", "0001 61 00"),
    "SUBACK": (0x90, "0001", "00"),
    "UNSUBSCRIBE": (0xA2, "0001", "0001 61"),
    "UNSUBACK": (0xB0, "0001", "00"),
    "DISCONNECT": (0xE0, "00", ""),
}


def reason_for_properties(where: str, properties: str) -> int | None:
    """Return the reason code for which these properties are refused."""
    raw = bytes.fromhex(properties)
    first, before, after = AROUND_PROPERTIES[where]
    data = frame(first, bytes.fromhex(before) + bytes((len(raw),)) + raw + bytes.fromhex(after))
    if where in ("CONNECT", "WILL"):
        decoder = Decoder()
    else:
        server = where in ("PUBACK", "SUBSCRIBE", "UNSUBSCRIBE", "DISCONNECT")
        decoder = end(5, server=server)
    seen, error = run(decoder, data)
    assert bool(seen) != bool(error)
    return error.reason_code if error else None


@pytest.mark.parametrize("where", AROUND_PROPERTIES)
def test_each_packet_has_its_own_properties(where: str) -> None:
    for identifier in range(128):
        value, packets_with_it = PROPERTIES.get(identifier, (f"{identifier:02x} 00", ""))
        allowed = where in packets_with_it.split()
        assert reason_for_properties(where, value) == (None if allowed else 0x81), value
        if allowed:
            many = identifier == 0x26 or (identifier, where) == (0x0B, "PUBLISH")
            assert reason_for_properties(where, value + value) == (None if many else 0x82), value


@pytest.mark.parametrize(
    ("where", "properties", "reason_code"),
    [
        ("CONNECT", "21 0000", 0x82),
        ("CONNECT", "27 00000000", 0x82),
        ("CONNECT", "17 02", 0x82),
        ("CONNECT", "19 02", 0x82),
        ("CONNECT", "16 0001 61", 0x82),
        ("CONNACK", "24 02", 0x82),
        ("CONNACK", "25 02", 0x82),
        ("PUBLISH", "23 0000", 0x82),
        ("PUBLISH", "01 02", 0x82),
        ("PUBLISH", "08 0001 2b", 0x90),
        ("WILL", "08 0003 612f23", 0x90),
        ("PUBLISH", "08 0000", 0x90),
        ("SUBSCRIBE", "0b 00", 0x82),
        ("SUBSCRIBE", "0b 80 00", 0x81),
        ("SUBSCRIBE", "0b 80 80 80 80 01", 0x81),
        ("SUBSCRIBE", "8b 00 01", 0x81),
        ("DISCONNECT", "11 000000", 0x81),
        ("DISCONNECT", "1f 0002 61", 0x81),
        ("DISCONNECT", "1f 0001 ff", 0x81),
        ("DISCONNECT", "1f 0001 00", 0x81),
        ("DISCONNECT", "26 0001 61", 0x81),
        # The value runs over the end of the properties into the payload.
        ("PUBLISH", "26 0001 61 00", 0x81),
    ],
)
def test_values_that_properties_may_not_have(where: str, properties: str, reason_code: int) -> None:
    assert reason_for_properties(where, properties) == reason_code


# What breaks the standard -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason_code", "version"),
    [
        pytest.param(CONNECT[5].replace(b"\x10", b"\x11", 1), 0x81, None, id="flags"),
        pytest.param(frame(0x30, "0001 61"), 0x82, None, id="publish-first"),
        pytest.param(bytes.fromhex("c0 00"), 0x82, None, id="ping-first"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 0x82, None, id="http"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", 0x81, None, id="tls"),
        pytest.param(b"\x00\x00", 0x81, None, id="type-0"),
        pytest.param(frame(0x10, ""), 0x81, None, id="empty"),
        pytest.param(frame(0x10, "0004 4d515454"), 0x81, None, id="no-level"),
        pytest.param(frame(0x10, "0006 4d5149736470 03 02 003c 0001 63"), 0x84, 4, id="3.1"),
        pytest.param(frame(0x10, "0004 4d515454 03 02 003c 0001 63"), 0x84, 4, id="level-3"),
        pytest.param(frame(0x10, "0004 4d515454 06 02 003c 0001 63"), 0x84, 5, id="level-6"),
        pytest.param(frame(0x10, "0004 6d717474 04 02 003c 0001 63"), 0x84, 4, id="lower-case"),
        pytest.param(frame(0x10, "0004 4d515454 04 03 003c 0001 63"), 0x81, 4, id="reserved-flag"),
        pytest.param(frame(0x10, "0004 4d515454 05 03 003c 00 0001 63"), 0x81, 5, id="reserved-5"),
        pytest.param(frame(0x10, "0004 4d515454 04 0a 003c 0001 63"), 0x81, 4, id="qos-no-will"),
        pytest.param(frame(0x10, "0004 4d515454 04 22 003c 0001 63"), 0x81, 4, id="retain-no-will"),
        pytest.param(
            frame(0x10, "0004 4d515454 04 1e 003c 0001 63 0001 77 0000"), 0x81, 4, id="will-qos-3"
        ),
        pytest.param(
            frame(0x10, "0004 4d515454 04 06 003c 0001 63 0001 2b 0000"), 0x90, 4, id="will-to-+"
        ),
        pytest.param(
            frame(0x10, "0004 4d515454 04 06 003c 0001 63 0000 0000"), 0x90, 4, id="will-to-nobody"
        ),
        pytest.param(
            frame(0x10, "0004 4d515454 04 42 003c 0001 63 0001 70"), 0x81, 4, id="password-alone"
        ),
        pytest.param(frame(0x10, "0004 4d515454 04 02 003c"), 0x81, 4, id="no-client-id"),
        pytest.param(frame(0x10, "0004 4d515454 04 82 003c 0001 63"), 0x81, 4, id="no-user-name"),
        pytest.param(frame(0x10, "0004 4d515454 04 02 003c 0001 63 00"), 0x81, 4, id="trailing"),
        pytest.param(frame(0x10, "0004 4d515454 04 02 003c 0001 ff"), 0x81, 4, id="not-utf-8"),
        pytest.param(frame(0x10, "0004 4d515454 04 02 003c 0003 eda080"), 0x81, 4, id="surrogate"),
        pytest.param(frame(0x10, "0004 4d515454 05 02 003c 7f 0001 63"), 0x81, 5, id="properties"),
    ],
)
def test_refused_connect(data: bytes, reason_code: int, version: int | None) -> None:
    decoder = Decoder()
    seen, error = run(decoder, data)
    assert seen == []
    assert error is not None
    assert error.reason_code == reason_code
    assert error.text == str(error) != ""
    assert decoder.version == version


BOTH = (4, 5)


@pytest.mark.parametrize(
    ("versions", "data", "reason_code"),
    [
        pytest.param(BOTH, b"\x00\x00", 0x81, id="type-0"),
        pytest.param(BOTH, CONNECT[5], 0x82, id="second-connect"),
        pytest.param(BOTH, frame(0x20, "00 00"), 0x82, id="connack-from-client"),
        pytest.param(BOTH, frame(0x90, "0001 00"), 0x82, id="suback-from-client"),
        pytest.param(BOTH, frame(0xB0, "0001"), 0x82, id="unsuback-from-client"),
        pytest.param(BOTH, frame(0xD0, ""), 0x82, id="pingresp-from-client"),
        pytest.param(BOTH, frame(0x50, "0001"), 0x82, id="pubrec"),
        pytest.param(BOTH, frame(0x62, "0001"), 0x82, id="pubrel"),
        pytest.param(BOTH, frame(0x70, "0001"), 0x82, id="pubcomp"),
        pytest.param(BOTH, frame(0xF0, ""), 0x82, id="auth"),
        pytest.param(BOTH, b"\xc0\x80\x80\x80\x80", 0x81, id="length-5-bytes"),
        pytest.param((5,), b"\xc0\x80\x00", 0x81, id="length-not-minimal"),
        # PUBLISH
        pytest.param(BOTH, frame(0x36, "0001 61 0001 00"), 0x81, id="qos-3"),
        pytest.param(BOTH, frame(0x38, "0001 61 00"), 0x81, id="dup-qos-0"),
        pytest.param(BOTH, frame(0x30, ""), 0x81, id="publish-empty"),
        pytest.param(BOTH, frame(0x30, "00"), 0x81, id="publish-1-byte"),
        pytest.param(BOTH, frame(0x30, "0002 61"), 0x81, id="publish-topic-cut"),
        pytest.param(BOTH, frame(0x32, "0001 61 00"), 0x81, id="publish-id-cut"),
        pytest.param((5,), frame(0x30, "0001 61"), 0x81, id="publish-no-properties"),
        pytest.param((5,), frame(0x30, "0001 61 02 01"), 0x81, id="publish-properties-cut"),
        pytest.param((5,), frame(0x30, "0001 61 02 0b 01"), 0x82, id="subscription-id-of-client"),
        pytest.param(BOTH, frame(0x32, "0001 61 0000 00"), 0x82, id="publish-id-0"),
        pytest.param(BOTH, frame(0x30, "0003 612f2b 00"), 0x90, id="publish-to-+"),
        pytest.param(BOTH, frame(0x30, "0003 612f23 00"), 0x90, id="publish-to-#"),
        pytest.param(BOTH, frame(0x30, "0000 00"), 0x82, id="publish-to-nothing"),
        pytest.param(BOTH, frame(0x30, "0001 00 00"), 0x81, id="publish-nul"),
        pytest.param(BOTH, frame(0x30, "0001 c3 00"), 0x81, id="publish-not-utf-8"),
        pytest.param(BOTH, frame(0x30, "0003 eda080 00"), 0x81, id="publish-surrogate"),
        # PUBACK
        pytest.param(BOTH, frame(0x41, "0001"), 0x81, id="puback-flags"),
        pytest.param(BOTH, frame(0x40, "0000"), 0x82, id="puback-id-0"),
        pytest.param(BOTH, frame(0x40, "00"), 0x81, id="puback-cut"),
        pytest.param((4,), frame(0x40, "0001 00"), 0x81, id="puback-trailing-4"),
        pytest.param((5,), frame(0x40, "0001 00 00 00"), 0x81, id="puback-trailing-5"),
        pytest.param((5,), frame(0x40, "0001 01"), 0x82, id="puback-reason"),
        # SUBSCRIBE
        pytest.param(BOTH, frame(0x80, "0001 0001 61 00"), 0x81, id="subscribe-flags"),
        pytest.param((4,), frame(0x82, "0000 0001 61 00"), 0x82, id="subscribe-id-0-4"),
        pytest.param((5,), frame(0x82, "0000 00 0001 61 00"), 0x82, id="subscribe-id-0-5"),
        pytest.param((4,), frame(0x82, "0001"), 0x82, id="subscribe-to-nothing-4"),
        pytest.param((5,), frame(0x82, "0001 00"), 0x82, id="subscribe-to-nothing-5"),
        pytest.param((4,), frame(0x82, "0001 0001 61"), 0x81, id="subscribe-no-qos"),
        pytest.param((4,), frame(0x82, "0001 0001 61 03"), 0x81, id="subscribe-qos-3-4"),
        pytest.param((4,), frame(0x82, "0001 0001 61 05"), 0x81, id="subscribe-no-local-4"),
        pytest.param((5,), frame(0x82, "0001 00 0001 61 03"), 0x82, id="subscribe-qos-3-5"),
        pytest.param((5,), frame(0x82, "0001 00 0001 61 40"), 0x81, id="subscribe-reserved-6"),
        pytest.param((5,), frame(0x82, "0001 00 0001 61 80"), 0x81, id="subscribe-reserved-7"),
        pytest.param((5,), frame(0x82, "0001 00 0001 61 30"), 0x82, id="retain-handling-3"),
        pytest.param(
            (5,),
            frame(0x82, b"\0\1\0\0\x0a$share/g/a\x04"),
            0x82,
            id="no-local-on-shared",
        ),
        # UNSUBSCRIBE
        pytest.param(BOTH, frame(0xA0, "0001 0001 61"), 0x81, id="unsubscribe-flags"),
        pytest.param((4,), frame(0xA2, "0000 0001 61"), 0x82, id="unsubscribe-id-0"),
        pytest.param((4,), frame(0xA2, "0001"), 0x82, id="unsubscribe-nothing-4"),
        pytest.param((5,), frame(0xA2, "0001 00"), 0x82, id="unsubscribe-nothing-5"),
        pytest.param((4,), frame(0xA2, "0001 0002 61"), 0x81, id="unsubscribe-cut"),
        # The rest
        pytest.param(BOTH, frame(0xC1, ""), 0x81, id="pingreq-flags"),
        pytest.param(BOTH, frame(0xC0, "00"), 0x81, id="pingreq-trailing"),
        pytest.param(BOTH, frame(0xE1, ""), 0x81, id="disconnect-flags"),
        pytest.param((4,), frame(0xE0, "00"), 0x81, id="disconnect-trailing-4"),
        pytest.param((5,), frame(0xE0, "00 00 00"), 0x81, id="disconnect-trailing-5"),
        pytest.param((5,), frame(0xE0, "01"), 0x82, id="disconnect-reason"),
    ],
)
def test_refused_after_connect(versions: tuple[int, ...], data: bytes, reason_code: int) -> None:
    for version in versions:
        # A valid packet behind it must not lend its bytes to one that is cut short.
        for rest in (b"", encode(Publish("next", b"payload"), version)):
            seen, error = run(end(version), data + rest)
            assert seen == []
            assert error is not None
            assert error.reason_code == reason_code


@pytest.mark.parametrize(
    ("version", "data", "reason_code"),
    [
        (4, CONNECT[4], 0x82),
        (4, frame(0x82, "0001 0001 61 00"), 0x82),
        (4, frame(0x20, "02 00"), 0x81),
        (4, frame(0x20, "00 06"), 0x82),
        (4, frame(0x20, "01 05"), 0x82),
        (5, frame(0x20, "00 01 00"), 0x82),
        (5, frame(0x20, "00 00"), 0x81),
        (4, frame(0x90, "0001"), 0x82),
        (4, frame(0x90, "0001 87"), 0x82),
        (5, frame(0x90, "0001 00 03"), 0x82),
        (4, frame(0xB0, "0001 00"), 0x81),
        (5, frame(0xB0, "0001 00"), 0x82),
        (5, frame(0xB0, "0001 00 80 12"), 0x82),
    ],
)
def test_refused_by_a_client(version: int, data: bytes, reason_code: int) -> None:
    seen, error = run(end(version, server=False), data)
    assert seen == []
    assert error is not None
    assert error.reason_code == reason_code


# Streams ------------------------------------------------------------------------------------------


def test_what_came_before_a_bad_packet_is_not_lost() -> None:
    decoder = end(5)
    good = encode(Publish("a", b"1"), 5) + encode(Puback(7), 5)
    seen, error = run(decoder, good + frame(0x36, "0001 61 0001 00") + good)
    assert seen == [Publish("a", b"1"), Puback(7)]
    assert error is not None
    assert decoder.error is error
    assert run(decoder, good) == ([], error)


def test_a_client_may_send_on_before_connack() -> None:
    seen, error = run(Decoder(), CONNECT[5] + encode(Publish("a", b"x"), 5))
    assert seen == [Connect("c", 5, True, 60), Publish("a", b"x")]
    assert error is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind(kind: Callable[[bytes], bytes]) -> None:
    publish = Publish("a", b"x" * 300)
    data = encode(publish, 4)
    seen, error = run(end(4), kind(data[:3]), kind(data[3:50]), kind(data[50:]), kind(b""))
    assert seen == [publish]
    assert error is None
    assert isinstance(seen[0], Publish)
    assert type(seen[0].payload) is bytes


def test_a_packet_too_large_is_refused_by_its_header() -> None:
    fits, too_large = Publish("a", b"x" * 994), Publish("a", b"x" * 995)
    decoder = Decoder(max_packet_size=1000)
    list(decoder.feed(CONNECT[4]))
    assert len(encode(fits, 4)) == 1000
    assert run(decoder, encode(fits, 4)) == ([fits], None)
    assert run(decoder, encode(too_large, 4)[:2]) == ([], None)
    seen, error = run(decoder, encode(too_large, 4)[2:3])
    assert seen == []
    assert error is not None
    assert error.reason_code == Reason.PACKET_TOO_LARGE
    assert "1001" in error.text


def test_the_memory_of_topics_is_bounded() -> None:
    decoder = end(4)
    for number in range(5000):
        publish = Publish(f"creek/{number}", b"")
        assert list(decoder.feed(encode(publish, 4))) == [publish]
    long = Publish("x" * 1000, b"")
    assert list(decoder.feed(encode(long, 4))) == [long]
    assert len(wire.TOPICS) <= 4096
    assert long.topic.encode() not in wire.TOPICS


# Any packet, any bytes ----------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
topic = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=12
)
topic_filter = topic | topic.map("{}/#".format) | topic.map("+/{}".format)
blob = st.binary(max_size=20)
payload = st.one_of(blob, st.integers(110, 400).map(bytes))
flag = st.integers(0, 1)
uint16, uint32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
packet_id = st.integers(1, 0xFFFF)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "payload_format_indicator": flag,
    "message_expiry_interval": uint32,
    "content_type": text,
    "response_topic": topic,
    "correlation_data": blob,
    "subscription_identifier": st.integers(1, 268_435_455),
    "subscription_identifiers": st.lists(st.integers(1, 268_435_455), min_size=1, max_size=3),
    "session_expiry_interval": uint32,
    "assigned_client_identifier": text,
    "server_keep_alive": uint16,
    "authentication_method": text,
    "request_problem_information": flag,
    "will_delay_interval": uint32,
    "request_response_information": flag,
    "response_information": text,
    "server_reference": text,
    "reason_string": text,
    "receive_maximum": packet_id,
    "topic_alias_maximum": uint16,
    "topic_alias": packet_id,
    "maximum_qos": flag,
    "retain_available": flag,
    "user_properties": st.lists(st.tuples(text, text), min_size=1, max_size=3),
    "maximum_packet_size": st.integers(1, 0xFFFFFFFF),
    "wildcard_subscription_available": flag,
    "subscription_identifier_available": flag,
    "shared_subscription_available": flag,
}


def properties(version: int, names: str) -> st.SearchStrategy[Properties]:
    if version == 4:
        return st.just({})
    return st.fixed_dictionaries(
        {}, optional={name: VALUES[name] for name in (*names.split(), "user_properties")}
    )


MESSAGE = (
    "payload_format_indicator message_expiry_interval content_type response_topic correlation_data"
)


@st.composite
def connects(draw: st.DrawFn, version: int) -> Connect:
    will = st.builds(
        Will,
        topic,
        blob,
        st.integers(0, 2),
        st.booleans(),
        properties(version, MESSAGE + " will_delay_interval"),
    )
    username = draw(st.none() | text)
    password = draw(st.none() | blob) if username is not None or version == 5 else None
    names = (
        "session_expiry_interval receive_maximum maximum_packet_size topic_alias_maximum"
        " request_response_information request_problem_information authentication_method"
    )
    return Connect(
        draw(text),
        version,
        draw(st.booleans()),
        draw(uint16),
        username,
        password,
        draw(st.none() | will),
        draw(properties(version, names)),
    )


@st.composite
def publishes(draw: st.DrawFn, version: int, *, server: bool) -> Publish:
    """Draw a PUBLISH that the server, or else the client, may receive."""
    qos = draw(st.integers(0, 2))
    names = MESSAGE + " topic_alias" + ("" if server else " subscription_identifiers")
    found = draw(properties(version, names))
    return Publish(
        draw(st.just("") | topic if "topic_alias" in found else topic),
        draw(payload),
        qos,
        draw(st.booleans()),
        draw(st.booleans()) if qos else False,
        draw(packet_id) if qos else 0,
        found,
    )


def reasons(version: int, codes: str) -> st.SearchStrategy[int]:
    return st.sampled_from(bytes.fromhex(codes)) if version == 5 else st.just(0)


def pubacks(version: int) -> st.SearchStrategy[Puback]:
    codes = reasons(version, "00 10 80 87 97")
    return st.builds(Puback, packet_id, codes, properties(version, "reason_string"))


def from_client(version: int) -> st.SearchStrategy[Packet]:
    """Draw a packet that a client sends after CONNECT."""
    five = st.booleans() if version == 5 else st.just(False)
    handling = st.integers(0, 2) if version == 5 else st.just(0)
    return st.one_of(
        publishes(version, server=True),
        pubacks(version),
        st.builds(
            Subscribe,
            packet_id,
            st.lists(
                st.builds(Subscription, topic_filter, st.integers(0, 2), five, five, handling),
                min_size=1,
            ),
            properties(version, "subscription_identifier"),
        ),
        st.builds(
            Unsubscribe, packet_id, st.lists(topic_filter, min_size=1), properties(version, "")
        ),
        st.just(Pingreq()),
        st.builds(
            Disconnect,
            reasons(version, "00 04 80 97"),
            properties(version, "session_expiry_interval reason_string"),
        ),
    )


def from_server(version: int) -> st.SearchStrategy[Packet]:
    codes = st.lists(reasons(version, "00 01 02 80 87 97"), min_size=1)
    names = (
        "session_expiry_interval receive_maximum maximum_qos retain_available maximum_packet_size"
        " assigned_client_identifier topic_alias_maximum reason_string server_keep_alive"
        " wildcard_subscription_available subscription_identifier_available server_reference"
        " shared_subscription_available response_information authentication_method"
    )
    refusals = st.integers(1, 5) if version == 4 else reasons(5, "80 87 90 97 9d")
    return st.one_of(
        st.builds(Connack, st.booleans(), st.just(0), properties(version, names)),
        st.builds(Connack, st.just(False), refusals, properties(version, names)),
        publishes(version, server=False),
        pubacks(version),
        st.builds(Suback, packet_id, codes, properties(version, "reason_string")),
        st.builds(
            Unsuback,
            packet_id,
            st.lists(reasons(5, "00 11 80 87"), min_size=1) if version == 5 else st.just([]),
            properties(version, "reason_string"),
        ),
        st.just(Pingresp()),
    )


versions = st.sampled_from(BOTH)


@no_deadline
@given(versions.flatmap(connects))
def test_connect_survives_the_round_trip(connect: Connect) -> None:
    assert run(Decoder(), encode(connect, connect.version)) == ([connect], None)


@no_deadline
@given(st.data(), versions, st.booleans())
def test_packets_survive_the_round_trip_however_cut(
    data: st.DataObject, version: int, server: bool
) -> None:
    sent = data.draw(st.lists(from_client(version) if server else from_server(version)))
    stream = b"".join(encode(packet, version) for packet in sent)
    assert run(end(version, server=server), *cut(data, stream)) == (sent, None)


def test_pubacks_in_a_row_are_one() -> None:
    row = bytes.fromhex("40020001 40020002 40020003")
    decoder = end(5)
    assert list(decoder.feed_coalesced(row + bytes.fromhex("40030004 10") + row[:4])) == [
        Pubacks([1, 2, 3]),
        Puback(4, 0x10, {}),
        Puback(1, 0, {}),
    ]
    assert list(decoder.feed_coalesced(row[:6])) == [Puback(1, 0, {})]
    assert list(decoder.feed_coalesced(row[6:])) == [Pubacks([2, 3])]
    with pytest.raises(ProtocolError, match="packet id 0"):
        list(decoder.feed_coalesced(row[:8] + bytes.fromhex("40020000")))


def cut(data: st.DataObject, stream: bytes) -> list[bytes]:
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    return [stream[start:stop] for start, stop in zip([0, *places], [*places, None], strict=True)]


@st.composite
def hostile(draw: st.DrawFn, version: int) -> bytes:
    """Draw a stream that is valid in part: packets with bytes changed, bodies of any bytes."""
    anything = st.one_of(connects(version), from_client(version), from_server(version))
    stream = b"".join(encode(packet, version) for packet in draw(st.lists(anything, max_size=3)))
    changed = bytearray(stream)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(changed)))
        changed[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    first = st.sampled_from(bytes.fromhex("10 20 30 32 3b 40 82 90 a2 b0 e0")) | uint16.map(
        lambda number: number & 0xFF
    )
    return bytes(changed) + b"".join(
        frame(draw(first), body) for body in draw(st.lists(st.binary(max_size=30), max_size=3))
    )


ENDS: dict[str, Callable[[], Decoder]] = {
    "new": Decoder,
    "server-4": lambda: end(4),
    "server-5": lambda: end(5),
    "client-4": lambda: end(4, server=False),
    "client-5": lambda: end(5, server=False),
}


@pytest.mark.parametrize("name", ENDS)
@no_deadline
@given(st.data(), st.binary() | versions.flatmap(hostile))
def test_any_bytes(name: str, data: st.DataObject, stream: bytes) -> None:
    """Only `ProtocolError` comes out, wherever the stream is cut; what was read can be written."""
    decoder = ENDS[name]()
    seen, error = run(decoder, stream)
    again, other_error = run(ENDS[name](), *cut(data, stream))
    assert again == seen
    assert (error and (error.reason_code, error.text)) == (
        other_error and (other_error.reason_code, other_error.text)
    )
    written = b"".join(encode(packet, decoder.version or 5) for packet in seen)
    assert run(ENDS[name](), written) == (seen, None)


# An independent codec -----------------------------------------------------------------------------

THEIR_NAMES = {
    "receive_maximum": "receive_max",
    "topic_alias_maximum": "topic_alias_max",
    "maximum_packet_size": "max_packet_size",
    "maximum_qos": "max_qos",
    "request_problem_information": "request_problem_info",
    "request_response_information": "request_response_info",
    "assigned_client_identifier": "assigned_client_id",
    "response_information": "response_info",
    "reason_string": "reason_str",
    "subscription_identifier": "subscription_id",
    "subscription_identifiers": "subscription_ids",
    "subscription_identifier_available": "subscription_id_available",
}
# Left out by them when writing, because absence means the same.
DEFAULTS = {
    "payload_format_indicator": 0,
    "will_delay_interval": 0,
    "receive_maximum": 65535,
    "topic_alias_maximum": 0,
    "request_problem_information": 1,
    "request_response_information": 0,
    "retain_available": 1,
    "wildcard_subscription_available": 1,
    "subscription_identifier_available": 1,
    "shared_subscription_available": 1,
}


def theirs(packet: Packet) -> mqtt5.Packet:
    """Return the packet of `mqtt5` that means the same."""
    more: dict[str, Any] = {}
    for name, value in getattr(packet, "properties", {}).items():
        if name == "maximum_qos":
            value = mqtt5.QoS(value)
        elif name.startswith("request_") or name.endswith("_available"):
            value = bool(value)
        more[THEIR_NAMES.get(name, name)] = value
    match packet:
        case Connect():
            will = packet.will
            return mqtt5.ConnectPacket(
                packet.client_id,
                clean_start=packet.clean_start,
                keep_alive=packet.keep_alive,
                username=packet.username,
                password=packet.password,
                will=will
                and mqtt5.Will(
                    will.topic,
                    payload=will.payload,
                    qos=mqtt5.QoS(will.qos),
                    retain=will.retain,
                    **will.properties,
                ),
                **more,
            )
        case Connack(present, code):
            reason = mqtt5.ConnAckReasonCode(code)
            return mqtt5.ConnAckPacket(session_present=present, reason_code=reason, **more)
        case Publish():
            return mqtt5.PublishPacket(
                packet.topic,
                packet.payload,
                qos=mqtt5.QoS(packet.qos),
                retain=packet.retain,
                duplicate=packet.dup,
                packet_id=packet.packet_id or None,
                **more,
            )
        case Puback(number, code):
            reason = mqtt5.PubAckReasonCode(code)
            return mqtt5.PubAckPacket(number, reason_code=reason, **more)
        case Subscribe(number, entries):
            filters = [
                mqtt5.TopicFilter(
                    entry.filter,
                    max_qos=mqtt5.QoS(entry.qos),
                    no_local=entry.no_local,
                    retain_as_published=entry.retain_as_published,
                    retain_handling=mqtt5.RetainHandling(entry.retain_handling),
                )
                for entry in entries
            ]
            return mqtt5.SubscribePacket(number, filters, **more)
        case Suback(number, codes):
            return mqtt5.SubAckPacket(number, [mqtt5.SubAckReasonCode(c) for c in codes], **more)
        case Unsubscribe(number, filters):
            return mqtt5.UnsubscribePacket(number, filters, **more)
        case Unsuback(number, codes):
            reasons = [mqtt5.UnsubAckReasonCode(code) for code in codes]
            return mqtt5.UnsubAckPacket(number, reasons, **more)
        case Pingreq():
            return mqtt5.PingReqPacket()
        case Pingresp():
            return mqtt5.PingRespPacket()
        case Disconnect(code):
            return mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode(code), **more)


def without_defaults(packet: Packet) -> Packet:
    def shorter(properties: Properties) -> Properties:
        return {k: v for k, v in properties.items() if k not in DEFAULTS or v != DEFAULTS[k]}

    if isinstance(packet, Pingreq | Pingresp):
        return packet
    packet = replace(packet, properties=shorter(packet.properties))
    if isinstance(packet, Connect):
        if packet.properties.get("session_expiry_interval") == 0:
            del packet.properties["session_expiry_interval"]
        if packet.will is not None:
            packet.will = replace(packet.will, properties=shorter(packet.will.properties))
    return packet


@no_deadline
@given(st.one_of(connects(5), from_client(5), from_server(5)))
def test_an_independent_codec_agrees(packet: Packet) -> None:
    data = encode(packet, 5)
    assert mqtt5.read(memoryview(data)) == (theirs(packet), len(data))
    if isinstance(packet, Connect):
        decoder = Decoder()
    else:
        server = isinstance(packet, Puback | Subscribe | Unsubscribe | Pingreq | Disconnect)
        decoder = end(5, server=server)
    assert run(decoder, theirs(packet).write()) == ([without_defaults(packet)], None)


THEIR_REASONS = {
    0x20: (mqtt5.ConnAckReasonCode, "00 {:02x} 00"),
    0x40: (mqtt5.PubAckReasonCode, "0001 {:02x}"),
    0x90: (mqtt5.SubAckReasonCode, "0001 00 {:02x}"),
    0xB0: (mqtt5.UnsubAckReasonCode, "0001 00 {:02x}"),
    0xE0: (mqtt5.DisconnectReasonCode, "{:02x}"),
}


def is_one_of(codes: Any, code: int) -> bool:
    try:
        return int(codes(code)) == code
    except ValueError:
        return False


@pytest.mark.parametrize("first", THEIR_REASONS)
def test_reason_codes_are_those_of_an_independent_codec(first: int) -> None:
    codes, body = THEIR_REASONS[first]
    expected = {code for code in range(256) if is_one_of(codes, code)}
    if first == 0xE0:
        expected.add(Reason.BAD_AUTHENTICATION_METHOD)  # theirs follows 3.14.2.1, ours table 2-6
    client = {
        code: run(end(5, server=False), frame(first, body.format(code))) for code in range(256)
    }
    assert {code for code, (seen, _) in client.items() if seen} == expected
    assert {error.reason_code for _, error in client.values() if error} == {0x82}
