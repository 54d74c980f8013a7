"""A TCP connection that can be cut: clients connect here, and the bytes go on to the cloud."""

from __future__ import annotations

import contextlib
import socket
import threading


class CuttableLink:
    """Forward connections from a port of its own to another one, until it is closed.

    Attributes
    ----------
    port
        The port to connect to.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut all connections, as a lost network does after a while; new ones are accepted."""
        with self._lock:
            cut, self._sockets = self._sockets, []
        for each in cut:
            _cut(each)

    def close(self) -> None:
        """Cut all connections and accept no more."""
        _cut(self._server)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # when it is closed
            while True:
                client, _ = self._server.accept()
                try:
                    cloud = socket.create_connection(self._target)
                except OSError:  # the cloud does not run
                    client.close()
                    continue
                with self._lock:
                    self._sockets += [client, cloud]
                for pair in ((client, cloud), (cloud, client)):
                    threading.Thread(target=_forward, args=pair, daemon=True).start()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _cut(source)
    _cut(target)
    source.close()


def _cut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
