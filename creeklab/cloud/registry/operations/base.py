"""What the operations of ``iot`` have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.unit_of_work import invalid

Members = dict[str, Any]

DEFAULT_PAGE = 25  # the API reference says so for certificates; here for every list


class Operations:
    """Some operations on a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def _policy(self, name: str) -> Members:
        return {"policyName": name, "policyArn": self._registry.arn("policy", name)}


def listing(member: str, items: Iterable[Any], **token: str | None) -> Members:
    """Return a response with a list, and the token of the next page if there is one."""
    return {member: list(items), **{name: text for name, text in token.items() if text is not None}}


def raise_not_found(kind: str, name: str | None) -> None:
    """Raise if a request names a kind of resource that this cloud does not have."""
    if name is not None:
        raise ServiceError("ResourceNotFoundException", f"The {kind} {name} does not exist.")


def parse_tags(tags: Iterable[Members]) -> dict[str, str]:
    """Return tags by key; a tag without a value has the value ''."""
    found: dict[str, str] = {}
    for tag in tags:
        if tag["Key"] in found:
            raise invalid(f"The tag key '{tag['Key']}' occurs twice in the request.")
        found[tag["Key"]] = tag.get("Value", "")
    return found
