"""What is spoilt at the HTTPS port: HTTP itself, MQTT over WebSocket, joining a workshop.

A cloud runs in this process, and its event loop and its log tell of whatever nobody has caught.
Whoever sends a request that can be read is answered; with 500 nobody is. When all have gone the
cloud has as many file handles as before, and a witness is answered throughout.
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
PATIENCE = 0.02  # for who may have nothing to say
# What it is to answer beside refusals: that there is no such operation, that nobody confirms.
ANSWERS_OF_ITS_OWN = (501, 504)
INTERNAL_ERROR = 1011
NEVER_SENT = (1004, 1005, 1006, 1015)
STATUS_LINE = re.compile(rb"HTTP/(?:0\.9|1\.[01]) (\d{3}) [^\r\n]*\r\n")


class Complaints(logging.Handler):
    """Whatever an event loop, or the log, says of something that nobody has caught."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(self.format(record))

    def of_the_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.heard.append(repr(context))

    def see(self) -> None:
        """Raise if there was one."""
        heard, self.heard = self.heard, []
        assert not heard, heard[0]


class FuzzedCloud:
    """A cloud in this process, and who complains, watches and counts.

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
        self.cloud = cloud
        self.complaints = Complaints()
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

    def see(self) -> None:
        """See that nobody complains, and that the witness is answered."""
        self.witness.send(Pingreq())
        assert next(self.witness.packets()) == Pingresp(), "the witness is not answered"
        self.complaints.see()

    @contextlib.contextmanager
    def connection(self, random: Random, as_device: bool = False) -> Iterator[RawConnection]:
        """Open a connection, and close it in one way or another."""
        context = self._device if as_device else self._stranger
        raw = socket.create_connection(self.address, SECONDS)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_hostname=self.address[0]) as secured:
            yield RawConnection(secured)
            if random.random() < 0.3:  # with a reset instead of a farewell
                secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class RawConnection:
    """A connection that is given bytes.

    Attributes
    ----------
    in_step
        Whether all that was sent was whole, so that the next request begins where it should.
    """

    def __init__(self, secured: ssl.SSLSocket) -> None:
        self._secured = secured
        self.heard = b""
        self.closed = False
        self.in_step = True

    def send(self, data: bytes) -> None:
        """Send bytes, unless the other end has closed."""
        try:
            self._secured.sendall(data)
        except (OSError, ssl.SSLError):
            self.closed = True

    def hear(self, seconds: float, enough: Callable[[bytes], bool] = lambda heard: False) -> bytes:
        """Return what has come: when it is enough, the other end closes, or nothing comes."""
        self._secured.settimeout(seconds)
        try:
            while not enough(self.heard):
                data = self._secured.recv(1 << 18)
                if not data:
                    self.closed = True
                    break
                self.heard += data
        except TimeoutError:
            pass
        except (OSError, ssl.SSLError):
            self.closed = True
        heard, self.heard = self.heard, b""
        return heard


@contextlib.contextmanager
def fuzzed_cloud(
    report: Report, part: str, new_loop: Any = uvloop.new_event_loop
) -> Iterator[FuzzedCloud]:
    """Open a cloud to be troubled; afterwards see that all is as before."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(workshop, "MAX_PARTICIPANTS", 12),
        start_cloud(Path(folder, "home"), host=HOST, new_loop=new_loop) as cloud,
    ):
        opened = FuzzedCloud(cloud)
        complaints = opened.complaints
        logging.getLogger().addHandler(complaints)
        cloud.call(lambda: asyncio.get_running_loop().set_exception_handler(complaints.of_the_loop))
        try:
            with contextlib.closing(opened.witness):
                before = open_handles()
                yield opened
                with report.watching(f"{part} afterwards", "afterwards"):
                    connected = cloud.services.broker.connections
                    wait_for(lambda: set(cloud.call(lambda: [*connected])) == {"witness"}, "alone")
                    wait_for(
                        lambda: open_handles() <= before + 3 * opened.accounts, "as few handles"
                    )
                    opened.see()
        finally:
            logging.getLogger().removeHandler(complaints)


# --- HTTP -----------------------------------------------------------------------------------------


def answers(heard: bytes) -> list[tuple[int, bytes]]:
    """Read the answers to requests that are no HEAD: status and body of each."""
    found = []
    while heard:
        line = STATUS_LINE.match(heard)
        assert line, f"no answer of HTTP: {heard[:200]!r}"
        head, end, rest = heard.partition(b"\r\n\r\n")
        assert end, f"half an answer: {heard[:200]!r}"
        status = int(line[1])
        length = re.search(rb"(?i)\r\nContent-Length: (\d+)", head)
        if status < 200 or status in (204, 304):
            size = 0
        else:
            assert length, f"an answer without a length: {head!r}"
            size = int(length[1])
        assert len(rest) >= size, f"half a body: {heard[:300]!r}"
        if status >= 200:
            found.append((status, rest[:size]))
        heard = rest[size:]
    return found


def _is_whole(heard: bytes) -> bool:
    try:
        return bool(answers(heard))
    except AssertionError:
        return False


def fuzz_https(random: Random, count: int, report: Report) -> None:
    """Send spoilt requests to the HTTPS port: signed, unsigned, and with a device's certificate."""
    # The loop that there is on Windows comes to its turn, too.
    for share, new_loop in ((0.7, uvloop.new_event_loop), (1.0, asyncio.new_event_loop)):
        with fuzzed_cloud(report, "https", new_loop) as opened:
            while report.total("https") < count * share:
                as_device = random.random() < 0.3
                said: list[bytes] = []
                with report.watching("https", said):
                    with opened.connection(random, as_device) as line:
                        for _ in range(random.choice((1, 1, 3, 10))):
                            report.saw("https", _request(random, opened, line, said, as_device))
                            if line.closed:
                                break
                    opened.see()


def _request(
    random: Random, opened: FuzzedCloud, line: RawConnection, said: list[bytes], as_device: bool
) -> str:
    """Send one request, perhaps spoilt; return what came of it."""
    one = mutate_http.request(random)
    one.headers.setdefault("Host", opened.host)
    if not as_device and random.random() < 0.9:
        one = one.signed(opened.credentials, opened.host)
    whole = random.random() < 0.5
    data = one.sent() if whole else mutate_http.spoilt(random, one)
    said.append(data[:3000])
    if not whole and random.random() < 0.05:
        data = data[: random.randrange(len(data) + 1)]
    line.in_step &= whole and not {"Connection", "Expect"} & one.headers.keys()
    line.send(data)
    if one.method == "HEAD" or b"HEAD" in data[:50]:
        line.hear(PATIENCE)
        line.closed = True  # who is to know where its answer ends
        return "asked for a head"
    heard = line.hear(SECONDS if line.in_step else PATIENCE, _is_whole)
    if not heard:
        assert not line.in_step, "it was not answered"
        return "cut off" if line.closed else "no answer yet"
    if not _is_whole(heard):
        heard += line.hear(1)
    found = answers(heard)
    for status, body in found:
        assert status < 500 or status in ANSWERS_OF_ITS_OWN, f"{status}: {body!r}"
        if body.startswith(b"{"):
            json.loads(body)
    return f"answered {found[0][0]}" if found else "told to go on"


# --- MQTT over WebSocket --------------------------------------------------------------------------


def fuzz_websocket(random: Random, count: int, report: Report) -> None:
    """Send spoilt frames, and MQTT in them."""
    for share, new_loop in ((0.7, uvloop.new_event_loop), (1.0, asyncio.new_event_loop)):
        with fuzzed_cloud(report, "websocket", new_loop) as opened:
            while report.total("websocket") < count * share:
                said: list[bytes] = []
                with report.watching("websocket", said):
                    with opened.connection(random) as line:
                        _frames(random, opened, line, said, report)
                    opened.see()


def _frames(
    random: Random, opened: FuzzedCloud, line: RawConnection, said: list[bytes], report: Report
) -> None:
    headers = {
        "Host": opened.host,
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
    path, _, query = mutate_http.presigned(opened.credentials, opened.host).partition("?")
    asked = b"\r\n".join([*Request("", "GET", path, query, b"", headers).lines(), b"", b""])
    if random.random() < 0.05:
        asked = mutate.spoil_bytes(random, asked, asked)
    said.append(asked)
    line.send(asked)
    heard = line.hear(SECONDS, lambda heard: b"\r\n\r\n" in heard)
    head, _, line.heard = heard.partition(b"\r\n\r\n")
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
        said.append(wrapped[:3000])
        line.send(wrapped)
        report.saw("websocket", "sent")
        if line.closed:
            break
    if random.random() < 0.7:
        code = _close_code(line.hear(PATIENCE))
        assert code != INTERNAL_ERROR
        assert code is None or (1000 <= code < 5000 and code not in NEVER_SENT), code
        report.saw("websocket ends", f"with {code}" if code else "without a word")
        if code and random.random() < 0.5:
            line.send(mutate_http.frame(code.to_bytes(2, "big"), mutate_http.CLOSE))


def _close_code(heard: bytes) -> int | None:
    """Read the cloud's frames; return the code of the one that closes, if it has one."""
    while len(heard) >= 2:
        opcode, size, at = heard[0] & 15, heard[1], 2
        assert heard[0] & 0xF0 == 0x80, "a frame that is not whole, or has reserved bits"
        assert size < 128, "a server does not mask"
        if size > 125:
            at = 4 if size == 126 else 10
            size = int.from_bytes(heard[2:at], "big")
        data, rest = heard[at : at + size], heard[at + size :]
        if opcode == mutate_http.CLOSE:
            assert not rest, "something came after the end"
            return int.from_bytes(data[:2], "big") if data else None
        assert opcode in (mutate_http.BINARY, mutate_http.PONG, mutate_http.PING), opcode
        heard = rest
    return None


# --- a workshop -----------------------------------------------------------------------------------

NAMES = ("Anna", "anna", "ANNA", "Ben", "Zoë", "ß", "SS", "a b", "../x", "x" * 40, "İ", "i̇")
SECRETS = ("s" * 20, "t" * 20, "é" * 20, "\ud800" * 20, "x" * 5000)
JOINS = tuple({"name": name, "secret": secret} for name in NAMES for secret in SECRETS)


def fuzz_workshop(random: Random, count: int, report: Report) -> None:
    """Ask to join a workshop, in ways that are not foreseen; nobody gets what is another's."""
    with fuzzed_cloud(report, "workshop") as opened:
        file = cloud_folder(opened.cloud.lab.home) / workshop.JOIN_FILE
        told = json.loads(file.read_text())
        key = Credentials(told["access_key"], told["secret_key"])
        joined: dict[str, str] = {}
        while report.total("workshop") < count:
            said: list[bytes] = []
            with report.watching("workshop", said):
                with opened.connection(random) as line:
                    report.saw("workshop", _join(random, opened, line, said, key, joined))
                opened.see()


def _join(
    random: Random,
    opened: FuzzedCloud,
    line: RawConnection,
    said: list[bytes],
    key: Credentials,
    joined: dict[str, str],
) -> str:
    body = mutate.document(random, JOINS)
    others = ("events", "reset", "participants", "")
    endpoint = "join" if random.random() < 0.8 else random.choice(others)
    one = Request("creeklab", "POST", f"/_creeklab/{endpoint}", "", body, {"Host": opened.host})
    if random.random() < 0.1:  # what else a join key might open
        one = mutate_http.request(random)
    one = one.signed(key, opened.host)
    said.append(one.sent()[:3000])
    line.send(one.sent())
    if one.method == "HEAD":
        return "asked for a head"
    [(status, content)] = answers(line.hear(SECONDS, _is_whole))
    assert status < 500 or status in ANSWERS_OF_ITS_OWN, content
    if status == 200:
        assert one.path == "/_creeklab/join", "the join key opens more than it should"
        asked, account = json.loads(body), json.loads(content)["account"]
        opened.accounts += f"account {account}" not in joined
        assert joined.setdefault(asked["name"].casefold(), asked["secret"]) == asked["secret"]
        assert joined.setdefault(f"account {account}", asked["name"].casefold()) == (
            asked["name"].casefold()
        ), "one account for two"
    return f"answered {status}"
