"""From nothing to a connected Thing, and the course's own work, as the SDK does it.

Where the way to a first CONNACK goes, in processor time of a busy machine with two cores, Python's
own start counted in: 90 ms until the cloud is started, then side by side 250 ms for the imports of
boto3 and awsiotsdk here, and there 240 ms for the cloud's imports and 20 ms for its files and
ports; 25 ms for the session and the connection. Once it is ready, the cloud reads botocore's models
(45 ms) and makes the next Thing's key (50 ms) on another thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from creeklab.client.device import Device
from creeklab.cloud import supervisor
from creeklab.creek.readings import samples
from creeklab.creek.sensor import Reading, Replay
from creeklab.lab.lab import open_lab

from . import mosquitto
from .table import Figures, Row, resident_megabytes

NEW = Row("open_lab() to ready, home new", "s", min)
READY = Row("open_lab() to ready, cloud stopped", "s", min)
CONNACK = Row("... to the CONNACK of a Thing that is registered", "s", min, None, 0.5)
JOURNEY = Row("... to that of a Thing made from nothing first", "s", min)
MEMORY = Row("memory of the idle cloud (RSS)", "MB", min, "mosquitto, idle")
LOCKSTEP = Row("SDK: QoS 1 publishes, one at a time", "/s", max, "mosquitto, the same")
REPLAY = Row("readings of the flood into the shadow", "/s", max, "mosquitto, QoS 1 publishes")
ROWS = (NEW, READY, CONNACK, JOURNEY, MEMORY, LOCKSTEP, REPLAY)

FLOOD = samples.load("plumtree-run-flood-2018-08-31")


def measure(cloud: Figures, peer: Figures, settings: list[str], wanted: str) -> None:
    """Measure every row once, of a cloud with `settings`."""
    with tempfile.TemporaryDirectory() as folder:
        _measure_cloud(Path(folder, "home"), cloud, settings)
        if mosquitto.program():
            _measure_peer(Path(folder), peer)


def _measure_cloud(home: Path, figures: Figures, settings: list[str]) -> None:
    try:
        figures[NEW].append(_first_connack(home)["ready"])
        supervisor.stop(home)
        made = _first_connack(home)
        figures[JOURNEY].append(made["connack"])
        supervisor.stop(home)
        known = _first_connack(home, made["thing"])
        figures[READY].append(known["ready"])
        figures[CONNACK].append(known["connack"])
        supervisor.stop(home)
        running = supervisor.start_or_attach(home, settings=settings)
        figures[MEMORY].append(resident_megabytes(running.pid))
        with open_lab(home=home).connect(made["thing"]) as device:
            figures[LOCKSTEP].append(_publishes_per_second(device))
            figures[REPLAY].append(
                _readings_per_second(
                    lambda reading: device.shadow.update(reported=reading.message())
                )
            )
    finally:
        supervisor.stop(home)


def _measure_peer(folder: Path, figures: Figures) -> None:
    with mosquitto.running(folder) as peer:
        figures[MEMORY].append(resident_megabytes(peer.pid))
        with peer.connect() as device:
            rate = _publishes_per_second(device)
    figures[LOCKSTEP].append(rate)
    figures[REPLAY].append(rate)


def _first_connack(home: Path, *thing: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.first_connack", *thing],
        env={**os.environ, "CREEKLAB_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
    )
    times: dict[str, Any] = json.loads(done.stdout)
    return times


def _publishes_per_second(device: Device) -> float:
    """Publish each reading when the one before is acknowledged."""
    return _readings_per_second(lambda reading: device.publish("creek", reading.message()))


def _readings_per_second(send: Callable[[Reading], object]) -> float:
    began = time.perf_counter()
    sent = Replay(FLOOD, send, progress=False).run().sent
    return sent / (time.perf_counter() - began)
