"""Accounts of one cloud, found by access key or certificate.

A cloud has its owner's account and, in a workshop, one for each participant. They share ports, the
certificate authority and the clocks. Each has its own services (`account_services.py`), with a
database in a folder of its own.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from creeklab.cloud.account import AccountIdentity, load_account
from creeklab.cloud.accounts.account_services import AccountServices, CloudContext
from creeklab.cloud.api.dispatcher import AccountBackend
from creeklab.cloud.service import CloudAddress

Soon = Callable[[Callable[[], object]], object]

log = logging.getLogger(__name__)


class Accounts:
    """The accounts of one cloud, of which the owner's is in `folder`.

    Attributes
    ----------
    owner
        Account of the person who runs the cloud.
    secrets
        Secret access keys by access key ID.
    """

    def __init__(self, cloud: CloudContext, folder: Path) -> None:
        self._cloud = cloud
        self._soon: Soon | None = None
        self._address: CloudAddress | None = None
        self._accounts: dict[str, AccountServices] = {}  # by account ID, the owner's first
        self._by_access_key: dict[str, AccountBackend] = {}
        # By address: the id of the one account that works from there, else the owner's.
        self._by_address: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.owner = self.add(folder, load_account(folder))

    def __iter__(self) -> Iterator[AccountServices]:
        """Iterate over the accounts, the owner's first."""
        return iter(list(self._accounts.values()))

    def by_access_key(self, access_key: str) -> AccountBackend:
        """Return the account of an access key."""
        return self._by_access_key[access_key]

    def by_id(self, account_id: str) -> AccountServices | None:
        """Return the account of this id; None if it is not open."""
        return self._accounts.get(account_id)

    def by_certificate(self, certificate_id: str, address: str) -> AccountServices:
        """Return the account that has this certificate in its registry.

        For an unknown certificate, return the account last seen at this address.
        """
        for account in self._accounts.values():
            if _has(account, certificate_id):
                return account
        return self.guess_by_address(address)

    def guess_by_address(self, address: str) -> AccountServices:
        """Return the only account that signed requests from an IP address, else the owner's.

        The guess decides whose event log explains why an unknown client was rejected.
        """
        return self._accounts.get(self._by_address.get(address, ""), self.owner)

    def record_source(self, access_key: str, address: str) -> None:
        """Record that a request signed with this access key came from an address."""
        account = self._by_access_key[access_key]
        if isinstance(account, AccountServices):
            account_id = account.identity.account
            if self._by_address.setdefault(address, account_id) != account_id:
                self._by_address[address] = self.owner.identity.account

    def add(self, folder: Path, identity: AccountIdentity) -> AccountServices:
        """Open the account in `folder`; an open account of the same id must be removed first."""
        account = AccountServices(self._cloud, folder, identity)
        account.registry.certificates.elsewhere = lambda certificate_id: any(
            other is not account and _has(other, certificate_id) for other in self
        )
        if self._soon is not None:
            account.set_commit_scheduler(self._soon)
        if self._address is not None:
            account.start(self._address)
        self._accounts[identity.account] = account
        self.register_key(identity.access_key, identity.secret_key, account)
        return account

    def remove(self, account: AccountServices) -> None:
        """Close an account, so that neither its access key nor its certificates find it."""
        identity = account.identity
        del self._accounts[identity.account]
        del self._by_access_key[identity.access_key], self.secrets[identity.access_key]
        account.close()

    def register_key(self, access_key: str, secret_key: str, account: AccountBackend) -> None:
        """Register the access key of an account."""
        self._by_access_key[access_key] = account
        self.secrets[access_key] = secret_key

    def set_commit_scheduler(self, soon: Soon) -> None:
        """Commit what is pending by way of `soon`, which schedules a function on the event loop."""
        self._soon = soon
        for account in self:
            account.set_commit_scheduler(soon)

    def start(self, address: CloudAddress) -> None:
        """Start the services of all accounts; call it on the event loop, when the cloud listens."""
        self._address = address
        for account in self:
            account.start(address)

    def connected(self) -> bool:
        """Return whether any client is connected."""
        return any(account.broker.connections for account in self)

    def activity_counters(self) -> list[tuple[int, int]]:
        """Return counts that change whenever anything happens."""
        return [(account.calls, account.event_log.last_number) for account in self]


def _has(account: AccountServices, certificate_id: str) -> bool:
    """Return whether an account has a certificate; False if its database cannot be read."""
    try:
        return account.registry.certificate_status(certificate_id) is not None
    except sqlite3.Error:
        # One broken account must not keep the others from being asked.
        log.exception("The registry of account %s cannot be read.", account.identity.account)
        return False
