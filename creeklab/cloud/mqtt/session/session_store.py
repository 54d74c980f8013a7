"""Sessions that outlive their connections, stored in SQLite so that they survive a crash.

A session is a row with its subscriptions. A message is one row, however many sessions have to
deliver it, and the table ``queued`` has one row for each of these sessions. A client that was
connected when the cloud crashed counts as disconnected from the restart. Changes are collected and
committed together with those of others (`storage/group_commit.py`).

The store does not record which messages are in flight: an unacknowledged one is sent again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import astuple
from itertools import count
from typing import Any

from creeklab.cloud.mqtt.codec.packets import Subscription
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.property_json import properties_from_text, properties_to_text
from creeklab.cloud.mqtt.session.session import Entry, Session
from creeklab.cloud.storage.database import Database
from creeklab.cloud.storage.group_commit import GroupCommit

Row = tuple[Any, ...]


class SqliteSessionStore:
    """The stored sessions of one account; a `session.SessionStore`.

    Parameters
    ----------
    clock, timer
        Seconds since the epoch, for the end of a session in its row, and the broker's timer, for
        the end in the session itself.

    Attributes
    ----------
    count
        Number of stored sessions.
    """

    def __init__(
        self,
        store: Database,
        commits: GroupCommit,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self.count = 0
        self._store = store
        self._commits = commits
        self._clock = clock
        self._timer = timer
        (last_session,) = store.execute("SELECT coalesce(max(number), 0) FROM sessions").fetchone()
        (last_message,) = store.execute("SELECT coalesce(max(number), 0) FROM messages").fetchone()
        self._session_numbers = count(last_session + 1)
        self._message_numbers = count(last_message + 1)
        # New: dropped if the commit fails, because nothing about them was acknowledged.
        self._new_messages: list[OutboundMessage] = []
        self._new_rows: list[Row] = []
        self._new_entries: list[Row] = []
        # Written with a later commit if this one fails.
        self._changed: dict[int, Session] = {}
        self._ended: list[Row] = []
        self._done_entries: list[Row] = []
        self._done_messages: list[Row] = []
        commits.join(self)

    # --- for the broker -----------------------------------------------------------------------

    def load(self, now: float) -> list[tuple[Session, float]]:
        """Return the sessions that have not ended by `now`, and when each ends; remove the others.

        Both times are in seconds since the epoch.
        """
        found: dict[int, tuple[Session, float]] = {}
        for row in self._store.execute("SELECT * FROM sessions ORDER BY number"):
            ends_at = now + row["expiry"] if row["ends_at"] is None else row["ends_at"]
            session = Session(row["client_id"], row["version"], row["principal"], row["expiry"])
            session.store, session.number = self, row["number"]
            for fields in json.loads(row["subscriptions"]):
                session.subscriptions[fields[0]] = Subscription(*fields)
            found[session.number] = session, ends_at
        self.count = len(found)
        messages: dict[int, OutboundMessage] = {}
        for row in self._store.execute(
            "SELECT session, position, queued.retain, shared, messages.* FROM queued "
            "JOIN messages ON messages.number = message ORDER BY session, position"
        ):
            if row["session"] not in found:
                continue
            message = messages.get(row["number"])
            if message is None:
                message = messages[row["number"]] = _message(row)
            message.holders += 1
            session, position = found[row["session"]][0], row["position"]
            session.waiting.append((message, bool(row["retain"]), position))
            session.last_position = position
            if row["shared"]:
                session.shared[position] = row["shared"]
        return self._remove_ended(found, now)

    def _remove_ended(
        self, found: dict[int, tuple[Session, float]], now: float
    ) -> list[tuple[Session, float]]:
        remaining = []
        for session, ends_at in found.values():
            # A clock that was set back must not extend a session.
            left = min(ends_at - now, session.expiry)
            if left <= 0:
                self.delete(session)
            else:
                session.ends_at = self._timer() + left
                self.update(session)
                remaining.append((session, now + left))
        return remaining

    def add(self, session: Session) -> None:
        """Store a session from now on."""
        session.store, session.number = self, next(self._session_numbers)
        self.count += 1
        self.update(session)

    def update(self, session: Session) -> None:
        """Store a change of a session's own fields or subscriptions."""
        self._changed[session.number] = session
        self._commits.ask(promise=False)

    def delete(self, session: Session) -> None:
        """Remove a session."""
        self._changed.pop(session.number, None)
        self._ended.append((session.number,))
        for message, _, _ in (*session.in_flight.values(), *session.waiting):
            self._release(message)
        session.store = None
        self.count -= 1
        self._commits.ask(promise=False)

    def add_message(self, session: Session, entry: Entry, group: str) -> None:
        """Store a message; `group` is the shared subscription that matched, or empty."""
        message, retain, position = entry
        if not message.number:
            message.number = next(self._message_numbers)
            self._new_messages.append(message)
            self._new_rows.append(_message_row(message))
        message.holders += 1
        self._new_entries.append((session.number, position, message.number, retain, group))
        self._commits.ask(promise=True)

    def remove_message(self, session: Session, entry: Entry) -> None:
        """Remove a message."""
        message, _, position = entry
        if message.number:
            self._done_entries.append((session.number, position))
            self._commits.ask(promise=False)
        self._release(message)

    def _release(self, message: OutboundMessage) -> None:
        message.holders -= 1
        if message.number and message.holders == 0:
            self._done_messages.append((message.number,))
            message.number = 0

    # --- for the group commit -----------------------------------------------------------------

    def write(self, db: sqlite3.Connection) -> None:
        """Write the collected changes, inside a transaction."""
        db.executemany(
            "INSERT OR REPLACE INTO sessions "
            "(number, client_id, version, principal, expiry, ends_at, subscriptions) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            map(self._session_row, self._changed.values()),
        )
        db.executemany(
            "INSERT INTO messages (number, topic, payload, properties, expires_at) "
            "VALUES (?, ?, ?, ?, ?)",
            self._new_rows,
        )
        db.executemany("INSERT INTO queued VALUES (?, ?, ?, ?, ?)", self._new_entries)
        db.executemany("DELETE FROM queued WHERE session = ? AND position = ?", self._done_entries)
        db.executemany("DELETE FROM queued WHERE session = ?", self._ended)
        db.executemany("DELETE FROM sessions WHERE number = ?", self._ended)
        db.executemany("DELETE FROM messages WHERE number = ?", self._done_messages)

    def written(self, committed: bool) -> None:
        """Forget what was committed; if the commit failed, drop new messages and keep the rest."""
        if committed:
            for written in (self._changed, self._ended, self._done_entries, self._done_messages):
                written.clear()
        else:
            for message in self._new_messages:
                message.number = 0
        for new in (self._new_messages, self._new_rows, self._new_entries):
            new.clear()

    def _session_row(self, session: Session) -> Row:
        ends_at = session.ends_at
        if ends_at is not None:
            ends_at += self._clock() - self._timer()
        return (
            session.number,
            session.client_id,
            session.version,
            session.principal,
            session.expiry,
            ends_at,
            json.dumps([astuple(each) for each in session.subscriptions.values()]),
        )


def _message_row(message: OutboundMessage) -> Row:
    return (
        message.number,
        message.topic,
        message.payload,
        properties_to_text(message.properties),
        message.expires_at,
    )


def _message(row: sqlite3.Row) -> OutboundMessage:
    return OutboundMessage(
        row["topic"],
        row["payload"],
        1,
        properties_from_text(row["properties"]),
        expires_at=row["expires_at"],
        number=row["number"],
    )
