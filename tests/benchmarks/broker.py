"""Messages and connections: the local cloud's broker against mosquitto, ``... benchmarks broker``.

Both take MQTT 5 over mutual TLS from the same generator (`traffic.py`), one after the other in each
repetition. The cloud has its policies on: one of three statements, with variables, for a Thing
whose certificate all clients use. Mosquitto asks for a certificate and checks nothing more.

What stands in the way where a goal is not reached, by perf, with a Python 3.11 built without
profile-guided optimization. Of the lockstep, 54 % of the cloud's time is the interpreter, 22 % the
kernel, 12 % OpenSSL, 5 % uvloop. A message takes about twice mosquitto's processor time, in a third
of its system calls, and nothing else runs meanwhile that could hide it. Spinning saves the waking
up and not the interpreter, whose share alone is about as long as all that mosquitto does. QoS 1 to
fifty is the interpreter, too: 6 to 8 us for a delivery and its acknowledgment, mosquitto's 7. The
ratios differ by a third from hour to hour: what slows the machine down slows Python down more.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.targets.local import open_local

from . import mosquitto, traffic
from .table import Figures, Row, resident_megabytes

SUBSCRIBERS = 50
IDLE_CONNECTIONS = 1_000
NAMES = [f"bench-{number}" for number in range(SUBSCRIBERS + 1)]
TOPIC = f"bench/{NAMES[0]}/depth"


@dataclass(frozen=True)
class Broker:
    """A running broker, and everything that a client needs to connect."""

    pid: int
    address: tuple[str, int]
    context: ssl.SSLContext


def _one_to(receivers: int, *, qos: int, count: int, per_write: int) -> Callable[[Broker], float]:
    def measure(broker: Broker) -> float:
        with traffic.lines(broker.address, broker.context, NAMES[: receivers + 1]) as made:
            return traffic.deliveries(
                made[0], made[1:], TOPIC, qos=qos, count=count, per_write=per_write
            )

    return measure


def _lockstep(broker: Broker) -> float:
    with traffic.lines(broker.address, broker.context, NAMES[:2]) as (publisher, receiver):
        return traffic.lockstep(publisher, receiver, TOPIC, count=3_000)


def _connects(broker: Broker) -> float:
    names = NAMES * 8
    return traffic.connects(broker.address, broker.context, names[:400], at_once=8)


def _kilobytes_a_connection(broker: Broker) -> float:
    before = resident_megabytes(broker.pid)
    # Many client IDs: the cloud's policy lets a Thing connect under its own name only, so the
    # certificate has a Thing for each.
    names = [f"idle-{number}" for number in range(IDLE_CONNECTIONS)]
    with traffic.lines(broker.address, broker.context, names):
        return (resident_megabytes(broker.pid) - before) * 1000 / IDLE_CONNECTIONS


WORK: dict[Row, Callable[[Broker], float]] = {
    # First, before other work leaves memory allocated.
    Row("1,000 idle connections, each", "KB", min, "mosquitto", None): _kilobytes_a_connection,
    Row("QoS 0 one-to-one, 50 publishes a write", "/s", max, "mosquitto", 1.5): _one_to(
        1, qos=0, count=100_000, per_write=50
    ),
    Row("QoS 0 one-to-one, one publish a write", "/s", max, "mosquitto", 1.5): _one_to(
        1, qos=0, count=60_000, per_write=1
    ),
    Row("QoS 1 one-to-one, 100 in flight", "/s", max, "mosquitto", 1.8): _one_to(
        1, qos=1, count=40_000, per_write=50
    ),
    Row("QoS 0 one-to-50", "/s", max, "mosquitto", 6.0): _one_to(
        SUBSCRIBERS, qos=0, count=4_000, per_write=50
    ),
    Row("QoS 1 one-to-50", "/s", max, "mosquitto", 1.5): _one_to(
        SUBSCRIBERS, qos=1, count=2_000, per_write=50
    ),
    Row("lockstep: one QoS 1 message under way", "/s", max, "mosquitto", 0.85): _lockstep,
    Row("connections, 8 clients at once", "/s", max, "mosquitto", 1.2): _connects,
}


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row whose name contains `wanted` once, first the cloud, then mosquitto."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        start = running.enter_context
        ours = start(running_cloud(Path(folder, "home"), settings))
        other = start(running_mosquitto(Path(folder))) if mosquitto.program() else None
        for row, work in WORK.items():
            if wanted in row.name:
                cloud[row].append(work(ours))
                if other is not None:
                    peer[row].append(work(other))


@contextlib.contextmanager
def started_cloud(home: Path, settings: list[str]) -> Iterator[tuple[int, Lab, Any]]:
    """Run a cloud; yield its process id, a lab, and an ``iot`` client that skips the ledger."""
    running = supervisor.start_or_attach(home, settings=settings)
    try:
        lab = open_lab(home=home)
        yield running.pid, lab, open_local(home, running).session.client("iot")
    finally:
        supervisor.stop(home)


@contextlib.contextmanager
def running_cloud(home: Path, settings: list[str]) -> Iterator[Broker]:
    """Run a cloud with a Thing for each client ID, and one certificate for all of them."""
    with started_cloud(home, settings) as (pid, lab, iot):
        answer = iot.create_keys_and_certificate(setAsActive=True)
        certificate = answer["certificateArn"]
        for name in [*NAMES, *(f"idle-{number}" for number in range(IDLE_CONNECTIONS))]:
            iot.create_thing(thingName=name)
            iot.attach_thing_principal(thingName=name, principal=certificate)
        arn = f"arn:aws:iot:{lab.region}:{lab.account}"
        thing = "${iot:Connection.Thing.ThingName}"
        statements = [
            ("iot:Connect", [f"{arn}:client/{thing}"]),
            ("iot:Publish", [f"{arn}:topic/bench/{thing}/*"]),
            (
                ["iot:Subscribe", "iot:Receive"],
                [f"{arn}:topicfilter/bench/*", f"{arn}:topic/bench/*"],
            ),
        ]
        document = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": action, "Resource": resource}
                for action, resource in statements
            ],
        }
        iot.create_policy(policyName="bench", policyDocument=json.dumps(document))
        iot.attach_policy(policyName="bench", target=certificate)
        files = lab.keys.save("bench", answer)
        context = traffic.trust(lab.ca_file, files.certificate, files.private_key)
        yield Broker(pid, (lab.endpoint, lab.mqtt_port), context)


@contextlib.contextmanager
def running_mosquitto(folder: Path) -> Iterator[Broker]:
    """Run mosquitto, as `mosquitto.running` does."""
    with mosquitto.running(folder) as peer:
        context = traffic.trust(peer.files.ca, peer.files.certificate, peer.files.private_key)
        yield Broker(peer.pid, ("localhost", peer.port), context)
