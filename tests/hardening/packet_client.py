"""A client that shows every packet: a TLS socket and the codec, and nothing automatic.

The SDKs send again, acknowledge and wait by themselves; who wants to know what was promised when
has to see the packets.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import Connack, Connect, Packet, encode


class PacketClient:
    """One MQTT connection.

    Parameters
    ----------
    expiry
        Seconds that the session outlives the connection; 0 is a clean session.
    **properties
        Further properties of CONNECT.

    Raises
    ------
    OSError
        If the connection is not accepted or ends, in this and every method.
    """

    def __init__(
        self,
        address: tuple[str, int],
        ca: Path,
        certificate: Path,
        key: Path,
        client_id: str,
        version: int,
        expiry: int = 0,
        **properties: Any,
    ) -> None:
        self.version = version
        self._decoder = Decoder(version=version)
        self._ready: list[Packet] = []
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(certificate, key)
        if version == 5:
            properties["session_expiry_interval"] = expiry
        with contextlib.ExitStack() as unless_accepted:
            raw = unless_accepted.enter_context(socket.create_connection(address, timeout=10))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = context.wrap_socket(raw, server_hostname=address[0])
            unless_accepted.enter_context(self._socket)
            self.send(Connect(client_id, version, expiry == 0, 60, properties=properties))
            connack = next(self.packets())
            if not isinstance(connack, Connack) or connack.reason_code:
                raise ConnectionError(f"Not accepted: {connack}")
            self.session_present = connack.session_present
            unless_accepted.pop_all()

    def send(self, *packets: Packet) -> None:
        """Send packets in one write."""
        self._socket.sendall(b"".join(encode(packet, self.version) for packet in packets))

    def packets(self) -> Iterator[Packet]:
        """Yield packets as they arrive, without end."""
        while True:
            while self._ready:
                yield self._ready.pop(0)
            self.receive()

    def receive(self) -> list[Packet]:
        """Wait for the next bytes, and return the packets that they complete."""
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("The cloud has gone.")
        self._ready += self._decoder.feed(data)
        return self._ready

    def take(self) -> list[Packet]:
        """Wait for packets, and return all that have arrived."""
        while not self._ready:
            self.receive()
        found, self._ready = self._ready, []
        return found

    def close(self) -> None:
        """Drop the connection without a DISCONNECT."""
        self._socket.close()
