"""Bytes to packets: what one connection sends, cut anywhere, one packet after the other.

Peers are not trusted. Whatever breaks the standard ends in a `ProtocolError` with the reason code
that MQTT 5 gives for it: malformed (0x81) where the bytes cannot be read, protocol error (0x82)
where they can be and say something that is not allowed. What depends on more than one packet (topic
aliases, packet ids in flight, limits announced in CONNACK) is left to the broker, and so is the
syntax of topic filters.

Each packet knows how to read itself (`packets.py`). The few that nearly all traffic is made of are
read here without asking it; a device that sends one reading after the other on one topic sends a
`Burst`, which is read, and can be sent on, as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

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
    Unsuback,
    Unsubscribe,
    encode,
)
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
"""By first byte; one that is not there is refused."""

# QoS 0 to 2, retain or not, and DUP only where QoS is not 0 (3.3.1).
_FIRST_OF_PUBLISH = (*range(0x30, 0x36), *range(0x3A, 0x3E))

# Of those whose length takes one byte, and of those where it takes two.
_LARGEST_ALONE = 2 + (1 << 7) - 1
_LARGEST_IN_BURST = 3 + (1 << 14) - 1

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


@dataclass(slots=True)
class PublishBatch:
    """Several PUBLISH in a row that differ in their payloads alone.

    All are of QoS 0 and one topic, not retained, and without properties; none is larger than
    `_LARGEST_IN_BURST`.

    Attributes
    ----------
    frames
        What came: the same packets as `encoded` gives for the version they came in.
    """

    topic: str
    payloads: list[bytes]
    frames: bytes

    def encoded(self, version: int) -> bytes:
        """Write the same packets for a client of this version."""
        return b"".join([encode(Publish(self.topic, one), version) for one in self.payloads])


@dataclass(slots=True)
class PubackBatch:
    """Several PUBACK of success in a row."""

    packet_ids: list[int]


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
    bursts
        Whether several PUBLISH may come as one `Burst`, and several PUBACK as `Pubacks`.

    Attributes
    ----------
    version : int or None
        4 or 5; ``None`` until CONNECT came. A refused CONNECT sets it too: to the version in which
        the client is most likely to understand an answer.
    error : ProtocolError or None
        What ended the connection. Every later `feed` raises it again.
    """

    __slots__ = (
        "_alone_up_to",
        "_bursts",
        "_needed",
        "_readers",
        "_tail",
        "error",
        "max_packet_size",
        "version",
    )

    def __init__(
        self,
        *,
        max_packet_size: int = MAX_PACKET_SIZE,
        version: int | None = None,
        bursts: bool = False,
    ) -> None:
        self.max_packet_size = max_packet_size
        self._alone_up_to = min(_LARGEST_ALONE, max_packet_size)
        self._bursts = bursts and max_packet_size >= _LARGEST_IN_BURST
        self.version = version
        self.error: ProtocolError | None = None
        self._readers = _AT_FIRST if version is None else _FROM_SERVER
        self._tail = bytearray()
        self._needed = 0

    def feed(
        self, data: bytes | bytearray | memoryview
    ) -> Iterable[Packet | PublishBatch | PubackBatch]:
        """Take the next bytes, cut anywhere, and give the packets that they complete.

        Packets are decoded as they are asked for, so the good ones before a bad one arrive before
        the error does. Go through all of them before feeding more, unless the connection is given
        up.

        Raises
        ------
        ProtocolError
            The bytes break the standard. No other exception comes of any bytes.
        """
        if not self._tail and self.error is None and 4 <= len(data) <= self._alone_up_to:
            packet = self._alone(bytes(data))
            if packet is not None:
                return (packet,)
        return self._packets(data)

    def _alone(self, data: bytes) -> Packet | None:
        """Read a PUBLISH or PUBACK that came by itself, as they do when nobody is in a hurry."""
        first, size = data[0], len(data)
        if data[1] != size - 2 or first not in self._readers:
            return None
        if first & 0xF0 == 0x30:
            return _plain_publish(data, first, 2, size, self.version)
        return _plain_puback(data, 2, size) if first == 0x40 else None

    def _packets(
        self, data: bytes | bytearray | memoryview
    ) -> Iterator[Packet | PublishBatch | PubackBatch]:
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
                packet: Packet | PublishBatch | PubackBatch | None = None
                if first & 0xF0 == 0x30:
                    packet = _plain_publish(data, first, body, end, version)
                    if packet is not None and end < size and first == 0x30 and self._bursts:
                        payloads, stop = _alike(data, pos, data[body : end - len(packet.payload)])
                        if len(payloads) > 1:
                            packet, end = PublishBatch(packet.topic, payloads, data[pos:stop]), stop
                elif first == 0x40:
                    packet = _plain_puback(data, body, end)
                    if packet is not None and end < size and self._bursts:
                        packet_ids, stop = _pubacks(data, pos)
                        if len(packet_ids) > 1:
                            packet, end = PubackBatch(packet_ids), stop
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


def _alike(data: bytes, pos: int, beginning: bytes) -> tuple[list[bytes], int]:
    """Read every PUBLISH of QoS 0 from `pos` on whose body has this beginning.

    Returns
    -------
    list of bytes, int
        What follows the beginning in each, and where the first byte after them is.
    """
    payloads: list[bytes] = []
    skipped = len(beginning)
    last = len(data) - 2 - skipped
    while pos <= last and data[pos] == 0x30:
        length, body = data[pos + 1], pos + 2
        if length > 127:
            high, body = data[body], body + 1
            if not 0 < high < 128:
                break
            length += (high - 1) << 7
        end = body + length
        if length < skipped or end > len(data) or not data.startswith(beginning, body):
            break
        payloads.append(data[body + skipped : end])
        pos = end
    return payloads, pos


def _pubacks(data: bytes, pos: int) -> tuple[list[int], int]:
    """Read every PUBACK of success from `pos` on; return their ids, and where they end."""
    packet_ids: list[int] = []
    while data.startswith(b"\x40\x02", pos) and pos + 4 <= len(data):
        packet_id = data[pos + 2] << 8 | data[pos + 3]
        if not packet_id:
            break
        packet_ids.append(packet_id)
        pos += 4
    return packet_ids, pos


def _plain_puback(data: bytes, body: int, end: int) -> Puback | None:
    """Read the PUBACK without a reason code, that is of success."""
    if end - body != 2:
        return None
    packet_id = data[body] << 8 | data[body + 1]
    return Puback(packet_id, 0, {}) if packet_id else None
