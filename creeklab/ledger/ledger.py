"""The ledger of a lab: what it created, what it used, what that costs, and how to take it down.

The ledger listens to the events of the lab's boto3 session, so that a plain ``iot.create_thing`` in
a cell is recorded without further code; a `creeklab.client.device.Device` reports its messages to
an observer. Both are recorded in a file in the lab's folder, which outlives the notebook. On AWS
each region has its own folder, because each region has its own resources.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.client.observer import DeviceObserver
from creeklab.client.topics import shadow_request
from creeklab.display.table import html_table, text_table
from creeklab.ledger.cost import Cost, Meter, Usage, load_prices
from creeklab.ledger.inventory import Inventory
from creeklab.ledger.ledger_file import LedgerFile
from creeklab.ledger.teardown import TeardownResult, tear_down
from creeklab.resources.api_calls import CREATES, DELETES
from creeklab.resources.lookup import identity, identity_from
from creeklab.resources.resource import (
    ATTACHMENTS,
    IDENTITIES,
    Resource,
    ResourceKind,
    name_resolver,
)
from creeklab.targets.target import Target

TAG = {"Key": "creeklab", "Value": "lab"}
TAGGED = ("CreatePolicy", "CreateThingType", "CreateThingGroup")  # calls that accept tags
SERVICES = ("iot", "iot-data-plane", "iam", "lambda")


class Ledger:
    """The ledger of one lab.

    Parameters
    ----------
    target
        The account; from now on the calls of its session are recorded.
    home
        Home folder; its own ``prices.toml``, if any, replaces the built-in price table.

    Attributes
    ----------
    last_refusal
        Thing or client ID, action and resource of the last refusal to a device of this lab; None if
        nothing was refused since the lab was opened.
    """

    def __init__(self, target: Target, home: Path) -> None:
        self._target = target
        self._home = home
        self._file = LedgerFile.of(target.folder, target.account)
        self.inventory = Inventory(self._file, cast(Any, target.session).client)
        self.meter = Meter(self._record_usage)
        self.last_refusal: tuple[str, str, str] | None = None
        events = target.session.events
        for service in SERVICES:
            handlers: dict[str, Callable[..., None]] = {
                "before-parameter-build": self._before_call,
                "before-call": _note_size,
                "after-call": self._after_call,
            }
            for event, handler in handlers.items():
                name = f"{event}.{service}"
                # The id keeps a second ledger of the same session from recording everything twice.
                events.register(name, handler, f"creeklab-ledger-{name}")

    # --- for a cell -------------------------------------------------------------------------------

    def resources(self) -> ResourceTable:
        """Return the resources that this lab created and that still exist, oldest first.

        Asks the account for the shadows of this lab's Things, because messages create shadows too.
        """
        live = self.inventory.live_resources()
        return ResourceTable(one for one in live if one.kind != ResourceKind.POLICY_VERSION)

    def has(self, kind: str, *names: str) -> bool:
        """Return whether this lab created a resource that still exists.

        For example ``has("Thing", "Test2")``.
        """
        return Resource(ResourceKind(kind), names) in self.inventory

    def cost(self) -> Cost:
        """Return the usage of this lab's clients and devices in all notebooks, and its cost.

        Raises `ValueError` if the price table of the home folder is not valid.
        """
        self.meter.write()
        months: dict[str, Usage] = {}
        for entry in self._file.read():
            if entry.get("did") == "use":
                month = datetime.fromtimestamp(entry["at"], UTC).strftime("%Y-%m")
                used = Usage(**{name: int(entry.get(name, 0)) for name in Usage.names()})
                months[month] = months.get(month, Usage()) + used
        return Cost(months, load_prices(self._home), self._target.name)

    def tear_down(self, dry_run: bool = False) -> TeardownResult:
        """Delete what this lab created, and nothing else, in the order that AWS requires.

        Can be repeated: after a failure or an interruption, it continues from there.

        A dry run only returns the steps.
        """
        return tear_down(self._target, self.inventory, dry_run=dry_run)

    # --- for the rest of creeklab -----------------------------------------------------------------

    def observer(self) -> DeviceObserver:
        """Return an observer that records a new device's connection and messages."""
        return _MeteringObserver(self)

    def record_retained(self, topic: str, *, cleared: bool) -> None:
        """Record a retained message that AWS accepted; an empty one clears the topic."""
        one = Resource(ResourceKind.RETAINED_MESSAGE, (topic,))
        if cleared:
            self.inventory.record_deleted(one)
        else:
            self.inventory.record_created(one)

    @staticmethod
    def record_reset(folder: Path, account: str) -> None:
        """Record that the account whose ledger is in `folder` was emptied."""
        ledger = LedgerFile.of(folder, account)
        if ledger.file.exists():
            ledger.add({"did": "reset", "at": time.time()})

    def _record_usage(self, usage: Usage) -> None:
        self._file.add({"did": "use", "at": time.time(), **usage.counts()})

    # --- events of the boto3 session --------------------------------------------------------------

    def _before_call(
        self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
    ) -> None:
        if self._ignores(model, context):
            return
        name = model.name
        if name in CREATES or name in DELETES or name == "Publish":
            context["creeklab-request"] = dict(params)
        if name in CREATES:
            one = CREATES[name](params, {})
            try:
                context["creeklab-creates"] = one is None or self.inventory.would_create(one)
            except (ClientError, BotoCoreError):
                # The call itself reports an invalid request or a missing permission. Without the
                # lookup, an existing resource looks like a new one, so it counts as foreign.
                context["creeklab-creates"] = False
        if name in TAGGED and self._target.name == "aws":
            params["tags"] = [*params.get("tags", []), TAG]

    def _after_call(
        self,
        http_response: Any,
        parsed: Mapping[str, Any],
        model: Any,
        context: dict[str, Any],
        **_: Any,
    ) -> None:
        if self._ignores(model, context):
            return
        size = max(
            context.get("creeklab-size", 0), int(http_response.headers.get("content-length", 0))
        )
        request = context.get("creeklab-request", {})
        if model.name == "Publish":
            self.meter.message(size + len(request["topic"]))
        elif "Thing" in model.name:
            self.meter.operation(size)
        if "creeklab-request" not in context or http_response.status_code >= 300:
            return
        if model.name == "Publish":
            if request.get("retain"):
                self.record_retained(request["topic"], cleared=not request.get("payload"))
        elif model.name in DELETES:
            one = DELETES[model.name](request)
            if one.kind == ResourceKind.THING and one in self.inventory:
                self.inventory.record_shadows(one.names[0])
            self.inventory.record_deleted(one)
        elif context["creeklab-creates"]:
            created = CREATES[model.name](request, parsed)
            assert created is not None  # there is a response
            known = identity_from(created.kind, parsed)
            self.inventory.record_created(created, known)
            if created.kind in IDENTITIES and not known:  # CreatePolicy's response has none
                with contextlib.suppress(ClientError, BotoCoreError):
                    found = identity(self.inventory.client, created)
                    self.inventory.record_created(created, found or "")

    def _ignores(self, model: Any, context: Mapping[str, Any]) -> bool:
        """Return whether a call creates nothing for this ledger: each AWS region has its own.

        IAM is global, and only its roles are recorded: IoT has operations named as those on IAM's
        policies.
        """
        if model.service_model.service_name == "iam":
            return "Role" not in model.name
        return self._target.name == "aws" and context["client_region"] != self._target.region

    def __repr__(self) -> str:
        return (
            "Ledger: resources() lists what this lab created, cost() shows what it used, and "
            "tear_down() deletes it."
        )


class ResourceTable(tuple[Resource, ...]):
    """Resources as a table."""

    def rows(self) -> list[tuple[str, str]]:
        """Return kind and name of each resource as text."""
        resolve = name_resolver(self)
        return [
            ("attachment", resolve(str(one))) if one.kind in ATTACHMENTS else one.row()
            for one in self
        ]

    def __repr__(self) -> str:
        if not self:
            return "No resource of this lab exists."
        return text_table(self.rows())

    def _repr_html_(self) -> str:
        return html_table(("kind", "name"), self.rows()) if self else f"<p>{self!r}</p>"


class _MeteringObserver(DeviceObserver):
    """Records the messages of one device in a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._meter = ledger.meter

    def connected(self) -> None:
        self._meter.connected(self)

    def disconnected(self) -> None:
        self._meter.disconnected(self)

    def subscribed(self) -> None:
        self._meter.message()

    def publishes(self, topic: str, size: int) -> None:
        self._meter.message(len(topic.encode()) + size)
        request = shadow_request(topic)
        if request is not None:
            thing, name, operation = request
            self._meter.operation(size)
            if operation == "update":
                shadow = Resource(ResourceKind.SHADOW, (thing, name))
                self._ledger.inventory.record_shadow_write(shadow)

    def retained(self, topic: str, *, cleared: bool) -> None:
        self._ledger.record_retained(topic, cleared=cleared)

    def refused(self, who: str, action: str, resource: str) -> None:
        self._ledger.last_refusal = (who, action, resource)

    def received(self, topic: str, size: int, qos: int) -> None:
        self._meter.message(len(topic.encode()) + size, acknowledged=qos > 0)


def _note_size(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    body = params.get("body")
    context["creeklab-size"] = len(body) if isinstance(body, bytes | bytearray | str) else 0
