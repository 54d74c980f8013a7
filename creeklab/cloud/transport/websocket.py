"""The server's side of a WebSocket, with wsproto: the handshake, and messages in and out.

There is no compression: a small compressed message could expand beyond any limit.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

from wsproto.connection import SERVER, Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import generate_accept_token

from creeklab.cloud.transport.http_server import Request

READ_SIZE = 1 << 16


class WebSocket:
    """One WebSocket, opened by accepting its upgrade request.

    Parameters
    ----------
    request
        A request for which `is_upgrade_request` is true, with its body read.
    protocol
        The subprotocol.
    max_size
        Largest accepted message, in bytes.
    """

    def __init__(self, request: Request, protocol: str, max_size: int) -> None:
        key = request.headers["sec-websocket-key"].encode()
        self._reader, self._writer, received = request.upgrade(
            {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": generate_accept_token(key).decode(),
                "Sec-WebSocket-Protocol": protocol,
            }
        )
        # uvloop's transport is asyncio's in all but its base class.
        self.transport = cast(asyncio.Transport, self._writer.transport)
        self._max_size = max_size
        self._frames = Connection(SERVER, trailing_data=received)

    async def messages(self) -> AsyncIterator[bytes | str]:
        """Iterate over the received messages, binary or text.

        The iteration ends when either side has closed; after `close`, no message is returned.
        """
        parts: list[Any] = []
        size = 0
        with contextlib.suppress(OSError):
            while True:
                for event in self._frames.events():
                    if isinstance(event, CloseConnection):
                        await self.close(event.code)
                        return
                    if isinstance(event, Ping):
                        await self._send_if_open(event.response())
                    elif isinstance(event, Message):
                        size += len(event.data)
                        if size > self._max_size:
                            await self.close(CloseReason.MESSAGE_TOO_BIG)
                            return
                        if event.data:  # there is no limit to the number of empty frames
                            parts.append(event.data)
                        if event.message_finished:
                            empty: Any = b"" if isinstance(event, BytesMessage) else ""
                            message = empty.join(parts)
                            parts, size = [], 0
                            if self._frames.state is ConnectionState.OPEN:
                                yield message
                data = await self._reader.read(READ_SIZE)
                if not data:
                    return
                self._frames.receive_data(data)

    async def send(self, data: bytes) -> None:
        """Send a message in one frame; wait while the other side does not read.

        Nothing is sent after either side has started to close.
        """
        await self._send_if_open(BytesMessage(data=data))

    async def close(self, code: int = CloseReason.NORMAL_CLOSURE) -> None:
        """Send a close frame, unless one has been sent."""
        if self._frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            with contextlib.suppress(OSError):
                await self._send_event(CloseConnection(code=code))

    async def _send_if_open(self, event: Event) -> None:
        if self._frames.state is ConnectionState.OPEN:
            await self._send_event(event)

    async def _send_event(self, event: Event) -> None:
        self._writer.write(self._frames.send(event))
        await self._writer.drain()


def is_upgrade_request(request: Request) -> bool:
    """Return whether a request is a valid WebSocket upgrade."""
    headers = request.headers
    try:
        key = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return (
        request.method == "GET"
        and headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in split_header(headers.get("connection", "").lower())
        and headers.get("sec-websocket-version", "") == "13"
        and len(key) == 16
    )


def split_header(header: str) -> list[str]:
    """Return the comma-separated parts of a header."""
    return [part.strip() for part in header.split(",")]
