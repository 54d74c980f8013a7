"""Bytes to packets: what one connection sends, cut anywhere, one packet after another.

Peers are not trusted. Anything that breaks the standard raises a `ProtocolError` with MQTT 5's
reason code for it: malformed (0x81) for bytes that cannot be read, protocol error (0x82) for a
packet that can be read but is not allowed. Rules about more than one packet (topic aliases, packet
ids in flight, limits announced in CONNACK) are left to the connection, and so is the syntax of
topic filters.

Each packet knows how to read itself (`packets.py`). Only the two packets that make up nearly all
traffic have a fast path here: a PUBLISH without properties on a known topic, and PUBACKs of
success, all of those that arrive in a row at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.packets import Packet, Puback, Publish
from creeklab.cloud.mqtt.codec.wire import (
    MAX_PACKET_SIZE,
    PACKET_TYPES,
    TOPICS,
    PacketType,
    ProtocolError,
    Reader,
    Reason,
    malformed,
)

_PacketReaders: TypeAlias = Mapping[int, Callable[[Reader], Packet]]
"""By first byte; any other first byte is an error."""

# QoS 0 to 2, retain or not, and DUP only where QoS is not 0 (3.3.1).
_FIRST_OF_PUBLISH = (*range(0x30, 0x36), *range(0x3A, 0x3E))

_HTTP_METHODS = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC")
"""How the requests of HTTP begin, in four bytes."""

_BEFORE_CONNECT: _PacketReaders = {0x10: packets.Connect._read}
_FROM_CLIENT: _PacketReaders = {
    **dict.fromkeys(_FIRST_OF_PUBLISH, Publish._read_from_client),
    **{
        kind._first[0]: kind._read
        for kind in (
            *(Puback, packets.Subscribe, packets.Unsubscribe),
            *(packets.Pingreq, packets.Disconnect),
        )
    },
}
_FROM_SERVER: _PacketReaders = {
    **dict.fromkeys(_FIRST_OF_PUBLISH, Publish._read),
    **{
        kind._first[0]: kind._read
        for kind in (
            *(packets.Connack, Puback, packets.Suback),
            *(packets.Unsuback, packets.Pingresp, packets.Disconnect),
        )
    },
}


@dataclass(slots=True)
class Pubacks:
    """Several PUBACKs of success in a row, as a busy subscriber sends them."""

    packet_ids: Sequence[int]


class Decoder:
    """Turns the bytes of one connection into packets.

    Parameters
    ----------
    max_packet_size
        Bytes of the largest packet accepted, including its header. A larger one is rejected as soon
        as its header has arrived.
    version
        ``None`` for the server, which learns the version from CONNECT, the first packet; 4 or 5 for
        a client that connects with this version.

    Attributes
    ----------
    version : int or None
        4 or 5; ``None`` before CONNECT. A rejected CONNECT sets it, too: to the version in which
        the client is most likely to understand the answer.
    error : ProtocolError or None
        The error that ended the connection. Every later `feed` raises it again.
    """

    __slots__ = ("_needed", "_readers", "_tail", "error", "max_packet_size", "version")

    def __init__(
        self, *, max_packet_size: int = MAX_PACKET_SIZE, version: int | None = None
    ) -> None:
        self.max_packet_size = max_packet_size
        self.version = version
        self.error: ProtocolError | None = None
        self._readers = _BEFORE_CONNECT if version is None else _FROM_SERVER
        self._tail = bytearray()
        self._needed = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Packet]:
        """Take the next bytes as `feed_coalesced` does, and iterate over single packets."""
        for packet in self.feed_coalesced(data):
            if isinstance(packet, Pubacks):
                yield from map(Puback, packet.packet_ids)
            else:
                yield packet

    def feed_coalesced(self, data: bytes | bytearray | memoryview) -> Iterator[Packet | Pubacks]:
        """Take the next bytes, cut anywhere, and iterate over the packets that they complete.

        Several PUBACKs of success in a row are one `Pubacks`.

        Packets are decoded as the iterator reaches them, so valid packets before an invalid one
        arrive before the error. Exhaust the iterator before feeding more, unless you drop the
        connection.

        Raises
        ------
        ProtocolError
            If the bytes break the standard. No bytes cause any other exception.
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
                    raise self._unexpected(first, data[pos : pos + 4])
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
                packet: Packet | Pubacks | None = None
                if first & 0xF0 == 0x30:
                    packet = _plain_publish(data, first, body, end, version)
                elif first == 0x40 and end - body == 2:
                    packet_ids = () if end == size else _plain_pubacks(data, pos)
                    if len(packet_ids) > 1:
                        packet, end = Pubacks(packet_ids), pos + 4 * len(packet_ids)
                    elif packet_id := data[body] << 8 | data[body + 1]:
                        packet = Puback(packet_id, 0, {})
                if packet is None:
                    reader = Reader(data, body, end, first, version)
                    read = readers[first]
                    if version is None:
                        version = self._learn_version(reader)
                        readers = self._readers
                    packet = read(reader)
                    if reader.pos < end:
                        raise reader.malformed("has extra bytes after its last field.")
                yield packet
                pos = end
        except ProtocolError as error:
            self.error = error
            raise
        if pos < size:
            self._tail = bytearray(data[pos:])
            self._needed = end - pos
        elif self._tail:
            self._tail = bytearray()

    def _learn_version(self, reader: Reader) -> int:
        """Read protocol name and level, the first fields of CONNECT."""
        name, level = reader.binary(), reader.byte()
        # The bridges of mosquitto set the highest bit at first; MQTT 5 does not have it.
        bridge = level >= 0x80
        self.version = reader.version = 5 if level >= 5 and not bridge else 4
        if name != b"MQTT" or level != self.version:
            text = f"The client uses protocol {name[:20].decode(errors='replace')!r} level {level}."
            if bridge:
                text += " It is a mosquitto bridge, which tries again with the standard level."
            else:
                text += " Use 'MQTT' level 4, which is MQTT 3.1.1, or level 5, which is MQTT 5."
            raise ProtocolError(Reason.UNSUPPORTED_PROTOCOL_VERSION, text)
        self._readers = _FROM_CLIENT
        return self.version

    def _unexpected(self, first: int, begin: bytes) -> ProtocolError:
        """Return the error for a first byte that is not allowed at this point."""
        if self._readers is _BEFORE_CONNECT and begin in _HTTP_METHODS:
            return ProtocolError(
                Reason.PROTOCOL_ERROR,
                "This is HTTP, on the MQTT port. Send HTTP requests to the HTTPS port: "
                "`creeklab cloud status` shows it.",
            )
        kind, flags = PACKET_TYPES[first >> 4], first & 0x0F
        if kind is PacketType.WILL:
            return malformed("There is no packet type 0.")
        if self._readers is _BEFORE_CONNECT and kind is not PacketType.CONNECT:
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
    """Return a length of more than one byte, and the start of the body after it.

    If bytes are missing, the body starts one beyond the last byte.
    """
    length = 0
    for index, byte in enumerate(data[pos : pos + 4]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            # MQTT 5 forbids this, but before CONNECT the version is unknown.
            if not byte and version == 5:
                raise malformed("A length takes more bytes than it needs (MQTT-1.5.5-1).")
            return length, pos + index + 1
    if len(data) - pos >= 4:
        raise malformed("A length takes more than four bytes.")
    return 0, len(data) + 1


def _plain_publish(
    data: bytes, first: int, body: int, end: int, version: int | None
) -> Publish | None:
    """Return a valid PUBLISH on a known topic and without properties; None for any other.

    `Publish._read` reads all others.
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


def _plain_pubacks(data: bytes, pos: int) -> Sequence[int]:
    """Return the packet ids of the valid PUBACKs without a reason code that begin at `pos`."""
    packet_ids: list[int] = []
    last = len(data) - 4
    while pos <= last and data[pos] == 0x40 and data[pos + 1] == 2:
        packet_id = data[pos + 2] << 8 | data[pos + 3]
        if not packet_id:
            break
        packet_ids.append(packet_id)
        pos += 4
    return packet_ids
