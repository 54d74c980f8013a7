"""What a function is, and what it can know about the message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from creeklab.cloud.rules.sql.values import UNDEFINED, Value


@dataclass(frozen=True, slots=True)
class MessageContext:
    """A message, as the functions and the statement see it.

    Attributes
    ----------
    topic
        For Basic Ingest, without ``$aws/rules/<rule>/``.
    client_id
        Client ID of the sender; empty if the message did not come over MQTT.
    principal, source_ip
        Certificate ID or unique ID of the user, and address; empty for AWS itself.
    trace_id
        UUID that the logs and the error action name.
    time
        In milliseconds since the epoch.
    properties
        Properties of MQTT 5.
    """

    topic: str
    payload: bytes
    client_id: str = ""
    principal: str = ""
    source_ip: str = ""
    account: str = ""
    trace_id: str = ""
    time: int = 0
    properties: Mapping[str, Any] = field(default_factory=dict)


class Function(NamedTuple):
    """A function.

    Attributes
    ----------
    call
        Receives the message first if `needs_message`, then the arguments.
    fewest, most
        Number of arguments.
    """

    call: Callable[..., Value]
    fewest: int
    most: int
    needs_2016: bool = False
    needs_message: bool = False

    def apply(self, message: MessageContext, version: str, arguments: list[Value]) -> Value:
        """Return the function's value; Undefined for a wrong number of arguments."""
        if not self.fewest <= len(arguments) <= self.most:
            return UNDEFINED
        if self.needs_message:
            return self.call(message, version, *arguments)
        return self.call(*arguments)
