"""The usage that AWS IoT Core bills, and its cost.

The rules are from AWS's pricing page; the prices are in a table that you can edit
(``prices.toml``). `billable_messages` and `cost_of` are pure. A `Meter` counts in memory and writes
to the ledger's file from time to time, so that counting a message takes almost no time.

AWS bills CONNECT, PUBLISH in both directions, SUBSCRIBE and the PUBACK that a device sends. It does
not bill PINGREQ, DISCONNECT, UNSUBSCRIBE and the acknowledgments that AWS sends.
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
WRITE_INTERVAL = 30.0


def billable_messages(size: int) -> int:
    """Return the number of billed messages for a topic and payload of `size` bytes."""
    return max(1, -(-size // MESSAGE_STEP))


def billable_operations(size: int) -> int:
    """Return the number of billed registry or shadow operations for a record of `size` bytes.

    AWS does not report the size of a record; the larger of request and response stands for it.
    """
    return max(1, -(-size // RECORD_STEP))


@dataclass(frozen=True, slots=True)
class Usage:
    """Billed usage: messages, connected minutes, and registry and shadow operations."""

    messages: int = 0
    minutes: int = 0
    operations: int = 0

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the counters."""
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
        """Return the usage that exceeds a free tier."""
        mine, other = self.counts(), free.counts()
        return Usage(**{name: max(0, mine[name] - other[name]) for name in mine})


@dataclass(frozen=True, slots=True)
class Prices:
    """The price table.

    Attributes
    ----------
    tiers
        For messages, minutes and operations: pairs of (monthly limit, USD per million), in order;
        the last tier has no limit.
    free
        The monthly free tier of the first twelve months, for accounts opened before July 2025.
    """

    tiers: Mapping[str, list[tuple[float, float]]]
    free: Usage
    as_of: str


def load_prices(home: Path | None = None) -> Prices:
    """Read the price table: the home folder's own ``prices.toml``, else the built-in one.

    Raises
    ------
    ValueError
        If the file is not a valid price table; the message names it.
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
            raise ValueError("the tiers of a price are not in ascending order")
        if not all(each[-1][0] == float("inf") for each in tiers.values()) or min(ends) < 0:
            raise ValueError("the last tier of a price has a limit")
        return Prices(tiers, Usage(**table["free_tier"]), str(table["as_of"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a valid price table ({error}). Compare it with {PRICES}."
        ) from None


def cost_of(usage: Usage, prices: Prices) -> dict[str, float]:
    """Return the cost of one month's usage in USD: ``messages``, ``minutes``, ``operations``.

    Ignores the free tier: apply `Usage.above_free_tier` first.
    """
    return {name: _tiered(number, prices.tiers[name]) for name, number in usage.counts().items()}


def _tiered(number: float, tiers: Iterable[tuple[float, float]]) -> float:
    cost, begin = 0.0, 0.0
    for end, per_million in tiers:
        cost += max(0.0, min(number, end) - begin) * per_million / 1e6
        begin = end
    return cost


class Meter:
    """Counts usage, and passes it to `write` at most once per interval."""

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
        """Count a registry or shadow operation."""
        self._count("operations", billable_operations(size))

    def connected(self, connection: object) -> None:
        """Count an accepted CONNECT, and start counting the connection's minutes."""
        with self._lock:
            self._connections[connection] = (self._clock(), 0)
        self.message()

    def disconnected(self, connection: object) -> None:
        """Stop counting a connection's minutes, and write: it may be the last one."""
        with self._lock:
            self._count_minutes(connection)
            self._connections.pop(connection, None)
        self.write()

    def write(self) -> None:
        """Write out the usage so far; a started minute counts in full."""
        with self._lock:
            for connection in self._connections:
                self._count_minutes(connection)
            usage = Usage(**self._counts)
            self._counts = dict.fromkeys(self._counts, 0)
            self._written_at = self._clock()
        if usage:
            self._write(usage)

    def _count(self, name: str, number: int) -> None:
        with self._lock:
            self._counts[name] += number
            due = self._clock() - self._written_at >= WRITE_INTERVAL
        if due:
            self.write()

    def _count_minutes(self, connection: object) -> None:
        """Count the started minutes of a connection that are not counted yet."""
        if connection in self._connections:
            since, counted = self._connections[connection]
            minutes = int((self._clock() - since) // 60) + 1
            self._counts["minutes"] += minutes - counted
            self._connections[connection] = (since, minutes)


class Cost:
    """The usage so far and its cost on AWS in USD, by the price table.

    Attributes
    ----------
    total
        The cost without a free tier.
    above_free_tier
        The cost if every month were in the first twelve of an account opened before July 2025.
    """

    def __init__(self, months: Mapping[str, Usage], prices: Prices, target: str) -> None:
        self.prices = prices
        self._target = target
        self.usage = sum(months.values(), Usage())
        each = [cost_of(usage, prices) for usage in months.values()]
        self.parts = {name: sum(cost[name] for cost in each) for name in self.usage.counts()}
        self.total = sum(self.parts.values())
        self.above_free_tier = sum(
            sum(cost_of(usage.above_free_tier(prices.free), prices).values())
            for usage in months.values()
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """Return item, number and USD as text."""
        names = {
            "messages": "messages",
            "minutes": "minutes connected",
            "operations": "registry and shadow operations",
        }
        counts = self.usage.counts()
        rows = [
            (names[name], f"{counts[name]:,}", f"{cost:.6f}") for name, cost in self.parts.items()
        ]
        return [*rows, ("total", "", f"{self.total:.6f}")]

    def note(self) -> str:
        """Return the assumptions behind the numbers."""
        costs = "would cost on AWS (it costs nothing here)" if self._target == "local" else "costs"
        free = f"{self.above_free_tier:.2f} USD"
        return (
            f"Estimate of what the usage so far {costs}, at prices of {self.prices.as_of}. With "
            "the free tier of accounts opened before July 2025, in their first twelve months: "
            f"{free}."
        )

    def __repr__(self) -> str:
        rows = [("", "number", "USD"), *self.rows()]
        return text_table(rows, right=(1, 2)) + "\n" + self.note()

    def _repr_html_(self) -> str:
        return html_table(("", "number", "USD"), self.rows(), note=self.note())
