"""The Device Shadow service around its documents: topics, the store, REST and MQTT.

The first tests run the service alone, with a store, a clock that the test sets, and a list of
published messages. The others use boto3 and an MQTT connection to a complete cloud.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from creeklab import Lab
from creeklab.cloud.monitoring.event_log import EventLog, PeerIdentity
from creeklab.cloud.mqtt.interfaces import PublishedMessage
from creeklab.cloud.shadow import service as shadow_service
from creeklab.cloud.shadow.document import Rejected, ShadowLimits
from creeklab.cloud.shadow.shadows import Shadows
from creeklab.cloud.shadow.store import REMEMBER_DELETED_SECONDS, ShadowStore
from creeklab.cloud.shadow.topics import REQUEST_TOPIC, ShadowTopics
from creeklab.cloud.storage.database import Database
from tests.conftest import NewThing

HOURS = 3600
CLASSIC = "$aws/things/Test2/shadow"
NAMED = "$aws/things/Test2/shadow/name/settings"
REPORT = b'{"state": {"reported": {"depth": 1.4}}}'


def new_event_log(clock: Callable[[], float]) -> EventLog:
    event_log = EventLog(clock=clock)
    for group, ends in shadow_service.SERVICE.metrics.items():
        event_log.metrics.add_group(group, ends)
    return event_log


class ShadowsFixture:
    """The service with its store, clock, event log and published messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_800_000_000.0
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.event_log = new_event_log(lambda: self.now)
        self.open()

    def open(self) -> None:
        self.store = Database(self.path)
        self.shadows = Shadows(
            ShadowStore(self.store), self._publish, self.event_log, lambda: self.now, ShadowLimits()
        )

    def _publish(self, topic: str, payload: bytes, qos: int) -> None:
        assert qos == 1
        self.published.append((topic, json.loads(payload)))

    def send(self, topic: str, payload: bytes | str | dict[str, Any] = b"") -> dict[str, Any]:
        """Send a message of client ``c``; return the published messages by topic."""
        if isinstance(payload, dict):
            payload = json.dumps(payload)
        raw = payload.encode() if isinstance(payload, str) else payload
        self.published.clear()
        match = REQUEST_TOPIC.fullmatch(topic)
        if match is not None:
            ShadowTopics(self.shadows).on_request(
                PublishedMessage(topic, raw, sender=PeerIdentity("c")), match
            )
        responses = dict(self.published)
        assert len(responses) == len(self.published)
        return responses


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[ShadowsFixture]:
    fixture = ShadowsFixture(tmp_path / "cloud.db")
    yield fixture
    fixture.store.close()


# --- topics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [CLASSIC, NAMED])
def test_messages_of_an_update(fixture: ShadowsFixture, prefix: str) -> None:
    first = fixture.send(f"{prefix}/update", REPORT)
    assert first.keys() == {f"{prefix}/update/accepted", f"{prefix}/update/documents"}
    assert first[f"{prefix}/update/accepted"]["state"] == {"reported": {"depth": 1.4}}
    desired = fixture.send(
        f"{prefix}/update", {"state": {"desired": {"depth": 1}}, "clientToken": "token"}
    )
    assert desired.keys() == {
        f"{prefix}/update/{last}" for last in ("accepted", "documents", "delta")
    }
    assert desired[f"{prefix}/update/delta"]["state"] == {"depth": 1}
    assert desired[f"{prefix}/update/documents"]["previous"]["version"] == 1
    assert desired[f"{prefix}/update/documents"]["current"]["version"] == 2
    assert {response["clientToken"] for response in desired.values()} == {"token"}


@pytest.mark.parametrize("prefix", [CLASSIC, NAMED])
def test_get_and_delete_publish_only_their_response(fixture: ShadowsFixture, prefix: str) -> None:
    fixture.send(f"{prefix}/update", REPORT)
    got = fixture.send(f"{prefix}/get", {"clientToken": "token"})
    assert got.keys() == {f"{prefix}/get/accepted"}
    assert got[f"{prefix}/get/accepted"]["state"] == {"reported": {"depth": 1.4}}
    assert got[f"{prefix}/get/accepted"]["clientToken"] == "token"
    gone = fixture.send(f"{prefix}/delete", {"clientToken": "token"})
    assert gone == {
        f"{prefix}/delete/accepted": {
            "version": 1,
            "timestamp": int(fixture.now),
            "clientToken": "token",
        }
    }


REJECTIONS = [
    ("get", {"clientToken": "token"}, 404, "No shadow exists with name: "),
    ("delete", {"clientToken": "token"}, 404, "No shadow exists with name: "),
    ("update", {"clientToken": "token"}, 400, "Missing required node: state"),
    ("update", {"clientToken": "token", "state": 5}, 400, "State node must be an object"),
    ("update", {"clientToken": "token", "state": {}, "version": -1}, 400, "Invalid version"),
    ("update", {"clientToken": "token", "state": {"desired": {"a": "x" * 9000}}}, 413, "The pay"),
]


@pytest.mark.parametrize(("request_type", "request_", "code", "text"), REJECTIONS)
@pytest.mark.parametrize(("prefix", "name"), [(CLASSIC, "Test2"), (NAMED, "settings")])
def test_a_rejection_carries_the_client_token(
    fixture: ShadowsFixture,
    prefix: str,
    name: str,
    request_type: str,
    request_: Any,
    code: int,
    text: str,
) -> None:
    [(topic, response)] = fixture.send(f"{prefix}/{request_type}", request_).items()
    assert topic == f"{prefix}/{request_type}/rejected"
    assert response["clientToken"] == "token"
    assert (response["code"], response["timestamp"]) == (code, int(fixture.now))
    assert response["message"].startswith(text)
    if code == 404:
        assert response["message"].endswith(f"'{name}'")
    entry = fixture.event_log.last_refusal("c")
    assert entry is not None
    assert (entry["kind"], entry["request"], entry["thing"]) == ("shadow", request_type, "Test2")
    assert entry["refusal"]["summary"] == f"{code} {response['message']}"


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"{{{", b"[]", b"5", b'{"version": 99}'])
def test_delete_does_not_read_its_payload(fixture: ShadowsFixture, payload: bytes) -> None:
    fixture.send(f"{CLASSIC}/update", REPORT)
    responses = fixture.send(f"{CLASSIC}/delete", payload)
    assert responses == {
        f"{CLASSIC}/delete/accepted": {"version": 1, "timestamp": int(fixture.now)}
    }


@pytest.mark.parametrize(
    ("request_type", "payload", "code"),
    [
        ("get", b"{{{", 400),
        ("get", b"\xff", 415),
        ("get", b"[]", 400),
        ("update", b"", 400),
        ("update", b"{{{", 400),
        ("update", b"\xff", 415),
        ("update", b"null", 400),
        ("update", b'{"state": {"reported": {"a": NaN}}}', 400),
        ("update", b"[" * 5000, 400),
    ],
)
def test_malformed_payloads_are_rejected(
    fixture: ShadowsFixture, request_type: str, payload: bytes, code: int
) -> None:
    [(topic, response)] = fixture.send(f"{CLASSIC}/{request_type}", payload).items()
    assert topic == f"{CLASSIC}/{request_type}/rejected"
    assert response["code"] == code


@pytest.mark.parametrize(
    "topic",
    [
        CLASSIC,
        f"{CLASSIC}/",
        f"{CLASSIC}/set",
        f"{CLASSIC}/Update",
        f"{CLASSIC}/update/",
        f"{CLASSIC}/update/accepted",
        f"{CLASSIC}/update/documents",
        f"{CLASSIC}/name/update",
        f"{CLASSIC}/name//update",
        f"{CLASSIC}/name/a/b/update",
        f"{CLASSIC}/name/{'a' * 65}/update",
        f"{CLASSIC}/name/a b/update",
        f"{NAMED}/update/accepted",
        "$aws/things//shadow/update",
        "$aws/things/a b/shadow/update",
        f"$aws/things/{'a' * 129}/shadow/update",
        "$aws/things/Test2/a/shadow/update",
        "$aws/thing/Test2/shadow/update",
        "aws/things/Test2/shadow/update",
        "x/$aws/things/Test2/shadow/update",
        f"{CLASSIC}/update\n",
    ],
)
def test_topics_that_only_resemble_shadow_topics(fixture: ShadowsFixture, topic: str) -> None:
    assert fixture.send(topic, REPORT) == {}
    assert fixture.event_log.entries() == []
    assert fixture.store.execute("SELECT count(*) FROM shadows").fetchone()[0] == 0


# --- the store ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elapsed", "version"),
    [
        (0, 4),
        (47 * HOURS, 4),
        (48 * HOURS - 1, 4),
        (48 * HOURS, 1),
        (48 * HOURS + 1, 1),
        (9_999 * HOURS, 1),
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_version_numbers_continue_for_48_hours(
    fixture: ShadowsFixture, elapsed: float, version: int, restarted: bool
) -> None:
    for _ in range(3):
        fixture.send(f"{CLASSIC}/update", REPORT)
    fixture.send(f"{CLASSIC}/delete")
    fixture.now += elapsed
    if restarted:
        fixture.store.close()
        fixture.open()
    assert fixture.send(f"{CLASSIC}/get")[f"{CLASSIC}/get/rejected"]["code"] == 404
    responses = fixture.send(f"{CLASSIC}/update", REPORT)
    assert responses[f"{CLASSIC}/update/accepted"]["version"] == version
    assert responses[f"{CLASSIC}/update/documents"]["previous"] is None
    assert responses[f"{CLASSIC}/update/documents"]["current"]["version"] == version
    assert REMEMBER_DELETED_SECONDS == 48 * HOURS


def test_the_48_hours_start_with_the_last_deletion(fixture: ShadowsFixture) -> None:
    for version in (1, 2, 3):
        fixture.send(f"{CLASSIC}/update", REPORT)
        gone = fixture.send(f"{CLASSIC}/delete")
        assert gone[f"{CLASSIC}/delete/accepted"]["version"] == version
        fixture.now += 40 * HOURS
    rejected = fixture.send(f"{CLASSIC}/delete")[f"{CLASSIC}/delete/rejected"]
    assert rejected["code"] == 404
    fixture.now += 7 * HOURS
    accepted = fixture.send(f"{CLASSIC}/update", REPORT)[f"{CLASSIC}/update/accepted"]
    assert accepted["version"] == 4


def test_shadows_are_separate_by_thing_and_name(fixture: ShadowsFixture) -> None:
    prefixes = [
        CLASSIC,
        NAMED,
        f"{CLASSIC}/name/Test2",
        "$aws/things/settings/shadow",
        "$aws/things/test2/shadow",
    ]
    for number, prefix in enumerate(prefixes):
        for _ in range(number + 1):
            fixture.send(f"{prefix}/update", {"state": {"reported": {"number": number}}})
    fixture.send(f"{NAMED}/delete")
    responses = [next(iter(fixture.send(f"{prefix}/get").values())) for prefix in prefixes]
    assert [response.get("version") for response in responses] == [1, None, 3, 4, 5]
    assert responses[0]["state"]["reported"] == {"number": 0}
    assert responses[1]["code"] == 404


def test_changes_are_committed_before_they_are_acknowledged(tmp_path: Path) -> None:
    seen: list[int] = []

    def publish(topic: str, payload: bytes, qos: int) -> None:
        other = Database(tmp_path / "cloud.db")
        seen.append(other.execute("SELECT version FROM shadows").fetchone()[0])
        other.close()

    store = Database(tmp_path / "cloud.db")
    service = Shadows(
        ShadowStore(store), publish, new_event_log(lambda: 1.0), lambda: 1.0, ShadowLimits()
    )
    service.update("Test2", "", b'{"state": {"desired": {"a": 1}}}')
    service.update("Test2", "", REPORT)
    store.close()
    assert seen == [1, 1, 1, 2, 2, 2]


def test_a_direct_call_that_fails_publishes_nothing_and_changes_nothing(
    fixture: ShadowsFixture,
) -> None:
    fixture.send(f"{CLASSIC}/update", REPORT)
    fixture.published.clear()
    for payload in (b"", b"{}", b'{"state": {}, "version": 7}', b'{"state": {"x": 1}}'):
        with pytest.raises(Rejected):
            fixture.shadows.update("Test2", "", payload)
    with pytest.raises(Rejected):
        fixture.shadows.get("Test2", "settings")
    with pytest.raises(Rejected):
        fixture.shadows.delete("Test2", "settings")
    assert fixture.published == []
    assert fixture.shadows.get("Test2", "")["version"] == 1
    assert fixture.shadows.names("Test2", "", 10) == []


def test_named_shadows_are_sorted_and_paged(fixture: ShadowsFixture) -> None:
    names = ["b", "a:1", "$internal", "Z", "a"]
    for name in ["", *names, "deleted"]:
        fixture.shadows.update("Test2", name, REPORT)
    fixture.shadows.update("Other", "x", REPORT)
    fixture.shadows.delete("Test2", "deleted")
    assert fixture.shadows.names("Test2", "", 10) == sorted(names)
    assert fixture.shadows.names("Test2", "", 2) == sorted(names)[:2]
    assert fixture.shadows.names("Test2", "Z", 10) == sorted(names)[2:]
    assert fixture.shadows.names("Nobody", "", 10) == []


def test_requests_in_the_event_log(fixture: ShadowsFixture) -> None:
    fixture.send(f"{NAMED}/update", REPORT)
    fixture.send(f"{NAMED}/get")
    fixture.send(f"{NAMED}/delete")
    entries = [
        (entry["client_id"], entry["thing"], entry["shadow"], entry["request"], entry["version"])
        for entry in fixture.event_log.entries()
    ]
    of = ("c", "Test2", "settings")
    assert entries == [(*of, "update", 1), (*of, "delete", 1)]


def test_the_event_log_has_each_version_and_the_previous_one(fixture: ShadowsFixture) -> None:
    fixture.send(f"{NAMED}/update", {"state": {"desired": {"lamp": "on"}}})
    fixture.shadows.update("Test2", "settings", b'{"state": {"reported": {"lamp": "on"}}}')
    fixture.shadows.delete("Test2", "settings")
    entries = fixture.event_log.entries()
    states = [entry["document"] and entry["document"]["state"] for entry in entries]
    assert states == [
        {"desired": {"lamp": "on"}},
        {"desired": {"lamp": "on"}, "reported": {"lamp": "on"}},
        None,
    ]
    assert [entry["previous"] for entry in entries] == [
        None,
        entries[0]["document"],
        entries[1]["document"],
    ]
    assert entries[1]["document"]["version"] == 2
    assert [entry["protocol"] for entry in entries] == ["MQTT", "HTTP", "HTTP"]


def test_accepted_requests_are_counted(fixture: ShadowsFixture) -> None:
    fixture.send(f"{CLASSIC}/get")  # the shadow does not exist yet
    fixture.send(f"{CLASSIC}/update", REPORT)
    fixture.send(f"{CLASSIC}/update", "no JSON")
    fixture.shadows.update("Test2", "", REPORT)
    fixture.shadows.update("Test2", "", REPORT)
    fixture.send(f"{CLASSIC}/get")
    fixture.shadows.names("Test2", "", 10)
    fixture.send(f"{CLASSIC}/delete")
    fixture.send(f"{CLASSIC}/delete")
    counts = {
        (each["name"], each["protocol"]): each["sum"] for each in fixture.event_log.metrics.totals()
    }
    assert counts == {
        ("GetThingShadow.Accepted", "MQTT"): 1,
        ("UpdateThingShadow.Accepted", "MQTT"): 1,
        ("UpdateThingShadow.Accepted", "HTTP"): 2,
        ("DeleteThingShadow.Accepted", "MQTT"): 1,
        ("ListThingShadow.Accepted", "HTTP"): 1,
    }


# --- through boto3 and MQTT -----------------------------------------------------------------------

NewThings = Callable[..., NewThing]


def body(response: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(response["payload"].read())
    return document


@pytest.mark.parametrize("name", ["", "settings"])
def test_an_update_over_rest_is_seen_on_mqtt(lab: Lab, new_thing: NewThings, name: str) -> None:
    data, thing = lab.client("iot-data"), new_thing()
    which = {"thingName": thing.name, **({"shadowName": name} if name else {})}
    prefix = f"$aws/things/{thing.name}/shadow" + (f"/name/{name}" if name else "")
    with lab.connect(thing.name) as device:
        inbox = device.subscribe(f"{prefix}/#")
        payload = json.dumps({"state": {"desired": {"lamp": "on"}}, "clientToken": "token"})
        accepted = body(data.update_thing_shadow(**which, payload=payload))
        got = {message.topic.removeprefix(prefix): message.json for message in inbox.wait_for(3)}
    assert got.keys() == {"/update/delta", "/update/documents", "/update/accepted"}
    assert got["/update/accepted"] == accepted
    assert accepted["clientToken"] == "token"
    assert body(data.get_thing_shadow(**which))["state"]["delta"] == {"lamp": "on"}


def test_a_failure_over_rest_is_not_seen_on_mqtt(lab: Lab, new_thing: NewThings) -> None:
    data, thing = lab.client("iot-data"), new_thing()
    with lab.connect(thing.name) as device:
        inbox = device.subscribe(f"$aws/things/{thing.name}/shadow/#")
        for call, payload, code, status in (
            ("get", None, "ResourceNotFoundException", 404),
            ("delete", None, "ResourceNotFoundException", 404),
            ("update", b"{", "InvalidRequestException", 400),
            ("update", b'{"state": {}, "version": 3}', "InvalidRequestException", 400),
            ("update", b"\xff", "UnsupportedDocumentEncodingException", 415),
            (
                "update",
                json.dumps({"state": {"desired": {"a": "x" * 9000}}}).encode(),
                "RequestEntityTooLargeException",
                413,
            ),
        ):
            with pytest.raises(ClientError) as error:
                getattr(data, f"{call}_thing_shadow")(
                    thingName=thing.name, **({} if payload is None else {"payload": payload})
                )
            assert error.value.response["Error"]["Code"] == code
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        data.update_thing_shadow(thingName=thing.name, payload=REPORT)
        with pytest.raises(data.exceptions.ConflictException, match="Version conflict"):
            data.update_thing_shadow(thingName=thing.name, payload=b'{"state": {}, "version": 9}')
        data.update_thing_shadow(thingName=thing.name, payload=REPORT)
        topics = [topic.rpartition("/")[2] for topic in [m.topic for m in inbox.wait_for(4)]]
    assert sorted(topics) == ["accepted", "accepted", "documents", "documents"]


def test_rest_and_mqtt_share_one_shadow(lab: Lab, new_thing: NewThings) -> None:
    data, thing = lab.client("iot-data"), new_thing()
    with lab.connect(thing.name) as device:
        assert device.shadow.update(reported={"a": 1})["version"] == 1
        assert body(data.update_thing_shadow(thingName=thing.name, payload=REPORT))["version"] == 2
        assert device.shadow.get()["state"]["reported"] == {"a": 1, "depth": 1.4}
        assert body(data.delete_thing_shadow(thingName=thing.name))["version"] == 2
        assert device.shadow.update(reported={"a": 1})["version"] == 3


def test_a_shadow_needs_no_thing_and_outlives_it(lab: Lab) -> None:
    iot, data = lab.client("iot"), lab.client("iot-data")
    assert body(data.update_thing_shadow(thingName="ghost", payload=REPORT))["version"] == 1
    iot.create_thing(thingName="ghost")
    iot.delete_thing(thingName="ghost")
    assert body(data.get_thing_shadow(thingName="ghost"))["version"] == 1


def test_listing_named_shadows_page_by_page(lab: Lab, new_thing: NewThings) -> None:
    data, thing = lab.client("iot-data"), new_thing().name
    names = [f"shadow-{number}" for number in range(7)]
    for name in reversed(names):
        data.update_thing_shadow(thingName=thing, shadowName=name, payload=REPORT)
    data.update_thing_shadow(thingName=thing, payload=REPORT)
    pages: list[list[str]] = []
    token: dict[str, str] = {}
    while True:
        page = data.list_named_shadows_for_thing(thingName=thing, pageSize=3, **token)
        assert page["timestamp"] > 1_700_000_000
        pages.append(page["results"])
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert pages == [names[:3], names[3:6], names[6:]]
    assert data.list_named_shadows_for_thing(thingName=thing)["results"] == names
    complete = data.list_named_shadows_for_thing(thingName=thing, pageSize=7)
    assert "nextToken" not in complete
    assert data.list_named_shadows_for_thing(thingName="unknown")["results"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"pageSize": 101},
        {"nextToken": "abc"},
        {"nextToken": "nonsense"},
        pytest.param({"nextToken": "!!!!"}),
        pytest.param({"nextToken": "é"}),
    ],
    ids=str,
)
def test_invalid_page_arguments(lab: Lab, arguments: dict[str, Any]) -> None:
    data = lab.client("iot-data")
    with pytest.raises(data.exceptions.InvalidRequestException):
        data.list_named_shadows_for_thing(thingName="Test2", **arguments)


@pytest.mark.parametrize("name", ["a b", "a/b", "a" * 65, "ü", "a.b"])
def test_invalid_shadow_names(lab: Lab, name: str) -> None:
    data = lab.client("iot-data")
    with pytest.raises(data.exceptions.InvalidRequestException):
        data.update_thing_shadow(thingName="Test2", shadowName=name, payload=REPORT)


# --- when the database cannot be written ----------------------------------------------------------


@pytest.mark.parametrize("request_type", ["get", "update", "delete"])
def test_a_database_that_cannot_be_used_is_reported_to_the_client(
    fixture: ShadowsFixture, request_type: str
) -> None:
    fixture.store.close()
    with pytest.raises(sqlite3.Error):
        fixture.send(
            f"{CLASSIC}/{request_type}", {"state": {"reported": {"a": 1}}, "clientToken": "t"}
        )
    assert fixture.published == [
        (
            f"{CLASSIC}/{request_type}/rejected",
            {
                "code": 500,
                "message": "Internal service failure",
                "timestamp": int(fixture.now),
                "clientToken": "t",
            },
        )
    ]


def test_old_tombstones_are_purged(fixture: ShadowsFixture) -> None:
    for topic in (CLASSIC, NAMED):
        fixture.send(f"{topic}/update", REPORT)
        fixture.send(f"{topic}/delete")
        fixture.now += HOURS
    fixture.send("$aws/things/Other/shadow/update", REPORT)
    fixture.store.close()
    fixture.now += REMEMBER_DELETED_SECONDS - HOURS - 1
    fixture.open()
    left = fixture.store.execute("SELECT thing, name FROM shadows").fetchall()
    assert [tuple(row) for row in left] == [("Other", ""), ("Test2", "settings")]
