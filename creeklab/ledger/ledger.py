"""What this lab has made, what it has used and would cost, and how all of it is taken down again.

The ledger listens to the events of the lab's boto3 session, so a plain ``iot.create_thing`` in a
cell is on record without the learner's doing; a `creeklab.client.device.Device` tells it of its messages.
The record is a file in the lab's folder, which outlives the notebook. On AWS each region has a
folder of its own, since what lives in one is not there in another.

AWS answers some calls that make something with success even if it was there before
(``create_thing`` with the same attributes, attaching twice). So before a call that makes something
the ledger looks whether it is there: what was is not this lab's, and is never taken down.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.client.observer import DeviceObserver
from creeklab.client.topics import shadow_request
from creeklab.display.table import html_table, text_table
from creeklab.ledger.cost import Cost, Meter, Usage, load_prices
from creeklab.ledger.ledger_file import LedgerFile
from creeklab.resources.lookup import exists, identity, identity_from, shadow_names
from creeklab.resources.resource import (
    ATTACHMENTS,
    CERTIFICATE,
    IDENTITIES,
    MAKES,
    REMOVES,
    RETAINED,
    SHADOW,
    THING,
    VERSION,
    Inventory,
    Resource,
    cascades_with,
    endpoints,
    name_resolver,
)
from creeklab.targets.target import Target

if TYPE_CHECKING:
    from creeklab.ledger.teardown import TeardownResult

TAG = {"Key": "creeklab", "Value": "lab"}
TAGGED = ("CreatePolicy", "CreateThingType", "CreateThingGroup")  # what takes tags when made
SERVICES = ("iot", "iot-data-plane")


class Ledger:
    """The ledger of one lab.

    Parameters
    ----------
    target
        The account; from now on the calls of its session are recorded.
    home
        Home folder, whose own ``prices.toml`` counts if there is one.

    Attributes
    ----------
    meter
        Counts messages, minutes and operations.
    last_refusal
        Thing or client id, action and resource of what a device was refused last; None if
        nothing was since the lab was opened.
    """

    def __init__(self, target: Target, home: Path) -> None:
        self._target = target
        self._home = home
        self._file = LedgerFile.of(target.folder, target.account)
        self._inventory = Inventory()
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._shadows_seen: set[Resource] = set()
        self.meter = Meter(self._write_use)
        self.last_refusal: tuple[str, str, str] | None = None
        events = target.session.events
        for service in SERVICES:
            # By its id an event has a handler once: a session that has a ledger gets no second one.
            handlers: dict[str, Callable[..., None]] = {
                "before-parameter-build": self._before_call,
                "before-call": _note_size,
                "after-call": self._after_call,
            }
            for event, handler in handlers.items():
                name = f"{event}.{service}"
                events.register(name, handler, f"creeklab-ledger-{name}")

    # --- what people ask --------------------------------------------------------------------------

    def resources(self) -> ResourceTable:
        """Return what this lab has made and what is still there, oldest first.

        Messages make shadows too, so the account is asked for those of this lab's Things.
        """
        return ResourceTable(one for one in self.live_resources() if one.kind != VERSION)

    def cost(self) -> Cost:
        """Return what was used so far, and what that costs by the price table.

        Counted is what the clients and devices of this lab do, in all its notebooks.

        Raises
        ------
        ValueError
            If the price table of the home folder cannot be used.
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
        """Take down what this lab has made, and nothing else, in the order that AWS asks for.

        May be repeated: after a failure, or an end half way, it goes on from there.

        Parameters
        ----------
        dry_run
            Only say what would be done.

        Returns
        -------
        TearDown
            The steps and what came of each; ``ok`` if nothing is left to do.
        """
        from creeklab.ledger.teardown import tear_down

        return tear_down(self._target, self, dry_run=dry_run)

    def has(self, kind: str, *names: str) -> bool:
        """Tell whether this lab made that, such as ``has("Thing", "Test2")``, and it is there."""
        return Resource(kind, names) in self._all()

    # --- what the rest of creeklab asks and tells -------------------------------------------------

    def live_resources(self) -> list[Resource]:
        """Return all that is there, attachments and versions of policies too.

        Of shadows the account is asked, and whether a name is somebody else's by now; of the rest
        the record.
        """
        others = self.foreign_replacements()
        made = [
            one
            for one in self._all()
            if one not in others and not any(cascades_with(one, other) for other in others)
        ]
        things = [one.names[0] for one in made if one.kind == THING]
        live = [
            Resource(SHADOW, (thing, name))
            for thing in things
            for name in shadow_names(self.client, thing)
        ]
        for one in [one for one in made if one.kind == SHADOW and one not in live]:
            if one.names[0] in things or not exists(self.client, one):
                self.mark_removed(one)
                made.remove(one)
        for one in live:
            if one not in made:
                self._write("make", one)
                made.append(one)
        return made

    def owns(self, one: Resource) -> bool:
        """Tell whether this lab made that, and nobody else has the name by now.

        As `has`, but the account is asked; true as well of what somebody removed and nobody made
        anew.
        """
        there = self._all()
        return one in there and self._same(one, there.identity(one))

    def foreign_replacements(self) -> list[Resource]:
        """Return what is on record, but was removed by other means and made anew by others.

        With the shadows of such Things: nobody can tell whose they are.
        """
        there = self._all()
        others = [one for one in there if not self._same(one, there.identity(one))]
        names = {one.names[0] for one in others if one.kind == THING}
        return others + [one for one in there if one.kind == SHADOW and one.names[0] in names]

    def _same(self, one: Resource, known: str) -> bool:
        """Tell whether the account has no other one of that name than the one that is known."""
        # Older lines have no identity: there the name has to do.
        return not known or identity(self.client, one) in (known, "", None)

    def _all(self) -> Inventory:
        return self._inventory.after(self._file.read())

    def all_certificate_ids(self) -> set[str]:
        """Return the ids of all certificates that this lab ever made."""
        made = [entry for entry in self._file.read() if entry.get("did") == "make"]
        return {entry["names"][0] for entry in made if entry["kind"] == CERTIFICATE}

    def client(self, service: str) -> Any:
        """Return a client of the account, made once."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = cast(Any, self._target.session).client(service)
            return self._clients[service]

    def mark_removed(self, one: Resource) -> None:
        """Record that something is not there any more, whoever removed it."""
        self._write("remove", one)

    @staticmethod
    def record_reset(folder: Path, account: str) -> None:
        """Record that an account was emptied whose ledger is in `folder`."""
        ledger = LedgerFile.of(folder, account)
        if ledger.file.exists():
            ledger.add({"did": "reset", "at": time.time()})

    def observer(self) -> DeviceObserver:
        """Return what a new device tells of its connection and messages."""
        return _MeteringObserver(self)

    def note_shadow_write(self, one: Resource) -> None:
        """Take note of a message that may make a shadow, before it is sent.

        Those of this lab's own Things are found when they are asked for.
        """
        # Whoever may not ask AWS about a shadow may send messages all the same.
        with contextlib.suppress(ClientError, BotoCoreError):
            if self._makes_shadow(one):
                self._write("make", one)

    def _makes_shadow(self, one: Resource) -> bool:
        """Tell whether writing to a shadow makes one that no Thing of this lab has.

        Asked of the account once for each shadow: a call for each message would cost more than
        the message.
        """
        with self._lock:
            if one in self._shadows_seen:
                return False
            self._shadows_seen.add(one)
        return not self.has(THING, one.names[0]) and not exists(self.client, one)

    def note_retained(self, topic: str, *, cleared: bool) -> None:
        """Take note of a retained message that AWS has taken; an empty one clears the topic."""
        self._write("remove" if cleared else "make", Resource(RETAINED, (topic,)))

    # --- what the events of boto3 say -------------------------------------------------------------

    def _before_call(
        self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
    ) -> None:
        if self._is_elsewhere(context):
            return
        name = model.name
        if name in MAKES or name in REMOVES or name == "Publish":
            context["creeklab-asked"] = dict(params)
        if name in MAKES:
            one = MAKES[name](params, {})
            try:
                context["creeklab-makes"] = one is None or self._makes(one)
            except (ClientError, BotoCoreError):
                # Whoever may not look, or asks for what cannot be, hears it from the call itself.
                # What was there before cannot be told then, so what is there counts as others'.
                context["creeklab-makes"] = False
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
        if self._is_elsewhere(context):
            return
        size = max(
            context.get("creeklab-size", 0), int(http_response.headers.get("content-length", 0))
        )
        asked = context.get("creeklab-asked", {})
        if model.name == "Publish":
            self.meter.message(size + len(asked["topic"]))
        elif "Thing" in model.name:
            self.meter.operation(size)
        if "creeklab-asked" not in context or http_response.status_code >= 300:
            return
        if model.name == "Publish":
            if asked.get("retain"):
                self.note_retained(asked["topic"], cleared=not asked.get("payload"))
        elif model.name in REMOVES:
            one = REMOVES[model.name](asked)
            self._shadows_seen.discard(one)
            if one.kind == THING and one in self._all():
                self._note_shadows(one.names[0])
            self._write("remove", one)
        elif context["creeklab-makes"]:
            made = MAKES[model.name](asked, parsed)
            assert made is not None  # AWS has answered
            known = identity_from(made.kind, parsed)
            self._write("make", made, known)
            if made.kind in IDENTITIES and not known:  # the answer has none for a policy
                with contextlib.suppress(ClientError, BotoCoreError):
                    self._write("make", made, identity(self.client, made) or "")

    def _is_elsewhere(self, context: Mapping[str, Any]) -> bool:
        """Tell whether a call goes to another region of AWS, whose things are not this lab's."""
        return self._target.name == "aws" and context["client_region"] != self._target.region

    def _note_shadows(self, thing: str) -> None:
        """Take note of the shadows of a Thing that goes: they outlive it."""
        with contextlib.suppress(ClientError, BotoCoreError):
            for name in shadow_names(self.client, thing):
                if not self.has(SHADOW, thing, name):
                    self._write("make", Resource(SHADOW, (thing, name)))

    def _makes(self, one: Resource) -> bool:
        """Tell whether a call makes that, as far as this lab is concerned."""
        made = self._all()
        if one in made:
            if one.kind not in IDENTITIES or exists(self.client, one):
                return False
            self.mark_removed(one)  # removed by other means: what is made now is another one
            return True
        if one.kind == SHADOW:
            return self._makes_shadow(one)
        if one.kind in ATTACHMENTS and any(end in made for end in endpoints(one)):
            return True  # it goes when that goes, whoever attached it first
        return not exists(self.client, one)

    # --- small things -----------------------------------------------------------------------------

    def _write(self, did: str, one: Resource, known: str = "") -> None:
        entry = {"did": did, "at": time.time(), "kind": one.kind, "names": list(one.names)}
        self._file.add(entry | ({"id": known} if known else {}))

    def _write_use(self, use: Usage) -> None:
        self._file.add({"did": "use", "at": time.time(), **use.counts()})

    def __repr__(self) -> str:
        return (
            "Ledger: made() is what this lab has made, cost() what it has used, tear_down() "
            "removes it."
        )


class ResourceTable(tuple[Resource, ...]):
    """What a lab has made, as a table."""

    def rows(self) -> list[tuple[str, str]]:
        """Return kind and name of each, as text."""
        named = name_resolver(self)
        return [
            ("attachment", named(str(one))) if one.kind in ATTACHMENTS else one.row()
            for one in self
        ]

    def __repr__(self) -> str:
        if not self:
            return "Nothing that this lab has made is there."
        return text_table(self.rows())

    def _repr_html_(self) -> str:
        return html_table(("kind", "name"), self.rows()) if self else f"<p>{self!r}</p>"


class _MeteringObserver(DeviceObserver):
    """Hands on what one device tells."""

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
            thing, name, verb = request
            self._meter.operation(size)
            if verb == "update":
                self._ledger.note_shadow_write(Resource(SHADOW, (thing, name)))

    def retained(self, topic: str, *, cleared: bool) -> None:
        self._ledger.note_retained(topic, cleared=cleared)

    def refused(self, who: str, action: str, resource: str) -> None:
        self._ledger.last_refusal = (who, action, resource)

    def received(self, topic: str, size: int, qos: int) -> None:
        self._meter.message(len(topic.encode()) + size, acknowledged=qos > 0)


def _note_size(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    body = params.get("body")
    context["creeklab-size"] = len(body) if isinstance(body, bytes | bytearray | str) else 0
