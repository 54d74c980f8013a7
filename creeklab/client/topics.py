"""Topics and topic filters from a client's point of view: matching, mistakes, shadow topics."""

from __future__ import annotations

import re

SHADOW_OPERATIONS = ("get", "update", "delete")

_SHADOW_TOPIC = re.compile(r"\$aws/things/([^/]+)/shadow/(?:name/([^/]+)/)?(.+)")


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


def parse_shadow_topic(topic: str) -> tuple[str, str, str] | None:
    """Return Thing, shadow name (``""`` for the classic shadow) and the rest of a shadow topic.

    The rest is, for instance, ``get`` or ``update/accepted``. None if it is not a shadow topic.
    """
    match = _SHADOW_TOPIC.fullmatch(topic)
    return None if match is None else (match[1], match[2] or "", match[3])


def shadow_request(topic: str) -> tuple[str, str, str] | None:
    """Return Thing, shadow name and operation of a request to a shadow; None for other topics."""
    parsed = parse_shadow_topic(topic)
    return parsed if parsed is not None and parsed[2] in SHADOW_OPERATIONS else None


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
