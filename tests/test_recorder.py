"""A replay recorded through the cloud: each reading once, no matter which side is cut off."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from creeklab import Lab
from creeklab.client.device import Device
from creeklab.client.inbox import ReceivedMessage
from creeklab.creek.history import History, Recorder
from creeklab.creek.quality import Fault, inject
from creeklab.creek.readings import samples
from creeklab.creek.sensor.replay import Reading, Replay
from tests.conftest import NewThing, make_thing

FLOOD = samples.load("plumtree-run-flood-2018-08-31")


@pytest.fixture
def thing(lab: Lab) -> NewThing:
    return make_thing(lab)


@pytest.fixture
def watcher(lab: Lab) -> Iterator[Device]:
    with lab.connect(make_thing(lab).name) as device:
        yield device


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


class Recording:
    """A recorder subscribed to a topic, until the message ``end``."""

    def __init__(self, recorder: Recorder, watcher: Device, topic: str) -> None:
        self.recorder, self.watcher, self.topic = recorder, watcher, topic
        self._end = threading.Event()
        self.inbox = watcher.subscribe(topic, callback=self._call)

    def _call(self, message: ReceivedMessage) -> None:
        if message.payload == b"end":
            self._end.set()
        else:
            self.recorder.on_message(message)

    def close(self) -> None:
        self.watcher.publish(self.topic, "end")
        assert self._end.wait(60)
        assert len(self.inbox) == 0
        self.recorder.close()


def test_live(lab: Lab, thing: NewThing, watcher: Device, history: History) -> None:
    recording = Recording(Recorder(history, "Plumtree", every=0.1), watcher, "creek/live")
    with lab.connect(thing.name) as device:

        def send(reading: Reading) -> object:
            return device.publish_soon("creek/live", reading.message())

        Replay(FLOOD, send, progress=False).run()
        device.publish("creek/live", "the battery is low")
        Replay(FLOOD, send, progress=False).run()
    recording.close()
    recorder = recording.recorder
    assert (recorder.readings, recorder.quarantined, recorder.new, recorder.replaced) == (
        1154,
        1,
        577,
        0,
    )
    pd.testing.assert_frame_equal(history.read("Plumtree"), FLOOD, check_freq=False)


@pytest.mark.parametrize("answer", ["accepted", "documents"])
def test_from_the_shadow(
    lab: Lab, thing: NewThing, watcher: Device, history: History, answer: str
) -> None:
    day = FLOOD[:50]
    inbox = watcher.subscribe(f"$aws/things/{thing.name}/shadow/update/{answer}")
    with lab.connect(thing.name) as device:
        Replay(
            day, lambda reading: device.shadow.update(reported=reading.message()), progress=False
        ).run()
        device.shadow.update(desired={"lamp": "on"})
    with Recorder(history, every=None) as recorder:
        recorder.record(inbox.wait_for(51))
    assert (recorder.readings, recorder.ignored) == (50, 1)
    pd.testing.assert_frame_equal(history.read(thing.name), day, check_freq=False)


PLAYER = """
import os, signal, sys
from pathlib import Path
from creeklab.creek.readings import samples
from creeklab.creek.sensor import replay
from creeklab import open_lab

home, thing, position_file, end, how = sys.argv[1:]
replay.SAVE_INTERVAL = 0.02
years = samples.load("plumtree-run-2016-2018").iloc[:2000]
device = open_lab(home=Path(home)).connect(thing)
def send(reading):
    if str(reading.time) == end:
        if how == "power cut":
            os.kill(os.getpid(), signal.SIGKILL)
        device.close()  # the network is gone, and so are the readings in flight
    return device.publish_soon("creek/cuts", reading.message())
try:
    print(replay.Replay(years, send, position_file=position_file, progress=False).run())
finally:
    device.close()
"""


def test_network_loss_and_power_cut_lose_and_repeat_nothing(
    lab: Lab, thing: NewThing, watcher: Device, history: History, tmp_path: Path
) -> None:
    """Each new process resumes where the previous one left off."""
    years = samples.load("plumtree-run-2016-2018").iloc[:2000]
    recording = Recording(Recorder(history, "Plumtree", every=0.1), watcher, "creek/cuts")
    position_file = tmp_path / "position"

    def play(row: int | None, how: str) -> subprocess.CompletedProcess[str]:
        end = "never" if row is None else str(years.index[row])
        command = [
            sys.executable,
            "-c",
            PLAYER,
            str(lab.home),
            thing.name,
            str(position_file),
            end,
            how,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    lost = play(500, "network loss")
    assert lost.returncode == 1
    assert "this device is closed" in lost.stderr
    assert play(1000, "power cut").returncode == -signal.SIGKILL
    assert play(1500, "network loss").returncode == 1
    done = play(None, "")
    assert "2000 of 2000 rows done" in done.stdout, done.stderr
    recording.close()
    measured = years[["stage_ft", "water_temperature_degC"]].dropna(how="all")
    pd.testing.assert_frame_equal(history.read(), measured, check_freq=False)
    recorder = recording.recorder
    assert recorder.new == len(measured) <= recorder.readings
    assert recorder.readings < len(measured) + 1000  # none began at the beginning
    assert recorder.replaced == 0


def test_injected_faults_arrive_unchanged(
    lab: Lab, thing: NewThing, watcher: Device, history: History
) -> None:
    """A power cut leaves no readings; a network loss delays them, but keeps their order."""
    start = FLOOD.index[0]

    def fault(kind: Any, first: int, last: int, size: float = 0) -> Fault:
        five = pd.Timedelta("5min")
        return Fault(kind, start + first * five, start + last * five, size)

    faults = [
        fault("power cut", 20, 40),
        fault("network loss", 60, 90),
        fault("spike", 100, 100, 3.0),
        fault("flat line", 110, 120),
    ]
    recording = Recording(Recorder(history, "Plumtree", every=None), watcher, "creek/faults")
    with lab.connect(thing.name) as device:
        Replay(
            FLOOD,
            lambda reading: device.publish_soon("creek/faults", reading.message()),
            faults=faults,
            speed=300 * 2000,
            progress=False,
        ).run()
    recording.close()
    expected = inject(FLOOD, faults)
    assert len(expected) == 577 - 21
    pd.testing.assert_frame_equal(history.read(), expected, check_freq=False)


LISTENER = """
import os, signal, sys, threading
from pathlib import Path
from awscrt import mqtt5
from awsiot import mqtt5_client_builder
from creeklab.creek.history import History, Recorder
from creeklab.client.inbox import ReceivedMessage
from creeklab import open_lab

home, thing, folder, until = sys.argv[1:]
lab, ended, connected = open_lab(home=Path(home)), threading.Event(), threading.Event()
recorder = Recorder(History(folder), "Plumtree", every=0.01)

def take(received):
    packet = received.publish_packet
    if packet.payload == b"end":
        ended.set()
        return
    if recorder.readings == int(until):
        os.kill(os.getpid(), signal.SIGKILL)
    recorder.on_message(ReceivedMessage(packet.topic, bytes(packet.payload), 1, False))

files = lab.keys.files(thing)
stopped = threading.Event()
client = mqtt5_client_builder.mtls_from_path(
    str(files.certificate), str(files.private_key), endpoint=lab.endpoint, port=lab.mqtt_port,
    ca_filepath=str(files.ca), client_id=thing, session_expiry_interval_sec=600,
    session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS, on_publish_received=take,
    on_lifecycle_connection_success=lambda _: connected.set(),
    on_lifecycle_stopped=lambda _: stopped.set())
client.start()
assert connected.wait(60)
client.subscribe(mqtt5.SubscribePacket([mqtt5.Subscription("creek/kept", mqtt5.QoS(1))])).result(20)
print("listening", flush=True)
assert ended.wait(60)
client.stop()
stopped.wait(20)
recorder.close()
"""


def test_a_killed_recorder_acknowledged_only_what_it_recorded(
    lab: Lab, thing: NewThing, history: History
) -> None:
    """The SDK acknowledges when the callback returns; the cloud keeps the other messages."""
    listener = make_thing(lab).name

    def listen(until: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", LISTENER, str(lab.home), listener]
        command += [str(history.storage.folder), str(until)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"listening\n"
        return child

    with lab.connect(thing.name) as device:

        def send(readings: pd.DataFrame) -> None:
            Replay(
                readings,
                lambda reading: device.publish_soon("creek/kept", reading.message()),
                progress=False,
            ).run()

        with listen(137) as killed:
            send(FLOOD[:300])
        assert killed.returncode == -signal.SIGKILL
        send(FLOOD[300:])
        device.publish("creek/kept", "end")
        with listen(10_000) as again:
            pass
        assert again.returncode == 0
    pd.testing.assert_frame_equal(history.read(), FLOOD, check_freq=False)
