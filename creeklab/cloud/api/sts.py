"""The operations of the service ``sts``: who am I?"""

from __future__ import annotations

from creeklab.cloud.account import unique_id


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
        return {"UserId": unique_id(self._arn), "Account": self._account, "Arn": self._arn}
