"""An AWS account as a target: the learner's own credentials, region and endpoint.

Credentials and region come from where boto3 finds them: environment, ``AWS_PROFILE``, the files
that ``aws configure`` writes, single sign-on. Devices connect to the account's own ATS endpoint on
port 8883, or on 443 with ALPN if a firewall blocks 8883, and trust Amazon Root CA 1.

The lab refuses to work as the root user, and to spend money before the user has accepted costs.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from creeklab.targets.target import Target

CA_FILE = Path(__file__).parents[1] / "certificates" / "AmazonRootCA1.pem"
MQTT_PORTS = (8883, 443)  # the SDK itself uses ALPN x-amzn-mqtt-ca on 443
HTTPS_PORT = 443  # for signed requests; 8443 accepts a device certificate instead
PROBE_TIMEOUT = 3.0
ACCEPT_COSTS = "CREEKLAB_ACCEPT_COSTS"
SERVICES = ("iot", "iot-data-plane", "lambda")  # billed services, as named in botocore's events


class AwsError(RuntimeError):
    """The AWS account cannot be used; the message says why and what to do."""


def open_aws(home: Path, *, accept_costs: bool = False, mqtt_port: int | None = None) -> Target:
    """Return the account, region and endpoint of this machine's AWS credentials as a target.

    Parameters
    ----------
    home
        Home folder; the account's keys and ledger have a folder of their own in it.
    accept_costs
        Whether the lab may create resources that cost money. Without it, and without
        ``CREEKLAB_ACCEPT_COSTS=yes`` in the environment, the first call that costs money asks.
    mqtt_port
        8883 or 443. Defaults to 8883 if it can be reached, else to 443.

    Raises
    ------
    AwsError
        If region or credentials are missing, AWS rejects them, or they are the root user's.
    """
    session = _session()
    identity = _ask_aws(lambda: session.client("sts").get_caller_identity())
    _refuse_root(identity["Arn"])
    region = session.region_name
    endpoint = _ask_aws(
        lambda: session.client("iot").describe_endpoint(endpointType="iot:Data-ATS")
    )["endpointAddress"]
    folder = home / "aws" / f"{identity['Account']}-{region}"
    for each in (home, folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    consent = CostConsent(folder / "agreed.json", identity["Account"], region)
    if accept_costs or os.environ.get(ACCEPT_COSTS, "").lower() == "yes":
        consent.give()
    for service in SERVICES:
        session.events.register_first(f"before-parameter-build.{service}", _before_call(consent))
    return Target(
        name="aws",
        folder=folder,
        account=identity["Account"],
        region=region,
        endpoint=endpoint,
        mqtt_port=mqtt_port or reachable_port(endpoint),
        https_port=HTTPS_PORT,
        ca_file=CA_FILE,
        session=session,
        accept_costs=consent.ask,
    )


def _session() -> boto3.Session:
    # boto3 reads only AWS_DEFAULT_REGION; other AWS tools read AWS_REGION.
    region = os.environ.get("AWS_REGION") or None
    try:
        session = boto3.Session(region_name=region)
        credentials = session.get_credentials()
    except ProfileNotFound as error:
        raise AwsError(
            f"{error}. AWS_PROFILE names it: correct the variable, or create the profile with aws "
            "configure --profile NAME."
        ) from None
    except BotoCoreError as error:
        raise AwsError(f"The AWS settings of this machine are not valid. {error}") from None
    if session.region_name is None:
        raise AwsError(
            "No AWS region is chosen, and each Thing belongs to a region. Choose one, such as "
            "us-east-1, with aws configure or the environment variable AWS_REGION, and open the "
            "lab again."
        )
    if credentials is None:
        raise AwsError(
            "This machine has no AWS credentials. Create an IAM user with an access key (notebook "
            "01 shows how) and enter the key in aws configure, or name a profile with credentials "
            'in AWS_PROFILE. The local cloud needs none: creeklab.open_lab("local").'
        )
    return session


def _ask_aws(call: Callable[[], Any]) -> Any:
    """Call AWS; explain a failure to a learner with a new account."""
    try:
        return call()
    except ClientError as error:
        details = error.response["Error"]
        raise AwsError(
            f"AWS rejected a call ({details['Code']}: {details['Message']}). Check that the access "
            "key is valid, this machine's clock is right, and the user is allowed to use AWS IoT "
            "(AWSIoTFullAccess)."
        ) from None
    except BotoCoreError as error:
        raise AwsError(
            f"Cannot call AWS. {error} Check that you are online and the region is right."
        ) from None


def _refuse_root(arn: str) -> None:
    if arn.endswith(":root"):
        raise AwsError(
            "These are the credentials of the account's root user, who is allowed everything, "
            "including closing the account, and whom no policy can restrict. AWS advises against "
            "access keys for the root user, and so does this lab. Create an IAM user (notebook 01 "
            "shows how), use its access key here, and delete the root user's."
        )


def reachable_port(endpoint: str) -> int:
    """Return the port for MQTT: 8883, unless only 443 can be reached."""
    for port in MQTT_PORTS:
        with contextlib.suppress(OSError):
            socket.create_connection((endpoint, port), PROBE_TIMEOUT).close()
            return port
    return MQTT_PORTS[0]


def _before_call(consent: CostConsent) -> Callable[..., None]:
    def ask(model: Any, **_: Any) -> None:
        if model.name != "DescribeEndpoint":  # free of charge
            consent.ask()

    return ask


class CostConsent:
    """The user's consent to costs in an account: asked for once, and kept in a file."""

    def __init__(self, file: Path, account: str, region: str) -> None:
        self._file = file
        self._account = account
        self._region = region

    def given(self) -> bool:
        """Return whether the user has consented."""
        return self._file.exists()

    def give(self) -> None:
        """Record the consent for this account and region."""
        if not self.given():
            self._file.write_text(json.dumps({"agreed": time.time()}) + "\n", encoding="utf-8")

    def ask(self) -> None:
        """Ask for consent, unless it was given before.

        Raises
        ------
        AwsError
            If the answer is not yes, or nobody can answer.
        """
        if self.given():
            return
        print(
            f"The lab is about to create resources in your AWS account {self._account}, region "
            f"{self._region}.\nAWS bills messages and calls: the course costs a cent or two at "
            "list prices, and nothing with a\nfree tier or credits. lab.ledger.cost() shows the "
            "cost so far; lab.ledger.tear_down() deletes\nwhat the lab created."
        )
        try:
            answer = input("Type yes to continue: ")
        except (EOFError, NotImplementedError, RuntimeError):  # nobody can answer
            answer = ""
        if answer.strip().lower() != "yes":
            raise AwsError(
                "Nothing was done in AWS, because nobody accepted the costs. Run this again and "
                "type yes, or accept them in advance: "
                f'creeklab.open_lab("aws", accept_costs=True), or {ACCEPT_COSTS}=yes in the '
                "environment."
            )
        self.give()
