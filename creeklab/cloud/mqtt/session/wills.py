"""Wills that wait for their delay, one a client id.

A client whose connection was lost may be back before its will delay interval is over, and its will
is not published then. What waits counts in the same backlog as the messages that wait for clients.
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
    """A will, whose it is and what its client may do; it is due by the broker's timer."""

    due: float
    will: Will
    access: ConnectionAuthorization
    sender: PeerIdentity

    @property
    def size(self) -> int:
        """What it takes in memory, in bytes, about."""
        return estimated_size(self.will)


class PendingWills:
    """The wills of one broker's clients that wait."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._wills: dict[str, PendingWill] = {}

    def __iter__(self) -> Iterator[PendingWill]:
        return iter(self._wills.values())

    def add(self, pending: PendingWill) -> None:
        """Let a will wait.

        Raises
        ------
        OverflowError
            If as much waits as the broker keeps.
        """
        if self._backlog.bytes + pending.size > session.MAX_BACKLOG_BYTES:
            raise OverflowError(
                f"The will of '{pending.sender.client_id}' goes out without its delay: "
                f"{session.MAX_BACKLOG_BYTES >> 20} MiB of messages and wills wait already, for "
                "all clients together."
            )
        self._wills[pending.sender.client_id] = pending
        self._backlog.bytes += pending.size

    def take(self, client_id: str) -> PendingWill | None:
        """Take out the will of a client id, if one waits."""
        pending = self._wills.pop(client_id, None)
        if pending is not None:
            self._backlog.bytes -= pending.size
        return pending

    def take_due(self, now: float) -> list[PendingWill]:
        """Take out the wills whose time has come."""
        due = [pending for pending in self if pending.due <= now]
        for pending in due:
            self.take(pending.sender.client_id)
        return due
