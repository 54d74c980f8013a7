"""The event log as a file, and replayed against a cloud."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from creeklab import Lab, events
from creeklab.client.device import RequestRefused
from creeklab.events.table import entries

NO_CELLAR = [
    {"Effect": "Allow", "Action": "iot:*", "Resource": "*"},
    {"Effect": "Deny", "Action": ["iot:Publish", "iot:Subscribe"], "Resource": "ARN:topic*/cellar"},
]


def last(lab: Lab) -> int:
    return int(lab.events().index.max())


def morning(lab: Lab, sensor: Any, watcher: Any) -> pd.DataFrame:
    """Let two devices do a bit of everything; return its part of the event log."""
    begin = last(lab)
    with lab.connect(watcher.name) as listening, lab.connect(sensor.name) as device:
        inbox = listening.subscribe(f"creek/{sensor.name}/#")
        device.publish(f"creek/{sensor.name}/depth", {"depth": 1.4})
        device.publish(f"creek/{sensor.name}/raw", b"\xff\x00")
        device.publish(f"creek/{sensor.name}/empty", b"", qos=0)
        inbox.wait_for(3)
        with pytest.raises(RequestRefused):
            device.publish("creek/cellar", "x")
        with pytest.raises(RequestRefused):
            device.subscribe("creek/cellar")
        device.shadow.update(reported={"depth": 1.4})
        listening.unsubscribe(f"creek/{sensor.name}/#")
    recorded = lab.events(after=begin)
    ours = recorded["client_id"].isin([sensor.name, watcher.name, ""])
    return recorded[ours | (recorded["thing"] == sensor.name)]


@pytest.fixture
def devices(new_thing: Callable[..., Any]) -> tuple[Any, Any]:
    return new_thing(NO_CELLAR), new_thing()


def test_a_saved_file_contains_every_entry(
    lab: Lab, devices: tuple[Any, Any], tmp_path: Path
) -> None:
    recorded = morning(lab, *devices)
    path = tmp_path / "morning.jsonl"
    assert events.save(recorded, path) == len(recorded)
    again = events.load(path)
    assert again.index.tolist() == recorded.index.tolist()
    assert entries(again) == entries(recorded)
    first = json.loads(path.read_text().splitlines()[0])
    assert first["kind"] == "connect"
    assert "topic" not in first
    assert (again["time"] - recorded["time"]).abs().max() < pd.Timedelta(microseconds=1)
    assert events.save(recorded.iloc[:0], path) == 0
    assert len(events.load(path)) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is not an entry"),
        ("{}", "line 2 is not an entry"),
    ],
)
def test_a_file_that_is_no_event_log(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"number": 1, "time": 0, "kind": "connect"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        events.load(path)


def test_a_replay_has_the_same_results(lab: Lab, devices: tuple[Any, Any], tmp_path: Path) -> None:
    recorded = morning(lab, *devices)
    events.save(recorded, tmp_path / "events.jsonl")
    begin = last(lab)
    done = events.replay(events.load(tmp_path / "events.jsonl"), lab)
    assert done.differences == []
    assert repr(done).endswith("of 2 clients: all results are the same as before.")
    assert {"connect", "subscribe", "publish", "disconnect", "unsubscribe"} <= set(
        done.table["kind"]
    )
    results = done.table.set_index("what")["now"]
    sensor, watcher = (device.name for device in devices)
    assert results[f"creek/{sensor}/depth"] == f"accepted, to {watcher}"
    assert set(results["creek/cellar"]) == {"refused"}
    # The devices did it through the real clients, so all of it is in the event log again.
    copy = lab.events(after=begin)
    assert f"creek/{sensor}/raw" in set(copy["topic"])
    shadows = copy[(copy["kind"] == "shadow") & (copy["thing"] == sensor)]
    assert shadows["version"].tolist() == [2]
    for name in (sensor, watcher):
        assert copy[copy["client_id"] == name]["kind"].tolist()[-1] == "disconnect"


def test_a_replay_reports_differences(lab: Lab, devices: tuple[Any, Any]) -> None:
    recorded = morning(lab, *devices)
    sensor, watcher = devices
    iot = lab.client("iot")
    everything = [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]
    lonely = [
        *everything,
        {"Effect": "Deny", "Action": "iot:Receive", "Resource": "arn:aws:iot:*:*:topic/*/depth"},
    ]
    for policy, statements in ((sensor.policy, everything), (watcher.policy, lonely)):
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iot.create_policy_version(policyName=policy, policyDocument=document, setAsDefault=True)
    done = events.replay(recorded, lab)
    results = {one.what: (one.then, one.now) for one in done.differences}
    depth = f"creek/{sensor.name}/depth"
    assert results == {
        "creek/cellar": ("refused", "accepted"),
        depth: (f"accepted, to {watcher.name}", "accepted"),
    }
    assert len(done.differences) == 3
    assert f"publish {depth}: then accepted, to {watcher.name}, now accepted" in repr(done)


def test_a_device_without_a_key_is_skipped(
    lab: Lab, devices: tuple[Any, Any], tmp_path: Path
) -> None:
    recorded = morning(lab, *devices)
    foreign = recorded.assign(
        client_id=recorded["client_id"].replace(devices[0].name, "stranger"),
        principal=recorded["principal"].replace(devices[0].certificate_id, "0" * 64),
    )
    done = events.replay(foreign, lab)
    skipped = [one for one in done.results if one.now == "skipped"]
    assert {one.client_id for one in skipped} == {"stranger"}
    assert "no certificate and key" in repr(done)


def test_a_payload_that_was_not_recorded_is_skipped(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    begin = last(lab)
    with lab.connect(thing.name) as device:
        device.publish("creek/long", "x" * 20_000)
    done = events.replay(lab.events(after=begin, thing=thing.name), lab)
    (skipped,) = done.differences
    assert (skipped.what, skipped.now) == ("creek/long", "skipped")
    assert "not in the event log" in skipped.why


def test_on_aws_only_acceptance_is_compared(lab: Lab, devices: tuple[Any, Any]) -> None:
    class OnAws:
        target = "aws"
        keys = lab.keys
        connect = staticmethod(lab.connect)

    recorded = morning(lab, *devices)
    aws: Any = OnAws()
    done = events.replay(recorded, aws)
    assert done.differences == []
    assert set(done.table["now"]) == {"accepted", "refused"}


def test_events_are_filtered_by_kind_thing_and_topic(lab: Lab, devices: tuple[Any, Any]) -> None:
    begin = last(lab)
    morning(lab, *devices)
    sensor = devices[0].name
    assert set(lab.events(begin, kind="connect")["client_id"]) == {d.name for d in devices}
    on_topic = lab.events(begin, topic=f"creek/{sensor}/+")
    assert on_topic["topic"].dropna().nunique() == 3
    of_thing = lab.events(begin, thing=sensor)
    assert sensor in set(of_thing["client_id"])
