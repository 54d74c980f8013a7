"""A replay through the cloud: to a topic, a shadow, or both; interrupted and killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from creeklab import Lab
from creeklab.client.device import Device, RequestRefused
from creeklab.client.inbox import Inbox
from creeklab.creek.readings import samples
from creeklab.creek.sensor.replay import Reading, Replay
from tests.conftest import NewThing, make_thing

FLOOD = samples.load("plumtree-run-flood-2018-08-31")


@pytest.fixture
def thing(lab: Lab) -> NewThing:
    return make_thing(lab)


@pytest.fixture
def watcher(lab: Lab) -> Any:
    with lab.connect(make_thing(lab).name) as device:
        yield device


def until_end(inbox: Inbox, device: Device, topic: str) -> list[dict[str, Any]]:
    """Return the messages that arrived, in order, up to the last one, which marks the end."""
    device.publish(topic, {"end": True})
    while not inbox[-1:] or "end" not in inbox[-1].json:
        inbox.wait_for(len(inbox) + 1, timeout=10)
    return [message.json for message in inbox.messages[:-1]]


def history(messages: list[dict[str, Any]]) -> pd.DataFrame:
    """Return readings as a table, each time once."""
    table = pd.DataFrame(messages).drop_duplicates()
    table.index = pd.to_datetime(table.pop("time"))
    assert not table.index.has_duplicates
    return table


class TestWays:
    def test_over_a_topic(self, lab: Lab, thing: NewThing, watcher: Device) -> None:
        inbox = watcher.subscribe("creek/topic")
        with lab.connect(thing.name) as device:

            def send(reading: Reading) -> object:
                return device.publish_soon("creek/topic", reading.message())

            replay = Replay(FLOOD, send, progress=False).run()
            heard = until_end(inbox, device, "creek/topic")
        assert replay.sent == len(heard) == 577
        assert history(heard)["depth"].tolist() == FLOOD["stage_ft"].tolist()
        assert history(heard).index.equals(FLOOD.index)

    @pytest.mark.parametrize("topic", [False, True], ids=["alone", "and a topic"])
    def test_over_the_shadow(self, lab: Lab, thing: NewThing, watcher: Device, topic: bool) -> None:
        documents = watcher.subscribe(f"$aws/things/{thing.name}/shadow/update/documents")
        inbox = watcher.subscribe("creek/both")
        day = FLOOD[:100]
        with lab.connect(thing.name) as device:

            def send(reading: Reading) -> object:
                device.shadow.update(reported=reading.message())
                return device.publish_soon("creek/both", reading.message()) if topic else None

            Replay(day, send, progress=False).run()
            assert device.shadow.get()["version"] == 100
            heard = until_end(inbox, device, "creek/both")
        told = [each.json["current"]["state"]["reported"] for each in documents.wait_for(100)]
        assert history(told)["depth"].tolist() == day["stage_ft"].tolist()
        assert heard == (told if topic else [])


@pytest.mark.filterwarnings("ignore:Another device here is already connected")
def test_a_connection_cut_again_and_again_loses_nothing(
    lab: Lab, thing: NewThing, watcher: Device
) -> None:
    """A second client with the same client ID disconnects the first; the SDK reconnects."""
    inbox = watcher.subscribe("creek/cut")
    last = int(lab.events().index[-1])
    with lab.connect(thing.name) as device:

        def send(reading: Reading) -> object:
            if reading.time in FLOOD.index[[100, 250, 400]]:
                lab.connect(thing.name).close()
            return device.publish_soon("creek/cut", reading.message())

        replay = Replay(FLOOD, send, progress=False).run()
        heard = until_end(inbox, device, "creek/cut")
    assert replay.sent == 577
    assert history(heard).sort_index()["depth"].tolist() == FLOOD["stage_ft"].tolist()
    tape = lab.events(after=last)
    mine = tape[(tape["client_id"] == thing.name) & (tape["kind"] == "connect")]
    assert len(mine) == 7  # once, and for each cut the other's and the SDK's


def test_a_policy_that_changes_half_way_stops_the_replay_and_nothing_is_missing(
    lab: Lab, thing: NewThing, watcher: Device
) -> None:
    inbox = watcher.subscribe("creek/policy")
    iot = lab.client("iot")
    with lab.connect(thing.name) as device:

        def send(reading: Reading) -> object:
            if reading.time == FLOOD.index[300] and not detached:
                detached.append(reading)
                iot.detach_policy(policyName=thing.policy, target=thing.certificate_arn)
            return device.publish_soon("creek/policy", reading.message())

        detached: list[Reading] = []
        replay = Replay(FLOOD, send, progress=False)
        with pytest.raises(RequestRefused, match="'creek/policy' failed: not authorized"):
            replay.run()
        assert 0 < replay.sent <= 300
        iot.attach_policy(policyName=thing.policy, target=thing.certificate_arn)
        replay.run()
        heard = until_end(inbox, device, "creek/policy")
    assert history(heard).sort_index()["depth"].tolist() == FLOOD["stage_ft"].tolist()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from creeklab.creek.readings import samples
from creeklab.creek.sensor import replay
from creeklab import open_lab

home, thing, position_file, end = sys.argv[1:]
replay.SAVE_INTERVAL = 0.02
years = samples.load("plumtree-run-2016-2018").iloc[:8000]
with open_lab(home=Path(home)).connect(thing) as device:
    def send(reading):
        if str(reading.time) == end:
            os.kill(os.getpid(), signal.SIGKILL)
        return device.publish_soon("creek/kill", reading.message())
    print(replay.Replay(years, send, position_file=position_file, progress=False).run())
"""


def test_a_killed_program_resumes_where_it_stopped(
    lab: Lab, thing: NewThing, watcher: Device, tmp_path: Path
) -> None:
    inbox = watcher.subscribe("creek/kill")
    position_file = tmp_path / "position"
    years = samples.load("plumtree-run-2016-2018").iloc[:8000]
    command = [sys.executable, "-c", PROGRAM, str(lab.home), thing.name, str(position_file)]

    killed = subprocess.run([*command, str(years.index[5000])], capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < json.loads(position_file.read_text())["sent"] <= 5000
    again = subprocess.run([*command, "never"], capture_output=True, text=True, timeout=60)
    assert "8000 of 8000 rows done" in again.stdout, again.stderr

    heard = until_end(inbox, watcher, "creek/kill")
    measured = years[["stage_ft", "water_temperature_degC"]].dropna(how="all")
    assert history(heard).sort_index().index.equals(measured.index)
    assert len(heard) < 8000 + 5000  # it did not begin at the beginning
