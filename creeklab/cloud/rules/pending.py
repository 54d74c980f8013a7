"""Executions that survive the death of the cloud.

A message at QoS 1 is acknowledged once its executions are done or stored. Those that are stored run
again after a restart, so an action can run twice, but never not at all. An execution that is done
before the commit, as a republished message usually is, is not stored at all.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from creeklab.cloud.rules.engine import Execution
from creeklab.cloud.rules.sql.functions.function import MessageContext
from creeklab.cloud.storage.database import Database
from creeklab.cloud.storage.group_commit import GroupCommit

DONE = -1


@dataclass(frozen=True, slots=True)
class StoredExecution:
    """An execution of an earlier run of the cloud."""

    number: int
    rule: str
    message: MessageContext


class PendingExecutions:
    """The stored executions of one account."""

    def __init__(self, database: Database, commits: GroupCommit) -> None:
        self._database = database
        self._commits = commits
        self._new: list[Execution] = []
        self._finished: list[int] = []
        commits.join(self)

    def add(self, execution: Execution) -> None:
        """Store an execution with the next commit, unless it is done by then."""
        self._new.append(execution)
        self._commits.ask(promise=True)

    def remove(self, execution: Execution) -> None:
        """Note that an execution is done."""
        if execution.number > 0:
            self.remove_number(execution.number)
        execution.number = DONE

    def remove_number(self, number: int) -> None:
        """Delete a stored execution with the next commit."""
        self._finished.append(number)
        self._commits.ask(promise=False)

    def load(self) -> Iterator[StoredExecution]:
        """Return the executions that an earlier run of the cloud did not finish."""
        rows = self._database.execute("SELECT * FROM rule_executions ORDER BY number")
        for row in rows.fetchall():
            members: dict[str, Any] = json.loads(row["message"])
            properties = members["properties"]
            if "correlation_data" in properties:
                properties["correlation_data"] = bytes.fromhex(properties["correlation_data"])
            message = MessageContext(payload=row["payload"], **members)
            yield StoredExecution(row["number"], row["rule"], message)

    def write(self, db: sqlite3.Connection) -> None:
        """Write the executions that are not done, and delete those that are."""
        for execution in self._new:
            if execution.number == 0:
                row = db.execute(
                    "INSERT INTO rule_executions (rule, message, payload) VALUES (?, ?, ?)",
                    (
                        execution.rule.name,
                        _context_json(execution.message),
                        execution.message.payload,
                    ),
                )
                execution.number = row.lastrowid or 0
        db.executemany(
            "DELETE FROM rule_executions WHERE number = ?", [(each,) for each in self._finished]
        )

    def written(self, committed: bool) -> None:
        """Forget what is written; if the commit failed, its messages are not acknowledged."""
        if committed:
            self._finished.clear()
        else:
            for execution in self._new:
                execution.number = min(execution.number, 0)
        self._new.clear()


def _context_json(message: MessageContext) -> str:
    members = {
        field.name: getattr(message, field.name)
        for field in fields(message)
        if field.name != "payload"
    }
    return json.dumps(members, default=lambda value: value.hex())
