"""Which topics a topic filter matches, for a client that sorts what arrives into inboxes."""

from __future__ import annotations


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
