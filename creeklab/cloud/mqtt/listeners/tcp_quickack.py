"""Immediate TCP acknowledgments where a client waits for them (Linux's TCP_QUICKACK).

The AWS SDKs leave Nagle's algorithm on, so the next small packet of a client waits until the last
one is acknowledged, and Linux delays that by 40 ms. A CONNECT after a TLS 1.3 handshake would wait,
and so would a PUBLISH after a PUBACK: the median of a device's shadow update is 1.6 to 2.4 ms with
this module, and 45 to 48 ms without it.

Data that the cloud sends carries the acknowledgment along. So a connection needs none of its own
while the cloud sends next, as with a subscriber that sends one PUBACK after another.
"""

from __future__ import annotations

import asyncio
import socket

DELAY = 0.002  # seconds

# Linux only.
_OPTION: int | None = getattr(socket, "TCP_QUICKACK", None)


class QuickAck:
    """Acknowledges what one connection receives.

    It duplicates the socket object, not the file descriptor, because access through the transport
    costs more than the acknowledgment. Call `close` when the connection is lost.
    """

    __slots__ = ("_client_is_next", "_socket", "_timer", "_transport", "_unanswered")

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._socket: socket.socket | None = None
        self._client_is_next = True  # as it was the last time; at the start, a guess
        self._unanswered = False  # whether nothing was sent since the last data
        self._timer: asyncio.TimerHandle | None = None
        if _OPTION is not None:
            shared = transport.get_extra_info("socket")
            self._socket = socket.socket(shared.family, shared.type, shared.proto, shared.fileno())

    def on_receive(self) -> None:
        """Note that data arrived; call it before the answer is sent."""
        if self._unanswered:
            self._client_is_next = True
            self._unanswered = False

    def on_send(self) -> None:
        """Note that data was sent."""
        if self._unanswered:
            self._client_is_next = self._unanswered = False

    def on_no_reply(self) -> None:
        """Acknowledge data that has no answer, now or after a short delay."""
        self._unanswered = True
        if self._client_is_next:
            self._acknowledge()
        elif self._timer is None and self._socket is not None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self._on_timer)

    def __del__(self) -> None:
        self.close()  # otherwise Python would close the file descriptor, perhaps reused by then

    def close(self) -> None:
        """Release the socket, which the transport closes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._socket.detach()
            self._socket = None

    def _on_timer(self) -> None:
        self._timer = None
        if self._unanswered:
            self._acknowledge()

    def _acknowledge(self) -> None:
        if self._socket is not None and _OPTION is not None and not self._transport.is_closing():
            self._socket.setsockopt(socket.IPPROTO_TCP, _OPTION, 1)
