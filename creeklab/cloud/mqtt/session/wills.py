"""Wills that wait for their delay, one for each client ID.

If a client reconnects before its will delay interval is over, its will is not published. Waiting
wills count in the same backlog as the messages that wait for clients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.monitoring.event_log import PeerIdentity
from creeklab.cloud.mqtt.codec.packets import Will
from creeklab.cloud.mqtt.session import session
from creeklab.cloud.mqtt.session.message import estimated_size
from creeklab.cloud.mqtt.session.session import Backlog


@dataclass(frozen=True, slots=True)
class PendingWill:
    """A will with its sender and the sender's authorization; `due` is in the broker's timer."""

    due: float
    will: Will
    authorization: ConnectionAuthorization
    sender: PeerIdentity


class PendingWills:
    """The waiting wills of one account."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._wills: dict[str, PendingWill] = {}

    def __iter__(self) -> Iterator[PendingWill]:
        return iter(self._wills.values())

    def add(self, pending: PendingWill) -> None:
        """Add a will.

        Raises
        ------
        OverflowError
            If the backlog is full.
        """
        size = estimated_size(pending.will)
        if self._backlog.bytes + size > session.MAX_BACKLOG_BYTES:
            raise OverflowError(
                f"The will of '{pending.sender.client_id}' is published without its delay: "
                f"{session.MAX_BACKLOG_BYTES >> 20} MiB of messages and wills already wait, for "
                "all clients together."
            )
        self._wills[pending.sender.client_id] = pending
        self._backlog.bytes += size

    def take(self, client_id: str) -> PendingWill | None:
        """Remove and return the will of a client ID; None if there is none."""
        pending = self._wills.pop(client_id, None)
        if pending is not None:
            self._backlog.bytes -= estimated_size(pending.will)
        return pending

    def take_due(self, now: float) -> list[PendingWill]:
        """Remove and return the wills that are due."""
        due = [pending for pending in self if pending.due <= now]
        for pending in due:
            self.take(pending.sender.client_id)
        return due
