"""The local cloud as a target: its account, a boto3 session that calls it, and its admin API."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from creeklab.cloud import supervisor
from creeklab.cloud.account import AccountIdentity, load_account
from creeklab.targets.admin_client import call_admin
from creeklab.targets.target import Target


def open_local(home: Path, running: supervisor.RunningCloud) -> Target:
    """Return the account of a home folder, on the local cloud that is running for it."""
    account = load_account(home / "cloud")
    url = f"https://{running.endpoint}:{running.https_port}"
    ca_file = supervisor.ca_path(home)
    return Target(
        name="local",
        folder=home,
        account=account.account,
        region=account.region,
        endpoint=running.endpoint,
        mqtt_port=running.mqtt_port,
        https_port=running.https_port,
        ca_file=ca_file,
        session=_LocalSession(account, url, ca_file),
        admin=partial(_call_admin, url, ca_file, account),
    )


class CloudNotRunning(EndpointConnectionError):
    """The local cloud has stopped: boto3 raises this instead of a bare connection error."""

    fmt = (
        "The local cloud is no longer running: nothing listens at {endpoint_url}. Open the lab "
        "again with lab = creeklab.open_lab(), then create new clients and devices from it."
    )


def _raise_if_stopped(caught_exception: Exception | None, **_: Any) -> None:
    """Raise at the first attempt: the SDK would retry for seconds, then say less."""
    if isinstance(caught_exception, EndpointConnectionError):
        url = urlsplit(caught_exception.kwargs["endpoint_url"])
        raise CloudNotRunning(endpoint_url=f"{url.scheme}://{url.netloc}")


def _call_admin(url: str, *arguments: Any) -> dict[str, Any]:
    """Call the admin API of a running cloud with its account's access key."""
    try:
        return call_admin(url, *arguments)
    except EndpointConnectionError:
        raise supervisor.CloudError(CloudNotRunning.fmt.format(endpoint_url=url)) from None


class _LocalSession(boto3.Session):
    """A boto3 session whose clients call the local cloud, whatever the environment says."""

    def __init__(self, account: AccountIdentity, url: str, ca_file: Path) -> None:
        # AWS settings of this machine, in files or environment variables, must not apply here.
        no_settings = {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        super().__init__(
            botocore_session=botocore.session.Session(session_vars=no_settings),
            aws_access_key_id=account.access_key,
            aws_secret_access_key=account.secret_key,
            region_name=account.region,
        )
        self._url = url
        self._ca_file = str(ca_file)
        self.events.register_first("needs-retry", _raise_if_stopped)

    def client(  # type: ignore[override]
        self, service_name: str, region_name: str | None = None, **options: Any
    ) -> Any:
        """Return a client, as `boto3.Session.client` does."""
        given = {name: value for name, value in options.items() if value is not None}
        # A proxy from the environment must not come between two programs on one machine.
        config = Config(proxies={}).merge(given.pop("config", Config()))
        defaults = {"endpoint_url": self._url, "verify": self._ca_file, "config": config}
        return cast(Any, super()).client(service_name, region_name, **{**defaults, **given})
