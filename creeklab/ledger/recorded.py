"""The resources on record: what the entries of a ledger file add up to. Pure."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from creeklab.resources.resource import Resource, ResourceKind, cascades_with


class RecordedResources:
    """The resources that the entries of a ledger leave, in the order of their creation.

    A deleted resource takes along what exists only with it: a certificate its policy attachments, a
    Thing its group memberships, a policy its versions.
    """

    def __init__(self) -> None:
        self._identities: dict[Resource, str] = {}
        self._applied = 0
        self._lock = threading.Lock()

    def after(self, entries: Sequence[Mapping[str, Any]]) -> RecordedResources:
        """Apply the new ones of `entries`, which are all entries of the file; return itself."""
        with self._lock:
            if len(entries) < self._applied:  # another file has replaced it
                self._identities.clear()
                self._applied = 0
            for entry in entries[self._applied :]:
                self._apply(entry)
            self._applied = len(entries)
        return self

    def _apply(self, entry: Mapping[str, Any]) -> None:
        resources = self._identities
        if entry.get("did") == "reset":
            resources.clear()
        elif entry.get("did") in ("make", "remove"):
            one = Resource(ResourceKind(entry["kind"]), tuple(map(str, entry["names"])))
            if entry["did"] == "make":
                resources[one] = str(entry.get("id", ""))
            else:
                resources.pop(one, None)
                for other in [other for other in resources if cascades_with(other, one)]:
                    del resources[other]

    def identity(self, one: Resource) -> str:
        """Return what distinguishes a resource from a later one of its name; ``""`` if unknown."""
        return self._identities.get(one, "")

    def __contains__(self, one: Resource) -> bool:
        return one in self._identities

    def __iter__(self) -> Iterator[Resource]:
        with self._lock:
            return iter(list(self._identities))
