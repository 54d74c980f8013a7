"""Changes of the registry as values, from which AWS IoT makes its registry events.

Listeners receive them after the change is committed. `operation` has the value that it has in the
event messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from creeklab.cloud.registry.records import Thing, ThingGroup, ThingType

ChangeKind = Literal["CREATED", "UPDATED", "DELETED"]
MembershipChange = Literal["ADDED", "REMOVED"]


@dataclass(frozen=True, slots=True)
class ThingChanged:
    """A Thing after the change, or before its deletion."""

    operation: ChangeKind
    thing: Thing


@dataclass(frozen=True, slots=True)
class ThingTypeChanged:
    """A thing type was created, deprecated, undeprecated or deleted."""

    operation: ChangeKind
    type: ThingType


@dataclass(frozen=True, slots=True)
class AssociationChanged:
    """A Thing was given a type, or lost it."""

    operation: Literal["CREATED", "DELETED"]
    thing: Thing
    type: str


@dataclass(frozen=True, slots=True)
class ThingGroupChanged:
    """A thing group was created, updated or deleted; `lineage` has its ancestors, parent first."""

    operation: ChangeKind
    group: ThingGroup
    lineage: tuple[ThingGroup, ...]


@dataclass(frozen=True, slots=True)
class MembershipChanged:
    """A Thing was added to a group or removed from it; `id` identifies the membership."""

    operation: MembershipChange
    thing: Thing
    group: ThingGroup
    id: str


@dataclass(frozen=True, slots=True)
class HierarchyChanged:
    """A group was created below another one, or deleted from it."""

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
