"""An account to open a lab on, local or in AWS: everything that differs between the two.

`creeklab.targets.local` and `creeklab.targets.aws` build it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import boto3

TargetName = Literal["local", "aws"]
AdminCall = Callable[[str, Mapping[str, Any]], dict[str, Any]]


class NotSupportedOnAws(RuntimeError):
    """The local cloud can do this and AWS cannot; the message says what to use there instead."""


@dataclass(frozen=True, slots=True)
class Target:
    """An account and how to reach it.

    Attributes
    ----------
    name
        ``"local"`` or ``"aws"``.
    folder
        Folder of this account's key files and ledger.
    session
        A boto3 session of the account.
    admin
        Calls an endpoint of the admin API with a request; None on AWS, which has no such API.
    accept_costs
        Called before anything that costs money; raises unless the user has accepted costs.
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
    admin: AdminCall | None = None
    accept_costs: Callable[[], None] = lambda: None
