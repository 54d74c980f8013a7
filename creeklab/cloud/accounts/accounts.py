"""The accounts of one cloud: whose access key, and whose certificate, somebody comes with.

A cloud has one account, its owner's, and in a workshop one more for each participant. They share
ports, the certificate authority and time, and nothing else: each has its registry, its shadows, its
broker and its tape (`rooms.py`), in a folder and a database of its own.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from creeklab.cloud.account import AccountIdentity, load_account
from creeklab.cloud.accounts.account_services import AccountServices
from creeklab.cloud.api import dispatcher
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.settings import Settings

Soon = Callable[[Callable[[], object]], object]

log = logging.getLogger(__name__)


class Accounts:
    """The accounts of one cloud.

    Parameters
    ----------
    folder
        The owner's.
    endpoint
        Host name that DescribeEndpoint answers.
    clock, timer
        Seconds since the epoch, and seconds that only go forward.

    Attributes
    ----------
    owner
        The account of who runs the cloud.
    secrets
        Secret access keys by access key id.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        ca: CertificateAuthority,
        endpoint: str,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._ca = ca
        self._endpoint = endpoint
        self._clocks = clock, timer
        self._soon: Soon | None = None
        self._rooms: dict[str, AccountServices] = {}  # by account number, the owner's first
        self._doors: dict[str, dispatcher.AccountBackend] = {}  # by access key id
        # By address: the number of who alone works there, or the owner's.
        self._users: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.owner_account = load_account(folder)
        self.add(folder, self.owner_account)

    @property
    def owner(self) -> AccountServices:
        """The account of who runs the cloud."""
        return self._rooms[self.owner_account.account]

    def __iter__(self) -> Iterator[AccountServices]:
        """Give all of them, the owner's first."""
        return iter(list(self._rooms.values()))

    def by_access_key(self, access_key: str) -> dispatcher.AccountBackend:
        """Return what an access key opens."""
        return self._doors[access_key]

    def by_id(self, number: str) -> AccountServices | None:
        """Return the account of this number; None if it is not open."""
        return self._rooms.get(number)

    def by_certificate(self, certificate_id: str, address: str) -> AccountServices:
        """Return the account that has this certificate in its registry.

        Of a certificate that no account has, the account is told that works at this address.
        """
        for rooms in self._rooms.values():
            if _has(rooms, certificate_id):
                return rooms
        return self.guess_by_address(address)

    def guess_by_address(self, address: str) -> AccountServices:
        """Return the account whose signed requests, and no other's, come from an IP address.

        It is a guess, good enough to tell somebody why a client of unknown origin was refused; the
        owner's if there is no such account.
        """
        return self._rooms.get(self._users.get(address, ""), self.owner)

    def record_source(self, access_key: str, address: str) -> None:
        """Take note that a request signed with this access key came from an address."""
        rooms = self._doors[access_key]
        if isinstance(rooms, AccountServices):
            number = rooms.account.account
            if self._users.setdefault(address, number) != number:
                self._users[address] = self.owner_account.account

    def add(self, folder: Path, account: AccountIdentity) -> AccountServices:
        """Open the account kept in `folder`; what was open of this number must be removed."""
        rooms = AccountServices(
            folder, account, self._settings, self._ca, self._endpoint, *self._clocks
        )
        rooms.registry.certificates.elsewhere = lambda certificate_id: any(
            other.account.account != account.account and _has(other, certificate_id)
            for other in self
        )
        if self._soon is not None:
            rooms.set_commit_scheduler(self._soon)
        self._rooms[account.account] = rooms
        self.register_key(account.access_key, account.secret_key, rooms)
        return rooms

    def remove(self, rooms: AccountServices) -> None:
        """Close an account: nobody finds it any longer, whether its key or a certificate asks."""
        account = rooms.account
        del self._rooms[account.account]
        del self._doors[account.access_key], self.secrets[account.access_key]
        rooms.close()

    def register_key(
        self, access_key: str, secret_key: str, door: dispatcher.AccountBackend
    ) -> None:
        """Have an access key open a door."""
        self._doors[access_key] = door
        self.secrets[access_key] = secret_key

    def set_commit_scheduler(self, soon: Soon) -> None:
        """Have what is to be kept committed by `soon`, which calls a function in a moment."""
        self._soon = soon
        for rooms in self:
            rooms.set_commit_scheduler(soon)

    def connected(self) -> bool:
        """Tell whether any client is connected."""
        return any(rooms.broker.connections for rooms in self)

    def activity_counters(self) -> list[tuple[int, int]]:
        """Return counts that change whenever anything happens."""
        return [(rooms.calls, rooms.tape.last_number) for rooms in self]


def _has(rooms: AccountServices, certificate_id: str) -> bool:
    """Tell whether an account has a certificate; one that cannot be read has none."""
    try:
        return rooms.registry.certificate_status(certificate_id) is not None
    except sqlite3.Error:
        # The others are asked next, and must not suffer.
        log.exception("The registry of account %s cannot be read.", rooms.account.account)
        return False
