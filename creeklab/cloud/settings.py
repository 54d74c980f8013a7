"""Settings for the points about AWS IoT Core that public sources leave open, and for its limits.

Each default is what most sources report. ``python -m creeklab cloud start --set name=value``
changes a setting, to test a device against the other behavior.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one local cloud.

    Attributes
    ----------
    dollar_topics
        ``"aws"``: the filters ``#`` and ``+/...`` also match ``$aws/...``, as the console's test
        client shows it, but not ``$aws/events/...``, as users found; ``"all"``: those too;
        ``"spec"``: nothing that begins with ``$``, as MQTT-4.7.2-1 has it.
    connect_denied_311
        Response to a denied CONNECT of MQTT 3.1.1: ``"close"`` without a packet, or ``"connack5"``.
    subscribe_denied_311
        Response to a denied SUBSCRIBE of MQTT 3.1.1: ``"close"``, or ``"suback80"``.
    session_expiry_max
        Longest lifetime of a persistent session without its client, in seconds.
    sessions_max
        Persistent sessions per account, including those of connected clients.
    retained_max
        Topics with a retained message per account. AWS's current quota is not public.
    publish_rate
        Messages per second that one connection can publish; 0 means no limit. AWS's quota is 100.
    connect_rate
        CONNECTs per second and client ID; 0 means no limit. AWS's quota is 1.
    throughput
        Bytes per second that one connection can send and receive; 0 means no limit. AWS's quota is
        524288.
    stored_rate
        Messages per second that are delivered from a client's queue; 0 means no limit. AWS
        delivers 10.
    shadow_first_previous
        Value of ``previous`` in the ``documents`` message of a shadow's first update.
    shadow_first_version
        Response to an update with a version other than 1 for a shadow that does not exist: 400
        (``"invalid"``) or 409 (``"conflict"``).
    shadow_max_bytes
        Largest size of desired and reported state together; AWS raises it to 30720 on request.
    joins_per_minute
        Joins of a workshop per minute and IP address; 0 means no limit.
    resend_seconds
        Seconds after which a QoS 1 message without a PUBACK is sent again over the same connection,
        for up to an hour, as AWS does; 0 means only over a new connection, as MQTT 5 demands.
    idle_hours
        Hours without a connection or a call after which the cloud stops; 0 means never.
    """

    dollar_topics: Literal["aws", "all", "spec"] = "aws"
    connect_denied_311: Literal["close", "connack5"] = "close"
    subscribe_denied_311: Literal["close", "suback80"] = "close"
    session_expiry_max: int = 3600
    sessions_max: int = 5000
    retained_max: int = 5000
    publish_rate: int = 0
    connect_rate: int = 0
    throughput: int = 0
    stored_rate: int = 0
    shadow_first_previous: Literal["null", "empty"] = "null"
    shadow_first_version: Literal["invalid", "conflict"] = "invalid"
    shadow_max_bytes: int = 8192
    joins_per_minute: int = 60
    resend_seconds: int = 30
    idle_hours: float = 12.0


def parse_settings(assignments: Iterable[str]) -> Settings:
    """Return the defaults with ``name=value`` texts applied.

    Raises
    ------
    ValueError
        If a name is unknown, or a setting does not accept its value.
    """
    settings = Settings()
    hints = get_type_hints(Settings)
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign or name not in hints:
            known = ", ".join(field.name for field in fields(Settings))
            raise ValueError(f"'{assignment}' is not name=value with one of the settings {known}.")
        settings = replace(settings, **{name: _value(name, text, hints[name])})
    return settings


def _value(name: str, text: str, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            choices = " or ".join(get_args(hint))
            raise ValueError(f"The setting {name} takes {choices}, not '{text}'.")
        return text
    try:
        number: int | float = hint(text)
    except ValueError:
        raise ValueError(f"The setting {name} takes a number, not '{text}'.") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"The setting {name} takes a number of 0 or more, not '{text}'.")
    return number
