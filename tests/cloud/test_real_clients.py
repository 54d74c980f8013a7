"""The cloud as real devices meet it: unmodified client libraries, with what AWS tells them to use.

The programs here are written as AWS's documentation of the AWS IoT Device SDK for Python v2 writes
them: certificate, key, CA file, endpoint and port, and nothing of this package. Beside them stand
paho-mqtt, which is not AWS's, and boto3. What a refusal looks like to the program is compared with
what programs meet at AWS; and each one is explained by `Lab.why`.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import paho.mqtt.client as paho
import pytest
from awscrt import mqtt, mqtt5, mqtt_request_response
from awscrt.exceptions import AwsCrtError
from awsiot import (
    ServiceStreamOptions,
    V2ServiceException,
    iotshadow,
    mqtt5_client_builder,
    mqtt_connection_builder,
)
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from creeklab import Lab
from creeklab.cloud.security.ca import CertificateAuthority
from tests.conftest import NewThing, make_thing

SECONDS = 10.0
NOT_AUTHORIZED = 135
SESSION_TAKEN_OVER = 142
HANGUP = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
DISCONNECTED = "AWS_ERROR_MQTT5_DISCONNECT_RECEIVED"
BINARY = bytes(range(256))

MakeThing = Callable[..., NewThing]
Message = tuple[str, bytes]
Symptom = tuple[str, int | None]


def allow(action: str, *resources: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": [f"ARN:{name}" for name in resources]}


CONNECT = allow("iot:Connect", "client/THING")


class Mqtt5Program:
    """A program over MQTT 5, whose callbacks put what they are told into queues."""

    version = "5"

    def __init__(
        self, lab: Lab, thing: NewThing, client_id: str = "", clean: bool = True, **options: Any
    ) -> None:
        self.client_id = client_id or thing.name
        self.messages: Queue[Message] = Queue()
        self.last_qos = -1
        self._started = False
        self._connected: Queue[mqtt5.LifecycleConnectSuccessData] = Queue()
        self._failed: Queue[mqtt5.LifecycleConnectFailureData] = Queue()
        self._cut: Queue[mqtt5.LifecycleDisconnectData] = Queue()
        self._stopped = threading.Event()
        if not clean:
            options["session_behavior"] = mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS
            options["session_expiry_interval_sec"] = 600
        defaults = {
            "endpoint": lab.endpoint,
            "port": lab.mqtt_port,
            "ca_filepath": str(lab.ca_file),
            "client_id": self.client_id,
            # A disconnected client must not be back before the test has looked.
            "retry_jitter_mode": mqtt5.ExponentialBackoffJitterMode.NONE,
            "min_reconnect_delay_ms": 30_000,
            "max_reconnect_delay_ms": 30_000,
        }
        self.client = mqtt5_client_builder.mtls_from_path(
            str(thing.files.certificate),
            str(thing.files.private_key),
            on_publish_received=self._on_publish,
            on_lifecycle_connection_success=self._connected.put,
            on_lifecycle_connection_failure=self._failed.put,
            on_lifecycle_disconnection=self._cut.put,
            on_lifecycle_stopped=lambda _: self._stopped.set(),
            **{**defaults, **options},
        )

    def _on_publish(self, received: mqtt5.PublishReceivedData) -> None:
        packet = received.publish_packet
        self.last_qos = int(packet.qos)
        self.messages.put((packet.topic, bytes(packet.payload or b"")))

    def connect(self) -> bool:
        """Connect; return whether an earlier session goes on."""
        self.start()
        return bool(self._connected.get(timeout=SECONDS).connack_packet.session_present)

    def is_refused(self, seconds: float = SECONDS) -> Symptom:
        """Connect in vain; return what the program sees: the SDK's error and the reason code."""
        self.start()
        failure = self._failed.get(timeout=seconds)
        packet = failure.connack_packet
        return failure.exception.name, packet and int(packet.reason_code)

    def is_cut_off(self, seconds: float = SECONDS) -> Symptom:
        """Wait until the connection ends; return the same."""
        ended = self._cut.get(timeout=seconds)
        packet = ended.disconnect_packet
        return ended.exception.name, packet and int(packet.reason_code)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int:
        """Publish; return the reason code, at QoS 0 when it is written."""
        packet = mqtt5.PublishPacket(
            topic=topic, payload=payload, qos=mqtt5.QoS(qos), retain=retain
        )
        done = self.client.publish(packet).result(SECONDS)
        return int(done.puback.reason_code) if qos else 0

    def send(self, topic: str, payload: bytes) -> Future[Any]:
        """Publish at QoS 1 without waiting."""
        future: Future[Any] = self.client.publish(
            mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        )
        return future

    def subscribe(self, topic_filter: str) -> int:
        """Subscribe at QoS 1; return the reason code."""
        packet = mqtt5.SubscribePacket([mqtt5.Subscription(topic_filter, mqtt5.QoS.AT_LEAST_ONCE)])
        return int(self.client.subscribe(packet).result(SECONDS).reason_codes[0])

    def unsubscribe(self, topic_filter: str) -> int:
        """Unsubscribe; return the reason code."""
        packet = mqtt5.UnsubscribePacket([topic_filter])
        return int(self.client.unsubscribe(packet).result(SECONDS).reason_codes[0])

    def start(self) -> None:
        if not self._started:
            self._started = True
            self.client.start()

    def stop(self) -> None:
        self.client.stop()

    def close(self) -> None:
        if self._started:
            self._started = False
            self.stop()
            assert self._stopped.wait(SECONDS)


class Mqtt311Program:
    """The same over MQTT 3.1.1."""

    version = "3.1.1"

    def __init__(
        self, lab: Lab, thing: NewThing, client_id: str = "", clean: bool = True, **options: Any
    ) -> None:
        self.client_id = client_id or thing.name
        self.messages: Queue[Message] = Queue()
        self.last_qos = -1
        self._connected = False
        self._connecting: Future[Any] | None = None
        self._interrupted: Queue[AwsCrtError] = Queue()
        defaults = {
            "endpoint": lab.endpoint,
            "port": lab.mqtt_port,
            "ca_filepath": str(lab.ca_file),
            "client_id": self.client_id,
        }
        self.client = mqtt_connection_builder.mtls_from_path(
            str(thing.files.certificate),
            str(thing.files.private_key),
            clean_session=clean,
            on_connection_interrupted=lambda connection, error, **_: self._interrupted.put(error),
            **{**defaults, **options},
        )
        self.client.on_message(self._on_message)

    def _on_message(self, topic: str, payload: bytes, qos: mqtt.QoS, **_: Any) -> None:
        self.last_qos = int(qos)
        self.messages.put((topic, payload))

    def connect(self) -> bool:
        present = self.start().result(SECONDS)["session_present"]
        self._connected = True
        return bool(present)

    def is_refused(self, seconds: float = SECONDS) -> Symptom:
        with pytest.raises(AwsCrtError) as raised:
            self.start().result(seconds)
        return raised.value.name, None

    def is_cut_off(self, seconds: float = SECONDS) -> Symptom:
        symptom = self._interrupted.get(timeout=seconds).name, None
        self._connected = False
        return symptom

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int:
        self.client.publish(topic, payload, mqtt.QoS(qos), retain)[0].result(SECONDS)
        return 0

    def send(self, topic: str, payload: bytes) -> Future[Any]:
        future: Future[Any] = self.client.publish(topic, payload, mqtt.QoS.AT_LEAST_ONCE)[0]
        return future

    def subscribe(self, topic_filter: str) -> int:
        done = self.client.subscribe(topic_filter, mqtt.QoS.AT_LEAST_ONCE)[0].result(SECONDS)
        return int(done["qos"])

    def unsubscribe(self, topic_filter: str) -> int:
        self.client.unsubscribe(topic_filter)[0].result(SECONDS)
        return 0

    def start(self) -> Future[Any]:
        if self._connecting is None:
            self._connecting = self.client.connect()
        return self._connecting

    def stop(self) -> Future[Any]:
        ended: Future[Any] = self.client.disconnect()
        return ended

    def close(self) -> None:
        # Who was cut off waits for the time to reconnect before it says that it has ended.
        ended = self.stop()
        if self._connected:
            self._connected = False
            ended.result(SECONDS)


Program = Mqtt5Program | Mqtt311Program
BOTH = pytest.mark.parametrize("program", [Mqtt5Program, Mqtt311Program], ids=["5", "3.1.1"])

Start = Callable[..., Any]


@pytest.fixture
def start(lab: Lab) -> Iterator[Start]:
    """Make programs and clients that end with the test."""
    with ExitStack() as stack:

        def make(kind: Callable[..., Any], thing: NewThing, *args: Any, **options: Any) -> Any:
            return stack.enter_context(closing(kind(lab, thing, *args, **options)))

        yield make


@pytest.fixture
def connected(start: Start) -> Start:
    """The same, connected."""

    def make(kind: Callable[..., Any], thing: NewThing, *args: Any, **options: Any) -> Any:
        client = start(kind, thing, *args, **options)
        assert client.connect() is False
        return client

    return make


class TestAsDocumented:
    """The SDK's own samples, from connect to disconnect."""

    def test_mqtt5(self, lab: Lab, new_thing: MakeThing) -> None:
        thing = new_thing()
        events: list[str] = []
        connection: Future[mqtt5.LifecycleConnectSuccessData] = Future()
        received: Future[mqtt5.PublishPacket] = Future()
        stopped: Future[None] = Future()

        def on_connection_success(data: mqtt5.LifecycleConnectSuccessData) -> None:
            events.append("success")
            connection.set_result(data)

        def on_stopped(_: mqtt5.LifecycleStoppedData) -> None:
            events.append("stopped")
            stopped.set_result(None)

        client = mqtt5_client_builder.mtls_from_path(
            endpoint=lab.endpoint,
            port=lab.mqtt_port,
            cert_filepath=str(thing.files.certificate),
            pri_key_filepath=str(thing.files.private_key),
            ca_filepath=str(lab.ca_file),
            client_id=thing.name,
            on_publish_received=lambda data: received.set_result(data.publish_packet),
            on_lifecycle_stopped=on_stopped,
            on_lifecycle_attempting_connect=lambda _: events.append("attempting"),
            on_lifecycle_connection_success=on_connection_success,
            on_lifecycle_connection_failure=lambda _: events.append("failure"),
            on_lifecycle_disconnection=lambda _: events.append("disconnection"),
        )
        client.start()
        success = connection.result(SECONDS)
        assert success.connack_packet.reason_code == mqtt5.ConnectReasonCode.SUCCESS
        assert success.negotiated_settings.client_id == thing.name
        assert success.negotiated_settings.maximum_qos == mqtt5.QoS.AT_LEAST_ONCE

        subscribed = client.subscribe(
            mqtt5.SubscribePacket([mqtt5.Subscription("creek/+", mqtt5.QoS.AT_LEAST_ONCE)])
        ).result(SECONDS)
        assert subscribed.reason_codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]
        published = client.publish(
            mqtt5.PublishPacket(
                topic="creek/depth",
                payload=json.dumps({"depth": 1.4}),
                qos=mqtt5.QoS.AT_LEAST_ONCE,
                content_type="application/json",
                user_properties=[mqtt5.UserProperty("stage", "gage height")],
            )
        ).result(SECONDS)
        assert published.puback.reason_code == mqtt5.PubackReasonCode.SUCCESS
        message = received.result(SECONDS)
        assert (message.topic, message.qos) == ("creek/depth", mqtt5.QoS.AT_LEAST_ONCE)
        assert json.loads(message.payload) == {"depth": 1.4}
        assert message.content_type == "application/json"
        assert message.user_properties == [mqtt5.UserProperty("stage", "gage height")]
        unsubscribed = client.unsubscribe(mqtt5.UnsubscribePacket(["creek/+"])).result(SECONDS)
        assert unsubscribed.reason_codes == [mqtt5.UnsubackReasonCode.SUCCESS]
        client.stop()
        stopped.result(SECONDS)
        assert events == ["attempting", "success", "disconnection", "stopped"]

    @pytest.mark.parametrize("clean_session", [True, False])
    def test_mqtt311(self, lab: Lab, new_thing: MakeThing, clean_session: bool) -> None:
        thing = new_thing()
        received: Future[tuple[str, bytes, bool, mqtt.QoS, bool]] = Future()
        events: Queue[str] = Queue()

        def on_message(
            topic: str, payload: bytes, dup: bool, qos: mqtt.QoS, retain: bool, **_: Any
        ) -> None:
            received.set_result((topic, payload, dup, qos, retain))

        connection = mqtt_connection_builder.mtls_from_path(
            endpoint=lab.endpoint,
            port=lab.mqtt_port,
            cert_filepath=str(thing.files.certificate),
            pri_key_filepath=str(thing.files.private_key),
            ca_filepath=str(lab.ca_file),
            client_id=thing.name,
            clean_session=clean_session,
            keep_alive_secs=30,
            on_connection_success=lambda connection, callback_data: events.put("success"),
            on_connection_interrupted=lambda connection, error, **_: events.put("interrupted"),
            on_connection_closed=lambda connection, callback_data: events.put("closed"),
        )
        assert connection.connect().result(SECONDS) == {"session_present": False}
        future, _ = connection.subscribe(
            topic="creek/+", qos=mqtt.QoS.AT_LEAST_ONCE, callback=on_message
        )
        assert future.result(SECONDS)["qos"] == mqtt.QoS.AT_LEAST_ONCE
        payload = json.dumps({"depth": 1.4})
        future, packet_id = connection.publish("creek/depth", payload, mqtt.QoS.AT_LEAST_ONCE)
        assert future.result(SECONDS) == {"packet_id": packet_id}
        expected = ("creek/depth", payload.encode(), False, mqtt.QoS.AT_LEAST_ONCE, False)
        assert received.result(SECONDS) == expected
        connection.unsubscribe("creek/+")[0].result(SECONDS)
        assert connection.disconnect().result(SECONDS) == {}
        assert [events.get(timeout=SECONDS) for _ in range(2)] == ["success", "closed"]

    def test_mqtt5_from_memory(self, lab: Lab, new_thing: MakeThing) -> None:
        thing = new_thing()
        connected, stopped = threading.Event(), threading.Event()
        client = mqtt5_client_builder.mtls_from_bytes(
            thing.files.certificate.read_bytes(),
            thing.files.private_key.read_bytes(),
            endpoint=lab.endpoint,
            port=lab.mqtt_port,
            ca_bytes=lab.ca_file.read_bytes(),
            client_id=thing.name,
            on_lifecycle_connection_success=lambda _: connected.set(),
            on_lifecycle_stopped=lambda _: stopped.set(),
        )
        client.start()
        assert connected.wait(SECONDS)
        client.stop()
        assert stopped.wait(SECONDS)

    def test_mqtt311_from_memory(self, lab: Lab, new_thing: MakeThing) -> None:
        thing = new_thing()
        connection = mqtt_connection_builder.mtls_from_bytes(
            thing.files.certificate.read_bytes(),
            thing.files.private_key.read_bytes(),
            endpoint=lab.endpoint,
            port=lab.mqtt_port,
            ca_bytes=lab.ca_file.read_bytes(),
            client_id=thing.name,
        )
        assert connection.connect().result(SECONDS) == {"session_present": False}
        connection.disconnect().result(SECONDS)


@BOTH
class TestSessions:
    def test_a_persistent_one_keeps_what_came_meanwhile(
        self, start: Start, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        thing, other = new_thing(), new_thing()
        topic = f"{thing.name}/news"
        first = connected(program, thing, clean=False)
        assert first.subscribe(topic) == 1
        first.close()
        sender = connected(program, other)
        for number in range(3):
            assert sender.publish(topic, b"away %d" % number) == 0
        again = start(program, thing, clean=False)
        assert again.connect() is True
        sender.publish(topic, b"back")
        awaited = [b"away 0", b"away 1", b"away 2", b"back"]
        assert arrived(again, 4) == [(topic, payload) for payload in awaited]

    @pytest.mark.parametrize("clean", [True, False])
    def test_a_clean_start_brings_nothing(
        self, connected: Start, new_thing: MakeThing, program: type[Program], clean: bool
    ) -> None:
        thing, other = new_thing(), new_thing()
        topic = f"{thing.name}/news"
        first = connected(program, thing, clean=clean)
        assert first.subscribe(topic) == 1
        first.close()
        sender = connected(program, other)
        sender.publish(topic, b"away")
        again = connected(program, thing)
        sender.publish(topic, b"not subscribed")
        assert again.subscribe(topic) == 1
        sender.publish(topic, b"back")
        assert arrived(again, 1) == [(topic, b"back")]


def arrived(program: Any, count: int) -> list[Message]:
    return [program.messages.get(timeout=SECONDS) for _ in range(count)]


def shadow_client(program: Program) -> iotshadow.IotShadowClientV2:
    options = mqtt_request_response.ClientOptions(
        max_request_response_subscriptions=8,
        max_streaming_subscriptions=2,
        operation_timeout_in_seconds=int(SECONDS),
    )
    return iotshadow.IotShadowClientV2(program.client, options)


def rejection(future: Future[Any]) -> tuple[int, str]:
    with pytest.raises(V2ServiceException) as raised:
        future.result(SECONDS)
    error = raised.value.modeled_error
    assert isinstance(error, iotshadow.V2ErrorResponse)
    return error.code, error.message


def open_stream(make: Callable[..., Any], request: Any) -> tuple[Any, Queue[Any]]:
    """Open a stream of a shadow client; return it and its events once it is subscribed."""
    events: Queue[Any] = Queue()
    statuses: Queue[mqtt_request_response.SubscriptionStatusEvent] = Queue()
    stream = make(
        request,
        ServiceStreamOptions(
            incoming_event_listener=events.put,
            subscription_status_listener=statuses.put,
            deserialization_failure_listener=events.put,
        ),
    )
    stream.open()
    established = mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED
    assert statuses.get(timeout=SECONDS).type == established
    return stream, events


@BOTH
class TestShadowClientV2:
    def test_classic_shadow(
        self, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        thing = new_thing().name
        client = shadow_client(connected(program, new_thing()))
        get = iotshadow.GetShadowRequest(thing_name=thing)
        missing = (404, f"No shadow exists with name: '{thing}'")
        assert rejection(client.get_shadow(get)) == missing
        state = iotshadow.ShadowState(desired={"color": "red"}, reported={"color": "green", "w": 4})
        update = iotshadow.UpdateShadowRequest(thing_name=thing, state=state)
        accepted = client.update_shadow(update).result(SECONDS)
        assert accepted.version == 1
        assert (accepted.state.desired, accepted.state.reported) == (state.desired, state.reported)
        got = client.get_shadow(get).result(SECONDS)
        assert (got.state.desired, got.state.reported) == (state.desired, state.reported)
        assert got.state.delta == {"color": "red"}
        assert got.version == 1
        assert set(got.metadata.reported) == {"color", "w"}
        update.version = 7
        assert rejection(client.update_shadow(update)) == (409, "Version conflict")
        update.version = 1
        assert client.update_shadow(update).result(SECONDS).version == 2
        delete = iotshadow.DeleteShadowRequest(thing_name=thing)
        assert client.delete_shadow(delete).result(SECONDS).version == 2
        assert rejection(client.get_shadow(get)) == missing
        assert rejection(client.delete_shadow(delete)) == missing

    def test_named_shadow(
        self, lab: Lab, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        thing = new_thing().name
        names = {"thing_name": thing, "shadow_name": "probe"}
        client = shadow_client(connected(program, new_thing()))
        get = iotshadow.GetNamedShadowRequest(**names)
        assert rejection(client.get_named_shadow(get))[0] == 404
        _stream, events = open_stream(
            client.create_named_shadow_delta_updated_stream,
            iotshadow.NamedShadowDeltaUpdatedSubscriptionRequest(**names),
        )
        state = iotshadow.ShadowState(desired={"period": 300})
        update = iotshadow.UpdateNamedShadowRequest(state=state, **names)
        assert client.update_named_shadow(update).result(SECONDS).version == 1
        assert events.get(timeout=SECONDS).state == {"period": 300}
        assert client.get_named_shadow(get).result(SECONDS).state.desired == {"period": 300}
        listed = lab.client("iot-data").list_named_shadows_for_thing(thingName=thing)
        assert listed["results"] == ["probe"]
        classic = iotshadow.GetShadowRequest(thing_name=thing)
        assert rejection(client.get_shadow(classic))[0] == 404
        delete = iotshadow.DeleteNamedShadowRequest(**names)
        assert client.delete_named_shadow(delete).result(SECONDS).version == 1
        assert rejection(client.get_named_shadow(get))[0] == 404

    def test_streams(self, connected: Start, new_thing: MakeThing, program: type[Program]) -> None:
        thing = new_thing().name
        client = shadow_client(connected(program, new_thing()))
        _deltas, deltas = open_stream(
            client.create_shadow_delta_updated_stream,
            iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=thing),
        )
        _updates, updates = open_stream(
            client.create_shadow_updated_stream,
            iotshadow.ShadowUpdatedSubscriptionRequest(thing_name=thing),
        )

        def update(**state: Any) -> None:
            request = iotshadow.UpdateShadowRequest(
                thing_name=thing, state=iotshadow.ShadowState(**state)
            )
            client.update_shadow(request).result(SECONDS)

        update(reported={"valve": "shut"})
        update(desired={"valve": "open"})
        delta = deltas.get(timeout=SECONDS)
        assert (delta.state, delta.version) == ({"valve": "open"}, 2)
        update(reported={"valve": "open"})
        versions = []
        for _ in range(3):
            event = updates.get(timeout=SECONDS)
            versions.append(event.current.version)
        assert versions == [1, 2, 3]
        assert event.previous.state.reported == {"valve": "shut"}
        assert event.current.state.reported == {"valve": "open"}
        assert deltas.empty()


@BOTH
class TestShadowClientV1:
    def test_update_and_get(
        self, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        thing = new_thing().name
        client = iotshadow.IotShadowClient(connected(program, new_thing()).client)
        accepted: Queue[iotshadow.UpdateShadowResponse] = Queue()
        deltas: Queue[iotshadow.ShadowDeltaUpdatedEvent] = Queue()
        rejected: Queue[iotshadow.ErrorResponse] = Queue()
        qos = mqtt.QoS.AT_LEAST_ONCE
        subscriptions = [
            client.subscribe_to_update_shadow_accepted(
                iotshadow.UpdateShadowSubscriptionRequest(thing_name=thing), qos, accepted.put
            ),
            client.subscribe_to_shadow_delta_updated_events(
                iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=thing), qos, deltas.put
            ),
            client.subscribe_to_get_shadow_rejected(
                iotshadow.GetShadowSubscriptionRequest(thing_name=thing), qos, rejected.put
            ),
        ]
        for future, _ in subscriptions:
            assert future.result(SECONDS) == qos
        get = iotshadow.GetShadowRequest(thing_name=thing, client_token="first")
        client.publish_get_shadow(get, qos).result(SECONDS)
        error = rejected.get(timeout=SECONDS)
        assert (error.code, error.client_token) == (404, "first")
        update = iotshadow.UpdateShadowRequest(
            thing_name=thing,
            client_token="second",
            state=iotshadow.ShadowState(desired={"lamp": "on"}),
        )
        client.publish_update_shadow(update, qos).result(SECONDS)
        answer = accepted.get(timeout=SECONDS)
        assert (answer.version, answer.client_token) == (1, "second")
        assert answer.state.desired == {"lamp": "on"}
        assert deltas.get(timeout=SECONDS).state == {"lamp": "on"}


class Paho:
    """A paho-mqtt client, whose callbacks put what they are told into queues."""

    def __init__(
        self,
        lab: Lab,
        thing: NewThing,
        protocol: MQTTProtocolVersion,
        client_id: str = "",
        will: str = "",
    ) -> None:
        self.client_id = client_id or thing.name
        self.messages: Queue[Message] = Queue()
        self._answers: Queue[int] = Queue()
        self._ended: Queue[tuple[int, bool]] = Queue()
        self._address = lab.endpoint, lab.mqtt_port
        client = self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self.client_id,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        client.tls_set(str(lab.ca_file), str(thing.files.certificate), str(thing.files.private_key))
        if will:
            client.will_set(will, BINARY, qos=1)
        client.on_connect = lambda _c, _u, _f, reason, _p: self._answers.put(reason.value)
        client.on_publish = lambda _c, _u, _m, reason, _p: self._answers.put(reason.value)
        client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._answers.put(reasons[0].value)
        client.on_unsubscribe = lambda _c, _u, _m, reasons, _p: self._answers.put(len(reasons))
        client.on_message = lambda _c, _u, message: self.messages.put(
            (message.topic, bytes(message.payload))
        )
        client.on_disconnect = lambda _c, _u, flags, reason, _p: self._ended.put(
            (reason.value, flags.is_disconnect_packet_from_server)
        )

    def start(self) -> None:
        self.client.connect(*self._address)
        self.client.loop_start()

    def connect(self) -> bool:
        self.start()
        assert self.answer() == 0
        return False

    def answer(self) -> int:
        """Wait for the next answer: the reason code of CONNACK, PUBACK or SUBACK."""
        return self._answers.get(timeout=SECONDS)

    def ended(self) -> tuple[int, bool]:
        """Wait for the end of the connection: reason code, and whether the cloud sent it."""
        return self._ended.get(timeout=SECONDS)

    def subscribe(self, topic_filter: str) -> int:
        self.client.subscribe(topic_filter, qos=1)
        return self.answer()

    def publish(self, topic: str, payload: bytes) -> int:
        self.client.publish(topic, payload, qos=1)
        return self.answer()

    def lose_power(self) -> None:
        """Cut the TCP connection, with no DISCONNECT before it."""
        connection = self.client.socket()
        assert isinstance(connection, socket.socket)
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self.ended()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


PAHO = pytest.mark.parametrize(
    "protocol", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311], ids=["5", "3.1.1"]
)


@PAHO
class TestPaho:
    def test_publish_and_subscribe(
        self, connected: Start, new_thing: MakeThing, protocol: MQTTProtocolVersion
    ) -> None:
        client = connected(Paho, new_thing(), protocol)
        topic = f"{client.client_id}/depth"
        assert client.subscribe(topic) == 1
        assert client.publish(topic, BINARY) == 0
        assert arrived(client, 1) == [(topic, BINARY)]
        client.client.unsubscribe(topic)
        client.answer()
        client.close()
        assert client.ended() == (0, False)

    @pytest.mark.parametrize("dropped", [True, False])
    def test_will(
        self, connected: Start, new_thing: MakeThing, protocol: MQTTProtocolVersion, dropped: bool
    ) -> None:
        watcher = connected(Paho, new_thing(), protocol)
        mortal = new_thing()
        topic = f"{mortal.name}/gone"
        watcher.subscribe(topic)
        client = connected(Paho, mortal, protocol, will=topic)
        client.lose_power() if dropped else client.close()
        client = connected(Paho, mortal, protocol)
        client.publish(topic, b"back")
        assert arrived(watcher, 2 if dropped else 1) == (
            [(topic, BINARY), (topic, b"back")] if dropped else [(topic, b"back")]
        )

    def test_refusals(
        self,
        lab: Lab,
        start: Start,
        connected: Start,
        new_thing: MakeThing,
        protocol: MQTTProtocolVersion,
    ) -> None:
        thing = new_thing([CONNECT])
        stranger = start(Paho, thing, protocol, "somebody-else")
        stranger.start()
        if protocol == MQTTProtocolVersion.MQTTv5:
            assert stranger.answer() == NOT_AUTHORIZED
        stranger.ended()
        explained(lab, "somebody-else", "iot:Connect", "client/somebody-else")
        client = connected(Paho, thing, protocol)
        client.client.subscribe("secret", qos=1)
        if protocol == MQTTProtocolVersion.MQTTv5:
            assert client.answer() == NOT_AUTHORIZED
        else:
            client.ended()
        explained(lab, thing.name, "iot:Subscribe", "topicfilter/secret")
        client.close()
        client = connected(Paho, thing, protocol)
        client.client.publish("secret", BINARY, qos=1)
        if protocol == MQTTProtocolVersion.MQTTv5:
            assert client.answer() == NOT_AUTHORIZED
        else:
            client.ended()
        explained(lab, thing.name, "iot:Publish", "topic/secret")


def explained(lab: Lab, client_id: str, action: str, resource: str) -> None:
    """Check that the last refusal of a client is this one, and that it can be read."""
    why = lab.why(client_id)
    assert why.entry is not None
    assert (why.entry["action"], why.entry["resource"]) == (action, resource)
    assert action in why.summary
    assert resource.partition("/")[2] in why.summary
    assert f"Client ID '{client_id}'" in repr(why)


@BOTH
class TestBoto3:
    @pytest.mark.parametrize("qos", [0, 1])
    def test_publish_reaches_mqtt(
        self, lab: Lab, connected: Start, new_thing: MakeThing, program: type[Program], qos: int
    ) -> None:
        listener = connected(program, new_thing())
        topic = f"{listener.client_id}/a b/ü"
        assert listener.subscribe(f"{listener.client_id}/#") == 1
        data = lab.client("iot-data")
        for payload in (BINARY, b"", b"\x00" * 131_072):
            data.publish(topic=topic, qos=qos, payload=payload)
            assert arrived(listener, 1) == [(topic, payload)]
            assert listener.last_qos == qos

    def test_shadow_update_is_seen_on_mqtt(
        self, lab: Lab, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        thing = new_thing()
        listener = connected(program, thing)
        prefix = f"$aws/things/{thing.name}/shadow/update/"
        listener.subscribe(prefix + "+")
        data = lab.client("iot-data")
        state = {"state": {"reported": {"depth": 1.4}}}
        answer = data.update_thing_shadow(thingName=thing.name, payload=json.dumps(state))
        accepted = json.loads(answer["payload"].read())
        seen = {topic: json.loads(payload) for topic, payload in arrived(listener, 2)}
        assert set(seen) == {prefix + "accepted", prefix + "documents"}
        assert seen[prefix + "accepted"] == accepted
        assert seen[prefix + "documents"]["current"]["state"] == state["state"]

    def test_shadow_updated_over_mqtt_is_read(
        self, lab: Lab, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        thing = new_thing()
        state = iotshadow.ShadowState(reported={"depth": 1.4})
        request = iotshadow.UpdateShadowRequest(thing_name=thing.name, state=state)
        client = shadow_client(connected(program, thing))
        client.update_shadow(request).result(SECONDS)
        answer = lab.client("iot-data").get_thing_shadow(thingName=thing.name)
        assert json.loads(answer["payload"].read())["state"] == {"reported": {"depth": 1.4}}


@BOTH
class TestPayloads:
    @pytest.mark.parametrize("payload", [b"", BINARY, b"\xff" * 131_072], ids=["0", "256", "128K"])
    def test_arrive_unchanged(
        self, connected: Start, new_thing: MakeThing, program: type[Program], payload: bytes
    ) -> None:
        client = connected(program, new_thing())
        topic = f"{client.client_id}/ä/b c"
        client.subscribe(topic)
        assert client.publish(topic, payload) == 0
        assert arrived(client, 1) == [(topic, payload)]


class TestEverybodyListensToEverything:
    def test_each_message_once_and_in_order(self, connected: Start, new_thing: MakeThing) -> None:
        unthrottled = mqtt5.ExtendedValidationAndFlowControlOptions.NONE
        new = connected(
            Mqtt5Program, new_thing(), extended_validation_and_flow_control_options=unthrottled
        )
        old = connected(Mqtt311Program, new_thing())
        for client in (new, old):
            assert client.subscribe("#") == 1
        sent = {
            client: [(f"{client.client_id}/{number % 3}", b"%d" % number) for number in range(200)]
            for client in (new, old)
        }
        futures = []
        for ours, theirs in zip(sent[new], sent[old], strict=True):
            futures += [new.send(*ours), old.send(*theirs)]
        for future in futures:
            future.result(SECONDS)
        for client in (new, old):
            messages = arrived(client, 400)
            for sender in (new, old):
                from_it = [each for each in messages if each[0].startswith(sender.client_id + "/")]
                assert from_it == sent[sender]
            # What comes after all of it is the end: nothing came twice.
            client.publish("the/end", b"")
            assert arrived(client, 1) == [("the/end", b"")]
            client.unsubscribe("#")

    @BOTH
    def test_the_shadow_service_as_well(
        self, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        thing = new_thing()
        client = connected(program, thing)
        client.subscribe("#")
        topic = f"$aws/things/{thing.name}/shadow/update"
        client.publish(topic, b'{"state": {"reported": {"depth": 1.4}}}')
        topics = [message[0] for message in arrived(client, 3)]
        assert topics[0] == topic
        assert set(topics[1:]) == {topic + "/accepted", topic + "/documents"}


@pytest.fixture(scope="module")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CertificateAuthority(tmp_path_factory.mktemp("other")).ca_file


class Distrustful(NamedTuple):
    """Programs with another cloud's CA file, and the number of the last refusal before them."""

    programs: dict[type[Program], Any]
    number: int


@pytest.fixture(scope="module", autouse=True)
def distrustful(session_lab: Lab, other_ca: Path) -> Iterator[Distrustful]:
    """Start them before the other tests: the SDK holds such an error back for 10 to 30 seconds.

    So does its TLS library, s2n, with every error that might tell an attacker something.
    """
    number = last_refusal(session_lab)
    thing = make_thing(session_lab)
    programs = {
        kind: kind(session_lab, thing, f"distrustful-{kind.version}", ca_filepath=str(other_ca))
        for kind in (Mqtt5Program, Mqtt311Program)
    }
    for program in programs.values():
        program.start()
    yield Distrustful(programs, number)
    for program in programs.values():
        program.stop()


@BOTH
class TestRefusedConnection:
    """What a program sees when it does not come in, as AWS's users report it."""

    def test_client_id_not_allowed(
        self, lab: Lab, start: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        client = start(program, new_thing([CONNECT]), "somebody-else")
        assert client.is_refused() == denied_connect(program)
        explained(lab, "somebody-else", "iot:Connect", "client/somebody-else")

    def test_will_not_allowed(
        self, lab: Lab, start: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        thing = new_thing([CONNECT])
        will = (
            mqtt5.PublishPacket(topic="gone", qos=mqtt5.QoS.AT_LEAST_ONCE, payload=b"")
            if program is Mqtt5Program
            else mqtt.Will("gone", mqtt.QoS.AT_LEAST_ONCE, b"", retain=False)
        )
        assert start(program, thing, will=will).is_refused() == denied_connect(program)
        explained(lab, thing.name, "iot:Publish", "topic/gone")

    def test_https_in_front_of_the_endpoint(
        self, lab: Lab, start: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        client = start(program, new_thing(), endpoint=f"https://{lab.endpoint}")
        assert client.is_refused() == ("AWS_IO_DNS_INVALID_NAME", None)


def denied_connect(program: type[Program]) -> Symptom:
    if program is Mqtt5Program:
        return "AWS_ERROR_MQTT5_CONNACK_CONNECTION_REFUSED", NOT_AUTHORIZED
    return HANGUP, None


def last_refusal(lab: Lab) -> int:
    entry = lab.why().entry
    return 0 if entry is None else int(entry["number"])


def await_this(happened: Callable[[], bool]) -> None:
    """Ask until it has happened: the client knows of the end of a handshake before the cloud."""
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline


def cut_off(program: type[Program], reason: int) -> Symptom:
    return (DISCONNECTED, reason) if program is Mqtt5Program else (HANGUP, None)


SOME = [CONNECT, allow("iot:Publish", "topic/open"), allow("iot:Subscribe", "topicfilter/open")]


class TestRefusedRequest:
    """MQTT 5 answers with a reason code and goes on; MQTT 3.1.1 knows only to hang up."""

    def test_publish_over_mqtt5(self, lab: Lab, connected: Start, new_thing: MakeThing) -> None:
        client = connected(Mqtt5Program, new_thing(SOME))
        assert client.publish("secret", b"") == NOT_AUTHORIZED
        explained(lab, client.client_id, "iot:Publish", "topic/secret")
        assert client.publish("open", b"", retain=True) == NOT_AUTHORIZED
        explained(lab, client.client_id, "iot:RetainPublish", "topic/open")
        assert client.publish("open", b"") == 0

    def test_subscribe_over_mqtt5(self, lab: Lab, connected: Start, new_thing: MakeThing) -> None:
        client = connected(Mqtt5Program, new_thing(SOME))
        assert client.subscribe("secret") == NOT_AUTHORIZED
        explained(lab, client.client_id, "iot:Subscribe", "topicfilter/secret")
        assert client.subscribe("open") == 1

    def test_publish_over_mqtt311(self, lab: Lab, connected: Start, new_thing: MakeThing) -> None:
        client = connected(Mqtt311Program, new_thing(SOME))
        assert client.publish("open", b"") == 0
        client.send("secret", b"")
        assert client.is_cut_off() == (HANGUP, None)
        explained(lab, client.client_id, "iot:Publish", "topic/secret")

    def test_subscribe_over_mqtt311(self, lab: Lab, connected: Start, new_thing: MakeThing) -> None:
        client = connected(Mqtt311Program, new_thing(SOME))
        assert client.subscribe("open") == 1
        client.client.subscribe("secret", mqtt.QoS.AT_LEAST_ONCE)
        assert client.is_cut_off() == (HANGUP, None)
        explained(lab, client.client_id, "iot:Subscribe", "topicfilter/secret")

    @BOTH
    def test_publish_at_qos_0(
        self, lab: Lab, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        client = connected(program, new_thing(SOME))
        client.publish("secret", b"", qos=0)
        assert client.is_cut_off() == cut_off(program, NOT_AUTHORIZED)
        explained(lab, client.client_id, "iot:Publish", "topic/secret")

    @BOTH
    def test_receive(
        self, lab: Lab, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        filters = allow("iot:Subscribe", "topicfilter/THING/*")
        thing = new_thing([CONNECT, filters, allow("iot:Receive", "topic/THING/open")])
        client = connected(program, thing)
        assert client.subscribe(f"{thing.name}/+") == 1
        for level in ("secret", "open"):
            lab.client("iot-data").publish(topic=f"{thing.name}/{level}", qos=1, payload=b"")
        assert arrived(client, 1) == [(f"{thing.name}/open", b"")]
        explained(lab, thing.name, "iot:Receive", f"topic/{thing.name}/secret")


class TestChangedWhileConnected:
    @BOTH
    def test_second_connection_with_the_same_client_id(
        self, lab: Lab, connected: Start, new_thing: MakeThing, program: type[Program]
    ) -> None:
        for successor in (Mqtt5Program, Mqtt311Program):
            thing = new_thing()
            first = connected(program, thing)
            second = connected(successor, thing)
            assert first.is_cut_off() == cut_off(program, SESSION_TAKEN_OVER)
            assert "Another connection with the client ID" in lab.why(thing.name).summary
            assert second.publish("still", b"here") == 0

    @pytest.mark.parametrize("change", ["new version", "detached"])
    def test_policy_acts_at_once(
        self, lab: Lab, connected: Start, new_thing: MakeThing, change: str
    ) -> None:
        thing, iot = new_thing(), lab.client("iot")
        client = connected(Mqtt5Program, thing)
        topic = f"{thing.name}/depth"
        assert client.subscribe(topic) == 1
        assert client.publish(topic, b"before") == 0
        assert arrived(client, 1) == [(topic, b"before")]
        if change == "detached":
            iot.detach_policy(policyName=thing.policy, target=thing.certificate_arn)
        else:
            document = {"Version": "2012-10-17", "Statement": [CONNECT]}
            text = json.dumps(document).replace("ARN", thing.arn)
            iot.create_policy_version(
                policyName=thing.policy, policyDocument=text, setAsDefault=True
            )
        assert client.publish(topic, b"") == NOT_AUTHORIZED
        explained(lab, thing.name, "iot:Publish", f"topic/{topic}")
        assert client.subscribe(topic) == NOT_AUTHORIZED
        lab.client("iot-data").publish(topic=topic, qos=1, payload=b"not for you")
        explained(lab, thing.name, "iot:Receive", f"topic/{topic}")
        if change == "detached":
            iot.attach_policy(policyName=thing.policy, target=thing.certificate_arn)
        else:
            iot.set_default_policy_version(policyName=thing.policy, policyVersionId="1")
        assert client.publish(topic, b"after") == 0
        assert arrived(client, 1) == [(topic, b"after")]

    @BOTH
    @pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
    def test_certificate_is_cut_off_within_5_seconds(
        self,
        lab: Lab,
        connected: Start,
        new_thing: MakeThing,
        program: type[Program],
        status: str,
    ) -> None:
        thing = new_thing()
        client = connected(program, thing)
        lab.client("iot").update_certificate(certificateId=thing.certificate_id, newStatus=status)
        assert client.is_cut_off(seconds=5) == cut_off(program, NOT_AUTHORIZED)
        assert "no longer ACTIVE" in lab.why(thing.name).summary


class TestOtherCaFile:
    """The last tests of this file: by now the SDK has made up its mind, or soon will."""

    @BOTH
    def test_sdk(self, distrustful: Distrustful, program: type[Program]) -> None:
        symptom = distrustful.programs[program].is_refused(seconds=45)
        assert symptom == ("AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE", None)

    def test_sdk_is_explained(self, lab: Lab, distrustful: Distrustful) -> None:
        def refused() -> int:
            return int((lab.events(after=distrustful.number)["kind"] == "tls").sum())

        await_this(lambda: refused() >= len(distrustful.programs))

    def test_plain_tls(self, lab: Lab, other_ca: Path) -> None:
        number = last_refusal(lab)
        context = ssl.create_default_context(cafile=other_ca)
        with (
            socket.create_connection((lab.endpoint, lab.mqtt_port), SECONDS) as connection,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(connection, server_hostname=lab.endpoint)
        await_this(lambda: last_refusal(lab) > number)
        assert "does not trust this cloud's certificate" in lab.why().summary


class TestLifecycleEvents:
    def test_who_comes_and_goes_is_told_to_who_asks(
        self, connected: Start, new_thing: MakeThing, lab: Lab
    ) -> None:
        thing = new_thing()
        iot = lab.client("iot")
        iot.detach_thing_principal(thingName=thing.name, principal=thing.certificate_arn)
        iot.attach_thing_principal(
            thingName=thing.name,
            principal=thing.certificate_arn,
            thingPrincipalType="EXCLUSIVE_THING",
        )
        watcher = connected(Mqtt5Program, new_thing())
        watcher.subscribe(f"$aws/events/+/+/{thing.name}")
        client = connected(Mqtt5Program, thing)
        client.subscribe("creek")
        client.client.stop(mqtt5.DisconnectPacket())
        events = [json.loads(payload) for _, payload in arrived(watcher, 3)]
        kinds = [event["eventType"] for event in events]
        assert kinds == ["connected", "subscribed", "disconnected"]
        assert {event["thingName"] for event in events} == {thing.name}
        assert {event["principalIdentifier"] for event in events} == {thing.certificate_id}
        assert len({event["sessionIdentifier"] for event in events}) == 1
        assert events[2]["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
