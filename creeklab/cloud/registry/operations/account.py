"""Operations on the account as a whole: endpoint, event configurations, logging, tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from creeklab.cloud.registry.operations.base import (
    DEFAULT_PAGE,
    Members,
    Operations,
    listing,
    parse_tags,
)
from creeklab.cloud.registry.unit_of_work import invalid
from creeklab.cloud.storage.database import Page

# All types have the same local endpoint (API reference, DescribeEndpoint).
ENDPOINT_TYPES = (
    *("iot:Data", "iot:Data-ATS", "iot:CredentialProvider", "iot:Jobs", "iot:DeviceAdvisor"),
)


class LoggingOptions(TypedDict, total=False):
    """The members of SetV2LoggingOptions."""

    roleArn: str
    defaultLogLevel: str
    disableAllLogs: bool
    eventConfigurations: Sequence[Members]


class AccountOperations(Operations):
    """Operations on the account as a whole."""

    def describe_endpoint(self, *, endpointType: str = "iot:Data") -> Members:
        """Return the host name of an endpoint, without a port."""
        if endpointType not in ENDPOINT_TYPES:
            raise invalid(f"Endpoint type {endpointType} not recognized.")
        return {"endpointAddress": self._registry.endpoint}

    # --- events and logging -------------------------------------------------------------------

    def describe_event_configurations(self) -> Members:
        """Return which registry events are published."""
        events = self._registry.account_settings.events()
        response: Members = {
            "eventConfigurations": {
                name: {"Enabled": enabled} for name, enabled in events.enabled.items()
            }
        }
        if events.created is not None:
            response |= {"creationDate": events.created, "lastModifiedDate": events.modified}
        return response

    def update_event_configurations(
        self, *, eventConfigurations: dict[str, Members] | None = None
    ) -> None:
        """Enable or disable registry events."""
        changes = eventConfigurations or {}
        self._registry.account_settings.set_events(
            {name: change.get("Enabled", False) for name, change in changes.items()}
        )

    def get_v2_logging_options(self, *, verbose: bool = False) -> Members:
        """Return the logging options; the event configurations only if `verbose`."""
        options = self._registry.account_settings.logging()
        if not verbose:
            options.pop("eventConfigurations", None)
        return options

    def set_v2_logging_options(self, **options: Unpack[LoggingOptions]) -> None:
        """Set the logging options; the role is not used."""
        self._registry.account_settings.set_logging({"disableAllLogs": False, **options})

    # --- tags ---------------------------------------------------------------------------------

    def tag_resource(self, *, resourceArn: str, tags: Sequence[Members]) -> None:
        """Put tags on a resource."""
        self._registry.tags.put(resourceArn, parse_tags(tags))

    def untag_resource(self, *, resourceArn: str, tagKeys: Sequence[str]) -> None:
        """Remove tags from a resource."""
        self._registry.tags.remove(resourceArn, tagKeys)

    def list_tags_for_resource(self, *, resourceArn: str, nextToken: str | None = None) -> Members:
        """List the tags of a resource."""
        tags = self._registry.tags.page(resourceArn, Page(DEFAULT_PAGE, nextToken))
        return listing("tags", tags, lambda tag: dict(zip(("Key", "Value"), tag, strict=True)))
