"""HTTP/1.1 over TLS: requests in, answers out, one after the other on each connection.

h11 knows the grammar and what may follow what, the streams of asyncio know the socket. What is left
for here are the bounds (of a head, of a body, of patience) and how a connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

import h11

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.transport.http_response import HttpResponse
from creeklab.cloud.transport.listen import listen

HEAD_LIMIT = 64 * 1024
"""Bytes of a request's head, about: user properties travel in a header."""
BODY_LIMIT = 1024 * 1024
BODY_TIMEOUT = 30.0
IDLE_TIMEOUT = 300.0
"""Until the next request, and for who never gets to the end of its head or reads no answer."""
DRAIN_TIMEOUT = 2.0
"""For the rest of a request that is refused already: who is cut off reads no answer."""
CLOSE_TIMEOUT = 5.0
STOP_TIMEOUT = 2.0
READ_SIZE = 1 << 16

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

log = logging.getLogger(__name__)


class Request:
    """A request whose head has come.

    Attributes
    ----------
    method, path, query
        From the request line, path and query still percent-encoded.
    headers
        By lower-case name; what came more than once is joined by commas.
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
        # A client that has gone again has no address any more.
        self.remote: str = (connection.writer.get_extra_info("peername") or ("",))[0]

    @property
    def certificate(self) -> bytes | None:
        """The certificate that the client has shown, in DER form."""
        secured = self._connection.writer.get_extra_info("ssl_object")
        shown: bytes | None = None if secured is None else secured.getpeercert(binary_form=True)
        return shown

    async def body(self) -> bytes:
        """Wait for the body, for some time and up to some size.

        Raises
        ------
        ServiceError
            ``RequestEntityTooLargeException``; ``InvalidRequestException`` if it did not come, or
            not whole.
        """
        return await self._connection.body(int(self.headers.get("content-length", "0")))

    def upgrade(
        self, headers: Mapping[str, str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Answer that from now on another protocol is spoken here, as the client has proposed.

        Returns what that protocol is spoken on, and what has come of it already. The connection is
        closed when who handles the request returns.
        """
        return self._connection.upgrade(headers)


Handler = Callable[[Request], Awaitable[HttpResponse | None]]
"""Answers a request, or has switched to another protocol and is done with it."""


class HttpServer:
    """Accepts connections, and has a function answer the requests that come on them.

    Parameters
    ----------
    handle
        Answers a request.
    refuse
        Makes the answer to what cannot be read, and (True) to what `handle` failed at.
    """

    def __init__(self, handle: Handler, refuse: Callable[[bool], HttpResponse]) -> None:
        self._handle = handle
        self._refuse = refuse
        self._servers: list[asyncio.Server] = []
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._stopping = False

    async def start(self, hosts: Sequence[str], port: int, context: ssl.SSLContext | None) -> int:
        """Listen on `port` of every host, on a free port if it is 0; return the port.

        Raises
        ------
        OSError
            If the port is taken.
        """
        patience = {} if context is None else {"ssl_shutdown_timeout": CLOSE_TIMEOUT}
        self._servers, port = await listen(
            hosts,
            port,
            lambda host, port: asyncio.start_server(
                self._serve, host, port, limit=READ_SIZE, ssl=context, **patience
            ),
        )
        return port

    async def stop(self) -> None:
        """Stop listening, let requests under way finish, close every connection."""
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
            await self._talk(connection)
        except (OSError, asyncio.CancelledError):
            pass  # the client has gone, or the server is being stopped
        except Exception:
            log.exception("A connection failed.")
        finally:
            # Once and no more: a transport of asyncio's that was closed twice cannot be aborted.
            if not writer.is_closing():
                writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            del self._open[task]

    async def _talk(self, connection: _Connection) -> None:
        while not self._stopping:
            try:
                request = await connection.request()
            except h11.RemoteProtocolError:
                await connection.send(self._refuse(False))
                return
            if request is None:
                return
            try:
                answer = await self._handle(request)
            except Exception:
                log.exception("A request failed outside its service.")
                answer = self._refuse(True)
            if answer is None or not await connection.send(answer):
                return


class _Connection:
    """One connection.

    Attributes
    ----------
    busy
        Whether a request is under way.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.busy = False
        self._reader = reader
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._is_head = False

    def abort(self) -> None:
        """Close now, whatever is still to be sent."""
        self.writer.transport.abort()

    async def request(self) -> Request | None:
        """Return the next request; None if no more comes."""
        self.busy = self._is_head = False
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        try:
            async with asyncio.timeout(IDLE_TIMEOUT):
                event = await self._event()
        except TimeoutError:
            return None
        if not isinstance(event, h11.Request):
            return None
        self.busy = True
        self._is_head = event.method == b"HEAD"
        return Request(event, self)

    async def body(self, declared: int) -> bytes:
        """Return the body of the present request."""
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
            message = f"The body did not come within {BODY_TIMEOUT:g} s."
            raise ServiceError("InvalidRequestException", message) from None
        except (h11.RemoteProtocolError, OSError):
            message = "The body ended too early."
            raise ServiceError("InvalidRequestException", message) from None
        message = f"A request may have {BODY_LIMIT} bytes; this one is larger."
        raise ServiceError("RequestEntityTooLargeException", message)

    async def send(self, answer: HttpResponse) -> bool:
        """Send an answer; return whether another request may follow."""
        http = self._http
        headers = [("Date", _date(time.time())), ("Content-Length", str(len(answer.body)))]
        headers += answer.headers.items()
        if http.they_are_waiting_for_100_continue or http.their_state is h11.ERROR:
            # Whether what comes next is a body or another request, nobody could tell.
            headers.append(("Connection", "close"))
        reason = HTTPStatus(answer.status).phrase  # botocore knows no answer without one
        events: list[h11.Event] = [
            h11.Response(status_code=answer.status, reason=reason, headers=headers)
        ]
        if answer.body and not self._is_head:
            events.append(h11.Data(data=answer.body))
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
        """Answer that another protocol is spoken from now on."""
        answer = h11.InformationalResponse(status_code=101, headers=list(headers.items()))
        self.writer.write(self._http.send(answer) or b"")
        return self._reader, self.writer, self._http.trailing_data[0]

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(READ_SIZE))
        return event


def _date(seconds: float) -> str:
    """Write a time as HTTP does, whatever language the machine speaks."""
    at = time.gmtime(seconds)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year} {time.strftime('%H:%M:%S', at)} GMT"
