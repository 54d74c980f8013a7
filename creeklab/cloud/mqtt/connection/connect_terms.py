"""What a CONNECT asks for and what it is given: the terms of a connection, and its CONNACK.

AWS IoT Core brings what a client wants between its own limits (developer guide, "MQTT"; quotas of
the message broker) and says in the CONNACK of MQTT 5 what it gave.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from creeklab.cloud.mqtt.codec.packets import Connack, Connect, Will
from creeklab.cloud.mqtt.session.session import MAX_IN_FLIGHT

MAX_PACKET = 149_504
MAX_TOPIC_ALIAS = 8
MAX_CLIENT_ID_BYTES = 128
SHORTEST_KEEP_ALIVE, LONGEST_KEEP_ALIVE = 30, 1200


@dataclass(frozen=True, slots=True)
class ConnectTerms:
    """What the two ends have agreed on.

    Attributes
    ----------
    version
        4 for MQTT 3.1.1, 5 for MQTT 5.
    client_id
        The client's own, or one made for it; empty if it has to have one.
    assigned
        Whether the client id was made for it.
    keep_alive
        In seconds; after 1.5 times as long without a word the client counts as gone.
    expiry
        Seconds that the session outlives the connection.
    window
        How many messages of QoS 1 the client takes before it has acknowledged one.
    largest
        Bytes of the largest packet that the client takes; 0 is any.
    """

    version: int
    client_id: str
    assigned: bool
    clean: bool
    keep_alive: int
    expiry: int
    window: int
    max_packet: int
    will: Will | None

    @staticmethod
    def of(connect: Connect, longest_expiry: int) -> ConnectTerms:
        """Return the terms of a connection whose session may live on for `longest_expiry` s."""
        properties = connect.properties
        client_id = connect.client_id
        assigned = not client_id and (connect.version == 5 or connect.clean_start)
        if connect.version == 5:
            expiry = min(properties.get("session_expiry_interval", 0), longest_expiry)
        else:
            expiry = 0 if connect.clean_start else longest_expiry
        return ConnectTerms(
            connect.version,
            str(uuid.uuid4()) if assigned else client_id,
            assigned,
            connect.clean_start,
            min(
                max(connect.keep_alive or LONGEST_KEEP_ALIVE, SHORTEST_KEEP_ALIVE),
                LONGEST_KEEP_ALIVE,
            ),
            expiry,
            min(properties.get("receive_maximum", MAX_IN_FLIGHT), MAX_IN_FLIGHT),
            properties.get("maximum_packet_size", 0),
            connect.will,
        )

    @property
    def attributes(self) -> tuple[str, ...]:
        """The ``iot:ConnectAttributes`` that policies can ask for."""
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


def client_id_fault(client_id: str) -> str | None:
    """Say why AWS IoT Core does not take a client id; None if it does."""
    if not client_id:
        return "An empty client id needs a clean session in MQTT 3.1.1."
    if client_id.startswith("$") or len(client_id.encode()) > MAX_CLIENT_ID_BYTES:
        return (
            f"The client id '{client_id[:40]}' begins with $ or is longer than "
            f"{MAX_CLIENT_ID_BYTES} bytes."
        )
    return None
