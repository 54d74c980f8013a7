"""The negotiated terms of a connection: what a CONNECT asks for, within AWS's limits.

AWS IoT Core clamps what a client asks for to its own limits (developer guide, "MQTT"; quotas of the
message broker) and announces the result in the CONNACK of MQTT 5.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from creeklab.cloud.mqtt.codec.packets import Connack, Connect, Will
from creeklab.cloud.mqtt.connection.topic_aliases import MAX_TOPIC_ALIAS
from creeklab.cloud.mqtt.session.session import MAX_IN_FLIGHT

MAX_PACKET = 149_504
MAX_CLIENT_ID_BYTES = 128
MIN_KEEP_ALIVE, MAX_KEEP_ALIVE = 30, 1200


@dataclass(frozen=True, slots=True)
class ConnectTerms:
    """What the client and the broker have agreed on.

    Attributes
    ----------
    client_id
        The client's own, or an assigned one; empty if it had to send one and did not.
    expiry
        Seconds that the session outlives the connection.
    receive_maximum
        QoS 1 messages that the client accepts before it acknowledges one.
    max_packet
        Bytes of the largest packet that the client accepts; 0 for any.
    """

    version: int
    client_id: str
    assigned: bool
    clean: bool
    keep_alive: int
    expiry: int
    receive_maximum: int
    max_packet: int
    will: Will | None

    @staticmethod
    def of(connect: Connect, max_expiry: int) -> ConnectTerms:
        """Return the terms for a CONNECT; sessions expire after `max_expiry` seconds at most."""
        properties = connect.properties
        client_id = connect.client_id
        assigned = not client_id and (connect.version == 5 or connect.clean_start)
        if connect.version == 5:
            expiry = min(properties.get("session_expiry_interval", 0), max_expiry)
        else:
            expiry = 0 if connect.clean_start else max_expiry
        return ConnectTerms(
            connect.version,
            str(uuid.uuid4()) if assigned else client_id,
            assigned,
            connect.clean_start,
            min(max(connect.keep_alive or MAX_KEEP_ALIVE, MIN_KEEP_ALIVE), MAX_KEEP_ALIVE),
            expiry,
            min(properties.get("receive_maximum", MAX_IN_FLIGHT), MAX_IN_FLIGHT),
            properties.get("maximum_packet_size", 0),
            connect.will,
        )

    @property
    def attributes(self) -> tuple[str, ...]:
        """The ``iot:ConnectAttributes`` that policies can test."""
        return ("PersistentConnect",) * bool(self.expiry) + ("LastWill",) * bool(self.will)

    def connack(self, resumed: bool) -> Connack:
        """Return the CONNACK that accepts the connection."""
        if self.version == 4:
            return Connack(resumed, 0, {})
        properties: dict[str, Any] = {
            "receive_maximum": MAX_IN_FLIGHT,
            "maximum_qos": 1,
            "retain_available": 1,
            "maximum_packet_size": MAX_PACKET,
            "topic_alias_maximum": MAX_TOPIC_ALIAS,
            "wildcard_subscription_available": 1,
            "subscription_identifier_available": 0,
            "shared_subscription_available": 1,
            "server_keep_alive": self.keep_alive,
            "session_expiry_interval": self.expiry,
        }
        if self.assigned:
            properties["assigned_client_identifier"] = self.client_id
        return Connack(resumed, 0, properties)


def check_client_id(client_id: str) -> str | None:
    """Return why AWS IoT Core rejects a client ID; None if it is valid."""
    if not client_id:
        return "An empty client ID needs a clean session in MQTT 3.1.1."
    if client_id.startswith("$"):
        return f"The client ID '{client_id[:40]}' begins with $, which is reserved. Choose another."
    size = len(client_id.encode())
    if size > MAX_CLIENT_ID_BYTES:
        return (
            f"The client ID '{client_id[:40]}...' has {size} bytes; the maximum is "
            f"{MAX_CLIENT_ID_BYTES}. Choose a shorter one."
        )
    return None
