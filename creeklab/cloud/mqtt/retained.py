"""Retained messages, one a topic, kept in SQLite."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from creeklab.cloud.mqtt.fields import Properties
from creeklab.cloud.mqtt.session import Message
from creeklab.cloud.store import Page, Store


@dataclass(frozen=True, slots=True)
class Kept:
    """A retained message and when it came, in seconds since the epoch."""

    message: Message
    modified: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list tells of a retained message: size of its payload in bytes, when it came."""

    topic: str
    size: int
    qos: int
    modified: float


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
        kept = self.find(topic)
        return None if kept is None else kept.message

    def find(self, topic: str) -> Kept | None:
        """Return what is kept for exactly this topic, expired or not."""
        row = self._store.execute(
            "SELECT payload, qos, properties, modified FROM retained WHERE topic = ?", (topic,)
        ).fetchone()
        if row is None:
            return None
        payload, qos, text, modified = row
        kept = json.loads(text, object_hook=_decode_bytes)
        properties: Properties = kept["properties"]
        if "user_properties" in properties:
            properties["user_properties"] = [tuple(pair) for pair in properties["user_properties"]]
        return Kept(Message(topic, payload, qos, properties, True, kept["expires_at"]), modified)

    def page(self, page: Page, now: float) -> tuple[list[Summary], str | None]:
        """Return a part of the list of what is kept, in the order of topics, and its token.

        What has expired is left out, so a page may be shorter than it was asked to be.

        Raises
        ------
        ServiceError
            ``InvalidRequestException`` if the page's token is not one of this list.
        """
        rows, token = self._store.page(
            "SELECT topic, length(payload) AS size, qos, modified, "
            "json_extract(properties, '$.expires_at') AS expires_at FROM retained",
            "topic",
            page,
        )
        return [
            Summary(topic, size, qos, modified)
            for topic, size, qos, modified, expires_at in rows
            if expires_at is None or expires_at > now
        ], token


def _encode_bytes(value: Any) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _decode_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if set(value) == {"base64"} else value
