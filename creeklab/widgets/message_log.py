"""The model of the test client: the messages of each subscription, up to a limit.

Messages arrive on the SDK's thread; cells, clicks and the renderer read on others. One lock
protects everything. A subscription keeps the newest messages up to a `BufferLimit` and counts all,
so that a flood neither fills the memory nor falsifies the counts. A message that matches several
subscriptions is kept once and listed in each, with the same number.
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
    """The most that a subscription keeps: messages, and bytes of payload."""

    messages: int
    size: int


LIMIT = BufferLimit(10_000, 16_000_000)


@dataclass(frozen=True, slots=True)
class LoggedMessage:
    """A message, its number, and the time it arrived, in seconds since the epoch."""

    number: int
    time: float
    message: ReceivedMessage


class Subscription(Inbox):
    """The newest messages of one topic filter.

    Attributes
    ----------
    count
        Messages since it was subscribed or cleared, including those that are no longer kept.
    unread
        Messages that arrived while another subscription was selected.
    """

    def __init__(self, topic_filter: str, qos: int, log: MessageLog) -> None:
        super().__init__(topic_filter, qos)
        self._arrived = log.lock
        self._log = log
        self._logged: deque[LoggedMessage] = deque()
        self._size = 0
        self.count = 0
        self.unread = 0

    def put(self, message: ReceivedMessage) -> None:
        """Add a message, and drop the oldest ones if it exceeds the limit."""
        log = self._log
        with log.lock:
            self._logged.append(log.number(message))
            self._size += len(message.payload)
            while len(self._logged) > log.limit.messages or self._size > log.limit.size:
                self._size -= len(self._logged.popleft().message.payload)
            self.count += 1
            if log.selected is not self:
                self.unread += 1
            log.lock.notify_all()
        log.changed()

    @property
    def logged(self) -> list[LoggedMessage]:
        """The kept messages with their numbers and times, oldest first."""
        with self._arrived:
            return list(self._logged)

    @property
    def messages(self) -> list[ReceivedMessage]:
        """The kept messages, oldest first."""
        return [each.message for each in self.logged]

    def wait_for(self, count: int, timeout: float = 5.0) -> list[ReceivedMessage]:
        """Wait for at least `count` messages, then return those that are kept."""
        self._log.wait(lambda: self.count, count, f"on '{self.topic_filter}'", timeout)
        return self.messages

    def clear(self) -> None:
        """Discard the messages so far."""
        with self._arrived:
            self._logged.clear()
            self._size = self.count = self.unread = 0

    def __len__(self) -> int:
        with self._arrived:
            return len(self._logged)


class MessageLog:
    """All subscriptions of one client.

    Parameters
    ----------
    changed
        Called after each change, on the thread that made it.

    Attributes
    ----------
    lock
        Held during each read and change; notified of every message.
    selected
        The subscription whose messages are shown.
    tree
        The topics of all messages.
    count
        All messages so far, each counted once.
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
        """The subscriptions, oldest first."""
        with self.lock:
            return list(self._subscriptions.values())

    def subscription(self, topic_filter: str) -> Subscription:
        """Return the subscription to a topic filter; raise `LookupError` if there is none."""
        with self.lock:
            found = self._subscriptions.get(topic_filter)
        if found is None:
            raise LookupError(f"There is no subscription to '{topic_filter}'.")
        return found

    def add(self, subscription: Subscription) -> None:
        """Add a subscription and select it."""
        with self.lock:
            self._subscriptions[subscription.topic_filter] = subscription
        self.select(subscription)

    def remove(self, topic_filter: str) -> None:
        """Remove a subscription and its messages; select the newest of the others."""
        with self.lock:
            removed = self._subscriptions.pop(topic_filter, None)
            if removed is self.selected:
                self.selected = None
                if self._subscriptions:
                    self.select(list(self._subscriptions.values())[-1])
        self.changed()

    def select(self, subscription: Subscription) -> None:
        """Show a subscription, which marks its messages as read."""
        with self.lock:
            self.selected = subscription
            subscription.unread = 0
        self.changed()

    def clear(self) -> None:
        """Discard all messages and topics so far; the subscriptions stay."""
        with self.lock:
            for subscription in self._subscriptions.values():
                subscription.clear()
            self.tree = TopicTree()
            self.count = 0
        self.changed()

    def logged(self) -> list[LoggedMessage]:
        """Return the kept messages of all subscriptions, each once, oldest first."""
        with self.lock:
            found = {each.number: each for one in self.subscriptions for each in one.logged}
        return [found[number] for number in sorted(found)]

    def wait(self, so_far: Callable[[], int], count: int, where: str, timeout: float) -> None:
        """Wait until the number of messages reaches `count`, for at most `timeout` seconds."""
        with self.lock:
            if not self.lock.wait_for(lambda: so_far() >= count, timeout):
                raise TimeoutError(
                    f"Received {so_far()} of {count} messages {where} within {timeout:g} s."
                )

    def number(self, message: ReceivedMessage) -> LoggedMessage:
        """Return a message with its number, which is the same for all subscriptions.

        The device passes a message to all subscriptions before the next one, so remembering the
        last one is enough. The caller holds the lock.
        """
        if self._last is None or self._last.message is not message:
            self._numbered += 1
            self.count += 1
            self._last = LoggedMessage(self._numbered, self._clock(), message)
            self.tree.add(message.topic, message.payload)
        return self._last
