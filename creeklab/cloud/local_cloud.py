"""The whole cloud of one home folder: its services, two ports, and certificate authority."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from creeklab.cloud.accounts.account_services import CloudContext
from creeklab.cloud.accounts.accounts import Accounts
from creeklab.cloud.accounts.workshop import Workshop
from creeklab.cloud.api.dispatcher import Dispatcher
from creeklab.cloud.diagnostics import service as diagnostics
from creeklab.cloud.iam import service as iam
from creeklab.cloud.lambda_ import service as functions
from creeklab.cloud.messaging import service as messaging
from creeklab.cloud.mqtt.listeners.tls_listener import ALPN, MqttListener
from creeklab.cloud.registry import service as registry
from creeklab.cloud.rules import service as rules
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.security.tls import explain_handshake, watch_handshakes
from creeklab.cloud.service import CloudAddress, Service
from creeklab.cloud.settings import Settings
from creeklab.cloud.shadow import service as shadow
from creeklab.cloud.sts import service as sts

SERVICES = (
    registry.SERVICE,
    shadow.SERVICE,
    messaging.SERVICE,
    iam.SERVICE,
    functions.SERVICE,
    rules.SERVICE,
    sts.SERVICE,
    diagnostics.SERVICE,
)
"""Every service of the cloud. A new one is a folder, and a line here."""

ENDPOINT = "localhost"
HTTPS_ALPN = ["x-amzn-http-ca", "http/1.1", ALPN]
"""Devices on AWS's port 443 ask for the first one, where it makes no difference here, or for MQTT
with the last one."""
LOOPBACK = ("127.0.0.1", "::1")
TICK_SECONDS = 1.0

log = logging.getLogger(__name__)


class LocalCloud:
    """One cloud. `start` opens its two ports, `stop` closes everything.

    Parameters
    ----------
    clock, timer
        Seconds since the epoch, and seconds that never go back.
    host
        For a workshop: the name by which others reach this machine. The ports are then open on its
        addresses too; without a name, only on loopback addresses.

    Raises
    ------
    ValueError
        If the name is unknown, or none of its addresses belongs to this machine.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        host: str = "",
        services: Sequence[Service] = SERVICES,
    ) -> None:
        self._settings = settings
        self._timer = timer
        self.endpoint = host or ENDPOINT
        addresses = _addresses(host) if host else []
        self._hosts = list(dict.fromkeys([*filter(_is_own_address, LOOPBACK), *addresses]))
        names = [host, *addresses] if host else []
        self._ca = CertificateAuthority(folder / "ca", names=names)
        shared = CloudContext(services, settings, self._ca, self.endpoint, clock, timer)
        self.accounts = Accounts(shared, folder)
        self._workshop = Workshop(folder, self.accounts, settings, host, clock)
        self._listener = MqttListener(
            lambda certificate_id, address: (
                self.accounts.by_certificate(certificate_id, address).broker
            ),
            self._report_failed_handshakes(self._ca.server_context()),
        )
        self._api = Dispatcher(self.accounts, clock=clock)
        self._ticker: asyncio.Task[None] | None = None
        self._out_of_files = False

    async def start(self, mqtt_ports: list[int], https_ports: list[int]) -> tuple[int, int]:
        """Listen on the first port of each list that is free; return both ports.

        Raises
        ------
        OSError
            If every port of a list is taken.
        """
        loop = asyncio.get_running_loop()
        self.accounts.set_commit_scheduler(loop.call_soon)
        mqtt = await _first_free(mqtt_ports, lambda port: self._listener.start(self._hosts, port))
        context = self._report_failed_handshakes(self._ca.https_context())
        context.set_alpn_protocols(HTTPS_ALPN)
        https = await _first_free(
            https_ports,
            lambda port: self._api.start(self._hosts, port, context, self._listener.protocol_for),
        )
        self.accounts.start(CloudAddress(f"https://{self.endpoint}:{https}", self._ca.ca_file))
        self._workshop.open(mqtt, https, self._ca.ca_file.read_text())
        self._ticker = loop.create_task(self._tick())
        return mqtt, https

    def warm_up(self) -> None:
        """Load what the first call of an operation would wait for; call it on a thread."""
        _ = self.accounts.owner.http_services
        self._ca.make_spare_key()

    async def run_until(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set or the cloud has been idle for `idle_hours`."""
        idle = self._settings.idle_hours * 3600
        busy_at, last = self._timer(), self.accounts.activity_counters()
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), 60.0)
            except TimeoutError:
                activity = self.accounts.activity_counters()
                if self.accounts.connected() or activity != last:
                    busy_at, last = self._timer(), activity
                if idle and self._timer() - busy_at > idle:
                    return

    async def stop(self) -> None:
        """Close every connection, both ports and the databases."""
        if self._ticker is not None:
            self._ticker.cancel()
        await self._listener.stop()
        for account in self.accounts:
            account.broker.close()
        await self._api.stop()
        for account in self.accounts:
            account.close()

    def _report_failed_handshakes(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Log each failed handshake for the owner: the account of the device is unknown."""

        def refused(error: ssl.SSLError | None) -> None:
            self.accounts.owner.event_log.append(
                "tls", refusal={"summary": explain_handshake(error)}
            )

        watch_handshakes(context, refused)
        return context

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for tick in (self._check_file_handles, *(account.tick for account in self.accounts)):
                try:
                    tick()
                except Exception:
                    # A failing tick must not stop the later ones.
                    log.exception("A tick failed.")
            if not self._ca.has_spare_key:
                try:
                    await asyncio.get_running_loop().run_in_executor(None, self._ca.make_spare_key)
                except Exception:
                    log.exception("Creating a spare key failed; the next call creates its own.")

    def _check_file_handles(self) -> None:
        """Log once that no file handle is left: new connections fail unseen."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
            self._out_of_files = False
        except OSError as error:
            if not self._out_of_files:
                why = (
                    f"New connections fail ({error.strerror}). Close connections that nobody "
                    "needs, or start the cloud after 'ulimit -n 4096'."
                )
                self.accounts.owner.event_log.append("connect", refusal={"summary": why})
                log.error(why)
            self._out_of_files = True


async def _first_free(ports: list[int], start: Callable[[int], Awaitable[int]]) -> int:
    for position, port in enumerate(ports):
        try:
            return await start(port)
        except OSError as error:
            if error.errno == errno.EACCES:
                why = f"You are not allowed to use port {port}. Choose a port from 1024 upwards."
                raise OSError(errno.EACCES, why) from None
            if error.errno != errno.EADDRINUSE:
                raise
            if position == len(ports) - 1:
                why = f"Port {port} is in use by another program. Choose another port."
                raise OSError(errno.EADDRINUSE, why) from None
    raise ValueError("The list of ports is empty.")


def _addresses(host: str) -> list[str]:
    """Return the addresses of a host name that belong to this machine."""
    advice = "Use the name or address by which others reach this machine."
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise ValueError(f"The host name '{host}' is unknown on this machine. {advice}") from None
    # An address with a % is valid for one network interface only, and no certificate can name it.
    addresses = list(dict.fromkeys(str(to[0]) for *_, to in found if "%" not in str(to[0])))
    if any(ipaddress.ip_address(address).is_unspecified for address in addresses):
        raise ValueError(
            f"'{host}' stands for all addresses of a machine, so others cannot connect to it. "
            + advice
        )
    own = [address for address in addresses if _is_own_address(address)]
    if not own:
        raise ValueError(
            f"No address of '{host}' belongs to this machine ({', '.join(addresses)}). {advice}"
        )
    named = host not in (*addresses, ENDPOINT)
    if named and all(ipaddress.ip_address(address).is_loopback for address in own):
        # Debian and Ubuntu map the machine's own name to 127.0.1.1.
        raise ValueError(
            f"On this machine, '{host}' has the address {own[0]}, which others cannot reach. Use "
            "the machine's address in the network instead."
        )
    return own


def _is_own_address(host: str) -> bool:
    """Return whether `host` is an address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
