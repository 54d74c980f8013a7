"""HTTP/1.1 over TLS: each connection carries one request and its response after the other.

h11 implements the protocol, and asyncio's streams the socket. This module adds the limits (size of
a head and a body, timeouts) and decides how a connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple, cast

import h11

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.transport.http_response import HttpResponse
from creeklab.cloud.transport.listen import listen

HEAD_LIMIT = 64 * 1024
"""Approximate size limit of a request's head; MQTT user properties travel in a header."""
BODY_LIMIT = 1024 * 1024
BODY_TIMEOUT = 30.0
HANDSHAKE_TIMEOUT = FIRST_REQUEST_TIMEOUT = 10.0
IDLE_TIMEOUT = 300.0
"""Seconds to wait for the next request, for the end of a head, and for the client to read."""
DRAIN_TIMEOUT = 2.0
"""Seconds to drain a rejected request; otherwise the client never sees the response."""
CLOSE_TIMEOUT = 5.0
STOP_TIMEOUT = 2.0
READ_SIZE = 1 << 16

log = logging.getLogger(__name__)


class Request:
    """A request whose head has been received.

    Attributes
    ----------
    method, path, query
        From the request line, path and query still percent-encoded.
    headers
        By lower-case name; the values of repeated headers are joined by commas.
    remote
        The client's IP address.
    """

    def __init__(self, head: h11.Request, connection: _Connection) -> None:
        self.method = head.method.decode()
        self.path, _, self.query = head.target.decode().partition("?")
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode(), raw_value.decode(errors="surrogateescape")
            known = self.headers.get(name)
            self.headers[name] = value if known is None else f"{known},{value}"
        self._connection = connection
        # The address of a client that has already disconnected is unknown.
        self.remote: str = (connection.writer.get_extra_info("peername") or ("",))[0]

    @property
    def certificate(self) -> bytes | None:
        """The certificate of the client in DER form; None if it sent none."""
        return _certificate(self._connection.writer)

    async def body(self) -> bytes:
        """Return the body, within `BODY_TIMEOUT` and `BODY_LIMIT`.

        Raises
        ------
        ServiceError
            ``RequestEntityTooLargeException``; ``InvalidRequestException`` if the body was not
            received completely.
        """
        return await self._connection.body(int(self.headers.get("content-length", "0")))

    def upgrade(
        self, headers: Mapping[str, str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Accept the client's upgrade to another protocol.

        Return the streams of the connection and the bytes that were already received. The
        connection is closed when the handler of the request returns.
        """
        return self._connection.upgrade(headers)


class Unreadable(NamedTuple):
    """Bytes that are not HTTP, with the address and the certificate of their sender."""

    data: bytes
    remote: str
    certificate: bytes | None


Handler = Callable[[Request], Awaitable[HttpResponse | None]]
"""Returns the response, or None after an upgrade whose protocol has ended."""
OtherProtocol = Callable[[ssl.SSLObject], asyncio.BaseProtocol | None]
"""Returns the protocol of a connection by its TLS handshake, None for HTTP."""


class HttpServer:
    """Accepts connections and passes their requests to a handler.

    Parameters
    ----------
    handle
        Handles a request.
    error_response
        Returns the response to a request whose handler failed.
    on_unreadable
        Returns the response to bytes that are not HTTP.
    """

    def __init__(
        self,
        handle: Handler,
        error_response: Callable[[], HttpResponse],
        on_unreadable: Callable[[Unreadable], HttpResponse],
    ) -> None:
        self._handle = handle
        self._error_response = error_response
        self._on_unreadable = on_unreadable
        self._servers: list[asyncio.Server] = []
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._stopping = False

    async def start(
        self,
        hosts: Sequence[str],
        port: int,
        context: ssl.SSLContext | None,
        other_protocol: OtherProtocol = lambda _: None,
    ) -> int:
        """Listen on `port` of every host, on a free port if it is 0; return the port.

        Parameters
        ----------
        other_protocol
            Returns the protocol for a connection that is not HTTP, by its TLS handshake.

        Raises
        ------
        OSError
            If the port is in use.
        """
        loop = asyncio.get_running_loop()
        shutdown_timeout = None if context is None else CLOSE_TIMEOUT
        handshake_timeout = None if context is None else HANDSHAKE_TIMEOUT

        def http() -> asyncio.BaseProtocol:
            reader = asyncio.StreamReader(limit=READ_SIZE, loop=loop)
            return asyncio.StreamReaderProtocol(reader, self._serve, loop=loop)

        self._servers, port = await listen(
            hosts,
            port,
            lambda host, port: loop.create_server(
                lambda: _Handshaken(http, other_protocol),
                host,
                port,
                ssl=context,
                ssl_handshake_timeout=handshake_timeout,
                ssl_shutdown_timeout=shutdown_timeout,
            ),
        )
        return port

    async def stop(self) -> None:
        """Stop listening, let current requests finish, and close every connection."""
        self._stopping = True
        for server in self._servers:
            server.close()
        for connection in self._open.values():
            if not connection.busy:
                connection.abort()
        if self._open:
            await asyncio.wait(self._open, timeout=STOP_TIMEOUT)
        late = list(self._open)
        for task, connection in self._open.items():
            connection.abort()
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = self._open[task] = _Connection(reader, writer)
        try:
            await self._serve_requests(connection)
        except (OSError, asyncio.CancelledError):
            pass  # the client has disconnected, or the server is stopping
        except Exception:
            log.exception("A connection failed.")
        finally:
            # Only once: an asyncio transport that was closed twice cannot be aborted.
            if not writer.is_closing():
                writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            del self._open[task]

    async def _serve_requests(self, connection: _Connection) -> None:
        while not self._stopping:
            try:
                request = await connection.request()
            except h11.RemoteProtocolError:
                await connection.send(self._on_unreadable(connection.unreadable()))
                return
            if request is None:
                return
            try:
                response = await self._handle(request)
            except Exception:
                log.exception("A request failed outside its service.")
                response = self._error_response()
            if response is None or not await connection.send(response):
                return


class _Handshaken(asyncio.Protocol):
    """Gives a connection its protocol when its TLS handshake is done."""

    def __init__(
        self, http: Callable[[], asyncio.BaseProtocol], other_protocol: OtherProtocol
    ) -> None:
        self._http = http
        self._other_protocol = other_protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        secured = transport.get_extra_info("ssl_object")
        other = None if secured is None else self._other_protocol(secured)
        protocol = self._http() if other is None else other
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)


class _Connection:
    """One connection.

    Attributes
    ----------
    busy
        Whether a request is being served.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.busy = False
        self._reader = reader
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._is_head = False
        self._timeout = FIRST_REQUEST_TIMEOUT

    def abort(self) -> None:
        """Close now, without sending what is still buffered."""
        self.writer.transport.abort()

    async def request(self) -> Request | None:
        """Return the next request; None if there are no more."""
        self.busy = self._is_head = False
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        try:
            async with asyncio.timeout(self._timeout):
                event = await self._event()
        except TimeoutError:
            return None
        self._timeout = IDLE_TIMEOUT
        if not isinstance(event, h11.Request):
            return None
        self.busy = True
        self._is_head = event.method == b"HEAD"
        return Request(event, self)

    def unreadable(self) -> Unreadable:
        """Return what the client sent instead of a request."""
        remote = (self.writer.get_extra_info("peername") or ("",))[0]
        return Unreadable(self._http.trailing_data[0], remote, _certificate(self.writer))

    async def body(self, declared: int) -> bytes:
        """Return the body of the current request."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                if declared <= BODY_LIMIT and self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self.writer.write(self._http.send(go_on) or b"")
                while max(declared, len(body)) <= BODY_LIMIT:
                    event = await self._event()
                    if not isinstance(event, h11.Data):
                        return bytes(body)
                    body += event.data
        except TimeoutError:
            message = f"The body was not received within {BODY_TIMEOUT:g} s."
            raise ServiceError("InvalidRequestException", message) from None
        except (h11.RemoteProtocolError, OSError):
            message = "The body ended too early."
            raise ServiceError("InvalidRequestException", message) from None
        message = f"The body is larger than {BODY_LIMIT} bytes."
        raise ServiceError("RequestEntityTooLargeException", message)

    async def send(self, response: HttpResponse) -> bool:
        """Send a response; return whether another request can follow."""
        http = self._http
        headers = [("Date", formatdate(usegmt=True)), ("Content-Length", str(len(response.body)))]
        headers += response.headers.items()
        if http.they_are_waiting_for_100_continue or http.their_state is h11.ERROR:
            # The next bytes could be a body or another request.
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase  # botocore cannot parse a response without one
        events: list[h11.Event] = [
            h11.Response(status_code=response.status, reason=reason, headers=headers)
        ]
        if response.body and not self._is_head:
            events.append(h11.Data(data=response.body))
        events.append(h11.EndOfMessage())
        self.writer.write(b"".join(http.send(event) or b"" for event in events))
        try:
            async with asyncio.timeout(IDLE_TIMEOUT):
                await self.writer.drain()
        except TimeoutError:
            self.abort()
            raise
        if http.our_state is not h11.DONE:
            return False
        with contextlib.suppress(TimeoutError, h11.RemoteProtocolError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                while http.their_state is h11.SEND_BODY:
                    await self._event()
        return http.their_state is h11.DONE

    def upgrade(
        self, headers: Mapping[str, str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Accept an upgrade to another protocol."""
        response = h11.InformationalResponse(status_code=101, headers=list(headers.items()))
        self.writer.write(self._http.send(response) or b"")
        return self._reader, self.writer, self._http.trailing_data[0]

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(READ_SIZE))
        return event


def _certificate(writer: asyncio.StreamWriter) -> bytes | None:
    secured = writer.get_extra_info("ssl_object")
    sent: bytes | None = None if secured is None else secured.getpeercert(binary_form=True)
    return sent
