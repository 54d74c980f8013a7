"""What AWS IoT Core meters, and what that costs.

The rules are those of AWS's pricing page, the prices a table to be edited (``prices.toml``).
`messages_of` and `cost_of` are pure; a `Meter` counts in memory and writes into the ledger's file
now and then, so that counting a message costs next to nothing.

Metered are CONNECT, PUBLISH in either direction, SUBSCRIBE and the PUBACK that a device sends;
not PINGREQ, DISCONNECT, UNSUBSCRIBE and whatever acknowledges from AWS's side.
"""

from __future__ import annotations

import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from creeklab.display.table import html_table, text_table

PRICES = Path(__file__).parent / "prices.toml"
MESSAGE_STEP = 5 * 1024
RECORD_STEP = 1024
WRITE_SECONDS = 30.0


def billable_messages(size: int) -> int:
    """Return as how many messages one counts, whose topic and payload have `size` bytes."""
    return max(1, -(-size // MESSAGE_STEP))


def billable_operations(size: int) -> int:
    """Return as how many operations of registry or shadow one counts, on a record of `size` bytes.

    The record's size is not told; the larger of request and answer is taken for it.
    """
    return max(1, -(-size // RECORD_STEP))


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used.

    Attributes
    ----------
    messages
        Messages, in steps of 5 KB.
    minutes
        Minutes that devices were connected, each connection rounded up.
    operations
        Operations of registry and shadow, in steps of 1 KB.
    """

    messages: int = 0
    minutes: int = 0
    operations: int = 0

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of what is counted."""
        return [each.name for each in fields(cls)]

    def counts(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.names()}

    def __add__(self, other: Usage) -> Usage:
        mine, more = self.counts(), other.counts()
        return Usage(**{name: mine[name] + more[name] for name in mine})

    def __bool__(self) -> bool:
        return any(self.counts().values())

    def above_free_tier(self, free: Usage) -> Usage:
        """Return what is left after so much is free."""
        mine, other = self.counts(), free.counts()
        return Usage(**{name: max(0, mine[name] - other[name]) for name in mine})


@dataclass(frozen=True, slots=True)
class Prices:
    """The price table.

    Attributes
    ----------
    tiers
        For messages, minutes and operations: (up to so many a month, USD for a million) pairs, in
        order; the last one has no end.
    free
        What is free each month in the first twelve, for accounts opened before July 2025.
    as_of
        When these prices were looked up.
    """

    tiers: Mapping[str, list[tuple[float, float]]]
    free: Usage
    as_of: str


def load_prices(home: Path | None = None) -> Prices:
    """Read the price table: the home folder's own ``prices.toml``, else the one of creeklab.

    Raises
    ------
    ValueError
        If it is not such a table; the message names the file.
    """
    file = PRICES
    if home is not None and (home / "prices.toml").exists():
        file = home / "prices.toml"
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        tiers = {
            name: [
                (float(tier.get("up_to", "inf")), float(tier["per_million"]))
                for tier in table[name]
            ]
            for name in Usage.names()
        }
        ends = [tier[0] for each in tiers.values() for tier in each]
        if not all(each and each == sorted(each) for each in tiers.values()):
            raise ValueError("the tiers of a price are not in order")
        if not all(each[-1][0] == float("inf") for each in tiers.values()) or min(ends) < 0:
            raise ValueError("the last tier of a price has an end")
        return Prices(tiers, Usage(**table["free_tier"]), str(table["as_of"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a table of prices ({error}). Compare it with {PRICES.name} of creeklab."
        ) from None


def cost_of(use: Usage, prices: Prices) -> dict[str, float]:
    """Return what one month's use costs, in USD: ``messages``, ``minutes``, ``operations``.

    The free tier is not looked at: take `Use.beyond` of it first.
    """
    return {name: _tiered(number, prices.tiers[name]) for name, number in use.counts().items()}


def _tiered(number: float, tiers: Iterable[tuple[float, float]]) -> float:
    cost, begin = 0.0, 0.0
    for end, per_million in tiers:
        cost += max(0.0, min(number, end) - begin) * per_million / 1e6
        begin = end
    return cost


class Meter:
    """Counts what is used and hands it on, at most so often.

    Parameters
    ----------
    write
        Takes what was used since the last time.
    clock
        Seconds, of any beginning.
    """

    def __init__(
        self, write: Callable[[Usage], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Usage.names(), 0)
        self._written_at = clock()
        self._connections: dict[object, tuple[float, int]] = {}

    def message(self, size: int = 0, *, acknowledged: bool = False) -> None:
        """Count a message; `acknowledged` if the device sends a PUBACK for it."""
        self._count("messages", billable_messages(size) + acknowledged)

    def operation(self, size: int = 0) -> None:
        """Count an operation of registry or shadow."""
        self._count("operations", billable_operations(size))

    def connected(self, connection: object) -> None:
        """Count a CONNECT that was accepted, and the minutes from now on."""
        with self._lock:
            self._connections[connection] = (self._clock(), 0)
        self.message()

    def disconnected(self, connection: object) -> None:
        """Stop counting the minutes of a connection, and write: it may be the last one."""
        with self._lock:
            self._count_minutes(connection)
            self._connections.pop(connection, None)
        self.write()

    def write(self) -> None:
        """Hand on what was counted so far; a minute that has begun is counted."""
        with self._lock:
            for connection in self._connections:
                self._count_minutes(connection)
            use = Usage(**self._counts)
            self._counts = dict.fromkeys(self._counts, 0)
            self._written_at = self._clock()
        if use:
            self._write(use)

    def _count(self, name: str, number: int) -> None:
        with self._lock:
            self._counts[name] += number
            due = self._clock() - self._written_at >= WRITE_SECONDS
        if due:
            self.write()

    def _count_minutes(self, connection: object) -> None:
        """Count the minutes of a connection that have begun and were not counted yet."""
        if connection in self._connections:
            since, counted = self._connections[connection]
            minutes = int((self._clock() - since) // 60) + 1
            self._counts["minutes"] += minutes - counted
            self._connections[connection] = (since, minutes)


class Cost:
    """What was used so far and what that costs on AWS, by the price table.

    Attributes
    ----------
    use
        All that was used.
    total
        USD, without a free tier.
    beyond_free_tier
        USD, if every month were one of the first twelve of an account from before July 2025.
    """

    def __init__(self, months: Mapping[str, Usage], prices: Prices, target: str) -> None:
        self.prices = prices
        self._target = target
        self.use = sum(months.values(), Usage())
        each = [cost_of(use, prices) for use in months.values()]
        self.parts = {name: sum(cost[name] for cost in each) for name in self.use.counts()}
        self.total = sum(self.parts.values())
        self.beyond_free_tier = sum(
            sum(cost_of(use.above_free_tier(prices.free), prices).values())
            for use in months.values()
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """Return what, how much, and USD, as text."""
        words = {
            "messages": "messages",
            "minutes": "minutes connected",
            "operations": "registry and shadow operations",
        }
        counts = self.use.counts()
        rows = [
            (words[name], f"{counts[name]:,}", f"{cost:.6f}") for name, cost in self.parts.items()
        ]
        return [*rows, ("total", "", f"{self.total:.6f}")]

    def note(self) -> str:
        """Return what to know about the numbers."""
        would = "would cost on AWS (here it costs nothing)" if self._target == "local" else "costs"
        free = f"{self.beyond_free_tier:.2f} USD"
        return (
            f"What was used so far {would}, indicative, at prices of {self.prices.as_of}. "
            "With the free tier of accounts opened before July 2025, in their first twelve months: "
            f"{free}."
        )

    def __repr__(self) -> str:
        rows = [("", "number", "USD"), *self.rows()]
        return text_table(rows, right=(1, 2)) + "\n" + self.note()

    def _repr_html_(self) -> str:
        return html_table(("", "number", "USD"), self.rows(), note=self.note())
