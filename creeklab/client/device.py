"""One MQTT connection, as one Thing or as the account: awsiotsdk's MQTT 5 client.

A Thing shows its certificate, over mutual TLS; the account signs, and goes over WebSocket.
The SDK answers with futures and callbacks on a thread of its own. Here a call waits for AWS's
answer, with a bound, and a refusal is an exception that says what AWS said. What arrives is put
into an `Inbox`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from awscrt import auth, mqtt5
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt5_client_builder

from creeklab.client.device_shadow import DeviceShadow
from creeklab.client.inbox import Inbox, ReceivedMessage
from creeklab.client.key_files import ThingFiles
from creeklab.client.observer import DeviceObserver
from creeklab.client.topics import filter_fault, matches, topic_fault

T = TypeVar("T")
Wait = Callable[["Future[Any]", str, "float | None"], Any]
UserProperties = Mapping[str, str] | Iterable[tuple[str, str]]

# Made once: json.dumps looks at its options anew for every message.
_JSON = json.JSONEncoder()

CONNECT_TIMEOUT = 15.0
RESPONSE_TIMEOUT = 15.0
MAX_PAYLOAD = 131_072
NO_LISTENER = "AWS_IO_SOCKET_CONNECTION_REFUSED"
OPEN_AGAIN = (
    "Nobody listens there: open the lab again with creeklab.open_lab(), and connect anew from it."
)


class RequestRefused(Exception):
    """AWS IoT refused what a device asked for.

    Attributes
    ----------
    reason_code
        MQTT 5 reason code, such as 135 (not authorized); None if the connection was just closed.
    """

    def __init__(
        self, what: str, reason: str, reason_code: int | None = None, *, nobody_there: bool = False
    ) -> None:
        code = "" if reason_code is None else f" (reason code {reason_code})"
        hint = OPEN_AGAIN if nobody_there or NO_LISTENER in reason else "lab.why() says why."
        super().__init__(f"{what}: {reason}{code}. {hint}")
        self.reason_code = reason_code


class PendingPublish:
    """A message that is under way to AWS IoT. To be waited for, as a future is."""

    __slots__ = ("_future", "_wait", "_what")

    def __init__(self, what: str, future: Future[mqtt5.PublishCompletionData], wait: Wait) -> None:
        self._what = what
        self._future = future
        self._wait = wait

    def done(self) -> bool:
        """Say whether the acknowledgement, or a refusal, is here."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> None:
        """Wait for the acknowledgement; at QoS 0, until the message has left.

        Raises
        ------
        Refused
            If AWS refused it. At QoS 0 AWS has no way to say so, and closes the connection.
        TimeoutError
            If no acknowledgement came; the SDK still sends it when it can connect again.
        """
        code = self._wait(self._future, self._what, timeout).puback.reason_code
        if code is not None and code >= 0x80:
            _refuse(self._what, code)

    def __repr__(self) -> str:
        return f"{self._what}: {'done' if self.done() else 'under way'}"


@dataclass(frozen=True, slots=True)
class AccountCredentials:
    """What the account connects with: its access key, and the region that it signs for.

    Attributes
    ----------
    ca
        The certificates to trust; None for those that the machine trusts.
    """

    access_key: str
    secret_key: str = field(repr=False)
    region: str
    ca: Path | None
    session_token: str | None = field(default=None, repr=False)


class Device:
    """A connection as one Thing. Connects when made; `close` or ``with`` ends it.

    Parameters
    ----------
    thing
        Name of the Thing; its shadow is `shadow`. None for the account itself.
    identity
        Certificate and key to connect with, or the account's access key.
    client_id
        MQTT client id; AWS keeps one connection for each.
    record
        Is told of the connection and its messages.

    Attributes
    ----------
    on_connection
        Called, if set, on the SDK's thread when the connection was lost (False, and why) and when
        the SDK has connected again (True).

    Raises
    ------
    Refused
        If AWS IoT does not take the connection.
    TimeoutError
        If no answer came.
    ValueError
        If the files, or the access key, cannot be used.
    """

    def __init__(
        self,
        thing: str | None,
        identity: ThingFiles | AccountCredentials,
        *,
        endpoint: str,
        port: int,
        client_id: str,
        record: DeviceObserver | None = None,
    ) -> None:
        self.thing = thing
        self._record = record or DeviceObserver()
        self.client_id = client_id
        self._inboxes: dict[str, Inbox] = {}
        self._connected: Future[None] = Future()
        self._stopped = threading.Event()
        self._closed = False
        self._nobody_there = False  # at the last try to connect again
        self.on_connection: Callable[[bool, str], None] | None = None
        try:
            self._client = _builder(identity)(
                endpoint=endpoint,
                port=port,
                client_id=client_id,
                keep_alive_interval_sec=60,
                # The SDK's own longest wait is two minutes: too long beside a notebook.
                min_reconnect_delay_ms=200,
                max_reconnect_delay_ms=2000,
                # By default the SDK holds itself to 100 publishes a second, AWS's quota.
                extended_validation_and_flow_control_options=(
                    mqtt5.ExtendedValidationAndFlowControlOptions.NONE
                ),
                on_publish_received=self._on_publish,
                on_lifecycle_connection_success=self._on_success,
                on_lifecycle_connection_failure=self._on_failure,
                on_lifecycle_disconnection=self._on_disconnection,
                on_lifecycle_stopped=self._on_stopped,
            )
        except (AwsCrtError, RuntimeError) as error:
            what, hint = "The account's access key", ""
            if isinstance(identity, ThingFiles):
                what = f"The files in {identity.folder}"
                hint = f' lab.doctor("{identity.folder.name}") says which of them is wrong.'
            raise ValueError(f"{what} cannot be used: {_sdk_error_text(error)}.{hint}") from None
        self._client.start()
        try:
            self._connected.result(CONNECT_TIMEOUT)
        except TimeoutError:
            self.close()
            raise TimeoutError(
                f"{endpoint}:{port} did not answer within {CONNECT_TIMEOUT:.0f} s."
            ) from None
        except BaseException:
            self.close()
            raise

    # --- what a device does -------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any] | list[Any] | str | bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        user_properties: UserProperties = (),
    ) -> None:
        """Publish a message; at QoS 1, return when AWS has acknowledged it.

        Parameters
        ----------
        payload
            A mapping or a list is sent as JSON, text as UTF-8, bytes as they are.
        user_properties
            Names and values that go with the message; a name may come several times.

        Raises
        ------
        ValueError
            If it is larger than AWS takes, or not what MQTT or AWS allows.
        Refused
            If AWS refused it. At QoS 0 AWS has no way to say so, and closes the connection.
        TimeoutError
            If no acknowledgement came; the SDK still sends it when it can connect again.
        """
        self.publish_soon(
            topic, payload, qos=qos, retain=retain, user_properties=user_properties
        ).result()

    def publish_soon(
        self,
        topic: str,
        payload: Mapping[str, Any] | list[Any] | str | bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        user_properties: UserProperties = (),
    ) -> PendingPublish:
        """Publish a message as `publish` does, but do not wait for the acknowledgement.

        So many messages can be under way at once, which is much faster than one after the other.

        Returns
        -------
        Publishing
            What to wait for: its `result` returns when AWS has acknowledged the message, and raises
            what `publish` raises.

        Raises
        ------
        ValueError
            If it is larger than AWS takes, or not what MQTT allows.
        """
        what = f"Publishing to {topic!r}"
        fault = topic_fault(topic)
        if fault is not None:
            raise ValueError(f"{what}: {fault}")
        if qos not in (0, 1):
            raise ValueError(f"{what}: AWS IoT has QoS 0 and 1, and no other.")
        data = _encoded(payload)
        if len(data) > MAX_PAYLOAD:
            raise ValueError(
                f"{what}: the payload has {len(data)} bytes; AWS IoT takes {MAX_PAYLOAD}."
            )
        packet = mqtt5.PublishPacket(topic=topic, payload=data, qos=mqtt5.QoS(qos), retain=retain)
        if user_properties:
            packet.user_properties = _properties(user_properties)
        self._record.publishes(topic, len(data))
        future = self._ask(lambda: self._client.publish(packet), what)
        if retain or qos:
            future.add_done_callback(lambda done: self._on_published(done, packet))
        return PendingPublish(what, future, self._wait)

    def subscribe(
        self,
        topic_filter: str,
        *,
        qos: int = 1,
        call: Callable[[ReceivedMessage], object] | None = None,
    ) -> Inbox:
        """Subscribe to a topic filter; return the inbox that its messages come to.

        Parameters
        ----------
        call
            Called with each message instead, on the SDK's thread; at QoS 1 the SDK acknowledges the
            message when it has returned. It must not wait for this device. The inbox stays empty.

        Raises
        ------
        ValueError
            If no MQTT client may send this as a topic filter.
        Refused
            If AWS refused it.
        TimeoutError
            If no acknowledgement came.
        """
        what = f"Subscribing to {topic_filter!r}"
        fault = filter_fault(topic_filter)
        if fault is not None:
            raise ValueError(f"{what}: {fault}")
        known = self._inboxes.get(topic_filter)
        inbox = Inbox(topic_filter, qos) if known is None else known
        called, inbox.call = inbox.call, call
        self._inboxes[topic_filter] = inbox
        try:
            packet = _subscription(topic_filter, qos)
            self._record.subscribed()
            done = self._wait(self._ask(lambda: self._client.subscribe(packet), what), what)
            if done.reason_codes[0] >= 0x80:
                self._record.refused(self.thing or self.client_id, "iot:Subscribe", topic_filter)
                _refuse(what, done.reason_codes[0])
        except Exception:
            inbox.call = called
            if known is None:
                del self._inboxes[topic_filter]
            raise
        inbox.qos = qos
        return inbox

    def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription; its inbox keeps what it has."""
        packet = mqtt5.UnsubscribePacket([topic_filter])
        what = f"Unsubscribing from {topic_filter!r}"
        self._wait(self._ask(lambda: self._client.unsubscribe(packet), what), what)
        self._inboxes.pop(topic_filter, None)

    @property
    def closed(self) -> bool:
        """Whether `close` was called; the SDK connects again whatever else ended a connection."""
        return self._closed

    @cached_property
    def shadow(self) -> DeviceShadow:
        """The Device Shadow of this Thing."""
        if self.thing is None:
            raise RuntimeError(
                "The account is no Thing and has no shadow. Those of its Things are read and "
                "changed with lab.client('iot-data'), or on their topics."
            )
        if self._closed:
            raise RuntimeError("This device is closed. Connect anew with lab.connect.")
        return DeviceShadow(self._client, self.thing, self._record, self._advice)

    def close(self) -> None:
        """Disconnect and wait until the connection has ended."""
        if not self._closed:
            self._closed = True
            if "shadow" in self.__dict__:
                self.shadow.close()
            self._client.stop(mqtt5.DisconnectPacket())
            self._stopped.wait(CONNECT_TIMEOUT)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connected"
        owner = "the account" if self.thing is None else f"Thing '{self.thing}'"
        return f"Device of {owner}, client id '{self.client_id}', {state}"

    # --- what the SDK's thread calls ------------------------------------------------------------

    def _on_publish(self, received: mqtt5.PublishReceivedData) -> None:
        message = _message(received.publish_packet)
        self._record.received(message.topic, len(message.payload), message.qos)
        failed: Exception | None = None
        for inbox in list(self._inboxes.values()):
            if matches(inbox.topic_filter, message.topic):
                try:
                    inbox.put(message)
                except Exception as error:  # a callback's; the others get the message all the same
                    failed = failed or error
        if failed is not None:
            raise failed

    def _on_success(self, success: mqtt5.LifecycleConnectSuccessData) -> None:
        self._record.connected()
        self._nobody_there = False
        if not self._connected.done():
            self._connected.set_result(None)
        elif not success.connack_packet.session_present:
            # The SDK connects again by itself, but what was subscribed went with the connection.
            for topic_filter, inbox in list(self._inboxes.items()):
                self._record.subscribed()
                self._client.subscribe(_subscription(topic_filter, inbox.qos))

        if self.on_connection is not None:
            self.on_connection(True, "")

    def _on_disconnection(self, ended: mqtt5.LifecycleDisconnectData) -> None:
        self._record.disconnected()
        if self.on_connection is not None and not self._closed:
            packet = ended.disconnect_packet
            words = (
                _sdk_error_text(ended.exception)
                if packet is None
                else _error_text(packet.reason_code)
            )
            self.on_connection(False, words)

    def _on_published(
        self, done: Future[mqtt5.PublishCompletionData], packet: mqtt5.PublishPacket
    ) -> None:
        if done.exception() is not None:
            return
        puback = done.result().puback
        if puback is not None and (puback.reason_code or 0) >= 0x80:
            action = "iot:RetainPublish" if packet.retain else "iot:Publish"
            self._record.refused(self.thing or self.client_id, action, packet.topic)
        elif packet.retain:
            self._record.retained(packet.topic, cleared=not packet.payload)

    def _on_failure(self, failure: mqtt5.LifecycleConnectFailureData) -> None:
        self._nobody_there = NO_LISTENER in _sdk_error_text(failure.exception)
        if self._connected.done():
            return
        what = f"Connecting as '{self.client_id}'"
        self._record.refused(self.thing or self.client_id, "iot:Connect", self.client_id)
        if failure.connack_packet is not None:
            code = failure.connack_packet.reason_code
            self._connected.set_exception(RequestRefused(what, _error_text(code), int(code)))
        else:
            self._connected.set_exception(RequestRefused(what, _sdk_error_text(failure.exception)))

    def _on_stopped(self, _: mqtt5.LifecycleStoppedData) -> None:
        self._stopped.set()

    # --- small things ---------------------------------------------------------------------------

    def _wait(self, future: Future[T], what: str, timeout: float | None = None) -> T:
        seconds = RESPONSE_TIMEOUT if timeout is None else timeout
        try:
            return future.result(seconds)
        except TimeoutError:
            raise TimeoutError(
                f"{what}: no answer came within {seconds:.0f} s. {self._advice()}"
            ) from None
        except AwsCrtError as error:
            raise RequestRefused(
                what, _sdk_error_text(error), nobody_there=self._nobody_there
            ) from None

    def _advice(self, otherwise: str = "lab.why() may know.") -> str:
        """Say what to do if no answer comes: `otherwise`, if there is somebody to answer."""
        return OPEN_AGAIN if self._nobody_there else otherwise

    def _ask(self, ask: Callable[[], Future[T]], what: str) -> Future[T]:
        if self._closed:
            raise RuntimeError(f"{what}: this device is closed. Connect anew with lab.connect.")
        try:
            return ask()
        except (RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"{what}: the SDK does not take this. {error}") from None


def _builder(identity: ThingFiles | AccountCredentials) -> Callable[..., mqtt5.Client]:
    if isinstance(identity, ThingFiles):
        return partial(
            mqtt5_client_builder.mtls_from_path,
            str(identity.certificate),
            str(identity.private_key),
            ca_filepath=str(identity.ca),
        )
    return partial(
        mqtt5_client_builder.websockets_with_default_aws_signing,
        identity.region,
        auth.AwsCredentialsProvider.new_static(
            identity.access_key, identity.secret_key, identity.session_token
        ),
        ca_filepath=None if identity.ca is None else str(identity.ca),
    )


def _subscription(topic_filter: str, qos: int) -> mqtt5.SubscribePacket:
    return mqtt5.SubscribePacket([mqtt5.Subscription(topic_filter, mqtt5.QoS(qos))])


def _encoded(payload: Mapping[str, Any] | list[Any] | str | bytes) -> bytes:
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return payload.encode()
    return _JSON.encode(payload).encode()


def _message(packet: mqtt5.PublishPacket) -> ReceivedMessage:
    return ReceivedMessage(
        packet.topic,
        bytes(packet.payload or b""),
        int(packet.qos),
        bool(packet.retain),
        packet.content_type,
        packet.response_topic,
        packet.correlation_data_bytes,
        packet.payload_format_indicator,
        packet.message_expiry_interval_sec,
        tuple((each.name, each.value) for each in packet.user_properties or ()),
    )


def _properties(given: UserProperties) -> list[mqtt5.UserProperty]:
    pairs = given.items() if isinstance(given, Mapping) else given
    return [mqtt5.UserProperty(name=name, value=value) for name, value in pairs]


def _refuse(what: str, code: Any) -> None:
    raise RequestRefused(what, _error_text(code), int(code))


def _error_text(code: Any) -> str:
    name = getattr(code, "name", "refused")
    return str(name).replace("_", " ").lower()


def _sdk_error_text(error: Exception | None) -> str:
    if isinstance(error, AwsCrtError):
        return f"{error.message.rstrip('.')} [{error.name}]"
    return str(error)
