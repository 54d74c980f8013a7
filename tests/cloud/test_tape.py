"""The tape: numbered, bounded, and with nothing on it that is nobody's business."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from creeklab.cloud.api.lab import lab_door
from creeklab.cloud.tape import Tape
from creeklab.device import Refused
from creeklab.lab import Lab

NewThings = Callable[..., Any]


def refusal(summary: str) -> dict[str, Any]:
    return {"refusal": {"summary": summary}}


def test_entries_are_numbered_and_timed() -> None:
    now = [10.5]
    tape = Tape(clock=lambda: now[0])
    tape.record("connect", client_id="Test2")
    now[0] = 11.5
    tape.record("publish", topic="creek/depth", qos=1)
    assert tape.entries() == [
        {"number": 1, "time": 10.5, "kind": "connect", "client_id": "Test2"},
        {"number": 2, "time": 11.5, "kind": "publish", "topic": "creek/depth", "qos": 1},
    ]


@pytest.mark.parametrize(
    ("after", "numbers"), [(0, [1, 2, 3]), (1, [2, 3]), (3, []), (99, []), (-1, [1, 2, 3])]
)
def test_reading_on_from_where_one_was(after: int, numbers: list[int]) -> None:
    tape = Tape()
    for _ in range(3):
        tape.record("connect")
    assert [entry["number"] for entry in tape.entries(after)] == numbers


def test_the_oldest_entries_fall_off_and_the_numbers_go_on() -> None:
    tape = Tape(length=3)
    tape.record("connect", client_id="first", **refusal("No."))
    for _ in range(4):
        tape.record("connect", client_id="later")
    assert [entry["number"] for entry in tape.entries()] == [3, 4, 5]
    assert tape.last_refusal() is None


def test_the_last_refusal_of_all_and_of_one() -> None:
    tape = Tape()
    assert tape.last_refusal() is None
    tape.record("publish", client_id="a", **refusal("first"))
    tape.record("publish", client_id="a", **refusal("second"))
    tape.record("subscribe", client_id="b", **refusal("third"))
    tape.record("protocol", **refusal("of nobody"))
    tape.record("connect", client_id="a")
    summaries = [
        entry and entry["refusal"]["summary"]
        for entry in map(tape.last_refusal, (None, "a", "b", "c"))
    ]
    assert summaries == ["of nobody", "second", "third", None]


def test_the_door_to_it() -> None:
    tape = Tape(clock=lambda: 1.0)
    door = lab_door(tape)
    assert door["tape"]({}) == {"entries": []}
    assert door["why"]({}) == {"entry": None}
    tape.record("connect", client_id="a")
    tape.record("publish", client_id="a", **refusal("No."))
    assert door["tape"]({"after": 1}) == {"entries": tape.entries(after=1)}
    assert door["why"]({"client_id": "a"}) == {"entry": tape.entries()[1]}
    assert door["why"]({"client_id": "b"}) == {"entry": None}


def test_the_door_tells_who_asks_wrongly(lab: Lab) -> None:
    with pytest.raises(RuntimeError, match="The local cloud answered 400"):
        lab._ask("tape", {"after": "yesterday"})


def test_what_a_cloud_records_of_a_lesson(lab: Lab, new_thing: NewThings) -> None:
    allowed = [
        {"Effect": "Allow", "Action": "iot:*", "Resource": ["ARN:client/*", "ARN:topic*/a/*"]}
    ]
    thing = new_thing(allowed)
    last = int(lab.tape().index[-1])
    with lab.connect(thing.name) as device:
        device.subscribe("a/#")
        device.publish("a/b", "x")
        device.unsubscribe("a/#")
        with pytest.raises(Refused):
            device.publish("b/a", "x")
    lab.client("iot-data").update_thing_shadow(
        thingName=thing.name, payload='{"state": {"reported": {"depth": 1}}}'
    )
    entries = lab._ask("tape", {"after": last})["entries"]
    mine = [each for each in entries if thing.name in (each.get("client_id"), each.get("thing"))]
    assert [each["kind"] for each in mine] == [
        "connect",
        "subscribe",
        "unsubscribe",
        "publish",
        "disconnect",
        "shadow",
    ]
    assert mine[0]["certificate_id"] == thing.certificate_id
    assert mine[3]["refusal"]["summary"]
    assert (mine[5]["verb"], mine[5]["version"]) == ("update", 1)
    calls = [each for each in entries if each["kind"] == "call" and each["service"] == "iotdata"]
    assert (calls[0]["operation"], calls[0]["status"]) == ("UpdateThingShadow", 200)


def test_no_payload_and_no_key_is_on_it(lab: Lab, new_thing: NewThings) -> None:
    last = int(lab.tape().index[-1])
    thing = new_thing()
    secret = "nobodys-business"
    with lab.connect(thing.name) as device:
        device.publish("a/b", secret)
        device.shadow.update(reported={"secret": secret})
        device.shadow.get()
    lab.client("iot-data").publish(
        topic="a/b", payload=secret, userProperties=f'[{{"a":"{secret}"}}]'
    )
    text = json.dumps(lab._ask("tape", {"after": last}))
    assert thing.name in text
    assert secret not in text
    assert "PRIVATE KEY" not in text
    assert lab._account.secret_key not in text
