"""MQTT packets, their fields and their encoding, for MQTT 3.1.1 and 5.

A packet is one byte of type and flags, the length of the rest as a variable byte integer, and the
rest. Its fields follow one another without names, and their layout depends on the version that
CONNECT announced: MQTT 5 adds reason codes and properties. So each connection has one `Decoder`,
which only accepts CONNECT at first, and knows the version from then on.

Section numbers refer to the OASIS standard MQTT 5.0. `version` is the protocol level of CONNECT:
4 for MQTT 3.1.1, 5 for MQTT 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Self, TypeAlias

from creeklab.cloud.mqtt.codec.wire import (
    TOPICS,
    PacketType,
    Properties,
    Reader,
    put_binary,
    put_properties,
    put_string,
    put_uint8,
    put_uint16,
    put_varint,
    topic_name,
)

# Packets ------------------------------------------------------------------------------------------
#
# Each packet knows its first byte, and how to read and write its body. The first byte of PUBLISH
# varies, so `encode` below writes it.


@dataclass(slots=True)
class Will:
    """The message that the broker publishes for a client whose connection breaks."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Connect:
    """CONNECT: a client asks for a session.

    `clean_start` is Clean Session in MQTT 3.1.1, and `keep_alive` is in seconds. `client_id` can be
    empty, and the broker decides whether to accept that. Encoded in its own `version`.
    """

    _first: ClassVar[bytes] = b"\x10"

    client_id: str
    version: int
    clean_start: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Connect:
        flags = reader.byte()
        has_username, has_password = flags & 0x80, flags & 0x40
        will_qos, will_retain, has_will = flags >> 3 & 3, flags & 0x20, flags & 0x04
        if flags & 0x01:
            raise reader.malformed("has its reserved flag set.")
        if will_qos == 3:
            raise reader.malformed("has a will of QoS 3; it is 0, 1 or 2.")
        if not has_will and (will_qos or will_retain):
            raise reader.malformed("has will QoS or retain without a will.")
        if reader.version == 4 and has_password and not has_username:
            raise reader.malformed("has a password without a user name (MQTT 3.1.1, 3.1.2.9).")
        keep_alive = reader.uint16()
        properties = reader.properties()
        client_id = reader.string()
        will = None
        if has_will:
            will_properties = reader.properties(PacketType.WILL)
            will = Will(
                reader.topic(), reader.binary(), will_qos, will_retain != 0, will_properties
            )
        username = reader.string() if has_username else None
        password = reader.binary() if has_password else None
        clean_start = flags & 0x02 != 0
        return Connect(
            client_id, reader.version, clean_start, keep_alive, username, password, will, properties
        )

    def _body(self, _version: int) -> bytes:
        version, will = self.version, self.will
        flags = self.clean_start << 1
        payload = put_string(self.client_id)
        if will is not None:
            flags |= 0x04 | will.qos << 3 | will.retain << 5
            if version == 5:
                payload += put_properties(will.properties, PacketType.WILL)
            payload += put_string(will.topic) + put_binary(will.payload)
        if self.username is not None:
            flags |= 0x80
            payload += put_string(self.username)
        if self.password is not None:
            flags |= 0x40
            payload += put_binary(self.password)
        head = b"\x00\x04MQTT" + bytes((version, flags)) + put_uint16(self.keep_alive)
        if version == 5:
            head += put_properties(self.properties, PacketType.CONNECT)
        return head + payload


@dataclass(slots=True)
class Connack:
    """CONNACK: the answer to CONNECT. In MQTT 3.1.1 `reason_code` is the return code, 0 to 5."""

    _first: ClassVar[bytes] = b"\x20"

    session_present: bool
    reason_code: int = 0
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Connack:
        flags = reader.byte()
        if flags > 1:
            raise reader.malformed("has a reserved flag set.")
        reason_code = reader.reason_code()
        if flags and reason_code:
            raise reader.forbidden("rejects the connection, but announces a session.")
        return Connack(flags == 1, reason_code, reader.properties())

    def _body(self, version: int) -> bytes:
        body = bytes((self.session_present, self.reason_code))
        return body if version == 4 else body + put_properties(self.properties, PacketType.CONNACK)


@dataclass(slots=True)
class Publish:
    """PUBLISH: a message.

    `packet_id` is 0 at QoS 0. QoS 2 is decoded so that the broker can refuse it.
    `topic` is empty only if a topic alias replaces it.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Publish:
        first = reader.first
        qos = first >> 1 & 3
        raw = reader.binary()
        topic = TOPICS.get(raw) or topic_name(raw)
        packet_id = reader.packet_id() if qos else 0
        properties = reader.properties()
        if not topic and "topic_alias" not in properties:
            raise reader.forbidden("has neither a topic nor a topic alias.")
        payload = reader.take(reader.end - reader.pos)
        return Publish(topic, payload, qos, first & 1 == 1, first & 8 == 8, packet_id, properties)

    @staticmethod
    def _read_from_client(reader: Reader) -> Publish:
        publish = Publish._read(reader)
        if "subscription_identifiers" in publish.properties:
            raise reader.forbidden("of a client has a subscription identifier (MQTT-3.3.4-6).")
        return publish


@dataclass(slots=True)
class Puback:
    """PUBACK: the answer to a PUBLISH of QoS 1."""

    _first: ClassVar[bytes] = b"\x40"

    packet_id: int
    reason_code: int = 0
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Puback:
        return Puback(reader.packet_id(), *_read_reason(reader))

    def _body(self, version: int) -> bytes:
        return put_uint16(self.packet_id) + _put_reason(self, version, PacketType.PUBACK)


@dataclass(slots=True)
class Subscription:
    """One topic filter of a SUBSCRIBE and its options (section 3.8.3.1)."""

    filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(slots=True)
class Subscribe:
    """SUBSCRIBE: at least one topic filter, whose syntax is not checked here."""

    _first: ClassVar[bytes] = b"\x82"

    packet_id: int
    entries: list[Subscription]
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Subscribe:
        subscribe = Subscribe(reader.packet_id(), [], reader.properties())
        while reader.pos < reader.end:
            filter_, options = reader.string(), reader.byte()
            qos, no_local, retain_handling = options & 3, options & 4, options >> 4 & 3
            if reader.version == 4 and options > 2:
                raise reader.malformed(f"asks for QoS {options}; MQTT 3.1.1 has 0, 1 and 2.")
            if options & 0xC0:
                raise reader.malformed("has a reserved option set.")
            if qos == 3:
                raise reader.forbidden("asks for QoS 3; there are 0, 1 and 2.")
            if retain_handling == 3:
                raise reader.forbidden("has retain handling 3; it is 0, 1 or 2.")
            if no_local and filter_.startswith("$share/"):
                raise reader.forbidden("sets No Local on a shared subscription (3.8.3.1).")
            subscribe.entries.append(
                Subscription(filter_, qos, no_local != 0, options & 8 != 0, retain_handling)
            )
        if not subscribe.entries:
            raise reader.forbidden("names no topic filter.")
        return subscribe

    def _body(self, version: int) -> bytes:
        body = put_uint16(self.packet_id)
        if version == 5:
            body += put_properties(self.properties, PacketType.SUBSCRIBE)
        for entry in self.entries:
            options = entry.qos
            if version == 5:
                options |= (
                    entry.no_local << 2
                    | entry.retain_as_published << 3
                    | entry.retain_handling << 4
                )
            body += put_string(entry.filter) + put_uint8(options)
        return body


@dataclass(slots=True)
class Suback:
    """SUBACK: one reason code for each filter of the SUBSCRIBE, in the same order.

    MQTT 3.1.1 has one failure code, so it gets 0x80 for every code from 0x80 up.
    """

    _first: ClassVar[bytes] = b"\x90"

    packet_id: int
    reason_codes: list[int]
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Suback:
        packet_id, properties = reader.packet_id(), reader.properties()
        return Suback(packet_id, _read_codes(reader), properties)

    def _body(self, version: int) -> bytes:
        body = put_uint16(self.packet_id)
        if version == 4:
            return body + bytes(min(code, 0x80) for code in self.reason_codes)
        return body + put_properties(self.properties, PacketType.SUBACK) + bytes(self.reason_codes)


@dataclass(slots=True)
class Unsubscribe:
    """UNSUBSCRIBE: at least one topic filter."""

    _first: ClassVar[bytes] = b"\xa2"

    packet_id: int
    filters: list[str]
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Unsubscribe:
        unsubscribe = Unsubscribe(reader.packet_id(), [], reader.properties())
        while reader.pos < reader.end:
            unsubscribe.filters.append(reader.string())
        if not unsubscribe.filters:
            raise reader.forbidden("names no topic filter.")
        return unsubscribe

    def _body(self, version: int) -> bytes:
        body = put_uint16(self.packet_id)
        if version == 5:
            body += put_properties(self.properties, PacketType.UNSUBSCRIBE)
        return body + b"".join(map(put_string, self.filters))


@dataclass(slots=True)
class Unsuback:
    """UNSUBACK: one reason code for each filter; none in MQTT 3.1.1."""

    _first: ClassVar[bytes] = b"\xb0"

    packet_id: int
    reason_codes: list[int] = field(default_factory=list)
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Unsuback:
        packet_id, properties = reader.packet_id(), reader.properties()
        return Unsuback(packet_id, [] if reader.version == 4 else _read_codes(reader), properties)

    def _body(self, version: int) -> bytes:
        body = put_uint16(self.packet_id)
        if version == 4:
            return body
        return (
            body + put_properties(self.properties, PacketType.UNSUBACK) + bytes(self.reason_codes)
        )


def _read_codes(reader: Reader) -> list[int]:
    """Read the reason codes that are the rest of a SUBACK or UNSUBACK."""
    codes = []
    while reader.pos < reader.end:
        codes.append(reader.reason_code())
    if not codes:
        raise reader.forbidden("answers for no topic filter.")
    return codes


class _Empty:
    __slots__ = ()

    @classmethod
    def _read(cls, _reader: Reader) -> Self:
        return cls()

    def _body(self, _version: int) -> bytes:
        return b""


@dataclass(slots=True)
class Pingreq(_Empty):
    """PINGREQ: the client is alive."""

    _first: ClassVar[bytes] = b"\xc0"


@dataclass(slots=True)
class Pingresp(_Empty):
    """PINGRESP: the answer to PINGREQ."""

    _first: ClassVar[bytes] = b"\xd0"


@dataclass(slots=True)
class Disconnect:
    """DISCONNECT: the last packet of a connection; in MQTT 3.1.1 only clients send it."""

    _first: ClassVar[bytes] = b"\xe0"

    reason_code: int = 0
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Disconnect:
        return Disconnect(*_read_reason(reader))

    def _body(self, version: int) -> bytes:
        return _put_reason(self, version, PacketType.DISCONNECT)


def _read_reason(reader: Reader) -> tuple[int, Properties]:
    """Read the end of a PUBACK or DISCONNECT, where MQTT 5 can omit properties, or both."""
    if reader.version == 4 or reader.pos == reader.end:
        return 0, {}
    return reader.reason_code(), reader.properties() if reader.pos < reader.end else {}


def _put_reason(packet: Puback | Disconnect, version: int, kind: PacketType) -> bytes:
    if version == 4 or not (packet.reason_code or packet.properties):
        return b""
    return put_uint8(packet.reason_code) + put_properties(packet.properties, kind)


_FromBoth: TypeAlias = Publish | Puback | Disconnect
_FromClient: TypeAlias = Connect | Subscribe | Unsubscribe | Pingreq
Packet: TypeAlias = _FromBoth | _FromClient | Connack | Suback | Unsuback | Pingresp


# Writing packets ----------------------------------------------------------------------------------


def encode(packet: Packet, version: int) -> bytes:
    """Return the bytes of a packet, without what its version does not have.

    Raises
    ------
    ValueError, OverflowError
        If a value does not fit into its field, or the packet does not have the property.
    """
    if isinstance(packet, Publish):
        flags = packet.dup << 3 | packet.qos << 1 | packet.retain
        head, tail = encode_publish_around_id(
            packet.topic, packet.payload, packet.properties, version, flags
        )
        return head + packet.packet_id.to_bytes(2, "big") + tail if packet.qos else head
    body = packet._body(version)
    return packet._first + put_varint(len(body)) + body


def encode_publish_around_id(
    topic: str, payload: bytes, properties: Properties, version: int, flags: int
) -> tuple[bytes, bytes]:
    """Return the bytes of a PUBLISH, once for all subscribers with the same version and QoS.

    Parameters
    ----------
    flags
        DUP, QoS and RETAIN, the lower half of the first byte (3.3.1).

    Returns
    -------
    tuple of bytes
        At QoS 1, the bytes before and after the packet id; at QoS 0, the frame and ``b""``.
    """
    name, tail = _topic_field(topic), payload
    if version == 5:
        tail = (put_properties(properties, PacketType.PUBLISH) if properties else b"\0") + tail
    has_id, first = flags & 6, 0x30 | flags
    size = len(name) + len(tail) + (2 if has_id else 0)
    head = bytes((first, size)) if size < 0x80 else put_uint8(first) + put_varint(size)
    return (head + name, tail) if has_id else (head + name + tail, b"")


def encode_puback(packet_id: int) -> bytes:
    """Return the bytes of a PUBACK of success, the same in both versions."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


# Devices publish to the same topics again and again.
_topic_field = lru_cache(maxsize=4096)(put_string)
