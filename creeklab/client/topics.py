"""Topics and topic filters as a client sees them: which match, and what is wrong with one."""

from __future__ import annotations

SHADOW_OPERATIONS = ("get", "update", "delete")


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


def shadow_request(topic: str) -> tuple[str, str, str] | None:
    """Return Thing, name (``""`` for the classic one) and verb of a request to a shadow.

    None if the topic is not one on which a device asks.
    """
    match topic.split("/"):
        case ["$aws", "things", thing, "shadow", verb] if verb in SHADOW_OPERATIONS:
            return thing, "", verb
        case ["$aws", "things", thing, "shadow", "name", name, verb] if verb in SHADOW_OPERATIONS:
            return thing, name, verb
    return None


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
