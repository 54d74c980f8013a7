"""Functions of the message: its topic, sender and MQTT 5 properties."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable

from creeklab.cloud.rules.sql.functions.function import Function, MessageContext
from creeklab.cloud.rules.sql.values import UNDEFINED, Value, to_floor

_FORMATS = {0: "UNSPECIFIED_BYTES", 1: "UTF8_DATA"}


def _topic(message: MessageContext, _version: str, number: Value = None) -> Value:
    if number is None:
        return message.topic
    levels, position = message.topic.split("/"), to_floor(number)
    if position is UNDEFINED or not 1 <= position <= len(levels):
        return UNDEFINED
    return levels[position - 1]


def _mqtt_property(message: MessageContext, _version: str, name: Value) -> Value:
    properties = message.properties
    if name == "format_indicator":
        return _FORMATS.get(properties.get("payload_format_indicator", -1), UNDEFINED)
    if name == "correlation_data" and name in properties:
        return base64.b64encode(properties[name]).decode()
    if name in ("content_type", "response_topic"):
        return properties.get(name, UNDEFINED)
    return UNDEFINED


def _user_properties(message: MessageContext, _version: str, key: Value = None) -> Value:
    pairs = message.properties.get("user_properties", ())
    if key is None:
        found: list[Value] = [{name: value} for name, value in pairs]
    else:
        found = [value for name, value in pairs if name == key]
    return found or UNDEFINED


def _of(read: Callable[[MessageContext], Value], *, needs_2016: bool = False) -> Function:
    """Return a function without arguments; an empty text is Undefined."""
    return Function(
        lambda message, _version: read(message) or UNDEFINED, 0, 0, needs_2016, needs_message=True
    )


FUNCTIONS = {
    "topic": Function(_topic, 0, 1, needs_message=True),
    "timestamp": Function(lambda message, _version: message.time, 0, 0, needs_message=True),
    "clientid": _of(lambda message: message.client_id or "n/a"),
    "principal": _of(lambda message: message.principal),
    "accountid": _of(lambda message: message.account),
    "traceid": _of(lambda message: message.client_id and message.trace_id),
    "sourceip": _of(lambda message: message.source_ip, needs_2016=True),
    "sql_version": Function(lambda _message, version: version, 0, 0, needs_message=True),
    "newuuid": Function(lambda: str(uuid.uuid4()), 0, 0),
    "get_mqtt_property": Function(_mqtt_property, 1, 1, needs_2016=True, needs_message=True),
    "get_user_properties": Function(_user_properties, 0, 1, needs_2016=True, needs_message=True),
}
