"""One client is denied a thousand times a second: how long do the acknowledgments of another take?

The denied client has ten policies of AWS's largest size. It publishes at QoS 1, to another topic
each time, and keeps its connection, because the PUBACK of MQTT 5 can carry a denial. It runs in a
process of its own. The other client sends one message after the other and measures each PUBACK,
with the denials and, as the peer, without them. The last rows are what `lab.why` takes afterwards.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from creeklab import Lab
from creeklab.client.key_files import ThingFiles
from creeklab.cloud.policy import MAX_SIZE

from . import broker, traffic
from .classroom import p99
from .table import Figures, Row

DENIALS = 1_000  # a second
PER_WRITE = 4
SECONDS = 4.0
PAUSE = 0.002
TOPICS = 100_000
POLICIES = 10

PEER = "no denials"
PATTERNS = {
    "topics": "arn:aws:iot:{region}:{account}:topic/creek/{number}/depth/*",
    "wildcards": "arn:aws:*:*:*:*/c*d*e{number}/${{iot:ClientId}}",
}
P50 = {kind: Row(f"{kind}: PUBACK of the other client, p50", "ms", min, PEER) for kind in PATTERNS}
P99 = {
    kind: Row(f"{kind}: PUBACK of the other client, p99", "ms", min, PEER, 2) for kind in PATTERNS
}
RATE = {kind: Row(f"{kind}: denials", "/s", max) for kind in PATTERNS}
WHY = {kind: Row(f"{kind}: lab.why() afterwards", "ms", min) for kind in PATTERNS}
ROWS = tuple(rows[kind] for kind in PATTERNS for rows in (P50, P99, RATE, WHY))


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once."""
    for kind, pattern in PATTERNS.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            broker.started_cloud(Path(folder, "home"), settings) as (_, lab, iot),
        ):
            address = (lab.endpoint, lab.mqtt_port)
            files = _register(lab, iot, "other", [_policy("iot:*", ["*"])])
            denied = _register(lab, iot, "denied", _largest_policies(lab, pattern))
            trusted = traffic.trust(lab.ca_file, files.certificate, files.private_key)
            with contextlib.closing(traffic.Line(address, trusted, "other")) as line:
                _latencies(line, 1.0)  # warm up
                without = _latencies(line, SECONDS)
                with _denials(address, lab.ca_file, denied) as stop:
                    under = _latencies(line, SECONDS)
                    cloud[RATE[kind]].append(stop())
            for figures, latencies in ((cloud, under), (peer, without)):
                figures[P50[kind]].append(1e3 * statistics.median(latencies))
                figures[P99[kind]].append(1e3 * p99(latencies))
            began = time.perf_counter()
            lab.why("denied")
            cloud[WHY[kind]].append(1e3 * (time.perf_counter() - began))


def _policy(action: str, resources: list[str]) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resources}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


def _largest_policies(lab: Lab, pattern: str) -> list[str]:
    """Return policies that allow the connection, and nothing that the client publishes."""
    resources: list[str] = []
    while True:
        name = pattern.format(region=lab.region, account=lab.account, number=len(resources))
        if len("".join(_policy("iot:Publish", [*resources, name]).split())) > MAX_SIZE:
            break
        resources.append(name)
    connect = _policy("iot:Connect", [f"arn:aws:iot:{lab.region}:{lab.account}:client/denied"])
    return [connect, *[_policy("iot:Publish", resources)] * (POLICIES - 1)]


def _register(lab: Lab, iot: Any, name: str, documents: list[str]) -> ThingFiles:
    answer = iot.create_keys_and_certificate(setAsActive=True)
    for number, document in enumerate(documents):
        policy = f"{name}-{number}"
        iot.create_policy(policyName=policy, policyDocument=document)
        iot.attach_policy(policyName=policy, target=answer["certificateArn"])
    return lab.keys.save(name, answer)


def _latencies(line: traffic.Line, seconds: float) -> list[float]:
    """Send one message after the other; return the seconds until each PUBACK."""
    frames, found = traffic.Frames("creek/depth", 1), []
    line.socket.setblocking(True)
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        line.send_all(frames.make(1))
        _read(line, len(traffic.PUBACK) + 2)
        found.append(time.perf_counter() - began)
        time.sleep(PAUSE)  # to a client that sends a few hundred a second
    return found


def _read(line: traffic.Line, size: int) -> None:
    line.socket.setblocking(True)
    while size > 0:
        size -= len(line.read_some())


@contextlib.contextmanager
def _denials(address: tuple[str, int], ca: Path, files: ThingFiles) -> Iterator[Any]:
    """Run a client that is denied; give a function that ends it and returns its rate."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    arguments = (address, ca, files.certificate, files.private_key, theirs)
    process = spawn.Process(target=_deny, args=arguments)
    process.start()
    try:
        ours.recv()  # the first denials are over

        def stop() -> float:
            ours.send(None)
            rate: float = ours.recv()
            return rate

        yield stop
    finally:
        process.join(traffic.SILENCE_SECONDS)
        process.kill()


def _deny(
    address: tuple[str, int], ca: Path, certificate: Path, key: Path, channel: Connection
) -> None:
    context: ssl.SSLContext = traffic.trust(ca, certificate, key)
    line = traffic.Line(address, context, "denied")
    began, count = time.perf_counter(), 0
    while not channel.poll():
        for _ in range(PER_WRITE):
            topic = f"house/{count % TOPICS:06}/cellar"
            line.send_all(traffic.Frames(topic, 1).make(count % 60_000 + 1))
            count += 1
        line.socket.setblocking(True)
        received = 0
        while received < PER_WRITE * 5:  # with the reason, each PUBACK has at least five bytes
            received += len(line.read_some())
        if count == PER_WRITE:
            channel.send(None)
        time.sleep(max(0.0, began + count / DENIALS - time.perf_counter()))
    channel.recv()
    channel.send(count / (time.perf_counter() - began))
    line.close()
