"""A workshop: one cloud for a room, with an account for everybody in it.

Who runs the cloud hands out a file: where the cloud is, the certificate to trust, and the *join
key*. That is an access key which opens the verb ``join`` and nothing else. Whoever joins says a
name and a secret of their own, and gets the access key of an account that is theirs alone; with the
same name and secret they get the same one again, and nobody else gets it.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import logging
import secrets
import shutil
import sqlite3
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from creeklab.cloud.account import AccountIdentity, load_account, new_account
from creeklab.cloud.accounts.account_services import AccountServices
from creeklab.cloud.accounts.accounts import Accounts
from creeklab.cloud.api.dispatcher import AdminEndpoint
from creeklab.cloud.api.http_api import HttpService
from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.private_file import write_private
from creeklab.cloud.transport.http_server import Request

MAX_PARTICIPANTS = 100
FILES_PER_PARTICIPANT = 3
"""What a database has open; so there is room for all, once the cloud's process has asked for more
files than it is given (`__main__.py`): macOS gives 256."""
FILES_FOR_CONNECTIONS = 100
"""So many are left for devices and calls, where no more than a few are to be had."""
MAX_NAME = 40
MIN_SECRET_LENGTH = 20
JOIN_FILE = "workshop-join.json"

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Participant:
    """Who has joined.

    Attributes
    ----------
    account
        Number of the account.
    secret
        SHA-256 of the participant's secret, in hex: a long random text, so no more is needed.
    joined
        In seconds since the epoch.
    """

    name: str
    account: str
    secret: str
    joined: float


class Workshop:
    """The participants' accounts, and the door by which they get them.

    Parameters
    ----------
    folder
        The owner's; the accounts lie in its folder ``accounts``.
    host
        Name by which the participants reach this machine; without one nobody can join, but those
        who have can still be served.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self, folder: Path, accounts: Accounts, host: str, clock: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._accounts = accounts
        self._host = host
        self._clock = clock
        self._participants: dict[str, Participant] = {}  # by name, in lower case
        accounts.owner.admin_endpoints["participants"] = lambda _: {
            "participants": self.participants()
        }
        for file in sorted(folder.glob("accounts/*/participant.json")):
            try:
                participant = _read(file)
                # The name stays taken, whatever there is about the account.
                self._participants[participant.name.casefold()] = participant
                self._open(participant)
            except Exception:
                # Whatever is wrong with one account, the others are served.
                log.exception("%s: this participant's account was left out.", file.parent)

    def open(self, mqtt_port: int, https_port: int, ca: str) -> None:
        """Let people join, if this machine has a name for them, and write the file to hand out.

        The join key of an earlier file stays; delete the file to get a new one.

        Parameters
        ----------
        ca
            PEM text of the certificate to trust.
        """
        if not self._host:
            return
        file = self._folder / JOIN_FILE
        key = _join_key(file)
        door = JoinKeyAccount(self._accounts.owner, {"join": self._join})
        self._accounts.register_key(key.access_key, key.secret_key, door)
        told = {
            "host": self._host,
            "mqtt_port": mqtt_port,
            "https_port": https_port,
            "ca": ca,
            "access_key": key.access_key,
            "secret_key": key.secret_key,
        }
        write_private(file, json.dumps(told, indent=2) + "\n")

    def participants(self) -> list[dict[str, Any]]:
        """Return who has joined, in that order, and what they have."""
        told = []
        for each in sorted(self._participants.values(), key=lambda each: each.joined):
            things, connected = self._counts(each)
            told.append(
                {
                    "name": each.name,
                    "account": each.account,
                    "joined": each.joined,
                    "things": things,
                    "connected": connected,
                }
            )
        return told

    def _counts(self, participant: Participant) -> tuple[int | None, int]:
        """Count Things, unless the account cannot be read, and connections."""
        rooms = self._accounts.by_id(participant.account)
        if rooms is None:
            return None, 0
        try:
            things = rooms.registry.things.count()
        except sqlite3.Error:
            log.exception("The account of %s cannot be read.", participant.name)
            things = None
        return things, len(rooms.broker.connections)

    def _join(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb ``join``: make an account for a name, or find it."""
        name, secret = request.get("name"), request.get("secret")
        if not isinstance(name, str) or not (
            name.strip() == name and name.isprintable() and 1 <= len(name) <= MAX_NAME
        ):
            raise _invalid(
                f"A name has 1 to {MAX_NAME} printable characters, with no space at either end."
            )
        if not isinstance(secret, str) or len(secret) < MIN_SECRET_LENGTH:
            raise _invalid(f"A secret has {MIN_SECRET_LENGTH} characters or more.")
        hashed = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        participant = self._participants.get(name.casefold())
        if participant is None:
            return asdict(self._invitation(name, hashed).account)
        if not hmac.compare_digest(participant.secret, hashed):
            raise ServiceError(
                "ResourceAlreadyExistsException",
                f"Somebody has joined as '{participant.name}' already. Take another name; or, if "
                "it was you, join from the home folder that you joined from.",
            )
        rooms = self._accounts.by_id(participant.account)
        if rooms is None:  # it could not be opened the last time
            try:
                rooms = self._open(participant)
            except Exception as error:
                raise _not_opened(participant) from error
        return asdict(rooms.account)

    def _invitation(self, name: str, hashed: str) -> AccountServices:
        joined, most = len(self._participants), max_participants()
        if joined >= most:
            why = f"{joined} have joined this workshop, and there is no room for more."
            if most < MAX_PARTICIPANTS:
                log.error(
                    "%s This system lets the cloud open only a few files; with 'ulimit -n 4096' "
                    "before the start there is room for %d.",
                    why,
                    MAX_PARTICIPANTS,
                )
            raise ServiceError("LimitExceededException", why)
        number = "".join(secrets.choice("123456789") for _ in range(12))
        participant = Participant(name, number, hashed, self._clock())
        folder = self._folder_of(participant)
        try:
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
            rooms = self._open(participant)
            # Last, as it is what counts: a folder without it is nobody's.
            write_private(folder / "participant.json", json.dumps(asdict(participant)) + "\n")
        except Exception as error:
            opened = self._accounts.by_id(number)
            if opened is not None:
                self._accounts.remove(opened)
            shutil.rmtree(folder, ignore_errors=True)
            raise _not_opened(participant) from error
        self._participants[name.casefold()] = participant
        return rooms

    def _open(self, participant: Participant) -> AccountServices:
        if sum(1 for _ in self._accounts) > max_participants():  # the owner's is one of them
            raise OSError(
                errno.EMFILE,
                "This system lets the cloud open only a few files, and the rest is for "
                "connections. Start it after 'ulimit -n 4096'.",
            )
        folder = self._folder_of(participant)
        account = load_account(folder, lambda: new_account(participant.account))
        if account.account != participant.account:
            raise ValueError(
                f"{folder / 'account.json'} is of the account {account.account}. Delete that file: "
                f"{participant.name} gets a new access key then by joining again."
            )
        rooms = self._accounts.add(folder, account)
        rooms.admin_endpoints["reset"] = lambda _: self._empty(participant, rooms)
        return rooms

    def _empty(self, participant: Participant, rooms: AccountServices) -> dict[str, Any]:
        """Answer the verb ``reset``: the participant's account is empty, and has the same key."""
        self._accounts.remove(rooms)
        try:
            for file in self._folder_of(participant).glob("cloud.db*"):
                file.unlink()
            self._open(participant)
        except Exception as error:
            raise _not_opened(participant) from error
        return {}

    def _folder_of(self, participant: Participant) -> Path:
        return self._folder / "accounts" / participant.account


def max_participants() -> int:
    """Return for how many there is room: so many as the system gives file handles for."""
    if sys.platform == "win32":
        return MAX_PARTICIPANTS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_PARTICIPANTS
    return max(0, min(MAX_PARTICIPANTS, (soft - FILES_FOR_CONNECTIONS) // FILES_PER_PARTICIPANT))


class JoinKeyAccount:
    """What the join key opens: one verb, and the record of it is with the owner."""

    services: Mapping[str, HttpService] = {}

    def __init__(self, owner: AccountServices, door: Mapping[str, AdminEndpoint]) -> None:
        self.admin_endpoints = door
        self.record_call = owner.record_call

    async def open_websocket(self, request: Request) -> None:
        """Refuse to: a join key is no account."""
        raise ServiceError("AccessDeniedException", "A join key opens no connection.")

    def device_authorization(self, certificate_id: str, source_ip: str) -> ConnectionAuthorization:
        """Say that no certificate is of this door."""
        raise NotImplementedError


def _join_key(file: Path) -> AccountIdentity:
    try:
        told = json.loads(file.read_text())
        return AccountIdentity("", "", str(told["access_key"]), str(told["secret_key"]))
    except (OSError, ValueError, KeyError, TypeError):
        return new_account("")


def _read(file: Path) -> Participant:
    participant = Participant(**json.loads(file.read_text()))
    texts = (participant.name, participant.account, participant.secret)
    if not all(isinstance(text, str) for text in texts) or participant.account != file.parent.name:
        raise ValueError(f"{file} does not say who takes part.")
    float(participant.joined)
    return participant


def _not_opened(participant: Participant) -> ServiceError:
    """Log what is being handled, and make of it what the participant reads."""
    log.exception("The account of '%s' cannot be opened.", participant.name)
    return ServiceError(
        "InternalFailureException",
        "Your account cannot be opened at the moment; the log of the workshop's cloud says why. "
        "Tell who runs the workshop, and join again when that is mended.",
    )


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidRequestException", message)
