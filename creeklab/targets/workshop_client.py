"""Taking part in a workshop: the lab then uses the cloud of who runs it, in one's own account.

What comes with it lies in the folder ``workshop`` of the home folder, which is a home folder of its
own: so the keys of Things, and all else, never mix with those of one's own cloud. ``home.py`` looks
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

from creeklab.cloud.account import REGION, AccountIdentity
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
    """Join a workshop: from now on the lab of this home uses its cloud.

    Joining again under the same name, after the cloud has moved or one has left, gives the same
    account again.

    Parameters
    ----------
    base
        The home folder.
    file
        What who runs the workshop has handed out.
    name
        What to be called there.

    Raises
    ------
    CloudError
        If the file is not such a file, the cloud is not there, or does not take the name.
    ValueError
        If the home folder lies in a git work tree.
    """
    told = _read(file)
    home = workshop_folder(base)
    refuse_git_work_tree(home)
    present = workshop_membership(home)
    if present is not None and present.name != name:
        raise CloudError(
            f"You take part as {present.name} already. To join under another name, leave first: "
            "python3 -m creeklab cloud leave."
        )
    secret = _secret(home, told["ca"], name) or secrets.token_urlsafe(30)
    account = _account(home, file, told, {"name": name, "secret": secret})
    before = _account_number(home)
    if before not in (None, account.account):
        _set_aside(home, str(before))
    ca = ca_path(home)
    cloud_folder(home)
    ca.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(ca, told["ca"])
    write_private(home / "cloud" / "account.json", json.dumps(asdict(account), indent=2) + "\n")
    found = WorkshopMembership(told["host"], told["mqtt_port"], told["https_port"], name, secret)
    write_private(membership_file(home), json.dumps(asdict(found), indent=2) + "\n")
    return found


def leave(base: Path) -> str | None:
    """Leave the workshop; the lab has a cloud of its own again. Return the name one had there.

    The account stays where it is, and so does all that came with it: joining again finds it.
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
        told = json.loads(file.read_text(encoding="utf-8"))
        if all(isinstance(told[name], kind) for name, kind in types.items()):
            return dict(told)
    except OSError as error:
        raise CloudError(f"The file {file} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise CloudError(
        f"{file} is not the join file of a workshop. Whoever runs the workshop has it: creeklab "
        "cloud start --host NAME says where."
    )


def _account(home: Path, file: Path, told: dict[str, Any], who: dict[str, str]) -> AccountIdentity:
    """Ask the workshop's cloud for the account."""
    where = f"{told['host']}:{told['https_port']}"
    key = AccountIdentity("", REGION, told["access_key"], told["secret_key"])
    ca = cloud_folder(home) / "joining.pem"
    write_private(ca, told["ca"])
    try:
        return AccountIdentity(**call_admin(f"https://{where}", ca, key, "join", who))
    except AdminRequestRefused as refused:
        if refused.code in _WRONG_KEY:
            raise CloudError(
                f"The cloud at {where} rejected the join key in {file} ({refused.message}) Ask the "
                "instructor for the current file, and check this machine's clock."
            ) from None
        raise CloudError(f"You have not joined. {refused.message}") from None
    except SSLError:
        raise CloudError(
            f"What answers at {where} is not the cloud of the file {file}: its certificate is "
            "another one. Ask who runs the workshop for the present file."
        ) from None
    except BotoCoreError:
        raise CloudError(
            f"The workshop's cloud at {where} cannot be reached. Are you in the same network, and "
            "does it run? Ask who runs the workshop."
        ) from None
    finally:
        ca.unlink()


def _left_file(home: Path) -> Path:
    return home / "cloud" / "left.json"


def _secret(home: Path, ca: str, name: str) -> str | None:
    """Return the secret that this home has used under a name with the cloud of this CA."""
    for file in (membership_file(home), _left_file(home)):
        with suppress(OSError, ValueError, TypeError):
            last = WorkshopMembership(**json.loads(file.read_text()))
            if last.name == name and ca_path(home).read_text() == ca:
                return last.secret
    return None


def _account_number(home: Path) -> str | None:
    """Return the account that the folder was used with last."""
    try:
        return str(json.loads((home / "cloud" / "account.json").read_text())["account"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _set_aside(home: Path, account: str) -> None:
    """Keep a folder under another name: private keys are never deleted to make room."""
    number, target = 1, home.with_name(f"{home.name}.was-{account}")
    while target.exists():
        number += 1
        target = home.with_name(f"{home.name}.was-{account}-{number}")
    home.rename(target)
