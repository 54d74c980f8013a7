"""WebSocket, the server's side of it: the handshake, frames, and messages (RFC 6455).

Without extensions: what is compressed on its way may unpack to more than it weighs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import cast

from creeklab.cloud.api.http import Request

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, VIOLATION, NOT_ACCEPTED, TOO_LARGE = 1000, 1002, 1003, 1009
"""Why a WebSocket is closed, in numbers."""

READ_SIZE = 1 << 16
_NEVER_SENT = (1004, 1005, 1006, 1015)
_VERSIONS = ("13", "8", "7")  # the last drafts, which differ in nothing that matters here
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _EndError(Exception):
    """The other side is not to be listened to any further, and for what reason; None: it left."""

    def __init__(self, code: int | None) -> None:
        self.code = code


class WebSocket:
    """One WebSocket, opened by answering the request that asks for it.

    Parameters
    ----------
    request
        One that `can_open` says yes to, with its body read.
    protocol
        The subprotocol that is spoken.
    max_size
        Largest message that is taken, in bytes.
    """

    def __init__(self, request: Request, protocol: str, max_size: int) -> None:
        accept = hashlib.sha1((request.headers["sec-websocket-key"] + _GUID).encode()).digest()
        self._reader, self._writer, begun = request.switch(
            {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": base64.b64encode(accept).decode(),
                "Sec-WebSocket-Protocol": protocol,
            }
        )
        # uvloop's transport is asyncio's in all but its base class.
        self.transport = cast(asyncio.Transport, self._writer.transport)
        self._begun = bytearray(begun)
        self._max_size = max_size
        self._closed = False

    async def messages(self) -> AsyncIterator[tuple[int, bytes]]:
        """Give what comes, message by message: `TEXT` or `BINARY`, and the bytes of it.

        Ends when either side has closed; after `close` has been called, nothing more is given.
        """
        try:
            while True:
                message = await self._message()
                if not self._closed:
                    yield message
        except _EndError as end:
            if end.code is not None:
                await self.close(end.code)
        except OSError:
            pass

    async def send(self, data: bytes, opcode: int = BINARY) -> None:
        """Send a message in one frame; wait while the other side does not read."""
        size = len(data)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([size])
        elif size < 1 << 16:
            head += b"\x7e" + size.to_bytes(2, "big")
        else:
            head += b"\x7f" + size.to_bytes(8, "big")
        self._writer.write(head + data)
        await self._writer.drain()

    async def close(self, code: int = NORMAL) -> None:
        """Say that this is the end, unless it has been said."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                await self.send(code.to_bytes(2, "big"), CLOSE)

    async def _message(self) -> tuple[int, bytes]:
        """Return the next message, whose frames others may come between."""
        kind, parts, size = CONTINUATION, [], 0
        while True:
            opcode, last, length, mask = await self._head()
            if opcode & 8:
                await self._obey(opcode, _unmasked(await self._exactly(length), mask))
                continue
            if (opcode == CONTINUATION) is (kind == CONTINUATION):
                raise _EndError(VIOLATION)  # a message within another, or the rest of none
            kind = kind or opcode
            size += length
            if size > self._max_size:
                raise _EndError(TOO_LARGE)
            parts.append(_unmasked(await self._exactly(length), mask))
            if last:
                return kind, b"".join(parts)

    async def _head(self) -> tuple[int, bool, int, bytes]:
        """Read the head of a frame: opcode, whether it is the last, size, and the mask."""
        first, second = await self._exactly(2)
        opcode, last, size = first & 15, bool(first & 0x80), second & 0x7F
        known = opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
        # A client masks all it sends, and what steers the connection is short and in one piece.
        if first & 0x70 or not known or not second & 0x80 or (opcode & 8 and size > 125):
            raise _EndError(VIOLATION)
        if opcode & 8 and not last:
            raise _EndError(VIOLATION)
        if size > 125:
            size = int.from_bytes(await self._exactly(2 if size == 126 else 8), "big")
        return opcode, last, size, await self._exactly(4)

    async def _obey(self, opcode: int, data: bytes) -> None:
        if opcode == PING:
            await self.send(data, PONG)
        elif opcode == CLOSE:
            code = int.from_bytes(data[:2], "big") if data else NORMAL
            said = len(data) != 1 and 1000 <= code < 5000 and code not in _NEVER_SENT
            raise _EndError(code if said else VIOLATION)

    async def _exactly(self, size: int) -> bytes:
        buffer = self._begun
        while len(buffer) < size:
            chunk = await self._reader.read(READ_SIZE)
            if not chunk:
                raise _EndError(None)
            buffer += chunk
        data = bytes(buffer[:size])
        del buffer[:size]
        return data


def can_open(request: Request) -> bool:
    """Tell whether a request asks for a WebSocket, and in the right form."""
    headers = request.headers
    try:
        key = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return (
        request.method == "GET"
        and headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in offered(headers.get("connection", "").lower())
        and headers.get("sec-websocket-version", "") in _VERSIONS
        and len(key) == 16
    )


def offered(header: str) -> list[str]:
    """Split a header at its commas."""
    return [part.strip() for part in header.split(",")]


def _unmasked(data: bytes, mask: bytes) -> bytes:
    """Take the mask off, all bytes at once as one large number."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")
