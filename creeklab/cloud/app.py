"""The whole cloud of one home folder: its two ports, its certificate authority, and time."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from creeklab.cloud.account import load_account
from creeklab.cloud.accounts import Accounts
from creeklab.cloud.api.server import ApiServer
from creeklab.cloud.ca import CertificateAuthority
from creeklab.cloud.mqtt.listener import MqttListener, explain_handshake, watch_handshakes
from creeklab.cloud.rooms import Rooms
from creeklab.cloud.settings import Settings

ENDPOINT = "localhost"
HTTPS_ALPN = ["x-amzn-http-ca", "http/1.1"]
"""The first is for devices that come to AWS's port 443, which here is the same as any other."""
LOOPBACK = ("127.0.0.1", "::1")
TICK_SECONDS = 1.0

log = logging.getLogger(__name__)


class App:
    """One cloud. `start` opens its two ports, `stop` closes everything."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._timer = timer
        account = load_account(folder)
        self._ca = CertificateAuthority(folder / "ca")
        self.rooms = Rooms(folder, account, settings, self._ca, ENDPOINT, clock, timer)
        self._listener = MqttListener(self.rooms.broker, self._ca.server_context())
        self._api = ApiServer(Accounts(self.rooms), clock=clock)
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, mqtt_ports: list[int], https_ports: list[int]) -> tuple[int, int]:
        """Listen on the first port of each list that is free; return both ports.

        Raises
        ------
        OSError
            If every port of a list is taken.
        """
        loop = asyncio.get_running_loop()
        self.rooms.settle_by(loop.call_soon)
        hosts = [host for host in LOOPBACK if _has(host)]
        mqtt = await _first_free(mqtt_ports, lambda port: self._listener.start(hosts, port))
        context = self._ca.https_context()
        context.set_alpn_protocols(HTTPS_ALPN)
        watch_handshakes(context, self._handshake_refused)
        https = await _first_free(https_ports, lambda port: self._api.start(hosts, port, context))
        self._ticker = loop.create_task(self._tick())
        return mqtt, https

    async def run_until(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set or the cloud has been idle for its hours."""
        idle = self._settings.idle_hours * 3600
        busy_at, seen = self._timer(), (0, 0)
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), 60.0)
            except TimeoutError:
                happened = (self.rooms.calls, self.rooms.tape.length)
                if self.rooms.broker.connections or happened != seen:
                    busy_at, seen = self._timer(), happened
                if idle and self._timer() - busy_at > idle:
                    return

    async def stop(self) -> None:
        """Close every connection, both ports and the store."""
        if self._ticker is not None:
            self._ticker.cancel()
        await self._listener.stop()
        self.rooms.broker.close()
        await self._api.stop()
        self.rooms.close()

    def _handshake_refused(self, error: ssl.SSLError | None) -> None:
        self.rooms.tape.record("tls", refusal={"summary": explain_handshake(error)})

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self.rooms.tick()
            except Exception:
                # The next tick comes whatever happened in this one.
                log.exception("A tick failed.")


async def _first_free(ports: list[int], start: Callable[[int], Awaitable[int]]) -> int:
    for position, port in enumerate(ports):
        try:
            return await start(port)
        except OSError as error:
            if error.errno == errno.EACCES:
                why = f"Port {port} is not open to you; ports from 1024 on are."
                raise OSError(errno.EACCES, why) from None
            if error.errno != errno.EADDRINUSE:
                raise
            if position == len(ports) - 1:
                why = f"Port {port} is taken by another program; name another one."
                raise OSError(errno.EADDRINUSE, why) from None
    raise ValueError("No port was named.")


def _has(host: str) -> bool:
    """Tell whether this machine has the loopback address `host`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
