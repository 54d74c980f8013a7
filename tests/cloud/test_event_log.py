"""The event log: numbered, bounded, complete where it matters, and without any key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from creeklab import Lab
from creeklab.client.device import RequestRefused
from creeklab.cloud.diagnostics.admin import PAGE_BYTES, PAGE_EXPLANATIONS, admin_endpoints
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.monitoring.event_log import (
    CLOUD,
    MAX_LOGGED_PAYLOAD,
    BufferLimit,
    EventLog,
    PeerIdentity,
)

NewThings = Callable[..., Any]


def refusal(summary: str) -> dict[str, Any]:
    return {"refusal": {"summary": summary}}


class Denial:
    """A denial that counts how often it is put into words."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.explanations = 0

    def refusal(self) -> dict[str, Any]:
        self.explanations += 1
        return {"summary": "No."}


def test_a_denial_is_explained_only_when_it_is_read() -> None:
    log, denials = EventLog(), [Denial() for _ in range(5)]
    for number, denial in enumerate(denials):
        log.append("publish", denial=denial, client_id=f"c{number}", qos=1)
    assert [denial.explanations for denial in denials] == [0] * 5
    entry = log.last_refusal("c1")
    assert entry is not None
    assert entry["refusal"] == {"summary": "No."}
    assert [denial.explanations for denial in denials] == [0, 1, 0, 0, 0]
    assert [entry["refusal"] for entry in log.entries()] == [{"summary": "No."}] * 5


def test_denials_are_bounded_in_bytes() -> None:
    log = EventLog(refusals=BufferLimit(1_000, 10_000))
    for number in range(100):
        log.append("publish", denial=Denial(size=900), number_of_test=number)
    assert len(log.entries()) == 10


def test_one_page_explains_a_bounded_number_of_denials() -> None:
    log, denials = EventLog(), [Denial() for _ in range(3 * PAGE_EXPLANATIONS - 1)]
    for denial in denials:
        log.append("publish", denial=denial)
        log.append("connect")
    read, request, sizes = admin_endpoints(log)["events"], {"after": 0, "kind": "publish"}, []
    while True:
        before = sum(denial.explanations for denial in denials)
        page = read(request)
        sizes.append(sum(denial.explanations for denial in denials) - before)
        assert all(entry["refusal"] == {"summary": "No."} for entry in page["entries"])
        if page["after"] == page["until"]:
            break
        request = {**request, "after": page["after"], "until": page["until"]}
    assert sizes == [PAGE_EXPLANATIONS, PAGE_EXPLANATIONS, PAGE_EXPLANATIONS - 1]


def test_entries_are_numbered_and_timed() -> None:
    now = [10.5]
    log = EventLog(clock=lambda: now[0])
    log.append("connect", client_id="Test2")
    now[0] = 11.5
    log.append("publish", topic="creek/depth", qos=1)
    assert log.entries() == [
        {"number": 1, "time": 10.5, "kind": "connect", "client_id": "Test2"},
        {"number": 2, "time": 11.5, "kind": "publish", "topic": "creek/depth", "qos": 1},
    ]


@pytest.mark.parametrize(
    ("after", "numbers"), [(0, [1, 2, 3]), (1, [2, 3]), (3, []), (99, []), (-1, [1, 2, 3])]
)
def test_reading_after_a_number(after: int, numbers: list[int]) -> None:
    log = EventLog()
    for _ in range(3):
        log.append("connect")
    assert [entry["number"] for entry in log.entries(after)] == numbers


def test_the_oldest_entries_are_evicted_and_numbers_continue() -> None:
    log = EventLog(others=BufferLimit(3, 1_000_000), refusals=BufferLimit(1, 1_000_000))
    for number in range(2):
        log.append("connect", client_id=f"first {number}", **refusal("No."))
    for _ in range(4):
        log.append("connect", client_id="later")
    assert [entry["number"] for entry in log.entries()] == [2, 4, 5, 6]
    assert [entry["client_id"] for entry in log.refusals()] == ["first 1"]
    assert log.last_number == 6


def test_a_buffer_is_bounded_in_bytes_too() -> None:
    log = EventLog(others=BufferLimit(1_000, 10_000))
    for _ in range(100):
        log.append("connect", client_id="x" * 1_000)
    kept = log.entries()
    assert 5 < len(kept) < 10
    assert kept[-1]["number"] == log.last_number == 100


# --- messages -------------------------------------------------------------------------------------

GAUGE, TEST2 = PeerIdentity("gauge", "0a1b", "127.0.0.1", 4711), PeerIdentity("Test2")


def send(log: EventLog, topic: str = "creek/depth", payload: bytes = b"1.4", **more: Any) -> None:
    members = {"sender": GAUGE, "receivers": [], "properties": None, **more}
    log.log_message(
        log.stamp(),
        members["sender"],
        topic,
        payload,
        1,
        False,
        members["properties"],
        members["receivers"],
    )


def test_a_message_and_everyone_who_got_it() -> None:
    log = EventLog(clock=lambda: 10.5)
    receivers: list[PeerIdentity] = []
    send(log, receivers=receivers)
    receivers += [TEST2, GAUGE]
    properties = {"correlation_data": b"\xff"}
    log.log_message(log.stamp(), TEST2, "creek/depth", b"\xff\x00", 1, True, properties)
    who = {"principal": "0a1b", "source_ip": "127.0.0.1", "source_port": 4711}
    assert log.entries() == [
        {
            "number": 1,
            "time": 10.5,
            "kind": "publish",
            "client_id": "gauge",
            **who,
            "topic": "creek/depth",
            "qos": 1,
            "retain": False,
            "size": 3,
            "payload": "1.4",
            "to": ["Test2", "gauge"],
        },
        {
            "number": 2,
            "time": 10.5,
            "kind": "deliver",
            "client_id": "Test2",
            "principal": "",
            "source_ip": "",
            "source_port": 0,
            "topic": "creek/depth",
            "qos": 1,
            "retain": True,
            "size": 2,
            "payload_base64": "/wA=",
            "properties": {"correlation_data_base64": "/w=="},
        },
    ]


@pytest.mark.parametrize("after", [0, 1, 255, 256, 257, 300, 511, 600, 700])
def test_messages_are_merged_with_the_other_entries(after: int) -> None:
    log = EventLog()
    for number in range(1, 601):
        if number % 100 == 0:
            log.append("connect", client_id=str(number))
        else:
            send(log)
    numbers = [entry["number"] for entry in log.entries(after)]
    assert numbers == list(range(after + 1, 601))


def test_a_flood_of_messages_evicts_nothing_else() -> None:
    log = EventLog(messages=BufferLimit(1_000, 10_000_000))
    log.append("publish", client_id="a", **refusal("No."))
    log.append("connect", client_id="a")
    for _ in range(5_000):
        send(log)
    entries = log.entries()
    assert [entry["kind"] for entry in entries[:3]] == ["publish", "connect", "publish"]
    assert entries[0]["refusal"]
    assert len(entries) - 2 == 1_000
    assert [entry["number"] for entry in entries[2:]] == list(
        range(log.last_number - len(entries) + 3, log.last_number + 1)
    )


@pytest.mark.parametrize(
    "heavy",
    [
        {"payload": b"x" * 16_000},
        {"properties": {"user_properties": [("a", "x" * 15_000)]}},
        {"receivers": [GAUGE] * 2_000},
    ],
)
def test_messages_are_bounded_in_bytes_too(heavy: dict[str, Any]) -> None:
    log = EventLog(messages=BufferLimit(10_000, 5_000_000))
    for _ in range(2_000):
        send(log, **heavy)
    assert 200 < len(log.entries()) < 600


def test_only_the_size_of_a_large_payload_is_logged() -> None:
    log = EventLog()
    properties = {"user_properties": [("a", "x" * MAX_LOGGED_PAYLOAD)]}
    send(log, payload=b"x" * (MAX_LOGGED_PAYLOAD + 1))
    send(log, payload=b"x" * MAX_LOGGED_PAYLOAD, properties=properties)
    log.log_message(log.stamp(), TEST2, "a", b"x" * (MAX_LOGGED_PAYLOAD + 1), 0, False, properties)
    large, largest_kept, delivered = log.entries()
    assert (large["size"], "payload" in large) == (MAX_LOGGED_PAYLOAD + 1, False)
    assert len(largest_kept["payload"]) == largest_kept["size"] == MAX_LOGGED_PAYLOAD
    assert "properties" not in largest_kept
    assert (delivered["size"], "payload" in delivered) == (MAX_LOGGED_PAYLOAD + 1, False)


def test_an_empty_payload_is_kept() -> None:
    log = EventLog()
    send(log, payload=b"")
    assert (log.entries()[0]["size"], log.entries()[0]["payload"]) == (0, "")


def test_cloud_messages_without_receivers_are_not_logged() -> None:
    log = EventLog()
    answer = "$aws/things/Test2/shadow/update/accepted"
    for _ in range(300):
        send(log, answer, sender=CLOUD)
    send(log, answer, sender=CLOUD, receivers=[GAUGE])
    send(log, answer)
    send(log, "creek/depth", sender=CLOUD)
    assert [entry["number"] for entry in log.entries()] == [301, 302, 303]


# --- refusals and the admin API -------------------------------------------------------------------


def test_the_last_refusal_of_all_clients_and_of_one() -> None:
    log = EventLog()
    assert log.last_refusal() is None
    log.append("publish", client_id="a", **refusal("first"))
    log.append("publish", client_id="a", **refusal("second"))
    log.append("subscribe", client_id="b", **refusal("third"))
    log.append("protocol", **refusal("of nobody"))
    log.append("connect", client_id="a")
    summaries = [
        entry and entry["refusal"]["summary"]
        for entry in map(log.last_refusal, (None, "a", "b", "c"))
    ]
    assert summaries == ["of nobody", "second", "third", None]


def test_the_admin_endpoints_of_the_log() -> None:
    log = EventLog(clock=lambda: 1.0)
    endpoints = admin_endpoints(log)
    assert endpoints["events"]({}) == {"entries": [], "after": 0, "until": 0}
    nothing = {"entry": None, "failure": None, "dropped": {}}
    assert endpoints["why"]({}) == nothing
    log.append("connect", client_id="a")
    log.append("publish", client_id="a", **refusal("No."))
    assert endpoints["events"]({"after": 1}) == {
        "entries": log.entries(after=1),
        "after": 2,
        "until": 2,
    }
    assert endpoints["why"]({"client_id": "a"}) == {**nothing, "entry": log.entries()[1]}
    assert endpoints["why"]({"client_id": "b"}) == nothing


def call(operation: str | None, error: str | None, **members: Any) -> dict[str, Any]:
    return {"service": "iotdata", "operation": operation, "status": 400, "error": error, **members}


@pytest.mark.parametrize(
    ("kind", "members", "expected"),
    [
        ("call", call("Publish", "RequestEntityTooLargeException"), True),
        ("call", call(None, "UnknownOperationException"), True),
        ("call", call("Publish", None), False),
        ("call", call("GetThingShadow", "InvalidRequestException"), False),
        ("call", call("DeleteThing", "ResourceNotFoundException"), False),
        ("call", call("CreateThing", "ResourceAlreadyExistsException"), False),
        ("unanswered", {"client_id": "a", "topic": "$aws/rules/r", "why": "No."}, True),
        ("connect", {"client_id": "a"}, False),
    ],
)
def test_a_newer_failure_is_found(kind: str, members: dict[str, Any], expected: bool) -> None:
    log = EventLog()
    endpoint = admin_endpoints(log)["why"]
    log.append(kind, **members)
    assert (endpoint({})["failure"] == log.entries()[0]) == expected
    log.append("publish", client_id="a", **refusal("No."))
    assert endpoint({})["failure"] is None


def test_a_failure_of_one_client_is_found_by_id_and_certificate() -> None:
    log = EventLog()
    endpoint = admin_endpoints(log)["why"]
    log.append("unanswered", client_id="a", principal="c1", topic="t", why="No.")
    assert endpoint({"client_id": "a"})["failure"] is not None
    assert endpoint({"client_id": "b", "principals": ["c1"]})["failure"] is not None
    assert endpoint({"client_id": "b", "principals": ["c2"]})["failure"] is None


def test_dropped_messages_are_counted_for_each_client() -> None:
    log = EventLog()
    endpoint = admin_endpoints(log)["why"]
    log.append("dropped", client_id="a", topic="t", why="First.")
    log.append("dropped", client_id="a", topic="t", why="Last.", count=3)
    log.append("dropped", client_id="b", topic="t", why="Other.")
    a, b = {"count": 4, "why": "Last."}, {"count": 1, "why": "Other."}
    assert endpoint({})["dropped"] == {"a": a, "b": b}
    assert endpoint({"client_id": "b"})["dropped"] == {"b": b}


def test_the_last_refusal_of_a_thing_whatever_its_client_id() -> None:
    log = EventLog()
    endpoint = admin_endpoints(log)["why"]
    log.append("publish", client_id="pump", principal="c1", **refusal("as pump"))
    log.append("publish", client_id="other", principal="c2", **refusal("other"))
    question = {"client_id": "Test2", "principals": ["c0", "c1"]}
    assert endpoint(question)["entry"]["refusal"]["summary"] == "as pump"
    log.append("shadow", client_id="phone", thing="Test2", **refusal("of its shadow"))
    assert endpoint(question)["entry"]["refusal"]["summary"] == "of its shadow"
    with pytest.raises(ServiceError, match="'principals' must be a list of ids"):
        endpoint({"client_id": "Test2", "principals": "c1"})


@pytest.mark.parametrize("payload", [b"x", b"x" * 10_000])
def test_the_admin_api_returns_a_long_log_in_pages(payload: bytes) -> None:
    log = EventLog(messages=BufferLimit(10_000, 100_000_000))
    for _ in range(1_200):
        send(log, payload=payload)
    endpoint = admin_endpoints(log)["events"]
    page = endpoint({})
    entries = page["entries"]
    send(log)  # after the first page was asked for
    while page["after"] < page["until"]:
        assert len(json.dumps(page)) < PAGE_BYTES + 20_000
        page = endpoint({"after": page["after"], "until": page["until"]})
        entries += page["entries"]
    assert [entry["number"] for entry in entries] == list(range(1, 1_201))
    assert endpoint({"after": 1_200})["entries"] == log.entries(after=1_200)


@pytest.mark.parametrize(
    ("question", "numbers"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"kind": "publish"}, [3, 4, 5]),
        ({"kind": "publish", "thing": "Test2"}, [4]),
        ({"thing": "Test2"}, [4, 7]),
        ({"thing": "gauge"}, [1, 2, 3, 4]),
        ({"topic": "creek/#"}, [2, 3, 4, 5]),
        ({"topic": "creek/+"}, [3, 4, 5]),
        ({"topic": "creek/stage"}, [4]),
        ({"topic": "creek/depth"}, [3, 5]),
        ({"topic": "house/#"}, [6]),
        ({"topic": "creek/depth", "after": 3}, [5]),
        ({"topic": "creek/depth", "until": 4}, [3]),
        ({"kind": "nothing"}, []),
    ],
)
def test_filters_of_the_admin_api(question: dict[str, Any], numbers: list[int]) -> None:
    log = EventLog()
    log.append("connect", client_id="gauge")
    log.append("subscribe", client_id="gauge", filter="creek/#")
    send(log)
    send(log, "creek/stage", receivers=[TEST2])
    log.append("publish", client_id="other", resource="topic/creek/depth", **refusal("No."))
    log.append("subscribe", resource="topicfilter/house/#", **refusal("No."))
    log.append("shadow", client_id="", thing="Test2", shadow="")
    page = admin_endpoints(log)["events"](question)
    assert [entry["number"] for entry in page["entries"]] == numbers
    assert page["after"] == page["until"]


def test_the_admin_api_explains_an_invalid_request(lab: Lab) -> None:
    with pytest.raises(RuntimeError, match="The local cloud answered 400"):
        lab.admin("events", {"after": "yesterday"})
    with pytest.raises(RuntimeError, match="'topic' must be a topic, or a topic filter"):
        lab.admin("events", {"topic": 5})


def test_what_a_cloud_logs(lab: Lab, new_thing: NewThings) -> None:
    allowed = [
        {"Effect": "Allow", "Action": "iot:*", "Resource": ["ARN:client/*", "ARN:topic*/a/*"]}
    ]
    thing = new_thing(allowed)
    last = int(lab.events().index[-1])
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("a/#")
        device.publish("a/b", "x")
        inbox.wait_for(1, timeout=5)
        device.unsubscribe("a/#")
        with pytest.raises(RequestRefused):
            device.publish("b/a", "x")
    lab.client("iot-data").update_thing_shadow(
        thingName=thing.name, payload='{"state": {"reported": {"depth": 1}}}'
    )
    lab.client("iot-data").delete_thing_shadow(thingName=thing.name)
    mine = lab.admin("events", {"after": last, "thing": thing.name})["entries"]
    connect, subscribe, publish, unsubscribe, refused, disconnect, update, delete = mine
    assert [each["kind"] for each in mine] == [
        "connect",
        "subscribe",
        "publish",
        "unsubscribe",
        "publish",
        "disconnect",
        "shadow",
        "shadow",
    ]
    for each in mine[:6]:
        assert each["principal"] == thing.certificate_id
        assert each["source_ip"] in ("127.0.0.1", "::1")
        assert each["source_port"] == connect["source_port"] > 0
    assert (subscribe["filter"], unsubscribe["filter"]) == ("a/#", "a/#")
    assert (publish["topic"], publish["payload"], publish["to"]) == ("a/b", "x", [thing.name])
    assert refused["refusal"]["summary"]
    assert disconnect["reason"] == "CLIENT_INITIATED_DISCONNECT"
    assert (update["request"], update["version"], update["previous"]) == ("update", 1, None)
    assert update["document"]["state"] == {"reported": {"depth": 1}}
    assert (delete["request"], delete["version"], delete["document"]) == ("delete", 1, None)
    assert delete["previous"] == update["document"]
    calls = lab.admin("events", {"after": last, "kind": "call"})["entries"]
    assert [(each["operation"], each["status"]) for each in calls] == [
        ("UpdateThingShadow", 200),
        ("DeleteThingShadow", 200),
    ]


def test_later_deliveries_have_entries_of_their_own(lab: Lab, new_thing: NewThings) -> None:
    reader, writer = new_thing(), new_thing()
    last = int(lab.events().index[-1])
    topic = f"later/{reader.name}"
    with lab.connect(writer.name) as device:
        device.publish(topic, "kept", retain=True)
    with lab.connect(reader.name) as device:
        device.subscribe(topic).wait_for(1, timeout=5)
    log = lab.events(after=last, topic=topic)
    assert log["kind"].tolist() == ["publish", "subscribe", "deliver"]
    assert log["client_id"].tolist() == [writer.name, reader.name, reader.name]
    assert log["payload"].tolist()[::2] == ["kept", "kept"]


def test_no_key_is_logged(lab: Lab, new_thing: NewThings) -> None:
    last = int(lab.events().index[-1])
    thing = new_thing()
    with lab.connect(thing.name) as device:
        device.publish("a/b", "x")
    text = json.dumps(lab.admin("events", {"after": last}))
    assert thing.name in text
    assert "PRIVATE KEY" not in text
    assert thing.files.private_key.read_text()[100:140] not in text
    assert lab.session.get_credentials().secret_key not in text
