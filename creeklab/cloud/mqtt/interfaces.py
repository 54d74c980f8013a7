"""What the broker, its connections and the stores know of each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from creeklab.cloud.mqtt.session.message import OutboundMessage


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, and its two addresses.

    Attributes
    ----------
    certificate_id
        The certificate it showed; None if it is the account itself, which signed its request.
    user
        Which of the account's users it is, if it is the account itself.
    """

    certificate_id: str | None
    source_ip: str
    source_port: int = 0
    target_ip: str = ""
    target_port: int = 0
    user: str = ""

    @property
    def principal(self) -> str:
        """Whose session it is, and the ``principalIdentifier`` of events."""
        return self.certificate_id or self.user


class RetainedStore(Protocol):
    """Where retained messages are kept, one a topic."""

    def has_room(self, topic: str) -> bool:
        """Tell whether a message can be kept for a topic."""

    def put(self, message: OutboundMessage) -> None:
        """Keep `message` for its topic; an empty payload removes what is there."""

    def get(self, topic: str) -> OutboundMessage | None:
        """Return the message kept for exactly this topic, as it is to be sent now."""


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message as the handlers of the publish path see it.

    Attributes
    ----------
    client_id
        The client that sent it; empty for the cloud itself.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: dict[str, Any] = field(default_factory=dict)
    client_id: str = ""
    source: Literal["client", "http", "will", "service"] = "client"
