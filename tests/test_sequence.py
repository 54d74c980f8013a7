"""The sequence chart of part of the event log: its arrows, its SVG, its text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from creeklab import Lab, events
from creeklab.client.device import RequestRefused
from creeklab.events.sequence import Arrow, arrows, participants
from creeklab.events.sequence_chart import SequenceChart

UPDATE = "$aws/things/Test2/shadow/update"
SVG = "{http://www.w3.org/2000/svg}"


def text_of(*entries: dict[str, Any]) -> list[str]:
    return [str(arrow) for arrow in arrows(entries)]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"kind": "connect", "client_id": "Test2"}, ["Test2 -> Broker: CONNECT"]),
        (
            {"kind": "connect", "client_id": "Test2", "resource": "client/Test2", "refusal": "No."},
            ["Test2 -> Broker: REFUSED CONNECT Test2  No."],
        ),
        (
            {"kind": "subscribe", "client_id": "w", "filter": "creek/#"},
            ["w -> Broker: SUBSCRIBE creek/#"],
        ),
        (
            {"kind": "publish", "client_id": "Test2", "topic": "a", "payload": "1", "to": ["w"]},
            ["Test2 -> Broker: PUBLISH a  1", "Broker -> w: PUBLISH a"],
        ),
        (
            {"kind": "publish", "client_id": "Test2", "topic": "a", "retain": True, "size": 3},
            ["Test2 -> Broker: PUBLISH a (retained)  3 bytes, not recorded"],
        ),
        (
            {"kind": "publish", "client_id": "Test2", "resource": "topic/a", "refusal": "No."},
            ["Test2 -> Broker: REFUSED PUBLISH a  No."],
        ),
        (
            {"kind": "publish", "client_id": "Test2", "topic": UPDATE, "payload": "{}"},
            [
                f"Test2 -> Broker: PUBLISH {UPDATE}  {{}}",
                f"Broker -> Shadow service: PUBLISH {UPDATE}",
            ],
        ),
        (
            {"kind": "publish", "client_id": "", "topic": f"{UPDATE}/delta", "to": ["Test2"]},
            [
                f"Shadow service -> Broker: PUBLISH {UPDATE}/delta",
                f"Broker -> Test2: PUBLISH {UPDATE}/delta",
            ],
        ),
        (
            {"kind": "publish", "client_id": "", "topic": "$aws/events/presence/connected/a"},
            ["Broker: PUBLISH $aws/events/presence/connected/a"],
        ),
        (
            {"kind": "shadow", "thing": "Test2", "request": "update", "version": 3},
            ["Shadow service: update Test2: version 3"],
        ),
        (
            {"kind": "shadow", "thing": "a", "shadow": "x", "request": "get", "refusal": "404 No"},
            ["Shadow service: REFUSED get a, shadow 'x'  404 No"],
        ),
        (
            {"kind": "receive", "client_id": "w", "resource": "topic/a", "refusal": "No."},
            ["Broker -> w: REFUSED PUBLISH a  No."],
        ),
        (
            {"kind": "disconnect", "client_id": "w", "reason": "CLIENT_INITIATED_DISCONNECT"},
            ["w -> Broker: DISCONNECT"],
        ),
        (
            {"kind": "disconnect", "client_id": "w", "reason": "DUPLICATE_CLIENTID"},
            ["Broker -> w: DISCONNECT  DUPLICATE_CLIENTID"],
        ),
        (
            {"kind": "call", "operation": "CreateThing", "service": "iot"},
            ["Account -> Broker: CreateThing"],
        ),
        (
            {"kind": "call", "operation": "DeleteThing", "error": "ConflictException"},
            ["Account -> Broker: REFUSED DeleteThing  ConflictException"],
        ),
        ({"kind": "call", "operation": "ListThings", "service": "iot"}, []),
        ({"kind": "tls", "refusal": "No certificate."}, ["Broker: REFUSED tls  No certificate."]),
    ],
)
def test_arrows_of_an_entry(entry: dict[str, Any], text: list[str]) -> None:
    assert text_of(entry) == text


def test_publishers_are_left_of_the_cloud_and_subscribers_right() -> None:
    found = [
        Arrow("watcher", "Broker", "SUBSCRIBE creek/#"),
        Arrow("Test2", "Broker", "PUBLISH a"),
        Arrow("Broker", "Shadow service", "PUBLISH a"),
        Arrow("Broker", "watcher", "PUBLISH a"),
    ]
    assert participants(found) == ["Test2", "Broker", "Shadow service", "watcher"]
    assert participants(found[:1]) == ["watcher", "Broker"]
    assert participants([]) == []


def test_real_events(lab: Lab, new_thing: Callable[..., Any], tmp_path: Path) -> None:
    thing = new_thing()
    watcher = new_thing(
        [
            {"Effect": "Allow", "Action": ["iot:Connect", "iot:Receive"], "Resource": "*"},
            {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "ARN:topicfilter/creek/*"},
        ]
    )
    begin = int(lab.events().index.max())
    with lab.connect(thing.name) as device, lab.connect(watcher.name) as other:
        inbox = other.subscribe("creek/depth")
        device.publish("creek/depth", '<b onclick="x">1</b>')
        inbox.wait_for(1)
        device.shadow.update(reported={"depth": 1.4})
        with pytest.raises(RequestRefused):
            other.publish("creek/depth", "x")
    recorded = lab.events(after=begin)
    chart = events.chart(recorded, title="A & B")
    lines = chart.text.split("\n")
    assert len(lines) == len(chart.arrows) > 8
    assert any(f"{watcher.name} -> Broker: REFUSED PUBLISH creek/depth" in line for line in lines)
    assert any(f"Shadow service: update {thing.name}: version 1" in line for line in lines)
    root = ET.fromstring(chart.svg)
    assert root.tag == f"{SVG}svg"
    ids = root.attrib["aria-labelledby"].split()
    titles = {each.attrib.get("id"): each.text for each in root}
    assert titles[ids[0]] == "A & B"
    assert "1 refused" in str(titles[ids[1]])
    shown = [each.text or "" for each in root.iter(f"{SVG}text")]
    assert any(text.startswith("refused: PUBLISH creek/depth") for text in shown)
    assert {thing.name, watcher.name, "Broker", "Shadow service"} <= set(shown)
    chart.save(tmp_path / "chart.svg")
    ET.fromstring((tmp_path / "chart.svg").read_text())
    page = chart._repr_html_()
    assert "<b onclick" not in page
    assert page == events.chart(recorded, title="A & B")._repr_html_()


def test_a_long_chart_shows_its_end() -> None:
    entries = [
        {"number": n, "kind": "publish", "client_id": "a", "topic": f"t/{n}"} for n in range(3)
    ]
    chart = SequenceChart(entries, omitted=97)
    assert chart.text.startswith("97 earlier entries are not shown.\n1  a -> Broker: PUBLISH t/0")
    assert "97 earlier entries are not shown." in chart.svg
    assert SequenceChart(entries, omitted=1).text.startswith("1 earlier entry is not shown.")


def test_no_events(lab: Lab) -> None:
    chart = events.chart(lab.events(after=10**9))
    assert repr(chart) == "Nothing happened."
    assert "Nothing happened." in chart._repr_html_()
