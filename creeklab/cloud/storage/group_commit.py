"""Group commit: one transaction for everything that has to be kept before an answer goes out.

An acknowledgement is a promise, so what it promises has to be in the database first. A transaction
for each message would cost more than the message. So the rooms collect what they have to write,
and once in a turn of the event loop all of it is committed together; only then the answers that
waited for it go out.

If the database cannot be written (the disk is full, another program holds it), what was to be
promised is not: the rooms hear of it and let it go. They keep what they have to make up for (a
session that changed, a message that was acknowledged), and it is tried again a second later.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol

from creeklab.cloud.storage.database import Database

MAX_DELAY_SECONDS = 1.0


class CommitParticipant(Protocol):
    """A room that has something to write."""

    def write(self, db: sqlite3.Connection) -> None:
        """Write all that has been collected, inside a transaction."""

    def written(self, committed: bool) -> None:
        """Forget what was written; if that failed, what was new is lost, the rest is kept."""


class GroupCommit:
    """Collects the rooms that have something to write, and commits it.

    Parameters
    ----------
    timer
        Seconds that only go forward.

    Attributes
    ----------
    soon
        Called when something is there to be committed; who sets it sees to it that the commit
        follows, in the same turn of the event loop or the next.
    promises
        Whether there is something new that an answer has to wait for.
    """

    def __init__(self, store: Database, timer: Callable[[], float]) -> None:
        self.soon: Callable[[], object] | None = None
        self.promises = False
        self._store = store
        self._timer = timer
        self._parts: list[CommitParticipant] = []
        self._asked = False
        self._left_over = False
        self._not_before = 0.0
        self._error: sqlite3.Error | None = None

    def join(self, part: CommitParticipant) -> None:
        """Let a room take part."""
        self._parts.append(part)

    @property
    def written(self) -> int:
        """How many transactions have changed the database, whoever's they were."""
        return self._store.written

    def ask(self, promise: bool) -> None:
        """Ask for a commit; `promise` says that an answer has to wait for it."""
        self.promises = self.promises or promise
        if not self._asked:
            self._asked = True
            if self.soon is not None:
                self.soon()

    def commit(self) -> sqlite3.Error | None:
        """Commit what there is; return the error if it could not be written.

        Soon after an error nothing is tried, and that error returned again.
        """
        if not self._asked and not self._left_over:
            return None
        error = self._error
        if error is None or self._timer() >= self._not_before:
            error = self._try()
        self._asked = self.promises = False
        self._left_over = error is not None
        self._error = error
        for part in self._parts:
            part.written(error is None)
        return error

    def _try(self) -> sqlite3.Error | None:
        try:
            with self._store.transaction() as db:
                for part in self._parts:
                    part.write(db)
        except sqlite3.Error as error:
            self._not_before = self._timer() + MAX_DELAY_SECONDS
            return error
        return None
