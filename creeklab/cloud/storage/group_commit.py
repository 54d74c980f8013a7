"""Group commit: one transaction for everything that must be stored before it is acknowledged.

A message that is acknowledged must be in the database first, but a transaction for each message
would cost more than the message. Therefore the participants collect what they have to write, and
once per iteration of the event loop all of it is committed together. Only then are the pending
acknowledgments sent.

If the database cannot be written (the disk is full, or another program has locked the file), the
pending messages are not acknowledged, and the participants drop them. They keep the changes that
they still have to write (a changed session, a message that was acknowledged) and retry a second
later.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol

from creeklab.cloud.storage.database import Database

RETRY_DELAY = 1.0


class CommitParticipant(Protocol):
    """A component that collects changes to be committed."""

    def write(self, db: sqlite3.Connection) -> None:
        """Write the collected changes, inside a transaction."""

    def written(self, committed: bool) -> None:
        """Forget the written changes; if the commit failed, drop new messages and keep the rest."""


class GroupCommit:
    """Commits the changes of all participants together.

    Parameters
    ----------
    timer
        Seconds that never go back.

    Attributes
    ----------
    soon
        Called when there is something to commit. It must schedule `commit` in the same iteration of
        the event loop or the next.
    promises
        Whether an acknowledgment waits for the next commit.
    """

    def __init__(self, database: Database, timer: Callable[[], float]) -> None:
        self.soon: Callable[[], object] | None = None
        self.promises = False
        self._database = database
        self._timer = timer
        self._participants: list[CommitParticipant] = []
        self._requested = False
        self._has_leftovers = False
        self._not_before = 0.0
        self._error: sqlite3.Error | None = None

    def join(self, participant: CommitParticipant) -> None:
        """Add a participant."""
        self._participants.append(participant)

    @property
    def written(self) -> int:
        """Number of transactions that changed the database, including those of others."""
        return self._database.written

    def ask(self, promise: bool) -> None:
        """Request a commit; `promise` means that an acknowledgment waits for it."""
        self.promises = self.promises or promise
        if not self._requested:
            self._requested = True
            if self.soon is not None:
                self.soon()

    def commit(self) -> sqlite3.Error | None:
        """Commit the collected changes; return the error if that failed.

        Within `RETRY_DELAY` after an error, return the same error without trying again.
        """
        if not self._requested and not self._has_leftovers:
            return None
        error = self._error
        if error is None or self._timer() >= self._not_before:
            error = self._try()
        self._requested = self.promises = False
        self._has_leftovers = error is not None
        self._error = error
        for participant in self._participants:
            participant.written(error is None)
        return error

    def _try(self) -> sqlite3.Error | None:
        try:
            with self._database.transaction() as db:
                for participant in self._participants:
                    participant.write(db)
        except sqlite3.Error as error:
            self._not_before = self._timer() + RETRY_DELAY
            return error
        return None
