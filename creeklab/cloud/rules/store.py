"""The tables of rules and of their unfinished executions."""

from __future__ import annotations

import json
import sqlite3

from creeklab.cloud.rules.rule import Rule
from creeklab.cloud.storage.database import Database, Page

MIGRATIONS = (
    (
        """
        CREATE TABLE topic_rules (
            number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of creation
            name TEXT NOT NULL UNIQUE,
            payload TEXT NOT NULL,  -- topicRulePayload of the API, as JSON
            created REAL NOT NULL
        )
        """,
        "CREATE TRIGGER untag_rule AFTER DELETE ON topic_rules BEGIN "
        "DELETE FROM tags WHERE kind = 'rule' AND name = OLD.name; END",
        """
        CREATE TABLE rule_executions (
            number INTEGER PRIMARY KEY,
            rule TEXT NOT NULL,
            message TEXT NOT NULL,  -- topic, sender and properties, as JSON
            payload BLOB NOT NULL
        )
        """,
    ),
)


class RuleStore:
    """The rules of one account."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> list[Rule]:
        """Return all rules in the order of their creation."""
        return [_rule(row) for row in self._database.execute("SELECT * FROM topic_rules")]

    def page(
        self, page: Page, names: frozenset[str] | None = None
    ) -> tuple[list[Rule], str | None]:
        """Return one page of the rules, only those in `names` if it is given."""
        condition, parameters = "TRUE", {}
        if names is not None:
            condition = "name IN (SELECT value FROM json_each(:names))"
            parameters["names"] = json.dumps(sorted(names))
        rows, token = self._database.page(
            "SELECT * FROM topic_rules", "number", page, condition, **parameters
        )
        return [_rule(row) for row in rows], token

    def save(self, rule: Rule) -> None:
        """Add a rule, or replace the payload of an existing one."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO topic_rules (name, payload, created) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET payload = excluded.payload",
                (rule.name, json.dumps(rule.payload), rule.created),
            )

    def delete(self, name: str) -> None:
        """Delete a rule if it exists, with its tags."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM topic_rules WHERE name = ?", (name,))


def _rule(row: sqlite3.Row) -> Rule:
    return Rule(row["name"], json.loads(row["payload"]), row["created"])
