"""The tables of functions and of their waiting events."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from creeklab.cloud.lambda_.function import Function
from creeklab.cloud.storage.database import Database

MIGRATIONS = (
    (
        """
        CREATE TABLE functions (
            name TEXT PRIMARY KEY,
            configuration TEXT NOT NULL,  -- everything but the code, as JSON
            code BLOB NOT NULL,
            modified REAL NOT NULL
        )
        """,
        """
        CREATE TABLE function_events (
            number INTEGER PRIMARY KEY,
            function TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
            payload BLOB NOT NULL,
            request_id TEXT NOT NULL,
            attempts INTEGER NOT NULL
        )
        """,
    ),
)


class StoredEvent(NamedTuple):
    """An event that a function has not processed yet, and how often it was tried."""

    number: int
    function: str
    payload: bytes
    request_id: str
    attempts: int


class FunctionStore:
    """The functions of one account."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> list[Function]:
        """Return all functions by name."""
        rows = self._database.execute("SELECT * FROM functions ORDER BY name")
        return [_function(row) for row in rows]

    def save(self, function: Function) -> None:
        """Add a function, or replace it."""
        configuration = {
            "role": function.role,
            "handler": function.handler,
            "description": function.description,
            "timeout": function.timeout,
            "memory": function.memory,
            "variables": dict(function.variables),
            "statements": list(function.statements),
            "tags": dict(function.tags),
        }
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO functions (name, configuration, code, modified) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET configuration = excluded.configuration, "
                "code = excluded.code, modified = excluded.modified",
                (function.name, json.dumps(configuration), function.code, function.modified),
            )

    def delete(self, name: str) -> None:
        """Delete a function with its waiting events."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM functions WHERE name = ?", (name,))

    def events(self) -> list[StoredEvent]:
        """Return the waiting events, oldest first."""
        rows = self._database.execute("SELECT * FROM function_events ORDER BY number")
        return [StoredEvent(*row) for row in rows]

    def add_event(self, function: str, payload: bytes, request_id: str) -> StoredEvent:
        """Store an event before it is accepted."""
        with self._database.transaction() as db:
            row = db.execute(
                "INSERT INTO function_events (function, payload, request_id, attempts) "
                "VALUES (?, ?, ?, 0)",
                (function, payload, request_id),
            )
        return StoredEvent(row.lastrowid or 0, function, payload, request_id, 0)

    def count_attempt(self, event: StoredEvent) -> StoredEvent:
        """Record that an event was tried once more."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE function_events SET attempts = ? WHERE number = ?",
                (event.attempts + 1, event.number),
            )
        return event._replace(attempts=event.attempts + 1)

    def remove_event(self, event: StoredEvent) -> None:
        """Delete an event that is processed, or was tried often enough."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM function_events WHERE number = ?", (event.number,))


def _function(row: sqlite3.Row) -> Function:
    members = json.loads(row["configuration"])
    members["statements"] = tuple(members["statements"])
    return Function(name=row["name"], code=row["code"], modified=row["modified"], **members)
