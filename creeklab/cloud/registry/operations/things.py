"""Operations on Things and the certificates attached to them."""

from __future__ import annotations

from creeklab.cloud.registry.operations.base import (
    DEFAULT_PAGE,
    Members,
    Operations,
    listing,
    raise_not_found,
)
from creeklab.cloud.registry.records import Thing
from creeklab.cloud.registry.unit_of_work import invalid
from creeklab.cloud.storage.database import Page


class ThingOperations(Operations):
    """Things and their principals."""

    def create_thing(
        self,
        *,
        thingName: str,
        thingTypeName: str | None = None,
        attributePayload: Members | None = None,
        billingGroupName: str | None = None,
    ) -> Members:
        """Create a Thing."""
        raise_not_found("billing group", billingGroupName)
        attributes = (attributePayload or {}).get("attributes", {})
        thing = self._registry.things.create(thingName, attributes, thingTypeName)
        return {
            "thingName": thing.name,
            "thingArn": self._registry.arn("thing", thing.name),
            "thingId": thing.id,
        }

    def describe_thing(self, *, thingName: str) -> Members:
        """Return a Thing."""
        thing = self._registry.things.get(thingName)
        return {
            **self._thing(thing),
            "thingId": thing.id,
            "defaultClientId": thing.name,
        }

    def update_thing(
        self,
        *,
        thingName: str,
        thingTypeName: str | None = None,
        attributePayload: Members | None = None,
        expectedVersion: int | None = None,
        removeThingType: bool = False,
    ) -> Members:
        """Change the attributes of a Thing, or its type."""
        payload = attributePayload or {}
        self._registry.things.update(
            thingName,
            payload.get("attributes"),
            merge=payload.get("merge", False),
            expected_version=expectedVersion,
            thing_type=thingTypeName,
            remove_type=removeThingType,
        )
        return {}

    def delete_thing(self, *, thingName: str, expectedVersion: int | None = None) -> Members:
        """Delete a Thing."""
        self._registry.things.delete(thingName, expectedVersion)
        return {}

    def list_things(
        self,
        *,
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
        attributeName: str | None = None,
        attributeValue: str | None = None,
        thingTypeName: str | None = None,
        usePrefixAttributeValue: bool = False,
    ) -> Members:
        """List the Things."""
        if attributeName is None and attributeValue is not None:
            raise invalid("attributeValue needs attributeName beside it.")
        things, token = self._registry.things.page(
            Page(maxResults, nextToken),
            attributeName,
            attributeValue,
            usePrefixAttributeValue,
            thingTypeName,
        )
        return listing("things", map(self._thing, things), nextToken=token)

    def _thing(self, thing: Thing) -> Members:
        return {
            **({"thingTypeName": thing.type} if thing.type else {}),
            "thingName": thing.name,
            "thingArn": self._registry.arn("thing", thing.name),
            "attributes": thing.attributes,
            "version": thing.version,
        }

    # --- things and their principals ----------------------------------------------------------

    def attach_thing_principal(
        self, *, thingName: str, principal: str, thingPrincipalType: str | None = None
    ) -> Members:
        """Attach a certificate to a Thing."""
        self._registry.thing_principals.attach(thingName, principal, thingPrincipalType)
        return {}

    def detach_thing_principal(self, *, thingName: str, principal: str) -> Members:
        """Detach a certificate from a Thing."""
        self._registry.thing_principals.detach(thingName, principal)
        return {}

    def list_thing_principals(
        self, *, thingName: str, nextToken: str | None = None, maxResults: int = DEFAULT_PAGE
    ) -> Members:
        """List the certificates of a Thing."""
        found, token = self._registry.thing_principals.of_thing(
            thingName, Page(maxResults, nextToken)
        )
        return listing("principals", (principal for principal, _ in found), nextToken=token)

    def list_thing_principals_v2(
        self,
        *,
        thingName: str,
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
        thingPrincipalType: str | None = None,
    ) -> Members:
        """List the certificates of a Thing with their kind of attachment."""
        found, token = self._registry.thing_principals.of_thing(
            thingName, Page(maxResults, nextToken), thingPrincipalType
        )
        objects = ({"principal": name, "thingPrincipalType": kind} for name, kind in found)
        return listing("thingPrincipalObjects", objects, nextToken=token)

    def list_principal_things(
        self, *, principal: str, nextToken: str | None = None, maxResults: int = DEFAULT_PAGE
    ) -> Members:
        """List the Things of a certificate."""
        found, token = self._registry.thing_principals.things_of(
            principal, Page(maxResults, nextToken)
        )
        return listing("things", (thing for thing, _ in found), nextToken=token)

    def list_principal_things_v2(
        self,
        *,
        principal: str,
        nextToken: str | None = None,
        maxResults: int = DEFAULT_PAGE,
        thingPrincipalType: str | None = None,
    ) -> Members:
        """List the Things of a certificate with their kind of attachment."""
        found, token = self._registry.thing_principals.things_of(
            principal, Page(maxResults, nextToken), thingPrincipalType
        )
        objects = ({"thingName": name, "thingPrincipalType": kind} for name, kind in found)
        return listing("principalThingObjects", objects, nextToken=token)
