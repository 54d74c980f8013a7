"""The operations of the service ``iot-data``: publish, and the shadows over REST."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.fields import ProtocolError
from creeklab.cloud.mqtt.packets import Decoder, Publish, encode
from creeklab.cloud.mqtt.topics import MAX_PAYLOAD, InvalidTopic, check_topic
from creeklab.cloud.shadow import Rejected
from creeklab.cloud.shadow_service import ShadowService

EXCEPTIONS = {
    400: "InvalidRequestException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    413: "RequestEntityTooLargeException",
    415: "UnsupportedDocumentEncodingException",
}


class IotData:
    """One method for each operation, called with the members of its request.

    The caller is the account, whose rights are not limited by the policies of devices.
    """

    def __init__(self, broker: Broker, shadows: ShadowService) -> None:
        self._broker = broker
        self._shadows = shadows

    def publish(
        self,
        *,
        topic: str,
        qos: int = 0,
        retain: bool = False,
        payload: bytes = b"",
        **mqtt5: Any,
    ) -> None:
        """Publish a message to a topic."""
        try:
            check_topic(topic, retain=retain)
        except InvalidTopic as error:
            raise ServiceError("InvalidRequestException", str(error)) from None
        if len(payload) > MAX_PAYLOAD:
            message = f"The payload has {len(payload)} bytes; {MAX_PAYLOAD} are the most."
            raise ServiceError("RequestEntityTooLargeException", message)
        properties = _properties(mqtt5)
        try:
            # What MQTT forbids must not go out to subscribers, so it is read as they would.
            data = encode(Publish(topic, b"", properties=properties), 5)
            list(Decoder(version=5).feed(data))
        except (ValueError, OverflowError, ProtocolError) as error:
            raise ServiceError("InvalidRequestException", str(error)) from None
        self._broker.publish(topic, payload, min(qos, 1), retain, properties)

    def get_thing_shadow(self, *, thingName: str, shadowName: str = "") -> dict[str, Any]:
        """Return a shadow's document."""
        with _refusals():
            return _body(self._shadows.get(thingName, shadowName))

    def update_thing_shadow(
        self, *, thingName: str, payload: bytes, shadowName: str = ""
    ) -> dict[str, Any]:
        """Update a shadow."""
        with _refusals():
            return _body(self._shadows.update(thingName, shadowName, payload))

    def delete_thing_shadow(self, *, thingName: str, shadowName: str = "") -> dict[str, Any]:
        """Delete a shadow."""
        with _refusals():
            return _body(self._shadows.delete(thingName, shadowName))

    def list_named_shadows_for_thing(
        self, *, thingName: str, nextToken: str = "", pageSize: int = 25
    ) -> dict[str, Any]:
        """Return the names of a Thing's named shadows, a page at a time."""
        after = _after(nextToken)
        names = self._shadows.named(thingName, after, pageSize + 1)
        answer: dict[str, Any] = {
            "results": names[:pageSize],
            "timestamp": int(self._broker.clock()),
        }
        if len(names) > pageSize:
            answer["nextToken"] = base64.urlsafe_b64encode(names[pageSize - 1].encode()).decode()
        return answer


def _after(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise ServiceError("InvalidRequestException", "Invalid nextToken") from None


def _body(document: dict[str, Any]) -> dict[str, Any]:
    return {"payload": json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()}


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn a rejection by the shadow service into the exception that its REST API has for it."""
    try:
        yield
    except Rejected as rejected:
        raise ServiceError(EXCEPTIONS[rejected.code], rejected.message) from None


def _properties(mqtt5: dict[str, Any]) -> dict[str, Any]:
    """Translate the MQTT 5 members of a Publish call to MQTT 5 properties."""
    properties: dict[str, Any] = {}
    if "contentType" in mqtt5:
        properties["content_type"] = mqtt5["contentType"]
    if "responseTopic" in mqtt5:
        properties["response_topic"] = mqtt5["responseTopic"]
    if "messageExpiry" in mqtt5:
        properties["message_expiry_interval"] = mqtt5["messageExpiry"]
    if "payloadFormatIndicator" in mqtt5:
        utf8 = mqtt5["payloadFormatIndicator"] == "UTF8_DATA"
        properties["payload_format_indicator"] = int(utf8)
    try:
        if "correlationData" in mqtt5:
            properties["correlation_data"] = base64.b64decode(
                mqtt5["correlationData"], validate=True
            )
        if "userProperties" in mqtt5:
            pairs = json.loads(mqtt5["userProperties"])
            properties["user_properties"] = [
                (str(name), str(value)) for pair in pairs for name, value in pair.items()
            ]
    except (ValueError, AttributeError, TypeError):
        message = (
            "correlationData is base64 text, and userProperties a JSON list of objects with one "
            "name and value each."
        )
        raise ServiceError("InvalidRequestException", message) from None
    return properties
