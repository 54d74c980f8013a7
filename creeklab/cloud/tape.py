"""The tape: what happened in this cloud, in order, with the reason of every refusal.

Bounded in memory: the oldest entries fall off. Holds no payload and no key, only what a person
needs to see why something did or did not happen.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from creeklab.cloud.metrics import Metrics

Entry = dict[str, Any]


class Tape:
    """The last `length` happenings.

    Each entry is a JSON object with ``number`` (1, 2, 3, ...), ``time`` (seconds since the
    epoch), ``kind`` (``connect``, ``subscribe``, ``shadow``, ``call``, ...) and members of its
    kind; a refusal of whatever kind has a member ``refusal``.

    Attributes
    ----------
    metrics
        Counters under CloudWatch's names, of all that happens; they never fall off.
    """

    def __init__(self, length: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self._entries: deque[Entry] = deque(maxlen=length)
        self._clock = clock
        self._number = 0
        self.metrics = Metrics(clock)

    def record(self, kind: str, **members: Any) -> None:
        """Append an entry."""
        self._number += 1
        self._entries.append(
            {"number": self._number, "time": self._clock(), "kind": kind, **members}
        )

    def entries(self, after: int = 0) -> list[Entry]:
        """Return the entries whose number is greater than `after`, oldest first."""
        return [entry for entry in self._entries if entry["number"] > after]

    @property
    def length(self) -> int:
        """How many entries there were, those included that have fallen off."""
        return self._number

    def last_refusal(self, client_id: str | None = None) -> Entry | None:
        """Return the newest entry that explains a refusal, of one client if named."""
        for entry in reversed(self._entries):
            if "refusal" in entry and client_id in (None, entry.get("client_id")):
                return entry
        return None
