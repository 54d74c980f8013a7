"""The broker: sessions by client id, subscriptions, and the way of a message to all who get it.

Holds no socket and reads no wire: connections (`connection.py`) hand it decoded messages, and it
hands them back what to deliver. A reserved topic (``$aws/things/.../shadow/...``) is routed like
any other and then handed to the service behind it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from creeklab.cloud.access import Access
from creeklab.cloud.mqtt import events, reserved
from creeklab.cloud.mqtt.fields import Properties, Reason
from creeklab.cloud.mqtt.lifecycle import DisconnectReason
from creeklab.cloud.mqtt.packets import Subscription, Will
from creeklab.cloud.mqtt.presence import Presence
from creeklab.cloud.mqtt.session import Message, Session
from creeklab.cloud.mqtt.topics import Match, SubscriptionTree
from creeklab.cloud.settings import Settings
from creeklab.cloud.tape import CLOUD, Party, Tape

if TYPE_CHECKING:
    from creeklab.cloud.mqtt.connection import Connection

MAX_CACHED_TOPICS = 10_000

# What a subscriber is told of a message beyond topic and payload; the rest stays with the sender.
FORWARDED = (
    "payload_format_indicator",
    "message_expiry_interval",
    "content_type",
    "response_topic",
    "correlation_data",
    "user_properties",
)
MAX_MESSAGE_EXPIRY = 604_800


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, and its two addresses.

    Attributes
    ----------
    certificate_id
        The certificate it showed; None if it is the account itself, which signed its request.
    user
        Which of the account's users it is, if it is the account itself.
    """

    certificate_id: str | None
    source_ip: str
    source_port: int = 0
    target_ip: str = ""
    target_port: int = 0
    user: str = ""

    @property
    def principal(self) -> str:
        """Whose session it is, and the ``principalIdentifier`` of events."""
        return self.certificate_id or self.user


class Retained(Protocol):
    """Where retained messages are kept, one a topic."""

    def put(self, message: Message, now: float) -> None:
        """Keep `message` for its topic; an empty payload removes what is there."""

    def get(self, topic: str) -> Message | None:
        """Return the message kept for exactly this topic."""


@dataclass(frozen=True, slots=True)
class _PendingWill:
    due: float
    will: Will
    access: Access
    sender: Party


class Broker:
    """Routes messages between the sessions of one cloud.

    Parameters
    ----------
    access_for
        Gives the rights of a peer, its client id and its connect attributes.
    clock
        Seconds since the epoch: when a message expires.
    timer
        Seconds that only go forward: how long a client was silent or away.

    Attributes
    ----------
    presence
        Who is connected, and why the others left.
    service
        Called with topic, payload and client id of each message published to ``$aws/...``.
    """

    def __init__(
        self,
        settings: Settings,
        tape: Tape,
        retained: Retained,
        access_for: Callable[[Peer, str, tuple[str, ...]], Access],
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.tape = tape
        self.clock = clock
        self.timer = timer
        self.access_for = access_for
        self.retained = retained
        self.presence = Presence(clock)
        self.service: Callable[[str, bytes, str], None] | None = None
        self.connections: dict[str, Connection] = {}
        self._sessions: dict[str, Session] = {}
        self._tree: SubscriptionTree[Session, Subscription] = SubscriptionTree(
            settings.dollar_topics
        )
        self._matches: dict[str, Match[Session, Subscription]] = {}
        self._wills: dict[str, _PendingWill] = {}
        self._examine = False

    # --- sessions ---------------------------------------------------------------------------

    def open_session(self, connection: Connection, clean: bool, expiry: int) -> bool:
        """Give `connection` the session of its client id; return whether an old one goes on.

        Another connection under the same client id is closed, as AWS does it.
        """
        client_id = connection.client_id
        now = self.timer()
        other = self.connections.get(client_id)
        if other is not None:
            other.take_over()
        pending = self._wills.pop(client_id, None)
        if pending is not None and clean:
            self._publish_will(pending.sender, pending.will, pending.access)
        session = self._sessions.get(client_id)
        if session is not None and (
            clean
            or session.version != connection.version
            or session.principal != connection.peer.principal
            or _ended(session, now)
        ):
            self._end_session(session)
            session = None
        present = session is not None
        if session is None:
            session = self._sessions[client_id] = Session(
                client_id, connection.version, connection.peer.principal
            )
        session.expiry = expiry
        session.ends_at = None
        session.window = connection.window
        session.requeue_in_flight()
        connection.session = session
        self.connections[client_id] = connection
        peer = connection.peer
        self.presence.arrive(
            client_id,
            source=(peer.source_ip, peer.source_port),
            target=(peer.target_ip, peer.target_port),
            keep_alive=connection.keep_alive,
            session_expiry=expiry,
        )
        return present

    def leave(self, connection: Connection, reason: DisconnectReason, will: Will | None) -> None:
        """Take note that a connection is gone; publish its will now or when its delay is over."""
        client_id, session = connection.client_id, connection.session
        if session is None or self.connections.get(client_id) is not connection:
            return
        del self.connections[client_id]
        now = self.timer()
        session.ends_at = now + session.expiry
        gone = self.presence.leave(client_id, reason, session.expiry)
        if session.expiry == 0:
            self._end_session(session)
        if gone is not None:
            self._announce(events.disconnected(connection.subject, gone))
        if will is None or connection.access is None:
            return
        delay = min(will.properties.get("will_delay_interval", 0), session.expiry)
        if delay:
            self._wills[client_id] = _PendingWill(
                now + delay, will, connection.access, connection.party
            )
        else:
            self._publish_will(connection.party, will, connection.access)

    def disconnect(self, client_id: str, clean_session: bool, prevent_will: bool) -> bool:
        """Cut a client off because the account wants it (DeleteConnection).

        Parameters
        ----------
        clean_session
            Whether its session ends, too.
        prevent_will
            Whether its will is not published.

        Returns
        -------
        bool
            Whether it was connected.
        """
        connection = self.connections.get(client_id)
        if connection is None:
            return False
        connection.cut_off_by_account(clean_session, prevent_will)
        return True

    def session_of(self, client_id: str) -> Session | None:
        """Return the session of a client id, connected or away; None if it has none."""
        session = self._sessions.get(client_id)
        return None if session is None or _ended(session, self.timer()) else session

    def subscriptions_of(self, client_id: str) -> list[Subscription] | None:
        """Return a client's subscriptions in the order they were made; None without a session."""
        session = self.session_of(client_id)
        return None if session is None else list(session.subscriptions.values())

    def _end_session(self, session: Session) -> None:
        self._sessions.pop(session.client_id, None)
        for topic_filter in session.subscriptions:
            self._tree.remove(topic_filter, session)
        if session.subscriptions:
            self._matches.clear()

    def _publish_will(self, sender: Party, will: Will, access: Access) -> None:
        resource = "topic/" + will.topic
        if access.allows("iot:Publish", resource) and (
            not will.retain or access.allows("iot:RetainPublish", resource)
        ):
            self.publish(will.topic, will.payload, will.qos, will.retain, will.properties, sender)

    def tick(self) -> None:
        """Do what time brings: keep alive, wills that are due, sessions that have ended."""
        now = self.timer()
        for connection in list(self.connections.values()):
            connection.tick(now, self._examine)
        self._examine = False
        for client_id, pending in list(self._wills.items()):
            if pending.due <= now:
                del self._wills[client_id]
                self._publish_will(pending.sender, pending.will, pending.access)
        for session in list(self._sessions.values()):
            if _ended(session, now):
                self._end_session(session)

    def forget_rights(self) -> None:
        """Drop every answer worked out from the registry: something in it has changed."""
        self._examine = True
        for connection in self.connections.values():
            if connection.access is not None:
                connection.access.forget()
        for pending in self._wills.values():
            pending.access.forget()

    # --- lifecycle events ---------------------------------------------------------------------

    def announce_arrival(self, connection: Connection) -> None:
        """Publish that a connection was accepted."""
        here = self.presence.get(connection.client_id)
        if here is not None:
            self._announce(events.connected(connection.subject, here))

    def announce_failure(self, connection: Connection) -> None:
        """Publish that a connection, or its will, was not authorized."""
        source_ip, now = connection.peer.source_ip, self.clock()
        self._announce(events.connect_failed(connection.subject, source_ip, now))

    def announce_subscriptions(
        self, connection: Connection, verb: events.Verb, filters: list[str]
    ) -> None:
        """Publish what a client has subscribed to, or unsubscribed from."""
        here = self.presence.get(connection.client_id)
        if here is not None and filters:
            identifier, now = here.session_identifier, self.clock()
            self._announce(events.subscriptions(connection.subject, verb, identifier, filters, now))

    def _announce(self, event: events.Event | None) -> None:
        if event is not None:
            self.publish(*event, 1)

    # --- subscriptions ------------------------------------------------------------------------

    def subscribe(self, session: Session, subscription: Subscription) -> bool:
        """Add or replace a subscription; return whether its filter is new to the session."""
        new = subscription.filter not in session.subscriptions
        session.subscriptions[subscription.filter] = subscription
        self._tree.add(subscription.filter, session, subscription)
        self._matches.clear()
        return new

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Remove a subscription if it is there."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._tree.remove(topic_filter, session)
            self._matches.clear()

    # --- messages -----------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool = False,
        properties: Properties | None = None,
        sender: Party = CLOUD,
    ) -> None:
        """Route a message that may be published: to its subscribers, then to its service."""
        message = self._message(topic, payload, qos, retain, properties)
        receivers: list[Party] = []
        message.receivers = receivers
        self.tape.published(sender, topic, payload, qos, retain, properties, receivers)
        client_id = sender.client_id
        if retain:
            self.retained.put(message, self.clock())
        if not topic.startswith("$aws/"):
            self._route(message, client_id)
            return
        if not reserved.is_basic_ingest(topic):
            self._route(message, client_id)
        if self.service is not None:
            self.service(topic, payload, client_id)
        nobody = reserved.unanswered(topic) if client_id else None
        if nobody is not None:
            self.tape.record("unanswered", client_id=client_id, topic=topic, why=nobody)

    def _message(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None
    ) -> Message:
        expires_at = None
        if properties:
            properties = {name: properties[name] for name in FORWARDED if name in properties}
            if "message_expiry_interval" in properties:
                life = min(max(properties["message_expiry_interval"], 1), MAX_MESSAGE_EXPIRY)
                properties["message_expiry_interval"] = life
                expires_at = self.clock() + life
        return Message(topic, payload, qos, properties or {}, retain, expires_at)

    def _route(self, message: Message, client_id: str) -> None:
        match = self._matches.get(message.topic)
        if match is None:
            if len(self._matches) >= MAX_CACHED_TOPICS:
                self._matches.clear()
            match = self._matches[message.topic] = self._tree.match(message.topic)
        for session, options in match.direct:
            qos, retain = 0, False
            for option in options:
                if option.no_local and session.client_id == client_id:
                    continue
                break
            else:
                continue
            for option in options:
                qos = max(qos, option.qos)
                retain = retain or option.retain_as_published
            self._deliver(session, message, min(qos, message.qos), message.retain and retain)
        for members in match.groups:
            online = [member for member in members if member[0].ends_at is None]
            session, option = random.choice(online or members)
            self._deliver(session, message, min(option.qos, message.qos), False)

    def _deliver(self, session: Session, message: Message, qos: int, retain: bool) -> None:
        connection = self.connections.get(session.client_id)
        if connection is not None:
            connection.deliver(message, qos, retain)
        elif qos and session.expiry:
            try:
                session.admit(message, retain)
            except OverflowError as error:
                self.tape.record(
                    "dropped", client_id=session.client_id, topic=message.topic, why=str(error)
                )

    def send_direct(
        self,
        client_id: str,
        topic: str,
        payload: bytes,
        properties: Properties,
        confirmed: Callable[[], None] | None = None,
    ) -> bool:
        """Send a message to one client, subscribed or not (SendDirectMessage).

        Its policy has to allow it to receive the topic, as with every message.

        Parameters
        ----------
        confirmed
            Called at the client's PUBACK. The message goes out at QoS 1 then, at QoS 0 without.

        Returns
        -------
        bool
            Whether the client is connected and may receive it. It is not kept for later.
        """
        connection = self.connections.get(client_id)
        if connection is None:
            return False
        message = self._message(topic, payload, 0 if confirmed is None else 1, False, properties)
        message.confirmed = confirmed
        return connection.deliver_direct(message)

    def close(self) -> None:
        """Close every connection: the cloud is going down."""
        for connection in list(self.connections.values()):
            connection.end(Reason.SERVER_SHUTTING_DOWN)


def _ended(session: Session, now: float) -> bool:
    return session.ends_at is not None and session.ends_at <= now
