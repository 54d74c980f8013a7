"""Counters of what an account's devices do, under CloudWatch's names.

AWS IoT sends these to CloudWatch once a minute (namespace ``AWS/IoT``, dimension ``Protocol``;
developer guide, "AWS IoT metrics and dimensions"). Every message is counted, so `count` only adds
to a total and reads no clock. `tick`, called about once a second, notices the end of a minute and
records how much each total has grown. A count can therefore be assigned to the minute before, at
most a second late.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

MetricProtocol = Literal["MQTT", "HTTP"]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Connect": (
        *("Success", "AuthError", "ClientError", "ClientIDThrottle", "ServerError", "Throttle"),
    ),
    "Ping": ("Success",),
    "PublishIn": ("Success", "AuthError", "ClientError", "ServerError", "Throttle"),
    "PublishOut": ("Success", "AuthError", "ClientError", "Throttle"),
    "PublishRetained": ("Success", "AuthError", "ServerError", "Throttle"),
    "Subscribe": ("Success", "AuthError", "ClientError", "ServerError", "Throttle"),
    "Unsubscribe": ("Success", "ClientError", "ServerError", "Throttle"),
}
"""The metrics: the first half of each name, and its possible second halves."""

NAMES = tuple(f"{group}.{end}" for group, ends in GROUPS.items() for end in ends)
"""The broker's metrics: ``"Connect.Success"``, ``"PublishIn.AuthError"``, ..."""

MINUTES_KEPT = 180
"""Minutes whose counts are stored; minutes without counts take no space."""

_Counts = Counter[tuple[str, str]]


class Metrics:
    """The counters of one account, all 0 at the start.

    Parameters
    ----------
    clock
        Seconds since the epoch.

    Attributes
    ----------
    mqtt
        The totals of MQTT by name. ``metrics.mqtt["PublishOut.Success"] += 1`` takes a third of the
        time of `count`, and the broker does it for every message.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._totals = {protocol: dict.fromkeys(NAMES, 0) for protocol in get_args(MetricProtocol)}
        self.mqtt = self._totals["MQTT"]
        self._recorded: _Counts = Counter()
        self._minute = self._this_minute()
        self._minutes: deque[tuple[int, _Counts]] = deque(maxlen=MINUTES_KEPT)

    def add_group(self, group: str, ends: Iterable[str]) -> None:
        """Add metrics such as ``GetThingShadow.Accepted``, or ``TopicMatch`` without ends."""
        names = [f"{group}.{end}" for end in ends] or [group]
        for counts in self._totals.values():
            counts.update(dict.fromkeys(names, 0))

    def count(self, name: str, protocol: MetricProtocol = "MQTT", number: int = 1) -> None:
        """Add `number` to a metric of `NAMES` or of a service; any other name raises a KeyError."""
        self._totals[protocol][name] += number

    def tick(self) -> None:
        """Record the counts of the last minute if it has ended."""
        minute = self._this_minute()
        if minute != self._minute:
            grown = self._grown()
            if grown:
                self._minutes.append((self._minute, grown))
                self._recorded = self._nonzero()
            self._minute = minute

    def totals(self) -> list[dict[str, Any]]:
        """Return the counts since the cloud was started: ``name``, ``protocol``, ``sum``."""
        return [_row(key, number) for key, number in self._nonzero().items()]

    def minutes(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the counts of each minute, including the current one.

        Parameters
        ----------
        after
            Return only minutes that start later than this, in seconds since the epoch.

        Returns
        -------
        list
            ``minute`` (its start, in seconds since the epoch), ``name``, ``protocol`` and ``sum``,
            oldest minute first, without zeros.
        """
        self.tick()
        return [
            {"minute": minute, **_row(key, number)}
            for minute, counts in [*self._minutes, (self._minute, self._grown())]
            if minute > after
            for key, number in counts.items()
        ]

    def _this_minute(self) -> int:
        now = int(self._clock())
        return now - now % 60

    def _nonzero(self) -> _Counts:
        return Counter(
            {
                (name, protocol): number
                for protocol, counts in self._totals.items()
                for name, number in counts.items()
                if number
            }
        )

    def _grown(self) -> _Counts:
        return self._nonzero() - self._recorded


def _row(key: tuple[str, str], number: int) -> dict[str, Any]:
    return {"name": key[0], "protocol": key[1], "sum": number}
