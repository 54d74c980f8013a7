"""An account of a local cloud: its id, its region, and its access key.

The access key signs every HTTP call. It is created at random at the first start, and stored in a
file that only its owner can read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import string
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from creeklab.cloud.private_file import write_private

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
_MEMBERS = {
    "account": "[0-9]{12}",
    "region": "[a-z0-9-]{1,30}",
    "access_key": "[A-Z0-9]{16,128}",
    "secret_key": "[!-~]{16,128}",
}
"""Members of an account as JSON, with the regular expression that each must match."""


@dataclass(frozen=True, slots=True)
class AccountIdentity:
    """Account ID, region and access key."""

    account: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def iot_arn(self) -> str:
        """Beginning of the ARNs of the account's AWS IoT resources."""
        return f"arn:aws:iot:{self.region}:{self.account}:"

    @property
    def user_arn(self) -> str:
        """ARN of the IAM user who owns the access key."""
        return f"arn:aws:iam::{self.account}:user/creeklab"

    @property
    def user_id(self) -> str:
        """Unique id of that user, which is also its principal in the broker."""
        return unique_id(self.user_arn)


def new_account(account_id: str = ACCOUNT_ID) -> AccountIdentity:
    """Return an account with a new random access key."""
    letters = string.ascii_uppercase + string.digits
    return AccountIdentity(
        account_id,
        REGION,
        "AKIA" + "".join(secrets.choice(letters) for _ in range(16)),
        secrets.token_urlsafe(30),
    )


def load_account(
    folder: Path, create: Callable[[], AccountIdentity] = new_account
) -> AccountIdentity:
    """Read the account in `folder`, or create it.

    Raises
    ------
    ValueError
        If the file exists but is not an account.
    """
    file = folder / "account.json"
    try:
        text = file.read_text()
    except FileNotFoundError:
        account = create()
        write_private(file, json.dumps(asdict(account), indent=2) + "\n")
        return account
    try:
        return parse_account(json.loads(text))
    except ValueError:
        raise ValueError(
            f"{file} is not a creeklab account file. Delete it to get a new access key."
        ) from None


def parse_account(document: object) -> AccountIdentity:
    """Return the account in a JSON document, whose account number can then name a file.

    Raises
    ------
    ValueError
        If a member is missing, unknown or not valid.
    """
    if not isinstance(document, dict) or document.keys() != _MEMBERS.keys():
        raise ValueError(f"An account has the members {', '.join(_MEMBERS)}.")
    for name, pattern in _MEMBERS.items():
        if not (isinstance(document[name], str) and re.fullmatch(pattern, document[name])):
            raise ValueError(f"The member {name} of the account is not valid.")
    return AccountIdentity(**document)


def unique_id(arn: str) -> str:
    """Return the unique id of an IAM user, which is always the same for the same ARN."""
    letters = base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()
    return "AIDA" + letters[:17]
