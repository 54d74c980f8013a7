"""What the rooms of the registry share: the file, the clock, ARNs, and how a change is made.

A change is one transaction, committed before the method that makes it returns. Once it is, those
who must know are told: listeners that what a connection may do may have changed, watchers what
has happened.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.changes import Change
from creeklab.cloud.storage.database import Database

Item = TypeVar("Item")
Listed = tuple[list[Item], str | None]
"""One page of a list, and the token of the next page if there is one."""

_ARN = re.compile(r"(arn:[^:]*:iot:[^:]*:[^:]*:)([a-z]+)/(.+)", re.DOTALL)


class UnitOfWork:
    """The file of one account, and what its ARNs are made of.

    Attributes
    ----------
    listeners
        Called after each committed change that can alter what a connection may do.
    watchers
        Called with each piece of news, once it is committed.
    """

    def __init__(
        self,
        store: Database,
        *,
        account: str,
        region: str,
        partition: str,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.clock = clock
        self.listeners: list[Callable[[], None]] = []
        self.watchers: list[Callable[[Change], None]] = []
        self._news: list[Change] = []
        self._arn_prefix = f"arn:{partition}:iot:{region}:{account}:"

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource of a kind such as ``thing``, ``cert`` or ``policy``."""
        return f"{self._arn_prefix}{kind}/{name}"

    def parse_arn(self, arn: str) -> tuple[str, str, bool] | None:
        """Return kind and name that an ARN of AWS IoT names, and whether it is of this account.

        None if it is no ARN of AWS IoT.
        """
        match = _ARN.fullmatch(arn)
        return None if match is None else (match[2], match[3], match[1] == self._arn_prefix)

    @contextmanager
    def transaction(self, *, rights: bool = True) -> Iterator[sqlite3.Connection]:
        """Open a transaction, and tell of the change once it is committed.

        Parameters
        ----------
        rights
            Whether it can alter what a connection may do.
        """
        self._news = []
        with self.store.transaction() as db:
            yield db
        if rights:
            for listener in self.listeners:
                listener()
        for news in self._news:
            for watcher in self.watchers:
                watcher(news)

    def emit(self, news: Change) -> None:
        """Have the watchers told of this if the transaction that is open goes well."""
        self._news.append(news)


def exists(db: sqlite3.Connection | Database, select: str, *keys: str) -> bool:
    """Tell whether a query has a row."""
    return db.execute(select, keys).fetchone() is not None


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
    """Refuse a change that was meant for another version."""
    if expected not in (None, version):
        raise ServiceError(
            "VersionConflictException",
            f"The version for {kind} {name} does not match the expected version.",
        )
