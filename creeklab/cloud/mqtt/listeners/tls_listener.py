"""The sockets: TCP, mutual TLS, and one write per connection for all that one reading asks for.

A TLS handshake that fails never reaches a protocol of asyncio's. So that such a refusal can be
explained as well, the TLS context is given an SSL object that tells of it (`watch_handshakes`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from typing import cast

from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.connection.connection import Connection, State
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason
from creeklab.cloud.mqtt.listeners.tcp_quickack import QuickAck
from creeklab.cloud.mqtt.rate_limits import Throughput
from creeklab.cloud.security.ca import certificate_id
from creeklab.cloud.transport.listen import PROBE, listen

HANDSHAKE_TIMEOUT = 10.0
CONNECT_TIMEOUT = 10.0
# How long who is cut off may take to read the rest and to say farewell.
CLOSE_TIMEOUT = 5.0
HIGH_WATER = 1 << 20
# More than all messages that a client may have to acknowledge: it does not read its answers either.
MAX_UNREAD = 16 << 20
# Bytes of one client after which the others have their turn: libuv would read on while it sends.
READ_BUDGET = 1 << 16
ALPN = "x-amzn-mqtt-ca"

BrokerOf = Callable[[str, str], Broker]

log = logging.getLogger(__name__)


class MqttListener:
    """Accepts MQTT connections over mutual TLS and hands their bytes to their broker.

    Parameters
    ----------
    broker_of
        Gives the broker of the account that a certificate, named by its id, belongs to; and of one
        that belongs to none, the broker that is told of it. Called with the IP address, too.
    """

    def __init__(self, broker_of: BrokerOf, context: ssl.SSLContext) -> None:
        self._broker_of = broker_of
        self._context = context
        self._servers: list[asyncio.Server] = []
        context.set_alpn_protocols([ALPN, PROBE])

    async def start(self, hosts: Iterable[str], port: int) -> int:
        """Listen on `port`, or on a free one if it is 0, of every host; return the port.

        Raises
        ------
        OSError
            If the port is taken.
        """
        loop = asyncio.get_running_loop()
        outgoing = _WriteQueue(loop)
        self._servers, port = await listen(
            hosts,
            port,
            lambda host, port: loop.create_server(
                lambda: _MqttProtocol(self._broker_of, outgoing),
                host,
                port,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=CLOSE_TIMEOUT,
                backlog=1024,
            ),
        )
        return port

    async def stop(self) -> None:
        """Stop listening; connections are the broker's to close."""
        for server in self._servers:
            server.close()


class _WriteQueue:
    """Who has something to write: what one reading brought is written at its end.

    What is written at another time goes out in the loop's next turn. To ask the loop in either case
    would cost every message a turn of its own.

    Attributes
    ----------
    reading
        Whether a reading is under way; who reads calls `flush` at its end.
    buffer
        Where what has come is decrypted to, for one connection after the other. A protocol without
        such a buffer gets bytes, and for them uvloop asks for 256 KB at each reading.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reading = False
        self.buffer = memoryview(bytearray(READ_BUDGET))
        self._loop = loop
        self._due: list[_MqttProtocol] = []

    def add(self, protocol: _MqttProtocol) -> None:
        """Note that a connection has something to write, once until it is flushed."""
        if not self._due and not self.reading:
            self._loop.call_soon(self.flush)
        self._due.append(protocol)

    def flush(self) -> None:
        """Write all that there is to write."""
        due, self._due = self._due, []
        for protocol in due:
            try:
                protocol.flush()
            except Exception:
                protocol.fail()


class _MqttProtocol(asyncio.BufferedProtocol):
    def __init__(self, broker_of: BrokerOf, outgoing: _WriteQueue) -> None:
        self._broker_of = broker_of
        self._outgoing = outgoing
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._waiting = 0  # bytes in it
        self._paused = False
        self._taken = 0
        self._pace: Throughput | None = None
        self._held_back: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is asyncio's in all but its base class.
        self._transport = cast(asyncio.Transport, transport)
        self._quick_ack = QuickAck(transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        source, target = (transport.get_extra_info(name)[:2] for name in ("peername", "sockname"))
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        # What asyncio reads out of the certificate for everybody: 4 KB, and nobody here asks.
        transport.get_extra_info("peercert").clear()
        peer = Peer(certificate_id(der), *source, *target)
        broker = self._broker_of(peer.principal, peer.source_ip)
        self._connection = Connection(broker, peer, self._write, self._close)
        late = self._loop.call_later(CONNECT_TIMEOUT, self._connection.close_if_no_connect)
        self._patience: asyncio.TimerHandle | None = late
        self._timer = broker.timer
        if broker.settings.throughput:
            self._pace = Throughput(broker.settings.throughput, self._timer())
        self._quick_ack.on_no_reply()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._outgoing.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received(bytes(self._outgoing.buffer[:nbytes]))

    def received(self, data: bytes) -> None:
        outgoing = self._outgoing
        outgoing.reading = True
        self._quick_ack.on_receive()
        try:
            self._connection.receive(data)
        except Exception:
            self.fail()
        finally:
            outgoing.reading = False
        if self._patience is not None and self._connection.state is not State.AWAITING_CONNECT:
            self._cancel_connect_timeout()
        if self._pace is not None:
            self._pace.consume(len(data))
        answered = bool(self._out) or self._connection.deferred_pubacks > 0
        outgoing.flush()
        if not answered:
            self._quick_ack.on_no_reply()
        self._taken += len(data)
        if self._taken > READ_BUDGET or self._pace is not None:
            self._taken = 0
            self._transport.pause_reading()
            self._loop.call_soon(self._resume_reading)

    def fail(self) -> None:
        """End the connection because of a defect of ours, which must cost no other one."""
        log.exception("A connection was closed because of an error in the broker.")
        self._drop()
        self._transport.close()
        try:
            self._connection.connection_lost("internal error", DisconnectReason.SERVER_ERROR)
        except Exception:
            log.exception("Nor could its end be noted.")

    def _drop(self) -> None:
        """Forget what is still to be written."""
        self._out.clear()
        self._waiting = 0
        if self._held_back is not None:
            self._held_back.cancel()
            self._held_back = None

    def _cancel_connect_timeout(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _resume_reading(self) -> None:
        if self._pace is not None and (wait := self._pace.delay(self._timer())):
            self._loop.call_later(wait, self._resume_reading)
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._quick_ack.close()
        self._cancel_connect_timeout()
        self._drop()
        self._connection.connection_lost(f"connection lost: {exc}" if exc else "connection lost")

    def pause_writing(self) -> None:
        self._paused = self._connection.congested = True

    def resume_writing(self) -> None:
        self._paused = self._connection.congested = False
        self._connection.send_retained()

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._outgoing.add(self)
        self._out.append(data)
        self._waiting += len(data)
        if self._waiting > HIGH_WATER:
            self._limit_output()

    def _limit_output(self) -> None:
        """Bound what one turn of the loop may ask for: few bytes can ask for gigabytes."""
        self._connection.congested = True
        if self._waiting > MAX_UNREAD:
            self._out.pop()  # whose it is will be cut off

    def flush(self) -> None:
        """Write what there is to write, as far as the quota of throughput allows it now."""
        if self._pace is None:
            self._send(len(self._out))
        else:
            count, wait = self._pace.split(self._out, self._timer())
            self._send(count)
            if self._out and self._held_back is None:
                self._held_back = self._loop.call_later(wait, self._go_on)

    def _go_on(self) -> None:
        self._held_back = None
        try:
            self.flush()
        except Exception:
            self.fail()

    def _send(self, count: int) -> None:
        """Write the first ones of what there is to write."""
        out, asked = self._out, self._waiting
        if not count:
            return
        if count == len(out):
            data, self._waiting = b"".join(out), 0
            out.clear()
        else:
            data = b"".join(out[:count])
            self._waiting -= len(data)
            del out[:count]
        if asked <= MAX_UNREAD:
            self._transport.write(data)
            self._quick_ack.on_send()
        if self._connection.congested:
            self._connection.congested = self._paused
            unread = max(asked, self._transport.get_write_buffer_size())
            if unread > MAX_UNREAD:
                self._connection.close_slow_consumer(unread)
                self._transport.abort()  # closing would wait for it to read
                self._drop()
            self._connection.send_retained()

    def _close(self) -> None:
        self._send(len(self._out))
        self._transport.close()
