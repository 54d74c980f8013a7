"""The lab: one place to learn in, with all that a client needs to reach it.

`open_lab` finds the local cloud of this home folder or starts it. From there a notebook uses
plain boto3 (`Lab.client`) and awsiotsdk (`Lab.connect`), as it would on AWS.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from creeklab.cloud import process
from creeklab.cloud.account import Account, load_account
from creeklab.device import AccountKey, Device
from creeklab.door import ask
from creeklab.home import home_folder, refuse_git_work_tree
from creeklab.keys import Keys

if TYPE_CHECKING:
    import pandas as pd

    from creeklab.checks import Checks
    from creeklab.why import Why
    from creeklab.widgets.console import Console
    from creeklab.widgets.mqtt_test_client import MqttTestClient
    from creeklab.widgets.policy_lab import PolicyLab
    from creeklab.widgets.shadow_view import ShadowView


def open_lab(target: str = "local", *, home: Path | None = None) -> Lab:
    """Open the lab: find the local cloud of the home folder, or start it; in a workshop, use its.

    Parameters
    ----------
    target
        ``"local"``; AWS itself is not a target yet.
    home
        Home folder, without which it is the one that ``CREEKLAB_HOME`` names, or the user's own.

    Raises
    ------
    ValueError
        If `target` is not one of those, or the home folder lies in a git work tree.
    creeklab.cloud.process.CloudError
        If the local cloud could not be started.
    """
    if target != "local":
        raise ValueError(f"open_lab knows the target 'local', not '{target}'.")
    home = home or home_folder()
    refuse_git_work_tree(home)
    return Lab(home, process.ensure(home))


class Lab:
    """An open lab.

    Attributes
    ----------
    target
        ``"local"``.
    account, region
        Account number and region.
    endpoint, mqtt_port, https_port, ca_file
        What any MQTT or HTTPS client needs to connect: host name, ports, and the certificates
        to trust.
    session
        A boto3 session of the account, all of whose clients talk to this cloud.
    keys
        Certificate and key files of the Things.
    """

    target = "local"

    def __init__(self, home: Path, running: process.Running) -> None:
        self.home = home
        self._account = load_account(home / "cloud")
        self.account = self._account.account
        self.region = self._account.region
        self.endpoint = running.endpoint
        self.mqtt_port = running.mqtt_port
        self.https_port = running.https_port
        self.ca_file = process.ca_file(home)
        self.session = _LocalSession(self._account, self._url, self.ca_file)
        self.keys = Keys(home / "keys", self.ca_file)

    @property
    def _url(self) -> str:
        return f"https://{self.endpoint}:{self.https_port}"

    def client(self, service: str) -> Any:
        """Return a boto3 client of this cloud, such as ``"iot"`` or ``"iot-data"``."""
        return self.session.client(service)

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
        creeklab.device.Refused
            If the cloud does not take the connection; `why` says why.
        """
        return Device(
            thing,
            self.keys.files(thing),
            endpoint=self.endpoint,
            port=self.mqtt_port,
            client_id=client_id or thing,
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
        creeklab.device.Refused
            If the cloud does not take the connection; `why` says why.
        """
        key = self._account
        return Device(
            None,
            AccountKey(key.access_key, key.secret_key, self.region, self.ca_file),
            endpoint=self.endpoint,
            port=self.https_port,
            client_id=client_id or f"account-{uuid.uuid4()}",
        )

    def why(
        self, of: str | None = None, *, action: str | None = None, resource: str | None = None
    ) -> Why:
        """Explain the last refusal, or answer whether a Thing may do something.

        Parameters
        ----------
        of
            Only what was refused to this client id, or to the certificate of this Thing.
        action, resource
            A question instead, such as ``action="iot:Publish", resource="creek/depth"``. On AWS,
            which keeps no refusals, there is always a question: without these two, whether `of` may
            connect.

        Raises
        ------
        ValueError
            If a question is not whole, or its action is none of a device's.
        """
        from creeklab.why import why_of, why_refused

        if action is None and resource is None and self.target == "local":
            return why_refused(self, self._last_refusal(of))
        return why_of(self, of, action, resource)

    def _last_refusal(self, of: str | None) -> dict[str, Any] | None:
        question: dict[str, Any] = {"client_id": of}
        if of is not None:
            question["principals"] = self._certificates_of(of)
        entry: dict[str, Any] | None = self._ask("why", question)["entry"]
        return entry

    def _certificates_of(self, thing: str) -> list[str]:
        try:
            answer = self.client("iot").list_thing_principals(thingName=thing)
        except ClientError:
            return []  # there is no such Thing
        return [arn.rpartition("/")[2] for arn in answer["principals"]]

    def tape(
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
        from creeklab.tape import table

        wanted = {"after": after, "kind": kind, "thing": thing, "topic": topic}
        question = {name: value for name, value in wanted.items() if value is not None}
        return table(self._pages("tape", question))

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

        rows = self._ask("metrics", {})["minutes"]
        counts = pd.DataFrame(rows, columns=["minute", "name", "protocol", "sum"])
        counts["minute"] = pd.to_datetime(counts["minute"], unit="s", utc=True)
        return counts.pivot_table(
            index="minute", columns=["name", "protocol"], values="sum", aggfunc="sum", fill_value=0
        ).astype("int64")

    def reset(self) -> None:
        """Empty the account: no Thing, certificate, policy or shadow, and no key file is left.

        The cloud's certificate authority and the account's access key stay.
        """
        reset_account(self.home)

    def console(self) -> Console:
        """Open the console: Things, certificates and policies, and what the devices did.

        Make it a cell's last line to see it; `close` ends it.
        """
        from creeklab.widgets.console import Console

        return Console(self)

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

        return PolicyLab(self, thing, policy)

    @property
    def check(self) -> Checks:
        """The self-checks that end each step of a notebook."""
        from creeklab.checks import Checks

        self._ask("why", {})  # says so if the cloud has ended
        return Checks(self)

    def catch_up(self, notebook: str) -> str:
        """Bring the account to where a notebook starts, such as ``"04-policy"``.

        Returns what that is, in a sentence.
        """
        from creeklab.catch_up import catch_up

        self._ask("why", {})  # says so if the cloud has ended
        return catch_up(self, notebook)

    def test_client(self) -> MqttTestClient:
        """Open the MQTT test client: the page *Test* of the console, in the notebook.

        It connects as the account itself. Make it a cell's last line to see it; `close` ends it.
        """
        from creeklab.widgets.mqtt_test_client import MqttTestClient

        device = self.connect_account()
        return MqttTestClient(device, lambda: self.why(device.client_id).summary)

    def shadow_view(self, thing: str, name: str = "") -> ShadowView:
        """Open the view of a Thing's shadow: as it is, as it was, and who wrote it.

        It connects as the account itself. Make it a cell's last line to see it; `close` ends it.

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
            return self._pages("tape", {"kind": "shadow", "thing": thing, "after": after})

        return ShadowView(self.connect_account(), thing, name, read, entries)

    def _pages(self, verb: str, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Ask for page after page of the tape, as far as it went at the first."""
        page = self._ask(verb, question)
        entries: list[dict[str, Any]] = page["entries"]
        while page["after"] < page["until"]:
            where = {"after": page["after"], "until": page["until"]}
            page = self._ask(verb, {**question, **where})
            entries += page["entries"]
        return entries

    def _ask(self, verb: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the door that only the local cloud has."""
        try:
            return ask(self._url, self.ca_file, self._account, verb, question)
        except EndpointConnectionError:
            raise process.CloudError(
                "The local cloud does not run any more. Open the lab again with "
                "creeklab.open_lab()."
            ) from None

    def __repr__(self) -> str:
        return f"Lab: {self.target} cloud, account {self.account}, region {self.region}"


def reset_account(home: Path) -> bool:
    """Empty the account of a home's cloud, as `Lab.reset` does; return whether the cloud runs."""
    if process.joined(home) is None:
        running = process.reset(home)
    else:
        open_lab(home=home)._ask("reset", {})
        running = True
    Keys(home / "keys", process.ca_file(home)).clear()
    return running


class _LocalSession(boto3.Session):
    """A boto3 session whose clients talk to the local cloud, whatever the environment says."""

    def __init__(self, account: Account, url: str, ca_file: Path) -> None:
        # Of AWS's own settings on this machine, in files and in the environment, none counts here.
        nothing = {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        super().__init__(
            botocore_session=botocore.session.Session(session_vars=nothing),
            aws_access_key_id=account.access_key,
            aws_secret_access_key=account.secret_key,
            region_name=account.region,
        )
        self._url = url
        self._ca_file = str(ca_file)

    def client(  # type: ignore[override]
        self, service_name: str, region_name: str | None = None, **options: Any
    ) -> Any:
        """Return a client, as `boto3.Session.client` does."""
        given = {name: value for name, value in options.items() if value is not None}
        # A proxy of the environment must not come between two programs of one machine.
        config = Config(proxies={}).merge(given.pop("config", Config()))
        defaults = {"endpoint_url": self._url, "verify": self._ca_file, "config": config}
        return cast(Any, super()).client(service_name, region_name, **{**defaults, **given})
