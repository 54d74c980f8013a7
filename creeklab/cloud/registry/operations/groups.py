"""Operations on thing types and thing groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from creeklab.cloud.registry.operations.base import (
    Members,
    Operations,
    TokenPage,
    listing,
    parse_tags,
    read_page,
)
from creeklab.cloud.registry.records import ThingType
from creeklab.cloud.registry.unit_of_work import invalid


class GroupMember(TypedDict, total=False):
    """The members that name a thing group and a Thing, by name or ARN."""

    thingGroupName: str
    thingGroupArn: str
    thingName: str
    thingArn: str


class GroupOperations(Operations):
    """Thing types and thing groups."""

    def create_thing_type(
        self,
        *,
        thingTypeName: str,
        thingTypeProperties: Members | None = None,
        tags: Sequence[Members] = (),
    ) -> Members:
        """Create a thing type."""
        thing_type = self._registry.thing_types.create(
            thingTypeName, thingTypeProperties or {}, parse_tags(tags)
        )
        return {
            "thingTypeName": thing_type.name,
            "thingTypeArn": self._registry.arn("thingtype", thing_type.name),
            "thingTypeId": thing_type.id,
        }

    def describe_thing_type(self, *, thingTypeName: str) -> Members:
        """Return a thing type."""
        thing_type = self._registry.thing_types.get(thingTypeName)
        return {**self._type(thing_type), "thingTypeId": thing_type.id}

    def list_thing_types(self, *, thingTypeName: str = "", **page: Unpack[TokenPage]) -> Members:
        """List the thing types, or those whose names begin with a text."""
        types = self._registry.thing_types.page(read_page(page), thingTypeName)
        return listing("thingTypes", types, self._type)

    def update_thing_type(
        self, *, thingTypeName: str, thingTypeProperties: Members | None = None
    ) -> None:
        """Change the given properties of a thing type."""
        self._registry.thing_types.update(thingTypeName, thingTypeProperties or {})

    def deprecate_thing_type(self, *, thingTypeName: str, undoDeprecate: bool = False) -> None:
        """Deprecate a thing type, or undo that."""
        self._registry.thing_types.deprecate(thingTypeName, undo=undoDeprecate)

    def delete_thing_type(self, *, thingTypeName: str) -> None:
        """Delete a deprecated thing type."""
        self._registry.thing_types.delete(thingTypeName)

    def _type(self, thing_type: ThingType) -> Members:
        since = thing_type.deprecated
        return {
            "thingTypeName": thing_type.name,
            "thingTypeArn": self._registry.arn("thingtype", thing_type.name),
            "thingTypeProperties": thing_type.properties,
            "thingTypeMetadata": {
                "deprecated": since is not None,
                **({} if since is None else {"deprecationDate": since}),
                "creationDate": thing_type.created,
            },
        }

    # --- thing groups -------------------------------------------------------------------------

    def create_thing_group(
        self,
        *,
        thingGroupName: str,
        parentGroupName: str | None = None,
        thingGroupProperties: Members | None = None,
        tags: Sequence[Members] = (),
    ) -> Members:
        """Create a static thing group."""
        properties = thingGroupProperties or {}
        group = self._registry.groups.create(
            thingGroupName,
            parent=parentGroupName,
            description=properties.get("thingGroupDescription"),
            attributes=properties.get("attributePayload", {}).get("attributes", {}),
            tags=parse_tags(tags),
        )
        return {
            "thingGroupName": group.name,
            "thingGroupArn": self._registry.arn("thinggroup", group.name),
            "thingGroupId": group.id,
        }

    def describe_thing_group(self, *, thingGroupName: str) -> Members:
        """Return a thing group with its ancestors, the root first."""
        group = self._registry.groups.get(thingGroupName)
        metadata: Members = {"creationDate": group.created}
        if group.parent is not None:
            above = reversed(self._registry.groups.lineage(group))
            metadata |= {
                "parentGroupName": group.parent,
                "rootToParentThingGroups": [self._group(each.name) for each in above],
            }
        properties: Members = {}
        if group.description is not None:
            properties["thingGroupDescription"] = group.description
        if group.attributes:
            properties["attributePayload"] = {"attributes": group.attributes}
        return {
            "thingGroupName": group.name,
            "thingGroupId": group.id,
            "thingGroupArn": self._registry.arn("thinggroup", group.name),
            "version": group.version,
            "thingGroupProperties": properties,
            "thingGroupMetadata": metadata,
        }

    def list_thing_groups(
        self,
        *,
        parentGroup: str | None = None,
        namePrefixFilter: str = "",
        recursive: bool | None = None,
        **page: Unpack[TokenPage],
    ) -> Members:
        """List the thing groups."""
        names = self._registry.groups.page(
            read_page(page), parent=parentGroup, prefix=namePrefixFilter, recursive=recursive
        )
        return listing("thingGroups", names, self._group)

    def update_thing_group(
        self,
        *,
        thingGroupName: str,
        thingGroupProperties: Members,
        expectedVersion: int | None = None,
    ) -> Members:
        """Change the description or the attributes of a thing group."""
        payload = thingGroupProperties.get("attributePayload", {})
        version = self._registry.groups.update(
            thingGroupName,
            description=thingGroupProperties.get("thingGroupDescription"),
            attributes=payload.get("attributes"),
            merge=payload.get("merge", False),
            expected_version=expectedVersion,
        )
        return {"version": version}

    def delete_thing_group(
        self, *, thingGroupName: str, expectedVersion: int | None = None
    ) -> None:
        """Delete a thing group."""
        self._registry.groups.delete(thingGroupName, expectedVersion)

    def _group(self, name: str) -> Members:
        return {"groupName": name, "groupArn": self._registry.arn("thinggroup", name)}

    # --- things in groups ---------------------------------------------------------------------

    def add_thing_to_thing_group(
        self, *, overrideDynamicGroups: bool = False, **member: Unpack[GroupMember]
    ) -> None:
        """Add a Thing to a thing group; there are no dynamic groups to override."""
        group, thing = self._names(member)
        self._registry.groups.change_membership(thing, add=[group])

    def remove_thing_from_thing_group(self, **member: Unpack[GroupMember]) -> None:
        """Remove a Thing from a thing group."""
        group, thing = self._names(member)
        self._registry.groups.change_membership(thing, remove=[group])

    def update_thing_groups_for_thing(
        self,
        *,
        thingName: str | None = None,
        thingGroupsToAdd: Sequence[str] = (),
        thingGroupsToRemove: Sequence[str] = (),
        overrideDynamicGroups: bool = False,
    ) -> None:
        """Add a Thing to groups and remove it from others, all or none of them."""
        if thingName is None:
            raise invalid("thingName is empty. Name the Thing whose groups to update.")
        self._registry.groups.change_membership(thingName, thingGroupsToAdd, thingGroupsToRemove)

    def _names(self, member: GroupMember) -> tuple[str, str]:
        """Return the names of a group and a Thing."""
        group = member.get("thingGroupName"), member.get("thingGroupArn")
        thing = member.get("thingName"), member.get("thingArn")
        return (
            self._name("thingGroup", "thinggroup", *group),
            self._name("thing", "thing", *thing),
        )

    def _name(self, member: str, kind: str, name: str | None, arn: str | None) -> str:
        """Return a name that a request gives as a name, an ARN, or both."""
        if arn is None:
            if name is None:
                raise invalid(
                    f"Both {member}Arn and {member}Name are empty. Need to specify at least one "
                    "of them"
                )
            return name
        found = self._registry.parse_arn(arn)
        if found is None or found[0] != kind:
            raise invalid(f"'{arn}' is not the ARN of a {kind}.")
        _, named, ours = found
        if name not in (None, named) or not ours:
            raise invalid(
                f"The {member}Arn {arn} does not belong to the {member}Name {name}."
                if ours
                else f"The {member}Arn {arn} is of another account or region."
            )
        return named

    def list_things_in_thing_group(
        self, *, thingGroupName: str, recursive: bool = False, **page: Unpack[TokenPage]
    ) -> Members:
        """List the Things of a thing group, and of the groups below it if recursive."""
        things = self._registry.groups.things_in(
            thingGroupName, read_page(page), recursive=recursive
        )
        return listing("things", things)

    def list_thing_groups_for_thing(self, *, thingName: str, **page: Unpack[TokenPage]) -> Members:
        """List the thing groups that a Thing is in, and the groups above them."""
        names = self._registry.groups.groups_of(thingName, read_page(page))
        return listing("thingGroups", names, self._group)
