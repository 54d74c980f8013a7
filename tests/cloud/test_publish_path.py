"""The one path of all messages: which stages see a message, in which order, and what stops it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from creeklab.cloud.mqtt.codec.packets import Disconnect, Puback, Publish, Will
from creeklab.cloud.mqtt.codec.wire import Reason
from creeklab.cloud.mqtt.interfaces import PublishedMessage
from tests.cloud.broker_fixture import BrokerFixture, subscribe

SHADOW = "$aws/things/gauge/shadow/get"
BASIC_INGEST = "$aws/rules/alarm/creek/depth"


@pytest.fixture
def fixture() -> BrokerFixture:
    return BrokerFixture()


def record(fixture: BrokerFixture, stage: Any) -> list[PublishedMessage]:
    """Return a list to which a handler adds the messages of a stage."""
    seen: list[PublishedMessage] = []
    fixture.broker.add_handler(stage, seen.append)
    return seen


def test_rules_see_every_source_and_services_only_reserved_topics(fixture: BrokerFixture) -> None:
    rules, services = record(fixture, "rules"), record(fixture, "services")
    will = Will("creek/lost", b"gone", 1)
    client = fixture.connected("a", 5, will=will)
    client.send(Publish("creek/depth", b"1.4", 1, packet_id=1), Publish(BASIC_INGEST, b"2"))
    fixture.broker.publish_durably("creek/http", b"3", 0, False, {})
    fixture.broker.publish(SHADOW + "/accepted", b"4", 0)
    client.connection.connection_lost("gone")
    found = [(each.source, each.topic, each.client_id) for each in rules]
    assert found == [
        ("service", "$aws/events/presence/connected/a", ""),
        ("client", "creek/depth", "a"),
        ("client", BASIC_INGEST, "a"),
        ("http", "creek/http", ""),
        ("service", SHADOW + "/accepted", ""),
        ("service", "$aws/events/presence/disconnected/a", ""),
        ("will", "creek/lost", "a"),
    ]
    assert services == [each for each in rules if each.topic.startswith("$aws/")]


def test_a_will_on_a_reserved_topic_reaches_the_service(fixture: BrokerFixture) -> None:
    services = record(fixture, "services")
    client = fixture.connected("a", 5, will=Will(SHADOW, b"{}"))
    client.connection.connection_lost("gone")
    [message] = [each for each in services if each.topic == SHADOW]
    assert (message.payload, message.client_id, message.source) == (b"{}", "a", "will")


@pytest.mark.parametrize("version", [4, 5])
def test_handlers_see_the_whole_message(fixture: BrokerFixture, version: int) -> None:
    rules = record(fixture, "rules")
    client = fixture.connected("a", version)
    properties = {"user_properties": [("site", "b")]} if version == 5 else {}
    client.send(Publish("creek/depth", b"1.4", 1, True, packet_id=1, properties=properties))
    message = rules[-1]
    assert (message.qos, message.retain, message.properties) == (1, True, properties)
    assert message.sender == client.connection.identity


def test_subscribers_services_and_rules_in_this_order(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    client.send(subscribe("$aws/things/gauge/shadow/#", qos=0))
    order: list[str] = []
    client.connection._write = lambda _: order.append("subscriber")
    fixture.broker.add_handler("rules", lambda _: order.append("rule"))
    fixture.broker.add_handler("services", lambda _: order.append("service"))
    fixture.broker.publish(SHADOW, b"", 0)
    assert order == ["subscriber", "service", "rule"]


@pytest.mark.parametrize("version", [4, 5])
def test_a_denied_message_reaches_no_stage(fixture: BrokerFixture, version: int) -> None:
    client = fixture.connected("a", version)
    rules, services = record(fixture, "rules"), record(fixture, "services")
    fixture.authorization.denied.add(("iot:Publish", "topic/" + SHADOW))
    client.send(Publish(SHADOW, b"", 1, packet_id=1))
    assert SHADOW not in [each.topic for each in [*services, *rules]]


def test_a_will_that_is_denied_when_it_is_due_reaches_no_stage(fixture: BrokerFixture) -> None:
    rules = record(fixture, "rules")
    client = fixture.connected("a", 5, will=Will("creek/lost", b""))
    fixture.authorization.denied.add(("iot:Publish", "topic/creek/lost"))
    client.connection.connection_lost("gone")
    assert [each for each in rules if each.source == "will"] == []


@pytest.mark.parametrize("stage", ["services", "rules"])
def test_a_handler_that_cannot_write_rejects_the_message(
    fixture: BrokerFixture, stage: Any
) -> None:
    client = fixture.connected("a", 5)

    def fail(message: PublishedMessage) -> None:
        raise sqlite3.OperationalError("disk full")

    fixture.broker.add_handler(stage, fail)
    [puback] = client.send(Publish(SHADOW, b"", 1, packet_id=7))
    assert puback == Puback(7, Reason.UNSPECIFIED_ERROR)
    assert "disk full" in fixture.refusal


def test_a_handler_can_publish(fixture: BrokerFixture) -> None:
    client = fixture.connected("a", 5)
    client.send(subscribe("creek/alarm", qos=0))

    def alarm(message: PublishedMessage) -> None:
        if message.topic == "creek/depth":
            fixture.broker.publish("creek/alarm", message.payload, 0)

    fixture.broker.add_handler("rules", alarm)
    assert client.send(Publish("creek/depth", b"9.9")) == [Publish("creek/alarm", b"9.9")]
    kinds = [each["topic"] for each in fixture.event_log.entries() if each["kind"] == "publish"]
    assert kinds[-2:] == ["creek/depth", "creek/alarm"]
    client.send(Disconnect())
