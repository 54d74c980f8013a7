"""The control plane and the shadows of an account with ten thousand Things."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from creeklab import Lab, open_lab
from creeklab.cloud import supervisor
from creeklab.cloud.mqtt.codec.packets import Publish, encode
from creeklab.targets.local import open_local

from . import traffic
from .table import Figures, Row, resident_megabytes

THINGS = 10_000
UPDATES = 6_000

CREATE = Row("CreateThing, boto3, 4 clients at once", "/s", max, None, 500)
PAGE = Row("ListThings, a page of 250 of 10,000", "ms", min, None, 10)
MEMORY = Row("memory of the idle cloud, 10,000 Things", "MB", min, None, 80)
UPDATE = Row("durable shadow updates, 100 in flight", "/s", max, None, 2_000)
ROWS = (CREATE, PAGE, MEMORY, UPDATE)


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        running = supervisor.start_or_attach(home, settings=settings)
        try:
            lab = open_lab(home=home)
            cloud[CREATE].append(_things_a_second(home))
            cloud[PAGE].append(_milliseconds_a_page(lab))
            supervisor.stop(home)
            running = supervisor.start_or_attach(home, settings=settings)
            cloud[MEMORY].append(resident_megabytes(running.pid))
            cloud[UPDATE].append(_updates_a_second(open_lab(home=home)))
        finally:
            supervisor.stop(home)


def _things_a_second(home: Path) -> float:
    # Measures the cloud alone: the lab's ledger would add calls.
    session = open_local(home, supervisor.start_or_attach(home)).session
    clients = [session.client("iot") for _ in range(4)]

    def create(number: int) -> None:
        clients[number % 4].create_thing(
            thingName=f"thing-{number:05}", attributePayload={"attributes": {"creek": "Elkhorn"}}
        )

    began = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(THINGS)))
    return THINGS / (time.perf_counter() - began)


def _milliseconds_a_page(lab: Lab) -> float:
    iot = lab.client("iot")
    page = iot.list_things(maxResults=250)
    return (
        min(
            _seconds(lambda: iot.list_things(maxResults=250, nextToken=page["nextToken"]))
            for _ in range(20)
        )
        * 1000
    )


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    assert len(call()["things"]) == 250
    return time.perf_counter() - began


def _updates_a_second(lab: Lab) -> float:
    """Update one shadow over MQTT, and count the PUBACKs, which mean that it is on disk."""
    iot = lab.client("iot")
    answer = iot.create_keys_and_certificate(setAsActive=True)
    files = lab.keys.save("thing-00000", answer)
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iot.create_policy(policyName="all", policyDocument=document)
    iot.attach_policy(policyName="all", target=answer["certificateArn"])
    context = traffic.trust(lab.ca_file, files.certificate, files.private_key)
    topic = "$aws/things/thing-00000/shadow/update"
    with traffic.lines((lab.endpoint, lab.mqtt_port), context, ["thing-00000"]) as (line,):
        began = time.perf_counter()
        sent = acknowledged = 0
        while acknowledged < UPDATES:
            frames = []
            while sent < min(UPDATES, acknowledged + traffic.IN_FLIGHT):
                sent += 1
                state = {"state": {"reported": {"depth": sent / 100, "temperature": 71.96}}}
                publish = Publish(
                    topic, json.dumps(state).encode(), 1, False, packet_id=sent % 65535 + 1
                )
                frames.append(encode(publish, traffic.VERSION))
            if frames:
                line.socket.sendall(b"".join(frames))
            acknowledged += len(line.read_some()) // 4
        took = time.perf_counter() - began
    shadow = lab.client("iot-data").get_thing_shadow(thingName="thing-00000")
    assert json.loads(shadow["payload"].read())["version"] == UPDATES
    return UPDATES / took
