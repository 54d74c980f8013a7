"""One open account: where it is, how to reach it, and what this lab created in it.

`Lab` adds the tools. The tools themselves take only a `LabSession`, so that they depend neither on
each other nor on the facade that opens them.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

from creeklab.client.device import AccountCredentials, ConnectionChange, Device
from creeklab.client.inbox import ReceivedMessage
from creeklab.client.key_files import KeyFiles
from creeklab.ledger.ledger import Ledger
from creeklab.targets.target import NotSupportedOnAws, Target

NO_EVENT_LOG = (
    "AWS has no event log. Instead, subscribe a device to '#' to receive the messages that its "
    "policy allows, or use CloudWatch: its metrics (namespace AWS/IoT) and, once enabled, its logs "
    "(log group AWSIotLogsV2). The local cloud has an event log: "
    'creeklab.open_lab("local").'
)

ACCOUNT_CLIENT_PREFIX = "account-"
"""Start of the generated client IDs of the account's own connections."""

_DEVICES: MutableMapping[tuple[Any, ...], Device] = WeakValueDictionary()
"""The latest device under each client ID of each account in this kernel, over all sessions."""


class LabSession:
    """A session on one account.

    Attributes
    ----------
    home
        Home folder.
    target
        ``"local"`` (also in a workshop) or ``"aws"``.
    account, region
        Account number and region.
    endpoint, mqtt_port, https_port, ca_file
        Host name, ports and trusted certificates that any MQTT or HTTPS client needs to connect.
    session
        A boto3 session of the account; all its clients talk to this cloud.
    keys
        Certificate and key files of the Things.
    ledger
        The resources that this lab created, and its usage.
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

    def connect(
        self,
        thing: str,
        client_id: str | None = None,
        *,
        session: str | None = None,
        on_message: Callable[[ReceivedMessage], object] | None = None,
        on_connection: Callable[[ConnectionChange], object] | None = None,
    ) -> Device:
        """Connect as a Thing, with the certificate that was saved for it.

        Parameters
        ----------
        client_id
            MQTT client ID. Defaults to the Thing's name, as AWS recommends.
        session
            How long AWS keeps messages for this client while it is away, such as ``"1h"``. The next
            connection with this client ID, in this process or another, resumes the session.
        on_message
            Called with each message that no subscription with a callback of its own matches.
        on_connection
            Called whenever the connection is made or lost. See `Device` for all three.

        Raises
        ------
        FileNotFoundError
            If no certificate was saved for the Thing.
        ValueError
            If the session is not a duration that AWS allows.
        creeklab.client.device.RequestRefused
            If the cloud rejects the connection; `Lab.why` explains it.

        Warns
        -----
        UserWarning
            If another open device in this kernel uses the same client ID.
        """
        files = self.keys.files(thing)
        self._target.accept_costs()
        return self._connect(
            client_id or thing,
            lambda name: Device(
                thing,
                files,
                endpoint=self.endpoint,
                port=self.mqtt_port,
                client_id=name,
                observer=self.ledger.observer(),
                session=session,
                on_message=on_message,
                on_connection=on_connection,
            ),
        )

    def connect_account(
        self,
        client_id: str | None = None,
        *,
        session: str | None = None,
        on_message: Callable[[ReceivedMessage], object] | None = None,
        on_connection: Callable[[ConnectionChange], object] | None = None,
    ) -> Device:
        """Connect as the account itself, as the MQTT test client of the console does.

        The connection uses WebSocket and is signed with the account's access key. IoT policies are
        not consulted: the account can publish, subscribe to and receive everything.

        Parameters
        ----------
        client_id
            MQTT client ID. Defaults to a unique one; a session needs one that stays the same.
        session, on_message, on_connection
            As in `connect`.

        Raises
        ------
        ValueError
            If there is a session without a client ID, or it is not a duration that AWS allows.
        creeklab.client.device.RequestRefused
            If the cloud rejects the connection; `Lab.why` explains it.
        """
        if session is not None and client_id is None:
            raise ValueError(
                "A session needs a client ID, because only the same client ID can resume it. Pass "
                "client_id= with a name of your choice."
            )
        self._target.accept_costs()
        credentials = self.session.get_credentials()
        assert credentials is not None  # a target has them
        key = credentials.get_frozen_credentials()
        access, secret = str(key.access_key), str(key.secret_key)
        return self._connect(
            client_id or f"{ACCOUNT_CLIENT_PREFIX}{uuid.uuid4()}",
            lambda name: Device(
                None,
                AccountCredentials(access, secret, self.region, self.ca_file, key.token),
                endpoint=self.endpoint,
                port=self.https_port,
                client_id=name,
                observer=self.ledger.observer(),
                session=session,
                on_message=on_message,
                on_connection=on_connection,
            ),
        )

    def _connect(self, client_id: str, connect: Callable[[str], Device]) -> Device:
        """Connect; warn if this disconnects another device of this kernel."""
        key = (self.endpoint, self.mqtt_port, self.account, client_id)
        before = _DEVICES.get(key)
        if before is not None and not before.closed:
            warnings.warn(
                f"Another device here is already connected with the client ID '{client_id}', and "
                "AWS allows one connection for each client ID. Each of the two now disconnects the "
                "other and reconnects, over and over. Close the first one, or pass a different "
                "client_id.",
                stacklevel=3,
            )
        _DEVICES[key] = device = connect(client_id)
        return device

    def admin(self, endpoint: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call an endpoint of the admin API, which only the local cloud has.

        Raises
        ------
        NotSupportedOnAws
            If this session is on AWS.
        """
        if self._target.admin is None:
            raise NotSupportedOnAws(NO_EVENT_LOG)
        return self._target.admin(endpoint, request or {})

    def event_pages(self, **filters: Any) -> list[dict[str, Any]]:
        """Return all entries of the event log up to now that match; see `Lab.events`.

        Parameters
        ----------
        filters
            ``after``, ``kind``, ``thing``, ``topic``; None matches everything.

        Raises
        ------
        NotSupportedOnAws
            If this session is on AWS.
        """
        request = {name: value for name, value in filters.items() if value is not None}
        page = self.admin("events", request)
        entries: list[dict[str, Any]] = page["entries"]
        while page["after"] < page["until"]:
            page = self.admin("events", {**request, "after": page["after"], "until": page["until"]})
            entries += page["entries"]
        return entries

    def __repr__(self) -> str:
        return f"Lab: {self.target} cloud, account {self.account}, region {self.region}"
