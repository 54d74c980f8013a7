"""A session: what the broker keeps of one client, connected or away.

Subscriptions, the QoS 1 messages sent and not yet acknowledged (in flight), and those that wait.
AWS IoT Core keeps a session up to its expiry interval after the client has gone, allows at most
100 messages in flight, and may give a message another packet id when it sends it again, without
the DUP flag (developer guide, "MQTT persistent sessions"). Sends nothing itself: its methods
answer with what is to be sent now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from creeklab.cloud.mqtt import packets
from creeklab.cloud.mqtt.fields import Properties
from creeklab.cloud.mqtt.packets import Publish, Subscription
from creeklab.cloud.tape import Party

MAX_IN_FLIGHT = 100
MAX_WAITING = 10_000


@dataclass(slots=True)
class Message:
    """A message on its way from the broker, encoded once for all who get it in the same form.

    Attributes
    ----------
    expires_at
        When it is no longer worth sending, in seconds since the epoch; None means never.
    confirmed
        Called when the client acknowledges it. A message that has it is sent to one client over
        one connection, and not again over another.
    receivers
        Everyone it is sent to at once is added here, for the tape; None for what is not on it yet.
    """

    topic: str
    payload: bytes
    qos: int
    properties: Properties
    retain: bool = False
    expires_at: float | None = None
    confirmed: Callable[[], None] | None = None
    receivers: list[Party] | None = None
    _frames: dict[tuple[int, int, bool], tuple[bytes, bytes]] = field(default_factory=dict)

    def frame(self, version: int, qos: int, retain: bool) -> tuple[bytes, bytes]:
        """Return the bytes before and after the packet id."""
        key = (version, qos, retain)
        frame = self._frames.get(key)
        if frame is None:
            publish = Publish(self.topic, self.payload, qos, retain, properties=self.properties)
            frame = packets.encode_publish_around_id(publish, version, qos)
            self._frames[key] = frame
        return frame

    def at(self, now: float) -> Message | None:
        """Return the message as it is to be sent at `now`: with the time that it still has."""
        if self.expires_at is None:
            return self
        left = self.expires_at - now
        if left <= 0:
            return None
        properties = {**self.properties, "message_expiry_interval": max(1, round(left))}
        return Message(self.topic, self.payload, self.qos, properties, self.retain, self.expires_at)


@dataclass(slots=True, eq=False)
class Session:
    """The state of one client id.

    Attributes
    ----------
    version
        4 for MQTT 3.1.1, 5 for MQTT 5; a session is not resumed by the other one.
    principal
        Whose it is: it is not resumed by another one, whose policies may not allow its
        subscriptions. What AWS does here is not public.
    expiry
        Seconds that it outlives its connection.
    ends_at
        When it ends, by the broker's timer; None while its client is connected.
    """

    client_id: str
    version: int
    principal: str
    expiry: int = 0
    ends_at: float | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    window: int = MAX_IN_FLIGHT
    in_flight: dict[int, tuple[Message, bool]] = field(default_factory=dict)
    waiting: deque[tuple[Message, bool]] = field(default_factory=deque)
    _last_id: int = 0

    def admit(self, message: Message, retain: bool) -> int:
        """Take a QoS 1 message; return its packet id, or 0 if it has to wait.

        Raises
        ------
        OverflowError
            If as many messages wait as the broker keeps for one client: this one is lost.
        """
        if self.ends_at is None and len(self.in_flight) < self.window and not self.waiting:
            return self._start(message, retain)
        if len(self.waiting) >= MAX_WAITING:
            raise OverflowError(f"{MAX_WAITING} messages wait for '{self.client_id}' already.")
        self.waiting.append((message, retain))
        return 0

    def acknowledge(self, packet_id: int) -> Message | None:
        """Take the client's acknowledgement; return the message, None if it was not awaited."""
        found = self.in_flight.pop(packet_id, None)
        return None if found is None else found[0]

    def next_waiting(self, now: float) -> tuple[int, Message, bool] | None:
        """Return the next message that may be sent now: packet id, message, retain flag."""
        while self.waiting and len(self.in_flight) < self.window:
            queued, retain = self.waiting.popleft()
            message = queued.at(now)
            if message is not None:
                return self._start(message, retain), message, retain
        return None

    def requeue_in_flight(self) -> None:
        """Put what was sent and not acknowledged back at the head of what waits."""
        self.waiting.extendleft(reversed(self.in_flight.values()))
        self.in_flight.clear()
        self.waiting = deque(each for each in self.waiting if each[0].confirmed is None)

    def _start(self, message: Message, retain: bool) -> int:
        packet_id = self._last_id
        while True:
            packet_id = packet_id % 65535 + 1
            if packet_id not in self.in_flight:
                break
        self._last_id = packet_id
        self.in_flight[packet_id] = (message, retain)
        return packet_id
