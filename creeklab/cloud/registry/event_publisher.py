"""Registry events: messages on ``$aws/events/...`` when something in the registry has changed.

Topics and members follow the developer guide, "Registry events". Each event type is off until
UpdateEventConfigurations enables it. Only the direct change of a call is announced: deleting a
Thing together with its memberships publishes one message.

The event types CERTIFICATE, CA_CERTIFICATE and POLICY can be enabled but publish nothing, because
no message is documented for anything that can happen here
(``$aws/events/certificates/registered/...`` is for certificates that register themselves). The
event types of jobs need the jobs service.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.changes import (
    AssociationChanged,
    Change,
    HierarchyChanged,
    MembershipChanged,
    ThingChanged,
    ThingGroupChanged,
    ThingTypeChanged,
)

Arn = Callable[[str, str], str]
EventMessage = tuple[str, str, dict[str, Any]]
"""The event type that enables a message, its topic after ``$aws/events/``, and its members."""


@dataclass(frozen=True, slots=True)
class RegistryEventPublisher:
    """Publishes registry events; add `on_change` to the change listeners of the registry."""

    registry: Registry
    publish: Callable[[str, bytes, int], object]
    clock: Callable[[], float]

    def on_change(self, change: Change) -> None:
        """Publish the message about a change if its event type is enabled."""
        event_type, topic, members = message(change, self.registry.arn)
        if not self.registry.account_settings.events().enabled[event_type]:
            return
        # In the guide, the message about an association has no account.
        account = (
            {}
            if event_type == "THING_TYPE_ASSOCIATION"
            else {"accountId": self.registry.identity.account}
        )
        payload = {
            "eventType": f"{event_type}_EVENT",
            "eventId": str(uuid.uuid4()),
            "timestamp": _milliseconds(self.clock()),
            "operation": change.operation,
            **account,
            **members,
        }
        self.publish("$aws/events/" + topic, json.dumps(payload).encode(), 1)


def message(change: Change, arn: Arn) -> EventMessage:
    """Return the event type, topic and specific members of the message about a change."""
    operation = change.operation.lower()
    match change:
        case ThingChanged(thing=thing):
            members = {
                "thingId": thing.id,
                "thingName": thing.name,
                "versionNumber": thing.version,
                "thingTypeName": thing.type,
                "attributes": thing.attributes,
            }
            return "THING", f"thing/{thing.name}/{operation}", members
        case ThingTypeChanged(type=kind):
            members = {
                "thingTypeId": kind.id,
                "thingTypeName": kind.name,
                "isDeprecated": kind.deprecated is not None,
                "deprecationDate": (
                    None if kind.deprecated is None else _milliseconds(kind.deprecated)
                ),
                "searchableAttributes": kind.properties.get("searchableAttributes", []),
                "description": kind.properties.get("thingTypeDescription"),
            }
            return "THING_TYPE", f"thingType/{kind.name}/{operation}", members
        case AssociationChanged(thing=thing, type=type_name):
            members = {
                "thingId": thing.id,
                "thingName": thing.name,
                "thingTypeName": type_name,
            }
            topic = f"thingTypeAssociation/thing/{thing.name}/{type_name}"
            return "THING_TYPE_ASSOCIATION", topic, members
        case ThingGroupChanged(group=group, lineage=lineage):
            parent = lineage[0] if lineage else None
            ancestors = [
                {"groupName": above.name, "groupArn": arn("thinggroup", above.name)}
                for above in lineage
            ]
            members = {
                "thingGroupId": group.id,
                "thingGroupName": group.name,
                "versionNumber": group.version,
                "parentGroupName": parent and parent.name,
                "parentGroupId": parent and parent.id,
                "description": group.description,
                "rootToParentThingGroups": ancestors or None,
                "attributes": group.attributes,
            }
            return "THING_GROUP", f"thingGroup/{group.name}/{operation}", members
        case MembershipChanged(thing=thing, group=group):
            members = {
                "groupArn": arn("thinggroup", group.name),
                "groupId": group.id,
                "thingArn": arn("thing", thing.name),
                "thingId": thing.id,
                "membershipId": change.id,
            }
            topic = f"thingGroupMembership/thingGroup/{group.name}/thing/{thing.name}/{operation}"
            return "THING_GROUP_MEMBERSHIP", topic, members
        case HierarchyChanged(parent=above, child=child):
            members = {
                "thingGroupId": above.id,
                "thingGroupName": above.name,
                "childGroupId": child.id,
                "childGroupName": child.name,
            }
            path = f"thingGroup/{above.name}/childThingGroup/{child.name}"
            return "THING_GROUP_HIERARCHY", f"thingGroupHierarchy/{path}/{operation}", members


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
