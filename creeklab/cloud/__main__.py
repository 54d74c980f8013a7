"""``python -m creeklab.cloud``: run a cloud in this process.

Prints one line of JSON: the ports of the cloud, or why it did not start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from logging.handlers import RotatingFileHandler
from pathlib import Path

import filelock

from creeklab.cloud.local_cloud import LocalCloud
from creeklab.cloud.private_file import write_private
from creeklab.cloud.settings import Settings, parse_settings
from creeklab.cloud.supervisor import RunningCloud, cloud_folder, log_file, running_lock, unusable

if sys.platform == "win32":
    from asyncio import run
else:
    import resource

    from uvloop import run

MAX_LOG = 1 << 20
"""Bytes of the log file; when it is full, it becomes ``cloud.log.1``."""
MAX_OPEN_FILES = 10_240
"""Limit of open files that the cloud requests; macOS grants no process more."""
DEFAULT_MQTT_PORT, DEFAULT_HTTPS_PORT = 8883, 8443


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cloud until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m creeklab.cloud", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="home folder")
    parser.add_argument("--mqtt-port", type=int, help="port for MQTT over TLS")
    parser.add_argument("--https-port", type=int, help="port for HTTPS")
    parser.add_argument("--host", default="", help="name by which a workshop reaches this machine")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    options = parser.parse_args(arguments)
    home: Path = options.home.absolute()
    _raise_file_limit()
    lock = running_lock(home)
    try:
        lock.acquire(timeout=1.0)
    except filelock.Timeout:
        return _fail(f"A cloud is already running for {home}.")
    try:
        os.umask(0o077)
        logging.basicConfig(
            level=logging.WARNING,
            format="%(asctime)s %(levelname)s %(message)s",
            handlers=[RotatingLog(log_file(cloud_folder(home)), maxBytes=MAX_LOG, backupCount=1)],
        )
        settings = parse_settings(options.settings)
        run(_serve(home, settings, options))
    except (ValueError, OSError) as error:
        logging.exception("The cloud did not start.")
        return _fail(_describe(error))
    finally:
        lock.release()
    return 0


class RotatingLog(RotatingFileHandler):
    """The log file. Standard error, where Python reports a crash, goes to the current file."""

    def doRollover(self) -> None:
        """Rename the full file, and redirect standard error to the new one."""
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)  # Windows cannot rename an open file
        super().doRollover()
        assert self.stream is not None
        os.dup2(self.stream.fileno(), 2)


def _describe(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else str(unusable(error.filename, error))
    return str(error)


def _raise_file_limit() -> None:
    """Raise the limit of open files for connections and databases."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # The cloud works with fewer files too, for fewer clients.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tune_garbage_collector() -> None:
    """Collect garbage less often: messages make no cycles, and the objects of now stay."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _serve(home: Path, settings: Settings, options: argparse.Namespace) -> None:
    folder = cloud_folder(home)
    ready = folder / "ready.json"
    last = _last_ports(ready)
    # Without a process id, the file means: not ready. A failed start keeps the last ports.
    write_private(ready, json.dumps({"mqtt_port": last[0], "https_port": last[1]}))
    cloud = LocalCloud(folder, settings, host=options.host)
    mqtt_port, https_port = await cloud.start(
        _candidates(options.mqtt_port, last[0], DEFAULT_MQTT_PORT),
        _candidates(options.https_port, last[1], DEFAULT_HTTPS_PORT),
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
    running = asdict(
        RunningCloud(
            os.getpid(), cloud.endpoint, mqtt_port, https_port, options.settings, options.host
        )
    )
    del running["started_here"]
    write_private(ready, json.dumps(running))
    _print(running)
    loop.run_in_executor(None, cloud.warm_up)
    _tune_garbage_collector()
    await cloud.run_until(stopping)
    # From now on, start_or_attach waits for the end of this cloud and starts another one.
    ended = json.dumps({"mqtt_port": mqtt_port, "https_port": https_port})
    with contextlib.suppress(OSError):  # there may be no file handle or no disk space left
        write_private(ready, ended)
    await cloud.stop()
    write_private(ready, ended)


def _candidates(requested: int | None, last: int | None, default: int) -> list[int]:
    if requested is not None:
        return [requested]
    # A port that is free on IPv4 may be in use on IPv6, so 0 is tried more than once.
    return [*([last] if last else []), default, 0, 0, 0]


def _last_ports(ready: Path) -> tuple[int | None, int | None]:
    try:
        last = json.loads(ready.read_text())
        return int(last["mqtt_port"]), int(last["https_port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _print(reply: dict[str, object]) -> None:
    # The process that started this one may have died.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(reply), flush=True)


def _fail(why: str) -> int:
    _print({"error": why})
    return 1


if __name__ == "__main__":
    sys.exit(main())
