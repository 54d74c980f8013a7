"""The AWS resources that this lab created and still owns.

Its record is the ledger file, which outlives the notebook. The account may know better: messages
create shadows too, and anyone can delete a resource and create another one of the same name. The
inventory therefore compares its record with the account where that matters.

Some AWS calls succeed even if the resource already exists (``create_thing`` with the same
attributes, attaching twice). So before such a call, the inventory checks whether the resource
exists. An existing one belongs to someone else and is never taken down.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.ledger.ledger_file import LedgerFile
from creeklab.ledger.recorded import RecordedResources
from creeklab.resources.lookup import exists, identity, shadow_names
from creeklab.resources.resource import (
    ATTACHMENTS,
    IDENTITIES,
    Resource,
    ResourceKind,
    cascades_with,
    endpoints,
)


class Inventory:
    """The resources of one lab in one account, from its ledger file."""

    def __init__(self, file: LedgerFile, client: Callable[[str], Any]) -> None:
        self._file = file
        self._new_client = client
        self._clients: dict[str, Any] = {}
        self._recorded = RecordedResources()
        self._lock = threading.Lock()
        self._checked_shadows: set[Resource] = set()

    def client(self, service: str) -> Any:
        """Return a client of the account, created once."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._new_client(service)
            return self._clients[service]

    # --- what is on record ------------------------------------------------------------------------

    def __contains__(self, one: Resource) -> bool:
        return one in self._on_record()

    def all_certificate_ids(self) -> set[str]:
        """Return the ids of all certificates that this lab ever created."""
        created = [entry for entry in self._file.read() if entry.get("did") == "make"]
        return {entry["names"][0] for entry in created if entry["kind"] == ResourceKind.CERTIFICATE}

    def _on_record(self) -> RecordedResources:
        return self._recorded.after(self._file.read())

    # --- what the account says of it --------------------------------------------------------------

    def live_resources(self) -> list[Resource]:
        """Return all resources on record, oldest first, except those that others re-created.

        Asks the account which shadows exist, and whether a name belongs to another resource now.
        """
        foreign = self.foreign_replacements()
        live = [
            one
            for one in self._on_record()
            if one not in foreign and not any(cascades_with(one, other) for other in foreign)
        ]
        things = [one.names[0] for one in live if one.kind == ResourceKind.THING]
        shadows = [
            Resource(ResourceKind.SHADOW, (thing, name))
            for thing in things
            for name in shadow_names(self.client, thing)
        ]
        for one in [one for one in live if one.kind == ResourceKind.SHADOW and one not in shadows]:
            if one.names[0] in things or not exists(self.client, one):
                self.record_deleted(one)
                live.remove(one)
        for one in shadows:
            if one not in live:
                self.record_created(one)
                live.append(one)
        return live

    def owns(self, one: Resource) -> bool:
        """Return whether this lab created a resource and the name still belongs to it.

        Asks the account. A resource that someone deleted and nobody re-created is still owned.
        """
        recorded = self._on_record()
        return one in recorded and self._is_same(one, recorded.identity(one))

    def foreign_replacements(self) -> list[Resource]:
        """Return recorded resources that someone else has since deleted and re-created.

        Includes the shadows of such Things, because nobody can say who wrote them.
        """
        recorded = self._on_record()
        foreign = [one for one in recorded if not self._is_same(one, recorded.identity(one))]
        things = {one.names[0] for one in foreign if one.kind == ResourceKind.THING}
        shadows = [one for one in recorded if one.kind == ResourceKind.SHADOW]
        return foreign + [one for one in shadows if one.names[0] in things]

    def _is_same(self, one: Resource, known: str) -> bool:
        """Return whether the name still belongs to the recorded resource."""
        # Entries of older versions have no identity; there, the name must do.
        return not known or identity(self.client, one) in (known, "", None)

    def would_create(self, one: Resource) -> bool:
        """Return whether a call creates a resource that belongs to this lab."""
        recorded = self._on_record()
        if one in recorded:
            if one.kind not in IDENTITIES or exists(self.client, one):
                return False
            self.record_deleted(one)  # someone else deleted it, so the call creates another one
            return True
        if one.kind == ResourceKind.SHADOW:
            return self._would_create_shadow(one)
        if one.kind in ATTACHMENTS and any(end in recorded for end in endpoints(one)):
            return True  # it disappears with its end, no matter who attached it first
        return not exists(self.client, one)

    def _would_create_shadow(self, one: Resource) -> bool:
        """Return whether a write creates a shadow that belongs to no Thing of this lab.

        Asks the account once per shadow: a call per message would cost more than the message.
        """
        with self._lock:
            if one in self._checked_shadows:
                return False
        thing = Resource(ResourceKind.THING, (one.names[0],))
        creates = thing not in self and not exists(self.client, one)
        with self._lock:
            self._checked_shadows.add(one)  # only now: after an error, the next write asks again
        return creates

    # --- recording --------------------------------------------------------------------------------

    def record_created(self, one: Resource, known: str = "") -> None:
        """Record that this lab created a resource, with its identity if known."""
        self._write("make", one, {"id": known} if known else {})

    def record_deleted(self, one: Resource) -> None:
        """Record that a resource no longer exists, no matter who deleted it."""
        self._checked_shadows.discard(one)
        self._write("remove", one, {})

    def record_shadow_write(self, one: Resource) -> None:
        """Record the shadow that a message is about to create, if it creates one."""
        # Messages must not fail because the user is not allowed to read shadows.
        with contextlib.suppress(ClientError, BotoCoreError):
            if self._would_create_shadow(one):
                self.record_created(one)

    def record_shadows(self, thing: str) -> None:
        """Record the shadows of a Thing before it is deleted: they outlive it."""
        with contextlib.suppress(ClientError, BotoCoreError):
            for name in shadow_names(self.client, thing):
                shadow = Resource(ResourceKind.SHADOW, (thing, name))
                if shadow not in self:
                    self.record_created(shadow)

    def _write(self, did: str, one: Resource, more: dict[str, str]) -> None:
        entry = {"did": did, "at": time.time(), "kind": one.kind.value, "names": list(one.names)}
        self._file.add(entry | more)
