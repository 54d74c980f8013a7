"""The event_log: what happened in this cloud, in order, with the reason of every refusal.

Everything is numbered 1, 2, 3, ... as it happens, and kept in one of several lanes, each bounded
in entries and in bytes, so that a flood of one kind does not push the others off: ten thousand
messages leave the one refusal among them where it was. Reading merges the lanes by number again.

Two lanes are not alike. What happens now and then (a connect, a call, a refusal with its
explanation) is kept as JSON text, which is small and says how large it is. Messages pass by the
hundred thousand, so a message is one tuple of what the broker holds anyway, together with the list
to which the broker adds everyone it sends the message to; it is put into words when it is read.

Payloads are kept up to `MAX_PAYLOAD_KEPT` bytes each, and as many as `PACKETS` allows. No key and
no credential comes here: those are never part of a message, a decision or a shadow.
"""

from __future__ import annotations

import base64
import json
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from heapq import merge
from itertools import chain, count, repeat, takewhile
from operator import itemgetter
from typing import Any, NamedTuple

from creeklab.cloud.monitoring.metrics import Metrics

Entry = dict[str, Any]

MAX_LOGGED_PAYLOAD = 16_384
"""Largest payload that is kept, in bytes; of a larger one only its size. So with properties."""


CHUNK = 256
PACKET_SIZE, RECEIVER_SIZE = 500, 8
"""What a message without its payload takes in memory, and each receiver of it, in bytes, about."""


class BufferLimit(NamedTuple):
    """How much a lane holds: so many entries, and so many bytes, about."""

    entries: int
    size: int


PACKETS = BufferLimit(10_000, 8_000_000)
REFUSALS = BufferLimit(2_000, 4_000_000)
OTHERS = BufferLimit(5_000, 2_000_000)
LIMITS: Mapping[str, BufferLimit] = {
    "call": BufferLimit(5_000, 2_000_000),
    "dropped": BufferLimit(1_000, 500_000),
}
"""The lanes of kinds that come in floods; all other kinds share one, refusals have another."""


class PeerIdentity(NamedTuple):
    """Who sends a message, or gets it. All of it is empty for the cloud itself."""

    client_id: str = ""
    principal: str = ""
    source_ip: str = ""
    source_port: int = 0


CLOUD = PeerIdentity()

Properties = dict[str, Any]
# number, time, sender or receiver, topic, payload, QoS, retain, properties, receivers (None for a
# delivery), and the size of a payload that is too large to keep.
_Packet = tuple[
    int,
    float,
    PeerIdentity,
    str,
    bytes,
    int,
    bool,
    Properties | None,
    list[PeerIdentity] | None,
    int,
]


class EventLog:
    """The last happenings of one account.

    Each entry is a JSON object with ``number``, ``time`` (seconds since the epoch), ``kind``
    (``connect``, ``publish``, ``shadow``, ``call``, ...) and members of its kind; a refusal of
    whatever kind has a member ``refusal``.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    packets, refusals, others
        Bounds of the lanes.

    Attributes
    ----------
    metrics
        Counters under CloudWatch's names, of all that happens; they never fall off.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        packets: BufferLimit = PACKETS,
        refusals: BufferLimit = REFUSALS,
        others: BufferLimit = OTHERS,
    ) -> None:
        self.metrics = Metrics(clock)
        self._clock = clock
        self._number = 0
        self._packets = _Packets(packets)
        self._fresh = self._packets.fresh
        self._refusals = _RingBuffer(refusals)
        self._others = _RingBuffer(others)
        self._lanes = {kind: _RingBuffer(limit) for kind, limit in LIMITS.items()}

    def add_buffer(self, kind: str, limit: BufferLimit) -> None:
        """Give the entries of a kind a buffer of their own."""
        self._lanes[kind] = _RingBuffer(limit)

    # --- writing ------------------------------------------------------------------------------

    def append(self, kind: str, **members: Any) -> None:
        """Append an entry; its members are what JSON can hold."""
        self._number += 1
        lane = self._refusals if "refusal" in members else self._lanes.get(kind, self._others)
        lane.append(_Text(self._number, self._clock(), kind, _json(members)))

    def log_publish(
        self,
        sender: PeerIdentity,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: Properties | None,
        receivers: list[PeerIdentity],
    ) -> None:
        """Append a message that came in: an entry of the kind ``publish``.

        Parameters
        ----------
        receivers
            To which whoever delivers the message adds those that get it; later, too.
        """
        size = len(payload)
        if properties or size > MAX_LOGGED_PAYLOAD:
            payload, properties = self._packets.shortened(payload, properties)
        self._number = number = self._number + 1
        fresh = self._fresh
        if len(fresh) >= CHUNK:
            self._packets.settle()
        now = self._clock()
        fresh.append(
            (number, now, sender, topic, payload, qos, retain, properties, receivers, size)
        )

    def log_publish_batch(
        self,
        sender: PeerIdentity,
        topic: str,
        payloads: Sequence[bytes],
        receivers: list[PeerIdentity],
    ) -> None:
        """Append messages that came in one after the other, and went out: an entry for each.

        They are of QoS 0, not retained, have no properties, and none is too large to keep.
        """
        first = self._number + 1
        self._number += len(payloads)
        now, fresh = self._clock(), self._fresh
        for start in range(0, len(payloads), CHUNK):
            if len(fresh) >= CHUNK:
                self._packets.settle()
            some = payloads[start : start + CHUNK]
            before = (repeat(one) for one in (now, sender, topic))
            after = (repeat(one) for one in (0, False, None, receivers))
            fresh.extend(zip(count(first + start), *before, some, *after, map(len, some)))

    def log_delivery(
        self,
        receiver: PeerIdentity,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: Properties | None,
    ) -> None:
        """Append a message that went out by itself: an entry of the kind ``deliver``.

        That is one which waited in a session, a retained one, one that was sent directly.
        """
        # The same again, as a call in between would cost as much as all the rest.
        size = len(payload)
        if properties or size > MAX_LOGGED_PAYLOAD:
            payload, properties = self._packets.shortened(payload, properties)
        self._number = number = self._number + 1
        fresh = self._fresh
        if len(fresh) >= CHUNK:
            self._packets.settle()
        now = self._clock()
        fresh.append((number, now, receiver, topic, payload, qos, retain, properties, None, size))

    # --- reading ------------------------------------------------------------------------------

    @property
    def last_number(self) -> int:
        """How many entries there were, those included that have fallen off."""
        return self._number

    def entries(self, after: int = 0) -> list[Entry]:
        """Return the entries whose number is greater than `after`, oldest first."""
        return list(self.read(after))

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Give the same entries one by one, each put together only when it is asked for."""
        texts = (self._refusals, self._others, *self._lanes.values())
        lanes: list[Sequence[_Text | _Packet]] = [lane.after(after) for lane in texts]
        lanes.append(self._packets.after(after))
        for kept in merge(*lanes, key=_number):
            yield kept.entry() if isinstance(kept, _Text) else _message(kept)

    def refusals(
        self, client_id: str | None = None, principals: Collection[str] = ()
    ) -> Iterator[Entry]:
        """Give the entries with a refusal, newest first.

        Parameters
        ----------
        client_id
            Only of this client, or of a shadow of the Thing of this name.
        principals
            And of these certificates.
        """
        for text in reversed(self._refusals.kept):
            entry = text.entry()
            of = (entry.get("client_id"), entry.get("thing"))
            if client_id is None or client_id in of or entry.get("principal") in principals:
                yield entry

    def last_refusal(
        self, client_id: str | None = None, principals: Collection[str] = ()
    ) -> Entry | None:
        """Return the newest entry that `refusals` gives."""
        return next(self.refusals(client_id, principals), None)


# --- the lanes ----------------------------------------------------------------------------------


class _Text(NamedTuple):
    """An entry as JSON text."""

    number: int
    time: float
    kind: str
    members: str

    def entry(self) -> Entry:
        members = json.loads(self.members)
        return {"number": self.number, "time": self.time, "kind": self.kind, **members}


class _RingBuffer:
    """The newest entries of some kinds."""

    def __init__(self, limit: BufferLimit) -> None:
        self.kept: deque[_Text] = deque()
        self._limit = limit
        self._size = 0

    def append(self, text: _Text) -> None:
        self.kept.append(text)
        self._size += len(text.members)
        while self._size > self._limit.size or len(self.kept) > self._limit.entries:
            self._size -= len(self.kept.popleft().members)

    def after(self, number: int) -> list[_Text]:
        return _after(self.kept, number)


class _Packets:
    """The newest messages.

    They are counted and weighed by the chunk, because that costs less than one at a time, and the
    lists of receivers are complete by then.

    Attributes
    ----------
    fresh
        The last ones, less than two times a `CHUNK`; `settle` makes room.
    """

    def __init__(self, limit: BufferLimit) -> None:
        self.fresh: list[_Packet] = []
        self._limit = limit
        self._chunks: deque[tuple[int, list[_Packet]]] = deque()
        self._count = 0
        self._size = 0
        self._properties = 0  # their weight in `fresh`

    def settle(self) -> None:
        chunk = [packet for packet in self.fresh if packet[8] or _is_shown(packet)]
        self.fresh.clear()
        size = PACKET_SIZE * len(chunk) + self._properties
        size += sum(map(len, map(itemgetter(4), chunk)))
        size += sum(map(len, filter(None, map(itemgetter(8), chunk)))) * RECEIVER_SIZE
        self._properties = 0
        self._chunks.append((size, chunk))
        self._size += size
        self._count += len(chunk)
        while self._size > self._limit.size or self._count > self._limit.entries:
            size, chunk = self._chunks.popleft()
            self._size -= size
            self._count -= len(chunk)

    def shortened(
        self, payload: bytes, properties: Properties | None
    ) -> tuple[bytes, Properties | None]:
        """Return what is kept of a message: nothing of what is too large."""
        if properties:
            size = len(repr(properties))
            if size <= MAX_LOGGED_PAYLOAD:
                self._properties += size
            else:
                properties = None
        return (payload if len(payload) <= MAX_LOGGED_PAYLOAD else b""), properties

    def after(self, number: int) -> list[_Packet]:
        parts = [_after(self.fresh, number)]
        for _, chunk in reversed(self._chunks):
            part = _after(chunk, number)
            parts.append(part)
            if len(part) < len(chunk):
                break
        return [packet for packet in chain(*reversed(parts)) if _is_shown(packet)]


def _after(kept: Any, number: int) -> list[Any]:
    """Return those of a lane, numbered and in order, that come after a number."""
    found = list(takewhile(lambda one: one[0] > number, reversed(kept)))
    return found[::-1]


def _number(kept: _Text | _Packet) -> int:
    return kept[0]


def _is_shown(packet: _Packet) -> bool:
    """Tell whether it is more than the cloud talking to itself on a topic nobody listens to."""
    receivers = packet[8]
    return bool(
        receivers
        or receivers is None
        or packet[2] is not CLOUD
        or not packet[3].startswith("$aws/")
    )


# --- in words -----------------------------------------------------------------------------------

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _message(packet: _Packet) -> Entry:
    number, at, party, topic, payload, qos, retain, properties, receivers, size = packet
    entry: Entry = {
        "number": number,
        "time": at,
        "kind": "publish" if receivers is not None else "deliver",
        **party._asdict(),
        "topic": topic,
        "qos": qos,
        "retain": retain,
        "size": size,
    }
    if len(payload) == size:
        entry.update(_readable("payload", payload))
    if properties:
        entry["properties"] = told = dict(properties)
        for name, value in properties.items():
            if isinstance(value, bytes):
                del told[name]
                told.update(_readable(name, value))
    if receivers is not None:
        entry["to"] = [receiver.client_id for receiver in receivers]
    return entry


def _readable(name: str, value: bytes) -> Entry:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
