"""Who gets the messages on each topic, worked out once and remembered.

A device publishes to the same few topics again and again, and who gets its messages changes only
with a subscription.
"""

from __future__ import annotations

from typing import NamedTuple

from creeklab.cloud.mqtt.codec.packets import Subscription
from creeklab.cloud.mqtt.routing.topic_tree import Match, SubscriptionTree
from creeklab.cloud.mqtt.session.session import Session

MAX_CACHED_TOPICS = 10_000


class Route(NamedTuple):
    """Who gets the messages on one topic.

    Several subscriptions of one session count as one: with the highest QoS, retained as published
    if one of them wants it so, and not to the session itself if none of them does.
    """

    direct: tuple[tuple[Session, int, bool, bool], ...]
    groups: tuple[tuple[tuple[Session, Subscription], ...], ...]

    @classmethod
    def of(cls, match: Match[Session, Subscription]) -> Route:
        """Return the route to those whose subscriptions match."""
        direct = tuple(
            (
                session,
                max(option.qos for option in options),
                any(option.retain_as_published for option in options),
                all(option.no_local for option in options),
            )
            for session, options in match.direct
        )
        return cls(direct, match.groups)


class RouteCache:
    """The routes of one broker's topics."""

    def __init__(self, tree: SubscriptionTree[Session, Subscription]) -> None:
        self._tree = tree
        self._known: dict[str, Route] = {}

    def lookup(self, topic: str) -> Route:
        """Return who gets the messages on a topic."""
        route = self._known.get(topic)
        if route is None:
            if len(self._known) >= MAX_CACHED_TOPICS:
                self._known.clear()
            route = self._known[topic] = Route.of(self._tree.match(topic))
        return route

    def invalidate(self) -> None:
        """Work all of them out anew: a subscription was made or has ended."""
        self._known.clear()
