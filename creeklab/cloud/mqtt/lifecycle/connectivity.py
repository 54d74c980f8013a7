"""Connected clients, since when and from where, and why the others disconnected.

GetConnection, GetThingConnectivityData and the lifecycle events report it. Of the disconnected
clients, only the latest `MAX_DISCONNECTED` are remembered.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason

MAX_DISCONNECTED = 10_000
# "If a client is not connected for approximately one hour, the version number is reset to 0. For
# persistent sessions, [...] longer than the configured time-to-live" (developer guide, "Lifecycle
# events").
VERSION_RESET_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class ClientConnectivity:
    """The current connection of a client, or its last one.

    Attributes
    ----------
    since, disconnected_at
        Start and end, in seconds since the epoch; `disconnected_at` is None while it lasts.
    keep_alive
        In seconds, within the broker's limits.
    clean_session
        Whether the session ends with the connection.
    session_expiry
        Seconds that the session outlives the connection.
    session_identifier
        A UUID of this connection.
    version_number
        Grows by 1 with each connection of the client ID; restarts at 0 after a long absence.
    """

    client_id: str
    connected: bool
    since: float
    disconnected_at: float | None
    disconnect_reason: DisconnectReason | None
    source_ip: str
    source_port: int
    target_ip: str
    target_port: int
    keep_alive: int
    clean_session: bool
    session_expiry: int
    session_identifier: str
    version_number: int


class ConnectivityTracker:
    """The connectivity of every client ID.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connected: dict[str, ClientConnectivity] = {}
        self._disconnected: dict[str, ClientConnectivity] = {}  # the oldest first

    def get(self, client_id: str) -> ClientConnectivity | None:
        """Return the connectivity of a client ID; None if it is unknown."""
        return self._connected.get(client_id) or self._disconnected.get(client_id)

    def connected(
        self,
        client_id: str,
        addresses: tuple[str, int, str, int],
        keep_alive: int,
        session_expiry: int,
    ) -> ClientConnectivity:
        """Record a new connection from source to target; the previous one has ended before."""
        now = self._clock()
        last = self._disconnected.pop(client_id, None)
        found = self._connected[client_id] = ClientConnectivity(
            client_id,
            True,
            now,
            None,
            None,
            *addresses,
            keep_alive,
            session_expiry == 0,
            session_expiry,
            str(uuid.uuid4()),
            0 if last is None or _was_long_away(last, now) else last.version_number + 1,
        )
        return found

    def disconnected(
        self, client_id: str, reason: DisconnectReason, session_expiry: int
    ) -> ClientConnectivity | None:
        """Record the end of a connection, and return it; None if the client was not connected.

        `session_expiry` is repeated because a DISCONNECT can change it.
        """
        last = self._connected.pop(client_id, None)
        if last is None:
            return None
        if len(self._disconnected) >= MAX_DISCONNECTED:
            del self._disconnected[next(iter(self._disconnected))]
        found = self._disconnected[client_id] = replace(
            last,
            connected=False,
            disconnected_at=self._clock(),
            disconnect_reason=reason,
            session_expiry=session_expiry,
        )
        return found


def _was_long_away(last: ClientConnectivity, now: float) -> bool:
    away = now - (last.disconnected_at or now)
    return away > max(VERSION_RESET_SECONDS, last.session_expiry)
