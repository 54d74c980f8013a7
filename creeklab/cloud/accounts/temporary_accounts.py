"""Accounts that the owner's programs create and remove while the cloud runs, one for each test.

They end with the cloud: the next one deletes what a killed one left behind.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from creeklab.cloud.account import new_account
from creeklab.cloud.accounts.accounts import Accounts
from creeklab.cloud.errors import ServiceError


class TemporaryAccounts:
    """The admin endpoints ``create-account`` and ``remove-account`` of the owner."""

    def __init__(self, folder: Path, accounts: Accounts) -> None:
        self._folder = folder / "temporary-accounts"
        self._accounts = accounts
        shutil.rmtree(self._folder, ignore_errors=True)
        accounts.owner.admin_endpoints["create-account"] = self._create
        accounts.owner.admin_endpoints["remove-account"] = self._remove

    def _create(self, _: dict[str, Any]) -> dict[str, Any]:
        """Serve ``create-account``: return the identity and the AWS services of a new account."""
        identity = new_account("".join(secrets.choice("123456789") for _ in range(12)))
        folder = self._folder / identity.account
        folder.mkdir(mode=0o700, parents=True)
        try:
            account = self._accounts.add(folder, identity)
        except Exception:
            shutil.rmtree(folder)
            raise
        services = {service.model.service_id for service in account.http_services.values()}
        return {"identity": asdict(identity), "services": sorted(services)}

    def _remove(self, request: dict[str, Any]) -> dict[str, Any]:
        """Serve ``remove-account``: close the account and delete everything in it."""
        account_id = request.get("account")
        folder = self._folder / str(account_id)
        account = self._accounts.by_id(str(account_id))
        if account is None or not folder.is_dir():
            raise ServiceError(
                "ResourceNotFoundException",
                f"There is no temporary account {account_id}. Only accounts that create-account"
                " returned can be removed, once.",
            )
        self._accounts.remove(account)
        shutil.rmtree(folder)
        return {}
