"""Acknowledging at the level of TCP at once, where the client waits for it.

The client's Nagle algorithm holds its next small packet back until then, and Linux takes 40 ms by
itself: so long would wait a CONNECT after the handshake of TLS 1.3, and a PUBLISH after a PUBACK.
Whatever the cloud sends carries the acknowledgement along. So none is needed of its own while it is
the cloud that speaks next, as with a client that acknowledges one message after the other.
"""

from __future__ import annotations

import asyncio
import socket

LATE_SECONDS = 0.002

# Linux only.
_OPTION: int | None = getattr(socket, "TCP_QUICKACK", None)


class QuickAck:
    """Acknowledges what came on one connection.

    It holds the connection's socket under a second name, since the way through the transport costs
    more than the acknowledgement; `release` it when the connection is lost.
    """

    __slots__ = ("_client_is_next", "_late", "_silent", "_socket", "_transport")

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._socket: socket.socket | None = None
        self._client_is_next = True  # as the last time; in the beginning nobody knows
        self._silent = False  # nothing was said to what came last
        self._late: asyncio.TimerHandle | None = None
        if _OPTION is not None:
            lent = transport.get_extra_info("socket")
            self._socket = socket.socket(lent.family, lent.type, lent.proto, lent.fileno())

    def on_receive(self) -> None:
        """Take note that something came, before it is answered."""
        if self._silent:
            self._client_is_next = True
            self._silent = False

    def on_send(self) -> None:
        """Take note that something was sent."""
        if self._silent:
            self._client_is_next = self._silent = False

    def on_no_reply(self) -> None:
        """Take note that what came has no answer: acknowledge it, now or soon."""
        self._silent = True
        if self._client_is_next:
            self._now()
        elif self._late is None and self._socket is not None:
            self._late = asyncio.get_running_loop().call_later(LATE_SECONDS, self._soon)

    def __del__(self) -> None:
        self.close()  # else the socket would be closed, or by then another one of its number

    def close(self) -> None:
        """Let go of the socket, which is the transport's to close."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._socket is not None:
            self._socket.detach()
            self._socket = None

    def _soon(self) -> None:
        self._late = None
        if self._silent:
            self._now()

    def _now(self) -> None:
        if self._socket is not None and _OPTION is not None and not self._transport.is_closing():
            self._socket.setsockopt(socket.IPPROTO_TCP, _OPTION, 1)
