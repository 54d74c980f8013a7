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
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.bootstrap import LOCK, REPOSITORY_ROOT, Environment, is_met
from creeklab.cloud import supervisor
from creeklab.diagnosis.probe import Check, CheckFailed
from creeklab.home import refuse_git_work_tree
from creeklab.session.lab_session import LabSession

FREE_MEGABYTES = 500
CLOCK_SECONDS = 60.0  # AWS refuses signatures that are five minutes off
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
    """Check that this Python is new enough for creeklab."""
    asked = _metadata().get("requires-python", ">=3.11").removeprefix(">=")
    if sys.version_info < tuple(map(int, asked.split("."))):
        raise CheckFailed(
            f"this is Python {sys.version.split()[0]}, and creeklab needs {asked}.",
            f"install Python {asked} or later and start creeklab with it.",
        )
    return "new enough."


def packages() -> str:
    """Check that every package is there, none too old, and in ``.venv`` as the lock has it."""
    missing = [each for each in _metadata()["dependencies"] if not is_met(each)]
    if missing:
        raise CheckFailed(
            f"not here, or too old: {', '.join(missing)}.",
            "start creeklab with python3 -m creeklab, which installs what is missing, and choose "
            "its .venv as the notebook's Python.",
        )
    environment = Environment(REPOSITORY_ROOT)
    if environment.is_active() and not environment.is_up_to_date(tests=False):
        raise CheckFailed(
            f"{LOCK} has changed since this environment was filled from it.",
            "run python3 -m creeklab doctor in a terminal, which brings it up to date, and start "
            "the notebook's kernel anew.",
        )
    return "all that creeklab asks for are here."


def _metadata() -> dict[str, Any]:
    """Return what creeklab asks for: of the clone's pyproject.toml, else of what was installed."""
    pyproject = REPOSITORY_ROOT / "pyproject.toml"
    if pyproject.exists():
        project: dict[str, Any] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        return project
    needs = importlib.metadata.requires("creeklab") or []
    return {"dependencies": [each for each in needs if "extra ==" not in each]}


def home_folder(home: Path) -> str:
    """Check that the home folder is its owner's alone, can be written, and is in no repository."""
    try:
        refuse_git_work_tree(home)
    except ValueError as error:
        raise CheckFailed(
            f"{home} lies in a git work tree, where private keys get published.",
            "set CREEKLAB_HOME to a folder outside of it.",
        ) from error
    if not home.exists():
        return "not made yet; the first open_lab makes it."
    for folder in (home, home / "cloud", home / "keys", home / "aws"):
        if not folder.exists():
            continue
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise CheckFailed(f"{folder} cannot be read and written.", f"chmod 700 {folder}")
        _check_private(folder, 0o700)
    for file in home.glob("cloud/*.json"):
        _check_private(file, 0o600)
    for file in home.glob("**/private.pem.key"):
        _check_private(file, 0o600)
    return "yours alone, and in no git repository."


def _check_private(path: Path, mode: int) -> None:
    """Check that nobody but its owner can enter a folder or read a file."""
    if os.name == "nt":
        return  # there the user's own folders are private, and modes mean nothing
    is_mode = stat.S_IMODE(path.stat().st_mode)
    if is_mode & 0o077:
        raise CheckFailed(
            f"others on this machine can get at {path} (mode {is_mode:o}).",
            f"chmod {mode:o} {path}",
        )


def disk(home: Path) -> str:
    """Check that there is room on the disk."""
    folder = next(each for each in (home, *home.parents) if each.exists())
    megabytes = shutil.disk_usage(folder).free // 1_000_000
    if megabytes < FREE_MEGABYTES:
        raise CheckFailed(
            f"only {megabytes} MB are free where {folder} is.",
            f"make room, {FREE_MEGABYTES} MB at least, or set CREEKLAB_HOME to another disk.",
        )
    return "room enough."


def local_cloud(home: Path, running: Any, *, opened: bool) -> str:
    """Check that the local cloud runs if a lab is open, and is the program that is here now."""
    try:
        cloud = running()
    except supervisor.CloudError as error:
        raise CheckFailed(
            str(error), "python3 -m creeklab cloud stop, then open the lab again."
        ) from None
    workshop = supervisor.workshop_membership(home)
    if workshop is not None and cloud is None:
        raise CheckFailed(
            f"the workshop's cloud at {workshop.host} cannot be reached.",
            "ask who runs the workshop; python3 -m creeklab cloud leave goes back to your own.",
        )
    if workshop is not None:
        return "is the workshop's, and can be reached."
    if cloud is None and opened:
        raise CheckFailed(
            "it has ended since the lab was opened.", "open it again: creeklab.open_lab()"
        )
    if cloud is None:
        return "does not run; open_lab starts it."
    began = (home / "cloud" / "ready.json").stat().st_mtime
    program = Path(supervisor.__file__).parent
    if any(file.stat().st_mtime > began for file in program.rglob("*.py")):
        raise CheckFailed(
            "it was started before its program was last changed.",
            "python3 -m creeklab cloud stop, then open the lab again; its state stays.",
        )
    return "runs, and is the one that is installed."


def ports(running: Any) -> str:
    """Check that the cloud's ports answer, or that they are free for one that is to be started."""
    cloud = running()
    if cloud is None:
        taken = [port for port in PORTS if _answers("127.0.0.1", port)]
        if taken:
            numbers = " and ".join(map(str, taken))
            return f"another program has {numbers}; the cloud will take free ones."
        return "free for the cloud."
    for port in (cloud.mqtt_port, cloud.https_port):
        if not _answers(cloud.endpoint, port):
            raise CheckFailed(
                f"nobody answers on {cloud.endpoint}:{port}, though the cloud runs.",
                "python3 -m creeklab cloud stop, then open the lab again. If that is no help, look "
                "for a firewall that closes ports of this machine to itself.",
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
    theirs = _date_of(lab)
    off = _now() - theirs
    if abs(off) > CLOCK_SECONDS:
        raise CheckFailed(
            f"this machine's clock is {abs(off):.0f} s {'fast' if off > 0 else 'slow'}: "
            "certificates look expired or not yet valid, and AWS refuses signatures.",
            "set the clock, by network time if you can.",
        )
    return "agrees with the cloud's."


def _now() -> float:
    return time.time()


def _date_of(lab: LabSession) -> float:
    """Return the time that the cloud says it is, in seconds since 1970."""
    try:
        answer = lab.client("sts").get_caller_identity()
    except ClientError as error:
        answer = error.response  # a refusal, as of a signature that is too old, has a date too
    except BotoCoreError as error:
        raise CheckFailed(
            f"the cloud cannot be asked for the time ({error}).",
            "check that this machine is online, and open the lab again.",
        ) from None
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return email.utils.parsedate_to_datetime(date).timestamp()
