"""The model of the test client: what arrived since each subscription, as much as is bearable.

Messages arrive on the SDK's thread; cells, clicks and the renderer read on others. One lock is for
all of it. A subscription keeps the newest messages up to `Limit` and counts all, so that a flood
costs neither memory nor truth. A message that several subscriptions match is kept once and listed
in each, under one number.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from creeklab.client.inbox import Inbox, ReceivedMessage
from creeklab.widgets.topic_tree import TopicTree


class BufferLimit(NamedTuple):
    """How much a subscription keeps: so many messages, and so many bytes of payload."""

    messages: int
    size: int


LIMIT = BufferLimit(10_000, 16_000_000)


@dataclass(frozen=True, slots=True)
class LoggedMessage:
    """A message, the how manieth it is, and when it arrived, in seconds since the epoch."""

    number: int
    time: float
    message: ReceivedMessage


class Subscription(Inbox):
    """The messages that arrived for one topic filter, the newest of them.

    Attributes
    ----------
    count
        How many came, since it was subscribed or cleared, also those that are no longer kept.
    unread
        How many of them came while it was not looked at.
    """

    def __init__(self, topic_filter: str, qos: int, log: MessageLog) -> None:
        super().__init__(topic_filter, qos)
        self._arrived = log.lock
        self._log = log
        self._kept: deque[LoggedMessage] = deque()
        self._size = 0
        self.count = 0
        self.unread = 0

    def put(self, message: ReceivedMessage) -> None:
        """Add a message; the oldest make room."""
        log = self._log
        with log.lock:
            arrived = log.number(message)
            self._kept.append(arrived)
            self._size += len(message.payload)
            while len(self._kept) > log.limit.messages or self._size > log.limit.size:
                self._size -= len(self._kept.popleft().message.payload)
            self.count += 1
            if log.selected is not self:
                self.unread += 1
            log.lock.notify_all()
        log.changed()

    @property
    def arrived(self) -> list[LoggedMessage]:
        """What is kept, oldest first, with its numbers and times."""
        with self._arrived:
            return list(self._kept)

    @property
    def messages(self) -> list[ReceivedMessage]:
        """The messages that are kept, oldest first."""
        return [each.message for each in self.arrived]

    def wait_for(self, count: int, timeout: float = 5.0) -> list[ReceivedMessage]:
        """Wait until at least `count` messages have come, then return those that are kept.

        Raises
        ------
        TimeoutError
            If fewer came within `timeout` seconds.
        """
        self._log.wait(lambda: self.count, count, f"'{self.topic_filter}'", timeout)
        return self.messages

    def clear(self) -> None:
        """Forget the messages so far."""
        with self._arrived:
            self._kept.clear()
            self._size = self.count = self.unread = 0

    def __len__(self) -> int:
        with self._arrived:
            return len(self._kept)


class MessageLog:
    """All subscriptions of one client.

    Parameters
    ----------
    changed
        Called after each change, on the thread that made it.
    clock
        Seconds since the epoch.

    Attributes
    ----------
    lock
        Held for whatever is read or changed here; told of every message.
    selected
        The subscription that is looked at.
    tree
        The topics that were seen.
    count
        How many messages came, each counted once.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        *,
        limit: BufferLimit = LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lock = threading.Condition()
        self.changed = changed
        self.limit = limit
        self.tree = TopicTree()
        self.selected: Subscription | None = None
        self.count = 0
        self._clock = clock
        self._subscriptions: dict[str, Subscription] = {}
        self._last: LoggedMessage | None = None
        self._numbered = 0

    @property
    def subscriptions(self) -> list[Subscription]:
        """The subscriptions, in the order in which they were made."""
        with self.lock:
            return list(self._subscriptions.values())

    def subscription(self, topic_filter: str) -> Subscription:
        """Return the subscription to a topic filter.

        Raises
        ------
        LookupError
            If there is none.
        """
        with self.lock:
            found = self._subscriptions.get(topic_filter)
        if found is None:
            raise LookupError(f"There is no subscription to '{topic_filter}'.")
        return found

    def add(self, subscription: Subscription) -> None:
        """Add a subscription, and look at it."""
        with self.lock:
            self._subscriptions[subscription.topic_filter] = subscription
        self.select(subscription)

    def remove(self, topic_filter: str) -> None:
        """Remove a subscription with all that came for it, and look at the last of the others."""
        with self.lock:
            gone = self._subscriptions.pop(topic_filter, None)
            if gone is self.selected:
                self.selected = None
                if self._subscriptions:
                    self.select(list(self._subscriptions.values())[-1])
        self.changed()

    def select(self, subscription: Subscription) -> None:
        """Look at a subscription: what came for it is read."""
        with self.lock:
            self.selected = subscription
            subscription.unread = 0
        self.changed()

    def clear(self) -> None:
        """Forget all messages and topics so far; the subscriptions stay."""
        with self.lock:
            for subscription in self._subscriptions.values():
                subscription.clear()
            self.tree = TopicTree()
            self.count = 0
        self.changed()

    def arrived(self) -> list[LoggedMessage]:
        """Return what is kept of all subscriptions, each message once, oldest first."""
        with self.lock:
            found = {each.number: each for one in self.subscriptions for each in one.arrived}
        return [found[number] for number in sorted(found)]

    def wait(self, so_far: Callable[[], int], count: int, to: str, timeout: float) -> None:
        """Wait until a number that messages raise has come to `count`.

        Raises
        ------
        TimeoutError
            If it did not within `timeout` seconds.
        """
        with self.lock:
            if not self.lock.wait_for(lambda: so_far() >= count, timeout):
                raise TimeoutError(
                    f"{so_far()} of {count} messages came to {to} within {timeout:g} s."
                )

    def number(self, message: ReceivedMessage) -> LoggedMessage:
        """Return the message with its number, the same for each subscription that it comes to.

        The device hands one message to all its subscriptions before the next, so it is enough to
        know the last. The lock is held.
        """
        if self._last is None or self._last.message is not message:
            self._numbered += 1
            self.count += 1
            self._last = LoggedMessage(self._numbered, self._clock(), message)
            self.tree.add(message.topic, message.payload)
        return self._last
