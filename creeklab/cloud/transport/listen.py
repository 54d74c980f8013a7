"""Listen on the same port of several hosts: loopback, or all addresses of a workshop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

PROBE = "creeklab-probe"
"""ALPN name of the doctor's TLS probe, so that its aborted handshake is not logged."""


async def listen(
    hosts: Iterable[str], port: int, start: Callable[[str, int], Awaitable[asyncio.Server]]
) -> tuple[list[asyncio.Server], int]:
    """Start a server on `port` of every host; return them and the port.

    Parameters
    ----------
    port
        0 means a free port, the same on every host.
    start
        Starts the server of a host and a port.

    Raises
    ------
    OSError
        If the port is in use; then none of the servers listens.
    """
    servers: list[asyncio.Server] = []
    try:
        for host in hosts:
            server = await start(host, port)
            port = server.sockets[0].getsockname()[1]
            servers.append(server)
    except OSError:
        for server in servers:
            server.close()
        raise
    return servers, port
