"""An account of AWS itself as a target: the learner's own credentials, region and endpoint.

Credentials and region come from where boto3 finds them: environment, ``AWS_PROFILE``, the files
that ``aws configure`` writes, single sign-on. Devices connect to the account's own ATS endpoint,
on port 8883, or on 443 with ALPN where a firewall closes that one, and trust Amazon Root CA 1.

Two things are refused: to work as the root user, and to spend money before somebody has said yes.
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
MQTT_PORTS = (8883, 443)  # the SDK asks for ALPN x-amzn-mqtt-ca on 443 by itself
HTTPS_PORT = 443  # where the account signs; a certificate alone is enough on 8443
PROBE_TIMEOUT = 3.0
ACCEPT_COSTS = "CREEKLAB_ACCEPT_COSTS"
SERVICES = ("iot", "iot-data-plane")  # as botocore's events name those that cost


class AwsError(RuntimeError):
    """The AWS account cannot be used like this; the message says why and what to do."""


def open_aws(home: Path, *, accept_costs: bool = False, mqtt_port: int | None = None) -> Target:
    """Find out which account, region and endpoint the credentials of this machine lead to.

    Parameters
    ----------
    home
        Home folder; the account's keys and ledger get a folder of their own in it.
    accept_costs
        Whether the lab may create resources that cost money. Without it, and without
        ``CREEKLAB_ACCEPT_COSTS=yes`` in the environment, the first call that costs money asks.
    mqtt_port
        8883 or 443; without it 8883 if it can be reached, else 443.

    Raises
    ------
    AwsError
        If there is no region or there are no credentials, AWS does not accept them, or they are
        the root user's.
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
    # boto3 reads AWS_DEFAULT_REGION; other tools of AWS read AWS_REGION.
    region = os.environ.get("AWS_REGION") or None
    try:
        session = boto3.Session(region_name=region)
        credentials = session.get_credentials()
    except ProfileNotFound as error:
        raise AwsError(
            f"{error}. AWS_PROFILE names it: correct that, or make the profile with aws configure "
            "--profile NAME."
        ) from None
    except BotoCoreError as error:
        raise AwsError(f"AWS's settings on this machine cannot be used. {error}") from None
    if session.region_name is None:
        raise AwsError(
            "No AWS region is chosen, and Things live in one region. Choose it, such as us-east-1, "
            "with aws configure, or with the environment variable AWS_REGION, and open the lab "
            "again."
        )
    if credentials is None:
        raise AwsError(
            "There are no AWS credentials on this machine. Make an IAM user with an access key "
            "(notebook 01 shows how) and give it to aws configure, or name a profile that has "
            "some with AWS_PROFILE. For the local cloud, which needs none: "
            'creeklab.open_lab("local").'
        )
    return session


def _ask_aws(call: Callable[[], Any]) -> Any:
    """Call AWS; say what a failure means for somebody who has only just made an account."""
    try:
        return call()
    except ClientError as error:
        said = error.response["Error"]
        raise AwsError(
            f"AWS does not accept this ({said['Code']}: {said['Message']}). Is the access key "
            "still valid, this machine's clock right, and may the user use AWS IoT "
            "(AWSIoTFullAccess)?"
        ) from None
    except BotoCoreError as error:
        raise AwsError(
            f"AWS cannot be reached or asked. {error} Are you online, and is the region right?"
        ) from None


def _refuse_root(arn: str) -> None:
    if arn.endswith(":root"):
        raise AwsError(
            "These are the credentials of the account's root user, who may do everything, close "
            "the account included, and whom no policy can stop. AWS advises against access keys "
            "for it, and so does this lab. Make an IAM user (notebook 01 shows how), use its "
            "access key here, and delete the root user's."
        )


def reachable_port(endpoint: str) -> int:
    """Return the port for MQTT: 8883 unless only 443 can be reached from here."""
    for port in MQTT_PORTS:
        with contextlib.suppress(OSError):
            socket.create_connection((endpoint, port), PROBE_TIMEOUT).close()
            return port
    return MQTT_PORTS[0]


def _before_call(consent: CostConsent) -> Callable[..., None]:
    def ask(model: Any, **_: Any) -> None:
        if model.name != "DescribeEndpoint":  # tells an address, and is free
            consent.ask()

    return ask


class CostConsent:
    """Whether somebody has agreed that this account is used; asked for once, kept in a file."""

    def __init__(self, file: Path, account: str, region: str) -> None:
        self._file = file
        self._account = account
        self._region = region

    def given(self) -> bool:
        """Say whether it was given."""
        return self._file.exists()

    def give(self) -> None:
        """Give it, for this account and region."""
        if not self.given():
            self._file.write_text(json.dumps({"agreed": time.time()}) + "\n", encoding="utf-8")

    def ask(self) -> None:
        """Return if it was given; else ask.

        Raises
        ------
        AwsError
            If the answer is not yes, or nobody can be asked.
        """
        if self.given():
            return
        print(
            f"From here on things are made in your AWS account {self._account}, region "
            f"{self._region}, and AWS counts\nmessages and calls. By the list of prices the course "
            "costs a cent or two; with a free tier or credits,\nnothing. lab.ledger.cost() counts "
            "along, lab.ledger.tear_down() removes what was made."
        )
        try:
            answer = input("Type yes to go on: ")
        except (EOFError, NotImplementedError, RuntimeError):  # nobody is there to answer
            answer = ""
        if answer.strip().lower() != "yes":
            raise AwsError(
                "Nothing was done in AWS, because nobody accepted the costs. Run this again and "
                "type yes, or accept them in advance: "
                f'creeklab.open_lab("aws", accept_costs=True), or {ACCEPT_COSTS}=yes in the '
                "environment."
            )
        self.give()
