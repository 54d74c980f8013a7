"""Permission checks for one client: its policies and AWS's limits, and the log entry per refusal.

The event log explains a refusal by a policy, and gives the reason and the fix for any other. Both
are counted under CloudWatch's names. What the client receives is up to the connection
(`connection.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from creeklab.cloud.authorization import MAX_CACHED, ConnectionAuthorization, not_active
from creeklab.cloud.monitoring.event_log import EventLog, PeerIdentity
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.codec.packets import Subscription, Will
from creeklab.cloud.mqtt.codec.wire import Reason
from creeklab.cloud.mqtt.connection.connect_terms import ConnectTerms, check_client_id
from creeklab.cloud.mqtt.interfaces import Peer, PublishedMessage
from creeklab.cloud.mqtt.rate_limits import Rate
from creeklab.cloud.mqtt.routing.topic_tree import (
    MAX_PAYLOAD,
    InvalidTopic,
    check_filter,
    check_topic,
    split_share,
)

MAX_SUBSCRIPTIONS = 50

NO_CLIENT_ID = (
    "The client sent no client ID, so the broker assigned a random one, for which no policy of the "
    "certificate allows iot:Connect. Set a client ID, usually the name of the Thing."
)

# First half of the metric's name, by the kind of the refused event.
_METRIC_GROUPS = {
    "connect": "Connect",
    "publish": "PublishIn",
    "receive": "PublishOut",
    "subscribe": "Subscribe",
}


class ConnectRejection(NamedTuple):
    """How a CONNECT is rejected.

    Attributes
    ----------
    reason
        Reason code in MQTT 5; None to close the connection without a CONNACK.
    return_code
        Return code of the CONNACK in MQTT 3.1.1, if one is sent.
    publishes_event
        Whether it publishes a ``connect_failed`` event.
    always_connack
        Whether MQTT 3.1.1 gets a CONNACK whatever the settings say.
    """

    reason: Reason | None
    return_code: int
    publishes_event: bool = False
    always_connack: bool = False


class ClientPermissions:
    """Checks what one client is allowed to do.

    Parameters
    ----------
    publish_rate
        Messages a second that it is allowed to publish; 0 for any number.

    Attributes
    ----------
    identity
        The client in the event log.
    authorization
        Its authorization; None before its CONNECT was checked.
    """

    __slots__ = (
        "_counts",
        "_event_log",
        "_max_publish_rate",
        "_publish_rate",
        "authorization",
        "identity",
    )

    def __init__(self, identity: PeerIdentity, event_log: EventLog, publish_rate: int) -> None:
        self.identity = identity
        self.authorization: ConnectionAuthorization | None = None
        self._event_log = event_log
        self._counts = event_log.metrics.mqtt
        self._max_publish_rate = publish_rate
        self._publish_rate: Rate | None = None

    # --- checks -------------------------------------------------------------------------------

    def check_connect(
        self, terms: ConnectTerms, peer: Peer, broker: Broker, now: float
    ) -> ConnectRejection | None:
        """Return how a CONNECT is rejected; None if it is accepted."""
        client_id = terms.client_id
        self.identity = self.identity._replace(client_id=client_id)
        fault = check_client_id(client_id)
        if broker.closed:
            self.log_refusal(
                "connect", "The account was closed or reset in the meantime. Connect again."
            )
            return ConnectRejection(Reason.SERVER_UNAVAILABLE, 3)
        if fault is not None:
            self.log_refusal("connect", fault)
            empty = terms.version == 4 and not client_id
            return ConnectRejection(Reason.CLIENT_IDENTIFIER_NOT_VALID, 2, always_connack=empty)
        if not broker.connects.try_acquire(client_id, now):
            why = (
                f"The client ID '{client_id}' sends more than {broker.settings.connect_rate} "
                "CONNECT a second. Wait longer between attempts, each time a little longer."
            )
            self.log_refusal("connect", why, "ClientIDThrottle")
            return ConnectRejection(Reason.QUOTA_EXCEEDED, 3)
        access = broker.authorization_for(
            peer, client_id, terms.attributes, terms.will.topic if terms.will else None
        )
        self.authorization = access
        if access.status != "ACTIVE":
            # AWS drops such a connection before any CONNACK, in both versions.
            self.log_refusal("connect", not_active(peer.principal, access.status), "AuthError")
            return ConnectRejection(None, 0, publishes_event=access.status is not None)
        denied = None
        if terms.assigned and not access.allows("iot:Connect", "client/" + client_id):
            # The assigned ID differs in each attempt, so no policy should name it.
            self.identity = self.identity._replace(client_id="")
            self.log_refusal("connect", NO_CLIENT_ID, "AuthError")
            denied = Reason.NOT_AUTHORIZED
        elif not self.allows("connect", "iot:Connect", "client/" + client_id):
            denied = Reason.NOT_AUTHORIZED
        elif terms.will is not None:
            denied = self.check_publish("connect", terms.will)
        if denied is not None:
            return ConnectRejection(denied, 5, publishes_event=denied is Reason.NOT_AUTHORIZED)
        if terms.expiry and not broker.has_session_capacity(client_id):
            why = (
                f"The account has {broker.settings.sessions_max} persistent sessions, the most it "
                "can have. Ask for a clean session, use a client ID that has a session, or wait "
                "until one expires."
            )
            self.log_refusal("connect", why, "Throttle")
            return ConnectRejection(Reason.QUOTA_EXCEEDED, 3)
        return None

    def check_publish(self, kind: str, message: PublishedMessage | Will) -> Reason | None:
        """Return why a message or a will must not be published; None if it is allowed."""
        topic, access = message.topic, self.authorization
        known = access is not None and topic in access.publishable
        if known and message.qos < 2 and not message.retain and len(message.payload) <= MAX_PAYLOAD:
            return None
        if message.qos > 1:
            whose = "The will" if isinstance(message, Will) else "The message"
            why = f"{whose} has QoS 2, which AWS IoT Core does not have. Use QoS 0 or 1."
            self.log_refusal(kind, why, topic=topic)
            return Reason.QOS_NOT_SUPPORTED
        if not self.allows(kind, "iot:Publish", "topic/" + topic):
            return Reason.NOT_AUTHORIZED
        if message.retain and not self.allows(kind, "iot:RetainPublish", "topic/" + topic):
            return Reason.NOT_AUTHORIZED
        if len(message.payload) > MAX_PAYLOAD:
            why = f"The payload has {len(message.payload)} bytes; the maximum is {MAX_PAYLOAD}."
            self.log_refusal(kind, why, topic=topic)
            return Reason.QUOTA_EXCEEDED
        try:
            check_topic(topic, retain=message.retain)
        except InvalidTopic as error:
            self.log_refusal(kind, str(error), topic=topic)
            return Reason.TOPIC_NAME_INVALID
        if access is not None and len(access.publishable) < MAX_CACHED:
            access.publishable.add(topic)
        return None

    def check_rate(self, topic: str, now: float) -> Reason | None:
        """Return why a message exceeds the publish rate; None if it does not.

        Only the first of several such messages in a row is logged.
        """
        if not self._max_publish_rate:
            return None
        if self._publish_rate is None:
            self._publish_rate = Rate(self._max_publish_rate, now)
        if self._publish_rate.try_acquire(now):
            return None
        if self._publish_rate.first_refusal():
            why = (
                f"This connection sent more than {self._max_publish_rate} messages in a second; "
                "those above the rate are discarded. Send fewer, or put several readings into one "
                "message."
            )
            self.log_refusal("publish", why, "Throttle", topic=topic)
        else:
            self.count("publish", "Throttle")
        return Reason.MESSAGE_RATE_TOO_HIGH

    def check_subscribe(self, filters: set[str], entry: Subscription) -> Reason | None:
        """Return why a subscription in addition to `filters` is refused; None if it is allowed."""
        topic_filter = entry.filter
        # Policies see the filter as the client wrote it, without the share.
        resource = "topicfilter/" + split_share(topic_filter)[1]
        if not self.allows("subscribe", "iot:Subscribe", resource):
            return Reason.NOT_AUTHORIZED
        try:
            check_filter(topic_filter)
        except InvalidTopic as error:
            self.log_refusal("subscribe", str(error), filter=topic_filter)
            return Reason.TOPIC_FILTER_INVALID
        if topic_filter not in filters and len(filters) >= MAX_SUBSCRIPTIONS:
            why = f"A connection can have at most {MAX_SUBSCRIPTIONS} subscriptions."
            self.log_refusal("subscribe", why, filter=topic_filter)
            return Reason.QUOTA_EXCEEDED
        return None

    def allows(self, kind: str, action: str, resource: str) -> bool:
        """Return whether the policies allow an action on a resource; log a refusal."""
        if self.authorization is not None and self.authorization.allows(action, resource):
            return True
        self._explain(kind, action, resource)
        return False

    def allows_delivery(self, topic: str) -> bool:
        """Return whether the client is allowed to receive a topic; log only the first refusal."""
        access = self.authorization
        if access is None or not access.allows(
            "iot:Receive", "topic/" + topic, self._explain_delivery
        ):
            return False
        if len(access.receivable) < MAX_CACHED:
            access.receivable.add(topic)
        return True

    # --- log entries --------------------------------------------------------------------------

    def _explain(self, kind: str, action: str, resource: str) -> None:
        if self.authorization is None:
            return
        if self.authorization.status != "ACTIVE":
            why = "The certificate is no longer ACTIVE."
            self.log_refusal(kind, why, "AuthError", resource=resource)
            return
        denial = self.authorization.decided(action, resource)
        self.count(kind, "AuthError")
        self.log_event(kind, action=action, resource=resource, denial=denial)

    def _explain_delivery(self, resource: str) -> None:
        self._explain("receive", "iot:Receive", resource)

    def log_refusal(self, kind: str, why: str, metric: str = "ClientError", **members: Any) -> None:
        """Log a refusal that no policy made; `metric` is the second half of the metric's name."""
        self.count(kind, metric)
        self.log_event(kind, refusal={"summary": why}, **members)

    def count(self, kind: str, metric: str) -> None:
        """Count a refusal of this kind; `metric` is the second half of the metric's name."""
        group = _METRIC_GROUPS.get(kind)
        if group is not None:
            self._counts[f"{group}.{metric}"] += 1

    def log_event(self, kind: str, **members: Any) -> None:
        """Log an event of this client."""
        self._event_log.append(kind, **self.identity._asdict(), **members)
