"""Readings from the shadow service's answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.client.inbox import ReceivedMessage
from creeklab.client.topics import parse_shadow_topic, shadow_request
from creeklab.creek.history.message_parser import FIELDS, MessageParser, NotAReading, Observation

ARRIVED = datetime(2018, 8, 31, 12, 0, tzinfo=UTC)
NOON = 1_535_716_800_000_000


def parse(document: Any, topic: str) -> Observation | None:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    return MessageParser("Test2").parse(ReceivedMessage(topic, payload, 1, False), ARRIVED)


@pytest.mark.parametrize(
    ("topic", "parsed", "is_request"),
    [
        ("$aws/things/Barn/shadow/get", ("Barn", "", "get"), True),
        ("$aws/things/Barn/shadow/name/pump/update", ("Barn", "pump", "update"), True),
        ("$aws/things/Barn/shadow/update/accepted", ("Barn", "", "update/accepted"), False),
        ("$aws/things/Barn/shadow/name/pump", ("Barn", "", "name/pump"), False),
        ("$aws/things/Barn/shadow", None, False),
        ("$aws/things/a/b/shadow/get", None, False),
        ("creek/depth", None, False),
    ],
)
def test_shadow_topics(topic: str, parsed: tuple[str, str, str] | None, is_request: bool) -> None:
    assert parse_shadow_topic(topic) == parsed
    assert shadow_request(topic) == (parsed if is_request else None)


class TestShadow:
    topic = "$aws/things/Barn/shadow/update/accepted"
    documents = "$aws/things/Barn/shadow/update/documents"

    def test_accepted(self) -> None:
        fields = {"depth": 1.4, "time": "2018-08-31T12:00:00Z"}
        document = {"state": {"reported": fields}, "version": 7, "timestamp": 1_600_000_000}
        assert parse(document, self.topic) == (
            "Barn",
            NOON,
            (1.4, None),
        )
        named = self.topic.replace("shadow/", "shadow/name/pump/")
        assert parse(document, named) == ("Barn", NOON, (1.4, None))

    def test_the_timestamp_is_the_default_time(self) -> None:
        document = {"state": {"reported": {"depth": 1.4}}, "timestamp": 1_535_716_800}
        assert parse(document, self.topic) == ("Barn", NOON, (1.4, None))

    def test_only_the_new_fields_of_a_document(self) -> None:
        def at(second: int) -> dict[str, int]:
            return {"timestamp": second}

        document = {
            "previous": {"state": {"reported": {"depth": 1.0, "temperature": 68}}},
            "current": {
                "state": {
                    "reported": {"time": "2018-08-31T12:00:00Z", "depth": 1.0, "temperature": 50}
                },
                "metadata": {
                    "reported": {"time": at(200), "depth": at(100), "temperature": at(200)}
                },
                "version": 8,
            },
            "timestamp": 200,
        }
        assert parse(document, self.documents) == ("Barn", NOON, (None, 10.0))

    @pytest.mark.parametrize(
        ("topic", "document"),
        [
            (topic, {"state": {"desired": {"depth": 3}}}),
            (topic, {"state": {"reported": {"led": "on"}}}),
            (topic, {"state": {"reported": None}}),
            (topic, {"state": None}),
            (topic, {}),
            (documents, {"previous": {"state": {"reported": {"depth": 3}}}}),
            (
                documents,
                {key: {"state": {"reported": {"depth": 3}}} for key in ("previous", "current")},
            ),
            ("$aws/things/Barn/shadow/update", {"state": {"reported": {"depth": 3}}}),
            ("$aws/things/Barn/shadow/get/accepted", {"state": {"reported": {"depth": 3}}}),
            ("$aws/things/Barn/shadow/update/rejected", {"code": 400}),
            ("$aws/events/presence/connected/Barn", b"\xff"),
        ],
    )
    def test_nothing_measured(self, topic: str, document: Any) -> None:
        assert parse(document, topic) is None

    @pytest.mark.parametrize("payload", [b"", b"\xff", b"[" * 100_000, b"[1]"])
    def test_unreadable(self, payload: bytes) -> None:
        with pytest.raises(NotAReading, match="it is not JSON"):
            parse(payload, self.topic)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(
                [*FIELDS, "time", "state", "current", "reported", "metadata", "timestamp"]
            ),
            inner,
        ),
    ).map(lambda document: json.dumps(document).encode()),
    st.sampled_from([TestShadow.topic, TestShadow.documents]),
)
def test_any_document_is_a_reading_or_the_error_says_why_not(payload: bytes, topic: str) -> None:
    try:
        observation = parse(payload, topic)
    except NotAReading:
        return
    assert observation is None or any(value is not None for value in observation.values)
