"""A running local cloud as a source of fresh accounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from creeklab.cloud import supervisor
from creeklab.cloud.account import AccountIdentity
from creeklab.lab.lab import Lab
from creeklab.session.lab_session import LabSession
from creeklab.targets.local import open_account, open_local

# Settings of this machine that would keep boto3 away from the account of the test.
OTHER_SETTINGS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")


class IotCoreServer:
    """A running local cloud.

    Parameters
    ----------
    home
        Home folder of the cloud.

    Attributes
    ----------
    host, mqtt_port, https_port
        Where it listens.
    ca_file
        Certificate that its clients must trust.
    """

    def __init__(self, home: Path, running: supervisor.RunningCloud) -> None:
        self._running = running
        self._owner = LabSession(home, open_local(home, running))
        self.host = running.endpoint
        self.mqtt_port = running.mqtt_port
        self.https_port = running.https_port
        self.ca_file = supervisor.ca_path(home)

    @contextmanager
    def fresh_account(self, folder: Path) -> Iterator[Lab]:
        """Open a lab on a new, empty account, and remove the account at the end.

        Meanwhile, the environment variables of AWS lead to the account, so that ``boto3.client``
        needs no arguments.

        Parameters
        ----------
        folder
            Folder for the key files of its Things.
        """
        created = self._owner.admin("create-account", {})
        identity = AccountIdentity(**created["identity"])
        try:
            with self._environment(identity, created["services"]):
                yield Lab(folder, open_account(folder, identity, self._running, self.ca_file))
        finally:
            self._owner.admin("remove-account", {"account": identity.account})

    @contextmanager
    def _environment(self, identity: AccountIdentity, services: list[str]) -> Iterator[None]:
        settings = {
            "AWS_ACCESS_KEY_ID": identity.access_key,
            "AWS_SECRET_ACCESS_KEY": identity.secret_key,
            "AWS_REGION": identity.region,
            "AWS_DEFAULT_REGION": identity.region,
            "AWS_CA_BUNDLE": str(self.ca_file),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        url = f"https://{self.host}:{self.https_port}"
        for service in services:
            settings[f"AWS_ENDPOINT_URL_{service.upper().replace(' ', '_')}"] = url
        with pytest.MonkeyPatch.context() as patch:
            for name in OTHER_SETTINGS:
                patch.delenv(name, raising=False)
            for name, value in settings.items():
                patch.setenv(name, value)
            # The default session keeps the access key that it has read first.
            patch.setattr(boto3, "DEFAULT_SESSION", None)
            yield
