"""The doctor's checks of the machine: Python, packages, home folder, disk, cloud, ports, clock."""

from __future__ import annotations

import email.utils
import functools
import importlib.metadata
import os
import shutil
import socket
import stat
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.x509 import load_pem_x509_certificate

from creeklab.bootstrap import LOCK, REPOSITORY_ROOT, Environment, is_met
from creeklab.cloud import supervisor
from creeklab.diagnosis.probe import Check, CheckFailed
from creeklab.home import refuse_git_work_tree
from creeklab.session.lab_session import LabSession

FREE_MEGABYTES = 500
MAX_CLOCK_ERROR = 60.0  # AWS rejects signatures that are five minutes off
PORTS = (8883, 8443)
RESPONSE_TIMEOUT = 5.0


def machine_checks(home: Path, lab: LabSession | None) -> Iterator[Check]:
    """Yield the checks, in order."""
    yield Check("Python", python_version)
    yield Check("packages", packages, ["Python"])
    yield Check("home folder", functools.partial(home_folder, home))
    yield Check("disk", functools.partial(disk, home))
    if lab is None or lab.target == "local":
        running = functools.cache(lambda: supervisor.status(home))
        cloud = functools.partial(local_cloud, home, running, opened=lab is not None)
        yield Check("local cloud", cloud, ["home folder"])
        yield Check("ports", functools.partial(ports, running), ["local cloud"])
    if lab is not None:
        yield Check("clock", functools.partial(clock, lab), ["local cloud", "ports"])


def python_version() -> str:
    """Check that this Python is recent enough for creeklab."""
    needed = _metadata().get("requires-python", ">=3.11").removeprefix(">=")
    if sys.version_info < tuple(map(int, needed.split("."))):
        raise CheckFailed(
            f"this is Python {sys.version.split()[0]}, but creeklab needs {needed}.",
            f"install Python {needed} or later, and start creeklab with it.",
        )
    return "recent enough."


def packages() -> str:
    """Check that all packages are installed and recent enough, and ``.venv`` matches the lock."""
    missing = [each for each in _metadata()["dependencies"] if not is_met(each)]
    if missing:
        raise CheckFailed(
            f"missing or too old: {', '.join(missing)}.",
            "start creeklab with python3 -m creeklab, which installs missing packages, and choose "
            "its .venv as the notebook's Python.",
        )
    environment = Environment(REPOSITORY_ROOT)
    if environment.is_active() and not environment.is_up_to_date(tests=False):
        raise CheckFailed(
            f"{LOCK} has changed since this environment was created from it.",
            "run python3 -m creeklab doctor in a terminal, which updates the environment, then "
            "restart the notebook's kernel.",
        )
    return "all required packages are installed."


def _metadata() -> dict[str, Any]:
    """Return creeklab's requirements, from pyproject.toml or else from the installed package."""
    pyproject = REPOSITORY_ROOT / "pyproject.toml"
    if pyproject.exists():
        project: dict[str, Any] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        return project
    needs = importlib.metadata.requires("creeklab") or []
    return {"dependencies": [each for each in needs if "extra ==" not in each]}


def home_folder(home: Path) -> str:
    """Check that the home folder is private, writable, and in no git repository."""
    try:
        refuse_git_work_tree(home)
    except ValueError as error:
        raise CheckFailed(
            f"{home} is in a git work tree, where private keys would sooner or later be published.",
            "set CREEKLAB_HOME to a folder outside the work tree.",
        ) from error
    if not home.exists():
        return "does not exist yet; the first open_lab creates it."
    for folder in (home, home / "cloud", home / "keys", home / "aws"):
        if not folder.exists():
            continue
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise CheckFailed(f"{folder} is not readable and writable.", f"chmod 700 {folder}")
        check_private(folder, 0o700)
    for file in (*home.glob("cloud/*.json"), *home.glob("**/private.pem.key")):
        check_private(file, 0o600)
    return "private, and in no git repository."


def check_private(path: Path, mode: int) -> None:
    """Raise `CheckFailed` if others can enter a folder or read a file that has another `mode`."""
    if os.name == "nt":
        return  # the user's own folders are private there, and modes mean nothing
    actual = stat.S_IMODE(path.stat().st_mode)
    if actual & 0o077:
        raise CheckFailed(
            f"other users of this machine can access {path} (mode {actual:o}).",
            f"chmod {mode:o} {path}",
        )


def disk(home: Path) -> str:
    """Check that the disk has enough free space."""
    folder = next(each for each in (home, *home.parents) if each.exists())
    megabytes = shutil.disk_usage(folder).free // 1_000_000
    if megabytes < FREE_MEGABYTES:
        raise CheckFailed(
            f"only {megabytes} MB are free on the disk of {folder}.",
            f"free at least {FREE_MEGABYTES} MB, or set CREEKLAB_HOME to a folder on another disk.",
        )
    return "enough free space."


def local_cloud(home: Path, running: Any, *, opened: bool) -> str:
    """Check that the local cloud is running if a lab is open, and is up to date."""
    try:
        cloud = running()
    except supervisor.CloudError as error:
        raise CheckFailed(
            str(error), "run python3 -m creeklab cloud stop, then open the lab again."
        ) from None
    workshop = supervisor.workshop_membership(home)
    if workshop is not None and cloud is None:
        raise CheckFailed(
            f"the workshop's cloud at {workshop.host} cannot be reached.",
            "ask the instructor, or run python3 -m creeklab cloud leave to use your own cloud.",
        )
    if workshop is not None:
        return "the workshop's cloud can be reached."
    _check_authorities(home / "cloud" / "ca")
    if cloud is None and opened:
        raise CheckFailed(
            "it has stopped since the lab was opened.", "open the lab again: creeklab.open_lab()."
        )
    if cloud is None:
        return "not running; open_lab starts it."
    began = (home / "cloud" / "ready.json").stat().st_mtime
    program = Path(supervisor.__file__).parent
    if any(file.stat().st_mtime > began for file in program.rglob("*.py")):
        raise CheckFailed(
            "it is running an older version of its program.",
            "run python3 -m creeklab cloud stop, then open the lab again; the state is kept.",
        )
    return "running, with the installed version."


def _check_authorities(folder: Path) -> None:
    """Raise if an authority is valid only in the future: no client would trust the cloud."""
    now = datetime.fromtimestamp(_now(), UTC)
    for name in ("root.pem", "devices.pem"):
        file = folder / name
        if file.exists():
            start = load_pem_x509_certificate(file.read_bytes()).not_valid_before_utc
            if start > now + timedelta(days=1):  # the check of the clock covers less
                raise CheckFailed(
                    f"the certificate authority in {file} is valid from {start:%Y-%m-%d}, but this "
                    f"machine's clock says {now:%Y-%m-%d}: the clock is behind, or it was ahead "
                    "when the cloud was created.",
                    "set the clock. If it is right, run python3 -m creeklab cloud stop and delete "
                    f"{folder}; every Thing then needs a new certificate.",
                )


def ports(running: Any) -> str:
    """Check that the cloud's ports answer, or are free if it is not running."""
    cloud = running()
    if cloud is None:
        taken = [port for port in PORTS if _answers("127.0.0.1", port)]
        if taken:
            numbers = " and ".join(map(str, taken))
            return f"another program uses {numbers}; the cloud will use other ports."
        return "free for the cloud."
    for port in (cloud.mqtt_port, cloud.https_port):
        if not _answers(cloud.endpoint, port):
            raise CheckFailed(
                f"{cloud.endpoint}:{port} does not answer, although the cloud is running.",
                "run python3 -m creeklab cloud stop, then open the lab again. If that does not "
                "help, look for a firewall that blocks local ports.",
            )
    return "the cloud answers on both."


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), RESPONSE_TIMEOUT).close()
    except OSError:
        return False
    return True


def clock(lab: LabSession) -> str:
    """Compare this machine's clock with the cloud's."""
    theirs = _cloud_time(lab)
    off = _now() - theirs
    if abs(off) > MAX_CLOCK_ERROR:
        raise CheckFailed(
            f"this machine's clock is {abs(off):.0f} s {'fast' if off > 0 else 'slow'}: "
            "certificates look expired or not yet valid, and AWS rejects signatures.",
            "set the clock, preferably with network time (NTP).",
        )
    return "agrees with the cloud's clock."


def _now() -> float:
    return time.time()


def _cloud_time(lab: LabSession) -> float:
    """Return the cloud's time, in seconds since 1970."""
    try:
        answer = lab.client("sts").get_caller_identity()
    except ClientError as error:
        answer = error.response  # an error, such as an expired signature, has a date too
    except BotoCoreError as error:
        raise CheckFailed(
            f"cannot ask the cloud for the time ({error}).",
            "check that this machine is online, and open the lab again.",
        ) from None
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return email.utils.parsedate_to_datetime(date).timestamp()
