"""Retained messages, one for each topic, stored in SQLite.

A change is written with the next group commit (`storage/group_commit.py`); until then, reads see
the pending change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.property_json import properties_from_text, properties_to_text
from creeklab.cloud.storage.database import Database, Page
from creeklab.cloud.storage.group_commit import GroupCommit


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A retained message and when it was stored, in seconds since the epoch."""

    message: OutboundMessage
    modified: float


@dataclass(frozen=True, slots=True)
class RetainedSummary:
    """A retained message in a list: payload size in bytes, and when it was stored."""

    topic: str
    size: int
    qos: int
    modified: float


class RetainedMessages:
    """The retained messages of one account.

    Parameters
    ----------
    limit
        Maximum number of topics with a retained message.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self, store: Database, commits: GroupCommit, limit: int, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._commits = commits
        self._limit = limit
        self._clock = clock
        self._pending: dict[str, StoredMessage | None] = {}
        with store.transaction() as db:
            db.execute("DELETE FROM retained WHERE expires_at <= ?", (clock(),))
        self._count = self._count_rows()
        commits.join(self)

    def has_room(self, topic: str) -> bool:
        """Return whether a topic can have a message: it has one, or one more is allowed."""
        return self._count < self._limit or self._exists(topic)

    def put(self, message: OutboundMessage) -> None:
        """Store `message` for its topic; an empty payload removes the stored one."""
        topic = message.topic
        self._count += bool(message.payload) - self._exists(topic)
        self._pending[topic] = StoredMessage(message, self._clock()) if message.payload else None
        self._commits.ask(promise=True)

    def get(self, topic: str) -> OutboundMessage | None:
        """Return the message of exactly this topic, with its remaining expiry interval."""
        stored = self.find(topic)
        return None if stored is None else stored.message.with_remaining_expiry(self._clock())

    def find(self, topic: str) -> StoredMessage | None:
        """Return what is stored for exactly this topic, unless it has expired."""
        if topic in self._pending:
            stored = self._pending[topic]
        else:
            row = self._store.execute("SELECT * FROM retained WHERE topic = ?", (topic,)).fetchone()
            stored = None if row is None else _from_row(row)
        if stored is None:
            return None
        expires_at = stored.message.expires_at
        return stored if expires_at is None or expires_at > self._clock() else None

    def page(self, page: Page, now: float) -> tuple[list[RetainedSummary], str | None]:
        """Return a page of the list, ordered by topic, and the token of the next page.

        Expired messages are left out, so a page can be shorter than requested.

        Raises
        ------
        ServiceError
            ``InvalidRequestException`` if the page's token is not from this list.
        """
        rows, token = self._store.page(
            "SELECT topic, length(payload) AS size, qos, modified, expires_at FROM retained",
            "topic",
            page,
        )
        return [
            RetainedSummary(topic, size, qos, modified)
            for topic, size, qos, modified, expires_at in rows
            if expires_at is None or expires_at > now
        ], token

    def write(self, db: sqlite3.Connection) -> None:
        """Write pending changes, inside a transaction."""
        removed = [(topic,) for topic, stored in self._pending.items() if stored is None]
        db.executemany("DELETE FROM retained WHERE topic = ?", removed)
        db.executemany(
            "INSERT OR REPLACE INTO retained "
            "(topic, payload, qos, properties, expires_at, modified) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    topic,
                    stored.message.payload,
                    stored.message.qos,
                    properties_to_text(stored.message.properties),
                    stored.message.expires_at,
                    stored.modified,
                )
                for topic, stored in self._pending.items()
                if stored is not None
            ],
        )

    def written(self, committed: bool) -> None:
        """Forget pending changes: they are committed, or failed and were never acknowledged."""
        if self._pending:
            self._pending.clear()
            if not committed:
                self._count = self._count_rows()

    def _exists(self, topic: str) -> bool:
        if topic in self._pending:
            return self._pending[topic] is not None
        found = self._store.execute("SELECT 1 FROM retained WHERE topic = ?", (topic,))
        return found.fetchone() is not None

    def _count_rows(self) -> int:
        (number,) = self._store.execute("SELECT count(*) FROM retained").fetchone()
        return int(number)


def _from_row(row: sqlite3.Row) -> StoredMessage:
    properties = properties_from_text(row["properties"])
    message = OutboundMessage(
        row["topic"], row["payload"], row["qos"], properties, True, row["expires_at"]
    )
    return StoredMessage(message, row["modified"])
