"""Topics and topic filters from a client's point of view: matching, mistakes, shadow topics."""

from __future__ import annotations

import re

SHADOW_OPERATIONS = ("get", "update", "delete")
SHADOW_TOPIC = re.compile(
    r"\$aws/things/(?P<thing>[^/]+)/shadow/(?:name/(?P<name>[^/]+)/)?(?P<operation>.+)"
)
"""Every topic of a shadow. The operation includes the answer, as in ``update/accepted``."""


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether a topic filter, with or without ``$share/<name>/``, matches a topic.

    As on AWS, ``sensor/#`` does not match ``sensor`` itself (developer guide, "MQTT topics").
    """
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[2]
    filter_levels, levels = topic_filter.split("/"), topic.split("/")
    for position, level in enumerate(filter_levels):
        if level == "#":
            return len(levels) > position
        if position >= len(levels) or level not in ("+", levels[position]):
            return False
    return len(filter_levels) == len(levels)


def shadow_topic(thing: str, operation: str, name: str | None = None) -> str:
    """Return a topic of a named shadow, or of the classic shadow if there is no name."""
    return f"$aws/things/{thing}/shadow/{f'name/{name}/' if name else ''}{operation}"


def shadow_request(topic: str) -> tuple[str, str, str] | None:
    """Return the Thing, the shadow's name (``""`` for the classic one) and the operation.

    None if the topic is not one that a device sends shadow requests to.
    """
    found = SHADOW_TOPIC.fullmatch(topic)
    if found is None or found["operation"] not in SHADOW_OPERATIONS:
        return None
    return found["thing"], found["name"] or "", found["operation"]


def filter_fault(topic_filter: str) -> str | None:
    """Return why no MQTT client can subscribe to this topic filter; None if it is valid.

    The SDK rejects it too, but does not say why.
    """
    if not topic_filter:
        return "the topic filter is empty."
    levels = topic_filter.split("/")
    for position, level in enumerate(levels):
        if "#" in level and (level != "#" or position < len(levels) - 1):
            return "'#' must be the whole last level, as in creek/#."
        if "+" in level and level != "+":
            return "'+' must be a whole level, as in creek/+/depth."
    return None


def topic_fault(topic: str) -> str | None:
    """Return why no MQTT client can publish to this topic; None if it is valid."""
    if not topic:
        return "the topic is empty."
    if "#" in topic or "+" in topic:
        return (
            "the topic contains a wildcard, and '#' and '+' are only for subscribing. Publish to "
            "one topic, such as creek/depth."
        )
    return None
