"""Retained messages, one a topic, kept in SQLite.

A change is written with the next group commit (`group_commit.py`); until then what is asked for is
answered from what waits to be written.
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
    """A retained message and when it came, in seconds since the epoch."""

    message: OutboundMessage
    modified: float


@dataclass(frozen=True, slots=True)
class RetainedSummary:
    """What a list tells of a retained message: size of its payload in bytes, when it came."""

    topic: str
    size: int
    qos: int
    modified: float


class RetainedMessages:
    """The retained messages of one account.

    Parameters
    ----------
    limit
        How many topics may have one.
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
        self._fresh: dict[str, StoredMessage | None] = {}
        with store.transaction() as db:
            db.execute("DELETE FROM retained WHERE expires_at <= ?", (clock(),))
        self._count = self._counted()
        commits.join(self)

    def has_room(self, topic: str) -> bool:
        """Tell whether a message can be kept for a topic: there is one, or the limit is not met."""
        return self._count < self._limit or self._exists(topic)

    def put(self, message: OutboundMessage) -> None:
        """Keep `message` for its topic; an empty payload removes what is there."""
        topic = message.topic
        self._count += bool(message.payload) - self._exists(topic)
        self._fresh[topic] = StoredMessage(message, self._clock()) if message.payload else None
        self._commits.ask(promise=True)

    def get(self, topic: str) -> OutboundMessage | None:
        """Return the message kept for exactly this topic, as it is to be sent now."""
        kept = self.find(topic)
        return None if kept is None else kept.message.with_remaining_expiry(self._clock())

    def find(self, topic: str) -> StoredMessage | None:
        """Return what is kept for exactly this topic, unless it has expired."""
        if topic in self._fresh:
            kept = self._fresh[topic]
        else:
            row = self._store.execute("SELECT * FROM retained WHERE topic = ?", (topic,)).fetchone()
            kept = None if row is None else _kept(row)
        if kept is None:
            return None
        expires_at = kept.message.expires_at
        return kept if expires_at is None or expires_at > self._clock() else None

    def page(self, page: Page, now: float) -> tuple[list[RetainedSummary], str | None]:
        """Return a part of the list of what is kept, in the order of topics, and its token.

        What has expired is left out, so a page may be shorter than it was asked to be.

        Raises
        ------
        ServiceError
            ``InvalidRequestException`` if the page's token is not one of this list.
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
        """Write what is new, inside a transaction."""
        gone = [(topic,) for topic, kept in self._fresh.items() if kept is None]
        db.executemany("DELETE FROM retained WHERE topic = ?", gone)
        db.executemany(
            "INSERT OR REPLACE INTO retained "
            "(topic, payload, qos, properties, expires_at, modified) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    topic,
                    kept.message.payload,
                    kept.message.qos,
                    properties_to_text(kept.message.properties),
                    kept.message.expires_at,
                    kept.modified,
                )
                for topic, kept in self._fresh.items()
                if kept is not None
            ],
        )

    def written(self, committed: bool) -> None:
        """Forget what was new: it is written, or nobody was told that it is kept."""
        if self._fresh:
            self._fresh.clear()
            if not committed:
                self._count = self._counted()

    def _exists(self, topic: str) -> bool:
        if topic in self._fresh:
            return self._fresh[topic] is not None
        found = self._store.execute("SELECT 1 FROM retained WHERE topic = ?", (topic,))
        return found.fetchone() is not None

    def _counted(self) -> int:
        (number,) = self._store.execute("SELECT count(*) FROM retained").fetchone()
        return int(number)


def _kept(row: sqlite3.Row) -> StoredMessage:
    properties = properties_from_text(row["properties"])
    message = OutboundMessage(
        row["topic"], row["payload"], row["qos"], properties, True, row["expires_at"]
    )
    return StoredMessage(message, row["modified"])
