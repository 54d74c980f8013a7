"""Lifecycle events: messages about clients that connect, disconnect or subscribe.

AWS IoT Core publishes them below ``$aws/events/`` (developer guide, "Lifecycle events"), for every
account. Each function returns topic and JSON of one event; times are in milliseconds. A client ID
that contains a wildcard has no events, because its topics would look like filters.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from creeklab.cloud.mqtt.lifecycle.connectivity import ClientConnectivity
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason

Event = tuple[str, bytes]
SubscriptionChange = Literal["subscribed", "unsubscribed"]


@dataclass(frozen=True, slots=True)
class EventSubject:
    """The client that an event is about.

    Attributes
    ----------
    principal
        Certificate ID, or unique id of the account's user.
    thing
        The Thing that the certificate is exclusively attached to (``EXCLUSIVE_THING``), if any.
    """

    client_id: str
    principal: str
    thing: str | None


def connected(subject: EventSubject, connectivity: ClientConnectivity) -> Event | None:
    """Return the event of an accepted CONNECT."""
    return _event(
        subject,
        "presence/connected",
        connectivity.since,
        sessionIdentifier=connectivity.session_identifier,
        principalIdentifier=subject.principal,
        ipAddress=connectivity.source_ip,
        versionNumber=connectivity.version_number,
    )


def disconnected(subject: EventSubject, connectivity: ClientConnectivity) -> Event | None:
    """Return the event of the end of a connection, whatever ended it."""
    reason = connectivity.disconnect_reason
    return _event(
        subject,
        "presence/disconnected",
        connectivity.disconnected_at or 0.0,
        sessionIdentifier=connectivity.session_identifier,
        principalIdentifier=subject.principal,
        clientInitiatedDisconnect=reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT,
        disconnectReason=reason,
        versionNumber=connectivity.version_number,
    )


def connect_failed(subject: EventSubject, source_ip: str, now: float) -> Event | None:
    """Return the event of a CONNECT that was not authorized, or whose will was not."""
    return _event(
        subject,
        "presence/connect_failed",
        now,
        connectFailureReason="AUTHORIZATION_FAILED",
        principalIdentifier=subject.principal,
        sessionIdentifier=str(uuid.uuid4()),
        ipAddress=source_ip,
    )


def subscriptions(
    subject: EventSubject,
    change: SubscriptionChange,
    session_identifier: str,
    filters: Iterable[str],
    now: float,
) -> Event | None:
    """Return the event of a SUBSCRIBE or UNSUBSCRIBE, with the filters that took effect."""
    return _event(
        subject,
        "subscriptions/" + change,
        now,
        sessionIdentifier=session_identifier,
        principalIdentifier=subject.principal,
        topics=list(filters),
    )


def _event(subject: EventSubject, topic: str, time: float, **members: Any) -> Event | None:
    client_id = subject.client_id
    if "#" in client_id or "+" in client_id:
        return None
    thing = {} if subject.thing is None else {"thingName": subject.thing}
    event = {
        "clientId": client_id,
        **thing,
        "timestamp": int(time * 1000),
        "eventType": topic.rpartition("/")[2],
        **members,
    }
    payload = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    return f"$aws/events/{topic}/{client_id}", payload.encode()
