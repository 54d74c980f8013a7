"""Reserved topics: what a client is allowed to do with topics that begin with ``$``.

AWS IoT Core accepts the topics below ``$aws/`` that its services use, and closes the connection for
any other (developer guide, "Reserved topics"). This cloud has the Device Shadow service and the
lifecycle and registry events. It accepts the topics of the other services, so that a device that
also talks to Jobs or Device Defender works here, but nobody answers, and the event log says so.
"""

from __future__ import annotations

# Services of $aws/things/<thing>/<...> that a device publishes to; None for the one that exists.
_THING_SERVICES = {
    "shadow": None,
    "jobs": "AWS IoT Jobs",
    "defender": "AWS IoT Device Defender",
    "streams": "MQTT-based file delivery",
}
_FLEET_PROVISIONING = {"certificates", "provisioning-templates"}
_WILDCARDS = {"+", "#"}
_FILTERS = {"things", "events", *_FLEET_PROVISIONING, *_WILDCARDS}
_THING_FILTERS = {*_THING_SERVICES, "tunnels", *_WILDCARDS}


def is_basic_ingest(topic: str) -> bool:
    """Return whether a topic is ``$aws/rules/<rule>/...``, which only that rule receives."""
    return topic.startswith("$aws/rules/")


def publish_fault(topic: str) -> str | None:
    """Return why a client cannot publish to a topic that begins with ``$``; None if it can."""
    levels = topic.split("/")
    if levels[0] != "$aws":
        return _unknown(topic)
    kind, rest = levels[1] if len(levels) > 1 else "", levels[2:]
    if kind == "events":
        return f"'{topic}' is reserved for AWS to publish to; clients can subscribe to it."
    if (
        (kind == "rules" and rest and rest[0])
        or (kind == "things" and rest[1:2] and rest[1] in _THING_SERVICES)
        or (kind in _FLEET_PROVISIONING and rest)
    ):
        return None
    return _unknown(topic)


def subscribe_fault(topic_filter: str) -> str | None:
    """Return why a client cannot subscribe to a filter that begins with ``$``; None if it can."""
    levels = topic_filter.split("/")
    if levels[:2] == ["$aws", "rules"]:
        return (
            f"'{topic_filter}' is a Basic Ingest topic: its messages go to a rule and not to "
            "subscribers."
        )
    if levels[0] != "$aws" or levels[1:2] == [] or levels[1] not in _FILTERS:
        return _unknown(topic_filter)
    if levels[1] == "things" and not set(levels[3:4]) <= _THING_FILTERS:
        return _unknown(topic_filter)
    return None


def missing_service(topic: str) -> str | None:
    """Return which service, missing in this cloud, receives the message on AWS; None if none."""
    levels = topic.split("/")
    service = None
    if levels[1] == "things":
        service = _THING_SERVICES.get(levels[3])
    elif levels[1] in _FLEET_PROVISIONING:
        service = "fleet provisioning"
    elif levels[1] == "rules":
        return f"This cloud has no rule '{levels[2]}', so nothing received the message."
    return service and f"This cloud has no {service}, so there is no answer to the message."


def _unknown(topic: str) -> str:
    return (
        f"'{topic}' is not a reserved topic of AWS IoT Core, which rejects any other topic that "
        "begins with $. Where MQTT has no reason code for that, it closes the connection."
    )
