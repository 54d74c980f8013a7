"""A workshop: one cloud with an account for each participant.

The instructor hands out the join file: the cloud's addresses, the certificate to trust, and the
*join key*, an access key that can only call the admin endpoint ``join``. Participants join with a
name and a secret of their own, and receive the access key of an account that only they use. The
same name and secret return the same account again.
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
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from creeklab.cloud.account import load_account, new_account
from creeklab.cloud.accounts.account_services import AccountServices
from creeklab.cloud.accounts.accounts import Accounts
from creeklab.cloud.api.dispatcher import AdminEndpoint
from creeklab.cloud.api.http_api import HttpService
from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.private_file import write_private
from creeklab.cloud.settings import Settings
from creeklab.cloud.transport.http_server import Request

MAX_PARTICIPANTS = 100
FILES_PER_PARTICIPANT = 3
"""Files that a database keeps open. All participants fit after the process has raised its limit
(`__main__.py`); macOS starts with 256."""
FILES_FOR_CONNECTIONS = 100
"""Files that are reserved for devices and calls if the limit is low."""
MAX_NAME = 40
MIN_SECRET_LENGTH = 20
JOIN_FILE = "workshop-join.json"

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Participant:
    """A participant.

    Attributes
    ----------
    account
        Account ID.
    secret
        SHA-256 of the participant's secret, in hex. The secret is long and random, so a fast hash
        is enough.
    joined
        Seconds since the epoch.
    """

    name: str
    account: str
    secret: str
    joined: float


class Workshop:
    """The participants' accounts, and the admin endpoint that creates them.

    Parameters
    ----------
    folder
        Folder of the owner's account; the others are in its folder ``accounts``.
    host
        Name by which the participants reach this machine. Without it nobody can join, but the
        accounts of earlier participants are served.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        accounts: Accounts,
        settings: Settings,
        host: str,
        clock: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._accounts = accounts
        self._host = host
        self._clock = clock
        self._joins = JoinLimit(settings.joins_per_minute)
        self._participants: dict[str, Participant] = {}  # by name, in lower case
        accounts.owner.admin_endpoints |= {
            "participants": lambda _: {"participants": self.participants()},
            "remove_participant": self._remove,
        }
        for file in sorted(folder.glob("accounts/*/participant.json")):
            try:
                participant = _read(file)
                # The name stays taken even if the account cannot be opened.
                self._participants[participant.name.casefold()] = participant
                self._open(participant)
            except Exception:
                # One broken account must not keep the others from being served.
                log.exception("%s: this participant's account was skipped.", file.parent)

    def open(self, mqtt_port: int, https_port: int, ca: str) -> None:
        """Accept participants if this machine has a name for them, and write the join file.

        The join key of an earlier file is kept; delete the file to get a new one.

        Parameters
        ----------
        ca
            PEM text of the certificate to trust.
        """
        if not self._host:
            return
        file = self._folder / JOIN_FILE
        key = _join_key(file)
        joining = JoinKeyAccount(self._accounts.owner, self._join)
        self._accounts.register_key(key["access_key"], key["secret_key"], joining)
        address = {"host": self._host, "mqtt_port": mqtt_port, "https_port": https_port}
        write_private(file, json.dumps({**address, "ca": ca, **key}, indent=2) + "\n")

    def participants(self) -> list[dict[str, Any]]:
        """Return the participants in the order of joining, with their resources."""
        by_time = sorted(self._participants.values(), key=lambda each: each.joined)
        return [
            {
                "name": each.name,
                "account": each.account,
                "joined": each.joined,
                **self._counts(each),
            }
            for each in by_time
        ]

    def _counts(self, participant: Participant) -> dict[str, int | None]:
        """Return the number of Things (None if the account cannot be read) and of connections."""
        account = self._accounts.by_id(participant.account)
        if account is None:
            return {"things": None, "connected": 0}
        try:
            things = account.registry.things.count()
        except sqlite3.Error:
            log.exception("The account of %s cannot be read.", participant.name)
            things = None
        return {"things": things, "connected": len(account.broker.connections)}

    def _join(self, address: str, request: dict[str, Any]) -> dict[str, Any]:
        """Serve ``join``: create the account of a name, or return it."""
        self._joins.count(address, self._clock())
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
            return asdict(self._create(name, hashed).identity)
        if not hmac.compare_digest(participant.secret, hashed):
            raise ServiceError(
                "ResourceAlreadyExistsException",
                f"The name '{participant.name}' is taken in this workshop. Choose another name, "
                "or, if it is yours, join from the home folder that you used before.",
            )
        account = self._accounts.by_id(participant.account)
        if account is None:  # it could not be opened the last time
            try:
                account = self._open(participant)
            except Exception as error:
                raise _not_opened(participant) from error
        return asdict(account.identity)

    def _create(self, name: str, hashed: str) -> AccountServices:
        joined, limit = len(self._participants), max_participants()
        if joined >= limit:
            why = f"This workshop is full: it has {joined} participants."
            if limit < MAX_PARTICIPANTS:
                log.error(
                    "%s The limit of open files is low. Start the cloud after 'ulimit -n 4096' "
                    "to make room for %d.",
                    why,
                    MAX_PARTICIPANTS,
                )
            raise ServiceError("LimitExceededException", why)
        account_id = "".join(secrets.choice("123456789") for _ in range(12))
        participant = Participant(name, account_id, hashed, self._clock())
        folder = self._folder_of(participant)
        try:
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
            account = self._open(participant)
            # Last, because a folder without this file counts as unused.
            write_private(folder / "participant.json", json.dumps(asdict(participant)) + "\n")
        except Exception as error:
            opened = self._accounts.by_id(account_id)
            if opened is not None:
                self._accounts.remove(opened)
            shutil.rmtree(folder, ignore_errors=True)
            raise _not_opened(participant) from error
        self._participants[name.casefold()] = participant
        return account

    def _open(self, participant: Participant) -> AccountServices:
        if sum(1 for _ in self._accounts) > max_participants():  # including the owner's
            raise OSError(
                errno.EMFILE,
                "The limit of open files is low, and the remaining ones are for connections. Start "
                "the cloud after 'ulimit -n 4096'.",
            )
        folder = self._folder_of(participant)
        identity = load_account(folder, lambda: new_account(participant.account))
        if identity.account != participant.account:
            raise ValueError(
                f"{folder / 'account.json'} belongs to the account {identity.account}. Delete the "
                f"file: {participant.name} gets a new access key by joining again."
            )
        account = self._accounts.add(folder, identity)
        account.admin_endpoints["reset"] = lambda _: self._reset(participant, account)
        return account

    def _reset(self, participant: Participant, account: AccountServices) -> dict[str, Any]:
        """Serve ``reset``: empty the participant's account and keep its access key."""
        self._accounts.remove(account)
        try:
            for file in self._folder_of(participant).glob("cloud.db*"):
                file.unlink()
            self._open(participant)
        except Exception as error:
            raise _not_opened(participant) from error
        return {}

    def _remove(self, request: dict[str, Any]) -> dict[str, Any]:
        """Serve ``remove_participant``: delete an account, and free its name."""
        name = str(request.get("name", ""))
        participant = self._participants.get(name.casefold())
        if participant is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"No participant is named '{name}'. creeklab cloud participants lists the names.",
            )
        account = self._accounts.by_id(participant.account)
        if account is not None:
            self._accounts.remove(account)
        folder = self._folder_of(participant)
        try:
            # First, because a folder without this file counts as unused.
            (folder / "participant.json").unlink(missing_ok=True)
            del self._participants[name.casefold()]
            shutil.rmtree(folder)
        except OSError as error:
            raise ServiceError(
                "InternalFailureException",
                f"The folder {folder} of '{participant.name}' cannot be deleted "
                f"({error.strerror}). Stop the cloud and delete the folder.",
            ) from error
        return {"name": participant.name, "account": participant.account}

    def _folder_of(self, participant: Participant) -> Path:
        return self._folder / "accounts" / participant.account


def max_participants() -> int:
    """Return how many participants fit into the limit of open files."""
    if sys.platform == "win32":
        return MAX_PARTICIPANTS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_PARTICIPANTS
    return max(0, min(MAX_PARTICIPANTS, (soft - FILES_FOR_CONNECTIONS) // FILES_PER_PARTICIPANT))


class JoinLimit:
    """The number of joins from one IP address in a minute, so that no one can fill a workshop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._minute = 0
        self._counts: Counter[str] = Counter()

    def count(self, address: str, now: float) -> None:
        """Count one join; raise `ServiceError` if there were too many in this minute."""
        minute = int(now // 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        self._counts[address] += 1
        if 0 < self._most < self._counts[address]:
            raise ServiceError(
                "ThrottlingException",
                f"At most {self._most} people can join from one address ({address}) in a minute. "
                "Wait a minute and join again. The instructor can raise the limit with creeklab "
                "cloud start --set joins_per_minute=NUMBER.",
            )


class JoinKeyAccount:
    """The pseudo-account of the join key: one admin endpoint, recorded in the owner's log."""

    http_services: Mapping[str, HttpService] = {}

    def __init__(
        self, owner: AccountServices, join: Callable[[str, dict[str, Any]], dict[str, Any]]
    ) -> None:
        self._join = join
        self.record_call = owner.record_call

    def admin_endpoint(self, name: str, address: str) -> AdminEndpoint | None:
        """Return the endpoint ``join``."""
        return partial(self._join, address) if name == "join" else None

    async def open_websocket(self, request: Request) -> None:
        """Raise `ServiceError`: a join key cannot connect."""
        raise ServiceError("AccessDeniedException", "A join key cannot open a connection.")

    def device_authorization(self, certificate_id: str, source_ip: str) -> ConnectionAuthorization:
        """Raise: a join key has no certificates."""
        raise NotImplementedError


def _join_key(file: Path) -> dict[str, str]:
    names = ("access_key", "secret_key")
    try:
        saved = json.loads(file.read_text())
        return {name: str(saved[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        created = new_account("")
        return {name: getattr(created, name) for name in names}


def _read(file: Path) -> Participant:
    participant = Participant(**json.loads(file.read_text()))
    texts = (participant.name, participant.account, participant.secret)
    if not all(isinstance(text, str) for text in texts) or participant.account != file.parent.name:
        raise ValueError(f"{file} does not describe a participant of this account.")
    float(participant.joined)
    return participant


def _not_opened(participant: Participant) -> ServiceError:
    """Log the current exception, and return the error for the participant."""
    log.exception("The account of '%s' cannot be opened.", participant.name)
    return ServiceError(
        "InternalFailureException",
        "Your account cannot be opened at the moment; the log of the workshop's cloud says why. "
        "Tell the instructor, and join again when that is fixed.",
    )


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidRequestException", message)
