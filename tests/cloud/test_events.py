"""Lifecycle events: their topics and every member, as the developer guide has them."""

import json
from typing import Any
from uuid import UUID

import pytest

from creeklab.cloud.mqtt.lifecycle import events
from creeklab.cloud.mqtt.lifecycle.connectivity import ClientConnectivity
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason
from creeklab.cloud.mqtt.lifecycle.events import Event, EventSubject

PRINCIPAL = "0a1b" * 16
SESSION = "5b0d0c0e-6a58-4a2c-9d1f-0d5d3f1c7a10"
GAUGE = EventSubject("gauge/1", PRINCIPAL, None)


def connectivity(reason: DisconnectReason | None = None) -> ClientConnectivity:
    return ClientConnectivity(
        client_id="gauge/1",
        connected=reason is None,
        since=1_785_000_000.1236,
        disconnected_at=None if reason is None else 1_785_000_050.456,
        disconnect_reason=reason,
        source_ip="192.0.2.7",
        source_port=50123,
        target_ip="192.0.2.1",
        target_port=8883,
        keep_alive=1200,
        clean_session=True,
        session_expiry=0,
        session_identifier=SESSION,
        version_number=3,
    )


def read(event: Event | None) -> tuple[str, dict[str, Any]]:
    assert event is not None
    topic, payload = event
    return topic, json.loads(payload)


def test_connected() -> None:
    assert read(events.connected(GAUGE, connectivity())) == (
        "$aws/events/presence/connected/gauge/1",
        {
            "clientId": "gauge/1",
            "timestamp": 1_785_000_000_123,
            "eventType": "connected",
            "sessionIdentifier": SESSION,
            "principalIdentifier": PRINCIPAL,
            "ipAddress": "192.0.2.7",
            "versionNumber": 3,
        },
    )


@pytest.mark.parametrize("reason", DisconnectReason)
def test_disconnected(reason: DisconnectReason) -> None:
    assert read(events.disconnected(GAUGE, connectivity(reason))) == (
        "$aws/events/presence/disconnected/gauge/1",
        {
            "clientId": "gauge/1",
            "timestamp": 1_785_000_050_456,
            "eventType": "disconnected",
            "sessionIdentifier": SESSION,
            "principalIdentifier": PRINCIPAL,
            "clientInitiatedDisconnect": reason.value == "CLIENT_INITIATED_DISCONNECT",
            "disconnectReason": reason.value,
            "versionNumber": 3,
        },
    )


def test_connect_failed() -> None:
    topic, event = read(events.connect_failed(GAUGE, "192.0.2.7", 1_785_000_000.0))
    assert topic == "$aws/events/presence/connect_failed/gauge/1"
    assert UUID(event.pop("sessionIdentifier"))
    assert event == {
        "clientId": "gauge/1",
        "timestamp": 1_785_000_000_000,
        "eventType": "connect_failed",
        "connectFailureReason": "AUTHORIZATION_FAILED",
        "principalIdentifier": PRINCIPAL,
        "ipAddress": "192.0.2.7",
    }


@pytest.mark.parametrize("verb", ["subscribed", "unsubscribed"])
def test_subscriptions(verb: events.SubscriptionChange) -> None:
    filters = ["a/b", "$share/g/c/#"]
    assert read(events.subscriptions(GAUGE, verb, SESSION, filters, 1_785_000_000.0)) == (
        f"$aws/events/subscriptions/{verb}/gauge/1",
        {
            "clientId": "gauge/1",
            "timestamp": 1_785_000_000_000,
            "eventType": verb,
            "sessionIdentifier": SESSION,
            "principalIdentifier": PRINCIPAL,
            "topics": filters,
        },
    )


def test_a_thing_is_named_if_the_certificate_is_for_it_alone() -> None:
    subject = EventSubject("gauge/1", PRINCIPAL, "Test2")
    assert read(events.connected(subject, connectivity()))[1]["thingName"] == "Test2"


@pytest.mark.parametrize("client_id", ["a#", "+a", "a/+/b"])
def test_no_event_of_a_client_id_with_a_wildcard(client_id: str) -> None:
    assert events.connected(EventSubject(client_id, PRINCIPAL, None), connectivity()) is None
