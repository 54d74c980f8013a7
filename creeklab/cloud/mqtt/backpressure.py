"""Publishers wait while a connected subscriber has a long queue, so that nothing has to be dropped.

A subscriber can acknowledge less than the others publish. Before its queue is full, the cloud stops
reading from clients that publish to it, which delays their PUBACKs, and continues when the queue is
short again. A subscriber that acknowledges fewer than `MIN_ACKNOWLEDGED` messages a second must not
hold up the others: nobody waits for it, and its queue can overflow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from creeklab.cloud.mqtt.session.session import Session

LONG_QUEUE, SHORT_QUEUE = 2_000, 500
MIN_ACKNOWLEDGED = 500
RESUMED_AT_ONCE = 8
"""Publishers that continue after one packet of a subscriber: all of them at once would fill its
queue again."""


class Backpressure:
    """The subscribers with a long queue, and the publishers that wait for them.

    Attributes
    ----------
    reached
        Whether a message was queued for such a subscriber; the reader of a publisher resets it.
    """

    def __init__(self) -> None:
        self.reached = False
        self._slow: dict[Session, int] = {}  # with what it acknowledged since the last tick
        self._hopeless: set[Session] = set()
        self._waiting: deque[Callable[[], object]] = deque()

    def is_slow(self, session: Session | None) -> bool:
        """Return whether publishers wait for this subscriber."""
        return session in self._slow

    def on_queue(self, session: Session) -> None:
        """Note that a message for a connected subscriber has to wait."""
        if session in self._slow:
            self.reached = True
        elif len(session.waiting) >= LONG_QUEUE and session not in self._hopeless:
            self._slow[session] = 0
            self.reached = True

    def on_acknowledge(self, session: Session, count: int) -> None:
        """Note that a subscriber with a queue has acknowledged messages."""
        if len(session.waiting) <= SHORT_QUEUE:
            self.remove(session)
        elif session in self._slow:
            self._slow[session] += count

    def remove(self, session: Session) -> None:
        """Forget a subscriber whose queue is short, or that has disconnected."""
        self._slow.pop(session, None)
        self._hopeless.discard(session)
        self._resume()

    def wait(self, resume: Callable[[], object]) -> None:
        """Call `resume` when the publisher can continue."""
        self._waiting.append(resume)

    def tick(self) -> None:
        """Give up on subscribers that acknowledge too little; call it every second."""
        for session, acknowledged in list(self._slow.items()):
            if acknowledged < MIN_ACKNOWLEDGED:
                del self._slow[session]
                self._hopeless.add(session)
            else:
                self._slow[session] = 0
        while self._waiting and not self._slow:
            self._waiting.popleft()()

    def _resume(self) -> None:
        for _ in range(RESUMED_AT_ONCE):
            if self._waiting and not self._slow:
                self._waiting.popleft()()
