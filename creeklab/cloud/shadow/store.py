"""The table of shadows.

A deleted shadow stays as a tombstone for 48 hours, because a shadow that is re-created in that time
continues its version numbers (developer guide, "Device Shadow service data flow").
"""

from __future__ import annotations

from creeklab.cloud.shadow.document import Shadow
from creeklab.cloud.storage.database import Database

REMEMBER_DELETED_SECONDS = 48 * 3600


class ShadowStore:
    """The shadows of one account. The classic shadow of a Thing has the name ``""``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, thing: str, name: str, now: float) -> tuple[Shadow | None, int]:
        """Return a shadow, and the version of a deleted one that a new one continues from."""
        row = self._database.execute(
            "SELECT document, version, deleted_at FROM shadows WHERE thing = ? AND name = ?",
            (thing, name),
        ).fetchone()
        if row is None:
            return None, 0
        document, version, deleted_at = row
        if deleted_at is None:
            return Shadow.from_json(document), 0
        return None, version if now - deleted_at < REMEMBER_DELETED_SECONDS else 0

    def save(self, thing: str, name: str, shadow: Shadow) -> None:
        """Save a shadow."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO shadows (thing, name, document, version, deleted_at) "
                "VALUES (?, ?, ?, ?, NULL) ON CONFLICT (thing, name) DO UPDATE SET "
                "document = excluded.document, version = excluded.version, deleted_at = NULL",
                (thing, name, shadow.to_json(), shadow.version),
            )

    def delete(self, thing: str, name: str, now: float) -> None:
        """Replace a shadow by its tombstone."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE shadows SET document = '', deleted_at = ? WHERE thing = ? AND name = ?",
                (now, thing, name),
            )

    def names(self, thing: str, after: str, limit: int) -> list[str]:
        """Return up to `limit` names of the Thing's named shadows that sort after `after`."""
        rows = self._database.execute(
            "SELECT name FROM shadows WHERE thing = ? AND name > ? AND deleted_at IS NULL "
            "ORDER BY name LIMIT ?",
            (thing, after, limit),
        )
        return [row[0] for row in rows]

    def purge(self, now: float) -> None:
        """Remove the tombstones that are no longer needed."""
        with self._database.transaction() as db:
            db.execute(
                "DELETE FROM shadows WHERE deleted_at <= ?", (now - REMEMBER_DELETED_SECONDS,)
            )
