"""Static thing groups: trees of groups, and the Things in them.

The parent of a group is set when the group is created and cannot change. A Thing can be in ten
groups, but only in one of each tree (developer guide, "Static thing groups"; AWS IoT limits, "Thing
group limits").
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace

from creeklab.cloud.registry import attributes as rules
from creeklab.cloud.registry.changes import HierarchyChanged, MembershipChanged, ThingGroupChanged
from creeklab.cloud.registry.records import Thing, ThingGroup, insert
from creeklab.cloud.registry.tags import Tags
from creeklab.cloud.registry.things import Things
from creeklab.cloud.registry.unit_of_work import (
    BEGINS,
    Listed,
    UnitOfWork,
    already_exists,
    exists,
    invalid,
    require_version,
)
from creeklab.cloud.storage.database import Page

MAX_DEPTH = 7  # of a tree, including its root
MAX_CHILDREN = 100  # directly below one group
MAX_GROUPS = 10  # of one Thing

LINEAGE = """
    WITH RECURSIVE lineage (name) AS (
        SELECT {start}
        UNION SELECT parent FROM thing_groups AS child JOIN lineage ON child.name = lineage.name
    ) SELECT name FROM lineage
"""
"""Query for a group and its ancestors; AWS nests groups at most seven levels deep."""

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

    def __init__(self, work: UnitOfWork, tags: Tags, things: Things) -> None:
        self._work = work
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
        """Create a group, or return an existing one with the same properties."""
        wanted = rules.changed({}, attributes, merge=False)
        rules.check(wanted, rules.GROUP)
        with self._work.transaction(affects_authorization=False) as db:
            present = self.find(name)
            if present is not None:
                same = (present.parent, present.description, present.attributes)
                if same == (parent, description, wanted):
                    return present
                raise already_exists(
                    f"Thing Group {name} already exists in current account with different "
                    "properties",
                    present.id,
                    self._work.arn("thinggroup", name),
                )
            lineage = self._lineage_below(db, parent) if parent else ()
            group = ThingGroup(
                name, str(uuid.uuid4()), parent, 1, description, wanted, self._work.clock()
            )
            insert(db, group)
            self._tags.put_on_new(db, "thinggroup", name, tags)
            self._work.emit(ThingGroupChanged("CREATED", group, lineage))
            if lineage:
                self._work.emit(HierarchyChanged("ADDED", lineage[0], group))
        return group

    def _lineage_below(self, db: sqlite3.Connection, parent: str) -> tuple[ThingGroup, ...]:
        """Return the lineage of a new child of `parent`; raise if no more child is allowed."""
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
                "has that many."
            )
        return lineage

    def find(self, name: str) -> ThingGroup | None:
        """Return a group, or None if there is no group of this name."""
        return self._work.find(ThingGroup, name)

    def get(self, name: str) -> ThingGroup:
        """Return a group."""
        return self._work.get(ThingGroup, name, f"The thing group {name} does not exist.")

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
        """List the names of groups, of those below `parent`, or of those that begin with `prefix`.

        Parameters
        ----------
        recursive
            Whether to list groups at any depth, or only the first level. None means any depth
            without a parent, and the first level below a parent, as the developer guide shows.
        """
        if parent is not None:
            self.get(parent)
            level = f":group IN ({LINEAGE})" if recursive else "parent = :group"
        else:
            level = "parent IS NULL" if recursive is False else "TRUE"
        rows, token = self._work.database.page(
            "SELECT name, parent FROM thing_groups",
            "name",
            page,
            f"{level.format(start='thing_groups.parent')} AND {BEGINS}",
            scan="thing_groups" if recursive is not None else None,
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
        """Change the description or attributes of a group; return its new version."""
        with self._work.transaction(affects_authorization=False) as db:
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
            self._work.emit(ThingGroupChanged("UPDATED", after, self.lineage(after)))
        return after.version

    def delete(self, name: str, expected_version: int | None = None) -> None:
        """Delete a group that has no child group; a missing group is not an error.

        Its Things leave it, and its policies are detached (developer guide, same page).
        """
        with self._work.transaction() as db:
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
                self._work.emit(HierarchyChanged("REMOVED", lineage[0], group))
            self._work.emit(ThingGroupChanged("DELETED", group, lineage))

    # --- members ------------------------------------------------------------------------------

    def change_membership(
        self, thing: str, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> None:
        """Remove a Thing from groups and add it to others, in one transaction.

        It is not an error if the Thing is already in a group to add, or not in one to remove.
        """
        with self._work.transaction() as db:
            left, entered = [self.get(name) for name in remove], [self.get(name) for name in add]
            member = self._things.get(thing)
            for group in left:
                self._remove(db, group, member)
            for group in entered:
                self._add(db, group, member)

    def _add(self, db: sqlite3.Connection, into: ThingGroup, member: Thing) -> None:
        thing, group = member.name, into.name
        rows = db.execute("SELECT thing_group FROM group_members WHERE thing = ?", (thing,))
        present = [row["thing_group"] for row in rows]
        if group in present:
            return
        if len(present) >= MAX_GROUPS:
            raise invalid(
                f"A thing can be in at most {MAX_GROUPS} thing groups, and {thing} is in that many."
            )
        self._check_other_trees(into, member, present)
        membership = str(uuid.uuid4())
        db.execute(
            "INSERT INTO group_members (thing, thing_group, id) VALUES (?, ?, ?)",
            (thing, group, membership),
        )
        self._work.emit(MembershipChanged("ADDED", member, into, membership))

    def _check_other_trees(self, into: ThingGroup, thing: Thing, present: list[str]) -> None:
        """Raise if one of the Thing's groups is in the same tree."""
        root = (into, *self.lineage(into))[-1].name
        for name in present:
            other = self.get(name)
            if (other, *self.lineage(other))[-1].name == root:
                raise invalid(
                    f"Thing {thing.name} is in group {name} of the hierarchy of {root}, and a "
                    "thing can be in one group of a hierarchy only. Remove it there first."
                )

    def _remove(self, db: sqlite3.Connection, left: ThingGroup, member: Thing) -> None:
        row = db.execute(
            "DELETE FROM group_members WHERE thing_group = ? AND thing = ? RETURNING id",
            (left.name, member.name),
        ).fetchone()
        if row is not None:
            self._work.emit(MembershipChanged("REMOVED", member, left, row["id"]))

    def things_in(self, group: str, page: Page, *, recursive: bool = False) -> Listed[str]:
        """List the names of the Things of a group, and of all groups below it if `recursive`."""
        self.get(group)
        within = f":group IN ({LINEAGE.format(start='group_members.thing_group')})"
        rows, token = self._work.database.page(
            "SELECT thing FROM group_members",
            "thing",
            page,
            within if recursive else "thing_group = :group",
            scan="group_members" if recursive else None,
            group=group,
        )
        return [row["thing"] for row in rows], token

    def groups_of(self, thing: str, page: Page) -> Listed[str]:
        """List the names of the groups that a Thing is in, and of their ancestors."""
        self._things.get(thing)
        rows, token = self._work.database.page(
            "SELECT name FROM thing_groups", "name", page, f"name IN ({AROUND})", thing=thing
        )
        return [row["name"] for row in rows], token
