"""What the broker keeps of a client: windows, packet ids, waiting messages, their expiry."""

import pytest

from creeklab.cloud.mqtt.session import session as session_module
from creeklab.cloud.mqtt.session.message import OutboundMessage
from creeklab.cloud.mqtt.session.session import Session


def message(number: int, expires_at: float | None = None) -> OutboundMessage:
    properties = {} if expires_at is None else {"message_expiry_interval": 60}
    return OutboundMessage(
        "creek/depth", str(number).encode(), 1, properties, expires_at=expires_at
    )


def test_packet_ids_count_up_skip_those_in_flight_and_wrap():
    session = Session("Test2", 5, "ab" * 32, receive_maximum=65535)
    session._last_id = 65533
    assert [session.enqueue_or_send(message(n), False) for n in range(3)] == [65534, 65535, 1]
    session._last_id = 65533
    assert session.enqueue_or_send(message(3), False) == 2


def test_beyond_the_window_messages_wait_and_follow_in_order():
    session = Session("Test2", 5, "ab" * 32, receive_maximum=2)
    assert [session.enqueue_or_send(message(n), False) for n in range(4)] == [1, 2, 0, 0]
    assert session.pop_next(0) is None
    assert session.acknowledge(1)
    packet_id, following, _ = session.pop_next(0)
    assert (packet_id, following.payload) == (3, b"2")
    # A new message does not overtake those that wait.
    session.acknowledge(2)
    session.acknowledge(3)
    assert session.enqueue_or_send(message(9), False) == 0
    assert [session.pop_next(0)[1].payload for _ in range(2)] == [b"3", b"9"]


def test_acknowledging_twice_returns_none():
    session = Session("Test2", 5, "ab" * 32)
    session.enqueue_or_send(message(0), False)
    assert session.acknowledge(1)
    assert not session.acknowledge(1)


def test_after_a_disconnect_messages_in_flight_come_first():
    session = Session("Test2", 5, "ab" * 32)
    session.enqueue_or_send(message(0), False)
    session.enqueue_or_send(message(1), False)
    session.ends_at = 1000.0
    assert session.enqueue_or_send(message(2), False) == 0
    session.ends_at = None
    session.requeue_in_flight()
    assert [session.pop_next(0)[1].payload for _ in range(3)] == [b"0", b"1", b"2"]


def test_expired_messages_are_not_sent():
    session = Session("Test2", 5, "ab" * 32, ends_at=1000.0)
    session.enqueue_or_send(message(0, expires_at=110.0), False)
    session.enqueue_or_send(message(1, expires_at=160.0), False)
    session.ends_at = None
    _, following, _ = session.pop_next(120.0)
    assert following.payload == b"1"
    assert following.properties["message_expiry_interval"] == 40
    assert session.pop_next(120.0) is None


def test_the_queue_is_bounded(monkeypatch):
    monkeypatch.setattr(session_module, "MAX_WAITING", 2)
    session = Session("Test2", 5, "ab" * 32, ends_at=1000.0)
    session.enqueue_or_send(message(0), False)
    session.enqueue_or_send(message(1), False)
    with pytest.raises(OverflowError, match="2 messages already wait for 'Test2'"):
        session.enqueue_or_send(message(2), False)


def test_a_clock_that_was_set_back_extends_no_message():
    kept = message(1, expires_at=160.0)
    assert kept.with_remaining_expiry(-10_000.0).properties == {"message_expiry_interval": 60}
    assert kept.with_remaining_expiry(130.0).properties == {"message_expiry_interval": 30}


def test_properties_count_towards_the_backlog(monkeypatch):
    monkeypatch.setattr(session_module, "MAX_BACKLOG_BYTES", 10_000)
    session = Session("Test2", 5, "ab" * 32, ends_at=1000.0)
    session.enqueue_or_send(message(0), False)
    large = OutboundMessage("creek/depth", b"", 1, {"user_properties": [("name", "x" * 20_000)]})
    with pytest.raises(OverflowError, match="for all clients together"):
        session.enqueue_or_send(large, False)
    assert session.backlog.bytes < 1000
    session.close()
    assert session.backlog.bytes == 0
