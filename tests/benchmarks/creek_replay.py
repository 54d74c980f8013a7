"""Three years of a creek through mutual TLS at QoS 1, as fast as it goes.

The cloud gets them from a `Replay` that sends through a `Device`: every reading made into a
message, a hundred under way, each counted when it is acknowledged. Its peer gets the same bytes
from one client of awsiotsdk and nothing more: encoded beforehand, a hundred under way.

``python -m tests.benchmarks creek-replay --repeat 1``; with ``--only fraction`` a part of them.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pandas as pd
from awscrt import mqtt5
from awsiot import mqtt5_client_builder

from creeklab import open_lab
from creeklab.cloud import supervisor
from creeklab.creek.readings import samples
from creeklab.creek.sensor.replay import Reading, Replay

from . import mosquitto
from .table import Figures, Row

PEER = "mosquitto, one awsiotsdk client"
ALL = Row("replay: three years, 305,958 readings", "/s", max, PEER, 0.7)
FRACTION = Row("replay: a fraction, 10,000 readings", "/s", max, PEER, 0.7)
ROWS = (FRACTION, ALL)

SLICE = 10_000  # readings to the one, then to the other: other work falls on both

Way = Callable[[pd.DataFrame], float]

THING, TOPIC = "bench-replay", "creek/depth"
WINDOW = 100


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row whose name contains `wanted` once, cloud and mosquitto slice by slice."""
    years = samples.load("plumtree-run-2016-2018")[["stage_ft"]].dropna()
    for row in ROWS:
        if wanted not in row.name:
            continue
        readings = years[:10_000] if row is FRACTION else years
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as both:
            ways = [(both.enter_context(_cloud(Path(folder, "home"), settings)), cloud)]
            if mosquitto.program():
                ways.append((both.enter_context(_mosquitto(Path(folder))), peer))
            took = [0.0] * len(ways)
            for start in range(0, len(readings), SLICE):
                for number, (way, _) in enumerate(ways):
                    took[number] += way(readings[start : start + SLICE])
            for seconds, (_, figures) in zip(took, ways, strict=True):
                figures[row].append(len(readings) / seconds)


@contextlib.contextmanager
def _cloud(home: Path, settings: list[str]) -> Iterator[Way]:
    """Run a cloud; yield a function that replays readings to it and returns the seconds."""
    supervisor.start_or_attach(home, settings=settings)
    try:
        lab = open_lab(home=home)
        iot = lab.client("iot")
        iot.create_thing(thingName=THING)
        answer = iot.create_keys_and_certificate(setAsActive=True)
        lab.keys.save(THING, answer)
        iot.attach_thing_principal(thingName=THING, principal=answer["certificateArn"])
        statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iot.create_policy(policyName=THING, policyDocument=document)
        iot.attach_policy(policyName=THING, target=answer["certificateArn"])
        with lab.connect(THING) as device:

            def send(reading: Reading) -> object:
                return device.publish_soon(TOPIC, reading.message())

            def play(readings: pd.DataFrame) -> float:
                began = time.perf_counter()
                replay = Replay(readings, send, window=WINDOW, progress=False).run()
                took = time.perf_counter() - began
                assert replay.sent == len(readings)
                return took

            yield play
    finally:
        supervisor.stop(home)


@contextlib.contextmanager
def _mosquitto(folder: Path) -> Iterator[Way]:
    """Run mosquitto; yield a function that publishes the same with one client of awsiotsdk."""
    with mosquitto.running(folder) as peer:
        connected, stopped = threading.Event(), threading.Event()
        client = mqtt5_client_builder.mtls_from_path(
            str(peer.files.certificate),
            str(peer.files.private_key),
            endpoint="localhost",
            port=peer.port,
            ca_filepath=str(peer.files.ca),
            client_id="peer",
            extended_validation_and_flow_control_options=(
                mqtt5.ExtendedValidationAndFlowControlOptions.NONE
            ),
            on_lifecycle_connection_success=lambda _: connected.set(),
            on_lifecycle_stopped=lambda _: stopped.set(),
        )
        client.start()
        assert connected.wait(20)
        yield lambda readings: _published(client, readings)
        client.stop()
        assert stopped.wait(20)


def _published(client: mqtt5.Client, readings: pd.DataFrame) -> float:
    payloads: list[bytes] = []

    def encode(reading: Reading) -> None:
        payloads.append(json.dumps(reading.message()).encode())

    Replay(readings, encode, progress=False).run()
    under_way: deque[Future[object]] = deque()
    began = time.perf_counter()
    for payload in payloads:
        packet = mqtt5.PublishPacket(topic=TOPIC, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        under_way.append(client.publish(packet))
        if len(under_way) == WINDOW:
            # Half of them at once, because waking up for each would cost more.
            for _ in range(WINDOW // 2):
                under_way.popleft().result(20)
    for answer in under_way:
        answer.result(20)
    return time.perf_counter() - began
