"""Start, find and stop the one cloud of a home folder.

The cloud is a separate process: like AWS, it outlives the notebook that started it, and keeps its
state. Two locks coordinate its users, and the operating system frees both when their holder dies: a
cloud holds ``running.lock`` while it runs, and a process that looks for a cloud or starts one holds
``start.lock``.
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
READY_GRACE = 2.0
"""Seconds in which a cloud that is starting replaces an earlier, damaged ``ready.json``."""

# uvloop has a buffer of 256 KB for each connection and uses little of it. In a block that is mapped
# on its own, only touched pages take memory; but after the first such block is freed, glibc would
# take the next ones from its heap, where all of it counts. Measured with 1,000 connections after
# 1,000 others had come and gone: 184 KB each without this setting, 58 KB with it.
MMAP_THRESHOLD = {"MALLOC_MMAP_THRESHOLD_": "131072"}


class CloudError(RuntimeError):
    """The local cloud could not be started or stopped; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RunningCloud:
    """A running cloud: its addresses, and whether this call started it.

    Attributes
    ----------
    pid
        Its process id; 0 for a workshop's cloud on another machine.
    host
        The name by which a workshop's participants reach it; empty if only this machine can.
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
    """The workshop that a home has joined, and whose cloud it uses instead of its own.

    `name` is the participant's; `secret` proves that the same participant joins again.
    """

    host: str
    mqtt_port: int
    https_port: int
    name: str
    secret: str = field(repr=False)


def membership_file(home: Path) -> Path:
    """Return the file that records which workshop a home has joined."""
    return home / "cloud" / "joined.json"


def workshop_membership(home: Path) -> WorkshopMembership | None:
    """Return the workshop that `home` has joined; None if it has its own cloud.

    Raises
    ------
    CloudError
        If its file cannot be read.
    """
    file = membership_file(home)
    try:
        return WorkshopMembership(**json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unusable(file, error) from None
    except (ValueError, TypeError):
        raise CloudError(
            f"The file {file} is damaged. Leave the workshop with "
            "python3 -m creeklab cloud leave, and join it again."
        ) from None


def connect_workshop(workshop: WorkshopMembership) -> RunningCloud:
    """Return the cloud of a workshop.

    Raises
    ------
    CloudError
        If it cannot be reached.
    """
    address = workshop.host, workshop.https_port
    try:
        socket.create_connection(address, REACH_TIMEOUT).close()
    except OSError as error:
        why = error.strerror or "it does not answer"
        raise CloudError(
            f"The workshop's cloud at {workshop.host}:{workshop.https_port} cannot be reached "
            f"({why}). Check that you are in the same network, and ask the instructor whether the "
            "cloud is running. To return to your own cloud, run python3 -m creeklab cloud leave."
        ) from None
    return RunningCloud(
        0, workshop.host, workshop.mqtt_port, workshop.https_port, host=workshop.host
    )


def _refuse_if_joined(home: Path, what: str) -> None:
    workshop = workshop_membership(home)
    if workshop is not None:
        raise CloudError(
            f"You have joined a workshop as {workshop.name}. Its cloud runs on {workshop.host} and "
            f"can only be {what} there. To return to your own cloud, run "
            "python3 -m creeklab cloud leave."
        )


def unusable(path: Path | str, error: OSError) -> CloudError:
    """Return the error for a file or folder of the home folder that cannot be used."""
    return CloudError(
        f"{path} cannot be used ({error.strerror}). Make the file and its folder readable and "
        "writable, and check that the disk is not full, or choose another home folder with the "
        "environment variable CREEKLAB_HOME."
    )


def cloud_folder(home: Path) -> Path:
    """Return the private folder of a home's cloud; create it if it does not exist."""
    folder = home / "cloud"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CloudError(
            f"The folder {folder} cannot be created ({error.strerror}). Choose another home folder "
            "with the environment variable CREEKLAB_HOME."
        ) from None
    return folder


def log_file(folder: Path) -> Path:
    """Return the log of the cloud in `folder`."""
    return folder / "cloud.log"


def ca_path(home: Path) -> Path:
    """Return the PEM file of the certificate that clients of this home's cloud must trust."""
    return home / "cloud" / "ca" / "ca.pem"


def status(home: Path) -> RunningCloud | None:
    """Return the cloud of `home` if it is running, or a workshop's if it can be reached."""
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
    """Return the cloud of `home`, and start it if it is not running; never start a workshop's.

    Parameters
    ----------
    mqtt_port, https_port
        Ports of a cloud that must be started; by default those of the last time, otherwise 8883
        and 8443, otherwise free ones.
    settings
        ``name=value`` texts for a cloud that must be started.
    host
        Name by which a workshop's participants reach this machine, for a cloud that must be
        started. Without it, only this machine reaches the cloud.
    meanwhile
        Called while a cloud that was started here gets ready.

    Raises
    ------
    CloudError
        If the cloud could not be started, or a workshop's could not be reached.
    """
    workshop = workshop_membership(home)
    if workshop is not None:
        return connect_workshop(workshop)
    for port in (mqtt_port, https_port):
        if port is not None and not 0 <= port < 1 << 16:
            raise CloudError(
                f"There is no port {port}: ports go up to 65535, and 0 means a free one."
            )
    with _start_lock(home):
        running = _find(home)
        if running is not None:
            return running
        options = {"home": home, "mqtt-port": mqtt_port, "https-port": https_port, "host": host}
        arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
        arguments += [f"--set={setting}" for setting in settings]
        return _spawn(cloud_folder(home), arguments, meanwhile)


def stop(home: Path) -> bool:
    """Stop the cloud of `home`; return whether it was running."""
    if not (home / "cloud").exists():
        return False
    _refuse_if_joined(home, "stopped")
    with _start_lock(home):
        return _end(home) is not None


def reset(home: Path) -> bool:
    """Empty the account: delete the cloud's database, and restart the cloud if it was running.

    The certificate authority, the access key and the accounts of a workshop's participants stay.
    Return whether the cloud was running.
    """
    if not (home / "cloud").exists():
        return False
    _refuse_if_joined(home, "emptied")
    with _start_lock(home):
        running = _end(home)
        for file in (home / "cloud").glob("cloud.db*"):
            try:
                file.unlink()
            except OSError as error:
                raise unusable(file, error) from None
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
            "Stop that program and try again."
        ) from None
    except OSError as error:
        raise unusable(lock.lock_file, error) from None
    try:
        yield
    finally:
        lock.release()


def running_lock(home: Path) -> filelock.BaseFileLock:
    """Return the lock that a cloud holds while it runs."""
    return filelock.FileLock(cloud_folder(home) / "running.lock", mode=0o600)


def _find(home: Path) -> RunningCloud | None:
    """Wait until the cloud that holds the lock is ready, and return it; None without a cloud."""
    lock = running_lock(home)
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            try:
                running = _read_ready(home / "cloud" / "ready.json")
            except CloudError:
                if waited > READY_GRACE:
                    raise
                running = None
            if running is not None:
                return running
        except OSError as error:
            raise unusable(lock.lock_file, error) from None
        else:
            lock.release()
            return None
        if waited > START_TIMEOUT:
            raise CloudError(
                f"A process holds the lock of {home / 'cloud'} but has not published its ports. "
                "Stop that process and try again."
            )
        time.sleep(0.05)


def _read_ready(file: Path) -> RunningCloud | None:
    """Return the cloud that a file describes; None if the cloud is not ready yet."""
    try:
        content = json.loads(file.read_text())
        if "pid" not in content:
            return None
        running = RunningCloud(**content)
        if all(isinstance(n, int) for n in (running.pid, running.mqtt_port, running.https_port)):
            return running
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(file, error) from None
    except (ValueError, TypeError):
        pass
    raise CloudError(
        f"The cloud is running, but the file {file} does not describe it. Stop the process "
        "'python -m creeklab.cloud', delete the file, and try again."
    )


def _spawn(folder: Path, arguments: Sequence[str], meanwhile: Callable[[], object]) -> RunningCloud:
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    try:
        log = os.open(log_file(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise unusable(log_file(folder), error) from None
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
        reply = json.loads(line)
    except ValueError:
        reply = {"error": f"It exited while starting; {log_file(folder)} says why."}
    if "error" in reply:
        child.wait(STOP_TIMEOUT)
        raise CloudError(f"The local cloud did not start. {reply['error']}")
    # The child outlives this process, so Popen must not warn that nobody waited for it.
    child.returncode = 0
    return RunningCloud(**reply, started_here=True)


def _first_line(child: subprocess.Popen[str]) -> str:
    """Return the first line of the child: its ports, or why it did not start."""
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


def _end(home: Path) -> RunningCloud | None:
    """Stop the cloud of `home`, and return what it was; None if it was not running."""
    running = _find(home)
    if running is None:
        return None
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except OSError as error:
        raise CloudError(
            f"The cloud (process {running.pid}) cannot be stopped ({error.strerror}). Stop it as "
            "the user who started it."
        ) from None
    lock = running_lock(home)
    try:
        lock.acquire(timeout=STOP_TIMEOUT)
    except filelock.Timeout:
        raise CloudError(
            f"The cloud (process {running.pid}) did not stop within {STOP_TIMEOUT:.0f} s. Kill it."
        ) from None
    lock.release()
    return running
