"""The lab: one place to learn in, with all that a client needs to reach it.

`open_lab` (`opening.py`) opens it. From there a notebook uses plain boto3 (`Lab.client`) and
awsiotsdk (`Lab.connect`), as it would on AWS.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakValueDictionary

from creeklab.client.device import AccountCredentials, Device
from creeklab.client.key_files import KeyFiles
from creeklab.lab.open_lab import open_lab as open_lab
from creeklab.ledger.ledger import Ledger
from creeklab.resources.lookup import or_none, paginate
from creeklab.session.reset import reset_account
from creeklab.targets.target import NotSupportedOnAws, Target

if TYPE_CHECKING:
    import pandas as pd

    from creeklab.course.checks import Checks
    from creeklab.diagnosis.probe import CheckReport
    from creeklab.diagnosis.refusal import Refusal
    from creeklab.widgets.console import Console
    from creeklab.widgets.live_view import LiveView
    from creeklab.widgets.policy_lab import PolicyLab
    from creeklab.widgets.shadow_view import ShadowView
    from creeklab.widgets.test_client import MqttTestClient

T = TypeVar("T", bound="LiveView")

NO_EVENT_LOG = (
    "AWS keeps no tape of what happened, and shows nobody's messages. A device that subscribes to "
    "'#' sees the messages that its policy allows; CloudWatch has counters (namespace AWS/IoT) "
    "and, once switched on, logs (log group AWSIotLogsV2). The local cloud has both: "
    'creeklab.open_lab("local").'
)


ACCOUNT_CLIENT = "account-"
"""What the client ids of the account's own connections begin with, unless one is named."""


_DEVICES: MutableMapping[tuple[Any, ...], Device] = WeakValueDictionary()
"""The device that connected last under each client id of each account, from this kernel."""

_TOOLS: MutableMapping[tuple[Any, ...], LiveView] = WeakValueDictionary()
"""The tool that was opened last of each kind, on each account, from this kernel."""


class Lab:
    """An open lab.

    Attributes
    ----------
    target
        ``"local"`` or ``"aws"``.
    account, region
        Account number and region.
    endpoint, mqtt_port, https_port, ca_file
        What any MQTT or HTTPS client needs to connect: host name, ports, and the certificates
        to trust.
    session
        A boto3 session of the account, all of whose clients talk to this cloud.
    keys
        Certificate and key files of the Things.
    ledger
        What this lab has made and used.
    """

    def __init__(self, home: Path, target: Target) -> None:
        self.home = home
        self._target = target
        self.target = target.name
        self.account = target.account
        self.region = target.region
        self.endpoint = target.endpoint
        self.mqtt_port = target.mqtt_port
        self.https_port = target.https_port
        self.ca_file = target.ca_file
        self.session = target.session
        self.keys = KeyFiles(target.folder / "keys", target.ca_file)
        self.ledger = Ledger(target, home)

    def client(self, service: str) -> Any:
        """Return a boto3 client of this cloud, such as ``"iot"`` or ``"iot-data"``."""
        return cast(Any, self.session).client(service)

    def connect(self, thing: str, client_id: str | None = None) -> Device:
        """Connect as a Thing with the certificate that was saved for it.

        Parameters
        ----------
        client_id
            MQTT client id, without which it is the Thing's name, as AWS recommends.

        Raises
        ------
        FileNotFoundError
            If no certificate was saved for it.
        creeklab.client.device.Refused
            If the cloud does not take the connection; `why` says why.

        Warns
        -----
        UserWarning
            If a device of this kernel has the client id, and is not closed.
        """
        files = self.keys.files(thing)
        self._target.accept_costs()
        return self._connected(
            client_id or thing,
            lambda name: Device(
                thing,
                files,
                endpoint=self.endpoint,
                port=self.mqtt_port,
                client_id=name,
                record=self.ledger.observer(),
            ),
        )

    def connect_account(self, client_id: str | None = None) -> Device:
        """Connect as the account itself, as the console's MQTT test client does.

        It signs with the account's access key and goes over WebSocket. No IoT policy is asked: the
        account may publish, subscribe to and receive everything.

        Parameters
        ----------
        client_id
            MQTT client id, without which it is one that nobody else has.

        Raises
        ------
        creeklab.client.device.Refused
            If the cloud does not take the connection; `why` says why.
        """
        self._target.accept_costs()
        credentials = self.session.get_credentials()
        assert credentials is not None  # the lab was opened with them
        key = credentials.get_frozen_credentials()
        access, secret = str(key.access_key), str(key.secret_key)
        return self._connected(
            client_id or f"{ACCOUNT_CLIENT}{uuid.uuid4()}",
            lambda name: Device(
                None,
                AccountCredentials(access, secret, self.region, self.ca_file, key.token),
                endpoint=self.endpoint,
                port=self.https_port,
                client_id=name,
                record=self.ledger.observer(),
            ),
        )

    def _connected(self, client_id: str, connect: Callable[[str], Device]) -> Device:
        """Connect; warn if a device of this kernel, of whichever `Lab`, is thrown out by it."""
        place = (self.endpoint, self.mqtt_port, self.account, client_id)
        before = _DEVICES.get(place)
        if before is not None and not before.closed:
            warnings.warn(
                f"There is a device with the client id '{client_id}' here already, and AWS keeps "
                "one connection for each: it is cut off now, connects again by itself, and so "
                "they cut each other off for ever. Close the first, or give this one a client_id "
                "of its own.",
                stacklevel=3,
            )
        _DEVICES[place] = device = connect(client_id)
        return device

    def why(
        self, of: str | None = None, *, action: str | None = None, resource: str | None = None
    ) -> Refusal:
        """Explain the last refusal, or answer whether a Thing may do something.

        Parameters
        ----------
        of
            Only what was refused to this client id, or to the certificate of this Thing.
        action, resource
            A question instead, such as ``action="iot:Publish", resource="creek/depth"``. On AWS,
            which tells nobody of its refusals, there is always a question: without these two, and
            without `of`, what this lab's own devices were refused last; else whether `of` may
            connect.

        Raises
        ------
        ValueError
            If a question is not whole, or its action is none of a device's.
        """
        from creeklab.diagnosis.refusal import (
            Refusal,
            explain_entry,
            explain_request,
            unknown_client,
        )

        if action is None and resource is None and self.target == "local":
            entry = self._last_refusal(of)
            if entry is not None or of is None:
                return explain_entry(self, entry)
            if self._is_known(of):
                return Refusal(None, nothing=f"Nothing was refused to '{of}'.")
            return Refusal(None, nothing=unknown_client(of, self._clients_and_things()))
        if self.target == "aws" and (of, action, resource) == (None, None, None):
            if self.ledger.last_refusal is None:
                return Refusal(None)
            of, action, resource = self.ledger.last_refusal
        return explain_request(self, of, action, resource)

    def _last_refusal(self, of: str | None) -> dict[str, Any] | None:
        question: dict[str, Any] = {"client_id": of}
        if of is not None:
            question["principals"] = self._certificates_of(of)
        entry: dict[str, Any] | None = self._admin("why", question)["entry"]
        if entry is not None and entry["kind"] == "disconnect":
            # What ended the connection stands in the entry that follows.
            after = {"after": entry["number"], "kind": "disconnect", "thing": entry["client_id"]}
            for end in self._admin("events", after)["entries"][:1]:
                entry["reason"] = end["reason"]
        return entry

    def _is_known(self, name: str) -> bool:
        """Tell whether there is such a Thing, or was such a client."""
        iot = self.client("iot")
        if or_none(lambda: iot.describe_thing(thingName=name)) is not None:
            return True
        return bool(self._event_pages("events", {"thing": name}))

    def _clients_and_things(self) -> set[str]:
        """Return the names of Things, and of clients on the tape but for the account's own."""
        things = {each["thingName"] for each in paginate(self.client("iot").list_things, "things")}
        # A connect that never got so far has no client id.
        clients = {
            entry.get("client_id") for entry in self._event_pages("events", {"kind": "connect"})
        }
        return things | {each for each in clients if each and not each.startswith(ACCOUNT_CLIENT)}

    def _certificates_of(self, thing: str) -> list[str]:
        answer = or_none(lambda: self.client("iot").list_thing_principals(thingName=thing))
        principals = [] if answer is None else answer["principals"]
        return [arn.rpartition("/")[2] for arn in principals]

    def events(
        self,
        after: int = 0,
        *,
        kind: str | None = None,
        thing: str | None = None,
        topic: str | None = None,
    ) -> pd.DataFrame:
        """Return what happened, oldest first, one row for each entry, indexed by its number.

        The cloud keeps the last happenings of each kind in memory: ten thousand messages, two
        thousand refusals, five thousand versions of shadows, and so on.

        Parameters
        ----------
        after
            Only entries with a greater number.
        kind
            Only of this kind: ``"connect"``, ``"disconnect"``, ``"subscribe"``,
            ``"unsubscribe"``, ``"publish"`` (a message that came in; ``to`` says to which clients
            it went), ``"deliver"`` (one that went out later, or a retained one), ``"receive"``
            (a delivery that was refused), ``"dropped"``, ``"shadow"``, ``"call"``, ...
        thing
            Only what its client did or got, and what happened to its shadows.
        topic
            Only messages on this topic, or on one that this topic filter matches.
        """
        from creeklab.events.table import table

        wanted = {"after": after, "kind": kind, "thing": thing, "topic": topic}
        question = {name: value for name, value in wanted.items() if value is not None}
        return table(self._event_pages("events", question))

    def metrics(self) -> pd.DataFrame:
        """Return CloudWatch's counters of the devices: how often a minute each thing happened.

        Returns
        -------
        DataFrame
            A row for each of the last 180 minutes in which something was counted, indexed by
            its beginning (UTC); columns (name, protocol), such as ``("PublishIn.Success",
            "MQTT")``, for what was counted at all.
        """
        import pandas as pd

        rows = self._admin("metrics", {})["minutes"]
        counts = pd.DataFrame(rows, columns=["minute", "name", "protocol", "sum"])
        counts["minute"] = pd.to_datetime(counts["minute"], unit="s", utc=True)
        return counts.pivot_table(
            index="minute", columns=["name", "protocol"], values="sum", aggfunc="sum", fill_value=0
        ).astype("int64")

    def reset(self) -> None:
        """Empty the account: no Thing, certificate, policy or shadow, and no key file is left.

        The cloud's certificate authority and the account's access key stay. Local only.
        """
        if self.target == "aws":
            raise NotSupportedOnAws(
                "An AWS account may hold what others need, so it is never emptied. "
                "lab.ledger.tear_down() takes down what this lab has made there."
            )
        reset_account(self.home)

    def console(self) -> Console:
        """Open the console: Things, certificates and policies, and what the devices did.

        Make it a cell's last line to see it; `close` ends it, and so does opening it again.
        """
        from creeklab.widgets.console import Console

        return self._tool(("console",), lambda: Console(self))

    def policy_lab(self, thing: str | None = None, policy: str | None = None) -> PolicyLab:
        """Open the policy playground: edit a policy and see what it decides as you type.

        Parameters
        ----------
        thing
            Whose requests are decided, without which it is the first Thing with files here.
        policy
            Which policy is edited, without which it is the first one of the Thing.
        """
        from creeklab.widgets.policy_lab import PolicyLab

        return self._tool(("policy lab", thing, policy), lambda: PolicyLab(self, thing, policy))

    @property
    def check(self) -> Checks:
        """The self-checks that end each step of a notebook."""
        from creeklab.course.checks import Checks

        self._check_running()
        return Checks(self)

    def catch_up(self, notebook: str | int) -> str:
        """Bring the account to where a notebook starts, such as ``"04-policy"``, or 4 for short.

        Returns what that is, in a sentence.
        """
        from creeklab.course.catch_up import catch_up

        self._check_running()
        return catch_up(self, notebook)

    def doctor(
        self,
        thing: str | None = None,
        *,
        client_id: str | None = None,
        publish: Iterable[str] = (),
        subscribe: Iterable[str] = (),
    ) -> CheckReport:
        """Find out whether this machine is ready, or with `thing` why its device does not get in.

        Parameters
        ----------
        client_id
            MQTT client id that the device would use, without which it is the Thing's name. A
            device that is connected under it is left alone.
        publish, subscribe
            Topics and topic filters that the device's policy has to allow.
        """
        from creeklab.diagnosis.doctor import device_report, machine_report

        if thing is None:
            return machine_report(self.home, self)
        return device_report(self, thing, client_id or thing, publish=publish, subscribe=subscribe)

    def test_client(self) -> MqttTestClient:
        """Open the MQTT test client: the page *Test* of the console, in the notebook.

        It connects as the account itself. Make it a cell's last line to see it; `close` ends it,
        and so does opening it again, as when the cell is run once more.
        """
        from creeklab.widgets.test_client import MqttTestClient

        return self._tool(("test client",), lambda: MqttTestClient.of(self))

    def shadow_view(self, thing: str, name: str = "") -> ShadowView:
        """Open the view of a Thing's shadow: as it is, as it was, and who wrote it.

        It connects as the account itself. Make it a cell's last line to see it; `close` ends it,
        and so does opening it again for the same shadow.

        Parameters
        ----------
        name
            Of a named shadow, without which it is the classic one.
        """
        from creeklab.widgets.shadow_view import ShadowView

        data = self.client("iot-data")
        which = {"thingName": thing, "shadowName": name} if name else {"thingName": thing}

        def read() -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = json.load(data.get_thing_shadow(**which)["payload"])
            except data.exceptions.ResourceNotFoundException:
                return None
            return found

        def entries(after: int) -> list[dict[str, Any]]:
            return self._event_pages("events", {"kind": "shadow", "thing": thing, "after": after})

        tape = entries if self.target == "local" else None  # AWS has none
        return self._tool(
            ("shadow view", thing, name),
            lambda: ShadowView(self.connect_account(), thing, name, read, tape),
        )

    def _tool(self, which: tuple[str | None, ...], make: Callable[[], T]) -> T:
        """Open a tool, and close the one that was opened here before: a cell may be run again."""
        place = (self.endpoint, self.mqtt_port, self.account, *which)
        before = _TOOLS.get(place)
        _TOOLS[place] = made = make()
        if before is not None:
            before.close()
        return made

    def _event_pages(self, verb: str, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Ask for page after page of the tape, as far as it went at the first."""
        page = self._admin(verb, question)
        entries: list[dict[str, Any]] = page["entries"]
        while page["after"] < page["until"]:
            where = {"after": page["after"], "until": page["until"]}
            page = self._admin(verb, {**question, **where})
            entries += page["entries"]
        return entries

    def _check_running(self) -> None:
        if self._target.ask is not None:
            self._target.ask("why", {})  # says so if the cloud has ended

    def _admin(self, verb: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the door that only the local cloud has."""
        if self._target.ask is None:
            raise NotSupportedOnAws(NO_EVENT_LOG)
        return self._target.ask(verb, question)

    def __repr__(self) -> str:
        return f"Lab: {self.target} cloud, account {self.account}, region {self.region}"
