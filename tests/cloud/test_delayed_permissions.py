"""Permissions that are checked long after the request: queued messages, and wills."""

from __future__ import annotations

from typing import Any

import pytest

from creeklab.cloud.mqtt.codec.packets import Disconnect, Publish, Will
from tests.cloud.broker_fixture import BrokerFixture, connect, subscribe

FOR_LATER: dict[str, Any] = {"clean": False, "session_expiry_interval": 600}


@pytest.mark.parametrize("allowed", [True, False])
def test_a_queued_message_needs_receive_when_it_is_delivered(allowed: bool) -> None:
    fixture = BrokerFixture()
    client = fixture.connected("a", 5, **FOR_LATER)
    client.send(subscribe("creek/#"))
    client.send(Disconnect())
    for topic in ("creek/secret", "creek/depth"):
        fixture.broker.publish(topic, b"1.4", 1)
    if not allowed:
        fixture.authorization.denied.add(("iot:Receive", "topic/creek/secret"))
    again = fixture.client(5)
    connack, *received = again.send(connect("a", 5, **FOR_LATER))
    assert connack.session_present
    topics = [each.topic for each in received if isinstance(each, Publish)]
    assert topics == ["creek/secret"] * allowed + ["creek/depth"]
    denied = [each for each in fixture.event_log.refusals("a") if each["kind"] == "receive"]
    assert len(denied) == (not allowed)


@pytest.mark.parametrize("action", [None, "iot:Publish", "iot:RetainPublish"])
@pytest.mark.parametrize("retain", [True, False])
@pytest.mark.parametrize("delay", [0, 10])
def test_a_will_needs_its_permissions_when_it_is_published(
    action: str | None, retain: bool, delay: int
) -> None:
    fixture = BrokerFixture()
    watcher = fixture.connected("watcher", 5)
    watcher.send(subscribe("gone"))
    will = Will("gone", b"1", 1, retain, {"will_delay_interval": delay})
    client = fixture.connected("a", 5, will=will, session_expiry_interval=600)
    if action is not None:
        fixture.authorization.denied.add((action, "topic/gone"))
    client.connection.connection_lost("connection lost")
    fixture.clock.now += 2 * delay
    fixture.broker.tick()
    published = action is None or (action == "iot:RetainPublish" and not retain)
    assert [each.payload for each in watcher.receive()] == [b"1"] * published
    assert ("gone" in fixture.retained) is (published and retain)
