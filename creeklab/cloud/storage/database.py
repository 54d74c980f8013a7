"""The account on disk: one SQLite file, the only place where the cloud keeps what it must not lose.

Every change is a transaction, committed before the caller hears of it. With the write-ahead log
and ``synchronous=NORMAL`` a commit outlives the death of the process (``kill -9`` included); only
a power failure may take the last ones, never half of one.

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

# No other program should write to the file. If one does, the whole cloud waits with this.
BUSY_TIMEOUT = 0.5

Parameters = Sequence[Any] | Mapping[str, Any]
Migrations = Sequence[Sequence[str]]
"""The changes of a schema in their order, each a sequence of SQL statements."""


class DatabaseError(OSError):
    """The file of the account cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted: at most `size` rows, from where `token` left off."""

    size: int
    token: str | None = None
    ascending: bool = True


class Database:
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
        """Find damage now rather than in the middle of a lesson."""
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
                "its folder readable and writable for you, see that the disk is not full and no "
                "other creeklab has it open, or choose another home folder."
            )
        return self._damaged(error)

    def _damaged(self, problem: object) -> DatabaseError:
        return DatabaseError(
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
