"""A class of fifty devices, each with its own policy: the local cloud against mosquitto.

Each device publishes creek readings to its own topic at QoS 1. Its own subscriber and two watchers
of the whole class receive them, also at QoS 1, so one message means three deliveries. Everything is
MQTT 5 over mutual TLS. In the cloud, each device has a Thing, a certificate and a policy document
that allows its topics only, and its subscriber uses the same certificate. Mosquitto has one
certificate for all, and an ACL file that allows the same topics by username.

The load rises in steps, with the cloud and mosquitto taking turns at each. A step is sustained if
nothing is lost and the 99th percentile of the latency stays below `LIMIT` at the subscribers and at
the watchers. A broker that fails a step gets one more try, because other work on the machine can
cause a stall; if it fails again, it climbs no further.

Two processors set limits. The generator needs one of them and the broker the other, so anything
else that runs takes time from both: compare rows of the same run only, and read the load average.
Latency includes the generator's own writing and reading, for the broker and its peer alike. Above
about 6,000 messages a second, the generator's share is near 100 %: the broker could have carried
more, and the highest load is a lower bound. If both the share and the highest load are low, suspect
other work on the machine.

Both brokers have at most 100 messages in flight to a client, so a watcher that takes 12 ms to
acknowledge receives no more than 8,000 a second. What exceeds that waits. The cloud keeps up to
10,000 waiting messages for a client and drops the rest; mosquitto is configured to drop none.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import random
import ssl
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import broker, mosquitto, open_loop, traffic
from .table import Figures, Row, processor_seconds

DEVICES = 50
WATCHERS = ("watcher-1", "watcher-2")
NORMAL, FAST = 1_000, 4_000  # messages a second of the whole class
RATES = (NORMAL, 2_000, FAST, *range(6_000, 30_001, 2_000))
SECONDS = 4.0
WARM_UP_SECONDS = 1.0
LIMIT = 0.050  # seconds
FIRST_READING_MS = 1_535_673_600_000

PEER = "mosquitto"
P50 = Row("1,000/s: latency to the subscriber, p50", "ms", min, PEER)
P99 = Row("1,000/s: latency to the subscriber, p99", "ms", min, PEER)
WATCHER_P50 = Row("1,000/s: latency to a watcher, p50", "ms", min, PEER)
WATCHER_P99 = Row("1,000/s: latency to a watcher, p99", "ms", min, PEER)
PROCESSOR = Row("1,000/s: processor time for 1,000 messages", "ms", min, PEER)
OWN = Row("1,000/s: generator's share of a processor", "%", min, PEER)
FAST_P99 = Row("4,000/s: latency to the subscriber, p99", "ms", min, PEER)
FAST_WATCHER_P99 = Row("4,000/s: latency to a watcher, p99", "ms", min, PEER)
HIGHEST = Row("highest load with p99 below 50 ms", "/s", max, PEER)
HIGHEST_OWN = Row("... generator's share of a processor", "%", min, PEER)
LOST = Row("deliveries lost, overloaded steps included", "", min, PEER)
ROWS = (
    *(P50, P99, WATCHER_P50, WATCHER_P99, PROCESSOR, OWN),
    *(FAST_P99, FAST_WATCHER_P99, HIGHEST, HIGHEST_OWN, LOST),
)


@dataclass(frozen=True)
class Lesson:
    """The measurements of the class at one load; times in seconds.

    Attributes
    ----------
    processor
        Processor time that the broker used for one message.
    own_share
        Share of one processor that the generator used, 0 to 1.
    """

    to_subscribers: list[float]
    to_watchers: list[float]
    lost: int
    processor: float
    own_share: float

    @property
    def sustained(self) -> bool:
        return not self.lost and max(map(p99, (self.to_subscribers, self.to_watchers))) < LIMIT


class Classroom:
    """A broker with the whole class connected and subscribed."""

    def __init__(
        self,
        pid: int,
        devices: dict[str, traffic.Line],
        subscribers: list[traffic.Line],
        watchers: list[traffic.Line],
    ) -> None:
        self._pid = pid
        self.devices = devices
        self.subscribers = subscribers
        self._watchers = watchers
        self._numbers = itertools.count()
        for name, line in zip(devices, subscribers, strict=True):
            line.subscribe(f"creek/{name}/#", 1)
        for line in watchers:
            line.subscribe("creek/#", 1)

    def lesson(self, rate: float, seconds: float) -> Lesson:
        """Let the class send `rate` messages a second altogether, each device its share."""
        each = round(rate * seconds / len(self.devices))
        messages = self._readings(each, len(self.devices) / rate)
        receivers = [(line, each) for line in self.subscribers]
        receivers += [(line, len(messages)) for line in self._watchers]
        before = processor_seconds(self._pid)
        outcome = open_loop.offer(list(self.devices.values()), receivers, messages)
        used = processor_seconds(self._pid) - before
        *own, one, other = outcome.latencies
        return Lesson(
            [latency for latencies in own for latency in latencies],
            one + other,
            outcome.lost,
            used / len(messages),
            outcome.own_share,
        )

    def _readings(self, each: int, interval: float) -> list[open_loop.Message]:
        """Return `each` readings of every device, which begins at a moment of its own."""
        moments = random.Random(each)
        due = sorted(
            (phase + number * interval, sender, name)
            for sender, name in enumerate(self.devices)
            for phase in [moments.uniform(0, interval)]
            for number in range(each)
        )
        return [
            open_loop.Message(sender, when, f"creek/{name}/reading", _reading(next(self._numbers)))
            for when, sender, name in due
        ]


def _reading(number: int) -> bytes:
    """Return a reading as a device sends it; all have the same length and a different time."""
    wave = math.sin(number / 5_000)
    depth, temperature = 2 + wave, 70 + 5 * wave
    time = FIRST_READING_MS + number
    return f'{{"time": {time}, "depth": {depth:.2f}, "temperature": {temperature:.2f}}}'.encode()


@contextlib.contextmanager
def cloud_class(home: Path, settings: list[str], devices: int = DEVICES) -> Iterator[Classroom]:
    """Run a cloud with a Thing, a certificate and a policy for each device."""
    with broker.started_cloud(home, settings) as (pid, lab, iot):
        arn = f"arn:aws:iot:{lab.region}:{lab.account}"

        def register(thing: str, clients: list[str], topics: str) -> ssl.SSLContext:
            iot.create_thing(thingName=thing)
            answer = iot.create_keys_and_certificate(setAsActive=True)
            allowed = {
                "iot:Connect": [f"{arn}:client/{client}" for client in clients],
                "iot:Publish": f"{arn}:topic/{topics}",
                "iot:Receive": f"{arn}:topic/{topics}",
                "iot:Subscribe": f"{arn}:topicfilter/{topics}",
            }
            if thing == "watcher":
                del allowed["iot:Publish"]
            statements = [
                {"Effect": "Allow", "Action": action, "Resource": resource}
                for action, resource in allowed.items()
            ]
            document = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iot.create_policy(policyName=thing, policyDocument=document)
            iot.attach_policy(policyName=thing, target=answer["certificateArn"])
            iot.attach_thing_principal(thingName=thing, principal=answer["certificateArn"])
            files = lab.keys.save(thing, answer)
            return traffic.trust(lab.ca_file, files.certificate, files.private_key)

        contexts = {
            name: register(name, [name, f"{name}-reader"], f"creek/{name}/*")
            for name in _names(devices)
        }
        watching = register("watcher", [*WATCHERS], "creek/*")
        with _seated(pid, (lab.endpoint, lab.mqtt_port), contexts, watching) as classroom:
            yield classroom


@contextlib.contextmanager
def mosquitto_class(folder: Path, devices: int = DEVICES) -> Iterator[Classroom]:
    """Run mosquitto with access rules that allow the same as the cloud's policies."""
    # A pattern applies to every user, %u is the username.
    rules = "pattern readwrite creek/%u/#\nuser watcher\ntopic read creek/#\n"
    with mosquitto.running(folder, rules) as peer:
        context = traffic.trust(peer.files.ca, peer.files.certificate, peer.files.private_key)
        contexts = dict.fromkeys(_names(devices), context)
        with _seated(peer.pid, ("localhost", peer.port), contexts, context) as classroom:
            yield classroom


def _names(devices: int) -> list[str]:
    return [f"creek-{number:02}" for number in range(1, devices + 1)]


@contextlib.contextmanager
def _seated(
    pid: int,
    address: tuple[str, int],
    contexts: dict[str, ssl.SSLContext],
    watching: ssl.SSLContext,
) -> Iterator[Classroom]:
    """Connect each device, its subscriber, and the watchers."""
    with contextlib.ExitStack() as connected:

        def connect(context: ssl.SSLContext, client_id: str, username: str) -> traffic.Line:
            line = traffic.Line(address, context, client_id, username)
            return connected.enter_context(contextlib.closing(line))

        yield Classroom(
            pid,
            {name: connect(context, name, name) for name, context in contexts.items()},
            [connect(context, f"{name}-reader", name) for name, context in contexts.items()],
            [connect(watching, name, "watcher") for name in WATCHERS],
        )


def p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98] if len(latencies) > 1 else math.inf


class Climb:
    """One broker on its way to its highest load."""

    def __init__(self, name: str, lesson: Callable[[int, float], Lesson], figures: Figures) -> None:
        self._name = name
        self._lesson = lesson
        self._figures = figures
        self._highest = self._own_share = 0.0
        self._lost = 0
        self.ended = False
        lesson(NORMAL, WARM_UP_SECONDS)

    def step(self, rate: int) -> None:
        """Measure this load, twice if the first try fails, and record the rows it has."""
        lesson = self._measured(rate)
        self._record(rate, lesson)
        if self.ended:
            return
        if not lesson.sustained and not lesson.lost:
            lesson = self._measured(rate)
        if lesson.sustained:
            self._highest, self._own_share = rate, lesson.own_share
        else:
            self.ended = True

    def _measured(self, rate: int) -> Lesson:
        lesson = self._lesson(rate, SECONDS)
        self._lost += lesson.lost
        print(
            f"{self._name}, {rate:,}/s: p99 {p99(lesson.to_subscribers) * 1000:.1f} ms, watchers "
            f"{p99(lesson.to_watchers) * 1000:.1f} ms, lost {lesson.lost}, generator "
            f"{lesson.own_share:.0%}",
            file=sys.stderr,
        )
        return lesson

    def _record(self, rate: int, lesson: Lesson) -> None:
        if lesson.lost:
            return  # no broker gets faster by losing messages
        record: dict[Row, float] = {}
        if rate == NORMAL:
            record = {
                P50: statistics.median(lesson.to_subscribers) * 1000,
                P99: p99(lesson.to_subscribers) * 1000,
                WATCHER_P50: statistics.median(lesson.to_watchers) * 1000,
                WATCHER_P99: p99(lesson.to_watchers) * 1000,
                PROCESSOR: lesson.processor * 1e6,
                OWN: lesson.own_share * 100,
            }
        elif rate == FAST:
            record = {
                FAST_P99: p99(lesson.to_subscribers) * 1000,
                FAST_WATCHER_P99: p99(lesson.to_watchers) * 1000,
            }
        for row, value in record.items():
            self._figures[row].append(value)

    def finish(self) -> None:
        self._figures[HIGHEST].append(self._highest)
        self._figures[HIGHEST_OWN].append(self._own_share * 100)
        self._figures[LOST].append(self._lost)


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once, the cloud and mosquitto taking turns at each load."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        start = running.enter_context
        ours = start(cloud_class(Path(folder, "home"), settings))
        climbs = [Climb("cloud", ours.lesson, cloud)]
        if mosquitto.program():
            theirs = start(mosquitto_class(Path(folder)))
            climbs.append(Climb("mosquitto", theirs.lesson, peer))
        for rate in RATES:
            for climb in climbs:
                if not climb.ended or rate <= FAST:
                    climb.step(rate)
        for climb in climbs:
            climb.finish()
