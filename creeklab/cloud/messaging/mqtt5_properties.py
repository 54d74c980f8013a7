"""The MQTT 5 properties of a message that is published over HTTP.

The API has a member for each: text, numbers, base64 in headers. Subscribers must not receive
properties that MQTT forbids, so they are encoded into a packet and decoded as a subscriber would.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import Publish, encode
from creeklab.cloud.mqtt.codec.wire import ProtocolError

_UNCHANGED = {
    "contentType": "content_type",
    "responseTopic": "response_topic",
    "messageExpiry": "message_expiry_interval",
}


def message_properties(topic: str, mqtt5: dict[str, Any]) -> dict[str, Any]:
    """Translate the MQTT 5 members of Publish and SendDirectMessage to MQTT 5 properties.

    Raises
    ------
    ServiceError
        ``InvalidRequestException`` if a member is invalid, or MQTT does not allow it.
    """
    properties = _to_mqtt(mqtt5)
    try:
        data = encode(Publish(topic, b"", properties=properties), 5)
        [read] = Decoder(version=5).feed(data)
    except (ValueError, OverflowError, ProtocolError) as error:
        raise ServiceError("InvalidRequestException", str(error)) from None
    assert isinstance(read, Publish)
    return read.properties


def _to_mqtt(mqtt5: dict[str, Any]) -> dict[str, Any]:
    properties = {_UNCHANGED[name]: mqtt5[name] for name in _UNCHANGED if name in mqtt5}
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
    except (ValueError, AttributeError, TypeError, RecursionError):
        message = (
            "correlationData must be base64 text, and userProperties a JSON list of objects with "
            "one name and value each."
        )
        raise ServiceError("InvalidRequestException", message) from None
    return properties
