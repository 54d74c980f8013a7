"""Things: create, update, delete and list them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace

from creeklab.cloud.registry import attributes as rules
from creeklab.cloud.registry.changes import AssociationChanged, ThingChanged
from creeklab.cloud.registry.records import Thing, insert
from creeklab.cloud.registry.thing_types import ThingTypes
from creeklab.cloud.registry.unit_of_work import (
    Listed,
    UnitOfWork,
    already_exists,
    exists,
    invalid,
    require_version,
)
from creeklab.cloud.storage.database import Page


class Things:
    """The Things of one account."""

    def __init__(self, work: UnitOfWork, types: ThingTypes) -> None:
        self._work = work
        self._types = types

    def create(
        self, name: str, attributes: Mapping[str, str], thing_type: str | None = None
    ) -> Thing:
        """Create a Thing, or return an existing one with the same properties."""
        wanted = rules.changed({}, attributes, merge=False)
        rules.check(wanted, rules.TYPED if thing_type else rules.PLAIN)
        with self._work.transaction() as db:
            present = self.find(name)
            if present is not None:
                if (present.attributes, present.type) == (wanted, thing_type):
                    return present
                raise already_exists(
                    f"Thing {name} already exists in account with different attributes",
                    present.id,
                    self._work.arn("thing", name),
                )
            if thing_type and self._types.get(thing_type).deprecated is not None:
                # The typo is AWS's own.
                raise invalid(f"Can not create new thing with depreated thing type:{thing_type}")
            thing = Thing(name, str(uuid.uuid4()), 1, wanted, thing_type)
            insert(db, thing)
            self._work.emit(ThingChanged("CREATED", thing))
            if thing_type:
                self._work.emit(AssociationChanged("CREATED", thing, thing_type))
        return thing

    def find(self, name: str) -> Thing | None:
        """Return a Thing, or None if there is no Thing of this name."""
        return self._work.find(Thing, name)

    def count(self) -> int:
        """Return the number of Things."""
        row = self._work.database.execute("SELECT count(*) AS number FROM things").fetchone()
        return int(row["number"])

    def get(self, name: str) -> Thing:
        """Return a Thing."""
        return self._work.get(Thing, name, f"Thing {name} does not exist in your account")

    def page(
        self,
        page: Page,
        attribute: str | None = None,
        value: str | None = None,
        prefix: bool = False,
        thing_type: str | None = None,
    ) -> Listed[Thing]:
        """List Things by name: all, or those of a type, or those that have an attribute.

        The attribute must have the value or, if `prefix`, a value that begins with it.
        """
        conditions = []
        if thing_type is not None:
            conditions.append("type = :type")
        if attribute is not None:
            test = "substr(value, 1, length(:value)) = :value" if prefix else "value = :value"
            conditions.append(
                "EXISTS (SELECT 1 FROM json_each(attributes) "
                f"WHERE key = :attribute AND (:value IS NULL OR {test}))"
            )
        condition = " AND ".join(conditions) or "TRUE"
        scan = None if attribute is None else "things"
        return self._work.page(
            Thing, page, condition, scan=scan, attribute=attribute, value=value, type=thing_type
        )

    def update(
        self,
        name: str,
        attributes: Mapping[str, str] | None,
        *,
        merge: bool = False,
        expected_version: int | None = None,
        thing_type: str | None = None,
        remove_type: bool = False,
    ) -> None:
        """Update a Thing: replace or merge its attributes, set or remove its type.

        An attribute with the value '' is removed.
        """
        if thing_type and remove_type:
            raise invalid("A request names a thingTypeName or removeThingType, not both.")
        with self._work.transaction() as db:
            thing = self.get(name)
            require_version("thing", name, thing.version, expected_version)
            new_type = None if remove_type else thing_type or thing.type
            if (
                new_type
                and new_type != thing.type
                and self._types.get(new_type).deprecated is not None
            ):
                raise invalid(f"Can not update a thing to use deprecated thing type: {new_type}")
            after = replace(
                thing,
                version=thing.version + 1,
                attributes=rules.changed(thing.attributes, attributes, merge),
                type=new_type,
            )
            rules.check(after.attributes, rules.TYPED if new_type else rules.PLAIN)
            db.execute(
                "UPDATE things SET version = ?, attributes = ?, type = ? WHERE name = ?",
                (after.version, json.dumps(after.attributes), new_type, name),
            )
            self._work.emit(ThingChanged("UPDATED", after))
            if new_type != thing.type:
                if thing.type:
                    self._work.emit(AssociationChanged("DELETED", after, thing.type))
                if new_type:
                    self._work.emit(AssociationChanged("CREATED", after, new_type))

    def delete(self, name: str, expected_version: int | None = None) -> None:
        """Delete a Thing without principals; a missing Thing is not an error."""
        with self._work.transaction() as db:
            thing = self.find(name)
            if thing is None:
                return
            require_version("thing", name, thing.version, expected_version)
            if exists(db, "SELECT 1 FROM thing_principals WHERE thing = ?", name):
                raise invalid(
                    f"Cannot delete. Thing {name} is still attached to one or more principals",
                )
            db.execute("DELETE FROM things WHERE name = ?", (name,))
            self._work.emit(ThingChanged("DELETED", thing))
