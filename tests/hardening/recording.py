"""Disturb a recorder while a device keeps sending: each acknowledged reading is recorded once.

In each round, four things happen in random order and at random moments: the recorder's connection
is cut, the recorder is killed (kill -9) and restarted, the cloud is killed and restarted, and both
are killed. Then the history, as creeklab and as another program reads it, holds every reading that
was acknowledged to the device, once and with its value. The recorder has a row for each gap, and
each is filled.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

from creeklab import Lab, open_lab
from creeklab.client.device import RequestRefused
from creeklab.cloud import supervisor
from creeklab.creek.history import History, Recorder
from tests.conftest import make_thing
from tests.hardening.cuttable_link import CuttableLink

FAULTS = ("cut", "kill the recorder", "kill the cloud", "kill both")
READINGS = 400
IN_FLIGHT = 20
TIMEOUT = 120.0
START = pd.Timestamp("2018-08-31 23:58", tz="UTC")  # The readings are of two months.

RECORDER = """
import sys, threading
from pathlib import Path
from creeklab import open_lab
from creeklab.creek.history import History, Recorder

home, thing, folder, port = sys.argv[1:]
recorder, ended = Recorder(History(folder), "creek", every=0.05), threading.Event()

def on_message(message):
    if message.payload == b"end":
        ended.set()
    else:
        recorder.on_message(message)

lab = open_lab(home=Path(home))
lab.mqtt_port = int(port)
with lab.connect(
    thing, session="10m", on_message=on_message, on_connection=recorder.on_connection
) as device:
    device.subscribe("creek/depth")
    print("recording", flush=True)
    ended.wait()
recorder.close()
"""


class Sender:
    """A device that sends numbered readings, each until it is acknowledged."""

    def __init__(self, lab: Lab, thing: str, count: int) -> None:
        self._lab, self._thing, self._count = lab, thing, count
        self._progress = threading.Condition()
        self.acknowledged: set[int] = set()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def wait_for(self, count: int) -> None:
        """Wait until so many readings are acknowledged."""
        with self._progress:
            assert self._progress.wait_for(lambda: len(self.acknowledged) >= count, TIMEOUT)

    def _run(self) -> None:
        with self._lab.connect(self._thing) as device:
            for first in range(0, self._count, IN_FLIGHT):
                left = set(range(first, min(first + IN_FLIGHT, self._count)))
                while left:
                    sent = {
                        number: device.publish_soon("creek/depth", _message(number))
                        for number in sorted(left)
                    }
                    for number, each in sent.items():
                        with contextlib.suppress(RequestRefused, TimeoutError):
                            each.result()
                            left.remove(number)
                            with self._progress:
                                self.acknowledged.add(number)
                                self._progress.notify_all()

    def end(self) -> None:
        """Tell the recorder that nothing more comes."""
        with self._lab.connect(self._thing) as device:
            device.publish("creek/depth", "end")


class Recording:
    """A recorder in a process of its own, behind a link that can be cut."""

    def __init__(self, lab: Lab, thing: str, folder: Path) -> None:
        self.link = CuttableLink((lab.endpoint, lab.mqtt_port))
        self._command = [sys.executable, "-c", RECORDER]
        self._command += [str(lab.home), thing, str(folder), str(self.link.port)]
        self.start()

    def start(self) -> None:
        """Start the process, and wait until it records."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"recording\n"

    def kill(self) -> None:
        """End the process with kill -9."""
        self.process.kill()
        self.process.communicate()

    def close(self) -> None:
        """End the process, if it runs, and the link."""
        self.kill()
        self.link.close()


def _message(number: int) -> dict[str, object]:
    return {"time": (START + number * pd.Timedelta("1s")).isoformat(), "depth": number / 100}


def _kill_cloud(home: Path) -> None:
    running = supervisor.start_or_attach(home)
    os.kill(running.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(running.pid, 0)


def disturb(fault: str, home: Path, recording: Recording) -> None:
    """Cause one of the faults, and start again what it has ended."""
    if fault == "cut":
        recording.link.cut()
    if fault in ("kill the recorder", "kill both"):
        recording.kill()
    if fault in ("kill the cloud", "kill both"):
        _kill_cloud(home)
        supervisor.start_or_attach(home)
    if fault in ("kill the recorder", "kill both"):
        recording.start()


def record_round(lab: Lab, seed: int, readings: int = READINGS) -> None:
    """Disturb a recording in all four ways, and check its history."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        sender = Sender(lab, make_thing(lab).name, readings)
        recording = Recording(lab, make_thing(lab).name, Path(folder))
        try:
            sender.thread.start()
            counts = sorted(moments.sample(range(1, readings - 20), len(FAULTS)))
            faults = moments.sample(FAULTS, len(FAULTS))
            for count, fault in zip(counts, faults, strict=True):
                sender.wait_for(count)
                disturb(fault, lab.home, recording)
            sender.wait_for(readings)
            sender.thread.join(TIMEOUT)
            # Only now: a recorder that is killed after the end would wait for another one.
            sender.end()
            recording.process.communicate(timeout=TIMEOUT)
            assert recording.process.returncode == 0
        finally:
            recording.close()
        check(Path(folder), readings)


def check(folder: Path, readings: int) -> None:
    """Check that every reading is in the history once, and that every gap is reported."""
    sent = [number / 100 for number in range(readings)]
    table = History(folder).read("creek")
    assert table["stage_ft"].tolist() == sent
    assert table.index[0] == START
    others = ds.dataset(folder, partitioning="hive", exclude_invalid_files=False).to_table()
    assert sorted(others["stage_ft"].to_pylist()) == sent
    with Recorder(History(folder), "creek", every=None) as recorder:
        gaps = recorder.gaps
    assert gaps["filled"].all(), gaps
    # Faults in quick succession can be one gap, but each start of a recorder ends one.
    assert len(gaps) >= 2, gaps


def rounds(home: Path, count: int, seed: int) -> Iterator[int]:
    """Go through `count` rounds in a new home folder; yield the number of each."""
    supervisor.start_or_attach(home, mqtt_port=0, https_port=0)
    lab = open_lab(home=home)
    for number in range(1, count + 1):
        record_round(lab, seed + number)
        yield number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=20, help="rounds (default: 20)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the moments")


def run(options: argparse.Namespace) -> int:
    print(f"{options.rounds} rounds with four faults each, seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        try:
            for number in rounds(home, options.rounds, options.seed):
                print(f"round {number}: {READINGS} readings acknowledged and recorded", flush=True)
        finally:
            supervisor.stop(home)
    return 0
