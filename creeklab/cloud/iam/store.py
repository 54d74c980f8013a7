"""The tables of the roles and their inline policies."""

from __future__ import annotations

MIGRATIONS = (
    (
        """
        CREATE TABLE roles (
            name TEXT PRIMARY KEY COLLATE NOCASE,  -- as in IAM, names that differ in case collide
            id TEXT NOT NULL,
            path TEXT NOT NULL,
            trust_policy TEXT NOT NULL,
            description TEXT,
            max_session INTEGER NOT NULL,  -- seconds
            created REAL NOT NULL,
            tags TEXT NOT NULL  -- a JSON object of strings
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE role_policies (
            role TEXT NOT NULL REFERENCES roles (name),
            name TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (role, name)
        ) WITHOUT ROWID
        """,
    ),
)
