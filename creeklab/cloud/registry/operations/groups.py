"""Operations on thing types and thing groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from creeklab.cloud.registry.operations.base import (
    DEFAULT_PAGE,
    Members,
    Operations,
    listing,
    parse_tags,
)
from creeklab.cloud.registry.records import ThingType
from creeklab.cloud.registry.unit_of_work import invalid
from creeklab.cloud.storage.database import Page


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

    def list_thing_types(
        self,
        *,
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
        thingTypeName: str = "",
    ) -> Members:
        """List the thing types, or those whose names begin with a text."""
        found, token = self._registry.thing_types.page(Page(maxResults, nextToken), thingTypeName)
        return listing("thingTypes", map(self._type, found), nextToken=token)

    def deprecate_thing_type(self, *, thingTypeName: str, undoDeprecate: bool = False) -> Members:
        """Deprecate a thing type, or undo that."""
        self._registry.thing_types.deprecate(thingTypeName, undo=undoDeprecate)
        return {}

    def delete_thing_type(self, *, thingTypeName: str) -> Members:
        """Delete a deprecated thing type."""
        self._registry.thing_types.delete(thingTypeName)
        return {}

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
        lineage = [above.name for above in reversed(self._registry.groups.lineage(group))]
        metadata: Members = {"creationDate": group.created}
        if group.parent is not None:
            metadata |= {
                "parentGroupName": group.parent,
                "rootToParentThingGroups": self._groups(lineage),
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
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
        parentGroup: str | None = None,
        namePrefixFilter: str = "",
        recursive: bool | None = None,
    ) -> Members:
        """List the thing groups."""
        names, token = self._registry.groups.page(
            Page(maxResults, nextToken),
            parent=parentGroup,
            prefix=namePrefixFilter,
            recursive=recursive,
        )
        return listing("thingGroups", self._groups(names), nextToken=token)

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
    ) -> Members:
        """Delete a thing group."""
        self._registry.groups.delete(thingGroupName, expectedVersion)
        return {}

    def _groups(self, names: Iterable[str]) -> list[Members]:
        return [
            {"groupName": name, "groupArn": self._registry.arn("thinggroup", name)}
            for name in names
        ]

    # --- things in groups ---------------------------------------------------------------------

    def add_thing_to_thing_group(
        self,
        *,
        thingGroupName: str | None = None,
        thingGroupArn: str | None = None,
        thingName: str | None = None,
        thingArn: str | None = None,
        overrideDynamicGroups: bool = False,
    ) -> Members:
        """Add a Thing to a thing group; there are no dynamic groups to override."""
        self._registry.groups.add(
            self._name("thingGroup", "thinggroup", thingGroupName, thingGroupArn),
            self._name("thing", "thing", thingName, thingArn),
        )
        return {}

    def remove_thing_from_thing_group(
        self,
        *,
        thingGroupName: str | None = None,
        thingGroupArn: str | None = None,
        thingName: str | None = None,
        thingArn: str | None = None,
    ) -> Members:
        """Remove a Thing from a thing group."""
        self._registry.groups.remove(
            self._name("thingGroup", "thinggroup", thingGroupName, thingGroupArn),
            self._name("thing", "thing", thingName, thingArn),
        )
        return {}

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
        self,
        *,
        thingGroupName: str,
        recursive: bool = False,
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
    ) -> Members:
        """List the Things of a thing group, and of the groups below it if recursive."""
        things, token = self._registry.groups.things_in(
            thingGroupName, Page(maxResults, nextToken), recursive=recursive
        )
        return listing("things", things, nextToken=token)

    def list_thing_groups_for_thing(
        self, *, thingName: str, nextToken: str | None = None, maxResults: int = DEFAULT_PAGE
    ) -> Members:
        """List the thing groups that a Thing is in, and the groups above them."""
        names, token = self._registry.groups.groups_of(thingName, Page(maxResults, nextToken))
        return listing("thingGroups", self._groups(names), nextToken=token)
