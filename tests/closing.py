"""TLS sockets that are closed when their connection is cut off at the wrong moment.

A client may connect to a cloud that dies before it has accepted: the kernel has, and then resets
the connection. Python's `ssl` finds that out between connecting and the handshake, with a look at
what has come (``recv`` in `SSLSocket._create`); that look raises, and the socket, which only the
exception's traceback knows, stays open until the garbage collector warns of it. Every client that
wraps a socket has this, boto3's urllib3 among them.

A connection that was reset is over, so here it is closed as soon as a look at it says so.
"""

from __future__ import annotations

import ssl


class ClosedWhenReset(ssl.SSLSocket):
    """A TLS socket that closes itself when it is told that its connection was reset."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ConnectionError:
            self.close()
            raise


def close_what_is_reset() -> None:
    """Have every TLS context of this process make such sockets."""
    ssl.SSLContext.sslsocket_class = ClosedWhenReset
