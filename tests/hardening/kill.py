"""Kill the cloud (kill -9) under load, repeatedly: everything it acknowledged must survive.

Messages: two publishers with a hundred messages of QoS 1 in flight each; persistent sessions of
MQTT 3.1.1 and 5 that take everything, that leave half unacknowledged, that are away, and a shared
group. At a random moment the cloud is killed, then started again, and everyone comes back. Then

- every message that was acknowledged to its publisher has come to every session it was due to (of
  the group: to a member), in the order of its publisher;
- no message comes again whose acknowledgment the cloud had taken in: the client's PUBACK was
  followed by two pings, the second sent when the first was answered, and both were answered;
- every session is there;
- every version of a shadow and every Thing made or deleted meanwhile over HTTP is there as it was
  answered, once, but that the one call under way may have been done or not.

And the account, as `tests/cloud/test_kill.py` does it: registry, policies, certificates, shadows.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from botocore.config import Config
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.cloud.mqtt.codec.packets import (
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
)
from tests.conftest import NewThing, make_thing
from tests.hardening.packet_client import PacketClient

IN_FLIGHT = 100
MOST_OF_A_ROUND = 4000  # messages of one publisher: fewer than the cloud keeps for one client
EXPIRY = 3600
LONGEST = 0.8  # seconds from the start of the load to the kill
PATIENCE = 20.0  # seconds until what is due has come
PUBLISHERS = ("gauge-a", "gauge-b")
SHADOW = "the shadow"
MOST_THINGS = 20
GROUP = "$share/readers/load/#"

Connector = Callable[..., PacketClient]


class Publisher:
    """Publishes numbered messages as fast as they are acknowledged, and records which were.

    Attributes
    ----------
    acknowledged
        Payloads whose PUBACK came, in order.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged: list[bytes] = []
        self._number = 0

    def run(self, connect: Connector) -> None:
        """Publish until the cloud is gone or the round has enough messages."""
        under_way: dict[int, bytes] = {}
        last = self._number + MOST_OF_A_ROUND
        # The kill may happen while it connects.
        with contextlib.suppress(OSError), contextlib.closing(connect(self.name, 5)) as client:
            while self._number < last or under_way:
                fresh: list[Publish] = []
                while len(under_way) < IN_FLIGHT and self._number < last:
                    self._number += 1
                    packet_id = self._number % 65535 + 1
                    under_way[packet_id] = payload = b"%s %d" % (self.name.encode(), self._number)
                    topic = f"load/{self.name}/{self._number % 3}"
                    fresh.append(Publish(topic, payload, 1, packet_id=packet_id))
                if fresh:
                    client.send(*fresh)
                for packet in client.take():
                    if isinstance(packet, Puback) and packet.reason_code == 0:
                        self.acknowledged.append(under_way.pop(packet.packet_id))


class Reader:
    """A client with a persistent session that records what arrived and cannot arrive again.

    Parameters
    ----------
    share
        How much of what comes it acknowledges while there is load.

    Attributes
    ----------
    seen
        How often each payload came.
    first
        Payloads in the order in which they came first.
    """

    def __init__(
        self, name: str, version: int, topic_filter: str, random: random.Random, share: float = 1.0
    ) -> None:
        self.name = name
        self.version = version
        self.topic_filter = topic_filter
        self.seen: Counter[bytes] = Counter()
        self.first: list[bytes] = []
        self.repeated = 0
        self._random = random
        self._share = share
        self._settled: set[bytes] = set()
        self._acknowledged: set[bytes] = set()
        self._before_ping: set[bytes] = set()
        self._pings = 0

    def subscribe(self, connect: Connector) -> None:
        """Create the session."""
        with contextlib.closing(self._connect(connect, present=False)) as client:
            client.send(Subscribe(1, [Subscription(self.topic_filter, 1)]))
            [suback] = client.take()
            assert isinstance(suback, Suback)
            assert suback.reason_codes == [1]

    def run(self, connect: Connector) -> None:
        """Read until the cloud is gone."""
        with (
            contextlib.suppress(OSError),
            contextlib.closing(self._connect(connect)) as client,
        ):
            while True:
                self._answer(client, self._share)

    def catch_up(self, connect: Connector, missing: Callable[[], bool]) -> None:
        """Read and acknowledge until nothing is missing and nothing more arrives."""
        deadline = time.monotonic() + PATIENCE
        quiet = 0
        with contextlib.closing(self._connect(connect)) as client:
            client.send(Pingreq())
            self._pings = 1
            while missing() or quiet < 2:
                came = self._answer(client, 1.0)
                quiet = 0 if came else quiet + 1
                assert time.monotonic() < deadline, f"Not all has come to {self.name}."

    def _connect(self, connect: Connector, present: bool = True) -> PacketClient:
        self._pings = 0
        self._acknowledged, self._before_ping = set(), set()
        client = connect(self.name, self.version, EXPIRY)
        assert client.session_present is present, f"The session of {self.name} is lost."
        return client

    def _answer(self, client: PacketClient, share: float) -> bool:
        """Acknowledge a share of what arrives; return whether messages arrived."""
        came = False
        answers: list[Puback | Pingreq] = []
        for packet in client.take():
            if isinstance(packet, Publish):
                came = True
                self._take(packet.payload)
                if self._random.random() < share:
                    answers.append(Puback(packet.packet_id))
                    self._acknowledged.add(packet.payload)
            elif isinstance(packet, Pingresp):
                self._pings += 1
                answers.append(Pingreq())
                if self._pings % 2:
                    self._settled |= self._before_ping
                    self._before_ping = set()
        if came and not self._pings:
            self._pings = 1
            answers.append(Pingreq())
        if answers:
            client.send(*(each for each in answers if isinstance(each, Puback)))
            if self._pings % 2 and not self._before_ping:
                self._before_ping, self._acknowledged = self._acknowledged, set()
            client.send(*(each for each in answers if isinstance(each, Pingreq)))
        return came

    def _take(self, payload: bytes) -> None:
        assert payload not in self._settled, f"{payload!r} came again to {self.name}."
        self.seen[payload] += 1
        if self.seen[payload] == 1:
            self.first.append(payload)
        else:
            self.repeated += 1


def _is_missing(reader: Reader, wanted: Collection[bytes]) -> bool:
    return any(each not in reader.seen for each in wanted)


class Bookkeeper:
    """Changes a shadow and the registry, one call after the other, and records the answers.

    Attributes
    ----------
    version
        Version of the shadow; what it reports is the same number.
    things
        Names of the Things that are there.
    changes
        How many were answered.
    """

    def __init__(self, lab: Lab) -> None:
        once = Config(retries={"total_max_attempts": 1})
        self._iot = lab.session.client("iot", config=once)
        self._data = lab.session.client("iot-data", config=once)
        self.version = 0
        self.things: set[str] = set()
        self.changes = 0
        self._number = 0
        self._under_way = ""

    def run(self, _: Connector) -> None:
        """Make changes until the cloud is gone."""
        with contextlib.suppress(HTTPClientError, NoConnection):
            while True:
                self._update()
                self._number += 1
                self._change(f"made-{self._number}", self._iot.create_thing)
                if len(self.things) > MOST_THINGS:
                    self._change(min(self.things), self._iot.delete_thing)

    def _update(self) -> None:
        self._under_way = SHADOW
        payload = json.dumps({"state": {"reported": {"number": self.version + 1}}})
        answer = self._data.update_thing_shadow(thingName="kept", payload=payload)
        version = json.loads(answer["payload"].read())["version"]
        assert version == self.version + 1, f"After version {self.version} came {version}."
        self.version = version
        self._answered()

    def _change(self, name: str, call: Callable[..., object]) -> None:
        self._under_way = name
        call(thingName=name)
        self.things ^= {name}
        self._answered()

    def _answered(self) -> None:
        self._under_way = ""
        self.changes += 1

    def check(self) -> None:
        """Assert that every answered change is stored, and nothing else."""
        if self.version or self._under_way:
            version = self._found()
            most = self.version + (self._under_way == SHADOW)
            assert self.version <= version <= most, f"Of version {self.version} {version} is left."
            self.version = version
        pages = self._iot.get_paginator("list_things").paginate()
        names = [each["thingName"] for page in pages for each in page["things"]]
        made = [name for name in names if name.startswith("made-")]
        assert len(set(made)) == len(made)
        assert {*made} ^ self.things <= {self._under_way}, "The Things are not those there were."
        self.things, self._under_way = {*made}, ""

    def _found(self) -> int:
        try:
            answer = self._data.get_thing_shadow(thingName="kept")
        except self._data.exceptions.ResourceNotFoundException:
            return 0
        document = json.loads(answer["payload"].read())
        assert document["state"]["reported"]["number"] == document["version"]
        return int(document["version"])


class Load:
    """The publishers and readers of one home folder.

    Parameters
    ----------
    thing
        Whose certificate all of them use.
    """

    def __init__(self, lab: Lab, thing: NewThing, seed: int) -> None:
        self._lab = lab
        self._thing = thing
        self._random = random.Random(seed)
        self.publishers = [Publisher(name) for name in PUBLISHERS]
        only = f"load/{PUBLISHERS[0]}/+"
        self.all = Reader("all", 5, "load/#", self._random)
        self.half = Reader("half", 4, "load/#", self._random, share=0.5)
        self.away = Reader("away", 5, only, self._random)
        self.group = [Reader(f"member-{n}", 5, GROUP, self._random) for n in (1, 2)]
        self.books = Bookkeeper(lab)
        self.readers = [self.all, self.half, self.away, *self.group]
        for reader in self.readers:
            reader.subscribe(self._connect_client)

    def round(self, home: Path) -> None:
        """Load the cloud, kill it, restart it, and assert that everything is there."""
        running = supervisor.start_or_attach(home)
        moment = self._random.uniform(0.05, LONGEST)
        busy: list[Publisher | Reader | Bookkeeper] = [self.all, self.half, *self.group]
        busy += [*self.publishers, self.books]
        errors: list[BaseException] = []

        def work(one: Publisher | Reader | Bookkeeper) -> None:
            try:
                one.run(self._connect_client)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(one,)) for one in busy]
        for thread in threads:
            thread.start()
        time.sleep(moment)
        os.kill(running.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # it is another one's child, or nobody's
            os.waitpid(running.pid, 0)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        supervisor.start_or_attach(home)
        self._check()

    def _check(self) -> None:
        self.books.check()
        due = {each: None for publisher in self.publishers for each in publisher.acknowledged}
        first = dict.fromkeys(self.publishers[0].acknowledged)
        for reader, wanted in ((self.all, due), (self.half, due), (self.away, first)):
            missing = functools.partial(_is_missing, reader, wanted)
            reader.catch_up(self._connect_client, missing)
            for publisher in self.publishers:
                mine = [each for each in reader.first if each.startswith(publisher.name.encode())]
                assert mine == sorted(mine, key=_number), f"The order of {publisher.name} is lost."
        for member in self.group:
            member.catch_up(self._connect_client, lambda: False)
        seen = self.group[0].seen + self.group[1].seen
        lost = [each for each in due if each not in seen]
        assert not lost, f"The shared group has lost {len(lost)} messages, such as {lost[0]!r}."

    def _connect_client(self, client_id: str, version: int, expiry: int = 0) -> PacketClient:
        files = self._thing.files
        return PacketClient(
            (self._lab.endpoint, self._lab.mqtt_port),
            self._lab.ca_file,
            files.certificate,
            files.private_key,
            client_id,
            version,
            expiry,
        )

    def __str__(self) -> str:
        sent = sum(len(publisher.acknowledged) for publisher in self.publishers)
        came = sum(sum(reader.seen.values()) for reader in self.readers)
        repeated = sum(reader.repeated for reader in self.readers)
        return (
            f"{sent} messages acknowledged to their publishers, none lost; {came} came, {repeated} "
            "of them again, as they were not acknowledged, or not in time, at the kill; "
            f"{self.books.changes} changes of a shadow and of Things answered, none lost"
        )


def _number(payload: bytes) -> int:
    return int(payload.rpartition(b" ")[2])


def rounds(home: Path, count: int, seed: int) -> Iterator[Load]:
    """Run `count` rounds in a new home folder, and yield the load after each."""
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    load = Load(lab, make_thing(lab), seed)
    for _ in range(count):
        load.round(home)
        yield load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=100, help="kills (default: 100)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the moments")


def run(options: argparse.Namespace) -> int:
    from tests.cloud.test_kill import journey_through_kills

    print(f"{options.rounds} kills under load, seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "messages")
        try:
            for number, load in enumerate(rounds(home, options.rounds, options.seed), 1):
                if number % 10 == 0 or number == options.rounds:
                    print(f"messages, {number} kills: {load}", flush=True)
            for publisher in load.publishers:  # else there was no load
                assert len(publisher.acknowledged) > options.rounds
        finally:
            supervisor.stop(home)
        home = Path(folder, "account")
        try:
            steps = journey_through_kills(home, options.rounds, options.seed)
            print(f"account, {options.rounds} kills: {steps} changes acknowledged, none lost")
        finally:
            supervisor.stop(home)
    return 0
