"""Operations of AWS STS."""

from __future__ import annotations

from creeklab.cloud.account import AccountIdentity


class StsOperations:
    """The operations for one account."""

    def __init__(self, account: AccountIdentity) -> None:
        self._account = account

    def get_caller_identity(self) -> dict[str, str]:
        """Return the account, and the ARN and unique id of the calling user."""
        account = self._account
        return {"UserId": account.user_id, "Account": account.account, "Arn": account.user_arn}
