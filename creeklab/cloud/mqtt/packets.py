"""Bytes to MQTT packets and back, for MQTT 3.1.1 and 5.

A packet is one byte of type and flags, the length of the rest as a variable byte integer, and the
rest. Its fields lie one after the other, without names, and only the version that CONNECT announced
tells how to read them: MQTT 5 adds reason codes and properties. So a connection has one `Decoder`,
which starts knowing nothing but CONNECT, and from then on knows the version.

Peers are not trusted. Whatever breaks the standard ends in a `ProtocolError` with the reason code
that MQTT 5 gives for it: malformed (0x81) where the bytes cannot be read, protocol error (0x82)
where they can be and say something that is not allowed. What depends on more than one packet (topic
aliases, packet ids in flight, limits announced in CONNACK) is left to the broker, and so is the
syntax of topic filters.

Section numbers refer to the OASIS standard MQTT 5.0. `version` is the protocol level of CONNECT:
4 for MQTT 3.1.1, 5 for MQTT 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, TypeAlias

from creeklab.cloud.mqtt.fields import (
    LARGEST_PACKET,
    PACKET_TYPES,
    TOPICS,
    PacketType,
    Properties,
    ProtocolError,
    Reader,
    Reason,
    malformed,
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
# Each knows its first byte, how to read its body and how to write it. PUBLISH, whose first byte
# varies, is written further down.


@dataclass(slots=True)
class Will:
    """What the broker publishes for a client whose connection breaks."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=dict)


@dataclass(slots=True)
class Connect:
    """CONNECT: a client asks for a session.

    `clean_start` is Clean Session in MQTT 3.1.1, `keep_alive` is in seconds, and `client_id` may be
    empty: whether that is accepted is the broker's to say. Written in its own `version`.
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
            raise reader.malformed("has a password without user name (MQTT 3.1.1, 3.1.2.9).")
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
            raise reader.forbidden("refuses, yet says that there is a session.")
        return Connack(flags == 1, reason_code, reader.properties())

    def _body(self, version: int) -> bytes:
        body = bytes((self.session_present, self.reason_code))
        return body if version == 4 else body + put_properties(self.properties, PacketType.CONNACK)


@dataclass(slots=True)
class Publish:
    """PUBLISH: a message. `packet_id` is 0 at QoS 0; QoS 2 is read, for the broker to refuse.

    `topic` is empty only where a topic alias stands for it.
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
        packet_id = reader.packet_id()
        if reader.version == 4 or reader.pos == reader.end:
            return Puback(packet_id)
        reason_code = reader.reason_code()
        return Puback(
            packet_id, reason_code, reader.properties() if reader.pos < reader.end else {}
        )

    def _body(self, version: int) -> bytes:
        body = self.packet_id.to_bytes(2, "big")
        if version == 4 or not (self.reason_code or self.properties):
            return body
        return (
            body + put_uint8(self.reason_code) + put_properties(self.properties, PacketType.PUBACK)
        )


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
    """SUBSCRIBE: at least one topic filter, its syntax not looked at here."""

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
    """SUBACK: one reason code for each filter of the SUBSCRIBE, in its order.

    MQTT 3.1.1 knows one refusal, so there every code from 0x80 up is written as 0x80.
    """

    _first: ClassVar[bytes] = b"\x90"

    packet_id: int
    reason_codes: list[int]
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Suback:
        suback = Suback(reader.packet_id(), [], reader.properties())
        while reader.pos < reader.end:
            suback.reason_codes.append(reader.reason_code())
        if not suback.reason_codes:
            raise reader.forbidden("answers for no topic filter.")
        return suback

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
    """UNSUBACK: one reason code for each filter; MQTT 3.1.1 sends none."""

    _first: ClassVar[bytes] = b"\xb0"

    packet_id: int
    reason_codes: list[int] = field(default_factory=list)
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Unsuback:
        unsuback = Unsuback(reader.packet_id(), [], reader.properties())
        if reader.version == 4:
            return unsuback
        while reader.pos < reader.end:
            unsuback.reason_codes.append(reader.reason_code())
        if not unsuback.reason_codes:
            raise reader.forbidden("answers for no topic filter.")
        return unsuback

    def _body(self, version: int) -> bytes:
        body = put_uint16(self.packet_id)
        if version == 4:
            return body
        return (
            body + put_properties(self.properties, PacketType.UNSUBACK) + bytes(self.reason_codes)
        )


@dataclass(slots=True)
class Pingreq:
    """PINGREQ: the client shows that it is there."""

    _first: ClassVar[bytes] = b"\xc0"

    @staticmethod
    def _read(_reader: Reader) -> Pingreq:
        return Pingreq()

    def _body(self, _version: int) -> bytes:
        return b""


@dataclass(slots=True)
class Pingresp:
    """PINGRESP: and so does the server."""

    _first: ClassVar[bytes] = b"\xd0"

    @staticmethod
    def _read(_reader: Reader) -> Pingresp:
        return Pingresp()

    def _body(self, _version: int) -> bytes:
        return b""


@dataclass(slots=True)
class Disconnect:
    """DISCONNECT: the last packet of a connection; in MQTT 3.1.1 only clients send it."""

    _first: ClassVar[bytes] = b"\xe0"

    reason_code: int = 0
    properties: Properties = field(default_factory=dict)

    @staticmethod
    def _read(reader: Reader) -> Disconnect:
        if reader.version == 4 or reader.pos == reader.end:
            return Disconnect()
        reason_code = reader.reason_code()
        return Disconnect(reason_code, reader.properties() if reader.pos < reader.end else {})

    def _body(self, version: int) -> bytes:
        if version == 4 or not (self.reason_code or self.properties):
            return b""
        return put_uint8(self.reason_code) + put_properties(self.properties, PacketType.DISCONNECT)


Packet: TypeAlias = (
    Connect
    | Connack
    | Publish
    | Puback
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)


# Writing packets ----------------------------------------------------------------------------------


def encode(packet: Packet, version: int) -> bytes:
    """Write a packet.

    What MQTT 3.1.1 has no place for (properties, reason codes outside CONNACK and SUBACK,
    subscription options other than QoS) is left out in version 4.

    Raises
    ------
    ValueError, OverflowError
        A value that MQTT cannot carry: a number or string too large for its field, U+0000 or a lone
        surrogate in a string, a property that this packet does not have.
    """
    if isinstance(packet, Publish):
        head, tail = _publish_around_id(packet, version, packet.qos, packet.dup)
        return head + packet.packet_id.to_bytes(2, "big") + tail if packet.qos else head
    body = packet._body(version)
    return packet._first + put_varint(len(body)) + body


def encode_publish_around_id(publish: Publish, version: int, qos: int) -> tuple[bytes, bytes]:
    """Write a PUBLISH once for all subscribers of the same version and QoS.

    `publish.qos`, `publish.dup` and `publish.packet_id` are not looked at: they belong to the hop
    on which the message came in.

    Returns
    -------
    tuple of bytes
        At QoS 1 what comes before and after the two bytes of the packet id, so that
        ``head + packet_id.to_bytes(2, "big") + tail`` is the frame. At QoS 0 the frame and ``b""``.

    Raises
    ------
    ValueError, OverflowError
        As `encode`.
    """
    return _publish_around_id(publish, version, qos, False)


def _publish_around_id(publish: Publish, version: int, qos: int, dup: bool) -> tuple[bytes, bytes]:
    topic = _topic_field(publish.topic)
    tail = publish.payload
    if version == 5:
        properties = publish.properties
        tail = (put_properties(properties, PacketType.PUBLISH) if properties else b"\0") + tail
    first = 0x30 | dup << 3 | qos << 1 | publish.retain
    size = len(topic) + len(tail) + (2 if qos else 0)
    head = bytes((first, size)) if size < 0x80 else put_uint8(first) + put_varint(size)
    return (head + topic, tail) if qos else (head + topic + tail, b"")


# A topic that was published to is published to again.
_topic_field = lru_cache(maxsize=4096)(put_string)


# Reading packets ----------------------------------------------------------------------------------

_PacketReaders: TypeAlias = Mapping[int, Callable[[Reader], Packet]]
"""By first byte; one that is not there is refused."""

# QoS 0 to 2, retain or not, and DUP only where QoS is not 0 (3.3.1).
_FIRST_OF_PUBLISH = (*range(0x30, 0x36), *range(0x3A, 0x3E))

_AT_FIRST: _PacketReaders = {0x10: Connect._read}
_FROM_CLIENT: _PacketReaders = {
    **dict.fromkeys(_FIRST_OF_PUBLISH, Publish._read_from_client),
    **{
        kind._first[0]: kind._read for kind in (Puback, Subscribe, Unsubscribe, Pingreq, Disconnect)
    },
}
_FROM_SERVER: _PacketReaders = {
    **dict.fromkeys(_FIRST_OF_PUBLISH, Publish._read),
    **{
        kind._first[0]: kind._read
        for kind in (Connack, Puback, Suback, Unsuback, Pingresp, Disconnect)
    },
}


class Decoder:
    """Turns the bytes of one connection into packets.

    Parameters
    ----------
    max_packet_size
        Bytes of the largest packet accepted, its header included. A larger one is refused as soon
        as its header is there.
    version
        ``None`` for the server's end, which learns the version from CONNECT, the first packet.
        4 or 5 for the client's end of a connection that it opens with this version.

    Attributes
    ----------
    version : int or None
        4 or 5; ``None`` until CONNECT came. A refused CONNECT sets it too: to the version in which
        the client is most likely to understand an answer.
    error : ProtocolError or None
        What ended the connection. Every later `feed` raises it again.
    """

    __slots__ = ("_needed", "_readers", "_tail", "error", "max_packet_size", "version")

    def __init__(
        self, *, max_packet_size: int = LARGEST_PACKET, version: int | None = None
    ) -> None:
        self.max_packet_size = max_packet_size
        self.version = version
        self.error: ProtocolError | None = None
        self._readers = _AT_FIRST if version is None else _FROM_SERVER
        self._tail = bytearray()
        self._needed = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Packet]:
        """Take the next bytes, cut anywhere, and yield the packets that they complete.

        Packets are decoded as they are asked for, so the good ones before a bad one arrive before
        the error does. Nothing happens until the iterator runs; run it to its end before feeding
        more, unless the connection is given up.

        Raises
        ------
        ProtocolError
            The bytes break the standard. No other exception comes of any bytes.
        """
        if self.error is not None:
            raise self.error
        if self._tail:
            self._tail += data
            if len(self._tail) < self._needed:
                return
            data = self._tail
        data = bytes(data)
        size = len(data)
        pos = end = 0
        version, readers = self.version, self._readers
        try:
            while pos < size:
                first = data[pos]
                if first not in readers:
                    raise self._refusal(first)
                end = body = pos + 2
                if end > size:
                    break
                length = data[pos + 1]
                if length > 127:
                    length, body = _long_length(data, pos + 1, version)
                end = body + length
                if end - pos > self.max_packet_size:
                    raise ProtocolError(
                        Reason.PACKET_TOO_LARGE,
                        f"{PACKET_TYPES[first >> 4].name} has {end - pos} bytes;"
                        f" a packet may have {self.max_packet_size}.",
                    )
                if end > size:
                    break
                packet: Packet | None = None
                if first & 0xF0 == 0x30:
                    packet = _plain_publish(data, first, body, end, version)
                elif first == 0x40:
                    packet = _plain_puback(data, body, end)
                if packet is None:
                    reader = Reader(data, body, end, first, version)
                    read = readers[first]
                    if version is None:
                        version = self._learn_version(reader)
                        readers = self._readers
                    packet = read(reader)
                    if reader.pos < end:
                        raise reader.malformed("goes on after its last field.")
                yield packet
                pos = end
        except ProtocolError as error:
            self.error = error
            raise
        self._tail = bytearray(data[pos:])
        self._needed = end - pos

    def _learn_version(self, reader: Reader) -> int:
        """Read protocol name and level, with which CONNECT begins."""
        name, level = reader.binary(), reader.byte()
        self.version = reader.version = 5 if level >= 5 else 4
        if name != b"MQTT" or level != self.version:
            raise ProtocolError(
                Reason.UNSUPPORTED_PROTOCOL_VERSION,
                f"The client speaks {name[:20].decode(errors='replace')!r} level {level}; known are"
                " 'MQTT' level 4, which is MQTT 3.1.1, and level 5, which is MQTT 5.",
            )
        self._readers = _FROM_CLIENT
        return self.version

    def _refusal(self, first: int) -> ProtocolError:
        """Say why no packet may begin with this byte, here and now."""
        kind, flags = PACKET_TYPES[first >> 4], first & 0x0F
        if kind is PacketType.WILL:
            return malformed("There is no packet type 0.")
        if self._readers is _AT_FIRST and kind is not PacketType.CONNECT:
            text = f"The first packet is {kind.name}; it must be CONNECT."
        elif kind is PacketType.PUBLISH:
            return malformed(f"PUBLISH has flags {flags:04b}: QoS 3, or DUP at QoS 0.")
        elif any(known >> 4 == kind for known in self._readers):
            return malformed(f"{kind.name} has flags {flags:04b}, but they are reserved.")
        elif kind.name in ("PUBREC", "PUBREL", "PUBCOMP", "AUTH"):
            text = f"{kind.name} came; AWS IoT Core has neither QoS 2 nor enhanced authentication."
        elif kind is PacketType.CONNECT:
            text = "CONNECT came a second time; a connection has one."
        else:
            text = f"{kind.name} came from the end that never sends it."
        return ProtocolError(Reason.PROTOCOL_ERROR, text)


def _long_length(data: bytes, pos: int, version: int | None) -> tuple[int, int]:
    """Read a length of more than one byte, and where the body after it begins.

    If bytes are missing, the body begins one beyond those there are.
    """
    length = 0
    for index, byte in enumerate(data[pos : pos + 4]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            # Whether CONNECT is MQTT 5, which forbids this, is not known yet.
            if not byte and version == 5:
                raise malformed("A length takes more bytes than it needs (MQTT-1.5.5-1).")
            return length, pos + index + 1
    if len(data) - pos >= 4:
        raise malformed("A length takes more than four bytes.")
    return 0, len(data) + 1


def _plain_publish(
    data: bytes, first: int, body: int, end: int, version: int | None
) -> Publish | None:
    """Read the PUBLISH that nearly all are: a known topic, no properties, nothing wrong.

    ``None`` leaves it to `Publish._read`, which knows all cases.
    """
    start = body + 2
    if start > end:
        return None
    stop = start + (data[body] << 8 | data[body + 1])
    topic = TOPICS.get(data[start:stop])
    qos = first >> 1 & 3
    payload = stop + 2 if qos else stop
    if version == 5:
        payload += 1
    if topic is None or payload > end or (version == 5 and data[payload - 1]):
        return None
    if not qos:
        return Publish(topic, data[payload:end], 0, first & 1 == 1, False, 0, {})
    packet_id = data[stop] << 8 | data[stop + 1]
    if not packet_id:
        return None
    return Publish(topic, data[payload:end], qos, first & 1 == 1, first & 8 == 8, packet_id, {})


def _plain_puback(data: bytes, body: int, end: int) -> Puback | None:
    """Read the PUBACK without a reason code, that is of success."""
    if end - body != 2:
        return None
    packet_id = data[body] << 8 | data[body + 1]
    return Puback(packet_id, 0, {}) if packet_id else None
