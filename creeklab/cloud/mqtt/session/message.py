"""Messages from the broker to its subscribers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from creeklab.cloud.monitoring.event_log import PeerIdentity
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.packets import Will
from creeklab.cloud.mqtt.codec.wire import Properties

MESSAGE_OVERHEAD = 500  # approximate bytes of a message without payload and properties


@dataclass(slots=True)
class OutboundMessage:
    """A message from the broker, encoded once for all subscribers with the same version and QoS.

    Attributes
    ----------
    expires_at
        When it expires, in seconds since the epoch; None for never.
    confirmed
        Called when the client acknowledges it. Such a message is sent to one client over one
        connection, and never again over another.
    receivers
        Peers that it was sent to, for its entry in the event log; None if a delivery gets an entry
        of its own.
    number, holders
        Its number in the session store, 0 if it is not stored, and how many sessions still have to
        deliver it.
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
        """Return the bytes before and after the packet id; at QoS 0, all bytes and no bytes."""
        key = version << 2 | qos << 1 | retain
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = packets.encode_publish_around_id(
                self.topic, self.payload, self.properties, version, qos << 1 | retain
            )
        return frame

    def with_remaining_expiry(self, now: float) -> OutboundMessage | None:
        """Return the message with its remaining expiry interval at `now`; None if it has expired.

        The interval is in whole seconds, so the last second is 0 (developer guide, "Message
        expiry"). It never exceeds the original, even if the clock was set back.
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
    """Return the approximate memory of a waiting message, in bytes."""
    properties = len(repr(message.properties)) if message.properties else 0
    return len(message.payload) + properties + MESSAGE_OVERHEAD
