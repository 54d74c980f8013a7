"""A stand-in for AWS: a local cloud that looks like AWS from outside, without leaving this machine.

Clients reach it through boto3's own settings: credentials, region and endpoint address from the
environment. Two settings differ from AWS: the certificate that devices trust, and the ports.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from creeklab.cloud import supervisor
from creeklab.cloud.account import load_account
from creeklab.targets import aws

NOTHING = Path("/nonexistent/aws")
SETTINGS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_CA_BUNDLE",
    "CREEKLAB_TARGET",
    "CREEKLAB_ACCEPT_COSTS",
)


@contextmanager
def no_aws_settings() -> Iterator[pytest.MonkeyPatch]:
    """Remove this machine's AWS settings; the patch can set others."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", str(NOTHING))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(NOTHING))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield patch


@contextmanager
def stand_in(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Run a cloud in `folder` that stands in for AWS in this process."""
    running = supervisor.start_or_attach(folder)
    account = load_account(folder / "cloud")
    try:
        with no_aws_settings() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", account.access_key)
            patch.setenv("AWS_SECRET_ACCESS_KEY", account.secret_key)
            patch.setenv("AWS_REGION", account.region)
            patch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{running.https_port}")
            patch.setenv("AWS_CA_BUNDLE", str(supervisor.ca_path(folder)))
            patch.setattr(aws, "CA_FILE", supervisor.ca_path(folder))
            patch.setattr(aws, "HTTPS_PORT", running.https_port)
            patch.setattr(aws, "reachable_port", lambda _: running.mqtt_port)
            yield patch
    finally:
        supervisor.stop(folder)
