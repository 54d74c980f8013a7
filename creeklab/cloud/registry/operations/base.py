"""What the operations of ``iot`` have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.unit_of_work import Item, Listed, invalid
from creeklab.cloud.storage.database import Page

Members = dict[str, Any]

DEFAULT_PAGE = 25  # the API reference says so for certificates; here for every list


class TokenPage(TypedDict, total=False):
    """The members with which a request asks for one page of a list."""

    nextToken: str
    maxResults: int


class MarkerPage(TypedDict, total=False):
    """The same members in the older operations."""

    marker: str
    pageSize: int


class OrderedPage(MarkerPage, total=False):
    """The same members in the older operations that list the newest resources first."""

    ascendingOrder: bool


class Operations:
    """Some operations on a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def _policy(self, name: str) -> Members:
        return {"policyName": name, "policyArn": self._registry.arn("policy", name)}


def read_page(members: Mapping[str, Any], *, newest_first: bool = False) -> Page:
    """Return the page that a request asks for."""
    return Page(
        members.get("maxResults", members.get("pageSize", DEFAULT_PAGE)),
        members.get("nextToken", members.get("marker")),
        members.get("ascendingOrder", not newest_first),
    )


def listing(
    member: str,
    listed: Listed[Item],
    show: Callable[[Item], Any] = lambda item: item,
    token: str = "nextToken",
) -> Members:
    """Return a response with a page of a list, and the token of the next page if there is one."""
    items, following = listed
    rest = {} if following is None else {token: following}
    return {member: [show(item) for item in items], **rest}


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
