"""What a device tells of its connection and messages, to whoever keeps count of them."""

from __future__ import annotations


class DeviceObserver:
    """What a device tells of itself. This one keeps nothing; the ledger's counts."""

    def connected(self) -> None:
        """AWS has accepted a CONNECT."""

    def disconnected(self) -> None:
        """The connection has ended."""

    def subscribed(self) -> None:
        """A SUBSCRIBE is sent."""

    def publishes(self, topic: str, size: int) -> None:
        """A message with a payload of `size` bytes is about to be sent."""

    def retained(self, topic: str, *, cleared: bool) -> None:
        """AWS has acknowledged a retained message, or an empty one that clears it."""

    def refused(self, who: str, action: str, resource: str) -> None:
        """AWS has refused what a policy decides on, as ``"iot:Publish"`` to a topic."""

    def received(self, topic: str, size: int, qos: int) -> None:
        """A message has arrived."""
