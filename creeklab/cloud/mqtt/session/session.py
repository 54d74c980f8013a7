"""A session: the state of one client, whether it is connected or not.

It has subscriptions, QoS 1 messages in flight (sent and not yet acknowledged), and waiting ones.
AWS IoT Core keeps a session up to its expiry interval after the client has disconnected, allows at
most 100 messages in flight, and can use another packet id when it sends a message again, without
the DUP flag (developer guide, "MQTT persistent sessions"). A session sends nothing itself: its
methods return what to send now.

A session that outlives its connection has a `store`, which gets every message that is added or
removed and makes it survive a crash (`session_store.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from creeklab.cloud.mqtt.codec.packets import Subscription
from creeklab.cloud.mqtt.session.message import OutboundMessage, estimated_size

MAX_IN_FLIGHT = 100
MAX_WAITING = 10_000
MAX_BACKLOG_BYTES = 256 << 20


Entry: TypeAlias = tuple[OutboundMessage, bool, int]
"""A message in a session, with its retain flag and its position in the session."""


class SessionStore(Protocol):
    """Storage of the sessions that outlive their connections; `count` is their number."""

    count: int

    def load(self, now: float) -> list[tuple[Session, float]]:
        """Return the stored sessions and when each ends, in seconds since the epoch."""

    def add(self, session: Session) -> None:
        """Store a session from now on."""

    def update(self, session: Session) -> None:
        """Store a change of a session's own fields or subscriptions."""

    def delete(self, session: Session) -> None:
        """Remove a session."""

    def add_message(self, session: Session, entry: Entry, group: str) -> None:
        """Store a message; `group` is the shared subscription that matched, or empty."""

    def remove_message(self, session: Session, entry: Entry) -> None:
        """Remove a message."""


@dataclass(slots=True)
class Backlog:
    """Bytes that wait for all clients together; it bounds memory."""

    bytes: int = 0


@dataclass(slots=True, eq=False)
class Session:
    """The state of one client ID.

    Attributes
    ----------
    version
        4 for MQTT 3.1.1, 5 for MQTT 5; a session is not resumed by the other one.
    principal
        Its owner. Another principal does not resume it, because its policies might not allow the
        subscriptions. AWS's behavior is not public.
    expiry
        Seconds that it outlives its connection.
    ends_at
        When it ends, in the broker's timer; None while its client is connected.
    shared
        Filters of shared subscriptions, by position of the message that matched.
    store, number
        The store, None for a session that ends with its connection, and its number there.
    """

    client_id: str
    version: int
    principal: str
    expiry: int = 0
    ends_at: float | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    receive_maximum: int = MAX_IN_FLIGHT
    in_flight: dict[int, Entry] = field(default_factory=dict)
    waiting: deque[Entry] = field(default_factory=deque)
    shared: dict[int, str] = field(default_factory=dict)
    backlog: Backlog = field(default_factory=Backlog)
    store: SessionStore | None = None
    number: int = 0
    last_position: int = 0
    _last_id: int = 0

    def enqueue_or_send(self, message: OutboundMessage, retain: bool, group: str = "") -> int:
        """Add a QoS 1 message; return the packet id to send it with, or 0 if it has to wait.

        `group` is the filter of the shared subscription that matched, or empty. Raise an
        `OverflowError` if too many messages wait.
        """
        if self.ends_at is None and len(self.in_flight) < self.receive_maximum and not self.waiting:
            return self._start(self._add(message, retain, group))
        self.queue(message, retain, group)
        return 0

    def queue(self, message: OutboundMessage, retain: bool, group: str = "") -> None:
        """Add a message behind the waiting ones; raise an `OverflowError` if too many wait."""
        size = estimated_size(message)
        if len(self.waiting) >= MAX_WAITING:
            raise OverflowError(f"{MAX_WAITING} messages already wait for '{self.client_id}'.")
        if self.backlog.bytes + size > MAX_BACKLOG_BYTES:
            raise OverflowError(
                f"{MAX_BACKLOG_BYTES >> 20} MiB of messages already wait, for all clients together."
            )
        self.waiting.append(self._add(message, retain, group))
        self.backlog.bytes += size

    def acknowledge(self, packet_id: int) -> OutboundMessage | None:
        """Remove an acknowledged message and return it; None if it was not in flight."""
        entry = self.in_flight.pop(packet_id, None)
        if entry is None:
            return None
        if self.store is not None or self.shared:
            self.forget(entry)
        return entry[0]

    def pop_next(self, now: float) -> tuple[int, OutboundMessage, bool] | None:
        """Return the next message to send now, as packet id, message and retain flag."""
        while self.waiting and len(self.in_flight) < self.receive_maximum:
            entry = self._pop()
            message = entry[0].with_remaining_expiry(now)
            if message is not None:
                return self._start(entry), message, entry[1]
            self.forget(entry)
        return None

    def requeue_in_flight(self) -> None:
        """Put the messages in flight back at the head of the waiting ones."""
        entries = [each for each in self.in_flight.values() if each[0].confirmed is None]
        self.in_flight.clear()
        self.waiting.extendleft(reversed(entries))
        for entry in entries:
            self.backlog.bytes += estimated_size(entry[0])
        if any(each[0].confirmed is not None for each in self.waiting):
            for _ in range(len(self.waiting)):
                entry = self._pop()
                if entry[0].confirmed is None:
                    self._put_back(entry)

    def take_shared(self, groups: Set[str]) -> list[tuple[Entry, str]]:
        """Remove and return waiting messages of the shared subscriptions `groups`, with the filter.

        They stay in the store: call `forget` for each when another session has taken it.
        """
        found: list[tuple[Entry, str]] = []
        if not groups.isdisjoint(self.shared.values()):
            for _ in range(len(self.waiting)):
                entry = self._pop()
                group = self.shared.get(entry[2], "")
                if group in groups:
                    found.append((entry, group))
                else:
                    self._put_back(entry)
        return found

    def forget(self, entry: Entry) -> None:
        """Forget a message that was acknowledged, has expired or was moved to another session."""
        if self.shared:
            self.shared.pop(entry[2], None)
        if self.store is not None:
            self.store.remove_message(self, entry)

    def attach_backlog(self, backlog: Backlog) -> None:
        """Count waiting messages in a backlog that all sessions share."""
        for entry in self.waiting:
            backlog.bytes += estimated_size(entry[0])
        self.backlog = backlog

    def close(self) -> None:
        """End the session: drop its messages, and remove it from the store."""
        if self.store is not None:
            self.store.delete(self)
        while self.waiting:
            self._pop()
        self.in_flight.clear()
        self.shared.clear()

    def _add(self, message: OutboundMessage, retain: bool, group: str) -> Entry:
        position = self.last_position = self.last_position + 1
        entry = (message, retain, position)
        if group:
            self.shared[position] = group
        if self.store is not None and message.confirmed is None:
            self.store.add_message(self, entry, group)
        return entry

    def _start(self, entry: Entry) -> int:
        packet_id = self._last_id
        while True:
            packet_id = packet_id % 65535 + 1
            if packet_id not in self.in_flight:
                break
        self._last_id = packet_id
        self.in_flight[packet_id] = entry
        return packet_id

    def _pop(self) -> Entry:
        entry = self.waiting.popleft()
        self.backlog.bytes -= estimated_size(entry[0])
        return entry

    def _put_back(self, entry: Entry) -> None:
        self.waiting.append(entry)
        self.backlog.bytes += estimated_size(entry[0])
