"""The reserved topics of shadows: ``$aws/things/<thing>/shadow[/name/<name>]/...``."""

from __future__ import annotations

import re
import sqlite3

from creeklab.cloud.mqtt.interfaces import PublishedMessage
from creeklab.cloud.shadow import document
from creeklab.cloud.shadow.document import Rejected
from creeklab.cloud.shadow.shadows import Shadows

REQUEST_TOPIC = re.compile(
    r"\$aws/things/(?P<thing>[a-zA-Z0-9:_-]{1,128})/shadow"
    r"(?:/name/(?P<name>[$a-zA-Z0-9:_-]{1,64}))?/(?P<request>get|update|delete)"
)


class ShadowTopics:
    """Answers the messages on the topics of one account's shadows."""

    def __init__(self, shadows: Shadows) -> None:
        self._shadows = shadows

    def on_request(self, message: PublishedMessage, topic: re.Match[str]) -> None:
        """Answer a message on the ``get``, ``update`` or ``delete`` topic of a shadow.

        The Device Shadow service ignores wills (developer guide, "Device Shadow service
        communications for applications"); subscribers and rules receive them.
        """
        if message.source == "will":
            return
        shadows, payload, client_id = self._shadows, message.payload, message.client_id
        thing, name, request = topic["thing"], topic["name"] or "", topic["request"]
        try:
            if request == "update":
                shadows.update(thing, name, payload, client_id, "MQTT")
                return  # it has published its response
            if request == "get":
                response = shadows.get(thing, name, payload, "MQTT")
            else:
                response = shadows.delete(thing, name, payload, client_id, "MQTT")
        except Rejected as rejected:
            shadows.publish(message.topic + "/rejected", rejected.document(shadows.now()))
            shadows.log_rejection(thing, name, request, client_id, rejected)
        except sqlite3.Error:
            failure = document.failed(payload).document(shadows.now())
            shadows.publish(message.topic + "/rejected", failure)
            raise
        else:
            shadows.publish(message.topic + "/accepted", response)
