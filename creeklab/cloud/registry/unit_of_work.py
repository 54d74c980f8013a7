"""What the parts of the registry share: the database, the clock, ARNs, and how to make a change.

A change is one transaction, committed before the method that makes it returns. After the commit,
listeners learn that authorization may have changed, and which change it was.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from creeklab.cloud.account import AccountIdentity
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.changes import Change
from creeklab.cloud.registry.records import TABLES, Record, from_row
from creeklab.cloud.storage.database import Database, Page

Item = TypeVar("Item")
Listed = tuple[list[Item], str | None]
"""One page of a list, and the token of the next page if there is one."""

BEGINS = "name >= :prefix AND name < :prefix || char(1114111)"
"""Condition of the names that begin with ``:prefix``, which an index on the name answers."""

_ARN = re.compile(r"(arn:[^:]*:iot:[^:]*:[^:]*:)([a-z]+)/(.+)", re.DOTALL)


class UnitOfWork:
    """The database of one account, the prefix of its ARNs, and the listeners of `Registry`."""

    def __init__(
        self, database: Database, identity: AccountIdentity, clock: Callable[[], float]
    ) -> None:
        self.database = database
        self.clock = clock
        self.authorization_listeners: list[Callable[[], None]] = []
        self.change_listeners: list[Callable[[Change], None]] = []
        self._changes: list[Change] = []
        self._arn_prefix = identity.iot_arn

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource of a kind such as ``thing``, ``cert`` or ``policy``."""
        return f"{self._arn_prefix}{kind}/{name}"

    def parse_arn(self, arn: str) -> tuple[str, str, bool] | None:
        """Return the kind and name in an ARN of AWS IoT, and whether it is of this account.

        None if it is not an ARN of AWS IoT.
        """
        match = _ARN.fullmatch(arn)
        return None if match is None else (match[2], match[3], match[1] == self._arn_prefix)

    @contextmanager
    def transaction(self, *, affects_authorization: bool = True) -> Iterator[sqlite3.Connection]:
        """Open a transaction, and call the listeners after its commit.

        `affects_authorization`: whether the change can affect what a connection is allowed to do.
        """
        self._changes = []
        with self.database.transaction() as db:
            yield db
        if affects_authorization:
            for authorization_listener in self.authorization_listeners:
                authorization_listener()
        for change in self._changes:
            for change_listener in self.change_listeners:
                change_listener(change)

    def find(self, kind: type[Record], key: str, column: str = "name") -> Record | None:
        """Return the record with a key, or None if there is none."""
        row = self.database.execute(
            f"SELECT * FROM {TABLES[kind]} WHERE {column} = ?", (key,)
        ).fetchone()
        return None if row is None else from_row(kind, row)

    def get(self, kind: type[Record], key: str, missing: str, column: str = "name") -> Record:
        """Return the record with a key, or raise ``ResourceNotFoundException``."""
        record = self.find(kind, key, column)
        if record is None:
            raise not_found(missing)
        return record

    def page(
        self, kind: type[Record], page: Page, condition: str = "TRUE", key: str = "name", **of: Any
    ) -> Listed[Record]:
        """List records in the order of `key`, as `Database.page` does."""
        rows, token = self.database.page(
            f"SELECT * FROM {TABLES[kind]}", key, page, condition, **of
        )
        return [from_row(kind, row) for row in rows], token

    def emit(self, change: Change) -> None:
        """Pass a change to its listeners after the open transaction is committed."""
        self._changes.append(change)


def exists(db: sqlite3.Connection | Database, select: str, *keys: str) -> bool:
    """Return whether a query has a row."""
    return db.execute(select, keys).fetchone() is not None


def already_exists(message: str, key: str, arn: str) -> ServiceError:
    """Return ``ResourceAlreadyExistsException``, which names the resource."""
    return ServiceError("ResourceAlreadyExistsException", message, resourceId=key, resourceArn=arn)


def invalid(message: str) -> ServiceError:
    """Return ``InvalidRequestException``."""
    return ServiceError("InvalidRequestException", message)


def conflict(message: str) -> ServiceError:
    """Return ``DeleteConflictException``."""
    return ServiceError("DeleteConflictException", message)


def not_found(message: str) -> ServiceError:
    """Return ``ResourceNotFoundException``."""
    return ServiceError("ResourceNotFoundException", message)


def require_version(kind: str, name: str, version: int, expected: int | None) -> None:
    """Raise ``VersionConflictException`` if a change was meant for another version."""
    if expected not in (None, version):
        raise ServiceError(
            "VersionConflictException",
            f"The version for {kind} {name} does not match the expected version.",
        )
