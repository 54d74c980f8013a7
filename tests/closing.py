"""Close TLS sockets whose connection is reset at the wrong moment.

A cloud that is killed may have connections that the kernel accepted and it did not. The kernel
resets them. Python's `ssl` notices between connect and handshake, when it looks for received data
(``recv`` in `SSLSocket._create`). That call raises, and the socket, which only the traceback refers
to, stays open until the garbage collector warns of it. Every client that wraps a socket is
affected, including boto3's urllib3.

A reset connection is over, so these sockets close as soon as they notice.
"""

from __future__ import annotations

import ssl


class ClosedWhenReset(ssl.SSLSocket):
    """A TLS socket that closes itself when its connection is reset."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ConnectionError:
            self.close()
            raise


def close_what_is_reset() -> None:
    """Make every TLS context of this process create such sockets."""
    ssl.SSLContext.sslsocket_class = ClosedWhenReset
