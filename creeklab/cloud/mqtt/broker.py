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

from creeklab.cloud.authorization import Access
from creeklab.cloud.monitoring.event_log import CLOUD, Party, Tape
from creeklab.cloud.mqtt.codec.decoder import Burst
from creeklab.cloud.mqtt.codec.packets import Subscription, Will
from creeklab.cloud.mqtt.codec.wire import Properties, Reason
from creeklab.cloud.mqtt.interfaces import Peer, Retained
from creeklab.cloud.mqtt.lifecycle import events
from creeklab.cloud.mqtt.lifecycle.connectivity import Presence
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason
from creeklab.cloud.mqtt.rate_limits import Rates
from creeklab.cloud.mqtt.routing import reserved_topics
from creeklab.cloud.mqtt.routing.route_cache import Routes
from creeklab.cloud.mqtt.routing.shared_subscriptions import SharedGroups
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree
from creeklab.cloud.mqtt.session.message import Message
from creeklab.cloud.mqtt.session.session import Backlog, Keeper, Session
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
        Called with topic, payload and client id of each message published to ``$aws/...``.
    """

    def __init__(
        self,
        settings: Settings,
        tape: Tape,
        retained: Retained,
        keeper: Keeper,
        commits: GroupCommit,
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
        self.groups = SharedGroups(self._tree, self._deliver, self.note_dropped, clock)
        self._routes = Routes(self._tree)
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

    def may_keep_session(self, client_id: str) -> bool:
        """Tell whether a client id may have a persistent session: it has one, or there is room."""
        session = self._sessions.get(client_id)
        has_one = session is not None and session.keeper is not None
        return has_one or self._keeper.kept < self.settings.sessions_max

    def open_session(self, connection: Connection, clean: bool, expiry: int) -> bool:
        """Give `connection` the session of its client id; return whether an old one goes on.

        Another connection under the same client id is closed, as AWS does it.
        """
        client_id = connection.client_id
        now = self.timer()
        other = self.connections.get(client_id)
        if other is not None:
            other.take_over()
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
        if not expiry and session.keeper is not None:
            self._keeper.drop(session)
        elif session.keeper is not None:
            self._keeper.save(session)
        elif expiry:
            self._keeper.enroll(session)
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
        session.requeue_in_flight()
        gone = self.presence.leave(client_id, reason, session.expiry)
        if session.expiry == 0:
            self._end_session(session)
        else:
            self._keeper.save(session)
            self.groups.hand_on(session, only_to_connected=True)
        if gone is not None:
            self._announce(events.disconnected(connection.subject, gone))
        if will is None or connection.gate.access is None:
            return
        delay = min(will.properties.get("will_delay_interval", 0), session.expiry)
        pending = PendingWill(now + delay, will, connection.gate.access, connection.gate.party)
        try:
            if delay:
                self._wills.add(pending)
                return
        except OverflowError as error:
            refusal = {"summary": str(error)}
            self.tape.record("will", client_id=client_id, topic=will.topic, refusal=refusal)
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

    def _adopt(self, session: Session) -> None:
        self._sessions[session.client_id] = session
        session.share(self._backlog)
        for topic_filter, subscription in session.subscriptions.items():
            self._tree.add(topic_filter, session, subscription)

    def _end_session(self, session: Session) -> None:
        self._sessions.pop(session.client_id, None)
        for topic_filter in session.subscriptions:
            self._tree.remove(topic_filter, session)
        if session.subscriptions:
            self._routes.forget()
        self.groups.hand_on(session)
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
        self.settle()
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

    def forget_rights(self) -> None:
        """Drop every answer worked out from the registry: something in it has changed."""
        self._examine = True
        for connection in self.connections.values():
            if connection.gate.access is not None:
                connection.gate.access.forget()
        for pending in self._wills:
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
        self._routes.forget()
        if session.keeper is not None:
            self._keeper.save(session)
        return new

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Remove a subscription if it is there."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._tree.remove(topic_filter, session)
            self._routes.forget()
            if session.keeper is not None:
                self._keeper.save(session)
            self.groups.hand_on(session)

    # --- messages -----------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool = False,
        properties: Properties | None = None,
        sender: Party = CLOUD,
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
            self._note_full(topic, client_id)
            return Reason.QUOTA_EXCEEDED
        message = self._message(topic, payload, qos, retain, properties)
        receivers: list[Party] = []
        message.receivers = receivers
        self.tape.published(sender, topic, payload, qos, retain, properties, receivers)
        if retain:
            self.retained.put(message)
        if not topic.startswith("$aws/"):
            self._route(message, client_id)
            return Reason.SUCCESS
        if not reserved_topics.is_basic_ingest(topic):
            self._route(message, client_id)
        try:
            if self.service is not None:
                self.service(topic, payload, client_id)
        except sqlite3.Error as error:
            self._note_storage(error, 1)
            return Reason.UNSPECIFIED_ERROR
        nobody = reserved_topics.unanswered(topic) if client_id else None
        if nobody is not None:
            self.tape.record("unanswered", client_id=client_id, topic=topic, why=nobody)
        return Reason.SUCCESS

    def publish_and_settle(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties
    ) -> Reason:
        """Publish for a caller who is answered when all of it is kept."""
        code = self.publish(topic, payload, qos, retain, properties)
        if not code and self.commits.promises and not self.settle():
            return Reason.UNSPECIFIED_ERROR
        return code

    def _note_full(self, topic: str, client_id: str) -> None:
        why = (
            f"{self.settings.retained_max} topics have a retained message, and more are not taken. "
            "Remove one with an empty retained message on its topic."
        )
        self.tape.record("publish", client_id=client_id, topic=topic, refusal={"summary": why})

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

    def publish_burst(self, burst: Burst, version: int, sender: Party) -> bool:
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
        route = self._routes.to(topic)
        if topic.startswith("$") or route.groups:
            return False
        receivers: list[Connection] = []
        for session, _, _, not_to_itself in route.direct:
            connection = self.connections.get(session.client_id)
            if connection is None or (not_to_itself and session.client_id == sender.client_id):
                continue
            if not connection.takes_bursts(topic):
                return False
            receivers.append(connection)
        parties = [connection.gate.party for connection in receivers]
        self.tape.published_burst(sender, topic, burst.payloads, parties)
        frames = {version: burst.frames}
        for connection in receivers:
            if connection.version not in frames:
                frames[connection.version] = burst.encoded(connection.version)
            connection.deliver_burst(frames[connection.version], len(burst.payloads))
        return True

    def _route(self, message: Message, client_id: str) -> None:
        route = self._routes.to(message.topic)
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
            self.groups.deliver(members, message)

    def _deliver(
        self, session: Session, message: Message, qos: int, retain: bool, group: str = ""
    ) -> None:
        connection = self.connections.get(session.client_id)
        if connection is not None:
            connection.deliver(message, qos, retain, group)
        elif qos and session.expiry:
            try:
                session.admit(message, retain, group)
            except OverflowError as error:
                self.note_dropped(session, message, error)

    def note_dropped(self, session: Session, message: Message, why: OverflowError | str) -> None:
        """Take note that a message did not find room among those that wait for a client."""
        self.tape.record("dropped", client_id=session.client_id, topic=message.topic, why=str(why))

    # --- what has to be kept ------------------------------------------------------------------

    def hold(self, connection: Connection, packet_id: int) -> None:
        """Acknowledge a message of a client when what it promises is kept."""
        self._held.append((connection, packet_id))

    def settle(self) -> bool:
        """Commit what has to be kept, and acknowledge what waited for that.

        Called once in a turn of the event loop, before anything that promises goes out.

        Returns
        -------
        bool
            Whether all of it is kept.
        """
        error = self.commits.commit()
        held, self._held = self._held, []
        self._note_storage(error, len(held))
        for connection, packet_id in held:
            connection.acknowledge(packet_id, kept=error is None)
        return error is None

    def _note_storage(self, error: sqlite3.Error | None, lost: int) -> None:
        if error is not None:
            if not self._unwritten:
                why = (
                    f"The database could not be written ({error}). Until it can, nothing that has "
                    "to be kept is acknowledged; in MQTT 5 its PUBACK has reason code 0x80. Free "
                    "space on the disk, and end other programs that have the database open."
                )
                self.tape.record("storage", refusal={"summary": why})
                log.error(why)
                self._unwritten = 1
            self._unwritten += lost
            self._written = self.commits.written
        elif self._unwritten and self.commits.written > self._written:
            why = f"The database is written again; {self._unwritten - 1} messages were not taken."
            self.tape.record("storage", why=why)
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
            connection.end(Reason.SERVER_SHUTTING_DOWN)
        for pending in self._wills.take_due(math.inf):
            self._publish_will(pending)
        self.settle()


def _ended(session: Session, now: float) -> bool:
    return session.ends_at is not None and session.ends_at <= now
