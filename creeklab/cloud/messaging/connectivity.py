"""The operation of ``iot`` that asks the broker, not the registry."""

from __future__ import annotations

from typing import Any

from creeklab.cloud.mqtt.lifecycle.connectivity import ConnectivityTracker
from creeklab.cloud.registry import Registry


class ConnectivityOperations:
    """The operations for one account."""

    def __init__(self, registry: Registry, connectivity: ConnectivityTracker) -> None:
        self._registry = registry
        self._connectivity = connectivity

    def get_thing_connectivity_data(
        self, *, thingName: str, includeSocketInformation: bool = False
    ) -> dict[str, Any]:
        """Return whether the client named like the Thing is connected, or when it was."""
        self._registry.things.get(thingName)
        seen = self._connectivity.get(thingName)
        if seen is None:
            return {"thingName": thingName, "connected": False}
        sockets = {
            "sourceIp": seen.source_ip,
            "sourcePort": seen.source_port,
            "targetIp": seen.target_ip,
            "targetPort": seen.target_port,
        }
        return {
            "thingName": thingName,
            "connected": seen.connected,
            "timestamp": seen.since if seen.disconnected_at is None else seen.disconnected_at,
            "disconnectReason": "NONE" if seen.connected else seen.disconnect_reason,
            "keepAliveDuration": seen.keep_alive,
            "cleanSession": seen.clean_session,
            "sessionExpiry": seen.session_expiry,
            "clientId": seen.client_id,
            **(sockets if includeSocketInformation else {}),
        }
