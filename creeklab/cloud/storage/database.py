"""The account on disk: one SQLite file, the only place where the cloud keeps what it must not lose.

Every change is a transaction, committed before the caller hears of it. With the write-ahead log
and ``synchronous=NORMAL`` a commit outlives the death of the process (``kill -9`` included); only
a power failure may take the last ones, never half of one.

The schema grows by appending to ``MIGRATIONS``; ``PRAGMA user_version`` counts how many of them a
file has seen. Private keys of Things are in no table.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from creeklab.cloud.errors import ServiceError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE things (
            name TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            version INTEGER NOT NULL,
            attributes TEXT NOT NULL  -- a JSON object of strings
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE certificates (
            number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of creation
            id TEXT NOT NULL UNIQUE,
            pem TEXT NOT NULL,
            status TEXT NOT NULL,
            generation TEXT NOT NULL,
            created REAL NOT NULL,
            modified REAL NOT NULL,
            not_before REAL NOT NULL,
            not_after REAL NOT NULL
        )
        """,
        """
        CREATE TABLE thing_principals (
            thing TEXT NOT NULL REFERENCES things (name),
            certificate TEXT NOT NULL REFERENCES certificates (id),
            type TEXT NOT NULL,
            PRIMARY KEY (thing, certificate)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX things_of_principal ON thing_principals (certificate, thing)",
        """
        CREATE TABLE policies (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            default_version INTEGER NOT NULL,
            last_version INTEGER NOT NULL,  -- numbers of deleted versions never come back
            generation TEXT NOT NULL,
            created REAL NOT NULL,
            modified REAL NOT NULL
        )
        """,
        """
        CREATE TABLE policy_versions (
            policy TEXT NOT NULL REFERENCES policies (name) ON DELETE CASCADE,
            version INTEGER NOT NULL,
            document TEXT NOT NULL,
            created REAL NOT NULL,
            PRIMARY KEY (policy, version)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE policy_attachments (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            policy TEXT NOT NULL REFERENCES policies (name),
            certificate TEXT NOT NULL REFERENCES certificates (id),
            UNIQUE (policy, certificate)
        )
        """,
        "CREATE INDEX policies_of_certificate ON policy_attachments (certificate)",
        """
        CREATE TABLE shadows (
            thing TEXT NOT NULL,
            name TEXT NOT NULL,  -- '' is the classic shadow
            document TEXT NOT NULL,
            version INTEGER NOT NULL,
            deleted_at REAL,  -- a deleted shadow stays as a tombstone, for its version
            PRIMARY KEY (thing, name)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE retained (
            topic TEXT PRIMARY KEY,
            payload BLOB NOT NULL,
            qos INTEGER NOT NULL,
            properties TEXT NOT NULL,
            modified REAL NOT NULL
        )
        """,
    ),
    (
        """
        CREATE TABLE thing_types (
            name TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            properties TEXT NOT NULL,  -- a JSON object, as it was given
            created REAL NOT NULL,
            deprecated REAL  -- when, if it is
        ) WITHOUT ROWID
        """,
        "ALTER TABLE things ADD COLUMN type TEXT REFERENCES thing_types (name)",
        "CREATE INDEX things_of_type ON things (type, name) WHERE type IS NOT NULL",
        """
        CREATE TABLE thing_groups (
            name TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            parent TEXT REFERENCES thing_groups (name),
            version INTEGER NOT NULL,
            description TEXT,
            attributes TEXT NOT NULL,  -- a JSON object of strings
            created REAL NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX children_of_group ON thing_groups (parent, name) WHERE parent IS NOT NULL",
        """
        CREATE TABLE group_members (
            thing TEXT NOT NULL REFERENCES things (name) ON DELETE CASCADE,
            thing_group TEXT NOT NULL REFERENCES thing_groups (name) ON DELETE CASCADE,
            id TEXT NOT NULL,
            PRIMARY KEY (thing, thing_group)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX things_of_group ON group_members (thing_group, thing)",
        # A policy can be attached to a thing group as well.
        "ALTER TABLE policy_attachments RENAME TO old_attachments",
        "DROP INDEX policies_of_certificate",
        """
        CREATE TABLE policy_attachments (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            policy TEXT NOT NULL REFERENCES policies (name),
            certificate TEXT REFERENCES certificates (id),
            thing_group TEXT REFERENCES thing_groups (name) ON DELETE CASCADE,
            UNIQUE (policy, certificate),
            UNIQUE (policy, thing_group),
            CHECK ((certificate IS NULL) <> (thing_group IS NULL))
        )
        """,
        """
        INSERT INTO policy_attachments (number, policy, certificate)
            SELECT number, policy, certificate FROM old_attachments
        """,
        "DROP TABLE old_attachments",
        "CREATE INDEX policies_of_certificate ON policy_attachments (certificate)",
        "CREATE INDEX policies_of_group ON policy_attachments (thing_group)",
        "ALTER TABLE certificates ADD COLUMN mode TEXT NOT NULL DEFAULT 'DEFAULT'",
        # Brought along by a person, so signed by no authority of ours.
        "ALTER TABLE certificates ADD COLUMN brought INTEGER NOT NULL DEFAULT 0",
        """
        CREATE TABLE tags (
            kind TEXT NOT NULL,  -- of the resource, as in its ARN
            name TEXT NOT NULL,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (kind, name, key)
        ) WITHOUT ROWID
        """,
        # Who makes a resource of the same name again finds no tags of the old one.
        *(
            f"CREATE TRIGGER untag_{kind} AFTER DELETE ON {table} BEGIN "
            f"DELETE FROM tags WHERE kind = '{kind}' AND name = OLD.name; END"
            for kind, table in (
                ("policy", "policies"),
                ("thinggroup", "thing_groups"),
                ("thingtype", "thing_types"),
            )
        ),
        """
        CREATE TABLE options (
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL,  -- JSON
            created REAL NOT NULL,
            modified REAL NOT NULL
        ) WITHOUT ROWID
        """,
    ),
    (
        """
        CREATE TABLE sessions (  -- those that outlive their connections
            number INTEGER PRIMARY KEY,
            client_id TEXT NOT NULL,
            version INTEGER NOT NULL,  -- 4 is MQTT 3.1.1, 5 is MQTT 5
            principal TEXT NOT NULL,
            expiry INTEGER NOT NULL,  -- seconds
            ends_at REAL,  -- NULL while the client is connected
            subscriptions TEXT NOT NULL  -- a JSON list of lists
        )
        """,
        """
        CREATE TABLE messages (  -- that sessions are to get
            number INTEGER PRIMARY KEY,
            topic TEXT NOT NULL,
            payload BLOB NOT NULL,
            properties TEXT NOT NULL,
            expires_at REAL
        )
        """,
        """
        CREATE TABLE queued (  -- which session is to get which message, in order of position
            session INTEGER NOT NULL,
            position INTEGER NOT NULL,
            message INTEGER NOT NULL,
            retain INTEGER NOT NULL,
            shared TEXT NOT NULL,  -- filter of the shared subscription it came by, or ''
            PRIMARY KEY (session, position)
        ) WITHOUT ROWID
        """,
        # The first of them kept it among the properties.
        "ALTER TABLE retained ADD COLUMN expires_at REAL",
        """
        UPDATE retained SET
            expires_at = json_extract(properties, '$.expires_at'),
            properties = json_extract(properties, '$.properties')
        """,
    ),
)

# No other program should write to the file. If one does, the whole cloud waits with this.
BUSY_SECONDS = 0.5

Parameters = Sequence[Any] | Mapping[str, Any]


class StoreError(OSError):
    """The file of the account cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted: at most `size` rows, from where `token` left off."""

    size: int
    token: str | None = None
    ascending: bool = True


class Store:
    """The account's database at `path`, made there with mode 0600 if missing.

    For one process, and in it for one thread at a time: the cloud's event loop.

    Attributes
    ----------
    written
        How many transactions have changed something.

    Raises
    ------
    StoreError
        If the file cannot be opened, is damaged, or is of a newer creeklab.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.written = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)  # SQLite gives its log the mode of its database
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._check()
            self._migrate()
        except sqlite3.Error as error:
            self._db.close()
            raise self._unusable(error) from error
        except StoreError:
            self._db.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction for writing: committed at the end, rolled back on an exception."""
        self._db.execute("BEGIN IMMEDIATE")
        before = self._db.total_changes
        try:
            yield self._db
            self._db.execute("COMMIT")
            self.written += self._db.total_changes > before
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def execute(self, statement: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one reading statement; its rows can be had by index and by column name."""
        return self._db.execute(statement, parameters)

    def page(
        self, select: str, key: str, page: Page, condition: str = "TRUE", **parameters: Any
    ) -> tuple[list[sqlite3.Row], str | None]:
        """Read one page of the rows of `select` that meet `condition`, in the order of `key`.

        Parameters
        ----------
        select
            ``SELECT ... FROM ...``, with `key`, a unique column, among the columns.
        **parameters
            Values of the condition's named parameters.

        Returns
        -------
        tuple
            The rows, and the token of the next page if there is one. It holds the last key, so
            that the next page begins in the right place whatever is made or deleted meanwhile.

        Raises
        ------
        ServiceError
            ``InvalidRequestException`` if the page's token is not one of this list.
        """
        of = repr((select, condition, parameters, page.ascending))
        order, beyond = ("ASC", ">") if page.ascending else ("DESC", "<")
        if page.token is not None:
            condition += f" AND {key} {beyond} :after"
            parameters["after"] = _token_key(page.token, of)
        rows = self._db.execute(
            f"{select} WHERE {condition} ORDER BY {key} {order} LIMIT :limit",
            {**parameters, "limit": page.size + 1},
        ).fetchall()
        if len(rows) <= page.size:
            return rows, None
        return rows[:-1], _token(rows[-2][key], of)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._db.close()

    def _check(self) -> None:
        """Find damage now rather than in the middle of a lesson."""
        (problem,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise self._damaged(problem.splitlines()[-1])

    def _migrate(self) -> None:
        with self.transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"{self._path} was written by a newer creeklab (schema {version}; this one "
                    f"knows up to {len(MIGRATIONS)}). Update creeklab, or choose another home "
                    "folder."
                )
            for migration in MIGRATIONS[version:]:
                for statement in migration:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _unusable(self, error: OSError | sqlite3.Error) -> StoreError:
        if isinstance(error, OSError | sqlite3.OperationalError):
            reason = error.strerror if isinstance(error, OSError) else error
            return StoreError(
                f"The account's file {self._path} cannot be opened: {reason}. Make the file and "
                "its folder readable and writable for you, see that the disk is not full and no "
                "other creeklab has it open, or choose another home folder."
            )
        return self._damaged(error)

    def _damaged(self, problem: object) -> StoreError:
        return StoreError(
            f"The account's file {self._path} is damaged ({problem}). Put it back from a copy, or "
            "delete it together with the files beside it that begin with its name: the cloud then "
            "starts with an empty account."
        )


def _token(key: str | int, of: str) -> str:
    """Return the token for what follows `key` in the list that `of` describes."""
    return base64.b64encode(json.dumps([_digest(of), key]).encode()).decode()


def _token_key(token: str, of: str) -> str | int:
    try:
        digest, key = json.loads(base64.b64decode(token, validate=True))
        if digest == _digest(of) and isinstance(key, str | int):
            return key
    except (ValueError, TypeError, RecursionError):
        pass
    raise ServiceError(
        "InvalidRequestException",
        "The token for the next page is not one that this call returned for this list. Leave it "
        "out to begin with the first page.",
    )


def _digest(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()[:16]
