"""Delivery of received messages to the inboxes of a device's subscriptions.

A resumed session delivers messages before this process has subscribed to anything. They wait here
without an acknowledgment until a subscription matches them, so nothing is lost if the process ends
first. Their number is bounded: the broker stops sending when `MAX_WAITING` messages have no
acknowledgment, and keeps the others.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

from creeklab.client.inbox import Inbox, ReceivedMessage
from creeklab.client.topics import matches

MAX_WAITING = 100
"""AWS's quota of unacknowledged messages for a client, and the receive maximum of a session."""

Acknowledge = Callable[[], object]


class Delivery:
    """The inboxes of one device, and the messages that no inbox matches yet.

    Parameters
    ----------
    on_message
        Called with each message that no subscription with a callback of its own matches.
    keep_unmatched
        Keep messages that match no subscription until one does.
    """

    def __init__(
        self,
        on_message: Callable[[ReceivedMessage], object] | None = None,
        *,
        keep_unmatched: bool = False,
    ) -> None:
        self.on_message = on_message
        self._keep_unmatched = keep_unmatched and on_message is None
        self._inboxes: dict[str, Inbox] = {}
        self._waiting: list[tuple[ReceivedMessage, Acknowledge | None]] = []
        self._lock = threading.Lock()

    @property
    def inboxes(self) -> list[Inbox]:
        """The inboxes of all subscriptions."""
        with self._lock:
            return list(self._inboxes.values())

    @property
    def waiting(self) -> list[ReceivedMessage]:
        """Messages that wait for a subscription."""
        with self._lock:
            return [message for message, _ in self._waiting]

    def has_inbox(self, topic: str) -> bool:
        """Return whether an inbox matches a topic."""
        with self._lock:
            return bool(self._matching(topic))

    def find(self, topic_filter: str) -> Inbox | None:
        """Return the inbox of a topic filter, if there is one."""
        return self._inboxes.get(topic_filter)

    def deliver(
        self, message: ReceivedMessage, defer: Callable[[], Acknowledge] | None = None
    ) -> None:
        """Put a message into every inbox that matches it, or keep it.

        Parameters
        ----------
        defer
            Called to take over the acknowledgment of a message that has to wait; returns the
            function that sends it. None at QoS 0.

        Raises
        ------
        Exception
            The first exception of a callback; the other inboxes still receive the message.
        """
        with self._lock:
            inboxes = self._matching(message.topic)
            full = len(self._waiting) >= MAX_WAITING
            # At QoS 0, nobody else keeps the message, and MQTT allows its loss.
            if not inboxes and self._keep_unmatched and (defer is not None or not full):
                self._waiting.append((message, None if defer is None else defer()))
                if len(self._waiting) == MAX_WAITING:
                    self._warn()
        if not inboxes and self.on_message is not None:
            self.on_message(message)
        failed: Exception | None = None
        for inbox in inboxes:
            try:
                inbox.put(message)
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def add(self, inbox: Inbox) -> None:
        """Add an inbox; it first receives the waiting messages that match it."""
        while matching := self._take(inbox.topic_filter, or_add=inbox):
            for position, (message, acknowledge) in enumerate(matching):
                try:
                    inbox.put(message)
                except Exception:
                    with self._lock:
                        self._waiting[:0] = matching[position:]
                    raise
                if acknowledge is not None:
                    acknowledge()

    def remove(self, topic_filter: str) -> None:
        """Remove an inbox, and acknowledge the waiting messages that its topic filter matches."""
        for _, acknowledge in self._take(topic_filter):
            if acknowledge is not None:
                acknowledge()
        with self._lock:
            self._inboxes.pop(topic_filter, None)

    def forget_waiting(self) -> None:
        """Forget the waiting messages, because the resumed session delivers them again."""
        with self._lock:
            self._waiting.clear()

    def _take(
        self, topic_filter: str, *, or_add: Inbox | None = None
    ) -> list[tuple[ReceivedMessage, Acknowledge | None]]:
        """Take the waiting messages of a topic filter; if there are none, add the inbox.

        Until it is added, new messages also wait, so they cannot overtake the earlier ones.
        """
        with self._lock:
            matching: list[tuple[ReceivedMessage, Acknowledge | None]] = []
            others: list[tuple[ReceivedMessage, Acknowledge | None]] = []
            for each in self._waiting:
                matched = matches(topic_filter, each[0].topic)
                (matching if matched else others).append(each)
            self._waiting = others
            if not matching and or_add is not None:
                self._inboxes[topic_filter] = or_add
        return matching

    def _matching(self, topic: str) -> list[Inbox]:
        return [inbox for name, inbox in self._inboxes.items() if matches(name, topic)]

    def _warn(self) -> None:
        topic = self._waiting[0][0].topic
        warnings.warn(
            f"{MAX_WAITING} messages wait in this device, the first on '{topic}', because it has "
            "resumed a session but no subscription of this process matches them. AWS sends no more "
            "until you subscribe to their topics, or unsubscribe from the session's old topic "
            "filter.",
            stacklevel=2,
        )
