"""Topics and topic filters as a client sees them: which match, and what is wrong with one."""

from __future__ import annotations

import re

SHADOW_OPERATIONS = ("get", "update", "delete")

_SHADOW_TOPIC = re.compile(r"\$aws/things/([^/]+)/shadow/(?:name/([^/]+)/)?(.+)")


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a topic filter, with its ``$share/<name>/`` if it has one, matches a topic.

    As on AWS, ``sensor/#`` does not match ``sensor`` itself (developer guide, "MQTT topics").
    """
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[2]
    wanted, given = topic_filter.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return len(given) > position
        if position >= len(given) or level not in ("+", given[position]):
            return False
    return len(wanted) == len(given)


def shadow_topic(thing: str, verb: str, name: str | None = None) -> str:
    """Return the topic of a request to a shadow; without a name to the classic one."""
    return f"$aws/things/{thing}/shadow/{f'name/{name}/' if name else ''}{verb}"


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
    """Say what keeps any MQTT client from sending this as a topic filter; None if nothing does.

    The SDK does not send such a one, and says no more than that it is not valid.
    """
    if not topic_filter:
        return "the topic filter is empty."
    levels = topic_filter.split("/")
    for position, level in enumerate(levels):
        if "#" in level and (level != "#" or position < len(levels) - 1):
            return "'#' stands by itself and at the end, as in creek/#."
        if "+" in level and level != "+":
            return "'+' stands by itself between two slashes, as in creek/+/a."
    return None


def topic_fault(topic: str) -> str | None:
    """Say what keeps any MQTT client from publishing to this topic; None if nothing does."""
    if not topic:
        return "the topic is empty."
    if "#" in topic or "+" in topic:
        return (
            "the topic holds a wildcard; '#' and '+' are for subscribing. A message is published "
            "to one topic, such as creek/depth."
        )
    return None
