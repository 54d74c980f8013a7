"""One client's conversation with the broker: packets in, packets out, and the rules between.

This is the state machine of an MQTT 3.1.1 or 5 server with AWS IoT Core's limits, reason codes and
refusals (developer guide, "MQTT" and "How AWS IoT differs from MQTT version specifications"). A
refused request gets a reason code in MQTT 5; in MQTT 3.1.1, the connection is closed instead.

A connection is in one of three states. It leaves AWAITING_CONNECT when a CONNECT is accepted, and
ends in CLOSED whichever side closes it. `HANDLERS` lists the packets that each state allows; any
other packet is a protocol error. A connection holds no socket: `write` and `close` are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, TypeAlias

from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.monitoring.event_log import PeerIdentity
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.decoder import Decoder, Pubacks
from creeklab.cloud.mqtt.codec.wire import ProtocolError, Reason
from creeklab.cloud.mqtt.connection.connect_terms import MAX_PACKET, ConnectTerms
from creeklab.cloud.mqtt.connection.permissions import ClientPermissions, ConnectRejection
from creeklab.cloud.mqtt.connection.resend import Resends
from creeklab.cloud.mqtt.connection.topic_aliases import TopicAliases
from creeklab.cloud.mqtt.interfaces import Peer, PublishDenied, PublishedMessage
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason, reason_of
from creeklab.cloud.mqtt.lifecycle.events import EventSubject
from creeklab.cloud.mqtt.rate_limits import Rate
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.session import MAX_IN_FLIGHT, Session


class State(Enum):
    """State of a connection."""

    AWAITING_CONNECT = "awaiting CONNECT"
    CONNECTED = "connected"
    CLOSED = "closed"


MAX_FILTERS = 8
MAX_WEBSOCKET_AGE = 24 * 3600.0
"""Longest connection of the account, over WebSocket with a signature, in seconds (developer guide,
"Device communication protocols")."""
SLOW_READER = "The client reads more slowly than its messages arrive; QoS 0 messages do not wait."
# Any other reason ends the connection (developer guide, "MQTT 5 reason codes").
PUBACK_REASONS = (Reason.NOT_AUTHORIZED, Reason.TOPIC_NAME_INVALID, Reason.QUOTA_EXCEEDED)


class Connection:
    """The server's end of one MQTT connection; an `interfaces.ClientConnection`.

    Parameters
    ----------
    write, close
        Send bytes to the client; close the connection after everything is sent.

    Attributes
    ----------
    subject
        Client, principal and Thing that its lifecycle events name.
    permissions
        What the client is allowed to do, and its identity in the event log.
    congested
        Whether the client reads so slowly that QoS 0 messages for it are dropped.
    deferred_pubacks
        Number of its messages whose PUBACK waits for the next commit.
    """

    def __init__(
        self,
        broker: Broker,
        peer: Peer,
        write: Callable[[bytes], None],
        close: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.client_id = ""
        self.version = 4
        self.receive_maximum = MAX_IN_FLIGHT
        self.keep_alive = 0
        self.session: Session | None = None
        self.subject = EventSubject("", peer.principal, None)
        identity = PeerIdentity("", peer.principal, peer.source_ip, peer.source_port)
        publish_rate = broker.settings.publish_rate
        self.permissions = ClientPermissions(identity, broker.event_log, publish_rate)
        self.congested = False
        self.deferred_pubacks = 0
        self._broker = broker
        self._event_log = broker.event_log
        self._counts = broker.event_log.metrics.mqtt
        self._write = write
        self._close = close
        self._decoder = Decoder(max_packet_size=MAX_PACKET)
        self._enter(State.AWAITING_CONNECT)
        self._will: packets.Will | None = None
        self._opened = self._last_received = broker.timer()
        stored_rate = broker.settings.stored_rate
        self._stored_rate = Rate(stored_rate, self._opened) if stored_rate else None
        resend_seconds = broker.settings.resend_seconds
        self._resends = Resends(resend_seconds) if resend_seconds else None
        self._aliases = TopicAliases()
        self._retained_due: dict[str, None] = {}  # topics, in the order of their subscriptions
        self._unacknowledged = 0
        self._max_packet = 0

    @property
    def authorization(self) -> ConnectionAuthorization | None:
        """What the client is allowed to do; None before its CONNECT was checked."""
        return self.permissions.authorization

    @property
    def identity(self) -> PeerIdentity:
        """The client in the event log."""
        return self.permissions.identity

    # --- bytes in -----------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._last_received = self._broker.timer()
        self._unacknowledged = self.deferred_pubacks
        try:
            for packet in self._decoder.feed_coalesced(data):
                handler = self._handlers.get(type(packet))
                if handler is None:
                    if self.state is State.CLOSED:
                        return
                    why = f"{type(packet).__name__} is not allowed: {self.state.value}."
                    raise ProtocolError(Reason.PROTOCOL_ERROR, why)
                handler(self, packet)
        except ProtocolError as error:
            self._on_protocol_error(error)

    def reject_malformed(self, why: str) -> None:
        """Close the connection because something arrived that is not MQTT."""
        self._on_protocol_error(ProtocolError(Reason.PROTOCOL_ERROR, why))

    def _on_protocol_error(self, error: ProtocolError) -> None:
        if self.state is State.CLOSED:
            return
        self.permissions.log_refusal("protocol", error.text, reason_code=int(error.reason_code))
        if self.state is State.CONNECTED:
            self.disconnect(error.reason_code)
            return
        self.version = self._decoder.version or 4
        if self.version == 5:
            self._send(packets.Connack(False, error.reason_code, {}))
        elif error.reason_code == Reason.UNSUPPORTED_PROTOCOL_VERSION:
            self._send(packets.Connack(False, 1, {}))
        self._close_now()

    # --- connect ------------------------------------------------------------------------------

    def _on_connect(self, connect: packets.Connect) -> None:
        broker = self._broker
        terms = ConnectTerms.of(connect, broker.settings.session_expiry_max)
        self.version = terms.version
        self.client_id = terms.client_id
        self.keep_alive = terms.keep_alive
        self.receive_maximum = terms.receive_maximum
        self._max_packet = terms.max_packet
        self._will = terms.will
        rejection = self.permissions.check_connect(terms, self.peer, broker, self._last_received)
        access = self.authorization
        if access is not None:
            self.subject = EventSubject(
                terms.client_id, self.peer.principal, access.exclusive_thing
            )
        if rejection is not None:
            self._reject_connect(rejection)
            return
        session, resumed = broker.open_session(self, terms.clean, terms.expiry)
        self._enter(State.CONNECTED)
        broker.commit_and_acknowledge()
        self._send(terms.connack(resumed))
        self._counts["Connect.Success"] += 1
        version = "5" if self.version == 5 else "3.1.1"
        self.permissions.log_event("connect", version=version, resumed=resumed)
        broker.publish_connected(self)
        broker.shared_groups.collect(session, list(session.subscriptions))
        self.drain_queue()

    def _reject_connect(self, rejection: ConnectRejection) -> None:
        if rejection.publishes_event:
            self._broker.publish_connect_failed(self)
        connack = rejection.always_connack or self._broker.settings.connect_denied_311 == "connack5"
        if rejection.reason is not None and self.version == 5:
            self._send(packets.Connack(False, rejection.reason, {}))
        elif rejection.reason is not None and connack:
            self._send(packets.Connack(False, rejection.return_code, {}))
        self._close_now()

    # --- publish ------------------------------------------------------------------------------

    def _on_publish(self, publish: packets.Publish) -> None:
        if publish.qos:
            self._unacknowledged += 1
            if self._unacknowledged > MAX_IN_FLIGHT and self.version == 5:
                raise ProtocolError(
                    Reason.RECEIVE_MAXIMUM_EXCEEDED,
                    f"The client sent more than {MAX_IN_FLIGHT} QoS 1 messages without waiting for "
                    "a PUBACK; the CONNACK announced this Receive Maximum.",
                )
        topic, properties = publish.topic, publish.properties
        if properties and "topic_alias" in properties:
            topic = self._aliases.resolve(topic, properties["topic_alias"])
        sender = self.permissions.identity
        message = PublishedMessage(
            topic, publish.payload, publish.qos, publish.retain, properties, sender, "client"
        )
        packet_id = publish.packet_id
        try:
            reason = self._broker.publish_message(message, self._authorize_publish)
        except PublishDenied as denied:
            self._deny_publish(packet_id, denied.reason)
            return
        if not reason:
            self._counts["PublishIn.Success"] += 1
        if publish.qos == 0:
            return
        if reason:
            self._reject_publish(packet_id, reason)
        elif self._broker.commits.promises:
            self.deferred_pubacks += 1
            self._broker.defer_puback(self, packet_id)
        else:
            self._write(packets.encode_puback(packet_id))

    def _authorize_publish(self, message: PublishedMessage) -> None:
        permissions = self.permissions
        reason = permissions.check_publish("publish", message)
        if reason is None:
            reason = permissions.check_rate(message.topic, self._last_received)
        if reason is not None:
            raise PublishDenied(reason)

    def _deny_publish(self, packet_id: int, reason: Reason) -> None:
        if reason is Reason.MESSAGE_RATE_TOO_HIGH:
            if packet_id:  # without one, the message is only discarded
                self._reject_publish(packet_id, Reason.QUOTA_EXCEEDED)
        elif self.version == 5 and packet_id and reason in PUBACK_REASONS:
            self._reject_publish(packet_id, reason)
        else:
            self.disconnect(reason)

    def acknowledge(self, packet_id: int, stored: bool) -> None:
        """Send a PUBACK that was deferred until the message is stored, or could not be stored."""
        self.deferred_pubacks -= 1
        if self.state is State.CLOSED:
            return
        if stored:
            self._write(packets.encode_puback(packet_id))
        else:
            self._reject_publish(packet_id, Reason.UNSPECIFIED_ERROR)

    def _reject_publish(self, packet_id: int, reason: Reason) -> None:
        # MQTT 3.1.1 has no PUBACK for it: the client sends the message again after reconnecting.
        if self.version == 5:
            self._send(packets.Puback(packet_id, reason, {}))

    # --- subscribe ----------------------------------------------------------------------------

    def _on_subscribe(self, subscribe: packets.Subscribe) -> None:
        broker, session = self._broker, self._active_session()
        if "subscription_identifier" in subscribe.properties:
            why = "AWS IoT Core has no subscription identifiers."
            self._refuse(why, Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, kind="subscribe")
            return
        if len(subscribe.entries) > MAX_FILTERS:
            why = f"A SUBSCRIBE can have at most {MAX_FILTERS} topic filters."
            self._refuse(why, Reason.QUOTA_EXCEEDED, kind="subscribe")
            return
        refusals: list[Reason | None] = []
        filters = set(session.subscriptions)
        for entry in subscribe.entries:
            refusals.append(self.permissions.check_subscribe(filters, entry))
            if refusals[-1] is None:
                filters.add(entry.filter)
        closing = self.version == 4 and broker.settings.subscribe_denied_311 == "close"
        if closing and any(refusals):
            code = Reason.NOT_AUTHORIZED
            self._close_now(reason_of(code if code in refusals else Reason.TOPIC_FILTER_INVALID))
            return
        codes: list[int] = []
        granted: list[str] = []
        new: list[str] = []
        retained: list[tuple[OutboundMessage, int]] = []
        for entry, reason in zip(subscribe.entries, refusals, strict=True):
            if reason is not None:
                codes.append(reason if self.version == 5 else 0x80)
                continue
            subscription = replace(entry, qos=min(entry.qos, 1))
            is_new = broker.subscribe(session, subscription)
            self._retained_due.pop(entry.filter, None)
            if is_new:
                new.append(entry.filter)
            codes.append(subscription.qos)
            granted.append(entry.filter)
            self._counts["Subscribe.Success"] += 1
            self.permissions.log_event("subscribe", filter=entry.filter, qos=subscription.qos)
            if entry.retain_handling == 0 or (entry.retain_handling == 1 and is_new):
                message = broker.retained.get(entry.filter)  # only an exact topic has one
                if message is not None:
                    retained.append((message, min(subscription.qos, message.qos)))
        if session.store is not None and not broker.commit_and_acknowledge():
            for topic_filter in new:
                broker.unsubscribe(session, topic_filter)
            codes = [code if code >= 0x80 else Reason.UNSPECIFIED_ERROR for code in codes]
            self._send(packets.Suback(subscribe.packet_id, codes, {}))
            return
        self._send(packets.Suback(subscribe.packet_id, codes, {}))
        broker.publish_subscriptions(self, "subscribed", granted)
        for message, qos in retained:
            if qos == 0 and self.congested:
                self._retained_due[message.topic] = None
            else:
                self.deliver(message, qos, True)
        broker.shared_groups.collect(session, granted)
        self.drain_queue()

    def send_retained(self) -> None:
        """Send the retained messages that wait because the client reads slowly, while it reads.

        They are of QoS 0, at most one for each subscription. None is lost, and the message is
        looked up only now, so the client receives the newest one of a topic.
        """
        while self._retained_due and self.state is State.CONNECTED and not self.congested:
            topic = next(iter(self._retained_due))
            del self._retained_due[topic]
            message = self._broker.retained.get(topic)
            subscription = self._active_session().subscriptions.get(topic)
            if message is not None and subscription is not None:
                self.deliver(message, min(subscription.qos, message.qos), True)

    def _on_unsubscribe(self, unsubscribe: packets.Unsubscribe) -> None:
        session = self._active_session()
        for topic_filter in unsubscribe.filters:
            self._broker.unsubscribe(session, topic_filter)
            self._retained_due.pop(topic_filter, None)
            self._counts["Unsubscribe.Success"] += 1
            self.permissions.log_event("unsubscribe", filter=topic_filter)
        code = 0
        if session.store is not None and not self._broker.commit_and_acknowledge():
            if self.version == 4:
                return
            code = Reason.UNSPECIFIED_ERROR
        self._send(packets.Unsuback(unsubscribe.packet_id, [code] * len(unsubscribe.filters), {}))
        self._broker.publish_subscriptions(self, "unsubscribed", unsubscribe.filters)

    # --- to the client ------------------------------------------------------------------------

    def deliver(self, message: OutboundMessage, qos: int, retain: bool, group: str = "") -> None:
        """Send a message to the client if its policies allow it to receive the topic.

        `group` is the filter of the shared subscription that matched, if one did.
        """
        session, access = self.session, self.permissions.authorization
        if session is None or access is None:
            return
        topic = message.topic
        if topic not in access.receivable and not self.permissions.allows_delivery(topic):
            return
        if qos == 0:
            if self.congested:
                self._broker.record_drop(session, message, SLOW_READER)
                return
            frame = message.encode_frame(self.version, 0, retain)[0]
            # A packet that is too large for the client counts as sent (MQTT 5, 3.1.2.11.4).
            if not self._max_packet or len(frame) <= self._max_packet:
                self._write(frame)
                self._log_delivery(message, 0, retain)
            return
        try:
            packet_id = session.enqueue_or_send(message, retain, group)
        except OverflowError as error:
            self._broker.record_drop(session, message, error)
            return
        if packet_id:
            self._write_message(session, packet_id, message, retain)
        else:
            self._broker.backpressure.on_queue(session)

    def deliver_direct(self, message: OutboundMessage) -> bool:
        """Send a message that the client did not subscribe to; return whether that is allowed."""
        if not self.permissions.allows_delivery(message.topic):
            return False
        self.deliver(message, message.qos, False)
        return True

    def _write_message(
        self, session: Session, packet_id: int, message: OutboundMessage, retain: bool
    ) -> None:
        """Send a QoS 1 message unless it is too large for the client."""
        head, tail = message.encode_frame(self.version, 1, retain)
        frame = head + packet_id.to_bytes(2, "big") + tail
        if self._max_packet and len(frame) > self._max_packet:
            session.acknowledge(packet_id)
        else:
            self._write(frame)
            self._log_delivery(message, 1, retain)

    def _log_delivery(self, message: OutboundMessage, qos: int, retain: bool) -> None:
        """Add the client to the entry of the message, or log an entry of its own."""
        self._counts["PublishOut.Success"] += 1
        log, identity = self._event_log, self.permissions.identity
        if message.receivers is not None:
            message.receivers.append(identity)
        else:
            topic, payload, properties = message.topic, message.payload, message.properties
            log.log_message(log.stamp(), identity, topic, payload, qos, retain, properties)

    def drain_queue(self) -> None:
        """Send waiting messages, as far as the client's Receive Maximum allows."""
        session, rate = self.session, self._stored_rate
        while session is not None and self.state is State.CONNECTED:
            if rate is not None and not rate.available(self._broker.timer()):
                return  # `tick` continues
            following = session.pop_next(self._broker.clock())
            if following is None:
                return
            packet_id, message, retain = following
            if rate is not None:
                rate.try_acquire(self._broker.timer())
            if self.permissions.allows_delivery(message.topic):
                message.receivers = None  # its entry was logged long ago
                self._write_message(session, packet_id, message, retain)
            else:
                session.acknowledge(packet_id)

    def _on_puback(self, puback: packets.Puback) -> None:
        self._acknowledge((puback.packet_id,))

    def _on_pubacks(self, pubacks: Pubacks) -> None:
        self._acknowledge(pubacks.packet_ids)

    def _acknowledge(self, packet_ids: Sequence[int]) -> None:
        session = self._active_session()
        for packet_id in packet_ids:
            message = session.acknowledge(packet_id)
            if message is not None and message.confirmed is not None:
                message.confirmed()
        if session.waiting:
            self.drain_queue()
            self._broker.backpressure.on_acknowledge(session, len(packet_ids))

    def _on_pingreq(self, _: packets.Pingreq) -> None:
        self._send(packets.Pingresp())
        self._counts["Ping.Success"] += 1

    # --- the end ------------------------------------------------------------------------------

    def _on_disconnect(self, disconnect: packets.Disconnect) -> None:
        session = self._active_session()
        if "session_expiry_interval" in disconnect.properties:
            requested = disconnect.properties["session_expiry_interval"]
            if requested and not session.expiry:
                raise ProtocolError(
                    Reason.PROTOCOL_ERROR,
                    "DISCONNECT cannot extend a session that ends with its connection.",
                )
            session.expiry = min(requested, self._broker.settings.session_expiry_max)
        if disconnect.reason_code != Reason.DISCONNECT_WITH_WILL_MESSAGE:
            self._will = None
        self._detach("client disconnected", DisconnectReason.CLIENT_INITIATED_DISCONNECT)
        self._close()

    def close_for_takeover(self) -> None:
        """Close the connection because a newer one has the same client ID."""
        why = (
            f"Another connection with the client ID '{self.client_id}' was opened; AWS keeps the "
            "newer one. Give each program its own client ID."
        )
        self._refuse(why, Reason.SESSION_TAKEN_OVER)

    def disconnect_by_account(self, clean_session: bool, prevent_will: bool) -> None:
        """Close the connection because DeleteConnection was called."""
        if clean_session and self.session is not None:
            self.session.expiry = 0
        if prevent_will:
            self._will = None
        why = "The account closed the connection with DeleteConnection."
        self._refuse(why, Reason.ADMINISTRATIVE_ACTION)

    def disconnect(self, code: int, reason: DisconnectReason | None = None) -> None:
        """Close the connection with a reason code; `reason` is for the lifecycle event."""
        if self.state is not State.CLOSED:
            if self.version == 5 and self.state is State.CONNECTED:
                self._send(packets.Disconnect(code, {}))
            why = f"closed by the broker, reason code {int(code)}"
            self._close_now(reason or reason_of(code), why)

    def connection_lost(
        self, why: str, reason: DisconnectReason = DisconnectReason.CONNECTION_LOST
    ) -> None:
        """Record that the client is gone without a DISCONNECT."""
        if reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT:
            self._will = None
        self._detach(why, reason)

    def record_slow_consumer(self, unread: int) -> None:
        """Record that the client was cut off with this many bytes unread."""
        if self.state is State.CLOSED:
            return
        why = (
            f"{unread >> 20} MiB wait for the device to read them, and it keeps asking for more "
            "without reading."
        )
        self.permissions.log_refusal("disconnect", why)
        self._detach("cut off by the broker", DisconnectReason.CLIENT_ERROR)

    def close_if_no_connect(self) -> None:
        """Close the connection if its CONNECT has not arrived in time."""
        if self.state is State.AWAITING_CONNECT:
            why = "The device opened a connection and sent no CONNECT."
            self.permissions.log_refusal("connect", why)
            self._close_now()

    def tick(self, now: float, registry_changed: bool) -> None:
        """Close the connection if it is overdue or its certificate is no longer active."""
        access = self.authorization
        if now - self._last_received > 1.5 * self.keep_alive:
            why = f"No packet arrived for 1.5 times the keep alive of {self.keep_alive} s."
            self._refuse(why, Reason.KEEP_ALIVE_TIMEOUT)
        elif self.peer.certificate_id is None and now - self._opened > MAX_WEBSOCKET_AGE:
            why = "A connection that was opened with a signature lasts 24 hours."
            reason = DisconnectReason.WEBSOCKET_TTL_EXPIRATION
            self._refuse(why, Reason.ADMINISTRATIVE_ACTION, reason)
        elif registry_changed and access is not None and access.status != "ACTIVE":
            self._refuse("The certificate is no longer ACTIVE.", Reason.NOT_AUTHORIZED)
        else:
            if self._stored_rate is not None:
                self.drain_queue()
            if self._resends is not None:
                self._resend(self._resends, now)

    def _resend(self, resends: Resends, now: float) -> None:
        """Send QoS 1 messages again whose PUBACK is overdue; AWS does not set the DUP flag."""
        session = self._active_session()
        for packet_id in resends.due(session.in_flight, now):
            message, retain, _ = session.in_flight[packet_id]
            if self.permissions.allows_delivery(message.topic):
                head, tail = message.encode_frame(self.version, 1, retain)
                self._write(head + packet_id.to_bytes(2, "big") + tail)

    def _refuse(
        self, why: str, code: int, reason: DisconnectReason | None = None, kind: str = "disconnect"
    ) -> None:
        self.permissions.log_refusal(kind, why)
        self.disconnect(code, reason)

    def _close_now(
        self,
        reason: DisconnectReason = DisconnectReason.CLIENT_ERROR,
        why: str = "closed by the broker",
    ) -> None:
        self._detach(why, reason)
        self._close()

    def _detach(self, why: str, reason: DisconnectReason) -> None:
        state = self.state
        self._enter(State.CLOSED)
        if state is State.CONNECTED:
            self.permissions.log_event("disconnect", reason=reason.value, why=why)
            self._broker.remove_connection(self, reason, self._will)
            self.session = None

    # --- helpers ------------------------------------------------------------------------------

    def _enter(self, state: State) -> None:
        self.state = state
        self._handlers = HANDLERS[state]

    def _active_session(self) -> Session:
        assert self.session is not None, "the state is CONNECTED"
        return self.session

    def _send(self, packet: packets.Packet) -> None:
        self._write(packets.encode(packet, self.version))


_Handler: TypeAlias = Callable[[Connection, Any], None]
HANDLERS: Mapping[State, Mapping[type[packets.Packet | Pubacks], _Handler]] = {
    State.AWAITING_CONNECT: {packets.Connect: Connection._on_connect},
    State.CONNECTED: {
        packets.Publish: Connection._on_publish,
        packets.Puback: Connection._on_puback,
        Pubacks: Connection._on_pubacks,
        packets.Subscribe: Connection._on_subscribe,
        packets.Unsubscribe: Connection._on_unsubscribe,
        packets.Pingreq: Connection._on_pingreq,
        packets.Disconnect: Connection._on_disconnect,
    },
    State.CLOSED: {},
}
"""The method that handles each packet which is allowed in a state."""
