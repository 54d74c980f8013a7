"""Shared subscriptions: each message goes to one member of the group.

It is one of those that are connected, picked at random. If none is, the message waits with one
whose session is kept, until any member is back or a new one joins; and what a member has not
acknowledged when it leaves goes to the others (developer guide, "Shared subscriptions message
queuing"). A group is known by its filter, ``$share/<name>/<filter>``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from creeklab.cloud.mqtt.codec.packets import Subscription
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.session import Session

Members: TypeAlias = Sequence[tuple[Session, Subscription]]
"""Members of one group, each with its subscription."""


class Deliver(Protocol):
    """Delivers a message to a session, whether its client is connected or not."""

    def __call__(
        self, session: Session, message: OutboundMessage, qos: int, retain: bool, group: str
    ) -> None:
        """Deliver `message` at `qos`, as one of the shared subscription `group`."""


class SharedGroups:
    """The shared groups of one broker.

    Parameters
    ----------
    dropped
        Told of each message that did not find room with who was to get it.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        tree: SubscriptionTree[Session, Subscription],
        deliver: Deliver,
        dropped: Callable[[Session, OutboundMessage, OverflowError], None],
        clock: Callable[[], float],
    ) -> None:
        self._tree = tree
        self._deliver = deliver
        self._dropped = dropped
        self._clock = clock

    def deliver(self, members: Members, message: OutboundMessage) -> None:
        """Deliver a message to one of the members of a group."""
        connected = [member for member in members if member[0].ends_at is None]
        # Who has not kept up is passed over while another one has.
        ready = [member for member in connected if not member[0].waiting]
        choice = ready or connected or [each for each in members if each[1].qos and message.qos]
        if choice:
            session, option = random.choice(choice)
            self._deliver(session, message, min(option.qos, message.qos), False, option.filter)

    def reassign(self, session: Session, only_to_connected: bool = False) -> None:
        """Give what a session has not acknowledged to the other members of its groups."""
        if not session.shared:
            return
        heirs: dict[str, Members] = {}
        for group in set(session.shared.values()):
            heirs[group] = [
                member
                for member in self._tree.members(group)
                if member[0] is not session
                and not (only_to_connected and member[0].ends_at is not None)
            ]
        for entry, group in session.take_shared({group for group in heirs if heirs[group]}):
            message = entry[0]
            if message.with_remaining_expiry(self._clock()) is not None:
                self.deliver(heirs[group], message)
            session.forget(entry)

    def collect(self, session: Session, filters: Sequence[str]) -> None:
        """Give a session what waits of groups with members that are away."""
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
                        self._dropped(session, entry[0], error)
                    member.forget(entry)
