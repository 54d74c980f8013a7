"""Publishing over HTTPS: what a message may be, what arrives of it, and a typed 400 for the rest.

The shadow calls of the same service stand in `test_shadow_service.py`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from queue import Queue
from typing import Any

import paho.mqtt.client as paho
import pytest
from botocore.exceptions import ClientError
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from creeklab.cloud.api.iot_data import IotData
from creeklab.cloud.errors import ServiceError
from creeklab.device import Device
from creeklab.lab import Lab
from tests.conftest import NewThing, make_thing


@pytest.fixture(scope="module")
def thing(session_lab: Lab) -> NewThing:
    return make_thing(session_lab)


@pytest.fixture(scope="module")
def listener(session_lab: Lab, thing: NewThing) -> Iterator[Device]:
    with session_lab.connect(thing.name) as device:
        yield device


@pytest.fixture
def data(lab: Lab) -> Any:
    return lab.client("iot-data")


def assert_refused(call: Any, code: str, status: int, text: str = "") -> None:
    with pytest.raises(ClientError) as error:
        call()
    response = error.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (
        code,
        status,
    )
    assert text in response["Error"]["Message"]
    assert response["ResponseMetadata"]["RetryAttempts"] == 0


# --- topics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic",
    [
        "a",
        "a/b/c/d/e/f/g/h",
        "/",
        "//",
        "a//b",
        "a/",
        " a / b ",
        "ü/€/🌊",
        "%41%2F",
        "a?b=c&d",
        "a;b=c",
        ".",
        "..",
        "a/../b",
        "a\\b",
        '"quoted"',
        "1=",
        "x" * 256,
        "é" * 128,
        "$aws/things/iot-data/shadow/name/x/get",
    ],
)
def test_odd_topics_arrive_as_they_are(data: Any, listener: Device, topic: str) -> None:
    inbox = listener.subscribe(topic)
    data.publish(topic=topic, payload=b"x", qos=1)
    assert [(each.topic, each.payload) for each in inbox.wait_for(1)] == [(topic, b"x")]
    listener.unsubscribe(topic)


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        ("#", "wildcard"),
        ("a/#", "wildcard"),
        ("a/+/b", "wildcard"),
        ("a+", "wildcard"),
        ("\0", "U+0000"),
        ("a/\0/b", "U+0000"),
        ("x" * 257, "256 bytes"),
        ("é" * 129, "256 bytes"),
        ("a/b/c/d/e/f/g/h/i", "9 levels"),
        ("$SYS/a", ""),
        ("$aws/a", ""),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_topics_that_cannot_be(data: Any, topic: str, text: str) -> None:
    assert_refused(
        lambda: data.publish(topic=topic, payload=b"x"), "InvalidRequestException", 400, text
    )


def test_a_topic_has_to_be_named(data: Any) -> None:
    with pytest.raises(ClientError) as error:
        data.publish(topic="", payload=b"x")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404)


# --- payload, quality of service, retain ----------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)), b"x" * 131_072], ids=len)
@pytest.mark.parametrize("qos", [0, 1])
def test_a_payload_arrives_at_its_quality(
    data: Any, listener: Device, payload: bytes, qos: int
) -> None:
    inbox = listener.subscribe("data/payload")
    data.publish(topic="data/payload", payload=payload, qos=qos)
    assert [(each.payload, each.qos) for each in inbox.wait_for(1)] == [(payload, qos)]
    listener.unsubscribe("data/payload")


@pytest.mark.parametrize("size", [131_073, 1_000_000, 1_048_576 + 1])
def test_a_payload_beyond_128_kilobytes_is_too_large(data: Any, size: int) -> None:
    assert_refused(
        lambda: data.publish(topic="data/large", payload=b"x" * size),
        "RequestEntityTooLargeException",
        413,
    )


def test_there_is_no_quality_2(data: Any) -> None:
    assert_refused(lambda: data.publish(topic="a", qos=2), "InvalidRequestException", 400, "qos")


def test_a_retained_message_until_an_empty_one(data: Any, listener: Device) -> None:
    present = listener.subscribe("data/retained")
    data.publish(topic="data/retained", payload=b"old", retain=True, qos=1)
    data.publish(topic="data/retained", payload=b"kept", retain=True, qos=1)
    data.publish(topic="data/retained", payload=b"passing", qos=1)
    assert [each.retain for each in present.wait_for(3)] == [False] * 3
    listener.unsubscribe("data/retained")
    late = listener.subscribe("data/retained")
    assert [(each.payload, each.retain) for each in late.wait_for(1)] == [(b"kept", True)]
    data.publish(topic="data/retained", payload=b"", retain=True, qos=1)
    listener.unsubscribe("data/retained")
    later = listener.subscribe("data/retained")
    data.publish(topic="data/retained", payload=b"end", qos=1)
    assert [each.payload for each in later.wait_for(1)] == [b"end"]
    listener.unsubscribe("data/retained")


@pytest.mark.parametrize("topic", ["$aws/things/Test2/shadow/update", "$SYS/a"])
def test_nothing_is_retained_on_a_reserved_topic(data: Any, topic: str) -> None:
    assert_refused(
        lambda: data.publish(topic=topic, payload=b"{}", retain=True),
        "InvalidRequestException",
        400,
    )


# --- the properties of MQTT 5 ---------------------------------------------------------------------


def test_properties_reach_a_client_that_is_not_the_sdk(
    lab: Lab, thing: NewThing, data: Any
) -> None:
    got: Queue[paho.MQTTMessage] = Queue()
    ready: Queue[None] = Queue()
    client = paho.Client(
        CallbackAPIVersion.VERSION2, f"{thing.name}-paho", protocol=MQTTProtocolVersion.MQTTv5
    )
    client.tls_set(str(lab.ca_file), str(thing.files.certificate), str(thing.files.private_key))
    connected: Queue[None] = Queue()
    client.on_connect = lambda *_: connected.put(None)
    client.on_subscribe = lambda *_: ready.put(None)
    client.on_message = lambda *arguments: got.put(arguments[2])
    client.connect(lab.endpoint, lab.mqtt_port)
    client.loop_start()
    try:
        connected.get(timeout=5)
        client.subscribe("data/properties", qos=1)
        ready.get(timeout=5)
        data.publish(
            topic="data/properties",
            payload=b'{"depth": 1.4}',
            qos=1,
            contentType="application/json",
            responseTopic="data/answers",
            correlationData=base64.b64encode(b"\x00\xff7").decode(),
            messageExpiry=600,
            payloadFormatIndicator="UTF8_DATA",
            userProperties='[{"creek": "Elkhorn"}, {"gauge": "ü"}, {"creek": "Cane"}]',
        )
        properties: Any = got.get(timeout=5).properties
    finally:
        client.disconnect()
        client.loop_stop()
    assert properties.ContentType == "application/json"
    assert properties.ResponseTopic == "data/answers"
    assert properties.CorrelationData == b"\x00\xff7"
    assert 595 <= properties.MessageExpiryInterval <= 600
    assert properties.PayloadFormatIndicator == 1
    assert properties.UserProperty == [("creek", "Elkhorn"), ("gauge", "ü"), ("creek", "Cane")]


@pytest.mark.parametrize(
    "members",
    [
        {"correlationData": "%%%"},
        {"correlationData": "abc"},
        {"correlationData": "é"},
        {"userProperties": "not JSON"},
        {"userProperties": "5"},
        {"userProperties": '"text"'},
        {"userProperties": '{"a": "b"}'},
        {"userProperties": '[["a", "b"]]'},
        {"userProperties": '[{"a\\u0000": "b"}]'},
        {"userProperties": '[{"a": "b\\u0000"}]'},
        {"userProperties": '[{"a": "\\ud800"}]'},
        {"userProperties": json.dumps([{"a": "x" * 70_000}])},
        {"contentType": "a\0b"},
        {"responseTopic": "a\0b"},
        {"payloadFormatIndicator": "UTF16"},
        pytest.param({"responseTopic": "a/#"}),
        pytest.param({"messageExpiry": -1}),
        pytest.param({"messageExpiry": 2**32}),
    ],
    ids=lambda members: json.dumps(members)[:50],
)
def test_properties_that_cannot_be(data: Any, members: dict[str, Any]) -> None:
    assert_refused(
        lambda: data.publish(topic="data/bad", payload=b"x", **members),
        "InvalidRequestException",
        400,
    )


# --- by itself ------------------------------------------------------------------------------------


class Recorder:
    """Stands in for the broker and keeps what it is told to publish."""

    def __init__(self) -> None:
        self.published: list[tuple[Any, ...]] = []

    def publish(self, *arguments: Any) -> None:
        self.published.append(arguments)


@pytest.mark.parametrize(
    ("members", "properties"),
    [
        ({}, {}),
        ({"contentType": "text/plain"}, {"content_type": "text/plain"}),
        ({"contentType": ""}, {"content_type": ""}),
        ({"responseTopic": "a/b"}, {"response_topic": "a/b"}),
        ({"messageExpiry": 60}, {"message_expiry_interval": 60}),
        ({"payloadFormatIndicator": "UTF8_DATA"}, {"payload_format_indicator": 1}),
        ({"payloadFormatIndicator": "UNSPECIFIED_BYTES"}, {"payload_format_indicator": 0}),
        ({"correlationData": "AP8="}, {"correlation_data": b"\x00\xff"}),
        ({"userProperties": "[]"}, {"user_properties": []}),
        (
            {"userProperties": '[{"a": "1"}, {"a": "2"}]'},
            {"user_properties": [("a", "1"), ("a", "2")]},
        ),
    ],
    ids=str,
)
def test_how_members_become_properties(members: dict[str, Any], properties: dict[str, Any]) -> None:
    broker: Any = Recorder()
    IotData(broker, broker).publish(topic="a", payload=b"x", qos=1, **members)
    assert broker.published == [("a", b"x", 1, False, properties)]


def test_what_is_refused_is_not_published() -> None:
    broker: Any = Recorder()
    service = IotData(broker, broker)
    for members in (
        {"topic": "a/#"},
        {"topic": "a", "payload": b"x" * 131_073},
        {"topic": "$aws/things/a/shadow/get", "retain": True},
        {"topic": "a", "correlationData": "%"},
        {"topic": "a", "contentType": "\0"},
    ):
        with pytest.raises(ServiceError):
            service.publish(**members)
    assert broker.published == []
