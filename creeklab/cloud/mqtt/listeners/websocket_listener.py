"""MQTT over WebSocket: the same conversation as over TLS, for requests that the account signed.

MQTT's bytes are sent in binary frames, and the boundaries of packets and frames are independent
(MQTT 5, section 6). Such a connection has no certificate: its client is the account itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from wsproto.frame_protocol import CloseReason

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.connection.connection import Connection, State
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason
from creeklab.cloud.mqtt.listeners.tcp_quickack import DelayedAcks, QuickAck
from creeklab.cloud.mqtt.listeners.tls_listener import CONNECT_TIMEOUT, HIGH_WATER, MAX_UNREAD
from creeklab.cloud.mqtt.rate_limits import Throughput
from creeklab.cloud.transport.http_server import Request
from creeklab.cloud.transport.websocket import WebSocket, is_upgrade_request, split_header

SUBPROTOCOLS = ("mqtt", "mqttv3.1")
"""The standard's, and the one of older clients such as the first AWS IoT Device SDK for
JavaScript, which speak MQTT 3.1.1 all the same."""
MAX_FRAME = 1 << 20
"""Largest message of the WebSocket, in bytes; an unfragmented message is one frame."""
CLOSE_TIMEOUT = 10.0

log = logging.getLogger(__name__)


async def serve_websocket(broker: Broker, request: Request, user: str) -> None:
    """Open the WebSocket that a request asks for, and serve MQTT on it until it closes.

    Parameters
    ----------
    request
        The request, whose body has been read.
    user
        Unique id of the user who signed the request.

    Raises
    ------
    ServiceError
        ``InvalidRequestException`` if the request does not ask for a WebSocket with one of
        `SUBPROTOCOLS`.
    """
    offered = split_header(request.headers.get("sec-websocket-protocol", ""))
    protocol = next((each for each in offered if each in SUBPROTOCOLS), None)
    if protocol is None or not is_upgrade_request(request):
        raise ServiceError(
            "InvalidRequestException",
            "/mqtt only accepts WebSocket upgrades with the subprotocol 'mqtt' or 'mqttv3.1'.",
        )
    socket = WebSocket(request, protocol, MAX_FRAME)
    if not socket.transport.is_closing():  # otherwise the client is already gone
        await _Conversation(broker, socket, user).run()


class _Conversation:
    """One MQTT connection over a WebSocket."""

    def __init__(self, broker: Broker, socket: WebSocket, user: str) -> None:
        self._socket = socket
        self._transport = transport = socket.transport
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._queued_bytes = 0
        self._wakeup = asyncio.Event()
        self._closed = False
        self._code = CloseReason.NORMAL_CLOSURE
        self._close_timeout: asyncio.TimerHandle
        source, target = (transport.get_extra_info(name)[:2] for name in ("peername", "sockname"))
        peer = Peer(None, source[0], source[1], target[0], target[1], user)
        self._timer = broker.timer
        self._backpressure = broker.backpressure
        throughput = broker.settings.throughput
        self._pace = Throughput(throughput, self._timer()) if throughput else None
        self._connection = Connection(broker, peer, self._write, self._close)

    async def run(self) -> None:
        """Serve until either side closes."""
        sending = self._loop.create_task(self._send())
        connect_timeout = self._loop.call_later(
            CONNECT_TIMEOUT, self._connection.close_if_no_connect
        )
        try:
            await self._receive()
        finally:
            connect_timeout.cancel()
            self._connection.connection_lost("connection lost")
            self._close()
            try:
                await sending
            finally:
                self._close_timeout.cancel()

    async def _receive(self) -> None:
        quick_ack = QuickAck(self._transport, DelayedAcks())
        try:
            quick_ack.on_no_reply()
            async for data in self._socket.messages():
                if isinstance(data, bytes):
                    self._process(data)
                    await self._wait_for_subscribers()
                    await self._limit_throughput(len(data))
                else:
                    self._code = CloseReason.UNSUPPORTED_DATA
                    self._connection.reject_malformed(
                        "MQTT over WebSocket uses binary frames; this one is text."
                    )
                if not self._out:
                    quick_ack.on_no_reply()
        finally:
            quick_ack.close()

    async def _wait_for_subscribers(self) -> None:
        backpressure = self._backpressure
        if backpressure.reached and not backpressure.is_slow(self._connection.session):
            resumed = asyncio.Event()
            backpressure.wait(resumed.set)
            await resumed.wait()

    def _process(self, data: bytes) -> None:
        self._backpressure.reached = False
        try:
            self._connection.receive(data)
        except Exception:
            # A defect must affect one connection, not the broker.
            log.exception("A connection was closed because of an error in the broker.")
            self._connection.connection_lost("internal error", DisconnectReason.SERVER_ERROR)
            self._close()

    def _write(self, data: bytes) -> None:
        self._queued_bytes += len(data)
        if self._queued_bytes > HIGH_WATER:
            self._connection.congested = True
        if self._queued_bytes > MAX_UNREAD:
            self._loop.call_soon(self._cut_off, self._queued_bytes)
            return
        self._out.append(data)
        self._wakeup.set()

    def _cut_off(self, unread: int) -> None:
        if self._connection.state is not State.CLOSED:
            self._connection.record_slow_consumer(unread)
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._wakeup.set()
            # A client that does not read the rest must not keep the connection open.
            self._close_timeout = self._loop.call_later(CLOSE_TIMEOUT, self._transport.abort)

    async def _send(self) -> None:
        """Send what is queued, one frame for each turn of the loop; close after the last."""
        with contextlib.suppress(ConnectionError):
            while not self._closed:
                await self._wakeup.wait()
                self._wakeup.clear()
                await self._flush()
        await self._socket.close(code=self._code)

    async def _limit_throughput(self, size: int) -> None:
        """Count bytes, and wait as long as they exceed the throughput limit."""
        if self._pace is not None:
            self._pace.consume(size)
            while not self._closed and (delay := self._pace.delay(self._timer())):
                await asyncio.sleep(min(delay, 0.5))

    async def _flush(self) -> None:
        while self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._queued_bytes = 0
            await self._limit_throughput(len(data))
            await self._socket.send(data)  # blocks while the client does not read
            self._connection.congested = False
            self._connection.send_retained()
