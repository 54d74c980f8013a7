"""The operations of the service ``sts``: who am I?"""

from __future__ import annotations

import base64
import hashlib


class Sts:
    """One method for each operation, called with the members of its request.

    Parameters
    ----------
    account
        Account number.
    arn
        ARN of the IAM user whose access key signs the requests.
    """

    def __init__(self, account: str, arn: str) -> None:
        self._account = account
        self._arn = arn

    def get_caller_identity(self) -> dict[str, str]:
        """Return the account, and ARN and unique id of the user who asks."""
        return {"UserId": _unique_id(self._arn), "Account": self._account, "Arn": self._arn}


def _unique_id(arn: str) -> str:
    """Make an id of the form that IAM gives its users, always the same for the same ARN."""
    letters = base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()
    return "AIDA" + letters[:17]
