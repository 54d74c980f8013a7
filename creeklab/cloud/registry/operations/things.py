"""Operations on Things and the certificates attached to them."""

from __future__ import annotations

from typing import Unpack

from creeklab.cloud.registry.operations.base import (
    Members,
    Operations,
    TokenPage,
    listing,
    raise_not_found,
    read_page,
)
from creeklab.cloud.registry.records import Thing
from creeklab.cloud.registry.unit_of_work import invalid


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
        arn = self._registry.arn("thing", thing.name)
        return {"thingName": thing.name, "thingArn": arn, "thingId": thing.id}

    def describe_thing(self, *, thingName: str) -> Members:
        """Return a Thing."""
        thing = self._registry.things.get(thingName)
        return {**self._thing(thing), "thingId": thing.id, "defaultClientId": thing.name}

    def update_thing(
        self,
        *,
        thingName: str,
        thingTypeName: str | None = None,
        attributePayload: Members | None = None,
        expectedVersion: int | None = None,
        removeThingType: bool = False,
    ) -> None:
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

    def delete_thing(self, *, thingName: str, expectedVersion: int | None = None) -> None:
        """Delete a Thing."""
        self._registry.things.delete(thingName, expectedVersion)

    def list_things(
        self,
        *,
        attributeName: str | None = None,
        attributeValue: str | None = None,
        thingTypeName: str | None = None,
        usePrefixAttributeValue: bool = False,
        **page: Unpack[TokenPage],
    ) -> Members:
        """List the Things."""
        if attributeName is None and attributeValue is not None:
            raise invalid("attributeValue needs attributeName beside it.")
        things = self._registry.things.page(
            read_page(page), attributeName, attributeValue, usePrefixAttributeValue, thingTypeName
        )
        return listing("things", things, self._thing)

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
    ) -> None:
        """Attach a certificate to a Thing."""
        self._registry.thing_principals.attach(thingName, principal, thingPrincipalType)

    def detach_thing_principal(self, *, thingName: str, principal: str) -> None:
        """Detach a certificate from a Thing."""
        self._registry.thing_principals.detach(thingName, principal)

    def list_thing_principals(self, *, thingName: str, **page: Unpack[TokenPage]) -> Members:
        """List the certificates of a Thing."""
        found = self._registry.thing_principals.of_thing(thingName, read_page(page))
        return listing("principals", found, lambda attachment: attachment[0])

    def list_thing_principals_v2(
        self, *, thingName: str, thingPrincipalType: str | None = None, **page: Unpack[TokenPage]
    ) -> Members:
        """List the certificates of a Thing with their kind of attachment."""
        found = self._registry.thing_principals.of_thing(
            thingName, read_page(page), thingPrincipalType
        )
        return listing("thingPrincipalObjects", found, lambda each: _attached("principal", *each))

    def list_principal_things(self, *, principal: str, **page: Unpack[TokenPage]) -> Members:
        """List the Things of a certificate."""
        found = self._registry.thing_principals.things_of(principal, read_page(page))
        return listing("things", found, lambda attachment: attachment[0])

    def list_principal_things_v2(
        self, *, principal: str, thingPrincipalType: str | None = None, **page: Unpack[TokenPage]
    ) -> Members:
        """List the Things of a certificate with their kind of attachment."""
        found = self._registry.thing_principals.things_of(
            principal, read_page(page), thingPrincipalType
        )
        return listing("principalThingObjects", found, lambda each: _attached("thingName", *each))


def _attached(member: str, name: str, kind: str) -> Members:
    return {member: name, "thingPrincipalType": kind}
