"""Join and leave a workshop, in which the lab uses the instructor's cloud with its own account.

Its files are in the folder ``workshop`` of the home folder, which is a home folder of its own, so
that keys and everything else stay separate from the participant's own cloud. ``home.py`` looks
there first.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, SSLError

from creeklab.cloud.account import REGION, AccountIdentity, parse_account
from creeklab.cloud.private_file import write_private
from creeklab.cloud.supervisor import (
    CloudError,
    WorkshopMembership,
    ca_path,
    cloud_folder,
    membership_file,
    workshop_membership,
)
from creeklab.home import refuse_git_work_tree, workshop_folder
from creeklab.targets.admin_client import AdminRequestRefused, call_admin

_WRONG_KEY = ("UnrecognizedClientException", "InvalidSignatureException")


def join(base: Path, file: Path, name: str) -> WorkshopMembership:
    """Join a workshop: from now on, the lab of this home uses its cloud.

    Joining again under the same name, after leaving or after the cloud has moved, returns to the
    same account. `base` is the home folder, and `file` the join file from the instructor.

    Raises
    ------
    CloudError
        If the file is not a join file, or the cloud cannot be reached or rejects the name.
    ValueError
        If the home folder is in a git work tree.
    """
    invitation = _read(file)
    home = workshop_folder(base)
    refuse_git_work_tree(home)
    present = workshop_membership(home)
    if present is not None and present.name != name:
        raise CloudError(
            f"You have already joined as {present.name}. To join under another name, first run "
            "python3 -m creeklab cloud leave."
        )
    secret = _secret(home, invitation["ca"], name) or secrets.token_urlsafe(30)
    account = _account(home, file, invitation, {"name": name, "secret": secret})
    before = _account_number(home)
    if before not in (None, account.account):
        _set_aside(home, before)
    ca = ca_path(home)
    cloud_folder(home)
    ca.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(ca, invitation["ca"])
    write_private(home / "cloud" / "account.json", json.dumps(asdict(account), indent=2) + "\n")
    membership = WorkshopMembership(
        invitation["host"], invitation["mqtt_port"], invitation["https_port"], name, secret
    )
    write_private(membership_file(home), json.dumps(asdict(membership), indent=2) + "\n")
    return membership


def leave(base: Path) -> str | None:
    """Leave the workshop, and return the participant's name; None if there was none to leave.

    The account and everything in it is kept, and joining again returns to it.
    """
    file = membership_file(workshop_folder(base))
    try:
        present = workshop_membership(workshop_folder(base))
    except CloudError:
        file.unlink()
        return ""
    if present is None:
        return None
    file.replace(_left_file(file.parents[1]))
    return present.name


def _read(file: Path) -> dict[str, Any]:
    types = {
        "host": str,
        "mqtt_port": int,
        "https_port": int,
        "ca": str,
        "access_key": str,
        "secret_key": str,
    }
    try:
        invitation = json.loads(file.read_text(encoding="utf-8"))
        if all(isinstance(invitation[name], kind) for name, kind in types.items()):
            return dict(invitation)
    except OSError as error:
        raise CloudError(f"Cannot read the file {file}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise CloudError(
        f"{file} is not a join file of a workshop. The instructor has it: creeklab cloud start "
        "--host NAME prints its path."
    )


def _account(
    home: Path, file: Path, invitation: dict[str, Any], participant: dict[str, str]
) -> AccountIdentity:
    """Request the participant's account from the workshop's cloud."""
    where = f"{invitation['host']}:{invitation['https_port']}"
    key = AccountIdentity("", REGION, invitation["access_key"], invitation["secret_key"])
    ca = cloud_folder(home) / "joining.pem"
    write_private(ca, invitation["ca"])
    try:
        return parse_account(call_admin(f"https://{where}", ca, key, "join", participant))
    except ValueError as error:
        raise CloudError(
            f"You have not joined the workshop: the cloud at {where} sent an invalid account. "
            f"{error} Ask the instructor whether this is the workshop's cloud, and use the same "
            "version of creeklab."
        ) from None
    except AdminRequestRefused as refused:
        if refused.code in _WRONG_KEY:
            raise CloudError(
                f"The cloud at {where} rejected the join key in {file} ({refused.message}) Ask the "
                "instructor for the current file, and check this machine's clock."
            ) from None
        raise CloudError(f"You have not joined the workshop. {refused.message}") from None
    except SSLError:
        raise CloudError(
            f"The server at {where} has a different certificate than the cloud in {file}. Ask the "
            "instructor for the current file."
        ) from None
    except BotoCoreError:
        raise CloudError(
            f"The workshop's cloud at {where} cannot be reached. Check that you are in the same "
            "network, and ask the instructor whether it is running."
        ) from None
    finally:
        ca.unlink()


def _left_file(home: Path) -> Path:
    return home / "cloud" / "left.json"


def _secret(home: Path, ca: str, name: str) -> str | None:
    """Return the secret that this home used for a name on the cloud of this CA."""
    for file in (membership_file(home), _left_file(home)):
        with suppress(OSError, ValueError, TypeError):
            last = WorkshopMembership(**json.loads(file.read_text()))
            if last.name == name and ca_path(home).read_text() == ca:
                return last.secret
    return None


def _account_number(home: Path) -> str | None:
    """Return the account that the folder was last used with."""
    try:
        return parse_account(json.loads((home / "cloud" / "account.json").read_text())).account
    except (OSError, ValueError):
        return None


def _set_aside(home: Path, account: str) -> None:
    """Rename a folder that is in the way: private keys are never deleted."""
    number, target = 1, home.with_name(f"{home.name}.was-{account}")
    while target.exists():
        number += 1
        target = home.with_name(f"{home.name}.was-{account}-{number}")
    home.rename(target)
