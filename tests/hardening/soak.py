"""Run eight hours of a classroom's traffic in fast time: memory and file handles must not grow.

The first part runs in this process, on a clock that the test moves. Devices with persistent
sessions connect, publish, update their shadows and disconnect. Visitors connect once, some with a
session or a delayed will. Retained messages are set, replaced and expire. A shared group works. The
account creates, attaches, reads, lists and deletes Things, certificates and policies, and reads the
event log.

The second part uses a real cloud over TLS and HTTP, as fast as it can. Every buffer of the event
log is filled before the first measurement.

Memory is read after each stretch of time. What fills up once and stays (caches, the event log, the
connectivity of disconnected clients) does so in the first half, so only the second half is judged:
the slope of a fitted line. More than `MAX_GROWTH` of Python's memory blocks in eight hours is a
finding, and so is one more file handle. Process memory grows in steps of 1 MiB, so it is a finding
only above two steps.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

from botocore import xform_name

from creeklab import Lab, open_lab
from creeklab.bootstrap import REPOSITORY_ROOT
from creeklab.cloud.account import load_account
from creeklab.cloud.accounts.account_services import AccountServices, CloudContext
from creeklab.cloud.api.http_api import HttpService
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.local_cloud import SERVICES
from creeklab.cloud.monitoring.event_log import LIMITS, MESSAGES, OTHERS, REFUSALS
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import (
    Disconnect,
    Packet,
    Pingreq,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from creeklab.cloud.mqtt.connection.connection import Connection
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.settings import Settings
from creeklab.cloud.shadow import service as shadow_service
from tests.cloud.broker_fixture import Clock, connect
from tests.cloud.iot_fixture import ALLOW, CSR, Checked
from tests.conftest import make_thing
from tests.hardening import counting_cloud
from tests.hardening.in_process_cloud import connect_client, wait_for
from tests.hardening.packet_client import PacketClient
from tests.hardening.process_usage import open_handles, resident_bytes, slope

HOURS = 8
# The broker remembers the latest 10,000 disconnected clients, which takes 2.8 hours to fill. A run
# is judged by its second half, so a shorter run would report this as growth.
MIN_HOURS = 6
STRETCHES = 48
MAX_GROWTH = 0.02  # of what is in use, in eight hours
ARENA = 1 << 20  # what Python asks the system for at a time, in bytes
TURNS = 120
DEVICES = 12
LOG = b"x" * 50
# The event log bounds its records by itself, and the TLS objects belong to connections that are
# about to end.
NOT_COUNTED = ("_Event", "_Message", "PeerIdentity", "WatchedSocket")


class Sample(NamedTuple):
    """What was in use at a time.

    Hours, bytes of memory (RSS), Python's small blocks of memory, file handles, bytes of database,
    and, of a real cloud, creeklab's own objects when no client is connected.
    """

    hours: float
    resident: int
    blocks: int
    handles: int
    file: int
    objects: int = 0

    def __str__(self) -> str:
        return (
            f"{self.hours:6.2f} h  {self.resident / 1e6:7.2f} MB  {self.blocks:8} blocks  "
            f"{self.handles:3} handles  {self.file / 1e6:6.2f} MB database"
        )


@dataclass
class Growth:
    """What a line through the second half of the samples says."""

    resident: float
    blocks: float
    handles: int
    steps: float

    @classmethod
    def of(cls, samples: list[Sample]) -> Growth:
        later = samples[len(samples) // 2 :]
        hours = [sample.hours for sample in later]
        shares = []
        for used in ([each.resident for each in later], [each.blocks for each in later]):
            average = sum(used) / len(used)
            shares.append(slope(hours, used) * HOURS / average if average else 0.0)
        hours_seen = hours[-1] - hours[0]
        grown = slope(hours, [each.resident for each in later]) * hours_seen
        return cls(*shares, later[-1].handles - later[0].handles, grown / ARENA)

    @property
    def is_found(self) -> bool:
        more_of_the_system = self.resident > MAX_GROWTH and self.steps > 2
        return more_of_the_system or self.blocks > MAX_GROWTH or self.handles > 0

    def __str__(self) -> str:
        verdict = "FOUND: it grows" if self.is_found else "no growth"
        return (
            f"{verdict}: {self.resident:+.2%} of memory and {self.blocks:+.2%} of blocks in "
            f"{HOURS} h, {self.handles:+} handles"
        )


class Guest:
    """A client without a socket: it acknowledges all that comes and knows nothing."""

    def __init__(self, services: AccountServices, certificate: str, version: int) -> None:
        self.version = version
        self.here = True
        self.heard = 0
        self._written: list[bytes] = []
        self._decoder = Decoder(version=version)
        peer = Peer(certificate, "127.0.0.1", 1, "127.0.0.1", 8883)
        self.connection = Connection(services.broker, peer, self._written.append, self._close)
        self._settle = services.broker.commit_and_acknowledge

    def _close(self) -> None:
        self.here = False

    def send(self, *sent: Packet) -> None:
        """Send packets, and acknowledge what comes."""
        if self.here:
            self.connection.receive(b"".join(packets.encode(one, self.version) for one in sent))
            self._settle()
            self.acknowledge()

    def acknowledge(self) -> None:
        while self._written and self.here:
            data = b"".join(self._written)
            self._written.clear()
            came = [each for each in self._decoder.feed(data) if isinstance(each, Publish)]
            self.heard += len(came)
            answers = [
                packets.encode(Puback(one.packet_id), self.version) for one in came if one.qos
            ]
            if answers:
                self.connection.receive(b"".join(answers))
                self._settle()

    def leave(self, word: bool) -> None:
        if self.here:
            if word:
                self.send(Disconnect())
            else:
                self.connection.connection_lost("it went away")
            self.here = False


def _operations(service: HttpService) -> Any:
    """Return an object that has the operations of an AWS service as methods."""
    return SimpleNamespace(
        **{xform_name(name): method for name, method in service.served().items()}
    )


class Classroom:
    """A cloud's rooms, and all who use them.

    Attributes
    ----------
    clock
        Seconds since the epoch and the broker's timer; goes on when `second` is called.
    happened
        How many things were done.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.clock = Clock(1_785_000_000.0)
        self.happened = 0
        self.errors = 0
        self.file = folder / "cloud.db"
        settings = Settings(retained_max=200)
        ca = CertificateAuthority(folder / "ca")
        account = load_account(folder)
        self.services = AccountServices(
            CloudContext(SERVICES, settings, ca, "localhost", self.clock, self.clock),
            folder,
            account,
        )
        self.iot = Checked(_operations(self.services.http_services["iot"]))
        self.data: Any = _operations(self.services.http_services["iotdata"])
        self._random = Random(seed)
        self._numbers = itertools.count(1)
        self._devices: dict[str, Guest] = {}
        self._visitors: list[Guest] = []
        self._made: list[tuple[str, str]] = []
        self._certificate = self._new_certificate()
        self.iot.create_policy(policyName="all", policyDocument=ALLOW)
        self.iot.attach_policy(policyName="all", target=self._certificate)
        self._id = self._certificate.partition("/")[2]

    def _new_certificate(self) -> str:
        made = self.iot.create_certificate_from_csr(certificateSigningRequest=CSR, setAsActive=True)
        return str(made["certificateArn"])

    def second(self) -> None:
        """Let a second pass, with what happens in it."""
        self.clock.now += 1
        random = self._random
        self._device(f"gauge-{random.randrange(DEVICES)}")
        self._visitor()
        if random.random() < 0.06:
            self._account()
        if int(self.clock.now) % 20 == 0:
            for guest in self._devices.values():
                guest.send(Pingreq())
        self.services.tick()
        for guest in [*self._devices.values(), *self._visitors]:
            guest.acknowledge()
        self.happened += 1

    def _device(self, name: str) -> None:
        random, number = self._random, next(self._numbers)
        guest = self._devices.get(name)
        if guest is None or not guest.here:
            version = 4 if name.endswith(("0", "1", "2")) else 5
            expiry = {"session_expiry_interval": random.choice((30, 600, 3600))}
            guest = self._devices[name] = Guest(self.services, self._id, version)
            guest.send(connect(name, version, clean=False, **(expiry if version == 5 else {})))
            topics = "creek/#" if name in ("gauge-1", "gauge-3", "gauge-4") else f"creek/{name}/+"
            entries = [Subscription(topics, 1), Subscription("$share/readers/chores/#", 1)]
            entries.append(Subscription(f"$aws/things/{name}/shadow/update/delta", 1))
            guest.send(Subscribe(1, entries))
        elif random.random() < 0.05:
            guest.leave(word=random.random() < 0.5)
            return
        elif random.random() < 0.05:
            guest.send(Unsubscribe(2, ["$share/readers/chores/#"]))
        update = {"state": {"reported": {"depth": number}, "desired": {"depth": number + 1}}}
        guest.send(
            Publish(f"creek/{name}/depth", b"%d" % number, 1, packet_id=1),
            Publish(f"chores/{number % 7}", b"job", 1, packet_id=2),
            Publish(f"creek/{name}/temperature", b"66.2"),
            Publish(f"creek/log/{number}", LOG),  # a topic that never comes again
        )
        if random.random() < 0.3:
            topic = f"$aws/things/{name}/shadow/update"
            guest.send(Publish(topic, json.dumps(update).encode(), 1, packet_id=3))
        if random.random() < 0.2:
            life = {"message_expiry_interval": 60} if guest.version == 5 else {}
            topic = f"creek/last/{random.randrange(150)}"
            payload = random.choice((b"", b"%d" % number))
            guest.send(Publish(topic, payload, 1, True, packet_id=4, properties=life))

    def _visitor(self) -> None:
        random, number = self._random, next(self._numbers)
        guest = Guest(self.services, self._id, 5)
        will = Will("creek/wills", b"gone", 1, False, {"will_delay_interval": 50})
        guest.send(
            connect(
                f"visitor-{number}",
                5,
                will=will if random.random() < 0.5 else None,
                session_expiry_interval=random.choice((0, 0, 100)),
            )
        )
        guest.send(Subscribe(1, [Subscription(f"creek/gauge-{number % DEVICES}/#", 1)]))
        if random.random() < 0.1:  # it is refused, and explained
            guest.send(Publish("creek/+/x", b""))
        self._visitors.append(guest)
        while len(self._visitors) > 8:
            self._visitors.pop(0).leave(word=random.random() < 0.3)

    def _account(self) -> None:
        number = next(self._numbers)
        name = f"thing-{number}"
        try:
            certificate = self._new_certificate()
            self.iot.create_thing(thingName=name, attributePayload={"attributes": {"site": "a"}})
            self.iot.attach_thing_principal(thingName=name, principal=certificate)
            self.iot.create_policy(policyName=name, policyDocument=ALLOW)
            self.iot.attach_policy(policyName=name, target=certificate)
            document = json.dumps({"state": {"reported": {"number": number}}}).encode()
            self.data.update_thing_shadow(thingName=name, payload=document)
            self.data.get_thing_shadow(thingName=name)
            self.data.publish(topic=f"creek/{name}", qos=1, payload=b"1")
            self.data.list_retained_messages(maxResults=10)
            self.iot.list_things(maxResults=10)
            self.services.admin_endpoints["events"](
                {"after": max(0, self.services.event_log.last_number - 100)}
            )
            self.services.admin_endpoints["why"]({})
            self._made.append((name, certificate))
            if len(self._made) > DEVICES:
                self._unmake(*self._made.pop(0))
            self.data.delete_connection(clientId="gauge-3")
        except ServiceError:
            self.errors += 1  # gauge-3 is away

    def _unmake(self, name: str, certificate: str) -> None:
        self.iot.detach_policy(policyName=name, target=certificate)
        self.iot.delete_policy(policyName=name)
        self.iot.detach_thing_principal(thingName=name, principal=certificate)
        self.iot.delete_thing(thingName=name)
        certificate_id = certificate.partition("/")[2]
        self.iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
        self.iot.delete_certificate(certificateId=certificate_id)
        self.data.delete_thing_shadow(thingName=name)

    def dismiss(self) -> None:
        """Let everyone go, and so much time pass that no session and no will is left."""
        for guest in [*self._devices.values(), *self._visitors]:
            guest.leave(word=False)
        for _ in range(3):
            self.clock.now += 2 * 3600
            self.services.tick()

    def sample(self, hours: float) -> Sample:
        """Look at what is in use."""
        gc.collect()
        blocks = sys.getallocatedblocks()
        return Sample(hours, resident_bytes(), blocks, open_handles(), self.file.stat().st_size)


def fast(hours: float, seed: int, stretches: int = STRETCHES) -> Iterator[Sample]:
    """Let so many hours pass in a classroom; give what is in use after each stretch."""
    with tempfile.TemporaryDirectory() as folder:
        room = Classroom(Path(folder), seed)
        try:
            for stretch in range(1, stretches + 1):
                until = hours * 3600 * stretch / stretches
                while room.happened < until:
                    room.second()
                yield room.sample(hours * stretch / stretches)
        finally:
            room.services.close()


class Lesson:
    """What is done with a real cloud, over TLS and HTTPS, as fast as it goes."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self._thing = make_thing(lab)
        self._iot, self._data = lab.client("iot"), lab.client("iot-data")
        self._random = Random(seed)

    def fill(self) -> None:
        """Fill what is bounded to its bound, fast: every lane of the event_log.

        What comes later takes the place of something, and what grows then grows for good.
        """
        filters = [f"fill/{number}" for number in range(8)]
        update = json.dumps({"state": {"reported": {"depth": 1.4}}}).encode()
        shadow = f"$aws/things/{self._thing.name}/shadow/update"
        with contextlib.closing(connect_client(self._lab, self._thing, "filler")) as client:
            for _ in range(OTHERS.entries // 8 + 1):
                client.send(Subscribe(1, [Subscription(each, 1) for each in filters]))
                self._take(client, Suback, 1)
            for topic, payload, count in (
                ("creek/fill", LOG, MESSAGES.entries),
                ("a/b/c/d/e/f/g/h/i", b"", REFUSALS.entries),
                (shadow, update, shadow_service.SERVICE.events["shadow"].entries),
            ):
                for _ in range(count // 100 + 1):
                    client.send(*[Publish(topic, payload, 1, packet_id=n) for n in range(1, 101)])
                    self._take(client, Puback, 100)
        self._call("POST", "/topics/creek%2Ffill?qos=1", LIMITS["call"].entries)

    def _take(self, client: PacketClient, kind: type, count: int) -> None:
        while count:
            count -= sum(isinstance(each, kind) for each in client.take())

    def _call(self, method: str, target: str, count: int) -> None:
        """Send a device's request, so many times over one connection."""
        files, lab = self._thing.files, self._lab
        context = ssl.create_default_context(cafile=str(lab.ca_file))
        context.load_cert_chain(files.certificate, files.private_key)
        connection = HTTPSConnection(lab.endpoint, lab.https_port, timeout=30, context=context)
        with contextlib.closing(connection):
            for _ in range(count):
                connection.request(method, target, LOG)
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()

    def teach(self, turns: int) -> None:
        """Let two clients come and go, and make five calls, so many times."""
        for turn in range(turns):
            for expiry in (0, 1):
                client_id = f"guest-{turn % 25}-{expiry}"
                client = connect_client(self._lab, self._thing, client_id, expiry=expiry)
                with contextlib.closing(client):
                    self._converse(client, turn)
            name = f"soak-{turn % 25}"
            payload = json.dumps({"state": {"reported": {"a": turn}}})
            self._iot.create_thing(thingName=name)
            self._data.update_thing_shadow(thingName=name, payload=payload)["payload"].read()
            self._data.delete_thing_shadow(thingName=name)["payload"].read()
            self._data.publish(topic=f"creek/{turn}", qos=1, payload=b"1")
            self._iot.delete_thing(thingName=name)

    def _converse(self, client: PacketClient, turn: int) -> None:
        client.send(Subscribe(1, [Subscription("creek/#", 1)]))
        client.take()
        sent = [Publish(f"creek/{turn}/{each}", LOG, 1, packet_id=each) for each in range(1, 11)]
        client.send(*sent)
        left = {one.packet_id for one in sent}
        while left:
            for one in client.take():
                if isinstance(one, Puback):
                    left.discard(one.packet_id)
                elif isinstance(one, Publish):
                    client.send(Puback(one.packet_id))
        if self._random.random() < 0.5:
            client.send(Disconnect())


@contextlib.contextmanager
def counted_cloud(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a cloud that counts (`counted.py`) until the end of the block."""
    home.mkdir(mode=0o700)
    command = [sys.executable, "-m", counting_cloud.__name__, "--home", str(home)]
    command += ["--mqtt-port", "0", "--https-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY_ROOT) as cloud:
        try:
            assert cloud.stdout is not None
            assert "mqtt_port" in cloud.stdout.readline(), "it did not start"
            yield cloud
        finally:
            cloud.terminate()


def counts(cloud: subprocess.Popen[str], home: Path) -> dict[str, Any]:
    """Return the counts of a cloud that counts, once its clients and their sessions are gone."""
    file = home / counting_cloud.COUNTS_FILE
    found: dict[str, Any] = {}

    def is_quiet() -> bool:
        file.unlink(missing_ok=True)
        cloud.send_signal(signal.SIGUSR1)
        wait_for(file.exists, "an answer of the cloud")
        found.update(json.loads(file.read_text()))
        return not {"Connection", "Session"} & found["objects"].keys()

    wait_for(is_quiet, "no connection and no session is left")
    for kind in NOT_COUNTED:
        found["objects"].pop(kind, None)
    return found


def real(rounds: int, seed: int, turns: int = TURNS, *, filled: bool = True) -> Iterator[Sample]:
    """Use a real cloud for some rounds, and yield what it has in use after each.

    Hours are counted as if a round were a stretch of the fast part. The memory is comparable only
    if the event log was filled first; the number of objects does not include its records.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        with counted_cloud(home) as cloud:
            lesson = Lesson(open_lab(home=home), seed)
            if filled:
                lesson.fill()
            for number in range(1, rounds + 1):
                lesson.teach(turns)
                counted = counts(cloud, home)
                yield Sample(
                    number * HOURS / STRETCHES,
                    resident_bytes(cloud.pid),
                    counted["blocks"],
                    open_handles(cloud.pid),
                    (home / "cloud" / "cloud.db").stat().st_size,
                    sum(counted["objects"].values()),
                )


def _hours(text: str) -> float:
    hours = float(text)
    if 0 < hours < MIN_HOURS:
        raise argparse.ArgumentTypeError(
            f"{text} hours cannot be judged: bounded buffers are still filling up. Use at least"
            f" {MIN_HOURS}."
        )
    return hours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hours",
        type=_hours,
        default=HOURS,
        help=f"of fast time (default: {HOURS}), at least {MIN_HOURS}; 0 skips this part",
    )
    parser.add_argument("--rounds", type=int, default=STRETCHES, help="with a real cloud")
    parser.add_argument("--turns", type=int, default=TURNS, help="in a round (default: 120)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all chance")


def run(options: argparse.Namespace) -> int:
    print(f"{options.hours} hours in fast time, seed {options.seed}", flush=True)
    found = False
    began = time.monotonic()
    if options.hours:
        samples = []
        for sample in fast(options.hours, options.seed):
            samples.append(sample)
            print(sample, flush=True)
        growth = Growth.of(samples)
        found = growth.is_found
        print(f"{growth}; it took {time.monotonic() - began:.0f} s", flush=True)
    if options.rounds:
        print(f"{options.rounds} rounds with a real cloud", flush=True)
        samples = []
        for sample in real(options.rounds, options.seed, options.turns):
            samples.append(sample)
            print(sample, flush=True)
        growth = Growth.of(samples)
        found = found or growth.is_found
        print(growth)
    return 1 if found else 0
