"""Delivery: every message reaches its subscriptions, also those that come later."""

from __future__ import annotations

import pytest

from creeklab.client.delivery import MAX_WAITING, Acknowledge, Delivery
from creeklab.client.inbox import Inbox, ReceivedMessage


def message(topic: str, payload: bytes = b"") -> ReceivedMessage:
    return ReceivedMessage(topic, payload, 1, False)


class Acknowledged:
    """Records which messages are acknowledged late, and which are not at all."""

    def __init__(self) -> None:
        self.deferred: list[str] = []
        self.sent: list[str] = []

    def deliver(self, delivery: Delivery, topic: str) -> None:
        def defer() -> Acknowledge:
            self.deferred.append(topic)
            return lambda: self.sent.append(topic)

        delivery.deliver(message(topic), defer)


def test_a_message_waits_for_its_subscription() -> None:
    delivery, acknowledged = Delivery(keep_unmatched=True), Acknowledged()
    for topic in ("creek/a", "barn/a", "creek/b"):
        acknowledged.deliver(delivery, topic)
    assert acknowledged.deferred == ["creek/a", "barn/a", "creek/b"]
    assert acknowledged.sent == []
    inbox = Inbox("creek/#")
    delivery.add(inbox)
    acknowledged.deliver(delivery, "creek/c")
    assert inbox.topics == ["creek/a", "creek/b", "creek/c"]
    assert acknowledged.sent == ["creek/a", "creek/b"]
    assert [each.topic for each in delivery.waiting] == ["barn/a"]
    assert acknowledged.deferred[-1] == "creek/b"  # A matched message does not wait.


def test_a_message_that_arrives_meanwhile_does_not_overtake_waiting_ones() -> None:
    delivery, acknowledged = Delivery(keep_unmatched=True), Acknowledged()
    for topic in ("creek/a", "creek/b"):
        acknowledged.deliver(delivery, topic)
    topics: list[str] = []

    def call(received: ReceivedMessage) -> None:
        if not topics:
            acknowledged.deliver(delivery, "creek/c")
        topics.append(received.topic)

    delivery.add(Inbox("creek/#", callback=call))
    assert topics == ["creek/a", "creek/b", "creek/c"]
    assert acknowledged.sent == topics


def test_a_callback_that_fails_leaves_its_message_and_the_rest_waiting() -> None:
    delivery, acknowledged = Delivery(keep_unmatched=True), Acknowledged()
    for topic in ("creek/a", "creek/b", "creek/c"):
        acknowledged.deliver(delivery, topic)

    def call(received: ReceivedMessage) -> None:
        if received.topic == "creek/b":
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        delivery.add(Inbox("creek/#", callback=call))
    assert [each.topic for each in delivery.waiting] == ["creek/b", "creek/c"]
    assert acknowledged.sent == ["creek/a"]
    assert delivery.inboxes == []


def test_without_a_session_an_unmatched_message_is_dropped() -> None:
    delivery, acknowledged = Delivery(), Acknowledged()
    acknowledged.deliver(delivery, "creek/a")
    assert delivery.waiting == []
    assert acknowledged.deferred == []


def test_on_message_receives_what_no_subscription_matches() -> None:
    received: list[str] = []
    delivery = Delivery(lambda each: received.append(each.topic), keep_unmatched=True)
    inbox = Inbox("barn/#")
    delivery.add(inbox)
    for topic in ("creek/a", "barn/a"):
        delivery.deliver(message(topic))
    assert (received, inbox.topics, delivery.waiting) == (["creek/a"], ["barn/a"], [])


def test_the_waiting_messages_are_bounded() -> None:
    delivery, acknowledged = Delivery(keep_unmatched=True), Acknowledged()
    for number in range(MAX_WAITING - 1):
        acknowledged.deliver(delivery, f"creek/{number}")
    with pytest.warns(
        UserWarning, match="100 messages wait in this device, the first on 'creek/0'"
    ):
        acknowledged.deliver(delivery, "creek/last")
    delivery.deliver(message("creek/qos0"))
    assert len(delivery.waiting) == MAX_WAITING


def test_unsubscribing_acknowledges_the_waiting_messages() -> None:
    delivery, acknowledged = Delivery(keep_unmatched=True), Acknowledged()
    for topic in ("creek/a", "barn/a"):
        acknowledged.deliver(delivery, topic)
    delivery.remove("creek/#")
    assert acknowledged.sent == ["creek/a"]
    assert [each.topic for each in delivery.waiting] == ["barn/a"]
    delivery.forget_waiting()
    assert delivery.waiting == []
