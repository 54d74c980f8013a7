"""When unacknowledged messages are sent again."""

from __future__ import annotations

from creeklab.cloud.mqtt.codec.packets import Puback, Publish
from creeklab.cloud.mqtt.connection.resend import MAX_AGE, Resends
from tests.cloud.broker_fixture import BrokerFixture, subscribe


def test_after_the_time_and_for_an_hour() -> None:
    resends = Resends(30)
    assert resends.due([1], 0.0) == []
    assert resends.due([1, 2], 29.0) == []
    assert resends.due([1, 2], 30.0) == [1]
    assert resends.due([1, 2], 31.0) == []
    assert resends.due([1, 2], 60.0) == [1, 2]
    assert resends.due([2], MAX_AGE + 29.0) == [2]
    assert resends.due([2], MAX_AGE + 60.0) == []


def test_an_acknowledged_message_starts_again() -> None:
    resends = Resends(30)
    resends.due([1], 0.0)
    resends.due([], 20.0)
    assert resends.due([1], 30.0) == []


def silent_client(version: int, **settings: int) -> tuple[BrokerFixture, list[Publish]]:
    fixture = BrokerFixture(**settings)
    client = fixture.connected("a", version, keep_alive=1200)
    client.send(subscribe("news"))
    for payload in (b"1", b"2"):
        fixture.broker.publish("news", payload, 1)
    first, second = client.receive()
    client.send(Puback(first.packet_id))
    sent = []
    for _ in range(60):
        fixture.clock.now += 1
        fixture.broker.tick()
        sent += [each for each in client.receive() if isinstance(each, Publish)]
    assert second.payload == b"2"
    return fixture, sent


def test_only_what_is_unacknowledged_is_sent_again() -> None:
    for version in (4, 5):
        _, sent = silent_client(version)
        assert [each.payload for each in sent] == [b"2"]
        assert not sent[0].dup
        assert sent[0].packet_id == 2


def test_the_standard_forbids_it() -> None:
    _, sent = silent_client(5, resend_seconds=0)
    assert sent == []
