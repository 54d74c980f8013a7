"""A whole cloud in this process, with real sockets and clients, and access to its services.

Its event loop runs in a thread; `InProcessCloud.call` calls a function there. A test can set its
clock, limit the size of its database and count what it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import uvloop

from creeklab import Lab, open_lab
from creeklab.cloud.accounts.account_services import AccountServices
from creeklab.cloud.local_cloud import LocalCloud
from creeklab.cloud.mqtt.listeners import tls_listener
from creeklab.cloud.settings import parse_settings
from creeklab.cloud.supervisor import RunningCloud, cloud_folder, running_lock
from tests.conftest import NewThing, make_thing
from tests.hardening.packet_client import PacketClient

T = TypeVar("T")
SECONDS = 30.0


class Skewed:
    """A clock that can be set: it is ahead of another by `by` seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.by = 0.0
        self._clock = clock

    def __call__(self) -> float:
        return self._clock() + self.by


@dataclass
class InProcessCloud:
    """A cloud that runs in this process.

    Attributes
    ----------
    thing
        A Thing that may do anything.
    clock, timer
        The cloud's two clocks.
    """

    services: AccountServices
    lab: Lab
    thing: NewThing
    clock: Skewed
    timer: Skewed
    _loop: asyncio.AbstractEventLoop

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the event loop of the cloud."""
        done: Future[T] = Future()

        def call() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return done.result(SECONDS)

    def connect(
        self, client_id: str, version: int = 5, expiry: int = 0, **properties: Any
    ) -> PacketClient:
        """Connect a client that shows every packet."""
        return connect_client(self.lab, self.thing, client_id, version, expiry, **properties)

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Return the event log's entries of a kind."""
        return [each for each in self.call(self.services.event_log.entries) if each["kind"] == kind]


def connect_client(
    lab: Lab, thing: NewThing, client_id: str, version: int = 5, expiry: int = 0, **properties: Any
) -> PacketClient:
    """Connect a client that shows every packet to a lab's cloud."""
    address, files = (lab.endpoint, lab.mqtt_port), thing.files
    return PacketClient(
        address,
        lab.ca_file,
        files.certificate,
        files.private_key,
        client_id,
        version,
        expiry,
        **properties,
    )


@contextlib.contextmanager
def start_cloud(
    home: Path,
    settings: Sequence[str] = (),
    host: str = "",
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> Iterator[InProcessCloud]:
    """Run a cloud in this process until the end of the block; of a workshop if it has a host."""
    folder = cloud_folder(home)
    clock, timer = Skewed(time.time), Skewed(time.monotonic)
    loop = new_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[LocalCloud, int, int]:
        app = LocalCloud(folder, parse_settings(settings), clock, timer, host)
        # A port that is free on IPv4 may be in use on IPv6, so 0 is tried more than once.
        return app, *await app.start([0, 0, 0], [0, 0, 0])

    async def finish() -> None:
        """Finish what is still running on the loop, as `asyncio.run` does."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A disconnected client has this long to read its DISCONNECT, and the loop must stay open.
        await asyncio.sleep(close_timeout + 0.2)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(SECONDS)

    close_timeout = min(tls_listener.CLOSE_TIMEOUT, 0.5)
    try:
        with running_lock(home), patch.object(tls_listener, "CLOSE_TIMEOUT", close_timeout):
            app, mqtt_port, https_port = run(start())
            try:
                running = asdict(RunningCloud(os.getpid(), app.endpoint, mqtt_port, https_port))
                del running["started_here"]
                (folder / "ready.json").write_text(json.dumps(running))
                lab = open_lab(home=home)
                yield InProcessCloud(app.accounts.owner, lab, make_thing(lab), clock, timer, loop)
            finally:
                run(app.stop())
    finally:
        run(finish())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Wait until a condition is true, for a limited time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)
