"""The subscribers of each topic, cached.

A device publishes to the same few topics again and again, and its subscribers change only with a
subscription.
"""

from __future__ import annotations

from typing import NamedTuple

from creeklab.cloud.mqtt.codec.packets import Subscription
from creeklab.cloud.mqtt.routing.topic_tree import Match, SubscriptionTree
from creeklab.cloud.mqtt.session.session import Session

MAX_CACHED_TOPICS = 10_000


class Route(NamedTuple):
    """The subscribers of one topic.

    Several subscriptions of one session count as one, with the highest QoS. It has Retain As
    Published if one of them has it, and No Local if all of them have it.
    """

    direct: tuple[tuple[Session, int, bool, bool], ...]
    groups: tuple[tuple[tuple[Session, Subscription], ...], ...]

    @classmethod
    def of(cls, match: Match[Session, Subscription]) -> Route:
        """Return the route to matching subscribers."""
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
    """The routes of one broker."""

    def __init__(self, tree: SubscriptionTree[Session, Subscription]) -> None:
        self._tree = tree
        self._routes: dict[str, Route] = {}

    def lookup(self, topic: str) -> Route:
        """Return the route of a topic."""
        route = self._routes.get(topic)
        if route is None:
            if len(self._routes) >= MAX_CACHED_TOPICS:
                self._routes.clear()
            route = self._routes[topic] = Route.of(self._tree.match(topic))
        return route

    def invalidate(self) -> None:
        """Drop all routes, because a subscription was added or removed."""
        self._routes.clear()
