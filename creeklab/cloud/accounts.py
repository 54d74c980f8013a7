"""The accounts of one cloud: whose access key, and whose certificate, somebody comes with."""

from __future__ import annotations

from creeklab.cloud.rooms import Rooms


class Accounts:
    """The accounts of one cloud, which is one alone unless the cloud is a workshop's.

    Attributes
    ----------
    owner
        The account of who runs the cloud.
    secrets
        Secret access keys by access key id.
    """

    def __init__(self, owner: Rooms) -> None:
        self.owner = owner
        self._by_key: dict[str, Rooms] = {}
        self.secrets: dict[str, str] = {}
        self._add(owner)

    def _add(self, rooms: Rooms) -> None:
        account = rooms.account
        self._by_key[account.access_key] = rooms
        self.secrets[account.access_key] = account.secret_key

    def of_key(self, access_key: str) -> Rooms:
        """Return the account that has this access key."""
        return self._by_key[access_key]

    def of_certificate(self, certificate_id: str) -> Rooms:
        """Return the account that has this certificate in its registry, else the owner."""
        for rooms in self._by_key.values():
            if rooms.registry.certificate_status(certificate_id) is not None:
                return rooms
        return self.owner
