"""Messages: what they measured, when, and which of them are not readings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.creek.history.message_parser import FIELDS, MessageParser, NotAReading, Observation
from creeklab.creek.sensor.replay import Reading

ARRIVED = datetime(2018, 8, 31, 12, 0, tzinfo=UTC)
NOON = 1_535_716_800_000_000


class Message(NamedTuple):
    topic: str
    payload: bytes
    retain: bool = False


def read(said: Any, topic: str = "creek", *, retain: bool = False) -> Observation | None:
    payload = said if isinstance(said, bytes) else json.dumps(said).encode()
    return MessageParser("Test2").parse(Message(topic, payload, retain), ARRIVED)


class TestTime:
    @pytest.mark.parametrize(
        ("time", "micros"),
        [
            ("2018-08-31T12:00:00Z", NOON),
            ("2018-08-31 12:00Z", NOON),
            ("20180831T120000Z", NOON),
            ("2018-08-31T08:00:00-04:00", NOON),
            ("2018-11-04T01:30:00-04:00", 1_541_309_400_000_000),
            ("2018-11-04T01:30:00-05:00", 1_541_313_000_000_000),  # the same hour, again
            ("2018-08-31T12:00:00.000001Z", NOON + 1),
            (1_535_716_800, NOON),
            (1_535_716_800.25, NOON + 250_000),
            (1_535_716_800_250, NOON + 250_000),
            (0, 0),
        ],
    )
    def test_the_time_of_the_message(self, time: str | float, micros: int) -> None:
        assert read({"time": time, "depth": 1.5}) == Observation("Test2", micros, (1.5, None))

    @pytest.mark.parametrize("said", [{"depth": 1}, {"depth": 1, "time": None}])
    def test_the_time_of_arrival(self, said: dict[str, Any]) -> None:
        assert read(said) == Observation("Test2", NOON, (1.0, None))

    @given(
        st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30), timezones=st.timezones()),
    )
    def test_no_zone_and_no_summer_time_shifts_a_reading(self, moment: datetime) -> None:
        reading = Reading(moment, 1.5)
        observation = read(json.dumps(reading.message()).encode())
        assert observation is not None
        since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        assert observation.time == since // timedelta(microseconds=1)


class Report(NamedTuple):
    """A message that carries the report of a Thing in a format of its own."""

    fields: dict[str, Any] | Exception | None
    topic: str = "$service/answer"
    payload: bytes = b""
    retain: bool = False

    def reported(self) -> tuple[str, dict[str, Any]] | None:
        if isinstance(self.fields, Exception):
            raise self.fields
        return None if self.fields is None else ("Barn", self.fields)


class TestReports:
    def test_the_message_names_thing_and_fields(self) -> None:
        parsed = MessageParser().parse(Report({"depth": 1.4, "time": 1_535_716_800}), ARRIVED)
        assert parsed == ("Barn", NOON, (1.4, None))

    @pytest.mark.parametrize("fields", [{}, {"led": "on"}, {"depth": None}, {"time": 0}, None])
    def test_nothing_measured(self, fields: dict[str, Any] | None) -> None:
        assert MessageParser().parse(Report(fields), ARRIVED) is None

    def test_unreadable(self) -> None:
        with pytest.raises(NotAReading, match=r"it is not JSON \(torn\)"):
            MessageParser().parse(Report(ValueError("torn")), ARRIVED)

    def test_without_a_report_a_reserved_topic_is_ignored(self) -> None:
        assert read(b"\xff", "$aws/events/presence/connected/Barn") is None
        with pytest.raises(NotAReading, match="it is not JSON"):
            MessageParser("Barn").parse(Report(None, "creek", b"\xff"), ARRIVED)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b'{"depth": 1', "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"1" * 5000, "it is not JSON"),
        ([1, 2], "it is not a JSON object"),
        (1.5, "it is not a JSON object"),
        ({}, "it has none of depth, temperature"),
        ({"Depth": 1.5}, "it has none of depth"),
        ({"depth": "dry"}, "its depth is 'dry', which is not a number"),
        ({"depth": "1,5"}, "its depth is '1,5', which is not a number"),
        ({"depth": True}, "its depth is true, which is not a number"),
        ({"depth": [1]}, r"its depth is \[1\], which is not a number"),
        (b'{"depth": NaN}', "its depth is nan, which no sensor measures"),
        (b'{"depth": -Infinity}', "its depth is -inf, which no sensor measures"),
        (b'{"depth": 1e400}', "its depth is inf, which no sensor measures"),
        ({"depth": 10**400}, "its depth is '1000.*, which is not a number"),
        ({"depth": 1, "temperature": "?"}, "its temperature is '\\?'"),
        ({"depth": 1, "time": "noon"}, "its time is 'noon', which is not a time"),
        ({"depth": 1, "time": True}, "its time is 'True', which is not a time"),
        ({"depth": 1, "time": 1e300}, "its time is '1e\\+300', which is not a time"),
        (b'{"depth": 1, "time": NaN}', "its time is 'nan', which is not a time"),
        ({"depth": 1, "time": {}}, "its time is '{}', which is not a time"),
        ({"depth": 1, "time": "2018-08-31T12:00"}, "has no zone; append Z if it is UTC"),
        ({"depth": 1, "time": "1815-06-18T12:00Z"}, "not between 1900 and 2200"),
        ({"depth": 1, "time": "0001-01-01T00:00+14:00"}, "not between 1900 and 2200"),
    ],
)
def test_not_a_reading(said: Any, why: str) -> None:
    with pytest.raises(NotAReading, match=why):
        read(said)


def test_numbers_as_text_and_null() -> None:
    assert read({"depth": " 1.5", "temperature": None}) == ("Test2", NOON, (1.5, None))
    assert read({"depth": None}) is None
    assert read({"depth": -0.2}) == ("Test2", NOON, (-0.2, None))


def test_a_retained_message_needs_a_time() -> None:
    assert read({"depth": 1, "time": 0}, retain=True) == ("Test2", 0, (1.0, None))
    with pytest.raises(NotAReading, match="retained and does not say when"):
        read({"depth": 1}, retain=True)


class TestSender:
    def test_the_topic_names_the_thing(self) -> None:
        parser = MessageParser(lambda topic: topic.split("/")[1])
        observation = parser.parse(Message("creek/a", b'{"depth": 1}'), ARRIVED)
        assert observation is not None
        assert observation.thing == "a"

    @pytest.mark.parametrize("thing", [None, lambda _: None])
    def test_a_topic_without_a_thing(self, thing: Any) -> None:
        with pytest.raises(NotAReading, match="does not say which Thing"):
            MessageParser(thing).parse(Message("creek", b'{"depth": 1}'), ARRIVED)


def test_other_fields_in_other_units() -> None:
    parser = MessageParser("Barn", {"level": ("stage_ft", "cm"), "t": ("air_degC", "degC")})
    message = Message("creek", b'{"level": 30.48, "t": 20, "depth": 9}')
    assert parser.parse(message, ARRIVED) == ("Barn", NOON, (1.0, 20.0))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"a": ("stage_ft", "ft"), "b": ("stage_ft", "ft")},
        {"time": ("stage_ft", "ft")},
        {"a": ("stage_ft", "degF")},
    ],
)
def test_no_fields(fields: dict[str, tuple[str, str]]) -> None:
    with pytest.raises(
        ValueError,
        match=r"The fields are (none|'a', 'b'|'time')\. Each|is the unit of a temperature",
    ):
        MessageParser("Barn", fields)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from([*FIELDS, "time"]),
            inner,
        ),
    ).map(lambda said: json.dumps(said).encode()),
)
def test_any_message_is_a_reading_or_the_error_says_why_not(payload: bytes) -> None:
    try:
        observation = read(payload)
    except NotAReading:
        return
    assert observation is None or any(value is not None for value in observation.values)
