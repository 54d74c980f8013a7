"""An account of a local cloud: its number, its region, and its access key.

The access key is what every HTTP call is signed with. It is made at random the first time and
kept in a file that only its owner can read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import string
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from creeklab.cloud.private_file import write_private

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class AccountIdentity:
    """Account number, region and access key."""

    account: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def user_arn(self) -> str:
        """ARN of the IAM user whose access key this is."""
        return f"arn:aws:iam::{self.account}:user/creeklab"

    @property
    def user_id(self) -> str:
        """Unique id of that user: who it is to the broker."""
        return unique_id(self.user_arn)


def new_account(number: str = ACCOUNT_ID) -> AccountIdentity:
    """Make an account with an access key that nobody has."""
    letters = string.ascii_uppercase + string.digits
    return AccountIdentity(
        number,
        REGION,
        "AKIA" + "".join(secrets.choice(letters) for _ in range(16)),
        secrets.token_urlsafe(30),
    )


def load_account(
    folder: Path, make: Callable[[], AccountIdentity] = new_account
) -> AccountIdentity:
    """Read the account kept in `folder`, or make it.

    Raises
    ------
    ValueError
        If the file is there and is not an account.
    """
    file = folder / "account.json"
    try:
        text = file.read_text()
    except FileNotFoundError:
        account = make()
        write_private(file, json.dumps(asdict(account), indent=2) + "\n")
        return account
    try:
        return AccountIdentity(**json.loads(text))
    except (ValueError, TypeError):
        raise ValueError(
            f"{file} is not an account of creeklab. Delete that file to get a new access key."
        ) from None


def unique_id(arn: str) -> str:
    """Make an id of the form that IAM gives its users, always the same for the same ARN."""
    letters = base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()
    return "AIDA" + letters[:17]
