"""Topic rules: how many messages the engine evaluates, and what ten rules cost the publish path.

The engine is measured alone, in processor time. The publish path runs without sockets: a device
publishes readings at QoS 1 to three subscribers, with ten alarm rules and without any.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.mqtt.codec.packets import Publish
from creeklab.cloud.mqtt.interfaces import PublishedMessage
from creeklab.cloud.rules.engine import Execution, RuleEngine
from creeklab.cloud.rules.rule import Rule, compile_rule
from creeklab.cloud.rules.service import METRICS
from tests.cloud.broker_fixture import BrokerFixture, subscribe

from .table import Figures, Row

MESSAGES = 10_000
PUBLISHED = 5_000
PAYLOAD = json.dumps({"depth": 1.43, "temperature": 66.2, "unit": "ft", "time": 1_535_758_200_000})

QUIET = Row("one rule, its condition is not true", "/s", max, None, 20_000)
FIRING = Row("one rule that fires", "/s", max, None, 20_000)
PATH = Row("publish path with ten rules", "/s", max, "no rules", 0.5)
ROWS = (QUIET, FIRING, PATH)


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once."""
    for row, limit in ((QUIET, "5.5"), (FIRING, "0.5")):
        engine = _engine(EventLog(), 1, limit)
        message = PublishedMessage("creek/test2/depth", PAYLOAD.encode(), source="client")
        cloud[row].append(_rate(MESSAGES, partial(engine.on_message, message)))
    cloud[PATH].append(_publish_path(10))
    peer[PATH].append(_publish_path(0))


def _engine(log: EventLog, rules: int, limit: str) -> RuleEngine:
    for name in METRICS:
        log.metrics.add_group(name, ())
    executions: list[Execution] = []
    engine = RuleEngine("123456789012", "aws", log, executions.append, time.time, time.monotonic)
    for number in range(rules):
        sql = f"SELECT * FROM 'creek/+/depth' WHERE depth > {limit}"
        payload = {"sql": sql, "actions": [], "awsIotSqlVersion": "2016-03-23"}
        engine.put(compile_rule(Rule(f"alarm_{number}", payload, 0.0), "", {}))
    return engine


def _publish_path(rules: int) -> float:
    fixture = BrokerFixture()
    if rules:
        engine = _engine(fixture.event_log, rules, "5.5")
        fixture.broker.add_handler("rules", engine.on_message)
    device = fixture.connected("test2", 5)
    for name in ("own", "watcher-1", "watcher-2"):
        fixture.connected(name, 5).send(subscribe("creek/#", qos=0))
    packet = Publish("creek/test2/depth", PAYLOAD.encode(), 1, packet_id=1)
    return _rate(PUBLISHED, lambda: device.send(packet))


def _rate(count: int, run: Callable[[], object]) -> float:
    started = time.process_time()
    for _ in range(count):
        run()
    return count / (time.process_time() - started)
