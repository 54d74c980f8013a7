"""One client at the limit of what the cloud lets it do, and the PUBACKs of another.

A quiet client publishes at QoS 1, and its neighbor, in a process of its own, does one kind of work
as fast as it may. The peer of each row is the same cloud, in the same run, with an idle neighbor:
the ratio says what the neighbor costs the quiet client.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from creeklab import open_lab

from . import broker, traffic
from .table import Figures, Row

SECONDS = 3.0
RATE = 200  # messages a second of the quiet client
REFUSED = 1_000  # messages a second of the refused client, 50 in flight
RETAINED = 1_000
PEER = "idle neighbor"
GOAL = 2.0
Files = tuple[Path, Path, Path]  # certificate authority, certificate, private key


def _refused(address: tuple[str, int], files: Files, home: Path, ready: Event) -> None:
    """Publish where ten policies of 20 patterns each allow nothing."""
    with _line(address, files, "neighbor") as line:
        ready.set()
        number = 0
        began = time.perf_counter()
        while True:
            frames = []
            for _ in range(50):
                number += 1
                topic = f"cadeaadeaade/{number % 500:03}/secret"
                frames.append(traffic.Frames(topic, 1).make(number % 65535 + 1))
            line.socket.sendall(b"".join(frames))
            rest = 50 * len(b"\x40\x03\x00\x01\x87\x00")
            while rest > 0:
                rest -= len(line.read_some())
            time.sleep(max(0.0, began + number / REFUSED - time.perf_counter()))


def _shadows(address: tuple[str, int], files: Files, home: Path, ready: Event) -> None:
    """Update a shadow of nearly 8 KB, one update after the other."""
    with _line(address, files, "neighbor-shadow") as line:
        ready.set()
        number = 0
        topic = "$aws/things/neighbor/shadow/update"
        while True:
            number += 1
            state = {f"m{position}": number for position in range(300)}
            payload = json.dumps({"state": {"reported": state}}).encode()
            line.socket.sendall(traffic.Frames(topic, 1, payload).make(number % 65535 + 1))
            line.read_some()


def _retained(address: tuple[str, int], files: Files, home: Path, ready: Event) -> None:
    """List retained messages, the largest page after the other."""
    data = open_lab(home=home).client("iot-data")
    ready.set()
    while True:
        for _ in data.get_paginator("list_retained_messages").paginate(
            PaginationConfig={"PageSize": 200}
        ):
            pass


def _events(address: tuple[str, int], files: Files, home: Path, ready: Event) -> None:
    """Read the event log from its beginning."""
    lab = open_lab(home=home)
    ready.set()
    while True:
        lab.events()


WORK: dict[str, Callable[[tuple[str, int], Files, Path, Event], None]] = {
    "refused 1,000 times a second": _refused,
    "updating a shadow of 8 KB": _shadows,
    "listing retained messages": _retained,
    "reading the event log": _events,
}


def _row(quantile: str, work: str) -> Row:
    goal = GOAL if quantile == "p99" else None
    return Row(f"PUBACK {quantile}, neighbor {work}", "ms", min, PEER, goal)


ROWS = tuple(_row(quantile, work) for work in WORK for quantile in ("p50", "p99"))


@contextlib.contextmanager
def _line(address: tuple[str, int], files: Files, client_id: str) -> Iterator[traffic.Line]:
    context: ssl.SSLContext = traffic.trust(*files)
    with contextlib.closing(traffic.Line(address, context, client_id)) as line:
        line.socket.setblocking(True)
        yield line


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once, the idle neighbor first."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        with broker.started_cloud(home, settings) as (_, lab, iot):
            address = (lab.endpoint, lab.mqtt_port)
            quiet = _register(lab, iot, "quiet", ['"ARN:*"'])
            # AWS's quota: ten policies for a certificate, of 2,048 characters each.
            patterns = [f'"ARN:topic/*c*a*d*e/{each:02}/${{iot:ClientId}}"' for each in range(20)]
            neighbor = _register(lab, iot, "neighbor", patterns, 9)
            data = lab.client("iot-data")
            for number in range(RETAINED):
                data.publish(topic=f"retained/{number}", qos=1, retain=True, payload=b"1")
            for work, run in WORK.items():
                if wanted not in work:
                    continue
                idle = _pubacks(address, quiet)
                files = neighbor if run is _refused else quiet
                with _running(run, address, files, home):
                    busy = _pubacks(address, quiet)
                for name, quantile in (("p50", 50), ("p99", 99)):
                    [row] = [
                        each for each in ROWS if each.name == f"PUBACK {name}, neighbor {work}"
                    ]
                    for figures, latencies in ((cloud, busy), (peer, idle)):
                        cut = statistics.quantiles(latencies, n=100)[quantile - 1]
                        figures[row].append(cut * 1000)


@contextlib.contextmanager
def _running(run: Any, address: tuple[str, int], files: Files, home: Path) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=run, args=(address, files, home, ready), daemon=True)
    process.start()
    try:
        if not ready.wait(30):
            raise AssertionError("The neighbor did not start.")
        yield
        if not process.is_alive():
            raise AssertionError("The neighbor has ended.")
    finally:
        process.terminate()
        process.join()


def _pubacks(address: tuple[str, int], files: Files) -> list[float]:
    """Publish at a fixed rate; return the seconds from each due time to its PUBACK."""
    latencies = []
    with _line(address, files, "quiet") as line:
        began = time.perf_counter()
        for number in range(round(RATE * SECONDS)):
            due = began + number / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            line.socket.sendall(traffic.Frames("quiet", 1).make(number % 65535 + 1))
            line.read_some()
            latencies.append(time.perf_counter() - due)
    return latencies


def _register(lab: Any, iot: Any, name: str, resources: list[str], further: int = 0) -> Files:
    """Create a certificate whose policies allow everything on `resources`, and CONNECT."""
    answer = iot.create_keys_and_certificate(setAsActive=True)
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    statement = f'{{"Effect": "Allow", "Action": "iot:*", "Resource": [{", ".join(resources)}]}}'
    document = f'{{"Version": "2012-10-17", "Statement": [{statement}]}}'
    connect = document.replace('"ARN:topic', '"ARN:client/*", "ARN:topic', 1)
    for number in range(further + 1):
        policy = f"{name}-{number}"
        text = (document if number else connect).replace("ARN", arn)
        iot.create_policy(policyName=policy, policyDocument=text)
        iot.attach_policy(policyName=policy, target=answer["certificateArn"])
    files = lab.keys.save(name, answer)
    return Path(lab.ca_file), files.certificate, files.private_key
