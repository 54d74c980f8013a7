"""The broker: sessions by client id, subscriptions, and the way of a message to all who get it.

Holds no socket and reads no wire: connections (`connection.py`) hand it decoded messages, and it
hands them back what to deliver. A reserved topic (``$aws/things/.../shadow/...``) is routed like
any other and then handed to the service behind it.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from creeklab.cloud.authorization import ConnectionAuthorization
from creeklab.cloud.monitoring.event_log import CLOUD, EventLog, PeerIdentity
from creeklab.cloud.mqtt.codec.decoder import PublishBatch
from creeklab.cloud.mqtt.codec.packets import Subscription, Will
from creeklab.cloud.mqtt.codec.wire import Properties, Reason
from creeklab.cloud.mqtt.interfaces import Peer, RetainedStore
from creeklab.cloud.mqtt.lifecycle import events
from creeklab.cloud.mqtt.lifecycle.connectivity import ConnectivityTracker
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason
from creeklab.cloud.mqtt.rate_limits import Rates
from creeklab.cloud.mqtt.routing import reserved_topics
from creeklab.cloud.mqtt.routing.route_cache import RouteCache
from creeklab.cloud.mqtt.routing.shared_subscriptions import SharedGroups
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.session import Backlog, Session, SessionStore
from creeklab.cloud.mqtt.session.wills import PendingWill, PendingWills
from creeklab.cloud.settings import Settings
from creeklab.cloud.storage.group_commit import GroupCommit

if TYPE_CHECKING:
    from creeklab.cloud.mqtt.connection.connection import Connection

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

log = logging.getLogger(__name__)


class Broker:
    """Routes messages between the sessions of one cloud.

    Parameters
    ----------
    keeper
        Keeps the sessions that outlive their connections; those it has are taken over.
    commits
        Commits what the keeper, and who keeps retained messages, have collected.
    access_for
        Gives the rights of a peer, its client id and its connect attributes.
    clock
        Seconds since the epoch: when a message expires.
    timer
        Seconds that only go forward: how long a client was silent or away.

    Attributes
    ----------
    closed
        Whether it has ended: who was about to connect comes too late.
    connects
        The quota of CONNECTs by client id.
    commits
        While it has promises, an acknowledgement has to wait for `settle`: `hold` it.
    groups
        Shared subscriptions.
    presence
        Who is connected, and why the others left.
    service
        Called with topic, payload and client id of each message published to ``$aws/...``; returns
        whether a service has answered it.
    """

    def __init__(
        self,
        settings: Settings,
        event_log: EventLog,
        retained: RetainedStore,
        keeper: SessionStore,
        commits: GroupCommit,
        access_for: Callable[[Peer, str, tuple[str, ...]], ConnectionAuthorization],
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.event_log = event_log
        self.clock = clock
        self.timer = timer
        self.access_for = access_for
        self.retained = retained
        self.connectivity = ConnectivityTracker(clock)
        self.service: Callable[[str, bytes, str], bool] = lambda *_: False
        self.connections: dict[str, Connection] = {}
        self._sessions: dict[str, Session] = {}
        self._tree: SubscriptionTree[Session, Subscription] = SubscriptionTree(
            settings.dollar_topics
        )
        self.shared_groups = SharedGroups(self._tree, self._deliver, self.record_drop, clock)
        self._routes = RouteCache(self._tree)
        self.connects = Rates(settings.connect_rate)
        self._examine = False
        self._keeper = keeper
        self.commits = commits
        self._backlog = Backlog()
        self._wills = PendingWills(self._backlog)
        self._held: list[tuple[Connection, int]] = []
        self._unwritten = 0
        self._written = 0  # transactions, when the last one failed
        self.closed = False
        for session, _ in keeper.load(clock()):
            self._adopt(session)

    # --- sessions ---------------------------------------------------------------------------

    def has_session_capacity(self, client_id: str) -> bool:
        """Tell whether a client id may have a persistent session: it has one, or there is room."""
        session = self._sessions.get(client_id)
        has_one = session is not None and session.store is not None
        return has_one or self._keeper.count < self.settings.sessions_max

    def open_session(self, connection: Connection, clean: bool, expiry: int) -> bool:
        """Give `connection` the session of its client id; return whether an old one goes on.

        Another connection under the same client id is closed, as AWS does it.
        """
        client_id = connection.client_id
        now = self.timer()
        other = self.connections.get(client_id)
        if other is not None:
            other.close_for_takeover()
        pending = self._wills.take(client_id)
        session = self._sessions.get(client_id)
        if session is not None and (
            clean
            or session.version != connection.version
            or session.principal != connection.peer.principal
            or _ended(session, now)
        ):
            if pending is not None:
                self._publish_will(pending)
            self._end_session(session)
            session = None
        present = session is not None
        if session is None:
            session = Session(client_id, connection.version, connection.peer.principal)
            self._adopt(session)
        session.expiry = expiry
        session.ends_at = None
        session.window = connection.window
        if not expiry and session.store is not None:
            self._keeper.delete(session)
        elif session.store is not None:
            self._keeper.update(session)
        elif expiry:
            self._keeper.add(session)
        connection.session = session
        self.connections[client_id] = connection
        peer = connection.peer
        self.connectivity.connected(
            client_id,
            source=(peer.source_ip, peer.source_port),
            target=(peer.target_ip, peer.target_port),
            keep_alive=connection.keep_alive,
            session_expiry=expiry,
        )
        return present

    def remove_connection(
        self, connection: Connection, reason: DisconnectReason, will: Will | None
    ) -> None:
        """Take note that a connection is gone; publish its will now or when its delay is over."""
        client_id, session = connection.client_id, connection.session
        if session is None or self.connections.get(client_id) is not connection:
            return
        del self.connections[client_id]
        now = self.timer()
        session.ends_at = now + session.expiry
        session.requeue_in_flight()
        gone = self.connectivity.disconnected(client_id, reason, session.expiry)
        if session.expiry == 0:
            self._end_session(session)
        else:
            self._keeper.update(session)
            self.shared_groups.reassign(session, only_to_connected=True)
        if gone is not None:
            self._publish_event(events.disconnected(connection.subject, gone))
        if will is None or connection.permissions.authorization is None:
            return
        delay = min(will.properties.get("will_delay_interval", 0), session.expiry)
        pending = PendingWill(
            now + delay, will, connection.permissions.authorization, connection.permissions.identity
        )
        try:
            if delay:
                self._wills.add(pending)
                return
        except OverflowError as error:
            refusal = {"summary": str(error)}
            self.event_log.append("will", client_id=client_id, topic=will.topic, refusal=refusal)
        self._publish_will(pending)

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
        connection.disconnect_by_account(clean_session, prevent_will)
        return True

    def get_session(self, client_id: str) -> Session | None:
        """Return the session of a client id, connected or away; None if it has none."""
        session = self._sessions.get(client_id)
        return None if session is None or _ended(session, self.timer()) else session

    def list_subscriptions(self, client_id: str) -> list[Subscription] | None:
        """Return a client's subscriptions in the order they were made; None without a session."""
        session = self.get_session(client_id)
        return None if session is None else list(session.subscriptions.values())

    def _adopt(self, session: Session) -> None:
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

    def _publish_will(self, pending: PendingWill) -> None:
        will, access, sender = pending.will, pending.access, pending.sender
        resource = "topic/" + will.topic
        if access.allows("iot:Publish", resource) and (
            not will.retain or access.allows("iot:RetainPublish", resource)
        ):
            self.publish(will.topic, will.payload, will.qos, will.retain, will.properties, sender)

    def tick(self) -> None:
        """Do what time brings: keep alive, wills that are due, sessions that have ended."""
        self.commit_and_acknowledge()
        now = self.timer()
        for connection in list(self.connections.values()):
            connection.tick(now, self._examine)
        self._examine = False
        self.connects.tick(now)
        for pending in self._wills.take_due(now):
            self._publish_will(pending)
        for session in list(self._sessions.values()):
            if _ended(session, now):
                self._end_session(session)

    def invalidate_authorization(self) -> None:
        """Drop every answer worked out from the registry: something in it has changed."""
        self._examine = True
        for connection in self.connections.values():
            if connection.permissions.authorization is not None:
                connection.permissions.authorization.invalidate()
        for pending in self._wills:
            pending.access.invalidate()

    # --- lifecycle events ---------------------------------------------------------------------

    def publish_connected(self, connection: Connection) -> None:
        """Publish that a connection was accepted."""
        here = self.connectivity.get(connection.client_id)
        if here is not None:
            self._publish_event(events.connected(connection.subject, here))

    def publish_connect_failed(self, connection: Connection) -> None:
        """Publish that a connection, or its will, was not authorized."""
        source_ip, now = connection.peer.source_ip, self.clock()
        self._publish_event(events.connect_failed(connection.subject, source_ip, now))

    def publish_subscriptions(
        self, connection: Connection, verb: events.SubscriptionChange, filters: list[str]
    ) -> None:
        """Publish what a client has subscribed to, or unsubscribed from."""
        here = self.connectivity.get(connection.client_id)
        if here is not None and filters:
            identifier, now = here.session_identifier, self.clock()
            self._publish_event(
                events.subscriptions(connection.subject, verb, identifier, filters, now)
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
            self._keeper.update(session)
        return new

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Remove a subscription if it is there."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._tree.remove(topic_filter, session)
            self._routes.invalidate()
            if session.store is not None:
                self._keeper.update(session)
            self.shared_groups.reassign(session)

    # --- messages -----------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool = False,
        properties: Properties | None = None,
        sender: PeerIdentity = CLOUD,
    ) -> Reason:
        """Route a message that may be published: to its subscribers, then to its service.

        What has to be kept of it is kept only when `settle` says so.

        Parameters
        ----------
        sender
            The cloud itself for what one of its services or an HTTP call publishes.

        Returns
        -------
        Reason
            For the PUBACK: ``SUCCESS``; ``QUOTA_EXCEEDED`` if it would be one retained message too
            many, and went nowhere; ``UNSPECIFIED_ERROR`` if its service could not write.
        """
        client_id = sender.client_id
        if retain and payload and not self.retained.has_room(topic):
            self._log_session_limit(topic, client_id)
            return Reason.QUOTA_EXCEEDED
        message = self._message(topic, payload, qos, retain, properties)
        receivers: list[PeerIdentity] = []
        message.receivers = receivers
        self.event_log.log_publish(sender, topic, payload, qos, retain, properties, receivers)
        if retain:
            self.retained.put(message)
        if not topic.startswith("$aws/"):
            self._route(message, client_id)
            return Reason.SUCCESS
        if not reserved_topics.is_basic_ingest(topic):
            self._route(message, client_id)
        try:
            answered = self.service(topic, payload, client_id)
        except sqlite3.Error as error:
            self._log_storage_failure(error, 1)
            return Reason.UNSPECIFIED_ERROR
        nobody = reserved_topics.unanswered(topic) if client_id and not answered else None
        if nobody is not None:
            self.event_log.append("unanswered", client_id=client_id, topic=topic, why=nobody)
        return Reason.SUCCESS

    def publish_durably(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties
    ) -> Reason:
        """Publish for a caller who is answered when all of it is kept."""
        code = self.publish(topic, payload, qos, retain, properties)
        if not code and self.commits.promises and not self.commit_and_acknowledge():
            return Reason.UNSPECIFIED_ERROR
        return code

    def _log_session_limit(self, topic: str, client_id: str) -> None:
        why = (
            f"{self.settings.retained_max} topics have a retained message, and more are not taken. "
            "Remove one with an empty retained message on its topic."
        )
        self.event_log.append("publish", client_id=client_id, topic=topic, refusal={"summary": why})

    def _message(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None
    ) -> OutboundMessage:
        expires_at = None
        if properties:
            properties = {name: properties[name] for name in FORWARDED if name in properties}
            if "message_expiry_interval" in properties:
                life = min(max(properties["message_expiry_interval"], 1), MAX_MESSAGE_EXPIRY)
                properties["message_expiry_interval"] = life
                expires_at = self.clock() + life
        return OutboundMessage(topic, payload, qos, properties or {}, retain, expires_at)

    def publish_batch(self, burst: PublishBatch, version: int, sender: PeerIdentity) -> bool:
        """Route messages that may be published and came one after the other, all at once.

        Parameters
        ----------
        version
            Of the client that sent them.

        Returns
        -------
        bool
            Whether it was done. It is not, and nothing is, if the messages need a look one by one:
            one of the receivers does, or a service does.
        """
        topic = burst.topic
        route = self._routes.lookup(topic)
        if topic.startswith("$") or route.groups:
            return False
        receivers: list[Connection] = []
        for session, _, _, not_to_itself in route.direct:
            connection = self.connections.get(session.client_id)
            if connection is None or (not_to_itself and session.client_id == sender.client_id):
                continue
            if not connection.accepts_batches(topic):
                return False
            receivers.append(connection)
        parties = [connection.permissions.identity for connection in receivers]
        self.event_log.log_publish_batch(sender, topic, burst.payloads, parties)
        frames = {version: burst.frames}
        for connection in receivers:
            if connection.version not in frames:
                frames[connection.version] = burst.encoded(connection.version)
            connection.deliver_batch(frames[connection.version], len(burst.payloads))
        return True

    def _route(self, message: OutboundMessage, client_id: str) -> None:
        route = self._routes.lookup(message.topic)
        granted, retain, connections = message.qos, message.retain, self.connections
        for session, qos, as_published, not_to_itself in route.direct:
            if not_to_itself and session.client_id == client_id:
                continue
            qos = qos if qos < granted else granted
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
        """Take note that a message did not find room among those that wait for a client."""
        self.event_log.append(
            "dropped", client_id=session.client_id, topic=message.topic, why=str(why)
        )

    # --- what has to be kept ------------------------------------------------------------------

    def defer_puback(self, connection: Connection, packet_id: int) -> None:
        """Acknowledge a message of a client when what it promises is kept."""
        self._held.append((connection, packet_id))

    def commit_and_acknowledge(self) -> bool:
        """Commit what has to be kept, and acknowledge what waited for that.

        Called once in a turn of the event loop, before anything that promises goes out.

        Returns
        -------
        bool
            Whether all of it is kept.
        """
        error = self.commits.commit()
        held, self._held = self._held, []
        self._log_storage_failure(error, len(held))
        for connection, packet_id in held:
            connection.acknowledge(packet_id, kept=error is None)
        return error is None

    def _log_storage_failure(self, error: sqlite3.Error | None, lost: int) -> None:
        if error is not None:
            if not self._unwritten:
                why = (
                    f"The database could not be written ({error}). Until it can, nothing that has "
                    "to be kept is acknowledged; in MQTT 5 its PUBACK has reason code 0x80. Free "
                    "space on the disk, and end other programs that have the database open."
                )
                self.event_log.append("storage", refusal={"summary": why})
                log.error(why)
                self._unwritten = 1
            self._unwritten += lost
            self._written = self.commits.written
        elif self._unwritten and self.commits.written > self._written:
            why = f"The database is written again; {self._unwritten - 1} messages were not taken."
            self.event_log.append("storage", why=why)
            log.warning(why)
            self._unwritten = 0

    # --- what the account asks for ---------------------------------------------------------------

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
        """Close every connection, and take no new one: the cloud, or the account, ends."""
        self.closed = True
        for connection in list(self.connections.values()):
            connection.disconnect(Reason.SERVER_SHUTTING_DOWN)
        for pending in self._wills.take_due(math.inf):
            self._publish_will(pending)
        self.commit_and_acknowledge()


def _ended(session: Session, now: float) -> bool:
    return session.ends_at is not None and session.ends_at <= now
