"""Thing types: what Things of one kind have in common.

A type cannot be changed (but for its deprecation), and it is deleted in two steps: deprecated, and
five minutes later, when the last Thing has left it, deleted (developer guide, "Thing types").
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry.changes import ThingTypeChanged
from creeklab.cloud.registry.records import ThingType, from_row, insert
from creeklab.cloud.registry.tags import Tags
from creeklab.cloud.registry.unit_of_work import Listed, UnitOfWork, exists, invalid, not_found
from creeklab.cloud.storage.database import Page

MAX_SEARCHABLE = 3
REST_SECONDS = 300  # between deprecation and deletion


class ThingTypes:
    """The thing types of one account."""

    def __init__(self, books: UnitOfWork, tags: Tags) -> None:
        self._books = books
        self._tags = tags

    def create(
        self, name: str, properties: Mapping[str, Any], tags: Mapping[str, str]
    ) -> ThingType:
        """Create a thing type, or return the one that is there if its properties are the same."""
        if len(properties.get("searchableAttributes", ())) > MAX_SEARCHABLE:
            raise invalid(
                f"A thing type can have at most {MAX_SEARCHABLE} searchableAttributes; any other "
                "attribute of its things needs no mention."
            )
        with self._books.transaction(rights=False) as db:
            present = self.find(name)
            if present is not None:
                if present.properties == properties:
                    return present
                raise ServiceError(
                    "ResourceAlreadyExistsException",
                    f"Thing Type {name} already exists in current account with different "
                    "properties",
                    resourceId=present.id,
                    resourceArn=self._books.arn("thingtype", name),
                )
            made = ThingType(name, str(uuid.uuid4()), dict(properties), self._books.clock(), None)
            insert(db, "thing_types", asdict(made))
            self._tags.put_first(db, "thingtype", name, tags)
            self._books.emit(ThingTypeChanged("CREATED", made))
        return made

    def find(self, name: str) -> ThingType | None:
        """Return a thing type, or None if there is none of this name."""
        row = self._books.store.execute(
            "SELECT * FROM thing_types WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else from_row(ThingType, row)

    def get(self, name: str) -> ThingType:
        """Return a thing type."""
        thing_type = self.find(name)
        if thing_type is None:
            raise not_found(f"The thing type {name} does not exist.")
        return thing_type

    def page(self, page: Page, prefix: str = "") -> Listed[ThingType]:
        """List thing types by name, only those whose names begin with `prefix`."""
        rows, token = self._books.store.page(
            "SELECT * FROM thing_types",
            "name",
            page,
            "substr(name, 1, length(:prefix)) = :prefix",
            prefix=prefix,
        )
        return [from_row(ThingType, row) for row in rows], token

    def deprecate(self, name: str, *, undo: bool) -> None:
        """Bar a type from new Things, or let them have it again."""
        with self._books.transaction(rights=False) as db:
            thing_type = self.get(name)
            if (thing_type.deprecated is None) == undo:
                return
            since = None if undo else self._books.clock()
            db.execute("UPDATE thing_types SET deprecated = ? WHERE name = ?", (since, name))
            self._books.emit(ThingTypeChanged("UPDATED", replace(thing_type, deprecated=since)))

    def delete(self, name: str) -> None:
        """Delete a type that was deprecated five minutes ago and that no Thing has."""
        with self._books.transaction(rights=False) as db:
            thing_type = self.get(name)
            if thing_type.deprecated is None:
                raise invalid(
                    f"The thing type {name} is not deprecated. Deprecate it with "
                    "deprecate_thing_type first; five minutes later it can be deleted."
                )
            rest = thing_type.deprecated + REST_SECONDS - self._books.clock()
            if rest > 0:
                raise invalid(
                    f"The thing type {name} can be deleted five minutes after it was deprecated. "
                    f"Wait {rest:.0f} more seconds."
                )
            if exists(db, "SELECT 1 FROM things WHERE type = ?", name):
                raise invalid(
                    f"Cannot delete. Thing type {name} is still associated with one or more "
                    "things. Take it from them with update_thing and removeThingType."
                )
            db.execute("DELETE FROM thing_types WHERE name = ?", (name,))
            self._books.emit(ThingTypeChanged("DELETED", thing_type))
