"""Acknowledging at the level of TCP at once, where no answer of ours carries the acknowledgement.

The client's Nagle algorithm holds its next small packet back until then, and Linux takes 40 ms by
itself: so long would wait a CONNECT after the handshake of TLS 1.3, and a PUBLISH after a PUBACK.
"""

from __future__ import annotations

import asyncio
import socket

# Linux only.
_OPTION: int | None = getattr(socket, "TCP_QUICKACK", None)


class QuickAck:
    """Acknowledges what came on one connection.

    It holds the connection's socket under a second name, since the way through the transport costs
    more than the acknowledgement; `release` it when the connection is lost.
    """

    __slots__ = ("_socket",)

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._socket: socket.socket | None = None
        if _OPTION is not None:
            lent = transport.get_extra_info("socket")
            self._socket = socket.socket(lent.family, lent.type, lent.proto, lent.fileno())

    def now(self) -> None:
        """Acknowledge what has come; while the connection is open."""
        if self._socket is not None and _OPTION is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _OPTION, 1)

    def release(self) -> None:
        """Let go of the socket, which is the transport's to close."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
