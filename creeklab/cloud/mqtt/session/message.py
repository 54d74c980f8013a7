"""A message on its way from the broker to its subscribers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from creeklab.cloud.monitoring.event_log import PeerIdentity
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.packets import Will
from creeklab.cloud.mqtt.codec.wire import Properties

MESSAGE_OVERHEAD = 500  # what a message takes in memory beside payload and properties, about


@dataclass(slots=True)
class OutboundMessage:
    """A message on its way from the broker, encoded once for all who get it in the same form.

    Attributes
    ----------
    expires_at
        When it is no longer worth sending, in seconds since the epoch; None means never.
    confirmed
        Called when the client acknowledges it. A message that has it is sent to one client over
        one connection, and not again over another.
    receivers
        Peers that it was sent to, for the event log; None if it is not in the log yet.
    number, holders
        The keeper's number of it, 0 if it has none, and how many sessions are to get it still.
    """

    topic: str
    payload: bytes
    qos: int
    properties: Properties
    retain: bool = False
    expires_at: float | None = None
    confirmed: Callable[[], None] | None = None
    receivers: list[PeerIdentity] | None = None
    number: int = 0
    holders: int = 0
    _frames: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)

    def encode_frame(self, version: int, qos: int, retain: bool) -> tuple[bytes, bytes]:
        """Return the bytes before and after the packet id; at QoS 0 all of them, and none."""
        key = version << 2 | qos << 1 | retain
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = packets.encode_publish_around_id(
                self.topic, self.payload, self.properties, version, qos << 1 | retain
            )
        return frame

    def with_remaining_expiry(self, now: float) -> OutboundMessage | None:
        """Return the message as it is to be sent at `now`: with the time that it still has.

        Whole seconds, so that the last one is told as 0 (developer guide, "Message expiry"); never
        more than it had in the beginning, though the clock be set back.
        """
        if self.expires_at is None:
            return self
        left = self.expires_at - now
        if left <= 0:
            return None
        left = min(int(left), self.properties["message_expiry_interval"])
        properties = {**self.properties, "message_expiry_interval": left}
        return OutboundMessage(
            self.topic, self.payload, self.qos, properties, self.retain, self.expires_at
        )


def estimated_size(message: OutboundMessage | Will) -> int:
    """Return what a message that waits takes in memory, in bytes, about."""
    properties = len(repr(message.properties)) if message.properties else 0
    return len(message.payload) + properties + MESSAGE_OVERHEAD
