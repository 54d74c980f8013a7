"""Topic names, topic filters, and the tree that finds the subscribers of a topic.

The rules are MQTT's with AWS IoT Core's deviations (developer guide, "MQTT topics" and "How AWS
IoT differs from MQTT version specifications"):

- at most 256 bytes of UTF-8 and 8 levels, not counting ``$share/<name>/`` and the first three
  levels of ``$aws/rules/<rule>/``;
- ``sensor/#`` does not match ``sensor`` itself;
- a topic that begins with ``$`` is reserved, and must be one of AWS's (`reserved_topics.py`);
- public sources disagree on whether ``#`` matches ``$aws/...``, so it is a setting
  (`dollar_topics`). By default it does, except for lifecycle and registry events below
  ``$aws/events/``.

Overlapping subscriptions of one subscriber give one delivery at the highest QoS. One member of a
shared group, picked by the caller, receives the message.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

from creeklab.cloud.mqtt.routing import reserved_topics

MAX_PAYLOAD = 131_072
MAX_TOPIC_BYTES = 256
MAX_LEVELS = 8
MAX_SHARE_NAME = 128

S = TypeVar("S", bound=Hashable)
O = TypeVar("O")  # noqa: E741


class InvalidTopic(ValueError):
    """A topic name or filter that AWS IoT Core rejects; the message says why."""


@lru_cache(maxsize=4096)
def check_topic(topic: str, *, retain: bool = False) -> None:
    """Check a topic name to publish to.

    Raises
    ------
    InvalidTopic
        If it is empty, too long, too deep, contains a wildcard or U+0000, or is a reserved topic
        that AWS does not have, that is not for clients, or that cannot be retained.
    """
    if not topic:
        raise InvalidTopic("The topic is empty.")
    if "\0" in topic:
        raise InvalidTopic("The topic contains U+0000, which MQTT forbids.")
    if "+" in topic or "#" in topic:
        raise InvalidTopic(
            f"The topic '{topic}' contains a wildcard; wildcards are for subscriptions."
        )
    _check_size(topic, "topic")
    if topic.startswith("$"):
        fault = reserved_topics.publish_fault(topic)
        if fault is not None:
            raise InvalidTopic(fault)
        if retain:
            raise InvalidTopic("A message to a reserved topic cannot be retained.")


def check_filter(topic_filter: str) -> None:
    """Check a topic filter to subscribe to, with its ``$share/<name>/`` if it has one.

    Raises
    ------
    InvalidTopic
        If it is empty, too long, too deep, has a wildcard in the wrong place, or is for a reserved
        topic that AWS does not have.
    """
    share, inner = split_share(topic_filter)
    if topic_filter.startswith("$share/") and (
        not share or not inner or "+" in share or "#" in share or len(share) > MAX_SHARE_NAME
    ):
        raise InvalidTopic(f"'{topic_filter}' is not $share/<name>/<topic filter>.")
    if not inner:
        raise InvalidTopic("The topic filter is empty.")
    levels = inner.split("/")
    for position, level in enumerate(levels):
        if "#" in level and (level != "#" or position != len(levels) - 1):
            raise InvalidTopic(f"In '{inner}', the wildcard # must be the whole last level.")
        if "+" in level and level != "+":
            raise InvalidTopic(f"In '{inner}', the wildcard + must be a whole level.")
    _check_size(inner, "topic filter")
    if inner.startswith("$"):
        fault = reserved_topics.subscribe_fault(inner)
        if fault is not None:
            raise InvalidTopic(fault)


def _check_size(topic: str, what: str) -> None:
    if len(topic.encode()) > MAX_TOPIC_BYTES:
        raise InvalidTopic(f"The {what} is longer than {MAX_TOPIC_BYTES} bytes.")
    levels = topic.count("/") + 1
    allowed = MAX_LEVELS + 3 if topic.startswith("$aws/rules/") else MAX_LEVELS
    if levels > allowed:
        raise InvalidTopic(f"The {what} '{topic}' has {levels} levels; {allowed} are the most.")


def split_share(topic_filter: str) -> tuple[str, str]:
    """Split ``$share/<name>/<filter>`` into name and filter; the name is empty without a share."""
    if not topic_filter.startswith("$share/"):
        return "", topic_filter
    share, _, inner = topic_filter.removeprefix("$share/").partition("/")
    return share, inner


@dataclass(slots=True)
class _Node(Generic[S, O]):
    children: dict[str, _Node[S, O]] = field(default_factory=dict)
    direct: dict[S, O] = field(default_factory=dict)
    shared: dict[str, dict[S, O]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.children or self.direct or self.shared)


@dataclass(frozen=True, slots=True)
class Match(Generic[S, O]):
    """The subscribers of one topic with their options, and the members of its shared groups."""

    direct: tuple[tuple[S, tuple[O, ...]], ...]
    groups: tuple[tuple[tuple[S, O], ...], ...]


class SubscriptionTree(Generic[S, O]):
    """Subscriptions of subscribers `S`, each with options `O`, by the levels of their filter."""

    def __init__(self, dollar_topics: str = "aws") -> None:
        # Prefixes that a filter with a wildcard in its first level does not match.
        self._hidden = {"spec": ("$",), "aws": ("$aws/events/",), "all": ()}[dollar_topics]
        self._root: _Node[S, O] = _Node()

    def add(self, topic_filter: str, subscriber: S, options: O) -> None:
        """Add a subscription, or replace the options of an existing one."""
        share, inner = split_share(topic_filter)
        node = self._root
        for level in inner.split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        if share:
            node.shared.setdefault(share, {})[subscriber] = options
        else:
            node.direct[subscriber] = options

    def remove(self, topic_filter: str, subscriber: S) -> None:
        """Remove a subscription if it exists, and the branches that it leaves empty."""
        share, inner = split_share(topic_filter)
        path = self._path(inner)
        if not path:
            return
        node = path[-1]
        if share:
            group = node.shared.get(share, {})
            group.pop(subscriber, None)
            if not group:
                node.shared.pop(share, None)
        else:
            node.direct.pop(subscriber, None)
        for parent, level in reversed(list(zip(path, inner.split("/"), strict=False))):
            if not parent.children[level].empty:
                break
            del parent.children[level]

    def _path(self, inner: str) -> list[_Node[S, O]]:
        """Return the nodes of a filter, the root first; an empty list if it has none."""
        path = [self._root]
        for level in inner.split("/"):
            child = path[-1].children.get(level)
            if child is None:
                return []
            path.append(child)
        return path

    def members(self, topic_filter: str) -> tuple[tuple[S, O], ...]:
        """Return the members of the shared group of ``$share/<name>/<filter>``."""
        share, inner = split_share(topic_filter)
        path = self._path(inner)
        return tuple(path[-1].shared.get(share, {}).items()) if path else ()

    def match(self, topic: str) -> Match[S, O]:
        """Find the subscribers of a topic name."""
        levels = topic.split("/")
        found: list[_Node[S, O]] = []
        hidden = topic.startswith(self._hidden)
        branches = [self._root]
        for position, level in enumerate(levels):
            following = []
            for node in branches:
                children = node.children
                if (child := children.get(level)) is not None:
                    following.append(child)
                if hidden and position == 0:
                    continue
                if (child := children.get("+")) is not None:
                    following.append(child)
                if (child := children.get("#")) is not None:
                    found.append(child)
            branches = following
        found += branches
        direct: dict[S, list[O]] = {}
        groups: dict[tuple[str, int], tuple[tuple[S, O], ...]] = {}
        for node in found:
            for subscriber, options in node.direct.items():
                direct.setdefault(subscriber, []).append(options)
            for share, members in node.shared.items():
                groups[share, id(node)] = tuple(members.items())
        return Match(
            tuple((subscriber, tuple(options)) for subscriber, options in direct.items()),
            tuple(groups.values()),
        )
