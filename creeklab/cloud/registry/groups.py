"""Static thing groups: a tree of groups, and which Things are in them.

A group's parent is named when it is made and stays. A Thing can be in ten groups, but only in one
of each tree (developer guide, "Static thing groups"; AWS IoT limits, "Thing group limits").
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry import attributes as rules
from creeklab.cloud.registry.changes import HierarchyChanged, MembershipChanged, ThingGroupChanged
from creeklab.cloud.registry.records import Thing, ThingGroup, from_row, insert
from creeklab.cloud.registry.tags import Tags
from creeklab.cloud.registry.things import Things
from creeklab.cloud.registry.unit_of_work import (
    Listed,
    UnitOfWork,
    exists,
    invalid,
    not_found,
    require_version,
)
from creeklab.cloud.storage.database import Page

MAX_DEPTH = 7  # of a tree, its root counted
MAX_CHILDREN = 100  # directly below one group
MAX_GROUPS = 10  # that a Thing is in

BELOW = """
    WITH RECURSIVE below (name) AS (
        SELECT name FROM thing_groups WHERE parent = :group
        UNION SELECT child.name FROM thing_groups AS child JOIN below ON child.parent = below.name
    ) SELECT name FROM below
"""
"""The groups below the group ``:group``, however deep."""

ABOVE = """
    WITH RECURSIVE above (name) AS (
        SELECT :group
        UNION SELECT parent FROM thing_groups JOIN above USING (name) WHERE parent IS NOT NULL
    ) SELECT name FROM above
"""
"""The group ``:group`` and its ancestors."""

AROUND = """
    WITH RECURSIVE around (name) AS (
        SELECT thing_group FROM group_members WHERE thing = :thing
        UNION SELECT parent FROM thing_groups JOIN around USING (name) WHERE parent IS NOT NULL
    ) SELECT name FROM around
"""
"""The groups that the Thing ``:thing`` is in, and their ancestors."""


class Groups:
    """The static thing groups of one account."""

    def __init__(self, books: UnitOfWork, tags: Tags, things: Things) -> None:
        self._books = books
        self._tags = tags
        self._things = things

    def create(
        self,
        name: str,
        *,
        parent: str | None,
        description: str | None,
        attributes: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> ThingGroup:
        """Create a group, or return the one that is there if it is the same."""
        kept = rules.changed({}, attributes, merge=False)
        rules.check(kept, rules.GROUP)
        with self._books.transaction(rights=False) as db:
            present = self.find(name)
            if present is not None:
                same = (present.parent, present.description, present.attributes)
                if same == (parent, description, kept):
                    return present
                raise ServiceError(
                    "ResourceAlreadyExistsException",
                    f"Thing Group {name} already exists in current account with different "
                    "properties",
                    resourceId=present.id,
                    resourceArn=self._books.arn("thinggroup", name),
                )
            lineage = self._place(db, parent) if parent else ()
            made = ThingGroup(
                name, str(uuid.uuid4()), parent, 1, description, kept, self._books.clock()
            )
            insert(db, "thing_groups", asdict(made))
            self._tags.put_first(db, "thinggroup", name, tags)
            self._books.emit(ThingGroupChanged("CREATED", made, lineage))
            if lineage:
                self._books.emit(HierarchyChanged("ADDED", lineage[0], made))
        return made

    def _place(self, db: sqlite3.Connection, parent: str) -> tuple[ThingGroup, ...]:
        """Return the lineage of a new child of `parent`, if there is a place for it."""
        above = self.get(parent)
        lineage = (above, *self.lineage(above))
        if len(lineage) >= MAX_DEPTH:
            raise invalid(
                f"A hierarchy of thing groups can be at most {MAX_DEPTH} levels deep, and "
                f"{parent} is on the last."
            )
        (children,) = db.execute(
            "SELECT count(*) FROM thing_groups WHERE parent = ?", (parent,)
        ).fetchone()
        if children >= MAX_CHILDREN:
            raise invalid(
                f"A thing group can have at most {MAX_CHILDREN} direct child groups, and {parent} "
                "has them."
            )
        return lineage

    def find(self, name: str) -> ThingGroup | None:
        """Return a group, or None if there is none of this name."""
        row = self._books.store.execute(
            "SELECT * FROM thing_groups WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else from_row(ThingGroup, row)

    def get(self, name: str) -> ThingGroup:
        """Return a group."""
        group = self.find(name)
        if group is None:
            raise not_found(f"The thing group {name} does not exist.")
        return group

    def lineage(self, group: ThingGroup) -> tuple[ThingGroup, ...]:
        """Return the ancestors of a group, its parent first and the root last."""
        found: list[ThingGroup] = []
        while group.parent is not None:
            group = self.get(group.parent)
            found.append(group)
        return tuple(found)

    def page(
        self,
        page: Page,
        *,
        parent: str | None = None,
        prefix: str = "",
        recursive: bool | None = None,
    ) -> Listed[str]:
        """List the names of groups.

        Parameters
        ----------
        parent
            Only groups below this one.
        prefix
            Only groups whose names begin so.
        recursive
            Whether groups at any depth are meant, or only the first level. None means any depth
            without a parent, and the first level below one, as the developer guide shows it.
        """
        if parent is not None:
            self.get(parent)
            level = f"name IN ({BELOW})" if recursive else "parent = :group"
        else:
            level = "parent IS NULL" if recursive is False else "TRUE"
        rows, token = self._books.store.page(
            "SELECT name FROM thing_groups",
            "name",
            page,
            f"{level} AND substr(name, 1, length(:prefix)) = :prefix",
            group=parent,
            prefix=prefix,
        )
        return [row["name"] for row in rows], token

    def update(
        self,
        name: str,
        *,
        description: str | None,
        attributes: Mapping[str, str] | None,
        merge: bool,
        expected_version: int | None,
    ) -> int:
        """Change description or attributes of a group; return its new version."""
        with self._books.transaction(rights=False) as db:
            group = self.get(name)
            require_version("thing group", name, group.version, expected_version)
            after = replace(
                group,
                version=group.version + 1,
                description=group.description if description is None else description,
                attributes=rules.changed(group.attributes, attributes, merge),
            )
            rules.check(after.attributes, rules.GROUP)
            db.execute(
                "UPDATE thing_groups SET version = ?, description = ?, attributes = ? "
                "WHERE name = ?",
                (after.version, after.description, json.dumps(after.attributes), name),
            )
            self._books.emit(ThingGroupChanged("UPDATED", after, self.lineage(after)))
        return after.version

    def delete(self, name: str, expected_version: int | None = None) -> None:
        """Delete a group that has no child group; that it is not there is no error.

        Its Things leave it, and policies are detached from it (developer guide, same page).
        """
        with self._books.transaction() as db:
            group = self.find(name)
            if group is None:
                return
            require_version("thing group", name, group.version, expected_version)
            if exists(db, "SELECT 1 FROM thing_groups WHERE parent = ?", name):
                raise invalid(
                    f"Cannot delete thing group : {name} when there are still child groups "
                    "attached to it"
                )
            lineage = self.lineage(group)
            db.execute("DELETE FROM thing_groups WHERE name = ?", (name,))
            if lineage:
                self._books.emit(HierarchyChanged("REMOVED", lineage[0], group))
            self._books.emit(ThingGroupChanged("DELETED", group, lineage))

    # --- what is in them ----------------------------------------------------------------------

    def add(self, group: str, thing: str) -> None:
        """Put a Thing into a group; that it is in it already is no error."""
        with self._books.transaction() as db:
            into, member = self.get(group), self._things.get(thing)
            rows = db.execute("SELECT thing_group FROM group_members WHERE thing = ?", (thing,))
            present = [row["thing_group"] for row in rows]
            if group in present:
                return
            if len(present) >= MAX_GROUPS:
                raise invalid(
                    f"A thing can be in at most {MAX_GROUPS} thing groups, and {thing} is in them."
                )
            self._check_apart(into, member, present)
            membership = str(uuid.uuid4())
            row = {"thing": thing, "thing_group": group, "id": membership}
            insert(db, "group_members", row)
            self._books.emit(MembershipChanged("ADDED", member, into, membership))

    def _check_apart(self, into: ThingGroup, thing: Thing, present: list[str]) -> None:
        """Refuse a second group of the same tree."""
        root = (into, *self.lineage(into))[-1].name
        for name in present:
            other = self.get(name)
            if (other, *self.lineage(other))[-1].name == root:
                raise invalid(
                    f"Thing {thing.name} is in group {name} of the hierarchy of {root}, and a "
                    "thing can be in one group of a hierarchy only. Remove it there first."
                )

    def remove(self, group: str, thing: str) -> None:
        """Take a Thing out of a group; that it is not in it is no error."""
        with self._books.transaction() as db:
            left, member = self.get(group), self._things.get(thing)
            row = db.execute(
                "DELETE FROM group_members WHERE thing_group = ? AND thing = ? RETURNING id",
                (group, thing),
            ).fetchone()
            if row is not None:
                self._books.emit(MembershipChanged("REMOVED", member, left, row["id"]))

    def things_in(self, group: str, page: Page, *, recursive: bool = False) -> Listed[str]:
        """List the names of the Things of a group, and of all groups below it if `recursive`."""
        self.get(group)
        # The plus keeps SQLite from collecting and sorting all members for the sake of one page.
        which = (
            f"(+thing_group = :group OR +thing_group IN ({BELOW}))"
            if recursive
            else "thing_group = :group"
        )
        rows, token = self._books.store.page(
            "SELECT thing FROM group_members", "thing", page, which, group=group
        )
        return [row["thing"] for row in rows], token

    def groups_of(self, thing: str, page: Page) -> Listed[str]:
        """List the names of the groups that a Thing is in, and of their ancestors."""
        self._things.get(thing)
        rows, token = self._books.store.page(
            "SELECT name FROM thing_groups", "name", page, f"name IN ({AROUND})", thing=thing
        )
        return [row["name"] for row in rows], token
