"""Tags: keys and values on policies, thing groups, thing types and topic rules.

As on AWS, Things and certificates cannot have tags (API reference: the create calls with ``tags``).
A trigger in the database deletes the tags of a deleted resource: a new resource of the same name
must not inherit them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.unit_of_work import Listed, UnitOfWork, exists, invalid, not_found
from creeklab.cloud.storage.database import Page

NO_TAGS: Mapping[str, str] = {}
MAX_TAGS = 50  # of one resource
TABLES = {
    "policy": "policies",
    "thinggroup": "thing_groups",
    "thingtype": "thing_types",
    "rule": "topic_rules",
}
"""Tables of the resources that can have tags, by the kind in their ARN."""


class Tags:
    """The tags of one account."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    def put(self, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags to a resource, or replace the values of existing keys."""
        kind, name = self._resource(arn)
        _check_own(tags)
        with self._work.transaction(affects_authorization=False) as db:
            self._put(db, kind, name, tags)
            (count,) = db.execute(
                "SELECT count(*) FROM tags WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
            if count > MAX_TAGS:
                raise ServiceError(
                    "LimitExceededException",
                    f"A resource can have at most {MAX_TAGS} tags; this one would have {count}.",
                )

    def put_on_new(
        self, db: sqlite3.Connection, kind: str, name: str, tags: Mapping[str, str]
    ) -> None:
        """Put tags on a new resource, within the transaction that creates it."""
        _check_own(tags)
        if len(tags) > MAX_TAGS:
            raise invalid(
                f"A resource can have at most {MAX_TAGS} tags; this one would have {len(tags)}."
            )
        self._put(db, kind, name, tags)

    def _put(self, db: sqlite3.Connection, kind: str, name: str, tags: Mapping[str, str]) -> None:
        db.executemany(
            "INSERT INTO tags (kind, name, key, value) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET value = excluded.value",
            [(kind, name, key, value) for key, value in tags.items()],
        )

    def remove(self, arn: str, keys: Iterable[str]) -> None:
        """Remove tags from a resource; a missing tag is not an error."""
        kind, name = self._resource(arn)
        keys = tuple(keys)
        _check_own(keys)
        with self._work.transaction(affects_authorization=False) as db:
            db.executemany(
                "DELETE FROM tags WHERE kind = ? AND name = ? AND key = ?",
                [(kind, name, key) for key in keys],
            )

    def page(self, arn: str, page: Page) -> Listed[tuple[str, str]]:
        """List the tags of a resource as pairs of key and value, ordered by key."""
        kind, name = self._resource(arn)
        rows, token = self._work.database.page(
            "SELECT key, value FROM tags",
            "key",
            page,
            "kind = :kind AND name = :name",
            kind=kind,
            name=name,
        )
        return [(row["key"], row["value"]) for row in rows], token

    def _resource(self, arn: str) -> tuple[str, str]:
        kind, name, ours = self._work.parse_arn(arn) or ("", "", False)
        if kind not in TABLES:
            raise invalid(
                f"'{arn}' is not the ARN of a resource that can have tags. Only policies, thing "
                "groups, thing types and rules can have tags, as on AWS."
            )
        present = f"SELECT 1 FROM {TABLES[kind]} WHERE name = ?"
        if not ours or not exists(self._work.database, present, name):
            raise not_found(f"The resource {arn} does not exist.")
        return kind, name


def _check_own(keys: Iterable[str]) -> None:
    for key in keys:
        if key.lower().startswith("aws:"):
            raise invalid(f"The tag key '{key}' begins with 'aws:', which is reserved for AWS.")
