"""The event log: what happened in this account, in order, with the reason for every refusal.

Entries are numbered 1, 2, 3, ... and stored in several buffers, each bounded in entries and bytes.
Kinds that come in floods have a buffer of their own, so ten thousand messages do not evict the one
refusal among them. Readers merge the buffers by number.

Occasional events (a connect, a call) are stored as JSON text, which is small and has a known size.
A message is stored as the objects that the broker holds anyway, and formatted when somebody reads
it. The same goes for a denial by policies: it is stored with what its explanation depends on, and
explained when somebody reads it, so that a client that is denied all the time costs no more than
one that is allowed.

Payloads are stored up to `MAX_LOGGED_PAYLOAD`. The log never contains keys or credentials, because
they are not part of any message, decision or shadow.
"""

from __future__ import annotations

import base64
import json
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from heapq import merge
from itertools import takewhile
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

from creeklab.cloud.monitoring.metrics import Metrics

Entry = dict[str, Any]
Properties = dict[str, Any]

MAX_LOGGED_PAYLOAD = 16_384
"""Largest payload that is stored, in bytes; larger ones leave only their size. Also the limit for
properties."""

MESSAGE_SIZE, RECEIVER_SIZE = 500, 8
"""Approximate bytes of a message without payload and properties, and of each receiver."""


class BufferLimit(NamedTuple):
    """Capacity of a buffer: entries, and approximate bytes."""

    entries: int
    size: int


MESSAGES = BufferLimit(10_000, 8_000_000)
REFUSALS = BufferLimit(2_000, 4_000_000)
OTHERS = BufferLimit(5_000, 2_000_000)
LIMITS: Mapping[str, BufferLimit] = {
    "call": BufferLimit(5_000, 2_000_000),
    "dropped": BufferLimit(1_000, 500_000),
}
"""Kinds with a buffer of their own. All others share one, and refusals of any kind have another."""


class PeerIdentity(NamedTuple):
    """The sender or receiver of a message; all fields are empty for the cloud itself."""

    client_id: str = ""
    principal: str = ""
    source_ip: str = ""
    source_port: int = 0


CLOUD = PeerIdentity()

Stamp = tuple[int, float]
"""The number and time of an entry."""


class Explainable(Protocol):
    """A refusal that is put into words when somebody reads it."""

    @property
    def size(self) -> int:
        """Approximate memory, in bytes."""

    def refusal(self) -> Entry:
        """Return the member ``refusal`` of the entry, as JSON values."""


class _Event(NamedTuple):
    number: int
    size: int
    time: float
    kind: str
    members: str  # JSON
    denial: Explainable | None

    def entry(self) -> Entry:
        members = json.loads(self.members)
        if self.denial is not None:
            members["refusal"] = self.denial
        return {"number": self.number, "time": self.time, "kind": self.kind, **members}


class _Message(NamedTuple):
    number: int
    size: int
    time: float
    peer: PeerIdentity
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties | None
    receivers: Sequence[PeerIdentity] | None  # None for a delivery
    payload_size: int

    def entry(self) -> Entry:
        entry: Entry = {
            "number": self.number,
            "time": self.time,
            "kind": "deliver" if self.receivers is None else "publish",
            **self.peer._asdict(),
            "topic": self.topic,
            "qos": self.qos,
            "retain": self.retain,
            "size": self.payload_size,
        }
        if len(self.payload) == self.payload_size:
            entry.update(_readable("payload", self.payload))
        if self.properties:
            entry["properties"] = readable = dict(self.properties)
            for name, value in self.properties.items():
                if isinstance(value, bytes):
                    del readable[name]
                    readable.update(_readable(name, value))
        if self.receivers is not None:
            entry["to"] = [receiver.client_id for receiver in self.receivers]
        return entry


_Fields: TypeAlias = tuple[Any, ...]
"""The fields of an `_Event` or a `_Message`: for a message, a plain tuple takes half the time."""


class _Buffer:
    """The newest records of some kinds, oldest first, as the fields of a class."""

    def __init__(self, limit: BufferLimit, record: type[_Event | _Message] = _Event) -> None:
        self._records: deque[_Fields] = deque()
        self._make = record._make
        self._max_entries, self._max_size = limit
        self._size = 0

    def append(self, fields: _Fields) -> None:
        records = self._records
        records.append(fields)
        self._size += fields[1]
        while self._size > self._max_size or len(records) > self._max_entries:
            self._size -= records.popleft()[1]

    def newest_first(self) -> Iterator[_Event | _Message]:
        return map(self._make, reversed(self._records))

    def after(self, number: int) -> Iterator[_Event | _Message]:
        newest_first = takewhile(lambda fields: fields[0] > number, reversed(self._records))
        return map(self._make, reversed(list(newest_first)))


class EventLog:
    """The latest events of one account.

    Each entry is a JSON object with ``number``, ``time`` (seconds since the epoch), ``kind``
    (``connect``, ``publish``, ``shadow``, ``call``, ...) and further members that depend on the
    kind. A refusal of any kind has a member ``refusal``.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    messages, refusals, others
        Limits of the buffers.

    Attributes
    ----------
    metrics
        Counters of all events, under CloudWatch's names; they are never evicted.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        messages: BufferLimit = MESSAGES,
        refusals: BufferLimit = REFUSALS,
        others: BufferLimit = OTHERS,
    ) -> None:
        self.metrics = Metrics(clock)
        self._clock = clock
        self._number = 0
        self._messages = _Buffer(messages, _Message)
        self._refusals = _Buffer(refusals)
        self._others = _Buffer(others)
        self._by_kind = {kind: _Buffer(limit) for kind, limit in LIMITS.items()}

    def add_buffer(self, kind: str, limit: BufferLimit) -> None:
        """Give the entries of a kind a buffer of their own."""
        self._by_kind[kind] = _Buffer(limit)

    # --- writing ------------------------------------------------------------------------------

    def append(self, kind: str, *, denial: Explainable | None = None, **members: Any) -> None:
        """Append an entry; its members must be JSON values.

        A `denial` becomes the member ``refusal`` when the entry is read.
        """
        number, now = self.stamp()
        refused = denial is not None or "refusal" in members
        buffer = self._refusals if refused else self._by_kind.get(kind, self._others)
        text = _encode(members)
        size = len(text) + (denial.size if denial is not None else 0)
        buffer.append((number, size, now, kind, text, denial))

    def stamp(self) -> Stamp:
        """Return number and time for an entry that `log_message` appends later."""
        self._number += 1
        return self._number, self._clock()

    def log_message(
        self,
        stamp: Stamp,
        peer: PeerIdentity,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: Properties | None,
        receivers: Sequence[PeerIdentity] | None = None,
    ) -> None:
        """Append a message: an entry of the kind ``publish``, or ``deliver`` without `receivers`.

        A delivery has an entry of its own if the message waited in a session, was retained, or was
        sent directly. A message of the cloud on a reserved topic without receivers is left out: the
        services publish one for every change, whether or not a client subscribes.

        Parameters
        ----------
        stamp
            Taken before the message was routed, so that the entry precedes what routing caused.
        peer
            The sender of a message that was published, the receiver of a delivery.
        receivers
            The peers that a published message was sent to.
        """
        if not receivers and peer is CLOUD and topic.startswith("$aws/"):
            return
        payload_size = len(payload)
        size = MESSAGE_SIZE + payload_size
        if payload_size > MAX_LOGGED_PAYLOAD:
            payload, size = b"", MESSAGE_SIZE
        if receivers:
            size += RECEIVER_SIZE * len(receivers)
        if properties:
            properties_size = len(repr(properties))
            if properties_size > MAX_LOGGED_PAYLOAD:
                properties = None
            else:
                size += properties_size
        number, now = stamp
        message = (topic, payload, qos, retain, properties, receivers, payload_size)
        self._messages.append((number, size, now, peer, *message))

    # --- reading ------------------------------------------------------------------------------

    @property
    def last_number(self) -> int:
        """Number of the newest entry, which is how many there were, evicted ones included."""
        return self._number

    def entries(self, after: int = 0) -> list[Entry]:
        """Return the entries whose number is greater than `after`, oldest first."""
        return [explained(entry) for entry in self.read(after)]

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Iterate over the same entries, each formatted only when the iterator reaches it.

        Use `is_explained` and `explained` on them: denials are still to be put into words.
        """
        buffers = (self._refusals, self._others, *self._by_kind.values(), self._messages)
        for record in merge(*(each.after(after) for each in buffers), key=itemgetter(0)):
            yield record.entry()

    def refusals(
        self, client_id: str | None = None, principals: Collection[str] = ()
    ) -> Iterator[Entry]:
        """Iterate over the entries with a refusal, newest first.

        Parameters
        ----------
        client_id
            If given, only refusals of this client, or of a shadow of the Thing of this name.
        principals
            Certificate IDs whose refusals are included, too.
        """
        for record in self._refusals.newest_first():
            entry = record.entry()
            names = (entry.get("client_id"), entry.get("thing"))
            if client_id is None or client_id in names or entry.get("principal") in principals:
                yield explained(entry)

    def failures(self, after: int) -> list[Entry]:
        """Return what failed after an entry without a refusal, newest first.

        That is a call with an error, and a message on a topic whose service is not available here.
        """
        records = [*self._by_kind["call"].after(after), *self._others.after(after)]
        return [
            record.entry()
            for record in sorted(records, key=lambda record: -record.number)
            if isinstance(record, _Event) and (record.kind == "unanswered" or _has_error(record))
        ]

    def drops(self) -> list[Entry]:
        """Return the entries about dropped messages, oldest first."""
        return [record.entry() for record in self._by_kind["dropped"].after(0)]

    def last_refusal(
        self, client_id: str | None = None, principals: Collection[str] = ()
    ) -> Entry | None:
        """Return the first entry of `refusals`; None if there is none."""
        return next(self.refusals(client_id, principals), None)


def _has_error(record: _Event) -> bool:
    return record.kind == "call" and '"error":null' not in record.members


def is_explained(entry: Entry) -> bool:
    """Return whether an entry has no denial that is still to be put into words."""
    return isinstance(entry.get("refusal", {}), dict)


def explained(entry: Entry) -> Entry:
    """Put the denial of an entry into words, if it has one; return the entry."""
    if not is_explained(entry):
        entry["refusal"] = entry["refusal"].refusal()
    return entry


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _readable(name: str, value: bytes) -> Entry:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
