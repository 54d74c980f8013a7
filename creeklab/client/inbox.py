"""Received messages, and the inbox of a subscription, which a cell can wait for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from creeklab.client.shadow_report import reported_fields


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that arrived: topic, payload, and the flags and properties of MQTT.

    A property that the sender did not set is None. The expiry interval is in seconds; a payload
    format indicator of 1 means that the payload is text.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    user_properties: tuple[tuple[str, str], ...] = ()

    @property
    def json(self) -> Any:
        """The payload, parsed as JSON."""
        return json.loads(self.payload)

    def reported(self) -> tuple[str, dict[str, Any]] | None:
        """Return the Thing and the fields that it reported, if this answers a shadow update.

        A Recorder calls this. To record shadows with another MQTT client, pass its messages on as
        `ReceivedMessage`.

        Raises
        ------
        ValueError
            If the payload is not JSON.
        """
        return reported_fields(self.topic, self.payload)

    def __repr__(self) -> str:
        text = self.payload.decode(errors="backslashreplace")
        return f"{self.topic}  {text}"


class Inbox:
    """The messages that arrived for one subscription, oldest first.

    It can be read while messages arrive. With a callback, the callback gets the messages and the
    inbox stays empty.
    """

    def __init__(
        self,
        topic_filter: str,
        qos: int = 1,
        callback: Callable[[ReceivedMessage], object] | None = None,
    ) -> None:
        self.topic_filter = topic_filter
        self.qos = qos
        self.callback = callback
        self._messages: list[ReceivedMessage] = []
        self._arrived = threading.Condition()

    def put(self, message: ReceivedMessage) -> None:
        """Add a message."""
        if self.callback is not None:
            self.callback(message)
            return
        with self._arrived:
            self._messages.append(message)
            self._arrived.notify_all()

    @property
    def messages(self) -> list[ReceivedMessage]:
        """All messages received so far."""
        with self._arrived:
            return list(self._messages)

    @property
    def topics(self) -> list[str]:
        """The topics of all messages received so far, in order."""
        return [message.topic for message in self.messages]

    def wait_for(self, count: int, timeout: float = 5.0) -> list[ReceivedMessage]:
        """Wait for at least `count` messages, then return all of them.

        Raises
        ------
        TimeoutError
            If fewer arrive within `timeout` seconds.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._messages) >= count, timeout):
                raise TimeoutError(
                    f"Received {len(self._messages)} of {count} messages on "
                    f"'{self.topic_filter}' within {timeout:g} s. lab.why() may explain it."
                )
            return list(self._messages)

    def clear(self) -> None:
        """Forget the messages received so far."""
        with self._arrived:
            self._messages.clear()

    def __len__(self) -> int:
        with self._arrived:
            return len(self._messages)

    def __iter__(self) -> Iterator[ReceivedMessage]:
        return iter(self.messages)

    def __getitem__(self, position: int) -> ReceivedMessage:
        return self.messages[position]

    def __repr__(self) -> str:
        count = len(self)
        return f"Inbox of '{self.topic_filter}': {count} message{'' if count == 1 else 's'}"
