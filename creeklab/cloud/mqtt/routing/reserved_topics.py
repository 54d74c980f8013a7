"""Reserved topics: what a client may do with topics that begin with ``$``.

AWS IoT Core knows those below ``$aws/`` that its services use and closes the connection for any
other (developer guide, "Reserved topics"). Of the services this cloud has Device Shadows and the
lifecycle and registry events. Topics of the others are taken, so that a device which also talks to
Jobs or Device Defender works here too; but nobody answers on them, and the event_log says so.
"""

from __future__ import annotations

# Of $aws/things/<thing>/<...>: what a device publishes to.
_OF_A_THING = {
    "shadow": None,
    "jobs": "AWS IoT Jobs",
    "defender": "AWS IoT Device Defender",
    "streams": "MQTT-based file delivery",
}
_FLEET_PROVISIONING = {"certificates", "provisioning-templates"}
_WILDCARDS = {"+", "#"}
_TO_SUBSCRIBE = {"things", "events", *_FLEET_PROVISIONING, *_WILDCARDS}
_TO_SUBSCRIBE_OF_A_THING = {*_OF_A_THING, "tunnels", *_WILDCARDS}


def is_basic_ingest(topic: str) -> bool:
    """Tell whether a topic is ``$aws/rules/<rule>/...``: for that rule, and for no subscriber."""
    return topic.startswith("$aws/rules/")


def publish_fault(topic: str) -> str | None:
    """Say why a client may not publish to a topic that begins with ``$``; None if it may."""
    levels = topic.split("/")
    if levels[0] != "$aws":
        return _unknown(topic)
    kind, rest = levels[1] if len(levels) > 1 else "", levels[2:]
    if kind == "events":
        return f"'{topic}' is for AWS to publish to; clients subscribe to it."
    if (
        (kind == "rules" and rest and rest[0])
        or (kind == "things" and rest[1:2] and rest[1] in _OF_A_THING)
        or (kind in _FLEET_PROVISIONING and rest)
    ):
        return None
    return _unknown(topic)


def subscribe_fault(topic_filter: str) -> str | None:
    """Say why a client may not subscribe to a filter that begins with ``$``; None if it may."""
    levels = topic_filter.split("/")
    if levels[:2] == ["$aws", "rules"]:
        return (
            f"'{topic_filter}' is a topic of Basic Ingest: what is published there goes to a rule "
            "and to no subscriber."
        )
    if levels[0] != "$aws" or levels[1:2] == [] or levels[1] not in _TO_SUBSCRIBE:
        return _unknown(topic_filter)
    if levels[1] == "things" and not set(levels[3:4]) <= _TO_SUBSCRIBE_OF_A_THING:
        return _unknown(topic_filter)
    return None


def unanswered(topic: str) -> str | None:
    """Say which service, of those this cloud does not have, would take a message on AWS."""
    levels = topic.split("/")
    service = None
    if levels[1] == "things":
        service = _OF_A_THING.get(levels[3])
    elif levels[1] in _FLEET_PROVISIONING:
        service = "fleet provisioning"
    elif levels[1] == "rules":
        return f"There is no rule '{levels[2]}' here: the message went nowhere."
    return service and f"This cloud has no {service}: nobody answers the message."


def _unknown(topic: str) -> str:
    return (
        f"'{topic}' is not a reserved topic that AWS IoT Core has. It refuses a topic with $ that "
        "it does not know, and where MQTT has no word for that it closes the connection."
    )
