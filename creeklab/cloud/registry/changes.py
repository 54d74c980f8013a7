"""What has happened in the registry, as values: the news that AWS IoT makes event messages of.

Each is told after the change is committed. `operation` is in the words of the messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from creeklab.cloud.registry.records import Thing, ThingGroup, ThingType

ChangeKind = Literal["CREATED", "UPDATED", "DELETED"]
MembershipChange = Literal["ADDED", "REMOVED"]


@dataclass(frozen=True, slots=True)
class ThingChanged:
    """A Thing as it is after the change; a deleted one as it was."""

    operation: ChangeKind
    thing: Thing


@dataclass(frozen=True, slots=True)
class ThingTypeChanged:
    """A thing type was made, deprecated or taken back into use, or deleted."""

    operation: ChangeKind
    type: ThingType


@dataclass(frozen=True, slots=True)
class AssociationChanged:
    """A Thing was given a type, or its type was taken away."""

    operation: Literal["CREATED", "DELETED"]
    thing: Thing
    type: str


@dataclass(frozen=True, slots=True)
class ThingGroupChanged:
    """A thing group; `lineage` are its ancestors, its parent first."""

    operation: ChangeKind
    group: ThingGroup
    lineage: tuple[ThingGroup, ...]


@dataclass(frozen=True, slots=True)
class MembershipChanged:
    """A Thing was put into a group or taken out; `id` is that of the membership."""

    operation: MembershipChange
    thing: Thing
    group: ThingGroup
    id: str


@dataclass(frozen=True, slots=True)
class HierarchyChanged:
    """A group was made inside another, or deleted from it."""

    operation: MembershipChange
    parent: ThingGroup
    child: ThingGroup


Change = (
    ThingChanged
    | ThingTypeChanged
    | AssociationChanged
    | ThingGroupChanged
    | MembershipChanged
    | HierarchyChanged
)
