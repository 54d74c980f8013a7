"""Retained messages, one a topic, kept in SQLite."""

from __future__ import annotations

import base64
import json
from typing import Any

from creeklab.cloud.mqtt.fields import Properties
from creeklab.cloud.mqtt.session import Message
from creeklab.cloud.store import Store


class RetainedMessages:
    """The retained messages of one account."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, message: Message, now: float) -> None:
        """Keep `message` for its topic; an empty payload removes what is there."""
        with self._store.transaction() as db:
            if not message.payload:
                db.execute("DELETE FROM retained WHERE topic = ?", (message.topic,))
                return
            properties = json.dumps(
                {"expires_at": message.expires_at, "properties": message.properties},
                default=_encode_bytes,
            )
            db.execute(
                "INSERT OR REPLACE INTO retained (topic, payload, qos, properties, modified) "
                "VALUES (?, ?, ?, ?, ?)",
                (message.topic, message.payload, message.qos, properties, now),
            )

    def get(self, topic: str) -> Message | None:
        """Return the message kept for exactly this topic."""
        row = self._store.execute(
            "SELECT payload, qos, properties FROM retained WHERE topic = ?", (topic,)
        ).fetchone()
        if row is None:
            return None
        payload, qos, text = row
        kept = json.loads(text, object_hook=_decode_bytes)
        properties: Properties = kept["properties"]
        if "user_properties" in properties:
            properties["user_properties"] = [tuple(pair) for pair in properties["user_properties"]]
        return Message(topic, payload, qos, properties, True, kept["expires_at"])


def _encode_bytes(value: Any) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _decode_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if set(value) == {"base64"} else value
