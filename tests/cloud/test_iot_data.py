"""Messages and connections over HTTPS: valid requests, and a typed error for each invalid one.

`test_shadows.py` tests the shadow operations of the same service.
"""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import paho.mqtt.client as paho
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from creeklab import Lab
from creeklab.client.device import Device
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.messaging.operations import MessagingOperations
from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.mqtt.codec.wire import Reason
from tests.conftest import NewThing, make_thing

counter = itertools.count(1)


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


def assert_rejected(call: Any, code: str, status: int, text: str = "") -> None:
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
def test_unusual_topics_arrive_unchanged(data: Any, listener: Device, topic: str) -> None:
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
def test_invalid_topics(data: Any, topic: str, text: str) -> None:
    assert_rejected(
        lambda: data.publish(topic=topic, payload=b"x"), "InvalidRequestException", 400, text
    )


def test_a_topic_is_required(data: Any) -> None:
    with pytest.raises(ClientError) as error:
        data.publish(topic="", payload=b"x")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404)


# --- payload, quality of service, retain ----------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)), b"x" * 131_072], ids=len)
@pytest.mark.parametrize("qos", [0, 1])
def test_a_payload_arrives_with_its_qos(
    data: Any, listener: Device, payload: bytes, qos: int
) -> None:
    inbox = listener.subscribe("data/payload")
    data.publish(topic="data/payload", payload=payload, qos=qos)
    assert [(each.payload, each.qos) for each in inbox.wait_for(1)] == [(payload, qos)]
    listener.unsubscribe("data/payload")


@pytest.mark.parametrize("size", [131_073, 1_000_000, 1_048_576 + 1])
def test_a_payload_beyond_128_kilobytes_is_too_large(data: Any, size: int) -> None:
    assert_rejected(
        lambda: data.publish(topic="data/large", payload=b"x" * size),
        "RequestEntityTooLargeException",
        413,
    )


def test_qos_2_is_rejected(data: Any) -> None:
    assert_rejected(lambda: data.publish(topic="a", qos=2), "InvalidRequestException", 400, "qos")


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
    assert_rejected(
        lambda: data.publish(topic=topic, payload=b"{}", retain=True),
        "InvalidRequestException",
        400,
    )


# --- MQTT 5 properties ----------------------------------------------------------------------------


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
        {"userProperties": "[" * 20_000},
        {"contentType": "a\0b"},
        {"responseTopic": "a\0b"},
        {"payloadFormatIndicator": "UTF16"},
        pytest.param({"responseTopic": "a/#"}),
        pytest.param({"messageExpiry": -1}),
        pytest.param({"messageExpiry": 2**32}),
    ],
    ids=lambda members: json.dumps(members)[:50],
)
def test_invalid_properties(data: Any, members: dict[str, Any]) -> None:
    assert_rejected(
        lambda: data.publish(topic="data/bad", payload=b"x", **members),
        "InvalidRequestException",
        400,
    )


# --- retained messages ----------------------------------------------------------------------------


@pytest.fixture
def empty(data: Any) -> Any:
    """Return the client of an account without retained messages."""
    for page in data.get_paginator("list_retained_messages").paginate():
        for topic in page["retainedTopics"]:
            data.publish(topic=topic["topic"], payload=b"", retain=True)
    return data


def test_a_retained_message_is_read(empty: Any) -> None:
    before = time.time() * 1000
    empty.publish(
        topic="retained/a b/ü",
        payload=bytes(range(256)),
        qos=1,
        retain=True,
        userProperties='[{"creek": "Elkhorn"}, {"gauge": "ü"}]',
    )
    response = empty.get_retained_message(topic="retained/a b/ü")
    assert (response["topic"], response["payload"], response["qos"]) == (
        "retained/a b/ü",
        bytes(range(256)),
        1,
    )
    assert before - 1 <= response["lastModifiedTime"] <= time.time() * 1000
    assert json.loads(response["userProperties"]) == [{"creek": "Elkhorn"}, {"gauge": "ü"}]
    empty.publish(topic="retained/a b/ü", payload=b"new", retain=True, userProperties="[]")
    later = empty.get_retained_message(topic="retained/a b/ü")
    assert (later["payload"], later["qos"]) == (b"new", 0)
    assert later["lastModifiedTime"] >= response["lastModifiedTime"]
    assert "userProperties" not in later


def test_retained_messages_are_listed_by_pages(empty: Any) -> None:
    topics = sorted(f"retained/{number}/ü" for number in range(7))
    for topic in reversed(topics):
        empty.publish(topic=topic, payload=b"x" * len(topic), qos=1, retain=True)
    pages = [
        page["retainedTopics"]
        for page in empty.get_paginator("list_retained_messages").paginate(
            PaginationConfig={"PageSize": 3}
        )
    ]
    assert [[each["topic"] for each in page] for page in pages] == [
        topics[:3],
        topics[3:6],
        topics[6:],
    ]
    assert set(pages[0][0]) == {"topic", "payloadSize", "qos", "lastModifiedTime"}
    assert (pages[0][0]["payloadSize"], pages[0][0]["qos"]) == (len(topics[0]), 1)
    empty.publish(topic=topics[0], payload=b"", retain=True)
    assert [each["topic"] for each in empty.list_retained_messages()["retainedTopics"]] == topics[
        1:
    ]


def test_reading_a_message_that_is_not_retained(empty: Any) -> None:
    empty.publish(topic="retained/passing", payload=b"x", qos=1)
    for topic in ("retained/passing", "retained/#", "retained"):
        assert_rejected(
            lambda topic=topic: empty.get_retained_message(topic=topic),
            "ResourceNotFoundException",
            404,
            topic,
        )
    assert_rejected(
        lambda: empty.list_retained_messages(nextToken="x"),
        "InvalidRequestException",
        400,
        "next page",
    )
    assert_rejected(
        lambda: empty.list_retained_messages(maxResults=201), "InvalidRequestException", 400
    )


def test_a_retained_message_that_has_expired_is_gone(empty: Any) -> None:
    empty.publish(topic="retained/brief", payload=b"x", retain=True, messageExpiry=1)
    empty.publish(topic="retained/long", payload=b"x", retain=True, messageExpiry=600)
    assert empty.get_retained_message(topic="retained/long")["payload"] == b"x"

    def is_gone() -> bool:
        try:
            empty.get_retained_message(topic="retained/brief")
        except empty.exceptions.ResourceNotFoundException:
            return True
        return False

    wait_until(is_gone)
    topics = [each["topic"] for each in empty.list_retained_messages()["retainedTopics"]]
    assert topics == ["retained/long"]


def wait_until(done: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline


# --- connections ----------------------------------------------------------------------------------


class Guest:
    """A client other than the SDK, connected until the test ends it."""

    def __init__(self, lab: Lab, thing: NewThing, client_id: str, **options: Any) -> None:
        self.messages: Queue[paho.MQTTMessage] = Queue()
        self.ends: Queue[Any] = Queue()
        self.client_id = client_id
        self._ready: Queue[None] = Queue()
        acknowledges = options.pop("acknowledges", True)
        expiry = options.pop("expiry", 0)
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=not acknowledges,
        )
        if "will" in options:
            self._client.will_set(*options.pop("will"), qos=1)
        files = thing.files
        self._client.tls_set(str(lab.ca_file), str(files.certificate), str(files.private_key))
        self._client.on_connect = lambda *_: self._ready.put(None)
        self._client.on_subscribe = lambda *_: self._ready.put(None)
        self._client.on_message = lambda *arguments: self.messages.put(arguments[2])
        self._client.on_disconnect = lambda *arguments: self.ends.put(arguments[3])
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = expiry
        self._client.connect(lab.endpoint, lab.mqtt_port, keepalive=120, properties=properties)
        self._client.loop_start()
        self._ready.get(timeout=5)

    def subscribe(self, *filters: tuple[str, int]) -> None:
        self._client.subscribe(list(filters))
        self._ready.get(timeout=5)

    @property
    def port(self) -> int:
        own: Any = self._client.socket()
        return int(own.getsockname()[1])

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def guest(lab: Lab, thing: NewThing) -> Iterator[Callable[..., Guest]]:
    made: list[Guest] = []

    def make(**options: Any) -> Guest:
        client_id = f"{thing.name} guest/{next(counter)}"
        made.append(Guest(lab, thing, client_id, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_connection_is_described(lab: Lab, data: Any, guest: Callable[..., Guest]) -> None:
    before = time.time() * 1000
    client = guest(expiry=600)
    response = data.get_connection(clientId=client.client_id)
    del response["ResponseMetadata"]
    assert before - 1 <= response.pop("connectedSince") <= time.time() * 1000
    assert response == {
        "clientId": client.client_id,
        "connected": True,
        "cleanSession": False,
        "sessionExpiry": 600,
        "keepAliveDuration": 120,
    }
    full = data.get_connection(clientId=client.client_id, includeSocketInformation=True)
    assert full["sourceIp"] == full["targetIp"]
    assert (full["sourcePort"], full["targetPort"]) == (client.port, lab.mqtt_port)


def test_a_connection_that_has_ended_is_described(data: Any, guest: Callable[..., Guest]) -> None:
    client = guest()
    before = time.time() * 1000
    client.close()
    wait_until(lambda: not data.get_connection(clientId=client.client_id)["connected"])
    response = data.get_connection(clientId=client.client_id)
    assert response["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    assert before - 1 <= response["disconnectedSince"] <= time.time() * 1000
    assert response["cleanSession"]
    assert "connectedSince" not in response


def test_the_thing_of_a_connection(lab: Lab, data: Any) -> None:
    own, other = make_thing(lab), make_thing(lab)
    iot = lab.client("iot")
    iot.detach_thing_principal(thingName=own.name, principal=own.certificate_arn)
    iot.attach_thing_principal(
        thingName=own.name, principal=own.certificate_arn, thingPrincipalType="EXCLUSIVE_THING"
    )
    with lab.connect(own.name, "anyone"), lab.connect(other.name):
        assert data.get_connection(clientId="anyone")["thingName"] == own.name
        assert "thingName" not in data.get_connection(clientId=other.name)


def test_subscriptions_are_listed_by_pages(data: Any, guest: Callable[..., Guest]) -> None:
    client = guest(expiry=600)
    filters = [("a/#", 1), ("b/+/c", 0), ("$share/g/d", 1), ("e", 0), ("ü", 1)]
    client.subscribe(*filters)
    pages = [
        [(each["topicFilter"], each["qos"]) for each in page["subscriptions"]]
        for page in data.get_paginator("list_subscriptions").paginate(
            clientId=client.client_id, PaginationConfig={"PageSize": 2}
        )
    ]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == sorted(filters)
    client.close()
    assert len(data.list_subscriptions(clientId=client.client_id)["subscriptions"]) == 5
    assert_rejected(
        lambda: data.list_subscriptions(clientId=client.client_id, nextToken="%"),
        "InvalidRequestException",
        400,
    )


ADMINISTRATIVE_ACTION = 152


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("prevented", [False, True])
def test_delete_connection(
    data: Any, listener: Device, guest: Callable[..., Guest], clean: bool, prevented: bool
) -> None:
    inbox = listener.subscribe("data/will")
    client = guest(expiry=600, will=("data/will", b"gone"))
    client.subscribe(("a", 1))
    data.delete_connection(
        clientId=client.client_id, cleanSession=clean, preventWillMessage=prevented
    )
    assert client.ends.get(timeout=5).value == ADMINISTRATIVE_ACTION
    listener.publish("data/will", "end")
    payloads = [b"end"] if prevented else [b"gone", b"end"]
    assert [each.payload for each in inbox.wait_for(len(payloads))] == payloads
    listener.unsubscribe("data/will")
    response = data.get_connection(clientId=client.client_id)
    assert response["disconnectReason"] == "API_INITIATED_DISCONNECT"
    if clean:
        assert_rejected(
            lambda: data.list_subscriptions(clientId=client.client_id),
            "ResourceNotFoundException",
            404,
        )
    else:
        assert data.list_subscriptions(clientId=client.client_id)["subscriptions"]
    assert_rejected(
        lambda: data.delete_connection(clientId=client.client_id), "ResourceNotFoundException", 404
    )


@pytest.mark.parametrize(
    "call",
    ["get_connection", "list_subscriptions", "delete_connection", "send_direct_message"],
)
@pytest.mark.parametrize(
    ("client_id", "code"),
    [
        ("nobody/here", "ResourceNotFoundException"),
        ("$nobody", "InvalidRequestException"),
        ("x" * 129, "InvalidRequestException"),
    ],
)
def test_an_unknown_client(data: Any, call: str, client_id: str, code: str) -> None:
    members = {"topic": "a"} if call == "send_direct_message" else {}
    with pytest.raises(ClientError) as error:
        getattr(data, call)(clientId=client_id, **members)
    assert error.value.response["Error"]["Code"] == code


# --- direct messages ------------------------------------------------------------------------------


def test_a_direct_message_needs_no_subscription(data: Any, guest: Callable[..., Guest]) -> None:
    client = guest()
    response = data.send_direct_message(
        clientId=client.client_id,
        topic="direct/ü",
        payload=b"x",
        contentType="text/plain",
        responseTopic="direct/answer",
        correlationData=base64.b64encode(b"7").decode(),
        payloadFormatIndicator="UTF8_DATA",
        userProperties='[{"a": "1"}]',
    )
    assert response["message"] == "OK"
    assert response["traceId"] == response["ResponseMetadata"]["RequestId"]
    message: Any = client.messages.get(timeout=5)
    assert (message.topic, message.payload, message.qos) == ("direct/ü", b"x", 0)
    assert message.properties.ContentType == "text/plain"
    assert message.properties.ResponseTopic == "direct/answer"
    assert message.properties.CorrelationData == b"7"
    assert message.properties.UserProperty == [("a", "1")]


def test_a_direct_message_is_confirmed(data: Any, guest: Callable[..., Guest]) -> None:
    client = guest()
    response = data.send_direct_message(
        clientId=client.client_id, topic="direct", payload=b"x", confirmation=True, timeout=15
    )
    assert response["message"] == "OK"
    assert client.messages.get(timeout=5).qos == 1


def test_an_unconfirmed_direct_message(lab: Lab, guest: Callable[..., Guest]) -> None:
    client = guest(acknowledges=False)
    # boto3 retries after a 504, which would send the message several times.
    data = lab.session.client("iot-data", config=Config(retries={"total_max_attempts": 1}))
    assert_rejected(
        lambda: data.send_direct_message(
            clientId=client.client_id, topic="direct", confirmation=True, timeout=1
        ),
        "GatewayTimeoutException",
        504,
        "did not acknowledge",
    )
    assert client.messages.get(timeout=5).qos == 1
    assert client.messages.empty()


def test_a_direct_message_that_policies_deny(lab: Lab, data: Any) -> None:
    connect = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
    thing = make_thing(lab, [connect])
    with lab.connect(thing.name):
        assert_rejected(
            lambda: data.send_direct_message(clientId=thing.name, topic="direct"),
            "ForbiddenException",
            403,
            "iot:Receive",
        )
        assert "iot:Receive" in lab.why(thing.name).summary


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"topic": "a/#"}, "InvalidRequestException"),
        ({"topic": "$SYS/a"}, "InvalidRequestException"),
        ({"topic": "a", "confirmation": True, "timeout": 0}, "InvalidRequestException"),
        ({"topic": "a", "confirmation": True, "timeout": 16}, "InvalidRequestException"),
        ({"topic": "a", "payload": b"x" * 131_073}, "RequestEntityTooLargeException"),
        ({"topic": "a", "userProperties": "5"}, "InvalidRequestException"),
        ({"topic": "a", "responseTopic": "a/#"}, "InvalidRequestException"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_direct_messages(
    data: Any, listener: Device, members: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as error:
        data.send_direct_message(clientId=listener.client_id, **members)
    assert error.value.response["Error"]["Code"] == code


# --- counters -------------------------------------------------------------------------------------


def test_metrics_of_http_messages(lab: Lab, data: Any) -> None:
    def counts() -> dict[str, int]:
        frame = lab.metrics()
        http = frame.xs("HTTP", axis="columns", level="protocol") if len(frame.columns) else frame
        return {str(name): int(number) for name, number in http.sum().items()}

    before = counts()
    data.publish(topic="data/counted", payload=b"x")
    data.publish(topic="data/counted", payload=b"x", retain=True)
    with pytest.raises(ClientError):
        data.publish(topic="data/#", payload=b"x")
    data.update_thing_shadow(thingName="counted", payload=b'{"state": {"reported": {"a": 1}}}')
    data.get_thing_shadow(thingName="counted")
    data.list_named_shadows_for_thing(thingName="counted")
    data.delete_thing_shadow(thingName="counted")
    with pytest.raises(ClientError):
        data.get_thing_shadow(thingName="counted")
    grown = {name: number - before.get(name, 0) for name, number in counts().items()}
    assert {name: number for name, number in grown.items() if number} == {
        "PublishIn.Success": 2,
        "PublishIn.ClientError": 1,
        "PublishRetained.Success": 1,
        "GetThingShadow.Accepted": 1,
        "UpdateThingShadow.Accepted": 1,
        "DeleteThingShadow.Accepted": 1,
        "ListThingShadow.Accepted": 1,
    }


# --- operations without a cloud -------------------------------------------------------------------


class Recorder:
    """A broker that only records published messages."""

    def __init__(self) -> None:
        self.published: list[tuple[Any, ...]] = []
        self.event_log = EventLog()

    def publish_durably(self, *arguments: Any) -> Reason:
        self.published.append(arguments)
        return Reason.SUCCESS


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
        ({"userProperties": "[]"}, {}),
        (
            {"userProperties": '[{"a": "1"}, {"a": "2"}]'},
            {"user_properties": [("a", "1"), ("a", "2")]},
        ),
    ],
    ids=str,
)
def test_members_become_properties(members: dict[str, Any], properties: dict[str, Any]) -> None:
    broker: Any = Recorder()
    MessagingOperations(broker, broker).publish(topic="a", payload=b"x", qos=1, **members)
    assert broker.published == [("a", b"x", 1, False, properties)]


def test_a_rejected_message_is_not_published() -> None:
    broker: Any = Recorder()
    service = MessagingOperations(broker, broker)
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
