"""Which client ids are connected, since when and from where, and why the others left.

What GetConnection, GetThingConnectivityData and the lifecycle events tell. Bounded: of clients that
are away only the last ones are remembered.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason

MAX_AWAY = 10_000
# "If a client is not connected for approximately one hour, the version number is reset to 0. For
# persistent sessions, [...] longer than the configured time-to-live" (developer guide, "Lifecycle
# events").
VERSION_RESET_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class ClientConnectivity:
    """The connection that a client has, or the last one it had.

    Attributes
    ----------
    since, disconnected_at
        When it began and ended, in seconds since the epoch; `disconnected_at` is None while it
        lasts.
    keep_alive
        In seconds, after the broker has brought it between its limits.
    clean_session
        Whether the session ends with the connection.
    session_expiry
        Seconds that the session outlives the connection.
    session_identifier
        A UUID of this connection.
    version_number
        Grows by 1 with each connection of the client id; begins at 0 again after a long absence.
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
    """The connectivity of every client id.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._here: dict[str, ClientConnectivity] = {}
        self._away: dict[str, ClientConnectivity] = {}  # the longest away first

    def get(self, client_id: str) -> ClientConnectivity | None:
        """Return what is known of a client id, None if nothing."""
        return self._here.get(client_id) or self._away.get(client_id)

    def connected(
        self,
        client_id: str,
        *,
        source: tuple[str, int],
        target: tuple[str, int],
        keep_alive: int,
        session_expiry: int,
    ) -> ClientConnectivity:
        """Take note of a connection; the one before it under the same client id has left."""
        now = self._clock()
        last = self._away.pop(client_id, None)
        found = self._here[client_id] = ClientConnectivity(
            client_id,
            True,
            now,
            None,
            None,
            *source,
            *target,
            keep_alive,
            session_expiry == 0,
            session_expiry,
            str(uuid.uuid4()),
            0 if last is None or _long_away(last, now) else last.version_number + 1,
        )
        return found

    def disconnected(
        self, client_id: str, reason: DisconnectReason, session_expiry: int
    ) -> ClientConnectivity | None:
        """Take note that a client's connection ended; None if it had none.

        `session_expiry` is what a DISCONNECT may have changed it to.
        """
        last = self._here.pop(client_id, None)
        if last is None:
            return None
        if len(self._away) >= MAX_AWAY:
            del self._away[next(iter(self._away))]
        found = self._away[client_id] = replace(
            last,
            connected=False,
            disconnected_at=self._clock(),
            disconnect_reason=reason,
            session_expiry=session_expiry,
        )
        return found


def _long_away(last: ClientConnectivity, now: float) -> bool:
    away = now - (last.disconnected_at or now)
    return away > max(VERSION_RESET_SECONDS, last.session_expiry)
