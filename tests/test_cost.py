"""Billed usage and its cost: tables of numbers, and a meter with its own clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from creeklab.ledger.cost import (
    PRICES,
    Cost,
    Meter,
    Prices,
    Usage,
    billable_messages,
    billable_operations,
    cost_of,
    load_prices,
)

FREE = Usage(messages=500_000, minutes=2_250_000, operations=225_000)


@pytest.fixture(scope="module")
def prices() -> Prices:
    return load_prices()


@pytest.mark.parametrize(
    ("size", "messages"),
    [(0, 1), (1, 1), (5120, 1), (5121, 2), (8 * 1024, 2), (10_240, 2), (128 * 1024, 26)],
)
def test_a_message_counts_once_for_each_5_kb(size: int, messages: int) -> None:
    assert billable_messages(size) == messages


@pytest.mark.parametrize(("size", "operations"), [(0, 1), (1024, 1), (1025, 2), (8192, 8)])
def test_an_operation_counts_once_for_each_kb(size: int, operations: int) -> None:
    assert billable_operations(size) == operations


@pytest.mark.parametrize(
    ("use", "usd"),
    [
        # AWS's own example: 100 000 devices connected for 30 days, and their messages.
        (Usage(minutes=100_000 * 60 * 24 * 30), {"minutes": 345.60}),
        (Usage(messages=975_000_000), {"messages": 975.0}),
        (Usage(operations=1_000_000), {"operations": 1.25}),
        (Usage(), {}),
        (Usage(messages=1_000_000_000), {"messages": 1000.0}),
        (Usage(messages=2_000_000_000), {"messages": 1000.0 + 800.0}),
        (Usage(messages=6_000_000_000), {"messages": 1000.0 + 3200.0 + 700.0}),
    ],
)
def test_the_cost_of_a_month(use: Usage, usd: dict[str, float], prices: Prices) -> None:
    nothing = {"messages": 0.0, "minutes": 0.0, "operations": 0.0}
    assert cost_of(use, prices) == pytest.approx({**nothing, **usd})


def test_the_free_tier_counts_for_each_month(prices: Prices) -> None:
    assert prices.free == FREE
    once = Cost({"2026-01": Usage(messages=600_000)}, prices, "aws")
    spread = Cost(
        {"2026-01": Usage(messages=300_000), "2026-02": Usage(messages=300_000)}, prices, "aws"
    )
    assert (once.total, spread.total) == (pytest.approx(0.6), pytest.approx(0.6))
    assert once.above_free_tier == pytest.approx(0.1)
    assert spread.above_free_tier == 0


def test_tiers_restart_each_month(prices: Prices) -> None:
    months = {"2026-01": Usage(messages=10**9), "2026-02": Usage(messages=10**9)}
    assert Cost(months, prices, "aws").total == pytest.approx(2000.0)


def test_the_cost_as_text_and_as_html_says_estimate(prices: Prices) -> None:
    cost = Cost({"2026-01": Usage(1_000_000, 60, 1_000_000)}, prices, "local")
    assert repr(cost).splitlines()[:5] == [
        "                                   number       USD",
        "messages                        1,000,000  1.000000",
        "minutes connected                      60  0.000005",
        "registry and shadow operations  1,000,000  1.250000",
        "total                                      2.250005",
    ]
    for text in (repr(cost), cost._repr_html_()):
        assert "Estimate" in text
        assert prices.as_of in text
        assert "it costs nothing here" in text
    assert "it costs nothing here" not in repr(Cost({}, prices, "aws"))


# --- the table --------------------------------------------------------------------------------


def test_a_table_in_the_home_folder_is_used_instead(tmp_path: Path) -> None:
    text = PRICES.read_text(encoding="utf-8").replace("per_million = 0.08", "per_million = 0.096")
    (tmp_path / "prices.toml").write_text(text, encoding="utf-8")
    tokyo = load_prices(tmp_path)
    assert cost_of(Usage(minutes=1_000_000), tokyo)["minutes"] == pytest.approx(0.096)
    assert load_prices(tmp_path / "elsewhere") == load_prices()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[free_tier]", "[free_beer]"),
        ("per_million = 1.25", "per_million = 'much'"),
        ("up_to = 5_000_000_000", "up_to = 5"),
        ("[[operations]]\nper_million", "[[operations]]\nup_to = 9\nper_million"),
        ("as_of =", "as_of"),
    ],
)
def test_an_invalid_table_is_rejected_by_name(old: str, new: str, tmp_path: Path) -> None:
    text = PRICES.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "prices.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=r"prices\.toml is not a valid price table"):
        load_prices(tmp_path)


# --- the meter --------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def written() -> list[Usage]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(written: list[Usage], clock: Clock) -> Meter:
    return Meter(written.append, clock=clock)


def total(written: list[Usage]) -> Usage:
    return sum(written, Usage())


def test_a_meter_writes_only_new_usage(meter: Meter, written: list[Usage]) -> None:
    meter.message(100)
    meter.message(6000)
    meter.message(100, acknowledged=True)
    meter.operation(3000)
    assert written == []
    meter.write()
    meter.write()
    assert written == [Usage(messages=1 + 2 + 2, operations=3)]
    meter.message()
    meter.write()
    assert written[1:] == [Usage(messages=1)]


def test_a_meter_writes_at_intervals(meter: Meter, written: list[Usage], clock: Clock) -> None:
    meter.message()
    clock.now += 29
    meter.message()
    assert written == []
    clock.now += 1
    meter.message()
    assert written == [Usage(messages=3)]


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0, 1), (1, 1), (59, 1), (60, 2), (61, 2), (600, 11)]
)
def test_started_minutes_count(
    seconds: float, minutes: int, meter: Meter, written: list[Usage], clock: Clock
) -> None:
    meter.connected("a")
    clock.now += seconds
    meter.disconnected("a")
    assert total(written) == Usage(messages=1, minutes=minutes)


def test_writing_counts_no_minute_twice(meter: Meter, written: list[Usage], clock: Clock) -> None:
    meter.connected("a")
    meter.connected("b")
    for _ in range(10):
        clock.now += 30
        meter.write()
    meter.disconnected("a")
    assert total(written) == Usage(messages=2, minutes=12)
    clock.now += 60
    meter.disconnected("b")
    meter.disconnected("b")  # the SDK may report it twice
    assert total(written) == Usage(messages=2, minutes=13)
