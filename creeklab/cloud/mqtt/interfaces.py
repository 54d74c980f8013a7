"""What the broker, its connections and its stores know of each other.

The broker sends messages to connections, and connections hand messages to the broker. The broker
does not know the connection's module; it uses the protocol that is defined here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.monitoring.event_log import CLOUD, PeerIdentity
from creeklab.cloud.mqtt.codec.wire import Properties, Reason
from creeklab.cloud.mqtt.lifecycle.events import EventSubject
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.session import Session


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, and the two addresses.

    Attributes
    ----------
    certificate_id
        The certificate that it presented; None for the account itself, which signed its request.
    user
        Unique id of the account's user; empty for a certificate.
    """

    certificate_id: str | None
    source_ip: str
    source_port: int = 0
    target_ip: str = ""
    target_port: int = 0
    user: str = ""

    @property
    def principal(self) -> str:
        """Owner of the session, and ``principalIdentifier`` of events."""
        return self.certificate_id or self.user


# --- messages that are published ------------------------------------------------------------------

PublishSource = Literal["client", "http", "will", "service"]


@dataclass(slots=True)
class PublishedMessage:
    """A message on the broker's publish path, as handlers receive it. Do not change it.

    Attributes
    ----------
    properties
        Properties of MQTT 5; None or empty if there are none.
    sender
        The client, `CLOUD` for the cloud itself and for HTTP calls.
    source
        How it came: from a connected client, by an HTTP call, as the will of a client that is gone,
        or from the cloud itself (a service, a lifecycle or registry event).
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None
    sender: PeerIdentity = CLOUD
    source: PublishSource = "service"

    @property
    def client_id(self) -> str:
        """Client ID of the sender; empty for the cloud itself and for HTTP calls."""
        return self.sender.client_id


class PublishDenied(Exception):
    """A message was stopped at the stage *authorize*; `reason` is MQTT 5's reason code."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


Authorize: TypeAlias = Callable[[PublishedMessage], None]
"""Checks whether its sender is allowed to publish a message; raises `PublishDenied` if not."""

MessageHandler: TypeAlias = Callable[[PublishedMessage], object]
HandlerStage = Literal["services", "rules"]


# --- the two sides of a connection ----------------------------------------------------------------


class ClientConnection(Protocol):
    """A connection, as the broker sees it (`connection/connection.py`)."""

    peer: Peer
    client_id: str
    version: int
    receive_maximum: int
    keep_alive: int
    session: Session | None
    subject: EventSubject

    @property
    def authorization(self) -> ConnectionAuthorization | None:
        """What the client is allowed to do; None before its CONNECT was checked."""

    @property
    def identity(self) -> PeerIdentity:
        """The client in the event log."""

    def deliver(self, message: OutboundMessage, qos: int, retain: bool, group: str = "") -> None:
        """Send a message to the client if its policies allow it to receive the topic."""

    def deliver_direct(self, message: OutboundMessage) -> bool:
        """Send a message that the client did not subscribe to; return whether that is allowed."""

    def acknowledge(self, packet_id: int, stored: bool) -> None:
        """Send a PUBACK that was deferred until the message is stored, or could not be stored."""

    def close_for_takeover(self) -> None:
        """Close the connection because a newer one has the same client ID."""

    def disconnect_by_account(self, clean_session: bool, prevent_will: bool) -> None:
        """Close the connection because DeleteConnection was called."""

    def disconnect(self, code: int) -> None:
        """Close the connection with this reason code."""

    def tick(self, now: float, registry_changed: bool) -> None:
        """Close the connection if it is overdue or no longer allowed."""
