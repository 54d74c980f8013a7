"""What has happened in the registry, as values: the news that AWS IoT makes event messages of.

Each is told after the change is committed. `operation` is in the words of the messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from creeklab.cloud.registry.records import Thing, ThingGroup, ThingType

Kept = Literal["CREATED", "UPDATED", "DELETED"]
Joined = Literal["ADDED", "REMOVED"]


@dataclass(frozen=True, slots=True)
class ThingNews:
    """A Thing as it is after the change; a deleted one as it was."""

    operation: Kept
    thing: Thing


@dataclass(frozen=True, slots=True)
class TypeNews:
    """A thing type was made, deprecated or taken back into use, or deleted."""

    operation: Kept
    type: ThingType


@dataclass(frozen=True, slots=True)
class AssociationNews:
    """A Thing was given a type, or its type was taken away."""

    operation: Literal["CREATED", "DELETED"]
    thing: Thing
    type: str


@dataclass(frozen=True, slots=True)
class GroupNews:
    """A thing group; `lineage` are its ancestors, its parent first."""

    operation: Kept
    group: ThingGroup
    lineage: tuple[ThingGroup, ...]


@dataclass(frozen=True, slots=True)
class MembershipNews:
    """A Thing was put into a group or taken out; `id` is that of the membership."""

    operation: Joined
    thing: Thing
    group: ThingGroup
    id: str


@dataclass(frozen=True, slots=True)
class HierarchyNews:
    """A group was made inside another, or deleted from it."""

    operation: Joined
    parent: ThingGroup
    child: ThingGroup


News = ThingNews | TypeNews | AssociationNews | GroupNews | MembershipNews | HierarchyNews
