"""Test the limits: clients that misbehave, a full disk, a clock that jumps.

Each scenario causes one kind of trouble for a cloud over real sockets. It checks that memory stays
bounded, that a rejected client receives a reason, and that a well-behaved client notices nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import logging
import math
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from botocore.config import Config
from botocore.exceptions import ClientError

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.cloud.mqtt.codec.packets import (
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
)
from creeklab.cloud.mqtt.listeners import tls_listener
from creeklab.cloud.mqtt.session import session
from creeklab.cloud.transport import http_server
from tests.conftest import NewThing, make_thing
from tests.hardening.in_process_cloud import InProcessCloud, connect_client, start_cloud, wait_for
from tests.hardening.packet_client import PacketClient
from tests.hardening.process_usage import (
    allocated_bytes,
    open_handles,
    resident_bytes,
    return_free_memory,
)

HOUR = 3600
BIG = bytes(100_000)
Lines = Iterator[str]


def subscribed(client: PacketClient, *filters: str, qos: int = 1) -> PacketClient:
    """Subscribe, and wait for the SUBACK."""
    client.send(Subscribe(1, [Subscription(each, qos) for each in filters]))
    assert isinstance(next(client.packets()), Suback)
    return client


def publish_all(
    client: PacketClient, messages: Iterator[Publish], in_flight: int = 100
) -> dict[int, int]:
    """Publish at QoS 1 as fast as it is acknowledged; return how often each reason code came."""
    codes: dict[int, int] = {}
    under_way: set[int] = set()
    identifiers = itertools.cycle(range(1, 65536))
    more = True
    while more or under_way:
        fresh: list[Packet] = []
        while more and len(under_way) < in_flight:
            message = next(messages, None)
            if message is None:
                more = False
            else:
                message.packet_id = next(identifiers)
                under_way.add(message.packet_id)
                fresh.append(message)
        if fresh:
            client.send(*fresh)
        if under_way:
            for packet in client.take():
                if isinstance(packet, Puback):
                    under_way.remove(packet.packet_id)
                    codes[packet.reason_code] = codes.get(packet.reason_code, 0) + 1
    return codes


def answers(client: PacketClient) -> bool:
    """Return whether a well-behaved client gets an answer."""
    client.send(Pingreq())
    return any(isinstance(each, Pingresp) for each in client.packets())


# --- clients that do not read or acknowledge ------------------------------------------------------


def slow_consumer(
    cloud: InProcessCloud, big: int = 300, small: int = 10_500, max_growth: float = math.inf
) -> Lines:
    """A subscriber that stops reading while messages of both QoS pour in."""
    before = resident_bytes()
    with contextlib.ExitStack() as stack:

        def new(client_id: str) -> PacketClient:
            return stack.enter_context(contextlib.closing(cloud.connect(client_id)))

        slow, fast, source = new("slow"), new("fast"), new("source")
        subscribed(slow, "load/#")
        subscribed(fast, "load/#")
        for number in range(big):
            # The last message of each turn is acknowledged, so that the reader is never behind.
            source.send(Publish("load/0", BIG), Publish("load/0", BIG))
            assert publish_all(source, iter([Publish("load/1", b"%d" % number, 1)])) == {0: 1}
            left = 3
            while left:
                for packet in fast.take():
                    if isinstance(packet, Publish):
                        left -= 1
                        if packet.qos:
                            fast.send(Puback(packet.packet_id))
        yield f"{2 * big} QoS 0 messages reached the reader, none was lost"
        subscribed_for_small = (Publish("quiet/1", b"", 1) for _ in range(1))
        assert publish_all(source, subscribed_for_small) == {0: 1}
        fast.close()
        assert publish_all(source, (Publish("load/1", b"1", 1) for _ in range(small))) == {0: small}
        kept = cloud.call(lambda: cloud.services.broker.get_session("slow"))
        assert kept is not None
        assert len(kept.in_flight) == session.MAX_IN_FLIGHT
        assert len(kept.waiting) <= session.MAX_WAITING
        dropped = cloud.entries("dropped")
        assert {each["client_id"] for each in dropped} == {"slow"}
        whys = {each["why"] for each in dropped}
        grown = resident_bytes() - before
        assert grown < max_growth, f"memory has grown by {grown / 1e6:.0f} MB"
        yield f"memory has grown by {grown / 1e6:.0f} MB; dropped, because: {sorted(whys)}"
        connection = cloud.services.broker.connections["slow"]
        assert connection.congested
        expected = session.MAX_IN_FLIGHT + len(kept.waiting)
        came = 0
        while came < expected:  # it reads again, and everything that was kept for it comes
            for packet in slow.take():
                if isinstance(packet, Publish) and packet.qos:
                    came += 1
                    slow.send(Puback(packet.packet_id))
        assert answers(slow)
        yield f"the slow client reads again: {came} QoS 1 messages had waited"


def never_acknowledges(cloud: InProcessCloud, count: int = 10_500) -> Lines:
    """Clients that read and never acknowledge: their window, then a bounded queue."""
    windows = {"all": (5, {}, 100), "five": (5, {"receive_maximum": 5}, 5), "old": (4, {}, 100)}
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(contextlib.closing(cloud.connect("source")))
        clients: dict[str, PacketClient] = {}
        for name, (version, properties, _) in windows.items():
            client = cloud.connect(name, version, **properties)
            clients[name] = subscribed(stack.enter_context(contextlib.closing(client)), "load/#")
        sent = (Publish("load/1", b"%d" % number, 1) for number in range(count))
        assert publish_all(source, sent) == {0: count}
        for name, (_, _, window) in windows.items():
            clients[name].send(Pingreq())
            came: list[Packet] = []
            while not any(isinstance(each, Pingresp) for each in came):
                came += clients[name].take()
            messages = [each for each in came if isinstance(each, Publish)]
            assert len(messages) == window, f"{len(messages)} in flight to {name}"
            kept = cloud.services.broker._sessions[name]
            assert len(kept.waiting) == min(session.MAX_WAITING, count - window)
            yield f"{name}: {window} in flight, {len(kept.waiting)} wait"
        dropped = {each["client_id"] for each in cloud.entries("dropped")}
        assert dropped == (set(windows) if count > session.MAX_WAITING + 100 else set())


def never_reads_answers(
    cloud: InProcessCloud, max_unread: int = 1 << 21, max_growth: float = math.inf
) -> Lines:
    """Disconnect a client that keeps asking and reads no answer, and record the reason."""
    with (
        patch.object(tls_listener, "MAX_UNREAD", max_unread),
        contextlib.closing(cloud.connect("witness")) as witness,
        contextlib.closing(cloud.connect("deaf")) as deaf,
    ):
        deaf._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = resident_bytes()
        asked = 0
        with contextlib.suppress(OSError):
            while asked < 40_000_000:
                deaf._socket.sendall(b"\xc0\x00" * 30_000)
                asked += 30_000
                grown = resident_bytes() - before
                assert grown < max_growth, f"memory has grown by {grown / 1e6:.0f} MB"
        assert asked < 40_000_000, "it was never cut off"
        wait_for(lambda: "deaf" not in cloud.services.broker.connections, "it is cut off")
        refusal = cloud.call(lambda: cloud.services.event_log.last_refusal("deaf"))
        assert refusal is not None
        assert answers(witness)
        yield f"cut off after {asked} pings: {refusal['refusal']['summary']}"


# --- connection floods ----------------------------------------------------------------------------


def connects(lab: Lab, thing: NewThing, pid: int, count: int, wait: float) -> Lines:
    """Open connections that never start TLS, stop half way, or never send CONNECT."""
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    context.load_cert_chain(thing.files.certificate, thing.files.private_key)
    offered = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        half = context.wrap_bio(ssl.MemoryBIO(), offered, server_hostname=lab.endpoint)
        half.do_handshake()
    hello = offered.read()
    with contextlib.closing(connect_client(lab, thing, "witness")) as witness:
        before, memory = open_handles(pid), resident_bytes(pid)
        with contextlib.ExitStack() as stack:
            came = refused = 0
            for number in range(count):
                try:
                    raw = socket.create_connection((lab.endpoint, lab.mqtt_port), 10)
                    stack.enter_context(raw)
                    if number % 4 == 1:
                        raw.sendall(hello)
                    elif number % 4 == 2:
                        raw.sendall(hello[:50])
                    elif number % 4 == 3 and number < 400:
                        secured = context.wrap_socket(raw, server_hostname=lab.endpoint)
                        stack.enter_context(secured)
                    came += 1
                except OSError:
                    refused += 1
                if number % 50 == 0:
                    assert answers(witness), "the witness is not answered"
            yield (
                f"{came} connections, {refused} refused; {open_handles(pid)} handles, {before} "
                f"before; memory {(resident_bytes(pid) - memory) / 1e6:+.0f} MB"
            )
            wait_for(lambda: open_handles(pid) <= before, "they are all cut off", wait)
            assert answers(witness), "the witness is not answered"
        with contextlib.closing(connect_client(lab, thing, "late")) as late:
            assert answers(late)
        yield f"all of them were closed; {open_handles(pid)} handles, and a new client connects"


def half_open_https(
    cloud: InProcessCloud, rounds: int, count: int, max_growth: float = math.inf
) -> Lines:
    """Connections to the HTTPS port without a handshake, or without a request after it.

    The cloud closes them. The first round is a warm-up: memory counts from its end. What counts is
    the memory in use; the C library keeps what is free, so the process looks larger until the
    library is asked to return it.
    """
    lab, handles, memory = cloud.lab, open_handles(), 0
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    for number in range(rounds + 1):
        with contextlib.ExitStack() as stack:
            for position in range(count):
                raw = socket.create_connection((lab.endpoint, lab.https_port), 10)
                stack.enter_context(raw)
                if position % 10 == 0:
                    secured = context.wrap_socket(raw, server_hostname=lab.endpoint)
                    stack.enter_context(secured)
            # This process has the other end of each connection, too.
            wait_for(lambda: open_handles() <= handles + count + 5, "they are all closed", 60)
        gc.collect()
        memory = memory or allocated_bytes()
        if number:
            growth = allocated_bytes() / memory - 1
            resident, kept = resident_bytes(), return_free_memory()
            yield (
                f"round {number}: memory in use {growth:+.1%}; {resident / 1e6:.0f} MB resident, "
                f"of which {kept / 1e6:.0f} MB were free"
            )
            assert growth <= max_growth


# --- 100,000 retained topics ----------------------------------------------------------------------


def retained(cloud: InProcessCloud, count: int, max_growth: float = math.inf) -> Lines:
    """Retain as many messages as the setting allows, list them all, and send one too many."""
    before = resident_bytes()
    data = cloud.lab.client("iot-data")
    with contextlib.closing(cloud.connect("source")) as source:
        began = time.monotonic()
        topics = (f"creek/{number // 1000}/{number}" for number in range(count))
        codes = publish_all(source, (Publish(each, b"1.4", 1, True) for each in topics))
        assert codes == {0: count}, codes
        yield (
            f"{count} retained in {time.monotonic() - began:.1f} s; memory "
            f"{(resident_bytes() - before) / 1e6:+.0f} MB"
        )
        assert publish_all(source, iter([Publish("one/more", b"1", 1, True)])) == {0x97: 1}
        assert publish_all(source, iter([Publish("creek/0/0", b"2", 1, True)])) == {0: 1}
    began = time.monotonic()
    listed, token, pages = set(), {}, 0
    while True:
        page = data.list_retained_messages(maxResults=200, **token)
        listed |= {each["topic"] for each in page["retainedTopics"]}
        pages += 1
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert len(listed) == count
    mean = (time.monotonic() - began) / pages * 1000
    assert resident_bytes() - before < max_growth
    yield f"{pages} pages of 200, {mean:.1f} ms each; one more topic is refused with 0x97"


# --- a full disk ----------------------------------------------------------------------------------


class Log(logging.Handler):
    """Collects the log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def logged() -> Iterator[Log]:
    logger, log = logging.getLogger("creeklab.cloud"), Log()
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)


def full_disk(
    lab: Lab, thing: NewThing, fill: Callable[[], None], free: Callable[[], None]
) -> Lines:
    """Fill the disk under messages, shadows and calls: whatever is acknowledged must be stored."""
    iot = lab.session.client("iot", config=Config(retries={"total_max_attempts": 1}))
    data = lab.session.client("iot-data", config=Config(retries={"total_max_attempts": 1}))
    with contextlib.closing(connect_client(lab, thing, "away", expiry=HOUR)) as away:
        subscribed(away, "creek/#")
    promised: list[bytes] = []
    refused: list[bytes] = []
    shadow_version, things = 0, []
    with contextlib.closing(connect_client(lab, thing, "source")) as source:

        def publish(payload: bytes) -> int:
            [code] = publish_all(source, iter([Publish("creek/depth", payload, 1)]))
            (refused if code else promised).append(payload)
            return code

        def update() -> str:
            nonlocal shadow_version
            payload = json.dumps({"state": {"reported": {"a": shadow_version, "b": "x" * 3000}}})
            try:
                answer = data.update_thing_shadow(thingName="gauge", payload=payload)
            except ClientError as error:
                return str(error)
            shadow_version = json.loads(answer["payload"].read())["version"]
            return ""

        def create(name: str) -> str:
            try:
                attributes = {"attributes": {"site": "x" * 700}}
                iot.create_thing(thingName=name, attributePayload=attributes)
            except ClientError as error:
                return str(error)
            things.append(name)
            return ""

        assert publish(b"before") == 0
        assert update() == ""
        fill()
        number, codes = 0, []
        while not codes or codes[-1] == 0:
            number += 1
            codes.append(publish(b"%d " % number + bytes(50_000)))
            assert number < 1000, "the disk is never full"
        assert codes[-1] == 0x80
        said = ""
        while not said:
            number += 1
            said = update() or create(f"new-{number}")
            assert number < 5000, "the disk is never full for calls"
        assert "Free disk space" in said, said
        yield f"full after {number} messages and calls: PUBACK 0x80, and {said[:130]!r}..."
        assert answers(source), "a connected client is not answered"
        with contextlib.closing(connect_client(lab, thing, "other")) as other:
            assert answers(other)
        refusals = lab.events(kind="storage")
        assert refusals["refusal"].str.contains("cannot be written").any()
        free()
        # Shortly after an error, the cloud does not try to write.
        tries = itertools.count()
        wait_for(lambda: publish(b"after %d" % next(tries)) == 0, "messages are kept again")
        assert update() == ""
        assert create("after") == ""
    found = {each["thingName"] for each in iot.list_things(maxResults=250)["things"]}
    assert found >= set(things)
    document = json.loads(data.get_thing_shadow(thingName="gauge")["payload"].read())
    assert document["version"] == shadow_version
    with contextlib.closing(connect_client(lab, thing, "away", expiry=HOUR)) as away:
        assert away.session_present
        came: list[bytes] = []
        while promised[-1] not in came:
            for packet in away.take():
                if isinstance(packet, Publish):
                    came.append(packet.payload)
                    away.send(Puback(packet.packet_id))
    # A connected client may have received a refused message at once, an absent one from memory.
    assert [each for each in came if each not in refused] == promised, "not all, or not in order"
    assert len(set(came)) == len(came), "something came twice"
    yield f"room again: {len(promised)} messages acknowledged and delivered; {len(refused)} refused"


def full_pages(cloud: InProcessCloud, pages: int = 60) -> Lines:
    """Fill a database that is not allowed to grow."""
    store = cloud.services.database

    def limit(more: int) -> None:
        (now,) = store.execute("PRAGMA page_count").fetchone()
        store.execute(f"PRAGMA max_page_count = {now + more}")

    with logged() as log:
        yield from full_disk(
            cloud.lab,
            cloud.thing,
            lambda: cloud.call(lambda: limit(pages)),
            lambda: cloud.call(lambda: limit(1_000_000)),
        )
    assert any("cannot be written" in line for line in log.lines), log.lines
    yield f"the log has {len(log.lines)} lines about it"


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """Mount a disk in memory; None where that is not allowed."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        try:
            done = subprocess.run(["mount", *options], capture_output=True, check=False)
        except OSError:
            done = None
        if done is None or done.returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            # Lazily: a cloud that was stopped may still be on its way out.
            subprocess.run(["umount", "--lazy", folder], check=True)


def full_tmpfs(megabytes: int = 6) -> Lines:
    """Fill the disk of a cloud that runs in its own process."""
    with small_disk(megabytes) as disk:
        if disk is None:
            yield "no disk can be mounted here; the database with a limit shows the same"
            return
        home, ballast = disk / "home", disk / "ballast"
        try:
            supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
            lab = open_lab(home=home)
            thing = make_thing(lab)

            def fill() -> None:
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
                    while stream.write(bytes(4096)) == 4096:
                        pass

            yield from full_disk(lab, thing, fill, ballast.unlink)
            log = (home / "cloud" / "cloud.log").read_text()
            # It lies on the same disk, so what was said while that was full may be missing from it.
            assert "error in the broker" not in log, log
            yield f"the log has {len(log.splitlines())} lines about it"
        finally:
            supervisor.stop(home)


# --- a clock that jumps ---------------------------------------------------------------------------


def clock_jumps(cloud: InProcessCloud) -> Lines:
    """Move the clock by hours in both directions, then the timer."""
    # No retries: boto3 would adjust its own clock to the answer.
    once = Config(retries={"total_max_attempts": 1})

    def call() -> str:
        try:
            cloud.lab.session.client("iot", config=once).list_things()
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "taken"

    for jump in (3 * HOUR, -3 * HOUR):
        name = f"jump{jump}"
        with contextlib.ExitStack() as stack:

            def new(client_id: str, expiry: int = 0) -> PacketClient:
                found = cloud.connect(client_id, expiry=expiry)
                return stack.enter_context(contextlib.closing(found))

            here, source = new("here"), new("source")
            subscribed(new(name, expiry=HOUR), f"{name}/#").close()
            wait_for(
                lambda: name not in cloud.services.broker.connections,  # noqa: B023
                "it has left",
            )
            life = {"message_expiry_interval": 600}
            sent = [
                Publish(f"{name}/lasting", b"", 1),
                Publish(f"{name}/mortal", b"", 1, properties=life),
            ]
            assert publish_all(source, iter(sent)) == {0: 2}
            cloud.clock.by = jump
            cloud.call(cloud.services.tick)
            assert answers(here), "a jump of the clock has cut a client off"
            assert call() != "taken", "a signature of three hours ago is taken"
            back = new(name, expiry=HOUR)
            assert back.session_present, "a jump of the clock has ended a session"
            came: list[Publish] = []
            while not any(each.topic.endswith("end") for each in came):
                if not came:
                    publish_all(source, iter([Publish(f"{name}/end", b"", 1)]))
                for packet in back.take():
                    if isinstance(packet, Publish):
                        came.append(packet)
                        back.send(Puback(packet.packet_id))
            told = {each.topic.rpartition("/")[2]: each.properties for each in came}
            assert "lasting" in told
            assert ("mortal" in told) is (jump < 0), "message expiry goes by the clock"
            if jump < 0:
                assert told["mortal"]["message_expiry_interval"] <= 600
            cloud.clock.by = 0
            assert call() == "taken"
            yield (
                f"{jump / HOUR:+.0f} h: connections, keep alive and sessions stay; a message of "
                f"ten minutes {'is still there' if jump < 0 else 'is gone'}; signatures are refused"
            )
    with contextlib.closing(cloud.connect("silent")):
        cloud.timer.by += 31 * 60
        cloud.call(cloud.services.tick)
        wait_for(lambda: "silent" not in cloud.services.broker.connections, "it is cut off")
    kept = cloud.call(lambda: [*cloud.services.broker._sessions])
    assert kept == [each for each in kept if each.startswith("jump")]
    cloud.timer.by += 2 * HOUR
    cloud.call(cloud.services.tick)
    assert not cloud.call(lambda: [*cloud.services.broker._sessions])
    yield "the timer forward: a silent client is disconnected, and an old session has expired"


# --- all of it ------------------------------------------------------------------------------------


def _in_process(scenario: Callable[..., Lines], *settings: str, **members: Any) -> Lines:
    with (
        tempfile.TemporaryDirectory() as folder,
        start_cloud(Path(folder, "home"), settings) as cloud,
    ):
        yield from scenario(cloud, **members)


def flood_of_connects(count: int) -> Lines:
    """Run `connects` with a cloud that is limited to 300 file handles."""
    if sys.platform != "linux":
        yield "only Linux can limit a running process"
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        try:
            running = supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
            resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (300, 300))
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4 * count), hard))
            lab = open_lab(home=home)
            yield from connects(lab, make_thing(lab), running.pid, count, 60)
            log = (home / "cloud" / "cloud.log").read_text()
            assert "error in the broker" not in log, log[-3000:]
        finally:
            supervisor.stop(home)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rounds_of_half_open_https(rounds: int, count: int) -> Lines:
    """Run `half_open_https`, where the cloud waits for one second instead of ten."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4 * count), hard))
    try:
        with (
            patch.object(http_server, "HANDSHAKE_TIMEOUT", 1.0),
            patch.object(http_server, "FIRST_REQUEST_TIMEOUT", 1.0),
        ):
            yield from _in_process(half_open_https, rounds=rounds, count=count, max_growth=0.2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


SCENARIOS: dict[str, Callable[[int], Lines]] = {
    "slow-consumer": lambda _: _in_process(slow_consumer, max_growth=200e6),
    "never-acknowledges": lambda _: _in_process(never_acknowledges),
    "never-reads-answers": lambda _: _in_process(never_reads_answers, max_growth=100e6),
    "connects": lambda _: flood_of_connects(1000),
    "half-open-https": lambda _: rounds_of_half_open_https(25, 1000),
    "retained": lambda count: _in_process(
        retained, f"retained_max={count}", count=count, max_growth=300e6
    ),
    "full-pages": lambda _: _in_process(full_pages),
    "full-disk": lambda _: full_tmpfs(),
    "clock": lambda _: _in_process(clock_jumps),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=[*SCENARIOS])
    parser.add_argument("--retained", type=int, default=100_000, help="topics (default: 100000)")


def run(options: argparse.Namespace) -> int:
    found = 0
    for name in options.scenarios:
        began = time.monotonic()
        print(f"{name}: {SCENARIOS[name].__doc__ or ''}".rstrip(": "), flush=True)
        try:
            for line in SCENARIOS[name](options.retained):
                print(f"  {line}", flush=True)
        except (AssertionError, OSError) as error:
            found += 1
            print(f"  FOUND: {error!r}", flush=True)
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    print(f"{found} findings")
    return 1 if found else 0
