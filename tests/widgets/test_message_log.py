"""The message log: the newest messages of each subscription are kept, all are counted."""

from __future__ import annotations

import threading

import pytest

from creeklab.client.inbox import ReceivedMessage
from creeklab.widgets.message_log import BufferLimit, MessageLog, Subscription


def message(topic: str, payload: bytes = b"1") -> ReceivedMessage:
    return ReceivedMessage(topic, payload, 1, False)


class CountingLog(MessageLog):
    """A log with a clock that counts, and a count of changes."""

    def __init__(self, limit: BufferLimit | None = None) -> None:
        self.seconds = 0.0
        self.changes = 0
        super().__init__(self._changed, limit=limit or BufferLimit(100, 1_000), clock=self._tick)

    def _tick(self) -> float:
        self.seconds += 1
        return self.seconds

    def _changed(self) -> None:
        self.changes += 1

    def subscribe(self, topic_filter: str) -> Subscription:
        subscription = Subscription(topic_filter, 1, self)
        self.add(subscription)
        return subscription


def test_each_subscription_has_its_messages() -> None:
    log = CountingLog()
    depth, everything = log.subscribe("creek/depth"), log.subscribe("#")
    first, second = message("creek/depth"), message("other")
    depth.put(first)
    everything.put(first)
    everything.put(second)
    assert depth.messages == [first]
    assert everything.messages == [first, second]
    assert everything.topics == ["creek/depth", "other"]
    # A message has the same number and time in both subscriptions, and counts once.
    assert depth.logged[0] is everything.logged[0]
    assert [(each.number, each.time) for each in log.logged()] == [(1, 1.0), (2, 2.0)]
    assert log.count == 2
    assert log.tree.topics == ["creek/depth", "other"]


def test_messages_of_other_subscriptions_are_unread() -> None:
    log = CountingLog()
    depth, everything = log.subscribe("creek/depth"), log.subscribe("#")
    for each in (depth, everything, depth):
        each.put(message("creek/depth"))
    assert log.selected is everything  # the newest subscription
    assert (depth.unread, everything.unread) == (2, 0)
    log.select(depth)
    assert depth.unread == 0
    everything.put(message("other"))
    assert everything.unread == 1


def test_removing_the_selected_subscription_selects_the_newest_other() -> None:
    log = CountingLog()
    first, second, third = (log.subscribe(name) for name in ("a", "b", "c"))
    first.put(message("a"))
    log.remove("c")
    assert log.selected is second
    log.remove("b")
    assert log.selected is first
    assert first.unread == 0
    log.remove("a")
    assert log.selected is None
    assert log.subscriptions == []
    third.put(message("c"))  # a message that was in flight
    with pytest.raises(LookupError, match=r"^There is no subscription to 'c'\.$"):
        log.subscription("c")


@pytest.mark.parametrize(
    ("limit", "sent", "kept"),
    [
        (BufferLimit(3, 1_000), [b"x"] * 5, 3),
        (BufferLimit(100, 10), [b"xxxx"] * 5, 2),
        (BufferLimit(100, 10), [b"x" * 11], 0),  # larger than the limit
    ],
)
def test_the_oldest_messages_are_dropped_but_counted(
    limit: BufferLimit, sent: list[bytes], kept: int
) -> None:
    log = CountingLog(limit)
    inbox = log.subscribe("#")
    for number, payload in enumerate(sent):
        inbox.put(message(str(number), payload))
    assert inbox.count == len(sent)
    assert len(inbox) == kept
    assert inbox.topics == [str(number) for number in range(len(sent) - kept, len(sent))]


def test_clearing_discards_messages_and_restarts_the_count() -> None:
    log = CountingLog(BufferLimit(100, 10))
    inbox, other = log.subscribe("#"), log.subscribe("a")
    inbox.put(message("a", b"x" * 9))
    inbox.clear()
    assert (inbox.count, inbox.unread, len(inbox)) == (0, 0, 0)
    inbox.put(message("a", b"x" * 9))  # the limit counts from zero again
    assert len(inbox) == 1
    other.put(message("a"))
    log.clear()
    assert (log.count, other.count, inbox.count, len(log.tree)) == (0, 0, 0, 0)
    inbox.put(message("a"))
    assert inbox.logged[0].number == 4  # numbers are never reused


def test_waiting_is_bounded_and_counts_dropped_messages() -> None:
    log = CountingLog(BufferLimit(2, 1_000))
    inbox = log.subscribe("#")
    for number in range(5):
        inbox.put(message(str(number)))
    assert [each.topic for each in inbox.wait_for(5)] == ["3", "4"]
    with pytest.raises(TimeoutError, match=r"^Received 5 of 6 messages on '#' within 0\.05 s\.$"):
        inbox.wait_for(6, timeout=0.05)
    threading.Timer(0.02, inbox.put, [message("late")]).start()
    assert inbox.wait_for(6, timeout=30)[-1].topic == "late"


def test_every_change_is_reported() -> None:
    log = CountingLog()
    inbox = log.subscribe("#")
    before = log.changes
    inbox.put(message("a"))
    log.select(inbox)
    log.clear()
    log.remove("#")
    assert log.changes >= before + 4


def test_messages_from_one_thread_while_others_read_select_clear_and_remove() -> None:
    log = CountingLog(BufferLimit(50, 1_000_000))
    kept = log.subscribe("#")
    total = 20_000
    done = threading.Event()
    errors: list[BaseException] = []

    def arrive() -> None:
        for number in range(total):
            one = message(f"creek/{number % 300}", b"%d" % number)
            kept.put(one)
            for other in log.subscriptions:
                if other is not kept:
                    other.put(one)
        done.set()

    def disturb(name: str) -> None:
        try:
            while not done.is_set():
                mine = log.subscribe(name)
                log.select(kept)
                assert len(mine.logged) <= 50
                numbers = [each.number for each in log.logged()]
                assert numbers == sorted(set(numbers))
                with log.lock:
                    log.tree.rows(40)
                mine.clear()
                log.remove(name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=disturb, args=(f"filter-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    arrive()
    for thread in threads:
        thread.join()
    assert errors == []
    assert kept.count == log.count == total
    assert log.subscriptions == [kept]
    assert [int(each.payload) for each in kept.messages] == list(range(total - 50, total))
