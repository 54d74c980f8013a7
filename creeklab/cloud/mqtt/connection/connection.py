"""One client's conversation with the broker: packets in, packets out, and every rule between.

The state machine of an MQTT 3.1.1 or 5 server as AWS IoT Core plays it (developer guide, "MQTT"
and "How AWS IoT differs from MQTT version specifications"): limits, reason codes, and what a
refusal looks like in each version. In short, a refused request of MQTT 5 gets a reason code, one
of MQTT 3.1.1 is cut off without a word. Holds no socket: `write` and `close` are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from creeklab.cloud.authorization import MAX_CACHED
from creeklab.cloud.monitoring.event_log import PeerIdentity
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.decoder import Decoder, PubackBatch, PublishBatch
from creeklab.cloud.mqtt.codec.packets import (
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from creeklab.cloud.mqtt.codec.wire import ProtocolError, Reason
from creeklab.cloud.mqtt.connection.connect_terms import MAX_PACKET, MAX_TOPIC_ALIAS, ConnectTerms
from creeklab.cloud.mqtt.connection.permissions import ClientPermissions, ConnectRejection
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason, reason_of
from creeklab.cloud.mqtt.lifecycle.events import EventSubject
from creeklab.cloud.mqtt.rate_limits import Rate
from creeklab.cloud.mqtt.routing.topic_tree import MAX_PAYLOAD
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.session import MAX_IN_FLIGHT, Session

MAX_FILTERS = 8
MAX_WEBSOCKET_AGE = 24 * 3600.0
"""Longest connection of an account, which came in by a signature, in seconds (developer guide,
"Device communication protocols")."""
NOT_READING = "The client reads more slowly than its messages come; at QoS 0 none waits for it."
# What a PUBACK tells; anything else ends the connection (developer guide, "MQTT 5 reason codes").
PUBACK_REASONS = (Reason.NOT_AUTHORIZED, Reason.TOPIC_NAME_INVALID, Reason.QUOTA_EXCEEDED)


class Connection:
    """The server's end of one MQTT connection.

    Parameters
    ----------
    write, close
        Send bytes to the client; close the connection after what was written.

    Attributes
    ----------
    keep_alive
        In seconds; after 1.5 times as long without a word the client counts as gone.
    subject
        Whom its lifecycle events are about.
    gate
        What it is let do, and who it is on the event_log.
    congested
        Whether the client reads so slowly that QoS 0 messages for it are dropped.
    held
        How many of its messages are acknowledged when they are kept, in a moment.
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
        self.window = MAX_IN_FLIGHT
        self.session: Session | None = None
        self.subject = EventSubject("", peer.principal, None)
        party = PeerIdentity("", peer.principal, peer.source_ip, peer.source_port)
        self.permissions = ClientPermissions(party, broker.event_log)
        self.congested = False
        self.open = True
        self._broker = broker
        self._commits = broker.commits
        self._event_log = broker.event_log
        self._counts = broker.event_log.metrics.mqtt
        self._write = write
        self._close = close
        self._decoder = Decoder(max_packet_size=MAX_PACKET, bursts=True)
        self._will: Will | None = None
        self.keep_alive = 0
        self._began = self._heard = broker.timer()
        rate = broker.settings.publish_rate
        self._rate = Rate(rate, self._began) if rate else None
        stored = broker.settings.stored_rate
        self._stored = Rate(stored, self._began) if stored else None
        self._aliases: dict[int, str] = {}
        self._retained_due: dict[str, None] = {}  # topics, in the order they were asked for
        self.held = 0
        self._unacknowledged = 0
        self._largest = 0

    # --- bytes in -----------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._heard = self._broker.timer()
        self._unacknowledged = self.held
        try:
            for packet in self._decoder.feed(data):
                if not self.open:
                    return
                if type(packet) is Publish:
                    self._on_publish(packet)
                elif type(packet) is PublishBatch:
                    self._on_batch(packet)
                elif type(packet) is Puback:
                    self._on_pubacks((packet.packet_id,))
                elif type(packet) is PubackBatch:
                    self._on_pubacks(packet.packet_ids)
                else:
                    self._on_control(packet)
        except ProtocolError as error:
            if self.open:
                self._on_protocol_error(error)

    def _on_control(self, packet: packets.Packet | PublishBatch | PubackBatch) -> None:
        if isinstance(packet, Connect):
            self._on_connect(packet)
        elif isinstance(packet, Subscribe):
            self._on_subscribe(packet)
        elif isinstance(packet, Unsubscribe):
            self._on_unsubscribe(packet)
        elif isinstance(packet, Pingreq):
            self._send(Pingresp())
            self._counts["Ping.Success"] += 1
        elif isinstance(packet, Disconnect):
            self._on_disconnect(packet)
        else:
            raise ProtocolError(
                Reason.PROTOCOL_ERROR, f"A client does not send {type(packet).__name__}."
            )

    def reject_malformed(self, why: str) -> None:
        """Take note that something came that is no MQTT."""
        if self.open:
            self._on_protocol_error(ProtocolError(Reason.PROTOCOL_ERROR, why))

    def _on_protocol_error(self, error: ProtocolError) -> None:
        self.permissions.log_refusal("protocol", error.text, reason_code=int(error.reason_code))
        if self.session is None:
            self.version = self._decoder.version or 4
            if self.version == 5:
                self._send(Connack(False, error.reason_code, {}))
            elif error.reason_code == Reason.UNSUPPORTED_PROTOCOL_VERSION:
                self._send(Connack(False, 1, {}))
            self._close_now()
        else:
            self.disconnect(error.reason_code)

    # --- connect ------------------------------------------------------------------------------

    def _on_connect(self, connect: Connect) -> None:
        if self.session is not None:
            raise ProtocolError(Reason.PROTOCOL_ERROR, "CONNECT was sent a second time.")
        terms = ConnectTerms.of(connect, self._broker.settings.session_expiry_max)
        self.version = terms.version
        self.client_id = terms.client_id
        self.keep_alive = terms.keep_alive
        self.window = terms.window
        self._largest = terms.max_packet
        self._will = terms.will
        refused = self.permissions.connect_refused(terms, self.peer, self._broker, self._heard)
        access = self.permissions.authorization
        if access is not None:
            self.subject = EventSubject(
                terms.client_id, self.peer.principal, access.exclusive_thing
            )
        if refused is not None:
            self._deny_connect(refused)
            return
        resumed = self._broker.open_session(self, terms.clean, terms.expiry)
        self._broker.commit_and_acknowledge()
        self._send(terms.connack(resumed))
        self._counts["Connect.Success"] += 1
        version = "5" if self.version == 5 else "3.1.1"
        self.permissions.log_event("connect", version=version, resumed=resumed)
        self._broker.publish_connected(self)
        if self.session is not None:
            self._broker.shared_groups.collect(self.session, list(self.session.subscriptions))
        self.drain_queue()

    def _deny_connect(self, refused: ConnectRejection) -> None:
        if refused.announced:
            self._broker.publish_connect_failed(self)
        told = refused.details or self._broker.settings.connect_denied_311 == "connack5"
        if refused.reason is not None and self.version == 5:
            self._send(Connack(False, refused.reason, {}))
        elif refused.reason is not None and told:
            self._send(Connack(False, refused.return_code, {}))
        self._close_now()

    # --- publish ------------------------------------------------------------------------------

    def _on_publish(self, publish: Publish) -> None:
        self._connected()
        if publish.qos:
            self._unacknowledged += 1
            if self._unacknowledged > MAX_IN_FLIGHT and self.version == 5:
                raise ProtocolError(
                    Reason.RECEIVE_MAXIMUM_EXCEEDED,
                    f"More than {MAX_IN_FLIGHT} messages of QoS 1 came without waiting for their "
                    "PUBACK; CONNACK said that this is the Receive Maximum.",
                )
        properties = publish.properties
        topic = publish.topic
        if properties and "topic_alias" in properties:
            topic = self._resolve_alias(topic, properties["topic_alias"])
        publish.topic = topic
        access = self.permissions.authorization
        refused = None
        if (
            access is None
            or topic not in access.publishable
            or publish.retain
            or publish.qos > 1
            or len(publish.payload) > MAX_PAYLOAD
        ):
            refused = self.permissions.publish_refused("publish", publish)
            if access is not None and refused is None and len(access.publishable) < MAX_CACHED:
                access.publishable.add(topic)
        if self._rate is not None and refused is None and not self._rate.try_acquire(self._heard):
            self._throttle_publish(self._rate, publish)
        elif refused is None:
            code = self._broker.publish(
                topic,
                publish.payload,
                publish.qos,
                publish.retain,
                properties,
                self.permissions.identity,
            )
            if not code:
                self._counts["PublishIn.Success"] += 1
            if publish.qos == 0:
                return
            if code:
                self._reject_publish(publish.packet_id, code)
            elif self._commits.promises:
                self.held += 1
                self._broker.defer_puback(self, publish.packet_id)
            else:
                self._write(packets.encode_puback(publish.packet_id))
        elif self.version == 5 and publish.qos and refused in PUBACK_REASONS:
            self._send(Puback(publish.packet_id, refused, {}))
        else:
            self.disconnect(refused)

    def _on_batch(self, burst: PublishBatch) -> None:
        """Take several messages at once, or one by one if any receiver needs a closer look."""
        access = self.permissions.authorization
        if (
            access is not None
            and burst.topic in access.publishable
            and self._rate is None
            and self._broker.publish_batch(burst, self.version, self.permissions.identity)
        ):
            self._counts["PublishIn.Success"] += len(burst.payloads)
            return
        for payload in burst.payloads:
            if self.open:
                self._on_publish(Publish(burst.topic, payload))

    def _throttle_publish(self, rate: Rate, publish: Publish) -> None:
        """Discard a message that came too soon; only the first of a row is on the event_log."""
        if rate.first_refusal():
            why = (
                f"More than {self._broker.settings.publish_rate} messages a second came from this "
                "connection; those above that are discarded. Send fewer, or put several readings "
                "into one message."
            )
            self.permissions.log_refusal("publish", why, "Throttle", topic=publish.topic)
        else:
            self.permissions.count("publish", "Throttle")
        if publish.qos:
            self._reject_publish(publish.packet_id, Reason.QUOTA_EXCEEDED)

    def acknowledge(self, packet_id: int, kept: bool) -> None:
        """Acknowledge a message whose acknowledgement was held back until it is kept."""
        self.held -= 1
        if not self.open:
            return
        if kept:
            self._write(packets.encode_puback(packet_id))
        else:
            self._reject_publish(packet_id, Reason.UNSPECIFIED_ERROR)

    def _reject_publish(self, packet_id: int, code: Reason) -> None:
        # MQTT 3.1.1 has no word for it: the client sends the message again when it is back.
        if self.version == 5:
            self._send(Puback(packet_id, code, {}))

    def _resolve_alias(self, topic: str, alias: int) -> str:
        if not 1 <= alias <= MAX_TOPIC_ALIAS:
            raise ProtocolError(
                Reason.TOPIC_ALIAS_INVALID, f"Topic aliases go from 1 to {MAX_TOPIC_ALIAS}."
            )
        if topic:
            self._aliases[alias] = topic
            return topic
        if alias not in self._aliases:
            raise ProtocolError(Reason.PROTOCOL_ERROR, f"Topic alias {alias} was never set.")
        return self._aliases[alias]

    # --- subscribe ----------------------------------------------------------------------------

    def _on_subscribe(self, subscribe: Subscribe) -> None:
        session = self._connected()
        if "subscription_identifier" in subscribe.properties:
            self.permissions.log_refusal(
                "subscribe", "AWS IoT Core has no subscription identifiers."
            )
            self.disconnect(Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)
            return
        if len(subscribe.entries) > MAX_FILTERS:
            why = f"One SUBSCRIBE takes {MAX_FILTERS} topic filters at most."
            self.permissions.log_refusal("subscribe", why)
            self.disconnect(Reason.QUOTA_EXCEEDED)
            return
        decisions: list[Reason | None] = []
        filters = set(session.subscriptions)
        for entry in subscribe.entries:
            decisions.append(self.permissions.subscribe_refused(filters, entry))
            if decisions[-1] is None:
                filters.add(entry.filter)
        closing = self.version == 4 and self._broker.settings.subscribe_denied_311 == "close"
        if closing and any(refused is not None for refused in decisions):
            code = Reason.NOT_AUTHORIZED
            self._close_now(reason_of(code if code in decisions else Reason.TOPIC_FILTER_INVALID))
            return
        codes: list[int] = []
        made: list[str] = []
        new: list[str] = []
        retained: list[tuple[OutboundMessage, int]] = []
        for entry, refused in zip(subscribe.entries, decisions, strict=True):
            if refused is not None:
                codes.append(refused if self.version == 5 else 0x80)
                continue
            granted = Subscription(
                entry.filter,
                min(entry.qos, 1),
                entry.no_local,
                entry.retain_as_published,
                entry.retain_handling,
            )
            is_new = self._broker.subscribe(session, granted)
            self._retained_due.pop(entry.filter, None)
            if is_new:
                new.append(entry.filter)
            codes.append(granted.qos)
            made.append(entry.filter)
            self._counts["Subscribe.Success"] += 1
            self.permissions.log_event("subscribe", filter=entry.filter, qos=granted.qos)
            if granted.retain_handling == 0 or (granted.retain_handling == 1 and is_new):
                message = self._retained_for(granted.filter)
                if message is not None:
                    retained.append((message, granted.qos))
        if session.store is not None and not self._broker.commit_and_acknowledge():
            for topic_filter in new:
                self._broker.unsubscribe(session, topic_filter)
            codes = [code if code >= 0x80 else Reason.UNSPECIFIED_ERROR for code in codes]
            self._send(Suback(subscribe.packet_id, codes, {}))
            return
        self._send(Suback(subscribe.packet_id, codes, {}))
        self._broker.publish_subscriptions(self, "subscribed", made)
        for message, qos in retained:
            qos = min(qos, message.qos)
            if qos == 0 and self.congested:
                self._retained_due[message.topic] = None
            else:
                self.deliver(message, qos, True)
        self._broker.shared_groups.collect(session, made)
        self.drain_queue()

    def send_retained(self) -> None:
        """Send the retained messages that wait for the client to read, as far as it does.

        They are at QoS 0, at most one for each subscription, and nothing of them is lost: the
        newest of a topic is looked up only now.
        """
        while self._retained_due and self.open and not self.congested:
            topic = next(iter(self._retained_due))
            del self._retained_due[topic]
            message = self._retained_for(topic)
            subscription = self._connected().subscriptions.get(topic)
            if message is not None and subscription is not None:
                self.deliver(message, min(subscription.qos, message.qos), True)

    def _retained_for(self, topic_filter: str) -> OutboundMessage | None:
        if "+" in topic_filter or "#" in topic_filter or topic_filter.startswith("$share/"):
            return None
        return self._broker.retained.get(topic_filter)

    def _on_unsubscribe(self, unsubscribe: Unsubscribe) -> None:
        session = self._connected()
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
        self._send(Unsuback(unsubscribe.packet_id, [code] * len(unsubscribe.filters), {}))
        self._broker.publish_subscriptions(self, "unsubscribed", unsubscribe.filters)

    # --- to the client ------------------------------------------------------------------------

    def deliver(self, message: OutboundMessage, qos: int, retain: bool, group: str = "") -> None:
        """Send a message to the client, if its policy lets it receive it.

        `group` is the filter of the shared subscription that it comes by, if it does.
        """
        access, session = self.permissions.authorization, self.session
        if access is None or session is None or not self.open:
            return
        topic = message.topic
        if topic not in access.receivable and not access.may_receive(
            topic, self.permissions.explain_receive
        ):
            return
        if qos == 0:
            if self.congested:
                self._broker.record_drop(session, message, NOT_READING)
                return
            frame = message.encode_frame(self.version, 0, retain)[0]
            # What is larger than the client takes counts as sent (MQTT 5, 3.1.2.11.4).
            if not self._largest or len(frame) <= self._largest:
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

    def accepts_batches(self, topic: str) -> bool:
        """Tell whether nothing stands against any message of QoS 0 on a topic, whatever its size.

        That is known of a topic after the first message on it.
        """
        access = self.permissions.authorization
        return (
            access is not None
            and topic in access.receivable
            and self.open
            and not self.congested
            and not self._largest
        )

    def deliver_batch(self, frames: bytes, count: int) -> None:
        """Send so many messages to a client that `takes_bursts`, written already."""
        self._write(frames)
        self._counts["PublishOut.Success"] += count

    def _write_message(
        self, session: Session, packet_id: int, message: OutboundMessage, retain: bool
    ) -> None:
        """Send a message of QoS 1, unless it is larger than the client takes."""
        head, tail = message.encode_frame(self.version, 1, retain)
        frame = head + packet_id.to_bytes(2, "big") + tail
        if self._largest and len(frame) > self._largest:
            session.acknowledge(packet_id)
        else:
            self._write(frame)
            self._log_delivery(message, 1, retain)

    def _log_delivery(self, message: OutboundMessage, qos: int, retain: bool) -> None:
        """Put on the event_log that a message was sent, if need be in an entry of its own."""
        self._counts["PublishOut.Success"] += 1
        if message.receivers is not None:
            message.receivers.append(self.permissions.identity)
        else:
            self._event_log.log_delivery(
                self.permissions.identity,
                message.topic,
                message.payload,
                qos,
                retain,
                message.properties,
            )

    def drain_queue(self) -> None:
        """Send what waits, as far as the client takes it now."""
        session, access = self.session, self.permissions.authorization
        while session is not None and access is not None and self.open:
            if self._stored is not None and not self._stored.available(self._broker.timer()):
                return  # it goes on with a tick
            following = session.pop_next(self._broker.clock())
            if following is None:
                return
            packet_id, message, retain = following
            if self._stored is not None:
                self._stored.try_acquire(self._broker.timer())
            if access.may_receive(message.topic, self.permissions.explain_receive):
                message.receivers = None  # it is long after the entry of its arrival
                self._write_message(session, packet_id, message, retain)
            else:
                session.acknowledge(packet_id)

    def _on_pubacks(self, packet_ids: Iterable[int]) -> None:
        session = self._connected()
        for packet_id in packet_ids:
            message = session.acknowledge(packet_id)
            if message is not None and message.confirmed is not None:
                message.confirmed()
        if session.waiting:
            self.drain_queue()

    def deliver_direct(self, message: OutboundMessage) -> bool:
        """Send a message that the client has not subscribed to; tell whether it may have it."""
        access = self.permissions.authorization
        if access is None or not access.may_receive(
            message.topic, self.permissions.explain_receive
        ):
            return False
        self.deliver(message, message.qos, False)
        return True

    # --- the end ------------------------------------------------------------------------------

    def _on_disconnect(self, disconnect: Disconnect) -> None:
        session = self._connected()
        if "session_expiry_interval" in disconnect.properties:
            asked = disconnect.properties["session_expiry_interval"]
            if asked and not session.expiry:
                raise ProtocolError(
                    Reason.PROTOCOL_ERROR, "A session that ends with its connection stays so."
                )
            session.expiry = min(asked, self._broker.settings.session_expiry_max)
        if disconnect.reason_code != Reason.DISCONNECT_WITH_WILL_MESSAGE:
            self._will = None
        self._detach("client disconnected", DisconnectReason.CLIENT_INITIATED_DISCONNECT)
        self._close()

    def close_for_takeover(self) -> None:
        """Make way for a newer connection with the same client id."""
        why = (
            f"Another connection with the client id '{self.client_id}' came; AWS keeps the newer "
            "one. Give each program a client id of its own."
        )
        self.permissions.log_refusal("disconnect", why)
        self.disconnect(Reason.SESSION_TAKEN_OVER)

    def disconnect_by_account(self, clean_session: bool, prevent_will: bool) -> None:
        """Close the connection because DeleteConnection was called."""
        if clean_session and self.session is not None:
            self.session.expiry = 0
        if prevent_will:
            self._will = None
        self.permissions.log_refusal(
            "disconnect", "The account closed the connection with DeleteConnection."
        )
        self.disconnect(Reason.ADMINISTRATIVE_ACTION)

    def disconnect(self, code: int, reason: DisconnectReason | None = None) -> None:
        """Close the connection from the broker's side.

        Parameters
        ----------
        code
            Reason code of the DISCONNECT that an MQTT 5 client gets.
        reason
            What the world is told, if that is not what goes with the code.
        """
        if self.open:
            if self.version == 5 and self.session is not None:
                self._send(Disconnect(code, {}))
            why = f"closed by the broker, reason code {int(code)}"
            self._close_now(reason or reason_of(code), why)

    def connection_lost(
        self, why: str, reason: DisconnectReason = DisconnectReason.CONNECTION_LOST
    ) -> None:
        """Take note that the client has gone without a DISCONNECT."""
        if reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT:
            self._will = None
        self._detach(why, reason)

    def close_slow_consumer(self, unread: int) -> None:
        """Take note that the client was cut off with so many bytes unread."""
        if not self.open:
            return
        why = (
            f"{unread >> 20} MiB wait for the device to read them, and it goes on asking for more "
            "without reading."
        )
        self.permissions.log_refusal("disconnect", why)
        self._detach("cut off by the broker", DisconnectReason.CLIENT_ERROR)

    def close_if_no_connect(self) -> None:
        """Close the connection if no CONNECT has come yet: its time for that is over."""
        if self.session is None and self.open:
            self.permissions.log_refusal(
                "connect", "The device opened a connection and sent no CONNECT."
            )
            self._close_now()

    def tick(self, now: float, examine: bool) -> None:
        """Close the connection if it was silent too long or its certificate is no longer active.

        Parameters
        ----------
        examine
            Whether the registry has changed since the last time.
        """
        if now - self._heard > 1.5 * self.keep_alive:
            self.permissions.log_refusal(
                "disconnect", f"Nothing was heard for 1.5 times {self.keep_alive} s."
            )
            self.disconnect(Reason.KEEP_ALIVE_TIMEOUT)
        elif self.peer.certificate_id is None and now - self._began > MAX_WEBSOCKET_AGE:
            self.permissions.log_refusal(
                "disconnect", "A connection that was signed for lasts 24 hours."
            )
            self.disconnect(Reason.ADMINISTRATIVE_ACTION, DisconnectReason.WEBSOCKET_TTL_EXPIRATION)
        elif (
            examine
            and self.permissions.authorization is not None
            and self.permissions.authorization.status != "ACTIVE"
        ):
            self.permissions.log_refusal("disconnect", "The certificate is no longer ACTIVE.")
            self.disconnect(Reason.NOT_AUTHORIZED)
        elif self._stored is not None:
            self.drain_queue()

    def _close_now(
        self,
        reason: DisconnectReason = DisconnectReason.CLIENT_ERROR,
        why: str = "closed by the broker",
    ) -> None:
        self._detach(why, reason)
        self._close()

    def _detach(self, why: str, reason: DisconnectReason) -> None:
        if self.open:
            self.open = False
            if self.session is not None:
                self.permissions.log_event("disconnect", reason=reason.value, why=why)
                self._broker.remove_connection(self, reason, self._will)

    # --- small things -------------------------------------------------------------------------

    def _connected(self) -> Session:
        if self.session is None:
            raise ProtocolError(Reason.PROTOCOL_ERROR, "CONNECT comes first.")
        return self.session

    def _send(self, packet: packets.Packet) -> None:
        self._write(packets.encode(packet, self.version))
