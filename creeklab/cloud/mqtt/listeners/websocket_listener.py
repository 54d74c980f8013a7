"""MQTT over WebSocket: the same conversation as over TLS, for who has signed the request.

The bytes of MQTT travel in binary frames, and the borders of packets and frames have nothing to do
with each other (MQTT 5, section 6). Such a connection has no certificate: it is the account itself.
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
from creeklab.cloud.mqtt.listeners.tcp_quickack import QuickAck
from creeklab.cloud.mqtt.listeners.tls_listener import CONNECT_TIMEOUT, HIGH_WATER, MAX_UNREAD
from creeklab.cloud.mqtt.rate_limits import Throughput
from creeklab.cloud.transport.http_server import Request
from creeklab.cloud.transport.websocket import WebSocket, is_upgrade_request, split_header

SUBPROTOCOL = "mqtt"
MAX_FRAME = 1 << 20
"""Largest message of the WebSocket, in bytes; one that is not fragmented is a frame."""
CLOSE_TIMEOUT = 10.0

log = logging.getLogger(__name__)


async def serve_websocket(broker: Broker, request: Request, user: str) -> None:
    """Open the WebSocket that a request asks for, and talk MQTT on it to its end.

    Parameters
    ----------
    request
        With its body read.
    user
        Unique id of the user who signed the request.

    Raises
    ------
    ServiceError
        ``InvalidRequestException`` if the request does not ask for a WebSocket with the
        subprotocol ``mqtt``.
    """
    protocols = split_header(request.headers.get("sec-websocket-protocol", ""))
    if SUBPROTOCOL not in protocols or not is_upgrade_request(request):
        raise ServiceError(
            "InvalidRequestException",
            f"/mqtt opens a WebSocket with the subprotocol '{SUBPROTOCOL}', and nothing else.",
        )
    socket = WebSocket(request, SUBPROTOCOL, MAX_FRAME)
    if not socket.transport.is_closing():  # else the client has gone again
        await _Conversation(broker, socket, user).run()


class _Conversation:
    """A connection of the broker on a WebSocket."""

    def __init__(self, broker: Broker, socket: WebSocket, user: str) -> None:
        self._socket = socket
        self._transport = transport = socket.transport
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._waiting = 0  # bytes
        self._news = asyncio.Event()
        self._over = False
        self._code = CloseReason.NORMAL_CLOSURE
        self._patience: asyncio.TimerHandle
        source, target = (transport.get_extra_info(name)[:2] for name in ("peername", "sockname"))
        peer = Peer(None, source[0], source[1], target[0], target[1], user)
        self._timer = broker.timer
        throughput = broker.settings.throughput
        self._pace = Throughput(throughput, self._timer()) if throughput else None
        self._connection = Connection(broker, peer, self._write, self._close)

    async def run(self) -> None:
        """Talk until either end closes."""
        sending = self._loop.create_task(self._send())
        late = self._loop.call_later(CONNECT_TIMEOUT, self._connection.close_if_no_connect)
        try:
            await self._receive()
        finally:
            late.cancel()
            self._connection.connection_lost("connection lost")
            self._close()
            try:
                await sending
            finally:
                self._patience.cancel()

    async def _receive(self) -> None:
        quick_ack = QuickAck(self._transport)
        try:
            quick_ack.on_no_reply()
            async for data in self._socket.messages():
                if isinstance(data, bytes):
                    self._take(data)
                    await self._keep_pace(len(data))
                else:
                    self._code = CloseReason.UNSUPPORTED_DATA
                    self._connection.reject_malformed(
                        "MQTT travels in binary frames; this one was text."
                    )
                if not self._out:
                    quick_ack.on_no_reply()
        finally:
            quick_ack.close()

    def _take(self, data: bytes) -> None:
        try:
            self._connection.receive(data)
        except Exception:
            # A defect of ours must cost one connection, not the broker.
            log.exception("A connection was closed because of an error in the broker.")
            self._connection.connection_lost("internal error", DisconnectReason.SERVER_ERROR)
            self._close()

    def _write(self, data: bytes) -> None:
        self._waiting += len(data)
        if self._waiting > HIGH_WATER:
            self._connection.congested = True
        if self._waiting > MAX_UNREAD:
            self._loop.call_soon(self._give_up, self._waiting)
            return
        self._out.append(data)
        self._news.set()

    def _give_up(self, unread: int) -> None:
        if self._connection.state is not State.CLOSED:
            self._connection.close_slow_consumer(unread)
            self._close()

    def _close(self) -> None:
        if not self._over:
            self._over = True
            self._news.set()
            # Who does not read what is left for it is not waited for any longer.
            self._patience = self._loop.call_later(CLOSE_TIMEOUT, self._transport.abort)

    async def _send(self) -> None:
        """Send what is written, one frame a turn of the loop; the last of it, and then close."""
        with contextlib.suppress(ConnectionError):
            while not self._over:
                await self._news.wait()
                self._news.clear()
                await self._flush()
        await self._socket.close(code=self._code)

    async def _keep_pace(self, size: int) -> None:
        """Take note of bytes that pass, and wait until no more pass than may."""
        if self._pace is not None:
            self._pace.consume(size)
            while not self._over and (wait := self._pace.delay(self._timer())):
                await asyncio.sleep(min(wait, 0.5))

    async def _flush(self) -> None:
        while self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._waiting = 0
            await self._keep_pace(len(data))
            await self._socket.send(data)  # waits while the client does not read
            self._connection.congested = False
            self._connection.send_retained()
