"""What one client is let do: its policies and AWS's limits, and word of each refusal.

The event log has an explanation of each refusal by a policy, and for any other a sentence that says
why and what to do; both are counted under CloudWatch's names. What the client is told of it,
if anything, is the connection's to say (`connection.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from creeklab.cloud.authorization import ConnectionAuthorization, not_active
from creeklab.cloud.monitoring.event_log import EventLog, PeerIdentity
from creeklab.cloud.mqtt.codec.packets import Publish, Subscription, Will
from creeklab.cloud.mqtt.codec.wire import Reason
from creeklab.cloud.mqtt.connection.connect_terms import ConnectTerms, client_id_fault
from creeklab.cloud.mqtt.routing.topic_tree import (
    MAX_PAYLOAD,
    InvalidTopic,
    check_filter,
    check_topic,
    split_share,
)

if TYPE_CHECKING:
    from creeklab.cloud.mqtt.broker import Broker
    from creeklab.cloud.mqtt.interfaces import Peer

MAX_SUBSCRIPTIONS = 50

# The metrics of refusals, by the kind of what was refused.
_COUNTED = {
    "connect": "Connect",
    "publish": "PublishIn",
    "receive": "PublishOut",
    "subscribe": "Subscribe",
}


class ConnectRejection(NamedTuple):
    """With what a CONNECT is refused.

    Attributes
    ----------
    reason
        Reason code of MQTT 5; None if the client is cut off without a word.
    return_code
        Of the CONNACK of MQTT 3.1.1, where one is sent.
    announced
        Whether the world hears of it.
    told
        Whether MQTT 3.1.1 is sent a CONNACK in any case.
    """

    reason: Reason | None
    return_code: int
    announced: bool = False
    details: bool = False


class ClientPermissions:
    """Lets one client do what it may.

    Attributes
    ----------
    party
        Who it is on the event_log.
    access
        Its rights; None before its CONNECT was looked at.
    """

    __slots__ = ("_counts", "_event_log", "authorization", "identity")

    def __init__(self, party: PeerIdentity, event_log: EventLog) -> None:
        self.identity = party
        self.authorization: ConnectionAuthorization | None = None
        self._event_log = event_log
        self._counts = event_log.metrics.mqtt

    # --- what is refused ------------------------------------------------------------------------

    def connect_refused(
        self, terms: ConnectTerms, peer: Peer, broker: Broker, now: float
    ) -> ConnectRejection | None:
        """Return with what a CONNECT is refused; None if the client may come in."""
        client_id = terms.client_id
        self.identity = self.identity._replace(client_id=client_id)
        fault = client_id_fault(client_id)
        if broker.closed:
            self.log_refusal(
                "connect", "The account was closed or emptied meanwhile. Connect anew."
            )
            return ConnectRejection(Reason.SERVER_UNAVAILABLE, 3)
        if fault is not None:
            self.log_refusal("connect", fault)
            told = terms.version == 4 and not client_id
            return ConnectRejection(Reason.CLIENT_IDENTIFIER_NOT_VALID, 2, details=told)
        if not broker.connects.try_acquire(client_id, now):
            why = (
                f"The client id '{client_id}' sends more than {broker.settings.connect_rate} "
                "CONNECT a second. Wait longer between attempts, each time a little longer."
            )
            self.log_refusal("connect", why, "ClientIDThrottle")
            return ConnectRejection(Reason.QUOTA_EXCEEDED, 3)
        access = self.authorization = broker.access_for(peer, client_id, terms.attributes)
        if access.status != "ACTIVE":
            # AWS drops such a connection before any CONNACK, in both versions.
            self.log_refusal("connect", not_active(peer.principal, access.status), "AuthError")
            return ConnectRejection(None, 0, announced=access.status is not None)
        refused = None
        if not self.allows("connect", "iot:Connect", "client/" + client_id):
            refused = Reason.NOT_AUTHORIZED
        elif terms.will is not None:
            refused = self.publish_refused("connect", terms.will)
        if refused is not None:
            return ConnectRejection(refused, 5, announced=refused is Reason.NOT_AUTHORIZED)
        if terms.expiry and not broker.has_session_capacity(client_id):
            why = (
                f"{broker.settings.sessions_max} persistent sessions are kept, and more are not. "
                "Ask for a clean session, come with a client id that has one, or wait until one "
                "ends."
            )
            self.log_refusal("connect", why, "Throttle")
            return ConnectRejection(Reason.QUOTA_EXCEEDED, 3)
        return None

    def publish_refused(self, kind: str, message: Publish | Will) -> Reason | None:
        """Return why a message, or a will, may not be published; None if it may."""
        topic = message.topic
        if message.qos > 1:
            self.log_refusal(kind, "AWS IoT Core has no QoS 2.", topic=topic)
            return Reason.QOS_NOT_SUPPORTED
        if not self.allows(kind, "iot:Publish", "topic/" + topic):
            return Reason.NOT_AUTHORIZED
        if message.retain and not self.allows(kind, "iot:RetainPublish", "topic/" + topic):
            return Reason.NOT_AUTHORIZED
        if len(message.payload) > MAX_PAYLOAD:
            why = f"The payload has {len(message.payload)} bytes; {MAX_PAYLOAD} are the most."
            self.log_refusal(kind, why, topic=topic)
            return Reason.QUOTA_EXCEEDED
        try:
            check_topic(topic, retain=message.retain)
        except InvalidTopic as error:
            self.log_refusal(kind, str(error), topic=topic)
            return Reason.TOPIC_NAME_INVALID
        return None

    def subscribe_refused(self, filters: set[str], entry: Subscription) -> Reason | None:
        """Return why a subscription is refused beside those to `filters`; None if it is not."""
        topic_filter = entry.filter
        # The policy is asked for the filter as the client wrote it, without the share.
        resource = "topicfilter/" + split_share(topic_filter)[1]
        if not self.allows("subscribe", "iot:Subscribe", resource):
            return Reason.NOT_AUTHORIZED
        try:
            check_filter(topic_filter)
        except InvalidTopic as error:
            self.log_refusal("subscribe", str(error), filter=topic_filter)
            return Reason.TOPIC_FILTER_INVALID
        if topic_filter not in filters and len(filters) >= MAX_SUBSCRIPTIONS:
            why = f"One connection has {MAX_SUBSCRIPTIONS} subscriptions at most."
            self.log_refusal("subscribe", why, filter=topic_filter)
            return Reason.QUOTA_EXCEEDED
        return None

    # --- word of it ----------------------------------------------------------------------------

    def allows(self, kind: str, action: str, resource: str) -> bool:
        """Return whether the policies allow an action on a resource; log a refusal."""
        if self.authorization is not None and self.authorization.allows(action, resource):
            return True
        self._explain(kind, action, resource)
        return False

    def _explain(self, kind: str, action: str, resource: str) -> None:
        if self.authorization is None:
            return
        if self.authorization.status != "ACTIVE":
            why = "The certificate is no longer ACTIVE."
            self.log_refusal(kind, why, "AuthError", resource=resource)
            return
        explanation = self.authorization.explain(action, resource).as_dict()
        self.count(kind, "AuthError")
        self.log_event(kind, action=action, resource=resource, refusal=explanation)

    def explain_receive(self, resource: str) -> None:
        """Say on the event_log why the client does not get a message."""
        self._explain("receive", "iot:Receive", resource)

    def log_refusal(self, kind: str, why: str, end: str = "ClientError", **members: Any) -> None:
        """Record a refusal that no policy made, counted under this end of a metric's name."""
        self.count(kind, end)
        self.log_event(kind, refusal={"summary": why}, **members)

    def count(self, kind: str, end: str) -> None:
        """Count a refusal of this kind under this end of a metric's name."""
        group = _COUNTED.get(kind)
        if group is not None:
            self._counts[f"{group}.{end}"] += 1

    def log_event(self, kind: str, **members: Any) -> None:
        """Put something that happened to this client on the event_log."""
        self._event_log.append(kind, **self.identity._asdict(), **members)
