"""What a lab is opened on: one account of an AWS IoT Core, local or AWS's own.

`creeklab.targets.local` makes one of the local cloud, `creeklab.targets.aws` one of an AWS account. All that the
rest of the lab needs to know of the difference is in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import boto3

TargetName = Literal["local", "aws"]
Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]


class NotSupportedOnAws(RuntimeError):
    """The local cloud can do this and AWS cannot; the message says what to use there instead."""


@dataclass(frozen=True, slots=True)
class Target:
    """One account and where it is reached.

    Attributes
    ----------
    name
        ``"local"`` or ``"aws"``.
    folder
        Where this account's key files and ledger are kept.
    session
        A boto3 session of the account.
    ask
        Asks the door that only the local cloud has; None on AWS.
    agree
        Called before anything that costs; raises if the person does not agree.
    """

    name: TargetName
    folder: Path
    account: str
    region: str
    endpoint: str
    mqtt_port: int
    https_port: int
    ca_file: Path
    session: boto3.Session
    ask: Ask | None = None
    accept_costs: Callable[[], None] = lambda: None
