"""The database of an account: one SQLite file with everything that must not get lost.

Every change is a transaction, committed before the caller learns about it. With the write-ahead log
and ``synchronous=NORMAL``, a commit survives the death of the process, including ``kill -9``. A
power failure can lose the last transactions, but never half of one.

The tables of the first services are the base: ``MIGRATIONS``, of which ``PRAGMA user_version``
counts how many a file has seen. Each later service has a list of its own (`Database.migrate`),
counted in the table ``migrations``, so that two services never compete for a number. Lists only
grow at their ends. Private keys of Things are in no table.
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
from creeklab.cloud.storage.schema import MIGRATIONS

# Seconds. No other program should write to the file; if one does, the whole cloud waits for it.
BUSY_TIMEOUT = 0.5
SCAN_LIMIT = 500
"""Rows that are read for one page of a list whose condition has no index."""

Parameters = Sequence[Any] | Mapping[str, Any]
Migrations = Sequence[Sequence[str]]
"""The changes of a schema in their order, each a sequence of SQL statements."""


class DatabaseError(OSError):
    """The database file cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list: at most `size` rows, starting where `token` ended."""

    size: int
    token: str | None = None
    ascending: bool = True


class Database:
    """The account's database at `path`, created with mode 0600 if it does not exist.

    Only one process can use it, and only one thread at a time: that of the cloud's event loop.

    Attributes
    ----------
    written
        Number of transactions that changed something.

    Raises
    ------
    DatabaseError
        If the file cannot be opened, is damaged, or was written by a newer creeklab.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.written = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)  # SQLite creates its log with the mode of the database
            self._db = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
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
        except DatabaseError:
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
        """Run a statement that reads; its rows can be indexed by position and column name."""
        return self._db.execute(statement, parameters)

    def page(
        self,
        select: str,
        key: str,
        page: Page,
        condition: str = "TRUE",
        *,
        scan: str | None = None,
        **parameters: Any,
    ) -> tuple[list[sqlite3.Row], str | None]:
        """Read one page of the rows of `select` that meet `condition`, in the order of `key`.

        Parameters
        ----------
        select
            ``SELECT ... FROM ...``, with `key`, a unique column, among the columns.
        scan
            Table to scan in the order of `key` if no index answers the condition. A page then ends
            after `SCAN_LIMIT` rows of it, even if few of them meet the condition, so that no list
            keeps other clients waiting.
        **parameters
            Values of the condition's named parameters.

        Returns
        -------
        tuple
            The rows, and the token of the next page if there is one. The token holds the last key,
            so that the next page starts in the right place even if rows are added or deleted.

        Raises
        ------
        ServiceError
            ``InvalidRequestException`` if the token is not from this list.
        """
        of = repr((select, condition, parameters, page.ascending))
        order, beyond = ("ASC", ">") if page.ascending else ("DESC", "<")
        start = "TRUE"
        if page.token is not None:
            start = f"{key} {beyond} :after"
            parameters["after"] = _token_key(page.token, of)
        last = None
        if scan is not None:
            last = self._db.execute(
                f"SELECT {key} FROM {scan} WHERE {start} ORDER BY {key} {order} "
                f"LIMIT 1 OFFSET {SCAN_LIMIT - 1}",
                parameters,
            ).fetchone()
        if last is not None:
            start += f" AND NOT {key} {beyond} :last"
            parameters["last"] = last[key]
        rows = self._db.execute(
            f"{select} WHERE {start} AND {condition} ORDER BY {key} {order} LIMIT :limit",
            {**parameters, "limit": page.size + 1},
        ).fetchall()
        if len(rows) > page.size:
            return rows[:-1], _token(rows[-2][key], of)
        return rows, None if last is None else _token(last[key], of)

    def migrate(self, service: str, migrations: Migrations) -> None:
        """Apply the migrations of a service that this file has not seen yet.

        Raises
        ------
        DatabaseError
            If a newer creeklab has written tables of the service, or a statement fails.
        """
        if not migrations:
            return
        try:
            with self.transaction() as db:
                db.execute(
                    "CREATE TABLE IF NOT EXISTS migrations "
                    "(service TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID"
                )
                row = db.execute(
                    "SELECT number FROM migrations WHERE service = ?", (service,)
                ).fetchone()
                self._apply(migrations, 0 if row is None else row["number"], f"{service} schema")
                db.execute(
                    "INSERT OR REPLACE INTO migrations VALUES (?, ?)", (service, len(migrations))
                )
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._db.close()

    def _check(self) -> None:
        """Find damage at the start rather than in the middle of a lesson."""
        (problem,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise self._damaged(problem.splitlines()[-1])

    def _migrate(self) -> None:
        with self.transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            self._apply(MIGRATIONS, version, "schema")
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _apply(self, migrations: Migrations, version: int, schema: str) -> None:
        if version > len(migrations):
            raise DatabaseError(
                f"{self._path} was written by a newer creeklab ({schema} {version}; this one "
                f"knows up to {len(migrations)}). Update creeklab, or choose another home folder."
            )
        for migration in migrations[version:]:
            for statement in migration:
                self._db.execute(statement)

    def _unusable(self, error: OSError | sqlite3.Error) -> DatabaseError:
        if isinstance(error, OSError | sqlite3.OperationalError):
            reason = error.strerror if isinstance(error, OSError) else error
            return DatabaseError(
                f"The account's file {self._path} cannot be opened: {reason}. Make the file and "
                "its folder readable and writable, check that the disk is not full and that no "
                "other creeklab uses the file, or choose another home folder."
            )
        return self._damaged(error)

    def _damaged(self, problem: object) -> DatabaseError:
        return DatabaseError(
            f"The account's file {self._path} is damaged ({problem}). Restore it from a backup, or "
            "delete it and the files next to it whose names start with its name: the cloud then "
            "starts with an empty account."
        )


def _token(key: str | int, of: str) -> str:
    """Return the token of the page after `key` in the list that `of` describes."""
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
        "The token for the next page was not returned by this call for this list. Omit it to start "
        "with the first page.",
    )


def _digest(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()[:16]
