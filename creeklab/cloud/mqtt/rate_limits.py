"""Rate limits, as token buckets; all of them are off by default.

A bucket holds one second's worth and fills evenly, so a client that keeps to the rate is never
refused, and can send one second's worth at once after a pause. What exceeds a `Rate` is refused;
what exceeds a `Throughput` is delayed.
"""

from __future__ import annotations

from collections.abc import Sequence


class Rate:
    """The limit of one client.

    Parameters
    ----------
    per_second
        How many are accepted in a second, and at once.
    now
        Monotonic seconds, here and in all methods.
    """

    __slots__ = ("_at", "_left", "_per_second", "_refusing")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = self._left = per_second
        self._at = now
        self._refusing = False

    def available(self, now: float) -> bool:
        """Return whether one more would be accepted now."""
        self._fill(now)
        return self._left >= 1

    def try_acquire(self, now: float) -> bool:
        """Accept one more if the rate allows it; return whether it does."""
        if not self.available(now):
            return False
        self._left -= 1
        self._refusing = False
        return True

    def first_refusal(self) -> bool:
        """Return whether the last refusal is the first one since something was accepted."""
        was, self._refusing = self._refusing, True
        return not was

    def is_full(self, now: float) -> bool:
        """Return whether the bucket is full, so that a new one would behave the same."""
        self._fill(now)
        return self._left == self._per_second

    def _fill(self, now: float) -> None:
        grown = self._left + (now - self._at) * self._per_second
        self._left = min(self._per_second, grown)
        self._at = now


class Throughput:
    """The limit of bytes per second over one connection, both directions together.

    Parameters
    ----------
    now
        Monotonic seconds, here and in all methods.
    """

    __slots__ = ("_at", "_left", "_per_second")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = self._left = per_second
        self._at = now

    def consume(self, size: int) -> None:
        """Count bytes that were received or sent."""
        self._left -= size

    def split(self, parts: Sequence[bytes], now: float) -> tuple[int, float]:
        """Count the parts that can be sent now; return how many, and the seconds until the next."""
        count = 0
        while count < len(parts) and not self.delay(now):
            self.consume(len(parts[count]))
            count += 1
        return count, self.delay(now)

    def delay(self, now: float) -> float:
        """Return the seconds until more can be received or sent."""
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        return max(0.0, -self._left / self._per_second)


class Rates:
    """The same limit for each of many client IDs."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._rates: dict[str, Rate] = {}

    def try_acquire(self, client_id: str, now: float) -> bool:
        """Accept one more of a client ID if the rate allows it; a rate of 0 allows any number."""
        if not self._per_second:
            return True
        rate = self._rates.get(client_id)
        if rate is None:
            rate = self._rates[client_id] = Rate(self._per_second, now)
        return rate.try_acquire(now)

    def tick(self, now: float) -> None:
        """Forget clients whose bucket is full again."""
        for client_id, rate in list(self._rates.items()):
            if rate.is_full(now):
                del self._rates[client_id]
