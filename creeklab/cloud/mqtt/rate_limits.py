"""Quotas of rate: how many of something a second are taken. All of them are off unless asked for.

A bucket holds the worth of one second, and is filled evenly. So whoever keeps to the rate is never
refused, nor is one burst of a second's worth after a pause. What a `Rate` does not take is refused;
what is beyond a `Throughput` only has to wait.
"""

from __future__ import annotations

from collections.abc import Sequence


class Rate:
    """One quota for one client.

    Parameters
    ----------
    per_second
        How many are taken a second, and at once.
    now
        Seconds that only go forward.
    """

    __slots__ = ("_at", "_left", "_per_second", "_refusing")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = self._left = per_second
        self._at = now
        self._refusing = False

    def available(self, now: float) -> bool:
        """Tell whether one more would be taken now."""
        self._fill(now)
        return self._left >= 1

    def try_acquire(self, now: float) -> bool:
        """Tell whether one more is taken now."""
        if not self.available(now):
            return False
        self._left -= 1
        self._refusing = False
        return True

    def first_refusal(self) -> bool:
        """Tell whether the last refusal is the first one since something was taken."""
        was, self._refusing = self._refusing, True
        return not was

    def is_full(self, now: float) -> bool:
        """Tell whether a second has passed with nothing taken: then a new one would do as well."""
        self._fill(now)
        return self._left == self._per_second

    def _fill(self, now: float) -> None:
        grown = self._left + (now - self._at) * self._per_second
        self._left = min(self._per_second, grown)
        self._at = now


class Throughput:
    """How many bytes a second go over one connection, in both directions together.

    Parameters
    ----------
    now
        Seconds that only go forward.
    """

    __slots__ = ("_at", "_left", "_per_second")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = self._left = per_second
        self._at = now

    def consume(self, size: int) -> None:
        """Take note of bytes that came or went."""
        self._left -= size

    def split(self, parts: Sequence[bytes], now: float) -> tuple[int, float]:
        """Let the first of some parts pass; return how many, and when the next may, in seconds."""
        count = 0
        while count < len(parts) and not self.delay(now):
            self.consume(len(parts[count]))
            count += 1
        return count, self.delay(now)

    def delay(self, now: float) -> float:
        """Return for how many seconds nothing more may pass."""
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        return max(0.0, -self._left / self._per_second)


class Rates:
    """The same quota for each of many client ids."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._rates: dict[str, Rate] = {}

    def try_acquire(self, client_id: str, now: float) -> bool:
        """Tell whether one more is taken of a client id; always, if the quota is 0."""
        if not self._per_second:
            return True
        rate = self._rates.get(client_id)
        if rate is None:
            rate = self._rates[client_id] = Rate(self._per_second, now)
        return rate.try_acquire(now)

    def tick(self, now: float) -> None:
        """Forget who has not been here for a second."""
        for client_id, rate in list(self._rates.items()):
            if rate.is_full(now):
                del self._rates[client_id]
