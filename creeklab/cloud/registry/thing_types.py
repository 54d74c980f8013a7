"""Thing types: what Things of one kind have in common.

A type is deleted in two steps: it must be deprecated first, and can be deleted five minutes later
if no Thing has it (developer guide, "Thing types").
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from creeklab.cloud.registry.changes import ThingTypeChanged
from creeklab.cloud.registry.records import ThingType, insert
from creeklab.cloud.registry.tags import Tags
from creeklab.cloud.registry.unit_of_work import (
    BEGINS,
    Listed,
    UnitOfWork,
    already_exists,
    exists,
    invalid,
)
from creeklab.cloud.storage.database import Page

MAX_SEARCHABLE = 3
DELETION_DELAY = 300  # seconds after deprecation


class ThingTypes:
    """The thing types of one account."""

    def __init__(self, work: UnitOfWork, tags: Tags) -> None:
        self._work = work
        self._tags = tags

    def create(
        self, name: str, properties: Mapping[str, Any], tags: Mapping[str, str]
    ) -> ThingType:
        """Create a thing type, or return an existing one with the same properties."""
        _check(properties)
        with self._work.transaction(affects_authorization=False) as db:
            present = self.find(name)
            if present is not None:
                if present.properties == properties:
                    return present
                raise already_exists(
                    f"Thing Type {name} already exists in current account with different "
                    "properties",
                    present.id,
                    self._work.arn("thingtype", name),
                )
            thing_type = ThingType(
                name, str(uuid.uuid4()), dict(properties), self._work.clock(), None
            )
            insert(db, thing_type)
            self._tags.put_on_new(db, "thingtype", name, tags)
            self._work.emit(ThingTypeChanged("CREATED", thing_type))
        return thing_type

    def find(self, name: str) -> ThingType | None:
        """Return a thing type, or None if there is no type of this name."""
        return self._work.find(ThingType, name)

    def get(self, name: str) -> ThingType:
        """Return a thing type."""
        return self._work.get(ThingType, name, f"The thing type {name} does not exist.")

    def page(self, page: Page, prefix: str = "") -> Listed[ThingType]:
        """List thing types by name, only those whose names begin with `prefix`."""
        return self._work.page(ThingType, page, BEGINS, prefix=prefix)

    def update(self, name: str, properties: Mapping[str, Any]) -> None:
        """Replace the given properties of a type; the others stay as they are."""
        _check(properties)
        with self._work.transaction(affects_authorization=False) as db:
            thing_type = self.get(name)
            after = replace(thing_type, properties={**thing_type.properties, **properties})
            db.execute(
                "UPDATE thing_types SET properties = ? WHERE name = ?",
                (json.dumps(after.properties), name),
            )
            self._work.emit(ThingTypeChanged("UPDATED", after))

    def deprecate(self, name: str, *, undo: bool) -> None:
        """Deprecate a type, so that no further Thing can have it, or undo that."""
        with self._work.transaction(affects_authorization=False) as db:
            thing_type = self.get(name)
            if (thing_type.deprecated is None) == undo:
                return
            since = None if undo else self._work.clock()
            db.execute("UPDATE thing_types SET deprecated = ? WHERE name = ?", (since, name))
            self._work.emit(ThingTypeChanged("UPDATED", replace(thing_type, deprecated=since)))

    def delete(self, name: str) -> None:
        """Delete a type that was deprecated at least five minutes ago and that no Thing has."""
        with self._work.transaction(affects_authorization=False) as db:
            thing_type = self.get(name)
            if thing_type.deprecated is None:
                raise invalid(
                    f"The thing type {name} is not deprecated. Deprecate it with "
                    "deprecate_thing_type first; five minutes later it can be deleted."
                )
            remaining = thing_type.deprecated + DELETION_DELAY - self._work.clock()
            if remaining > 0:
                raise invalid(
                    f"The thing type {name} can be deleted five minutes after it was deprecated. "
                    f"Wait {remaining:.0f} more seconds."
                )
            if exists(db, "SELECT 1 FROM things WHERE type = ?", name):
                raise invalid(
                    f"Cannot delete. Thing type {name} is still associated with one or more "
                    "things. Remove it from them with update_thing and removeThingType."
                )
            db.execute("DELETE FROM thing_types WHERE name = ?", (name,))
            self._work.emit(ThingTypeChanged("DELETED", thing_type))


def _check(properties: Mapping[str, Any]) -> None:
    if len(properties.get("searchableAttributes", ())) > MAX_SEARCHABLE:
        raise invalid(
            f"A thing type can have at most {MAX_SEARCHABLE} searchableAttributes; the other "
            "attributes of its things need not be listed."
        )
