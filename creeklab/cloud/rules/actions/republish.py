"""The action ``republish``: publish the outgoing payload to another topic."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from creeklab.cloud.mqtt.routing.topic_tree import MAX_PAYLOAD, InvalidTopic, check_topic
from creeklab.cloud.rules.actions.action import (
    ActionFailed,
    InvalidAction,
    Members,
    Prepared,
    RuleContext,
    check_role,
)
from creeklab.cloud.rules.sql.evaluate import Scope

Publish = Callable[[str, bytes, int, dict[str, Any]], None]
"""Publishes topic, payload, QoS and MQTT 5 properties; raises `ActionFailed`."""

_FORMATS = {"UNSPECIFIED_BYTES": 0, "UTF8_DATA": 1}
_RESERVED = "$aws/"


class Republish:
    """Publishes to the topic of a template."""

    name = "RepublishAction"

    def __init__(self, publish: Publish, members: Members, rule: RuleContext) -> None:
        check_role(members["roleArn"])
        self._publish = publish
        self._topic = rule.template(members["topic"])
        self._qos: int = members.get("qos", 0)
        if self._qos not in (0, 1):
            raise InvalidAction(f"The qos of republish is 0 or 1, not {self._qos}.")
        headers = dict(members.get("headers", {}))
        pairs = headers.pop("userProperties", [])
        self._headers = {name: rule.template(text) for name, text in headers.items()}
        self._pairs = [(rule.template(each["key"]), rule.template(each["value"])) for each in pairs]
        if self._topic.is_constant:
            try:
                _real_topic(members["topic"])
            except ActionFailed as error:
                raise InvalidAction(str(error)) from None

    def prepare(self, scope: Scope, payload: bytes) -> Prepared:
        """Evaluate topic and headers."""
        text = self._topic.render(scope)

        async def run() -> None:
            if len(payload) > MAX_PAYLOAD:
                raise ActionFailed(
                    f"Failed to republish to topic. The payload has {len(payload)} bytes, and at "
                    f"most {MAX_PAYLOAD} are allowed."
                )
            self._publish(_real_topic(text), payload, self._qos, self._properties(scope))

        return Prepared(text, run)

    def _properties(self, scope: Scope) -> dict[str, Any]:
        texts = {name: header.render(scope) for name, header in self._headers.items()}
        try:
            properties: dict[str, Any] = {
                name: read(texts[header])
                for header, (name, read) in _PROPERTIES.items()
                if header in texts
            }
        except (KeyError, ValueError, binascii.Error) as error:
            raise ActionFailed(
                f"Failed to republish to topic. A header has an invalid value: {error}."
            ) from None
        if self._pairs:
            properties["user_properties"] = [
                (key.render(scope), value.render(scope)) for key, value in self._pairs
            ]
        return properties


def _real_topic(text: str) -> str:
    """Return the topic to publish to: ``$$aws/...`` stands for ``$aws/...``."""
    if text.startswith(_RESERVED):
        raise ActionFailed(
            f"Failed to republish to topic. '{text}' is a reserved topic, which needs a second $: "
            f"'${text}'."
        )
    topic = text[1:] if text.startswith("$" + _RESERVED) else text
    try:
        check_topic(topic)
    except InvalidTopic as error:
        raise ActionFailed(f"Failed to republish to topic. {error}") from None
    if topic.startswith("$aws/things/") and topic.split("/")[3:4] == ["jobs"]:
        raise ActionFailed(
            "Failed to republish to topic. A rule cannot republish to the topics of AWS IoT Jobs."
        )
    return topic


def _expiry(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"messageExpiry is a number of seconds, not '{text}'")
    return int(text)


def _format(text: str) -> int:
    if text not in _FORMATS:
        raise ValueError(f"payloadFormatIndicator is {' or '.join(_FORMATS)}, not '{text}'")
    return _FORMATS[text]


_PROPERTIES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "payloadFormatIndicator": ("payload_format_indicator", _format),
    "contentType": ("content_type", str),
    "responseTopic": ("response_topic", str),
    "correlationData": (
        "correlation_data",
        lambda text: base64.b64decode(text, validate=True),
    ),
    "messageExpiry": ("message_expiry_interval", _expiry),
}
