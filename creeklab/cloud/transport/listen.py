"""Listening on the same port of several hosts: of loopback, or of all that a workshop reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

PROBE = "creeklab-probe"
"""ALPN protocol of who only looks whether it can trust the server: it goes no further, which is no
news."""


async def listen(
    hosts: Iterable[str], port: int, start: Callable[[str, int], Awaitable[asyncio.Server]]
) -> tuple[list[asyncio.Server], int]:
    """Start a server on `port` of every host; return them and the port.

    Parameters
    ----------
    port
        0 stands for a free one, the same on every host.
    start
        Starts the server of a host and a port.

    Raises
    ------
    OSError
        If the port is taken; none of the servers listens then.
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
