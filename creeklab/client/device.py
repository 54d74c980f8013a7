"""One MQTT connection, as a Thing or as the account, with awsiotsdk's MQTT 5 client.

A Thing presents its certificate over mutual TLS; the account signs its connection over WebSocket.
The SDK uses futures, and callbacks on a thread of its own. Here, a call waits for AWS's response
for a limited time and raises an exception with AWS's reason if AWS refuses the request. Messages
arrive in an `Inbox`.
"""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from awscrt import auth, mqtt5
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt5_client_builder

from creeklab.client.delivery import MAX_WAITING, Acknowledge, Delivery
from creeklab.client.device_shadow import DeviceShadow
from creeklab.client.inbox import Inbox, ReceivedMessage
from creeklab.client.key_files import ThingFiles
from creeklab.client.observer import DeviceObserver
from creeklab.client.session_expiry import parse_session_expiry
from creeklab.client.topics import filter_fault, parse_shadow_topic, topic_fault

T = TypeVar("T")
Wait = Callable[["Future[Any]", str, "float | None"], Any]
UserProperties = Mapping[str, str] | Iterable[tuple[str, str]]

# Created once: json.dumps checks its options for every message.
_JSON = json.JSONEncoder()

CONNECT_TIMEOUT = 15.0
RESPONSE_TIMEOUT = 15.0
MAX_PAYLOAD = 131_072
CONNECTION_REFUSED = "AWS_IO_SOCKET_CONNECTION_REFUSED"
REOPEN_HINT = (
    "The cloud is not running. Open the lab again with creeklab.open_lab() and connect from it."
)
WHY_HINT = "lab.why() explains it."


class RequestRefused(Exception):
    """AWS IoT refused a request of a device.

    Attributes
    ----------
    reason_code
        MQTT 5 reason code, such as 135 (not authorized); None if AWS only closed the connection.
    """

    def __init__(
        self, request: str, reason: str, reason_code: int | None = None, *, offline: bool = False
    ) -> None:
        code = "" if reason_code is None else f" (reason code {reason_code})"
        hint = REOPEN_HINT if offline or CONNECTION_REFUSED in reason else WHY_HINT
        super().__init__(f"{request} failed: {reason}{code}. {hint}")
        self.reason_code = reason_code


class PendingPublish:
    """A message on its way to AWS IoT; wait for it as for a future."""

    __slots__ = ("_future", "_request", "_wait")

    def __init__(
        self, request: str, future: Future[mqtt5.PublishCompletionData], wait: Wait
    ) -> None:
        self._request = request
        self._future = future
        self._wait = wait

    def done(self) -> bool:
        """Return whether AWS has acknowledged or refused the message."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> None:
        """Wait for the acknowledgment; at QoS 0, until the message is sent.

        Raises
        ------
        RequestRefused
            If AWS refuses it. At QoS 0, AWS cannot answer and closes the connection.
        TimeoutError
            If no acknowledgment arrives; the SDK still sends the message once it reconnects.
        """
        code = self._wait(self._future, self._request, timeout).puback.reason_code
        if code is not None and code >= 0x80:
            _refuse(self._request, code)

    def __repr__(self) -> str:
        return f"{self._request}: {'done' if self.done() else 'in progress'}"


@dataclass(frozen=True, slots=True)
class AccountCredentials:
    """The access key that the account connects with, and the region that it signs for.

    Attributes
    ----------
    ca
        The CA certificates to trust; None for those of the operating system.
    """

    access_key: str
    secret_key: str = field(repr=False)
    region: str
    ca: Path | None
    session_token: str | None = field(default=None, repr=False)


class ConnectionChange(NamedTuple):
    """A connection that was made or lost.

    Attributes
    ----------
    reason
        Why the connection was lost.
    session_present
        Whether AWS still had the session of this client ID when it connected.
    """

    connected: bool
    reason: str = ""
    session_present: bool = False


class Device:
    """A connection as one Thing. It connects when created; `close` or ``with`` ends it.

    Parameters
    ----------
    thing
        Name of the Thing; its shadow is `shadow`. None for the account itself.
    identity
        Certificate and key to connect with, or the account's access key.
    client_id
        MQTT client ID; AWS allows one connection for each.
    observer
        Receives the events of the connection and its messages.
    session
        How long AWS keeps the session while this client is away, such as ``"1h"``: the next
        connection with this client ID resumes it and receives what was sent at QoS 1 meanwhile. A
        message is acknowledged once its callback has returned, or once it is in an inbox. None
        starts a new session and ends it with the connection.
    on_message
        Called, on the SDK's thread, with each message that no subscription with a callback of its
        own matches. It is registered before the device connects, so it misses no message of a
        resumed session. Without it, such messages wait until a subscription matches them.
    on_connection
        Called, on the SDK's thread, with each `ConnectionChange`, including the first.

    Attributes
    ----------
    closed
        Whether `close` was called; after any other disconnect, the SDK reconnects.
    session_present
        Whether the last connection resumed a session.

    Raises
    ------
    RequestRefused
        If AWS IoT refuses the connection.
    TimeoutError
        If no answer arrives.
    ValueError
        If the files, the access key or the session are unusable.
    """

    def __init__(
        self,
        thing: str | None,
        identity: ThingFiles | AccountCredentials,
        *,
        endpoint: str,
        port: int,
        client_id: str,
        observer: DeviceObserver | None = None,
        session: str | None = None,
        on_message: Callable[[ReceivedMessage], object] | None = None,
        on_connection: Callable[[ConnectionChange], object] | None = None,
    ) -> None:
        self.thing = thing
        self._observer = observer or DeviceObserver()
        self.client_id = client_id
        self.session_present = False
        self._granted_expiry = 0
        self._delivery = Delivery(on_message, keep_unmatched=session is not None)
        self._session_expiry = None if session is None else parse_session_expiry(session)
        self._connected: Future[None] = Future()
        self._stopped = threading.Event()
        self.closed = False
        self._offline = False  # whether the last attempt to reconnect found no cloud
        self.on_connection = on_connection
        try:
            self._client = _builder(identity)(
                endpoint=endpoint,
                port=port,
                client_id=client_id,
                keep_alive_interval_sec=60,
                session_expiry_interval_sec=self._session_expiry,
                session_behavior=(
                    mqtt5.ClientSessionBehaviorType.CLEAN
                    if session is None
                    else mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS
                ),
                receive_maximum=None if session is None else MAX_WAITING,
                # By default the SDK waits up to two minutes, too long for a notebook.
                min_reconnect_delay_ms=200,
                max_reconnect_delay_ms=2000,
                # By default the SDK limits itself to 100 publishes a second, AWS's quota.
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
            credentials, hint = "the account's access key", ""
            if isinstance(identity, ThingFiles):
                credentials = f"the files in {identity.folder}"
                hint = f' lab.doctor("{identity.folder.name}") finds the faulty file.'
            raise ValueError(
                f"Cannot connect with {credentials}: {_sdk_error_text(error)}.{hint}"
            ) from None
        self._client.start()
        try:
            self._connected.result(CONNECT_TIMEOUT)
        except TimeoutError:
            self.close()
            raise TimeoutError(
                f"Connecting to {endpoint}:{port} timed out: no answer within "
                f"{CONNECT_TIMEOUT:.0f} s. lab.doctor() checks the network and the cloud."
            ) from None
        except BaseException:
            self.close()
            raise
        if self._session_expiry is not None and self._granted_expiry < self._session_expiry:
            warnings.warn(
                f"AWS keeps the session of '{client_id}' for {self._granted_expiry} s, which is "
                f"less than {session}. To keep it longer, raise the quota of your account.",
                stacklevel=5,
            )

    # --- publish, subscribe, close --------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any] | list[Any] | str | bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        user_properties: UserProperties = (),
    ) -> None:
        """Publish a message; at QoS 1, return once AWS has acknowledged it.

        Parameters
        ----------
        payload
            A mapping or a list is sent as JSON, text as UTF-8, bytes as they are.
        user_properties
            Names and values to send with the message; a name can occur more than once.

        Raises
        ------
        ValueError
            If the message is too large for AWS, or MQTT or AWS does not allow it.
        RequestRefused
            If AWS refuses it. At QoS 0, AWS cannot answer and closes the connection.
        TimeoutError
            If no acknowledgment arrives; the SDK still sends the message once it reconnects.
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
        """Publish a message as `publish` does, but without waiting for the acknowledgment.

        Many messages can then be in flight at once, which is much faster than one after another.

        An invalid message raises ValueError here; refusals and timeouts are raised by `result`.
        """
        request = f"Publishing to {topic!r}"
        fault = topic_fault(topic)
        if fault is not None:
            raise ValueError(f"{request} failed: {fault}")
        if qos not in (0, 1):
            raise ValueError(f"{request} failed: AWS IoT supports QoS 0 and 1, not {qos}.")
        data = _encoded(payload)
        if len(data) > MAX_PAYLOAD:
            raise ValueError(
                f"{request} failed: the payload has {len(data):,} bytes, and AWS IoT allows at "
                f"most {MAX_PAYLOAD:,}. Send it in parts, or send a link to it."
            )
        packet = mqtt5.PublishPacket(topic=topic, payload=data, qos=mqtt5.QoS(qos), retain=retain)
        if user_properties:
            pairs = (
                user_properties.items() if isinstance(user_properties, Mapping) else user_properties
            )
            packet.user_properties = [mqtt5.UserProperty(name, value) for name, value in pairs]
        self._observer.publishes(topic, len(data))
        future = self._send(lambda: self._client.publish(packet), request)
        if retain or qos:
            future.add_done_callback(lambda done: self._on_published(done, packet))
        return PendingPublish(request, future, self._wait)

    def subscribe(
        self,
        topic_filter: str,
        *,
        qos: int = 1,
        callback: Callable[[ReceivedMessage], object] | None = None,
    ) -> Inbox:
        """Subscribe to a topic filter; return the inbox for its messages.

        Parameters
        ----------
        callback
            Called with each message on the SDK's thread; the inbox then stays empty. At QoS 1, the
            SDK acknowledges the message when the callback returns. It must not wait for this
            device.

        Raises
        ------
        ValueError
            If the topic filter is not valid in MQTT.
        RequestRefused
            If AWS refuses the subscription.
        TimeoutError
            If no acknowledgment arrives.
        """
        request = f"Subscribing to {topic_filter!r}"
        fault = filter_fault(topic_filter)
        if fault is not None:
            raise ValueError(f"{request} failed: {fault}")
        known = self._delivery.find(topic_filter)
        inbox = Inbox(topic_filter, qos) if known is None else known
        previous, inbox.callback = inbox.callback, callback or self._delivery.on_message
        self._delivery.add(inbox)
        try:
            packet = _subscription(topic_filter, qos)
            self._observer.subscribed()
            suback = self._wait(
                self._send(lambda: self._client.subscribe(packet), request), request
            )
            if suback.reason_codes[0] >= 0x80:
                self._observer.refused(self.thing or self.client_id, "iot:Subscribe", topic_filter)
                _refuse(request, suback.reason_codes[0])
        except Exception:
            inbox.callback = previous
            if known is None:
                self._delivery.remove(topic_filter)
            raise
        inbox.qos = qos
        return inbox

    def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription; its inbox keeps the messages it has."""
        packet = mqtt5.UnsubscribePacket([topic_filter])
        request = f"Unsubscribing from {topic_filter!r}"
        self._wait(self._send(lambda: self._client.unsubscribe(packet), request), request)
        self._delivery.remove(topic_filter)

    @cached_property
    def shadow(self) -> DeviceShadow:
        """The Device Shadow of this Thing."""
        if self.thing is None:
            raise RuntimeError(
                "This device connects as the account, which is not a Thing and has no shadow. Use "
                "lab.client('iot-data') or the shadow topics for the shadows of its Things."
            )
        if self.closed:
            raise RuntimeError("This device is closed. Connect again with lab.connect.")
        return DeviceShadow(self._client, self.thing, self._observer, self._advice)

    def close(self) -> None:
        """Disconnect, and wait until the connection has ended."""
        if not self.closed:
            self.closed = True
            if "shadow" in self.__dict__:
                self.shadow.close()
            self._client.stop(mqtt5.DisconnectPacket())
            self._stopped.wait(CONNECT_TIMEOUT)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "connected"
        owner = "the account" if self.thing is None else f"Thing '{self.thing}'"
        return f"Device of {owner}, client ID '{self.client_id}', {state}"

    # --- callbacks on the SDK's thread ----------------------------------------------------------

    def _on_publish(self, received: mqtt5.PublishReceivedData) -> None:
        message = _message(received.publish_packet)
        self._observer.received(message.topic, len(message.payload), message.qos)
        acquire = received.acquire_publish_acknowledgement_control

        def defer() -> Acknowledge:
            return partial(self._client.invoke_publish_acknowledgement, acquire())

        if self._answers_shadow(message.topic) and not self._delivery.has_inbox(message.topic):
            return
        try:
            self._delivery.deliver(message, None if acquire is None else defer)
        except Exception:
            if acquire is None or self._session_expiry is None:
                raise
            acquire()  # Never acknowledged, so the session delivers the message again.
            # The SDK acknowledges the message if this function raises.
            failure = (*sys.exc_info(), threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(failure))

    def _answers_shadow(self, topic: str) -> bool:
        """Return whether the SDK may have subscribed to this topic for `shadow`."""
        parsed = parse_shadow_topic(topic) if "shadow" in self.__dict__ else None
        return (
            parsed is not None
            and parsed[0] == self.thing
            and parsed[2].endswith(("/accepted", "/rejected"))
        )

    def _on_success(self, success: mqtt5.LifecycleConnectSuccessData) -> None:
        self._observer.connected()
        self._offline = False
        self.session_present = bool(success.connack_packet.session_present)
        if self.session_present:
            self._delivery.forget_waiting()
        elif self._connected.done():
            # The SDK reconnects by itself, but the subscriptions ended with the session.
            for inbox in self._delivery.inboxes:
                self._observer.subscribed()
                self._client.subscribe(_subscription(inbox.topic_filter, inbox.qos))
        if not self._connected.done():
            self._granted_expiry = success.negotiated_settings.session_expiry_interval_sec
            self._connected.set_result(None)
        if self.on_connection is not None:
            self.on_connection(ConnectionChange(True, session_present=self.session_present))

    def _on_disconnection(self, ended: mqtt5.LifecycleDisconnectData) -> None:
        self._observer.disconnected()
        if self.on_connection is not None:
            packet, error = ended.disconnect_packet, ended.exception
            reason = _sdk_error_text(error) if packet is None else _error_text(packet.reason_code)
            self.on_connection(ConnectionChange(False, reason))

    def _on_published(
        self, done: Future[mqtt5.PublishCompletionData], packet: mqtt5.PublishPacket
    ) -> None:
        if done.exception() is not None:
            return
        puback = done.result().puback
        if puback is not None and (puback.reason_code or 0) >= 0x80:
            action = "iot:RetainPublish" if packet.retain else "iot:Publish"
            self._observer.refused(self.thing or self.client_id, action, packet.topic)
        elif packet.retain:
            self._observer.retained(packet.topic, cleared=not packet.payload)

    def _on_failure(self, failure: mqtt5.LifecycleConnectFailureData) -> None:
        self._offline = CONNECTION_REFUSED in _sdk_error_text(failure.exception)
        if self._connected.done():
            return
        request = f"Connecting as '{self.client_id}'"
        self._observer.refused(self.thing or self.client_id, "iot:Connect", self.client_id)
        if failure.connack_packet is not None:
            code = failure.connack_packet.reason_code
            refused = RequestRefused(request, _error_text(code), int(code))
        else:
            refused = RequestRefused(request, _sdk_error_text(failure.exception))
        self._connected.set_exception(refused)

    def _on_stopped(self, _: mqtt5.LifecycleStoppedData) -> None:
        self._stopped.set()

    # --- requests -------------------------------------------------------------------------------

    def _wait(self, future: Future[T], request: str, timeout: float | None = None) -> T:
        seconds = RESPONSE_TIMEOUT if timeout is None else timeout
        try:
            return future.result(seconds)
        except TimeoutError:
            raise TimeoutError(
                f"{request} timed out: no answer within {seconds:g} s. {self._advice()}"
            ) from None
        except AwsCrtError as error:
            raise RequestRefused(request, _sdk_error_text(error), offline=self._offline) from None

    def _advice(self, online: str = "lab.why() may explain it.") -> str:
        """Return the next step after a timeout: `online`, unless the cloud is not running."""
        return REOPEN_HINT if self._offline else online

    def _send(self, send: Callable[[], Future[T]], request: str) -> Future[T]:
        if self.closed:
            raise RuntimeError(
                f"{request} failed: this device is closed. Connect again with lab.connect."
            )
        try:
            return send()
        except (RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"{request} failed: the SDK rejected it. {error}") from None


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


def _refuse(request: str, code: Any) -> NoReturn:
    raise RequestRefused(request, _error_text(code), int(code))


def _error_text(code: Any) -> str:
    name = getattr(code, "name", "refused")
    return str(name).replace("_", " ").lower()


def _sdk_error_text(error: Exception | None) -> str:
    if isinstance(error, AwsCrtError):
        return f"{error.message.rstrip('.')} [{error.name}]"
    return str(error)
