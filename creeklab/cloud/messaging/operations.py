"""Operations of ``iot-data`` on messages and connections.

Whether the caller is allowed to call an operation is decided before it is called: the account is,
and a device is if its policies say so.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from creeklab.cloud.api.paging import decode_token, encode_token
from creeklab.cloud.errors import ServiceError
from creeklab.cloud.messaging.mqtt5_properties import message_properties
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.codec.wire import Reason
from creeklab.cloud.mqtt.routing.topic_tree import MAX_PAYLOAD, InvalidTopic, check_topic
from creeklab.cloud.mqtt.session.retained_store import RetainedMessages
from creeklab.cloud.storage.database import Page

# "This information is available for 30 minutes after the client disconnects" (API reference,
# GetConnection).
CONNECTION_INFO_TTL = 30 * 60
MAX_CONFIRMATION_TIMEOUT = 15
RETAINED_PAGE = 25  # the API reference does not give a default page size

Members = dict[str, Any]


class MessagingOperations:
    """The operations for one account."""

    def __init__(self, broker: Broker, retained: RetainedMessages) -> None:
        self._broker = broker
        self._retained = retained
        self._metrics = broker.event_log.metrics

    # --- messages -----------------------------------------------------------------------------

    def publish(
        self,
        *,
        topic: str,
        qos: int = 0,
        retain: bool = False,
        payload: bytes = b"",
        **mqtt5: Any,
    ) -> Members:
        """Publish a message to a topic."""
        try:
            properties = _checked(topic, payload, mqtt5, retain=retain)
        except ServiceError:
            self._metrics.count("PublishIn.ClientError", "HTTP")
            raise
        code = self._broker.publish_durably(topic, payload, qos, retain, properties)
        if code == Reason.QUOTA_EXCEEDED:
            self._metrics.count("PublishIn.Throttle", "HTTP")
            message = "The account has too many retained messages."
            raise ServiceError("ThrottlingException", message)
        if code:
            self._metrics.count("PublishIn.ServerError", "HTTP")
            raise ServiceError("InternalFailureException", "The message could not be stored.")
        self._metrics.count("PublishIn.Success", "HTTP")
        if retain:
            self._metrics.count("PublishRetained.Success", "HTTP")
        return {"message": "OK"}

    def get_retained_message(self, *, topic: str) -> Members:
        """Return the message that is retained for a topic."""
        stored = self._retained.find(topic)
        if stored is None or stored.message.with_remaining_expiry(self._broker.clock()) is None:
            raise _not_found(f"No retained message is stored for the topic '{topic}'.")
        message = stored.message
        pairs = [{name: text} for name, text in message.properties.get("user_properties", ())]
        return {
            "topic": topic,
            "payload": message.payload,
            "qos": message.qos,
            "lastModifiedTime": _milliseconds(stored.modified),
            "userProperties": json.dumps(pairs).encode() if pairs else None,
        }

    def list_retained_messages(
        self, *, nextToken: str | None = None, maxResults: int = RETAINED_PAGE
    ) -> Members:
        """Return the topics that have a retained message, a page at a time."""
        summaries, token = self._retained.page(Page(maxResults, nextToken), self._broker.clock())
        topics = [
            {
                "topic": summary.topic,
                "payloadSize": summary.size,
                "qos": summary.qos,
                "lastModifiedTime": _milliseconds(summary.modified),
            }
            for summary in summaries
        ]
        return {"retainedTopics": topics, "nextToken": token}

    # --- connections --------------------------------------------------------------------------

    def get_connection(self, *, clientId: str, includeSocketInformation: bool = False) -> Members:
        """Return the current connection of a client, or its last one."""
        broker = self._broker
        found = broker.connectivity.get(clientId)
        session = broker.get_session(clientId)
        ended = found.disconnected_at if found else None
        if found is None or (ended and broker.clock() - ended > CONNECTION_INFO_TTL):
            if session is None:
                raise _no_client(clientId)
            expiry = {"cleanSession": session.expiry == 0, "sessionExpiry": session.expiry}
            return {"clientId": clientId, "connected": False, **expiry}
        response: Members = {
            "clientId": clientId,
            "connected": found.connected,
            "cleanSession": found.clean_session,
            "sessionExpiry": found.session_expiry,
            "keepAliveDuration": found.keep_alive,
        }
        connection = broker.connections.get(clientId)
        if connection is not None:
            response["thingName"] = connection.subject.thing
            response["connectedSince"] = _milliseconds(found.since)
        else:
            response["disconnectedSince"] = _milliseconds(ended or 0.0)
            response["disconnectReason"] = found.disconnect_reason
        if includeSocketInformation:
            response["sourceIp"], response["sourcePort"] = found.source_ip, found.source_port
            response["targetIp"], response["targetPort"] = found.target_ip, found.target_port
        return response

    def list_subscriptions(
        self, *, clientId: str, nextToken: str | None = None, maxResults: int = 20
    ) -> Members:
        """Return the subscriptions of a client, connected or with a persistent session."""
        subscriptions = self._broker.list_subscriptions(clientId)
        if subscriptions is None:
            raise _no_client(clientId)
        subscribed = sorted(subscriptions, key=lambda each: each.filter)
        if nextToken is not None:
            after = decode_token(nextToken)
            subscribed = [each for each in subscribed if each.filter > after]
        shown = subscribed[:maxResults]
        return {
            "subscriptions": [{"topicFilter": each.filter, "qos": each.qos} for each in shown],
            "nextToken": encode_token(shown[-1].filter) if len(subscribed) > len(shown) else None,
        }

    def delete_connection(
        self, *, clientId: str, cleanSession: bool = False, preventWillMessage: bool = False
    ) -> None:
        """Disconnect a client."""
        if not self._broker.disconnect(clientId, cleanSession, preventWillMessage):
            raise _no_client(clientId)

    async def send_direct_message(
        self,
        *,
        clientId: str,
        topic: str,
        payload: bytes = b"",
        confirmation: bool = False,
        timeout: int = 5,
        **mqtt5: Any,
    ) -> Members:
        """Send a message to one client; with `confirmation`, wait for its acknowledgment."""
        if confirmation and not 1 <= timeout <= MAX_CONFIRMATION_TIMEOUT:
            raise ServiceError(
                "InvalidRequestException",
                f"'timeout' must be from 1 to {MAX_CONFIRMATION_TIMEOUT} seconds, not {timeout}.",
            )
        properties = _checked(topic, payload, mqtt5)
        if clientId not in self._broker.connections:
            raise _no_client(clientId)
        confirmed = asyncio.Event()
        on_confirmed = confirmed.set if confirmation else None
        if not self._broker.send_direct(clientId, topic, payload, properties, on_confirmed):
            raise ServiceError(
                "ForbiddenException",
                f"The policies of the client '{clientId}' do not allow it to receive messages on "
                f"the topic '{topic}' (iot:Receive).",
            )
        if confirmation:
            try:
                await asyncio.wait_for(confirmed.wait(), timeout)
            except TimeoutError:
                raise ServiceError(
                    "GatewayTimeoutException",
                    f"The client '{clientId}' did not acknowledge the message within {timeout} s.",
                ) from None
        return {"message": "OK"}


def _checked(
    topic: str, payload: bytes, mqtt5: dict[str, Any], *, retain: bool = False
) -> dict[str, Any]:
    """Return the MQTT 5 properties of a message; raise `ServiceError` if it is invalid."""
    try:
        check_topic(topic, retain=retain)
    except InvalidTopic as error:
        raise ServiceError("InvalidRequestException", str(error)) from None
    if len(payload) > MAX_PAYLOAD:
        message = f"The payload has {len(payload)} bytes, and at most {MAX_PAYLOAD} are allowed."
        raise ServiceError("RequestEntityTooLargeException", message)
    return message_properties(topic, mqtt5)


def _not_found(message: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", message)


def _no_client(client_id: str) -> ServiceError:
    return _not_found(f"There is no client with the id '{client_id}'.")


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
