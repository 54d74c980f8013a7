"""A generator of MQTT 5 traffic over mutual TLS, the same for every broker that is measured.

One thread, sockets that do not block, frames made beforehand: what it costs itself is little, and
the same for all. Each function drives one kind of work to its end and returns a rate a second; a
message that does not arrive makes it fail, so that no broker gets faster by losing some.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import (
    Connack,
    Connect,
    Disconnect,
    Suback,
    Subscribe,
    Subscription,
    encode,
    encode_publish_around_id,
)

VERSION = 5
PAYLOAD = b'{"depth": 1.24, "temperature": 71.96, "at": 1535673600}'
IN_FLIGHT = 100
AHEAD = 4_000  # messages that the publisher may be ahead of the last subscriber: below 1 MB
SILENCE_SECONDS = 20.0
PUBACK = b"\x40\x02"


class Line:
    """One connection, which never blocks once it is open.

    Parameters
    ----------
    address
        Host name and port.
    username
        Sent with CONNECT. AWS IoT Core ignores it; mosquitto's access rules refer to it.
    """

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        client_id: str,
        username: str | None = None,
    ) -> None:
        raw = socket.create_connection(address, timeout=SILENCE_SECONDS)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname=address[0])
        self._decoder = Decoder(version=VERSION)
        self._unsent = b""
        connack = self._ask(Connect(client_id, VERSION, True, 600, username))
        if not isinstance(connack, Connack) or connack.reason_code:
            raise ConnectionError(f"Not accepted: {connack}")

    def subscribe(self, topic_filter: str, qos: int) -> None:
        suback = self._ask(Subscribe(1, [Subscription(topic_filter, qos)]))
        if not isinstance(suback, Suback) or suback.reason_codes != [qos]:
            raise ConnectionError(f"Not subscribed: {suback}")

    def _ask(self, packet: Connect | Subscribe) -> object:
        self.socket.sendall(encode(packet, VERSION))
        while True:
            for answer in self._decoder.feed(self.socket.recv(1 << 16)):
                return answer

    def send(self, data: bytes) -> bool:
        """Send everything, or keep the rest for `resend` and return False."""
        try:
            sent = self.socket.send(data)
        except ssl.SSLWantWriteError:
            sent = 0
        self._unsent = data[sent:]
        return not self._unsent

    def resend(self) -> bool:
        """Send the rest; return whether everything is sent."""
        return not self._unsent or self.send(self._unsent)

    def send_all(self, data: bytes) -> None:
        """Send everything, and wait if the socket is full."""
        if not self.send(self._unsent + data):
            self.socket.setblocking(True)
            while not self.resend():
                pass
            self.socket.setblocking(False)

    def read(self) -> bytes:
        """Return the bytes that have arrived, perhaps none."""
        parts: list[bytes] = []
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                part = self.socket.recv(1 << 14)  # the most that a TLS record holds
                if not part:
                    raise ConnectionError("The broker closed the connection.")
                parts.append(part)
                if len(parts) == 64:  # let the others have their turn
                    break
        return b"".join(parts)

    def read_some(self) -> bytes:
        """Wait for the next bytes and return them."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("The broker closed the connection.")
        return data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.setblocking(True)
            self.socket.sendall(encode(Disconnect(0, {}), VERSION))
        self.socket.close()


def trust(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the TLS settings of every client."""
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(certificate, key)
    return context


class Frames:
    """PUBLISH frames with one topic and payload, as they are sent and as they arrive."""

    def __init__(self, topic: str, qos: int, payload: bytes = PAYLOAD) -> None:
        self.before, self.after = encode_publish_around_id(topic, payload, {}, VERSION, qos << 1)
        self.qos = qos
        self.length = len(self.before) + 2 * qos + len(self.after)

    def make(self, packet_id: int) -> bytes:
        if not self.qos:
            return self.before + self.after
        return self.before + packet_id.to_bytes(2, "big") + self.after


class _Subscriber:
    """Counts what arrives, and acknowledges it at QoS 1."""

    def __init__(self, line: Line, frames: Frames) -> None:
        self._line = line
        self._frames = frames
        self._rest = b""
        self.count = 0

    def take(self) -> int:
        """Read and acknowledge what has come; return how many messages it was."""
        frames, line = self._frames, self._line
        data = self._rest + line.read()
        number, over = divmod(len(data), frames.length)
        self._rest = data[len(data) - over :]
        if frames.qos and number:
            at = len(frames.before)
            ids = range(at, number * frames.length, frames.length)
            acknowledged = b"".join([PUBACK + data[i : i + 2] for i in ids])
            line.send_all(acknowledged)
        if number and data[: len(frames.before)] != frames.before:
            raise AssertionError(f"Something else arrived: {data[:60]!r}")
        self.count += number
        return number


@contextlib.contextmanager
def lines(
    address: tuple[str, int], context: ssl.SSLContext, names: Sequence[str]
) -> Iterator[list[Line]]:
    """Connect under each of these client IDs."""
    made: list[Line] = []
    try:
        for name in names:
            made.append(Line(address, context, name))
        yield made
    finally:
        for line in made:
            line.close()


def deliveries(
    publisher: Line, receivers: Sequence[Line], topic: str, *, qos: int, count: int, per_write: int
) -> float:
    """Publish `count` messages, `per_write` in each write, and return deliveries a second.

    At QoS 0 the publisher goes on while the socket takes it, up to `AHEAD` messages before the
    slowest subscriber, so that no broker has to drop any. At QoS 1 it keeps `IN_FLIGHT` messages
    unacknowledged.
    """
    frames = Frames(topic, qos)
    for line in receivers:
        line.subscribe(topic, qos)
    every = [_Subscriber(line, frames) for line in receivers]
    constant = frames.make(1) * per_write
    wanted = count * len(every)
    sent = acknowledged = arrived = 0
    acks = b""
    packet_id = 0
    with selectors.DefaultSelector() as selector:
        for each, line in zip(every, receivers, strict=True):
            line.socket.setblocking(False)
            selector.register(line.socket, selectors.EVENT_READ, each)
        publisher.socket.setblocking(False)
        selector.register(publisher.socket, selectors.EVENT_READ, None)
        began = heard = time.perf_counter()
        while arrived < wanted or acknowledged < count * qos:
            blocked = not publisher.resend()
            if qos:
                room = min(IN_FLIGHT - (sent - acknowledged), count - sent)
                if room > 0 and not blocked and (room >= per_write or room == count - sent):
                    made = []
                    for _ in range(room):
                        packet_id = packet_id % 65535 + 1
                        made.append(frames.make(packet_id))
                    sent += room
                    blocked = not publisher.send(b"".join(made))
            else:
                least = min(each.count for each in every) if len(every) > 1 else every[0].count
                for _ in range(32):
                    if blocked or sent >= count or sent - least > AHEAD:
                        break
                    blocked = not publisher.send(constant)
                    sent += per_write
            idle = bool(qos) or blocked or sent >= count or sent - least > AHEAD
            ready = selector.select(0.05 if idle else 0)
            for key, _ in ready:
                if key.data is not None:
                    arrived += key.data.take()
                else:
                    acks += publisher.read()
                    whole = len(acks) // 4
                    if acks[: whole * 4 : 4].strip(b"\x40"):
                        raise AssertionError(f"No PUBACK: {acks[:20]!r}")
                    acknowledged += whole
                    acks = acks[whole * 4 :]
            now = time.perf_counter()
            if ready:
                heard = now
            elif now - heard > SILENCE_SECONDS:
                raise AssertionError(f"{wanted - arrived} of {wanted} messages did not arrive.")
        return wanted / (now - began)


def lockstep(publisher: Line, receiver: Line, topic: str, *, count: int) -> float:
    """Publish at QoS 1, the next message when the last is delivered and acknowledged; a second."""
    frames = Frames(topic, 1)
    receiver.subscribe(topic, 1)
    for line in (publisher, receiver):
        line.socket.setblocking(True)
    began = time.perf_counter()
    for number in range(count):
        publisher.socket.sendall(frames.make(number % 65535 + 1))
        data = b""
        while len(data) < frames.length:
            data += receiver.socket.recv(1 << 16)
        at = len(frames.before)
        receiver.socket.sendall(PUBACK + data[at : at + 2])
        answer = b""
        while len(answer) < 4:
            answer += publisher.socket.recv(1 << 16)
    return count / (time.perf_counter() - began)


def connects(
    address: tuple[str, int], context: ssl.SSLContext, names: Sequence[str], *, at_once: int
) -> float:
    """Connect and disconnect under each client ID, `at_once` at a time; return connects a second.

    The handshakes of the clients are made on threads, outside Python's lock.
    """
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(lambda name: Line(address, context, name).close(), names):
            pass
    return len(names) / (time.perf_counter() - began)
