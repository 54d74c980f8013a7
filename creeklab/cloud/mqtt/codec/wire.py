"""The fields of MQTT packets, including MQTT 5's properties, and the reason codes.

Integers are big-endian. Strings and binary data start with their length in two bytes; the length of
a packet or of its properties is a variable byte integer. A property is an identifier and a value,
whose kind the table of properties defines. A violation raises a `ProtocolError`.

Section numbers refer to the OASIS standard MQTT 5.0.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

MAX_PACKET_SIZE = 268_435_460
"""Bytes of the largest packet whose length fits into the length field of four bytes."""


class Reason(IntEnum):
    """The reason codes of MQTT 5 that the broker sends or checks, named as in section 2.4."""

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    QOS_NOT_SUPPORTED = 0x9B
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1


class ProtocolError(Exception):
    """The peer broke the MQTT standard, so the connection must end.

    Parameters
    ----------
    reason_code
        Reason code of the CONNACK or DISCONNECT. In MQTT 3.1.1, only 0x84 is sent, as CONNACK
        return code 1; after any other the connection is closed without a packet.
    text
        What is wrong, for a reason string or a log.
    """

    def __init__(self, reason_code: int, text: str) -> None:
        super().__init__(text)
        self.reason_code = reason_code
        self.text = text


class PacketType(IntEnum):
    """The type in the upper half of a packet's first byte."""

    WILL = 0
    """Not a packet: the will inside CONNECT, which has properties of its own."""
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


PACKET_TYPES = tuple(PacketType)

_ACCEPTED_REASONS = {
    (PacketType.CONNACK, 4): bytes(range(6)),
    (PacketType.SUBACK, 4): bytes.fromhex("00 01 02 80"),
    (PacketType.CONNACK, 5): bytes.fromhex(
        "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F"
    ),
    (PacketType.PUBACK, 5): bytes.fromhex("00 10 80 83 87 90 91 97 99"),
    (PacketType.SUBACK, 5): bytes.fromhex("00 01 02 80 83 87 8F 91 97 9E A1 A2"),
    (PacketType.UNSUBACK, 5): bytes.fromhex("00 11 80 83 87 8F 91"),
    (PacketType.DISCONNECT, 5): bytes.fromhex(
        "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2"
    ),
}


# Reading and writing fields -----------------------------------------------------------------------

_MAX_TOPICS = 4096
_MAX_CACHED_TOPIC = 256

TOPICS: dict[bytes, str] = {}
"""Valid topic names by their bytes: devices publish to the same topics again and again."""


def malformed(text: str) -> ProtocolError:
    """Return the error for bytes that cannot be read."""
    return ProtocolError(Reason.MALFORMED_PACKET, text)


def _text(raw: bytes) -> str:
    """Decode a UTF-8 string, which must be well-formed and without U+0000 (section 1.5.4)."""
    if 0 in raw:
        raise malformed("A string contains U+0000, which MQTT forbids.")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"A string is not UTF-8: {error}.") from None


def topic_name(raw: bytes) -> str:
    """Decode and check a topic name, and cache it."""
    topic = _text(raw)
    if not topic:
        return topic
    if "+" in topic or "#" in topic:
        raise ProtocolError(
            Reason.TOPIC_NAME_INVALID,
            f"The topic {topic[:80]!r} contains a wildcard. A message has one topic: + and # are"
            " for topic filters only.",
        )
    if len(raw) <= _MAX_CACHED_TOPIC:
        if len(TOPICS) >= _MAX_TOPICS:
            TOPICS.clear()
        TOPICS[raw] = topic
    return topic


class Reader:
    """Reads the fields of one packet in order, and never past its end."""

    __slots__ = ("data", "end", "first", "kind", "pos", "version")

    def __init__(self, data: bytes, pos: int, end: int, first: int, version: int | None) -> None:
        self.data = data
        self.pos = pos
        self.end = end
        self.first = first
        self.kind = PACKET_TYPES[first >> 4]
        self.version = version or 0

    def malformed(self, text: str) -> ProtocolError:
        """Return the error for a packet that cannot be read; `text` follows the packet's name."""
        return malformed(f"{self.kind.name} {text}")

    def forbidden(self, text: str) -> ProtocolError:
        """Return the error for a packet whose content is not allowed."""
        return ProtocolError(Reason.PROTOCOL_ERROR, f"{self.kind.name} {text}")

    def take(self, count: int) -> bytes:
        """Read `count` bytes."""
        start = self.pos
        self.pos = stop = start + count
        if stop > self.end:
            raise self.malformed("ends in the middle of a field.")
        return self.data[start:stop]

    def byte(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def uint16(self) -> int:
        """Read a two byte integer."""
        return int.from_bytes(self.take(2), "big")

    def uint32(self) -> int:
        """Read a four byte integer."""
        return int.from_bytes(self.take(4), "big")

    def varint(self) -> int:
        """Read a variable byte integer."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise self.malformed("has a variable byte integer of more than four bytes.")
        if shift and not byte:
            raise self.malformed(
                "has a variable byte integer in more bytes than it needs (MQTT-1.5.5-1).",
            )
        return value

    def binary(self) -> bytes:
        """Read binary data."""
        return self.take(self.uint16())

    def string(self) -> str:
        """Read a UTF-8 string."""
        return _text(self.binary())

    def pair(self) -> tuple[str, str]:
        """Read a pair of strings."""
        return self.string(), self.string()

    def topic(self) -> str:
        """Read a topic name."""
        raw = self.binary()
        if not raw:
            text = f"{self.kind.name} has an empty topic where it needs one."
            raise ProtocolError(Reason.TOPIC_NAME_INVALID, text)
        return TOPICS.get(raw) or topic_name(raw)

    def packet_id(self) -> int:
        """Read a packet id, which must not be 0."""
        packet_id = self.uint16()
        if not packet_id:
            raise self.forbidden("has packet id 0; ids go from 1 to 65535.")
        return packet_id

    def reason_code(self) -> int:
        """Read a reason code, which this packet must allow."""
        code = self.byte()
        if code not in _ACCEPTED_REASONS[self.kind, self.version]:
            raise self.forbidden(f"has reason code 0x{code:02X}, which it does not allow.")
        return code

    def properties(self, of: PacketType | None = None) -> Properties:
        """Read the properties of this packet, or of the will inside it; none before MQTT 5."""
        if self.version < 5:
            return {}
        found: Properties = {}
        end = self.varint() + self.pos
        known = _PROPERTIES_BY_ID[self.kind if of is None else of]
        while self.pos < end:
            identifier = self.varint()
            entry = known.get(identifier)
            if entry is None:
                raise self.malformed(f"has property 0x{identifier:02X}, which it does not allow.")
            kind = entry.kind
            value = kind.read(self)
            if kind.allowed and value not in kind.allowed:
                raise self.forbidden(
                    f"has {entry.name} {value}; allowed are {kind.allowed.start}"
                    f" to {kind.allowed.stop - 1}.",
                )
            if kind.many:
                found.setdefault(entry.name, []).append(value)
            elif entry.name in found:
                raise self.forbidden(f"has {entry.name} more than once.")
            else:
                found[entry.name] = value
        if self.pos > end:
            raise self.malformed("has a property longer than they all are.")
        if "authentication_data" in found and "authentication_method" not in found:
            raise self.forbidden("has authentication_data without authentication_method.")
        return found


def put_uint8(value: int) -> bytes:
    """Write one byte."""
    return value.to_bytes(1, "big")


def put_uint16(value: int) -> bytes:
    """Return the bytes of a two byte integer."""
    return value.to_bytes(2, "big")


def put_uint32(value: int) -> bytes:
    """Return the bytes of a four byte integer."""
    return value.to_bytes(4, "big")


_ONE_BYTE = tuple(bytes((value,)) for value in range(128))


def put_varint(value: int) -> bytes:
    """Return the bytes of a variable byte integer."""
    if value < 0x80:
        return _ONE_BYTE[value]
    if value >= 1 << 28:
        raise ValueError(f"{value} does not fit into a variable byte integer of four bytes.")
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def put_binary(value: bytes) -> bytes:
    """Return the bytes of binary data."""
    if len(value) > 0xFFFF:
        raise ValueError(f"{len(value)} bytes do not fit into a field of at most 65535 bytes.")
    return len(value).to_bytes(2, "big") + value


def put_string(value: str) -> bytes:
    """Return the bytes of a UTF-8 string."""
    raw = value.encode()
    if 0 in raw:
        raise ValueError(f"{value!r} contains U+0000, which MQTT forbids.")
    return put_binary(raw)


def put_pair(value: tuple[str, str]) -> bytes:
    """Return the bytes of a pair of strings."""
    return put_string(value[0]) + put_string(value[1])


# Properties ---------------------------------------------------------------------------------------


Properties: TypeAlias = dict[str, Any]
"""Properties of an MQTT 5 packet by name; empty in MQTT 3.1.1.

The table below has the names, and the packets that allow them. Values are ``int`` (intervals in
seconds, sizes in bytes, flags as 1 and 0), ``str`` or ``bytes``; ``user_properties`` is a list of
pairs of ``str``, and ``subscription_identifiers`` of a PUBLISH to a subscriber a list of ``int``,
whereas SUBSCRIBE has one ``subscription_identifier``. An absent property was not sent; the reader
applies the standard's default.
"""


class _Kind(NamedTuple):
    """The encoding of a property's value, and the values that the standard allows."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]
    allowed: range | None = None
    many: bool = False


class _Property(NamedTuple):
    identifier: int
    name: str
    kind: _Kind


_FLAG = _Kind(Reader.byte, put_uint8, range(2))
_TWO_BYTES = _Kind(Reader.uint16, put_uint16)
_TWO_BYTES_NOT_0 = _Kind(Reader.uint16, put_uint16, range(1, 1 << 16))
_FOUR_BYTES = _Kind(Reader.uint32, put_uint32)
_FOUR_BYTES_NOT_0 = _Kind(Reader.uint32, put_uint32, range(1, 1 << 32))
_VARINT_NOT_0 = _Kind(Reader.varint, put_varint, range(1, 1 << 28))
_VARINTS_NOT_0 = _Kind(Reader.varint, put_varint, range(1, 1 << 28), many=True)
_STRING = _Kind(Reader.string, put_string)
_TOPIC = _Kind(Reader.topic, put_string)
_BINARY = _Kind(Reader.binary, put_binary)
_PAIRS = _Kind(Reader.pair, put_pair, many=True)

_PROPERTIES_BY_ID: dict[PacketType, dict[int, _Property]] = {kind: {} for kind in PacketType}
_PROPERTIES_BY_NAME: dict[PacketType, dict[str, _Property]] = {kind: {} for kind in PacketType}

for _entry, _packets in (
    # Section 2.2.2.2, table 2-4, without the packets that AWS IoT Core does not support.
    (_Property(0x01, "payload_format_indicator", _FLAG), "PUBLISH WILL"),
    (_Property(0x02, "message_expiry_interval", _FOUR_BYTES), "PUBLISH WILL"),
    (_Property(0x03, "content_type", _STRING), "PUBLISH WILL"),
    (_Property(0x08, "response_topic", _TOPIC), "PUBLISH WILL"),
    (_Property(0x09, "correlation_data", _BINARY), "PUBLISH WILL"),
    (_Property(0x0B, "subscription_identifier", _VARINT_NOT_0), "SUBSCRIBE"),
    (_Property(0x0B, "subscription_identifiers", _VARINTS_NOT_0), "PUBLISH"),
    (_Property(0x11, "session_expiry_interval", _FOUR_BYTES), "CONNECT CONNACK DISCONNECT"),
    (_Property(0x12, "assigned_client_identifier", _STRING), "CONNACK"),
    (_Property(0x13, "server_keep_alive", _TWO_BYTES), "CONNACK"),
    (_Property(0x15, "authentication_method", _STRING), "CONNECT CONNACK"),
    (_Property(0x16, "authentication_data", _BINARY), "CONNECT CONNACK"),
    (_Property(0x17, "request_problem_information", _FLAG), "CONNECT"),
    (_Property(0x18, "will_delay_interval", _FOUR_BYTES), "WILL"),
    (_Property(0x19, "request_response_information", _FLAG), "CONNECT"),
    (_Property(0x1A, "response_information", _STRING), "CONNACK"),
    (_Property(0x1C, "server_reference", _STRING), "CONNACK DISCONNECT"),
    (_Property(0x1F, "reason_string", _STRING), "CONNACK PUBACK SUBACK UNSUBACK DISCONNECT"),
    (_Property(0x21, "receive_maximum", _TWO_BYTES_NOT_0), "CONNECT CONNACK"),
    (_Property(0x22, "topic_alias_maximum", _TWO_BYTES), "CONNECT CONNACK"),
    (_Property(0x23, "topic_alias", _TWO_BYTES_NOT_0), "PUBLISH"),
    (_Property(0x24, "maximum_qos", _FLAG), "CONNACK"),
    (_Property(0x25, "retain_available", _FLAG), "CONNACK"),
    (
        _Property(0x26, "user_properties", _PAIRS),
        "CONNECT WILL CONNACK PUBLISH PUBACK SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT",
    ),
    (_Property(0x27, "maximum_packet_size", _FOUR_BYTES_NOT_0), "CONNECT CONNACK"),
    (_Property(0x28, "wildcard_subscription_available", _FLAG), "CONNACK"),
    (_Property(0x29, "subscription_identifier_available", _FLAG), "CONNACK"),
    (_Property(0x2A, "shared_subscription_available", _FLAG), "CONNACK"),
):
    for _packet in _packets.split():
        _PROPERTIES_BY_ID[PacketType[_packet]][_entry.identifier] = _entry
        _PROPERTIES_BY_NAME[PacketType[_packet]][_entry.name] = _entry


def put_properties(properties: Properties, of: PacketType) -> bytes:
    """Return the bytes of a packet's properties, with their length."""
    if not properties:
        return b"\0"
    known = _PROPERTIES_BY_NAME[of]
    parts = []
    for name, value in properties.items():
        entry = known.get(name)
        if entry is None:
            raise ValueError(f"{of.name} cannot carry the property {name}.")
        values: Any = value if entry.kind.many else (value,)
        parts += [put_uint8(entry.identifier) + entry.kind.write(one) for one in values]
    body = b"".join(parts)
    return put_varint(len(body)) + body
