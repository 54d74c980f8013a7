"""The events of a connection, for a tool that counts them."""

from __future__ import annotations


class DeviceObserver:
    """Receives the events of one device. This one ignores them; the ledger's counts them."""

    def connected(self) -> None:
        """AWS accepted a CONNECT."""

    def disconnected(self) -> None:
        """The connection ended."""

    def subscribed(self) -> None:
        """The device is sending a SUBSCRIBE."""

    def publishes(self, topic: str, size: int) -> None:
        """The device is sending a message with a payload of `size` bytes."""

    def retained(self, topic: str, *, cleared: bool) -> None:
        """AWS acknowledged a retained message, or an empty one that clears it."""

    def refused(self, who: str, action: str, resource: str) -> None:
        """AWS refused an action that policies decide on, such as ``"iot:Publish"`` to a topic."""

    def received(self, topic: str, size: int, qos: int) -> None:
        """A message arrived."""
