"""MQTT over mutual TLS: sockets, flow control, and one write per connection for each read.

asyncio calls no protocol when a TLS handshake fails. To explain these refusals, too, the TLS
context has an SSL object that reports them (`security.tls.watch_handshakes`).
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
from creeklab.cloud.mqtt.listeners.tcp_quickack import DelayedAcks, QuickAck
from creeklab.cloud.mqtt.rate_limits import Throughput
from creeklab.cloud.security.ca import certificate_id
from creeklab.cloud.security.tls import NO_CERTIFICATE
from creeklab.cloud.transport.listen import PROBE, listen

HANDSHAKE_TIMEOUT = 10.0
CONNECT_TIMEOUT = 10.0
CLOSE_TIMEOUT = 5.0  # for a client to read the rest and to end TLS
HIGH_WATER = 1 << 20
# More than all messages that can be in flight: such a client does not read its answers either.
MAX_UNREAD = 16 << 20
# Bytes from one client before the others get a turn: libuv reads as long as a client sends.
READ_BUDGET = 1 << 16
ALPN = "x-amzn-mqtt-ca"

BrokerOf = Callable[[str, str], Broker]

log = logging.getLogger(__name__)


class MqttListener:
    """Accepts MQTT connections over mutual TLS and hands their bytes to their broker.

    Parameters
    ----------
    broker_of
        Returns the broker for a certificate ID and an IP address: that of the certificate's
        account or, for an unknown certificate, of the account that logs the refusal.
    """

    def __init__(self, broker_of: BrokerOf, context: ssl.SSLContext) -> None:
        self._broker_of = broker_of
        self._context = context
        self._servers: list[asyncio.Server] = []
        self._outgoing: _WriteQueue | None = None
        context.set_alpn_protocols([ALPN, PROBE])

    async def start(self, hosts: Iterable[str], port: int) -> int:
        """Listen on `port`, or on a free one if it is 0, of every host; return the port.

        Raises
        ------
        OSError
            If the port is taken.
        """
        loop = asyncio.get_running_loop()
        outgoing = self._outgoing = _WriteQueue(loop)
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

    def protocol_for(self, secured: ssl.SSLObject) -> asyncio.BaseProtocol | None:
        """Return the protocol of a connection to the HTTPS port; None if it did not ask for MQTT.

        That port leaves the client certificate to the client, and MQTT does not.
        """
        if secured.selected_alpn_protocol() != ALPN or self._outgoing is None:
            return None
        if secured.getpeercert(binary_form=True) is None:
            broker = self._broker_of("", "")
            broker.event_log.append("tls", refusal={"summary": NO_CERTIFICATE})
            return _Rejected()
        return _MqttProtocol(self._broker_of, self._outgoing)

    async def stop(self) -> None:
        """Stop listening; the broker closes the connections."""
        for server in self._servers:
            server.close()


class _Rejected(asyncio.Protocol):
    """Closes a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _WriteQueue:
    """The connections with something to send.

    What a read causes is sent at its end; anything else in the loop's next turn. Asking the loop
    in both cases would cost each message a turn of its own.

    Attributes
    ----------
    reading
        Whether a read is in progress; it calls `flush` at its end.
    buffer
        Receives decrypted data, for one connection after another. Without a buffer of the
        protocol's own, uvloop allocates 256 KB for each read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reading = False
        self.buffer = memoryview(bytearray(READ_BUDGET))
        self.delayed_acks = DelayedAcks()
        self._loop = loop
        self._due: list[_MqttProtocol] = []

    def add(self, protocol: _MqttProtocol) -> None:
        """Add a connection; call it once until the next flush."""
        if not self._due and not self.reading:
            self._loop.call_soon(self.flush)
        self._due.append(protocol)

    def flush(self) -> None:
        """Send everything."""
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
        self._queued_bytes = 0
        self._paused = False
        self._received = 0
        self._pace: Throughput | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport behaves like asyncio's, but has another base class.
        self._transport = cast(asyncio.Transport, transport)
        self._quick_ack = QuickAck(transport, self._outgoing.delayed_acks)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        source, target = (transport.get_extra_info(name)[:2] for name in ("peername", "sockname"))
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        # asyncio's parsed copy of the certificate takes 4 KB, and nothing here uses it.
        transport.get_extra_info("peercert").clear()
        peer = Peer(certificate_id(der), *source, *target)
        broker = self._broker_of(peer.principal, peer.source_ip)
        self._connection = Connection(broker, peer, self._write, self._close)
        self._connect_timeout: asyncio.TimerHandle | None = self._loop.call_later(
            CONNECT_TIMEOUT, self._connection.close_if_no_connect
        )
        self._timer = broker.timer
        self._backpressure = broker.backpressure
        if broker.settings.throughput:
            self._pace = Throughput(broker.settings.throughput, self._timer())
        self._quick_ack.on_no_reply()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._outgoing.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received(bytes(self._outgoing.buffer[:nbytes]))

    def received(self, data: bytes) -> None:
        outgoing, backpressure = self._outgoing, self._backpressure
        outgoing.reading = True
        backpressure.reached = False
        self._quick_ack.on_receive()
        try:
            self._connection.receive(data)
        except Exception:
            self.fail()
        finally:
            outgoing.reading = False
        if (
            self._connect_timeout is not None
            and self._connection.state is not State.AWAITING_CONNECT
        ):
            self._cancel_connect_timeout()
        if self._pace is not None:
            self._pace.consume(len(data))
        will_answer = bool(self._out) or self._connection.deferred_pubacks > 0
        outgoing.flush()
        if not will_answer:
            self._quick_ack.on_no_reply()
        self._received += len(data)
        if backpressure.reached and not backpressure.is_slow(self._connection.session):
            self._transport.pause_reading()
            backpressure.wait(self._resume_reading)
        elif self._received > READ_BUDGET or self._pace is not None:
            self._received = 0
            self._transport.pause_reading()
            self._loop.call_soon(self._resume_reading)

    def fail(self) -> None:
        """Close the connection after a defect in the broker, which must not affect the others."""
        log.exception("A connection was closed because of an error in the broker.")
        self._drop()
        self._transport.close()
        try:
            self._connection.connection_lost("internal error", DisconnectReason.SERVER_ERROR)
        except Exception:
            log.exception("Recording the end of that connection failed, too.")

    def _drop(self) -> None:
        """Discard what is not sent yet."""
        self._out.clear()
        self._queued_bytes = 0
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _cancel_connect_timeout(self) -> None:
        if self._connect_timeout is not None:
            self._connect_timeout.cancel()
            self._connect_timeout = None

    def _resume_reading(self) -> None:
        if self._pace is not None and (delay := self._pace.delay(self._timer())):
            self._loop.call_later(delay, self._resume_reading)
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
        self._queued_bytes += len(data)
        if self._queued_bytes > HIGH_WATER:
            self._limit_output()

    def _limit_output(self) -> None:
        """Bound what one turn of the loop can queue: a few bytes can ask for gigabytes."""
        self._connection.congested = True
        if self._queued_bytes > MAX_UNREAD:
            self._out.pop()  # the client is about to be cut off

    def flush(self) -> None:
        """Send what is queued, as far as the throughput limit allows."""
        if self._pace is None:
            self._send(len(self._out))
        else:
            count, delay = self._pace.split(self._out, self._timer())
            self._send(count)
            if self._out and self._send_timer is None:
                self._send_timer = self._loop.call_later(delay, self._continue_sending)

    def _continue_sending(self) -> None:
        self._send_timer = None
        try:
            self.flush()
        except Exception:
            self.fail()

    def _send(self, count: int) -> None:
        """Send the first `count` parts of the queue."""
        out, queued = self._out, self._queued_bytes
        if not count:
            return
        if count == len(out):
            data, self._queued_bytes = b"".join(out), 0
            out.clear()
        else:
            data = b"".join(out[:count])
            self._queued_bytes -= len(data)
            del out[:count]
        if queued <= MAX_UNREAD:
            self._transport.write(data)
            self._quick_ack.on_send()
        if self._connection.congested:
            self._connection.congested = self._paused
            unread = max(queued, self._transport.get_write_buffer_size())
            if unread > MAX_UNREAD:
                self._connection.record_slow_consumer(unread)
                self._transport.abort()  # closing would wait for the client to read
                self._drop()
            self._connection.send_retained()

    def _close(self) -> None:
        self._send(len(self._out))
        self._transport.close()
