"""The whole cloud of one home folder, wired together: the only file that knows every room."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from creeklab.cloud.access import Access
from creeklab.cloud.account import load_account
from creeklab.cloud.api.iot import Iot
from creeklab.cloud.api.iot_data import IotData
from creeklab.cloud.api.lab import lab_door
from creeklab.cloud.api.protocol import Service
from creeklab.cloud.api.server import OWN_SERVICE, ApiServer
from creeklab.cloud.api.sts import Sts
from creeklab.cloud.ca import CertificateAuthority
from creeklab.cloud.mqtt.broker import Broker, Peer
from creeklab.cloud.mqtt.listener import MqttListener
from creeklab.cloud.mqtt.retained import RetainedMessages
from creeklab.cloud.registry import Registry
from creeklab.cloud.settings import Settings
from creeklab.cloud.shadow import Rules
from creeklab.cloud.shadow_service import ShadowService
from creeklab.cloud.store import Store
from creeklab.cloud.tape import Tape

ENDPOINT = "localhost"
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
        self.settings = settings
        self.account = load_account(folder)
        self.tape = Tape(clock=clock)
        self.store = Store(folder / "cloud.db")
        self.ca = CertificateAuthority(folder / "ca")
        self.registry = Registry(
            self.store,
            self.ca,
            account=self.account.account,
            region=self.account.region,
            endpoint=ENDPOINT,
            clock=clock,
        )
        self.broker = Broker(
            settings, self.tape, RetainedMessages(self.store), self._access_for, clock, timer
        )
        rules = Rules(
            max_bytes=settings.shadow_max_bytes,
            first_previous=settings.shadow_first_previous,
            first_version=settings.shadow_first_version,
        )
        self.shadows = ShadowService(self.store, self.broker.publish, self.tape, clock, rules)
        self.broker.service = self.shadows.on_message
        self.registry.listeners.append(self.broker.forget_rights)
        self._listener = MqttListener(self.broker, self.ca.server_context())
        data = (Service("iot-data"), IotData(self.broker, self.shadows))
        self._api = ApiServer(
            {
                "iot": (Service("iot"), Iot(self.registry)),
                "iotdata": data,
                "iotdevicegateway": data,
                "sts": (Service("sts"), Sts(self.account.account, self.account.user_arn)),
            },
            {self.account.access_key: self.account.secret_key},
            clock=clock,
            record=self._record_call,
            extra=lab_door(self.tape),
        )
        self._timer = timer
        self._calls = 0
        self._ticker: asyncio.Task[None] | None = None

    def _access_for(self, peer: Peer, client_id: str, attributes: tuple[str, ...]) -> Access:
        return Access(self.registry, peer.certificate_id, client_id, peer.source_ip, attributes)

    def _record_call(self, **call: object) -> None:
        self._calls += 1
        # Looking at the tape is not a happening of its own.
        if call["service"] != OWN_SERVICE:
            self.tape.record("call", **call)

    async def start(self, mqtt_ports: list[int], https_ports: list[int]) -> tuple[int, int]:
        """Listen on the first port of each list that is free; return both ports.

        Raises
        ------
        OSError
            If every port of a list is taken.
        """
        hosts = [host for host in LOOPBACK if _has(host)]
        mqtt = await _first_free(mqtt_ports, lambda port: self._listener.start(hosts, port))
        context = self.ca.https_context()
        https = await _first_free(https_ports, lambda port: self._api.start(hosts, port, context))
        self._ticker = asyncio.get_running_loop().create_task(self._tick())
        return mqtt, https

    async def run_until(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set or the cloud has been idle for its hours."""
        idle = self.settings.idle_hours * 3600
        busy_at, seen = self._timer(), (0, 0)
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), 60.0)
            except TimeoutError:
                happened = (self._calls, self.tape.length)
                if self.broker.connections or happened != seen:
                    busy_at, seen = self._timer(), happened
                if idle and self._timer() - busy_at > idle:
                    return

    async def stop(self) -> None:
        """Close every connection, both ports and the store."""
        if self._ticker is not None:
            self._ticker.cancel()
        await self._listener.stop()
        self.broker.close()
        await self._api.stop()
        self.store.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self.broker.tick()
            except Exception:
                # The next tick comes whatever happened in this one.
                log.exception("A tick of the broker failed.")


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
