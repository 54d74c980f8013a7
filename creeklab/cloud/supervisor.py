"""Start, find and stop the one cloud of a home folder.

The cloud is a process of its own: it outlives the notebook that started it and keeps its state,
as AWS does. Two locks say what is going on, and the operating system frees both whatever happens
to their holder: ``running.lock`` is held by a cloud as long as it runs, ``start.lock`` by whoever
is looking for one or starting it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import filelock

START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0
REACH_TIMEOUT = 5.0

# uvloop has a buffer of 256 KB for each connection and uses little of it. Memory from the system
# counts only where it was touched, but once such a block is freed, glibc would take the next ones
# from its heap, where all of it counts. Measured with 1,000 connections after 1,000 others had come
# and gone: 184 KB each, and 58 KB so.
MMAP_THRESHOLD = {"MALLOC_MMAP_THRESHOLD_": "131072"}


class CloudError(RuntimeError):
    """The local cloud could not be started or stopped; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RunningCloud:
    """A cloud that runs: where it is reached, and whether this call started it.

    Attributes
    ----------
    pid
        Its process; 0 if it is a workshop's and runs on somebody else's machine.
    host
        The name that a workshop's participants reach it by; empty if it is open to this machine
        only.
    """

    pid: int
    endpoint: str
    mqtt_port: int
    https_port: int
    settings: Sequence[str] = ()
    host: str = ""
    started_here: bool = False


@dataclass(frozen=True, slots=True)
class WorkshopMembership:
    """The workshop that a home takes part in: whose cloud it uses instead of one of its own.

    Attributes
    ----------
    name
        What the participant is called there.
    secret
        Proves that it is the same participant who joins again.
    """

    host: str
    mqtt_port: int
    https_port: int
    name: str
    secret: str = field(repr=False)


def membership_file(home: Path) -> Path:
    """Return the file that says which workshop a home takes part in, if it does."""
    return home / "cloud" / "joined.json"


def workshop_membership(home: Path) -> WorkshopMembership | None:
    """Return the workshop that `home` takes part in; None if it has a cloud of its own.

    Raises
    ------
    CloudError
        If the file that says so cannot be read.
    """
    file = membership_file(home)
    try:
        return WorkshopMembership(**json.loads(file.read_text()))
    except OSError:
        return None  # what is wrong with the folder, if anything, is told by who makes it
    except (ValueError, TypeError):
        raise CloudError(
            f"The file {file} cannot be read. Leave the workshop with "
            "python3 -m creeklab cloud leave, and join it again."
        ) from None


def connect_workshop(workshop: WorkshopMembership) -> RunningCloud:
    """Return the cloud of a workshop.

    Raises
    ------
    CloudError
        If it is not there.
    """
    address = workshop.host, workshop.https_port
    try:
        socket.create_connection(address, REACH_TIMEOUT).close()
    except OSError as error:
        why = error.strerror or "it does not answer"
        raise CloudError(
            f"The workshop's cloud at {workshop.host}:{workshop.https_port} cannot be reached "
            f"({why}). Are you in the same network, and does it run? Ask who runs the workshop. "
            "With python3 -m creeklab cloud leave you go back to a cloud of your own."
        ) from None
    return RunningCloud(
        0, workshop.host, workshop.mqtt_port, workshop.https_port, host=workshop.host
    )


def _refuse_if_joined(home: Path, what: str) -> None:
    workshop = workshop_membership(home)
    if workshop is not None:
        raise CloudError(
            f"You take part in a workshop as {workshop.name}, and its cloud runs on "
            f"{workshop.host}: only there can it be {what}. With "
            "python3 -m creeklab cloud leave you go back to a cloud of your own."
        )


def cloud_folder(home: Path) -> Path:
    """Return the folder of a home that belongs to its cloud, made if need be, private."""
    folder = home / "cloud"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CloudError(
            f"The folder {folder} cannot be made ({error.strerror}). Choose another home folder "
            "with the environment variable CREEKLAB_HOME."
        ) from None
    return folder


def ca_path(home: Path) -> Path:
    """Return the PEM file of the certificate that clients of this home's cloud have to trust."""
    return home / "cloud" / "ca" / "ca.pem"


def status(home: Path) -> RunningCloud | None:
    """Return the cloud of `home` if it runs; a workshop's if it can be reached."""
    if not (home / "cloud").exists():
        return None
    workshop = workshop_membership(home)
    if workshop is not None:
        with contextlib.suppress(CloudError):
            return connect_workshop(workshop)
        return None
    with _start_lock(home):
        return _find(home)


def start_or_attach(
    home: Path,
    *,
    mqtt_port: int | None = None,
    https_port: int | None = None,
    settings: Sequence[str] = (),
    host: str = "",
    meanwhile: Callable[[], object] = lambda: None,
) -> RunningCloud:
    """Return the cloud of `home`, started if it does not run; a workshop's is only looked for.

    Parameters
    ----------
    mqtt_port, https_port
        Ports for a cloud that has to be started; without them the ports of the last time, else
        8883 and 8443, else free ones.
    settings
        ``name=value`` texts for a cloud that has to be started.
    host
        A workshop's: the name that others reach this machine by, for a cloud that has to be
        started. Without it nobody but this machine reaches the cloud.
    meanwhile
        Called while a cloud that was started here gets ready.

    Raises
    ------
    CloudError
        If it could not be started, or a workshop's could not be reached.
    """
    workshop = workshop_membership(home)
    if workshop is not None:
        return connect_workshop(workshop)
    for port in (mqtt_port, https_port):
        if port is not None and not 0 <= port < 1 << 16:
            raise CloudError(f"There is no port {port}: ports go up to 65535, and 0 is a free one.")
    with _start_lock(home):
        running = _find(home)
        if running is not None:
            return running
        arguments = ["--home", str(home)]
        if mqtt_port is not None:
            arguments += ["--mqtt-port", str(mqtt_port)]
        if https_port is not None:
            arguments += ["--https-port", str(https_port)]
        for setting in settings:
            arguments += ["--set", setting]
        if host:
            arguments += ["--host", host]
        return _spawn(cloud_folder(home), arguments, meanwhile)


def stop(home: Path) -> bool:
    """Stop the cloud of `home`; return whether there was one."""
    if not (home / "cloud").exists():
        return False
    _refuse_if_joined(home, "stopped")
    with _start_lock(home):
        running = _find(home)
        if running is None:
            return False
        _end(home, running)
        return True


def reset(home: Path) -> bool:
    """Empty the account: remove the cloud's database; a cloud that ran runs again afterwards.

    Its certificate authority and access key stay, and so do the accounts of a workshop's
    participants. Returns whether it ran.
    """
    if not (home / "cloud").exists():
        return False
    _refuse_if_joined(home, "emptied")
    with _start_lock(home):
        running = _find(home)
        if running is not None:
            _end(home, running)
        for file in (home / "cloud").glob("cloud.db*"):
            file.unlink()
    if running is not None:
        start_or_attach(home, settings=running.settings, host=running.host)
    return running is not None


@contextlib.contextmanager
def _start_lock(home: Path) -> Iterator[None]:
    lock = filelock.FileLock(cloud_folder(home) / "start.lock", mode=0o600)
    try:
        lock.acquire(timeout=START_TIMEOUT)
    except filelock.Timeout:
        raise CloudError(
            f"Another program has been starting the cloud of {home} for {START_TIMEOUT:.0f} s. "
            "End it and try again."
        ) from None
    except OSError as error:
        raise CloudError(
            f"The folder {home / 'cloud'} cannot be used ({error.strerror}). Make it and its files "
            "readable and writable for you, or choose another home folder with the environment "
            "variable CREEKLAB_HOME."
        ) from None
    try:
        yield
    finally:
        lock.release()


def running_lock(home: Path) -> filelock.BaseFileLock:
    """Return the lock that a cloud holds while it runs."""
    return filelock.FileLock(cloud_folder(home) / "running.lock", mode=0o600)


def _find(home: Path) -> RunningCloud | None:
    """Return the cloud that holds the lock, when it is ready: whoever started it may be gone."""
    lock = running_lock(home)
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            with contextlib.suppress(OSError, ValueError, TypeError):
                return RunningCloud(**json.loads((home / "cloud" / "ready.json").read_text()))
        else:
            lock.release()
            return None
        if time.monotonic() > deadline:
            raise CloudError(
                f"A cloud holds {home / 'cloud'} but does not say where it is reached. "
                "End that process and try again."
            )
        time.sleep(0.05)


def _spawn(folder: Path, arguments: Sequence[str], meanwhile: Callable[[], object]) -> RunningCloud:
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    log = os.open(folder / "cloud.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    flags: dict[str, object] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "creeklab.cloud", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **MMAP_THRESHOLD},
            text=True,
            **flags,  # type: ignore[call-overload]
        )
    finally:
        os.close(log)
    meanwhile()
    line = _first_line(child)
    try:
        said = json.loads(line)
    except ValueError:
        said = {"error": f"It ended while starting; {folder / 'cloud.log'} says why."}
    if "error" in said:
        child.wait(STOP_TIMEOUT)
        raise CloudError(f"The local cloud did not start. {said['error']}")
    # The child goes on by itself: whoever reads its exit code later is the operating system.
    child.returncode = 0
    return RunningCloud(**said, started_here=True)


def _first_line(child: subprocess.Popen[str]) -> str:
    """Return what the child says first: where it is reached, or why it did not start."""
    lines: list[str] = []
    stdout = child.stdout
    assert stdout is not None

    def read() -> None:
        with stdout:
            lines.append(stdout.readline())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(START_TIMEOUT)
    if reader.is_alive():
        child.kill()
        reader.join()
        return json.dumps({"error": f"It was not ready within {START_TIMEOUT:.0f} s."})
    return lines[0]


def _end(home: Path, running: RunningCloud) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    lock = running_lock(home)
    try:
        lock.acquire(timeout=STOP_TIMEOUT)
    except filelock.Timeout:
        raise CloudError(
            f"The cloud (process {running.pid}) did not end within {STOP_TIMEOUT:.0f} s."
        ) from None
    lock.release()
