"""``python -m creeklab.cloud``: run a cloud in this process.

Says in one line of JSON on standard output where it is reached, or why it did not start.
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
from pathlib import Path

import filelock

from creeklab.cloud.local_cloud import LocalCloud
from creeklab.cloud.private_file import write_private
from creeklab.cloud.settings import Settings, parse_settings
from creeklab.cloud.supervisor import RunningCloud, cloud_folder, running_lock

if sys.platform == "win32":
    from asyncio import run
else:
    import resource

    from uvloop import run

MAX_OPEN_FILES = 10_240
"""File handles that the cloud asks for; macOS gives no process more, whatever limit it names."""
USUAL_MQTT_PORT, USUAL_HTTPS_PORT = 8883, 8443


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cloud until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m creeklab.cloud", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="home folder")
    parser.add_argument("--mqtt-port", type=int, help="port for MQTT over TLS")
    parser.add_argument("--https-port", type=int, help="port for HTTPS")
    parser.add_argument("--host", default="", help="name that a workshop reaches this machine by")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    home: Path = options.home.absolute()
    _raise_file_limit()
    lock = running_lock(home)
    try:
        lock.acquire(timeout=1.0)
    except filelock.Timeout:
        return _fail(f"One is running for {home} already.")
    try:
        settings = parse_settings(options.settings)
        run(_serve(home, settings, options))
    except (ValueError, OSError) as error:
        logging.exception("The cloud did not start.")
        return _fail(getattr(error, "strerror", None) or str(error))
    finally:
        lock.release()
    return 0


def _raise_file_limit() -> None:
    """Have the system give this process the handles that connections and databases take."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        # Without more it works as well, for fewer.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _tune_garbage_collector() -> None:
    """Have Python look for cycles less often: messages make none, and what is here now stays."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _serve(home: Path, settings: Settings, options: argparse.Namespace) -> None:
    folder = cloud_folder(home)
    ready = folder / "ready.json"
    last = _last_ports(ready)
    # The ports of the last time outlive a start that fails; without a process it is not ready.
    write_private(ready, json.dumps({"mqtt_port": last[0], "https_port": last[1]}))
    app = LocalCloud(folder, settings, host=options.host)
    mqtt_port, https_port = await app.start(
        _candidates(options.mqtt_port, last[0], USUAL_MQTT_PORT),
        _candidates(options.https_port, last[1], USUAL_HTTPS_PORT),
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
    running = asdict(
        RunningCloud(
            os.getpid(), app.endpoint, mqtt_port, https_port, options.settings, options.host
        )
    )
    del running["started_here"]
    write_private(ready, json.dumps(running))
    _say(running)
    loop.run_in_executor(None, app.warm_up)
    _tune_garbage_collector()
    await app.run_until(stopping)
    # Whoever looks for a cloud from now on waits for the end of this one, and starts another.
    ended = json.dumps({"mqtt_port": mqtt_port, "https_port": https_port})
    with contextlib.suppress(OSError):  # no file handle, or no disk, may be left
        write_private(ready, ended)
    await app.stop()
    write_private(ready, ended)


def _candidates(asked: int | None, last: int | None, usual: int) -> list[int]:
    if asked is not None:
        return [asked]
    # A free port of IPv4 may be taken on IPv6: 0 is tried more than once.
    return [*([last] if last else []), usual, 0, 0, 0]


def _last_ports(ready: Path) -> tuple[int | None, int | None]:
    try:
        last = json.loads(ready.read_text())
        return int(last["mqtt_port"]), int(last["https_port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _say(said: dict[str, object]) -> None:
    # Whoever started this may be gone already.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(said), flush=True)


def _fail(why: str) -> int:
    _say({"error": why})
    return 1


if __name__ == "__main__":
    sys.exit(main())
