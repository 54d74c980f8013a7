"""Why connections end, in AWS IoT Core's terms.

The reasons are those of the lifecycle events (developer guide, "Lifecycle events"), of
GetConnection and of GetThingConnectivityData.
"""

from __future__ import annotations

from enum import StrEnum

from creeklab.cloud.mqtt.codec.wire import Reason


class DisconnectReason(StrEnum):
    """Why a connection ended; the will is published unless the client itself disconnected."""

    AUTH_ERROR = "AUTH_ERROR"
    CLIENT_INITIATED_DISCONNECT = "CLIENT_INITIATED_DISCONNECT"
    CLIENT_ERROR = "CLIENT_ERROR"
    CONNECTION_LOST = "CONNECTION_LOST"
    DUPLICATE_CLIENTID = "DUPLICATE_CLIENTID"
    FORBIDDEN_ACCESS = "FORBIDDEN_ACCESS"
    MQTT_KEEP_ALIVE_TIMEOUT = "MQTT_KEEP_ALIVE_TIMEOUT"
    SERVER_ERROR = "SERVER_ERROR"
    SERVER_INITIATED_DISCONNECT = "SERVER_INITIATED_DISCONNECT"
    API_INITIATED_DISCONNECT = "API_INITIATED_DISCONNECT"
    THROTTLED = "THROTTLED"
    WEBSOCKET_TTL_EXPIRATION = "WEBSOCKET_TTL_EXPIRATION"
    CUSTOMAUTH_TTL_EXPIRATION = "CUSTOMAUTH_TTL_EXPIRATION"


_BY_CODE: dict[int, DisconnectReason] = {
    Reason.NOT_AUTHORIZED: DisconnectReason.AUTH_ERROR,
    Reason.SERVER_SHUTTING_DOWN: DisconnectReason.SERVER_INITIATED_DISCONNECT,
    Reason.KEEP_ALIVE_TIMEOUT: DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT,
    Reason.SESSION_TAKEN_OVER: DisconnectReason.DUPLICATE_CLIENTID,
    Reason.ADMINISTRATIVE_ACTION: DisconnectReason.API_INITIATED_DISCONNECT,
}


def reason_of(code: int) -> DisconnectReason:
    """Return the reason for the code of a DISCONNECT that the broker sends."""
    return _BY_CODE.get(code, DisconnectReason.CLIENT_ERROR)
