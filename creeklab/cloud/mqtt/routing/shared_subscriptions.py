"""Shared subscriptions: each message goes to one member of the group.

The member is one of the connected ones, picked at random. If none is connected, the message waits
with one that has a persistent session, until any member connects or a new one joins. Messages that
a member has not acknowledged when it disconnects go to the others (developer guide, "Shared
subscriptions message queuing"). A group is identified by its filter, ``$share/<name>/<filter>``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from creeklab.cloud.mqtt.codec.packets import Subscription
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.session import Session

Members: TypeAlias = Sequence[tuple[Session, Subscription]]
"""Members of one group, each with its subscription."""


Deliver: TypeAlias = Callable[[Session, OutboundMessage, int, bool, str], None]
"""Delivers a message to a session, connected or not: QoS, retain, filter of the group."""


class SharedGroups:
    """The shared groups of one broker.

    Parameters
    ----------
    on_drop
        Called with each message that is dropped because too many wait.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        tree: SubscriptionTree[Session, Subscription],
        deliver: Deliver,
        on_drop: Callable[[Session, OutboundMessage, OverflowError], None],
        clock: Callable[[], float],
    ) -> None:
        self._tree = tree
        self._deliver = deliver
        self._on_drop = on_drop
        self._clock = clock

    def deliver(self, members: Members, message: OutboundMessage) -> None:
        """Deliver a message to one of the members of a group."""
        connected = [member for member in members if member[0].ends_at is None]
        # Skip members with waiting messages while another one keeps up.
        ready = [member for member in connected if not member[0].waiting]
        choice = ready or connected or [each for each in members if each[1].qos and message.qos]
        if choice:
            session, option = random.choice(choice)
            self._deliver(session, message, min(option.qos, message.qos), False, option.filter)

    def reassign(self, session: Session, only_to_connected: bool = False) -> None:
        """Move unacknowledged messages of a session to the other members of its groups."""
        if not session.shared:
            return
        others: dict[str, Members] = {}
        for group in set(session.shared.values()):
            others[group] = [
                member
                for member in self._tree.members(group)
                if member[0] is not session
                and not (only_to_connected and member[0].ends_at is not None)
            ]
        for entry, group in session.take_shared({group for group in others if others[group]}):
            message = entry[0]
            if message.with_remaining_expiry(self._clock()) is not None:
                self.deliver(others[group], message)
            session.forget(entry)

    def collect(self, session: Session, filters: Sequence[str]) -> None:
        """Move messages that wait with disconnected members of its groups to a session."""
        for group in filters:
            if not (group.startswith("$share/") and session.subscriptions[group].qos):
                continue
            for member, _ in self._tree.members(group):
                if member is session or member.ends_at is None:
                    continue
                for entry, _ in member.take_shared({group}):
                    try:
                        session.queue(entry[0], entry[1], group)
                    except OverflowError as error:
                        self._on_drop(session, entry[0], error)
                    member.forget(entry)
