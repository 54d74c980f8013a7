"""CloudWatch's counters: names, minutes, bounds, and their DataFrame."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from creeklab import Lab
from creeklab.cloud.diagnostics.admin import admin_endpoints
from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.monitoring.metrics import MINUTES_KEPT, NAMES, Metrics
from creeklab.cloud.shadow import service as shadow_service

NOON = 1_785_067_200


class Clock:
    now = NOON + 0.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def row(minute: int, name: str, sum: int, protocol: str = "MQTT") -> dict[str, Any]:
    return {"minute": NOON + 60 * minute, "name": name, "protocol": protocol, "sum": sum}


SHADOW_METRICS = [
    f"{group}.{end}" for group, ends in shadow_service.SERVICE.metrics.items() for end in ends
]


@pytest.mark.parametrize(
    "name",
    [
        "Connect.Success",
        "Connect.AuthError",
        "Connect.ClientIDThrottle",
        "Ping.Success",
        "PublishIn.ServerError",
        "PublishOut.Throttle",
        "PublishRetained.AuthError",
        "Subscribe.ClientError",
        "Unsubscribe.Success",
        "ListThingShadow.Accepted",
    ],
)
def test_names_are_cloudwatchs(name: str) -> None:
    assert name in {*NAMES, *SHADOW_METRICS}


def test_all_names_and_no_other_can_be_counted() -> None:
    metrics = Metrics()
    for group, ends in shadow_service.SERVICE.metrics.items():
        metrics.add_group(group, ends)
    names = [*NAMES, *SHADOW_METRICS]
    assert len(set(names)) == len(names) == 33
    for name in names:
        metrics.count(name)
        metrics.count(name, "HTTP", 2)
    assert [(each["protocol"], each["sum"]) for each in metrics.totals()] == [("MQTT", 1)] * 33 + [
        ("HTTP", 2)
    ] * 33
    for wrong in ("PublishOut.ServerError", "Ping", "connect.success"):
        with pytest.raises(KeyError):
            metrics.count(wrong)
        with pytest.raises(KeyError):
            metrics.mqtt[wrong] += 1
    with pytest.raises(KeyError):
        metrics.count("Ping.Success", "COAP")


def test_counts_go_to_the_minute_in_which_they_were_counted(clock: Clock) -> None:
    metrics = Metrics(clock)
    assert metrics.minutes() == metrics.totals() == []
    metrics.count("PublishIn.Success")
    metrics.count("PublishIn.Success", "HTTP")
    clock.now = NOON + 59.9
    metrics.tick()
    metrics.mqtt["PublishIn.Success"] += 2
    clock.now = NOON + 60
    metrics.tick()
    metrics.count("Ping.Success")
    expected = [
        row(0, "PublishIn.Success", 3),
        row(0, "PublishIn.Success", 1, "HTTP"),
        row(1, "Ping.Success", 1),
    ]
    assert metrics.minutes() == metrics.minutes() == expected
    assert metrics.minutes(after=NOON) == expected[2:]
    # A minute without a count has no row.
    clock.now = NOON + 240
    assert metrics.minutes() == expected
    metrics.count("Ping.Success", number=5)
    assert metrics.minutes(after=NOON + 60) == [row(4, "Ping.Success", 5)]
    assert metrics.totals() == [
        {"name": "Ping.Success", "protocol": "MQTT", "sum": 6},
        {"name": "PublishIn.Success", "protocol": "MQTT", "sum": 3},
        {"name": "PublishIn.Success", "protocol": "HTTP", "sum": 1},
    ]


def test_reading_notices_the_end_of_a_minute_itself(clock: Clock) -> None:
    metrics = Metrics(clock)
    metrics.count("Ping.Success")
    clock.now += 60
    assert metrics.minutes() == [row(0, "Ping.Success", 1)]
    metrics.count("Ping.Success")
    assert metrics.minutes() == [row(0, "Ping.Success", 1), row(1, "Ping.Success", 1)]


def test_the_oldest_minutes_are_evicted_and_totals_stay(clock: Clock) -> None:
    metrics = Metrics(clock)
    for _ in range(MINUTES_KEPT + 10):
        metrics.count("Ping.Success")
        clock.now += 60
        metrics.tick()
    assert [each["minute"] for each in metrics.minutes()] == [
        NOON + 60 * minute for minute in range(10, MINUTES_KEPT + 10)
    ]
    assert metrics.totals()[0]["sum"] == MINUTES_KEPT + 10


def test_a_clock_that_jumps_loses_no_count(clock: Clock) -> None:
    metrics = Metrics(clock)
    for jump in (86_400, -90_000, 3_600):
        metrics.count("Ping.Success")
        clock.now += jump
        metrics.tick()
    assert sum(each["sum"] for each in metrics.minutes()) == 3


def test_the_admin_endpoint_of_the_metrics(clock: Clock) -> None:
    event_log = EventLog(clock=clock)
    endpoints = admin_endpoints(event_log)
    assert endpoints["metrics"]({}) == {"minutes": [], "totals": []}
    event_log.metrics.count("Connect.Success")
    assert endpoints["metrics"]({}) == {
        "minutes": [row(0, "Connect.Success", 1)],
        "totals": [{"name": "Connect.Success", "protocol": "MQTT", "sum": 1}],
    }
    assert endpoints["metrics"]({"after": NOON})["minutes"] == []


def test_metrics_as_a_table(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row(0, "Ping.Success", 2),
        row(3, "Ping.Success", 1),
        row(3, "PublishIn.Success", 7, "HTTP"),
        row(3, "Ping.Success", 4),  # as after a clock that was set back
    ]
    monkeypatch.setattr(lab, "admin", lambda endpoint, *_: {"minutes": rows})
    table = lab.metrics()
    assert table.columns.names == ["name", "protocol"]
    assert table["Ping.Success", "MQTT"].tolist() == [2, 5]
    assert table["PublishIn.Success", "HTTP"].tolist() == [0, 7]
    assert table.index.tolist() == [
        pd.Timestamp(NOON, unit="s", tz="UTC"),
        pd.Timestamp(NOON + 180, unit="s", tz="UTC"),
    ]


def test_a_cloud_that_counted_nothing_gives_an_empty_table(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "admin", lambda endpoint, *_: {"minutes": []})
    table = lab.metrics()
    assert table.empty
    assert str(table.index.tz) == "UTC"
    assert table.columns.names == ["name", "protocol"]


def test_metrics_of_a_real_cloud(lab: Lab) -> None:
    assert lab.admin("metrics", {}).keys() == {"minutes", "totals"}
    with pytest.raises(RuntimeError, match="'after' must be the start of a minute"):
        lab.admin("metrics", {"after": "now"})
