"""Fuzz the HTTPS port: HTTP itself, MQTT over WebSocket, joining a workshop.

A cloud runs in this process, and its event loop and its log report every uncaught exception. A
readable request is always answered, and never with 500. When all clients are gone, the cloud has as
many file handles as before. A witness is answered throughout.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import uvloop
from botocore.credentials import Credentials

from creeklab.cloud.accounts import workshop
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.packets import Pingreq, Pingresp
from creeklab.cloud.supervisor import cloud_folder
from tests.hardening import mutate, mutate_http
from tests.hardening.in_process_cloud import InProcessCloud, start_cloud, wait_for
from tests.hardening.mutate_http import Request
from tests.hardening.process_usage import open_handles
from tests.hardening.report import Report

HOST = "127.0.0.1"
SECONDS = 10.0
QUIET_TIMEOUT = 0.02  # seconds, where no answer may come
# Expected server errors: an operation does not exist, nobody confirms a message.
EXPECTED_ERRORS = (501, 504)
INTERNAL_ERROR = 1011
NEVER_SENT = (1004, 1005, 1006, 1015)
STATUS_LINE = re.compile(rb"HTTP/(?:0\.9|1\.[01]) (\d{3}) [^\r\n]*\r\n")


class ErrorCollector(logging.Handler):
    """Collects uncaught exceptions from the event loop and errors from the log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.received: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.received.append(self.format(record))

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.received.append(repr(context))

    def check(self) -> None:
        """Raise if there was an error."""
        received, self.received = self.received, []
        assert not received, received[0]


class FuzzedCloud:
    """A cloud in this process, its errors and a witness.

    Attributes
    ----------
    credentials
        Of the account.
    host
        Name and port.
    accounts
        How many were made; each has a database open.
    """

    def __init__(self, cloud: InProcessCloud) -> None:
        self.inner = cloud
        self.errors = ErrorCollector()
        self.witness = cloud.connect("witness")
        self.accounts = 0
        own = cloud.lab.session.get_credentials()
        assert own is not None
        self.credentials = Credentials(own.access_key, own.secret_key)
        lab = cloud.lab
        self.address = lab.endpoint, lab.https_port
        self.host = f"{lab.endpoint}:{lab.https_port}"
        self._stranger = ssl.create_default_context(cafile=str(lab.ca_file))
        self._device = ssl.create_default_context(cafile=str(lab.ca_file))
        files = cloud.thing.files
        self._device.load_cert_chain(files.certificate, files.private_key)

    def check(self) -> None:
        """Check that there was no error, and that the witness is answered."""
        self.witness.send(Pingreq())
        assert next(self.witness.packets()) == Pingresp(), "the witness is not answered"
        self.errors.check()

    @contextlib.contextmanager
    def connection(self, random: Random, as_device: bool = False) -> Iterator[RawConnection]:
        """Open a connection, and close it in one way or another."""
        context = self._device if as_device else self._stranger
        raw = socket.create_connection(self.address, SECONDS)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_hostname=self.address[0]) as tls_socket:
            yield RawConnection(tls_socket)
            if random.random() < 0.3:  # with a reset instead of a TLS close
                tls_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class RawConnection:
    """A connection that sends raw bytes.

    Attributes
    ----------
    in_step
        Whether everything sent was complete, so that the next request starts where it should.
    """

    def __init__(self, tls_socket: ssl.SSLSocket) -> None:
        self._secured = tls_socket
        self.received = b""
        self.closed = False
        self.in_step = True

    def send(self, data: bytes) -> None:
        """Send bytes, unless the other end has closed."""
        try:
            self._secured.sendall(data)
        except (OSError, ssl.SSLError):
            self.closed = True

    def receive(
        self, seconds: float, enough: Callable[[bytes], bool] = lambda received: False
    ) -> bytes:
        """Return what arrives until it is enough, the other end closes, or time is over."""
        self._secured.settimeout(seconds)
        try:
            while not enough(self.received):
                data = self._secured.recv(1 << 18)
                if not data:
                    self.closed = True
                    break
                self.received += data
        except TimeoutError:
            pass
        except (OSError, ssl.SSLError):
            self.closed = True
        received, self.received = self.received, b""
        return received


@contextlib.contextmanager
def fuzzed_cloud(
    report: Report, part: str, new_loop: Any = uvloop.new_event_loop
) -> Iterator[FuzzedCloud]:
    """Run a cloud for fuzzing; afterwards, check that everything is as before."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(workshop, "MAX_PARTICIPANTS", 12),
        start_cloud(Path(folder, "home"), host=HOST, new_loop=new_loop) as inner,
    ):
        cloud = FuzzedCloud(inner)
        errors = cloud.errors
        logging.getLogger().addHandler(errors)
        inner.call(lambda: asyncio.get_running_loop().set_exception_handler(errors.on_loop_error))
        try:
            with contextlib.closing(cloud.witness):
                before = open_handles()
                yield cloud
                with report.watching(f"{part} afterwards", "afterwards"):
                    connected = inner.services.broker.connections
                    wait_for(lambda: set(inner.call(lambda: [*connected])) == {"witness"}, "alone")
                    wait_for(
                        lambda: open_handles() <= before + 3 * cloud.accounts, "as few handles"
                    )
                    cloud.check()
        finally:
            logging.getLogger().removeHandler(errors)


# --- HTTP -----------------------------------------------------------------------------------------


def answers(received: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each answer to requests other than HEAD."""
    found = []
    while received:
        status_line = STATUS_LINE.match(received)
        assert status_line, f"no answer of HTTP: {received[:200]!r}"
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end, f"half an answer: {received[:200]!r}"
        status = int(status_line[1])
        length = re.search(rb"(?i)\r\nContent-Length: (\d+)", head)
        if status < 200 or status in (204, 304):
            size = 0
        else:
            assert length, f"an answer without a length: {head!r}"
            size = int(length[1])
        assert len(rest) >= size, f"half a body: {received[:300]!r}"
        if status >= 200:
            found.append((status, rest[:size]))
        received = rest[size:]
    return found


def _is_whole(received: bytes) -> bool:
    try:
        return bool(answers(received))
    except AssertionError:
        return False


def fuzz_https(random: Random, count: int, report: Report) -> None:
    """Send spoilt requests to the HTTPS port: signed, unsigned, and with a device's certificate."""
    # The loop that there is on Windows comes to its turn, too.
    for share, new_loop in ((0.7, uvloop.new_event_loop), (1.0, asyncio.new_event_loop)):
        with fuzzed_cloud(report, "https", new_loop) as cloud:
            while report.total("https") < count * share:
                as_device = random.random() < 0.3
                trace: list[bytes] = []
                with report.watching("https", trace):
                    with cloud.connection(random, as_device) as client:
                        for _ in range(random.choice((1, 1, 3, 10))):
                            report.saw("https", _request(random, cloud, client, trace, as_device))
                            if client.closed:
                                break
                    cloud.check()


def _request(
    random: Random, cloud: FuzzedCloud, client: RawConnection, trace: list[bytes], as_device: bool
) -> str:
    """Send one request, perhaps spoilt; return what came of it."""
    one = mutate_http.request(random)
    one.headers.setdefault("Host", cloud.host)
    if not as_device and random.random() < 0.9:
        one = one.signed(cloud.credentials, cloud.host)
    whole = random.random() < 0.5
    data = one.sent() if whole else mutate_http.spoilt(random, one)
    trace.append(data[:3000])
    if not whole and random.random() < 0.05:
        data = data[: random.randrange(len(data) + 1)]
    client.in_step &= whole and not {"Connection", "Expect"} & one.headers.keys()
    client.send(data)
    if one.method == "HEAD" or b"HEAD" in data[:50]:
        client.receive(QUIET_TIMEOUT)
        client.closed = True  # the end of its answer is unknown
        return "asked for a head"
    received = client.receive(SECONDS if client.in_step else QUIET_TIMEOUT, _is_whole)
    if not received:
        assert not client.in_step, "it was not answered"
        return "cut off" if client.closed else "no answer yet"
    if not _is_whole(received):
        received += client.receive(1)
    found = answers(received)
    for status, body in found:
        assert status < 500 or status in EXPECTED_ERRORS, f"{status}: {body!r}"
        if body.startswith(b"{"):
            json.loads(body)
    return f"answered {found[0][0]}" if found else "told to go on"


# --- MQTT over WebSocket --------------------------------------------------------------------------


def fuzz_websocket(random: Random, count: int, report: Report) -> None:
    """Send spoilt frames, and MQTT in them."""
    for share, new_loop in ((0.7, uvloop.new_event_loop), (1.0, asyncio.new_event_loop)):
        with fuzzed_cloud(report, "websocket", new_loop) as cloud:
            while report.total("websocket") < count * share:
                trace: list[bytes] = []
                with report.watching("websocket", trace):
                    with cloud.connection(random) as client:
                        _frames(random, cloud, client, trace, report)
                    cloud.check()


def _frames(
    random: Random, cloud: FuzzedCloud, client: RawConnection, trace: list[bytes], report: Report
) -> None:
    headers = {
        "Host": cloud.host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    if random.random() < 0.1:
        name = random.choice([*headers])
        headers[name] = random.choice(("", "x", "8", "mqttv3.1", "mqtt, x", "é", "chat,mqtt"))
    if random.random() < 0.1:
        headers["Sec-WebSocket-Extensions"] = "permessage-deflate; client_max_window_bits"
    path, _, query = mutate_http.presigned(cloud.credentials, cloud.host).partition("?")
    asked = b"\r\n".join([*Request("", "GET", path, query, b"", headers).lines(), b"", b""])
    if random.random() < 0.05:
        asked = mutate.spoil_bytes(random, asked, asked)
    trace.append(asked)
    client.send(asked)
    received = client.receive(SECONDS, lambda received: b"\r\n\r\n" in received)
    head, _, client.received = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        assert not re.match(rb"HTTP/1\.1 500", head), head
        report.saw("websocket", "not opened")
        return
    version = random.choice((4, 5))
    name = f"gauge-{report.total('websocket')}"  # another each time, so that all have to go
    sent = [packets.encode(mutate.connect(random, version, name), version)]
    for _ in range(random.randrange(15)):
        data = packets.encode(mutate.packet(random, version, client_id=name), version)
        sent.append(mutate.spoil(random, data, sent[-1]) if random.random() < 0.1 else data)
    for data in sent:
        wrapped = (
            mutate_http.frames(random, data) if random.random() < 0.3 else mutate_http.frame(data)
        )
        trace.append(wrapped[:3000])
        client.send(wrapped)
        report.saw("websocket", "sent")
        if client.closed:
            break
    if random.random() < 0.7:
        code = _close_code(client.receive(QUIET_TIMEOUT))
        assert code != INTERNAL_ERROR
        assert code is None or (1000 <= code < 5000 and code not in NEVER_SENT), code
        report.saw("websocket ends", f"with {code}" if code else "without a word")
        if code and random.random() < 0.5:
            client.send(mutate_http.frame(code.to_bytes(2, "big"), mutate_http.CLOSE))


def _close_code(received: bytes) -> int | None:
    """Read the cloud's frames; return the code of the one that closes, if it has one."""
    while len(received) >= 2:
        opcode, size, at = received[0] & 15, received[1], 2
        assert received[0] & 0xF0 == 0x80, "a frame that is not whole, or has reserved bits"
        assert size < 128, "a server does not mask"
        if size > 125:
            at = 4 if size == 126 else 10
            size = int.from_bytes(received[2:at], "big")
        data, rest = received[at : at + size], received[at + size :]
        if opcode == mutate_http.CLOSE:
            assert not rest, "something came after the end"
            return int.from_bytes(data[:2], "big") if data else None
        assert opcode in (mutate_http.BINARY, mutate_http.PONG, mutate_http.PING), opcode
        received = rest
    return None


# --- a workshop -----------------------------------------------------------------------------------

NAMES = ("Anna", "anna", "ANNA", "Ben", "Zoë", "ß", "SS", "a b", "../x", "x" * 40, "İ", "i̇")
SECRETS = ("s" * 20, "t" * 20, "é" * 20, "\ud800" * 20, "x" * 5000)
JOINS = tuple({"name": name, "secret": secret} for name in NAMES for secret in SECRETS)


def fuzz_workshop(random: Random, count: int, report: Report) -> None:
    """Send spoilt requests to join a workshop; nobody must get the account of another."""
    with fuzzed_cloud(report, "workshop") as cloud:
        file = cloud_folder(cloud.inner.lab.home) / workshop.JOIN_FILE
        told = json.loads(file.read_text())
        key = Credentials(told["access_key"], told["secret_key"])
        joined: dict[str, str] = {}
        while report.total("workshop") < count:
            trace: list[bytes] = []
            with report.watching("workshop", trace):
                with cloud.connection(random) as client:
                    report.saw("workshop", _join(random, cloud, client, trace, key, joined))
                cloud.check()


def _join(
    random: Random,
    cloud: FuzzedCloud,
    client: RawConnection,
    trace: list[bytes],
    key: Credentials,
    joined: dict[str, str],
) -> str:
    body = mutate.document(random, JOINS)
    others = ("events", "reset", "participants", "")
    endpoint = "join" if random.random() < 0.8 else random.choice(others)
    one = Request("creeklab", "POST", f"/_creeklab/{endpoint}", "", body, {"Host": cloud.host})
    if random.random() < 0.1:  # what else a join key might open
        one = mutate_http.request(random)
    one = one.signed(key, cloud.host)
    trace.append(one.sent()[:3000])
    client.send(one.sent())
    if one.method == "HEAD":
        return "asked for a head"
    [(status, content)] = answers(client.receive(SECONDS, _is_whole))
    assert status < 500 or status in EXPECTED_ERRORS, content
    if status == 200:
        assert one.path == "/_creeklab/join", "the join key opens more than it should"
        asked, account = json.loads(body), json.loads(content)["account"]
        cloud.accounts += f"account {account}" not in joined
        assert joined.setdefault(asked["name"].casefold(), asked["secret"]) == asked["secret"]
        assert joined.setdefault(f"account {account}", asked["name"].casefold()) == (
            asked["name"].casefold()
        ), "one account for two"
    return f"answered {status}"
