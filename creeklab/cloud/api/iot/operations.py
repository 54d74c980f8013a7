"""What every operation of the service ``iot`` is made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry import Registry

Answer = dict[str, Any]

DEFAULT_PAGE = 25  # what the API reference says of certificates, here of every list


class Operations:
    """Some operations on a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def _policy(self, name: str) -> Answer:
        return {"policyName": name, "policyArn": self._registry.arn("policy", name)}


def listed(member: str, items: Iterable[Any], **token: str | None) -> Answer:
    """Make an answer of a list, and of the next page's token if there is one."""
    return {member: list(items), **{name: text for name, text in token.items() if text is not None}}


def no_such(kind: str, name: str | None) -> None:
    """Refuse a request that names what this cloud cannot have yet."""
    if name is not None:
        raise ServiceError("ResourceNotFoundException", f"The {kind} {name} does not exist.")
