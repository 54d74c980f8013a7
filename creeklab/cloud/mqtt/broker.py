"""The broker: sessions by client ID, subscriptions, and the path of a message to its receivers.

Every message, whether from a client, an HTTP call, a will, a service or the cloud's own events,
goes through one function, `Broker.publish_message`; only SendDirectMessage, which no subscriber
sees, does not. Its stages, in this order:

authorize
    The sender's own check (`interfaces.Authorize`): policies and limits of a client, the policies
    of a will's client. The HTTP API checks its calls itself, and the cloud may publish
    anything.
retain
    Store the message, if it is to be retained.
routing
    Send it to subscribers, except for ``$aws/rules/...`` (Basic Ingest), and log it.
services
    Handlers of messages on reserved topics (``$aws/...``), such as the Device Shadow service.
rules
    Handlers of all messages.

Other modules add handlers for services and rules with `Broker.add_handler`. The broker holds no
socket and decodes nothing: connections (`connection/`) do both.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Callable

from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.monitoring.event_log import EventLog, PeerIdentity
from creeklab.cloud.mqtt.backpressure import Backpressure
from creeklab.cloud.mqtt.codec.packets import Subscription, Will
from creeklab.cloud.mqtt.codec.wire import Properties, Reason
from creeklab.cloud.mqtt.interfaces import (
    Authorize,
    ClientConnection,
    HandlerStage,
    MessageHandler,
    Peer,
    PublishDenied,
    PublishedMessage,
)
from creeklab.cloud.mqtt.lifecycle import events
from creeklab.cloud.mqtt.lifecycle.connectivity import ConnectivityTracker
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason
from creeklab.cloud.mqtt.rate_limits import Rates
from creeklab.cloud.mqtt.routing import reserved_topics
from creeklab.cloud.mqtt.routing.route_cache import RouteCache
from creeklab.cloud.mqtt.routing.shared_subscriptions import SharedGroups
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.retained_store import RetainedMessages
from creeklab.cloud.mqtt.session.session import Backlog, Session, SessionStore
from creeklab.cloud.mqtt.session.wills import PendingWill, PendingWills
from creeklab.cloud.mqtt.storage_failures import StorageFailures
from creeklab.cloud.settings import Settings
from creeklab.cloud.storage.group_commit import GroupCommit

# Properties of a PUBLISH that subscribers receive; the others are between sender and broker.
FORWARDED = (
    "payload_format_indicator",
    "message_expiry_interval",
    "content_type",
    "response_topic",
    "correlation_data",
    "user_properties",
)
MAX_MESSAGE_EXPIRY = 604_800


class Broker:
    """Routes messages between the sessions of one account.

    Parameters
    ----------
    session_store
        Stores sessions that outlive their connections; the broker starts with those it has.
    commits
        Commits what the session store and the retained store have collected.
    authorization_for
        Returns the authorization of a peer with a client ID and connect attributes.
    clock
        Seconds since the epoch, for the expiry of messages.
    timer
        Monotonic seconds, for how long a client was silent or disconnected.

    Attributes
    ----------
    closed
        Whether it has closed and accepts no more connections.
    commits
        While it has promises, a PUBACK has to wait for `commit_and_acknowledge`: defer it.
    """

    def __init__(
        self,
        settings: Settings,
        event_log: EventLog,
        retained: RetainedMessages,
        session_store: SessionStore,
        commits: GroupCommit,
        authorization_for: Callable[
            [Peer, str, tuple[str, ...], str | None], ConnectionAuthorization
        ],
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.event_log = event_log
        self.clock = clock
        self.timer = timer
        self.authorization_for = authorization_for
        self.retained = retained
        self.commits = commits
        self.connectivity = ConnectivityTracker(clock)
        self.connections: dict[str, ClientConnection] = {}
        self.connects = Rates(settings.connect_rate)
        self.closed = False
        self._handlers: dict[HandlerStage, list[MessageHandler]] = {"services": [], "rules": []}
        self._sessions: dict[str, Session] = {}
        self._tree: SubscriptionTree[Session, Subscription] = SubscriptionTree(
            settings.dollar_topics
        )
        self._routes = RouteCache(self._tree)
        self.shared_groups = SharedGroups(self._tree, self._deliver, self.record_drop, clock)
        self._session_store = session_store
        self._backlog = Backlog()
        self._wills = PendingWills(self._backlog)
        self.backpressure = Backpressure()
        self._deferred_pubacks: list[tuple[ClientConnection, int]] = []
        self._registry_changed = False
        self._storage_failures = StorageFailures(event_log, commits)
        for session, _ in session_store.load(clock()):
            self._add_session(session)

    # --- sessions ---------------------------------------------------------------------------

    def has_session_capacity(self, client_id: str) -> bool:
        """Return whether a client ID can have a persistent session: it has one, or one is free."""
        session = self._sessions.get(client_id)
        has_one = session is not None and session.store is not None
        return has_one or self._session_store.count < self.settings.sessions_max

    def open_session(
        self, connection: ClientConnection, clean: bool, expiry: int
    ) -> tuple[Session, bool]:
        """Give `connection` the session of its client ID; return it and whether it is resumed.

        Another connection with the same client ID is closed, as on AWS.
        """
        client_id, principal = connection.client_id, connection.peer.principal
        now = self.timer()
        other = self.connections.get(client_id)
        if other is not None:
            other.close_for_takeover()
        pending = self._wills.take(client_id)
        session = self._sessions.get(client_id)
        if session is not None and (
            clean
            or session.version != connection.version
            or session.principal != principal
            or _ended(session, now)
        ):
            if pending is not None:
                self._publish_will(pending)
            self._end_session(session)
            session = None
        resumed = session is not None
        if session is None:
            session = Session(client_id, connection.version, principal)
            self._add_session(session)
        session.expiry = expiry
        session.ends_at = None
        session.receive_maximum = connection.receive_maximum
        if not expiry and session.store is not None:
            self._session_store.delete(session)
        elif session.store is not None:
            self._session_store.update(session)
        elif expiry:
            self._session_store.add(session)
        connection.session = session
        self.connections[client_id] = connection
        peer = connection.peer
        addresses = peer.source_ip, peer.source_port, peer.target_ip, peer.target_port
        self.connectivity.connected(client_id, addresses, connection.keep_alive, expiry)
        return session, resumed

    def remove_connection(
        self, connection: ClientConnection, reason: DisconnectReason, will: Will | None
    ) -> None:
        """Remove a connection that has ended; publish its will, now or after its delay."""
        client_id, session = connection.client_id, connection.session
        if session is None or self.connections.get(client_id) is not connection:
            return
        del self.connections[client_id]
        now = self.timer()
        session.ends_at = now + session.expiry
        session.requeue_in_flight()
        self.backpressure.remove(session)
        last = self.connectivity.disconnected(client_id, reason, session.expiry)
        if session.expiry == 0:
            self._end_session(session)
        else:
            self._session_store.update(session)
            self.shared_groups.reassign(session, only_to_connected=True)
        if last is not None:
            self._publish_event(events.disconnected(connection.subject, last))
        if will is None or connection.authorization is None:
            return
        delay = min(will.properties.get("will_delay_interval", 0), session.expiry)
        pending = PendingWill(now + delay, will, connection.authorization, connection.identity)
        try:
            if delay:
                self._wills.add(pending)
                return
        except OverflowError as error:
            refusal = {"summary": str(error)}
            self.event_log.append("will", client_id=client_id, topic=will.topic, refusal=refusal)
        self._publish_will(pending)

    def disconnect(self, client_id: str, clean_session: bool, prevent_will: bool) -> bool:
        """Disconnect a client for DeleteConnection; return whether it was connected."""
        connection = self.connections.get(client_id)
        if connection is None:
            return False
        connection.disconnect_by_account(clean_session, prevent_will)
        return True

    def get_session(self, client_id: str) -> Session | None:
        """Return the session of a client ID, connected or not; None if it has none."""
        session = self._sessions.get(client_id)
        return None if session is None or _ended(session, self.timer()) else session

    def list_subscriptions(self, client_id: str) -> list[Subscription] | None:
        """Return a client's subscriptions, oldest first; None if it has no session."""
        session = self.get_session(client_id)
        return None if session is None else list(session.subscriptions.values())

    def _add_session(self, session: Session) -> None:
        self._sessions[session.client_id] = session
        session.attach_backlog(self._backlog)
        for topic_filter, subscription in session.subscriptions.items():
            self._tree.add(topic_filter, session, subscription)

    def _end_session(self, session: Session) -> None:
        self._sessions.pop(session.client_id, None)
        for topic_filter in session.subscriptions:
            self._tree.remove(topic_filter, session)
        if session.subscriptions:
            self._routes.invalidate()
        self.shared_groups.reassign(session)
        session.close()

    def tick(self) -> None:
        """Do what is due: keep alive, delayed wills, expired sessions; call it every second."""
        self.commit_and_acknowledge()
        now = self.timer()
        for connection in list(self.connections.values()):
            connection.tick(now, self._registry_changed)
        self._registry_changed = False
        self.backpressure.tick()
        self.connects.tick(now)
        for pending in self._wills.take_due(now):
            self._publish_will(pending)
        for session in list(self._sessions.values()):
            if _ended(session, now):
                self._end_session(session)

    def invalidate_authorization(self) -> None:
        """Drop all cached decisions, because something in the registry has changed."""
        self._registry_changed = True
        for connection in self.connections.values():
            if connection.authorization is not None:
                connection.authorization.invalidate()
        for pending in self._wills:
            pending.authorization.invalidate()

    # --- lifecycle events ---------------------------------------------------------------------

    def publish_connected(self, connection: ClientConnection) -> None:
        """Publish that a connection was accepted."""
        current = self.connectivity.get(connection.client_id)
        if current is not None:
            self._publish_event(events.connected(connection.subject, current))

    def publish_connect_failed(self, connection: ClientConnection) -> None:
        """Publish that a connection, or its will, was not authorized."""
        source_ip, now = connection.peer.source_ip, self.clock()
        self._publish_event(events.connect_failed(connection.subject, source_ip, now))

    def publish_subscriptions(
        self, connection: ClientConnection, change: events.SubscriptionChange, filters: list[str]
    ) -> None:
        """Publish which filters a client has subscribed to, or unsubscribed from."""
        current = self.connectivity.get(connection.client_id)
        if current is not None and filters:
            identifier, now = current.session_identifier, self.clock()
            self._publish_event(
                events.subscriptions(connection.subject, change, identifier, filters, now)
            )

    def _publish_event(self, event: events.Event | None) -> None:
        if event is not None:
            self.publish(*event, 1)

    # --- subscriptions ------------------------------------------------------------------------

    def subscribe(self, session: Session, subscription: Subscription) -> bool:
        """Add or replace a subscription; return whether its filter is new to the session."""
        new = subscription.filter not in session.subscriptions
        session.subscriptions[subscription.filter] = subscription
        self._tree.add(subscription.filter, session, subscription)
        self._routes.invalidate()
        if session.store is not None:
            self._session_store.update(session)
        return new

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Remove a subscription if it exists."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._tree.remove(topic_filter, session)
            self._routes.invalidate()
            if session.store is not None:
                self._session_store.update(session)
            self.shared_groups.reassign(session)

    # --- publishing ---------------------------------------------------------------------------

    def add_handler(self, stage: HandlerStage, handler: MessageHandler) -> None:
        """Call `handler` with each message that reaches a stage of the publish path.

        Parameters
        ----------
        stage
            ``services`` for messages on ``$aws/...``, ``rules`` for all messages. A stage without
            handlers costs nothing.
        handler
            May publish further messages. It returns whether it answers a reserved topic; if none
            does, the log says so. If a handler raises ``sqlite3.Error``, the message ends there:
            the log says so, and its sender gets an error instead of an acknowledgment.
        """
        self._handlers[stage].append(handler)

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> Reason:
        """Publish a message from the cloud itself, without a policy's permission."""
        return self.publish_message(PublishedMessage(topic, payload, qos, retain, properties))

    def publish_durably(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties
    ) -> Reason:
        """Publish a message of an HTTP call; return when everything about it is stored."""
        message = PublishedMessage(topic, payload, qos, retain, properties, source="http")
        reason = self.publish_message(message)
        if not reason and self.commits.promises and not self.commit_and_acknowledge():
            return Reason.UNSPECIFIED_ERROR
        return reason

    def publish_message(
        self, message: PublishedMessage, authorize: Authorize | None = None
    ) -> Reason:
        """Take a message through all stages of the publish path.

        What has to be stored of it is stored with the next `commit_and_acknowledge`.

        Parameters
        ----------
        authorize
            The sender's check; None if the message needs none.

        Returns
        -------
        Reason
            Reason code of the PUBACK: ``SUCCESS``; ``QUOTA_EXCEEDED`` if the message went nowhere
            because too many topics have a retained message; ``UNSPECIFIED_ERROR`` if a handler
            could not write to the database.

        Raises
        ------
        PublishDenied
            If `authorize` raised it.
        """
        if authorize is not None:
            authorize(message)
        topic, payload, sender = message.topic, message.payload, message.sender
        client_id = sender.client_id
        if message.retain and payload and not self.retained.has_room(topic):
            why = (
                f"{self.settings.retained_max} topics have a retained message, the most there can "
                "be. Remove one with an empty retained message on its topic."
            )
            refusal = {"summary": why}
            self.event_log.append("publish", client_id=client_id, topic=topic, refusal=refusal)
            return Reason.QUOTA_EXCEEDED
        stamp = self.event_log.stamp()
        outbound = self._outbound(message)
        receivers: list[PeerIdentity] = []
        outbound.receivers = receivers
        if message.retain:
            self.retained.put(outbound)
        reserved = topic.startswith("$aws/")
        if not (reserved and reserved_topics.is_basic_ingest(topic)):
            self._route(outbound, client_id)
        qos, retain, properties = message.qos, message.retain, message.properties
        self.event_log.log_message(
            stamp, sender, topic, payload, qos, retain, properties, receivers
        )
        answered = False
        try:
            if reserved:
                for handler in self._handlers["services"]:
                    answered = bool(handler(message)) or answered
            for handler in self._handlers["rules"]:
                answered = bool(handler(message)) or answered
        except sqlite3.Error as error:
            self._storage_failures.record(error, 1)
            return Reason.UNSPECIFIED_ERROR
        if reserved and client_id and not answered:
            missing = reserved_topics.missing_service(topic)
            if missing is not None:
                self.event_log.append("unanswered", client_id=client_id, topic=topic, why=missing)
        return Reason.SUCCESS

    def _publish_will(self, pending: PendingWill) -> None:
        will, access = pending.will, pending.authorization

        def authorize(message: PublishedMessage) -> None:
            resource = "topic/" + message.topic
            if not access.allows("iot:Publish", resource) or (
                message.retain and not access.allows("iot:RetainPublish", resource)
            ):
                raise PublishDenied(Reason.NOT_AUTHORIZED)

        message = PublishedMessage(
            will.topic, will.payload, will.qos, will.retain, will.properties, pending.sender, "will"
        )
        with contextlib.suppress(PublishDenied):  # its client is gone, so there is no reply
            self.publish_message(message, authorize)

    def _outbound(self, message: PublishedMessage) -> OutboundMessage:
        expires_at = None
        properties = message.properties
        if properties:
            properties = {name: properties[name] for name in FORWARDED if name in properties}
            if "message_expiry_interval" in properties:
                life = min(max(properties["message_expiry_interval"], 1), MAX_MESSAGE_EXPIRY)
                properties["message_expiry_interval"] = life
                expires_at = self.clock() + life
        topic, payload, qos = message.topic, message.payload, message.qos
        return OutboundMessage(topic, payload, qos, properties or {}, message.retain, expires_at)

    def _route(self, message: OutboundMessage, client_id: str) -> None:
        route = self._routes.lookup(message.topic)
        published_qos, retain, connections = message.qos, message.retain, self.connections
        for session, qos, as_published, no_local in route.direct:
            if no_local and session.client_id == client_id:
                continue
            qos = qos if qos < published_qos else published_qos
            connection = connections.get(session.client_id)
            if connection is not None:
                connection.deliver(message, qos, retain and as_published)
            else:
                self._deliver(session, message, qos, retain and as_published)
        for members in route.groups:
            self.shared_groups.deliver(members, message)

    def _deliver(
        self, session: Session, message: OutboundMessage, qos: int, retain: bool, group: str = ""
    ) -> None:
        connection = self.connections.get(session.client_id)
        if connection is not None:
            connection.deliver(message, qos, retain, group)
        elif qos and session.expiry:
            try:
                session.enqueue_or_send(message, retain, group)
            except OverflowError as error:
                self.record_drop(session, message, error)

    def record_drop(
        self, session: Session, message: OutboundMessage, why: OverflowError | str
    ) -> None:
        """Log and count that a message for a client was dropped."""
        self.event_log.metrics.mqtt["PublishOut.Throttle"] += 1
        self.event_log.append(
            "dropped", client_id=session.client_id, topic=message.topic, why=str(why)
        )

    def send_direct(
        self,
        client_id: str,
        topic: str,
        payload: bytes,
        properties: Properties,
        confirmed: Callable[[], None] | None = None,
    ) -> bool:
        """Send a message to one client, whether or not it subscribed (SendDirectMessage).

        The client's policies must allow it to receive the topic, as for every message. This is not
        a publish: no subscriber, service or rule sees the message.

        Parameters
        ----------
        confirmed
            Called when the client sends its PUBACK. With it the message is sent at QoS 1, without
            it at QoS 0.

        Returns
        -------
        bool
            Whether the client is connected and allowed to receive the message. The message may
            still be dropped, and is not stored for later.
        """
        connection = self.connections.get(client_id)
        if connection is None:
            return False
        qos = 0 if confirmed is None else 1
        message = self._outbound(PublishedMessage(topic, payload, qos, properties=properties))
        message.confirmed = confirmed
        return connection.deliver_direct(message)

    # --- storage ------------------------------------------------------------------------------

    def defer_puback(self, connection: ClientConnection, packet_id: int) -> None:
        """Acknowledge a message of a client with the next commit."""
        self._deferred_pubacks.append((connection, packet_id))

    def commit_and_acknowledge(self) -> bool:
        """Commit what has to be stored and send the PUBACKs that waited; return whether it worked.

        Called once in a turn of the event loop, before anything that promises storage is sent.
        """
        error = self.commits.commit()
        deferred, self._deferred_pubacks = self._deferred_pubacks, []
        self._storage_failures.record(error, len(deferred))
        for connection, packet_id in deferred:
            connection.acknowledge(packet_id, stored=error is None)
        return error is None

    def close(self) -> None:
        """Close all connections and accept no more: the cloud stops, or the account is closed."""
        self.closed = True
        for connection in list(self.connections.values()):
            connection.disconnect(Reason.SERVER_SHUTTING_DOWN)
        for pending in self._wills.take_due(math.inf):
            self._publish_will(pending)
        self.commit_and_acknowledge()


def _ended(session: Session, now: float) -> bool:
    return session.ends_at is not None and session.ends_at <= now
