"""Rate limits, with a clock that the test moves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from creeklab import open_lab
from creeklab.client.device import RequestRefused
from creeklab.cloud import supervisor
from creeklab.cloud.mqtt.codec.packets import Connack, Puback, Publish
from creeklab.cloud.mqtt.rate_limits import Rate, Rates, Throughput
from creeklab.cloud.storage.database import Database
from tests.cloud.broker_fixture import BrokerFixture, connect, subscribe
from tests.conftest import make_thing
from tests.hardening.in_process_cloud import start_cloud


@pytest.mark.parametrize(
    ("asked_at", "taken"),
    [
        ([0, 0, 0, 0], [True, True, True, False]),  # a second's worth at once
        ([0, 0, 0, 0.3, 0.4, 0.4], [True, True, True, False, True, False]),
        ([0, 0, 0, 9, 9, 9, 9], [True, True, True, True, True, True, False]),  # and no more
        (
            [0, 0.4, 0.8, 1.2, 1.6, 2.0],
            [True] * 6,
        ),  # a client that keeps to the rate is never refused
    ],
)
def test_a_rate(asked_at: list[float], taken: list[bool]) -> None:
    rate = Rate(3, 0.0)
    assert [rate.try_acquire(now) for now in asked_at] == taken


def test_rates_forget_idle_clients() -> None:
    rates = Rates(1)
    assert [
        rates.try_acquire("a", 0.0),
        rates.try_acquire("b", 0.5),
        rates.try_acquire("a", 0.9),
    ] == [True, True, False]
    rates.tick(1.2)
    assert list(rates._rates) == ["b"]
    assert rates.try_acquire("a", 1.2)


def test_a_throughput() -> None:
    pace = Throughput(100, 0.0)
    assert pace.delay(0.0) == 0
    pace.consume(100)  # a second's worth at once
    assert pace.delay(0.0) == 0
    pace.consume(50)
    assert pace.delay(0.0) == 0.5
    assert pace.delay(0.25) == 0.25
    assert pace.delay(0.5) == 0
    pace.delay(9.0)
    pace.consume(300)
    assert pace.delay(9.0) == 2


def test_messages_above_the_rate_are_discarded() -> None:
    fixture = BrokerFixture(publish_rate=2)
    listener = fixture.connected("listener", 5)
    listener.send(subscribe("a"))
    for version, answers in (
        (5, [Puback(1, 0, {}), Puback(2, 0, {}), Puback(3, 0x97, {}), Puback(4, 0x97, {})]),
        (4, [Puback(1, 0, {}), Puback(2, 0, {})]),
    ):
        client = fixture.connected(f"sender-{version}", version)
        sent = [Publish("a", b"%d" % n, 1, packet_id=n) for n in range(1, 5)]
        assert client.send(*sent) == answers
        assert [message.payload for message in listener.receive()] == [b"1", b"2"]
        assert "more than 2 messages in a second" in fixture.refusal
        fixture.clock.now += 0.5
        assert client.send(Publish("a", b"5", 1, packet_id=5)) == [Puback(5, 0, {})]
        assert not client.closed
        assert len(listener.receive()) == 1
    refusals = [entry["client_id"] for entry in fixture.event_log.refusals()]
    assert refusals == ["sender-4", "sender-5"]  # one each, not one a message
    assert fixture.event_log.metrics.mqtt["PublishIn.Throttle"] == 4


def test_messages_of_qos_0_above_the_rate_are_discarded() -> None:
    fixture = BrokerFixture(publish_rate=1)
    client = fixture.connected("sender", 5)
    client.send(subscribe("a"))
    heard = client.send(Publish("a", b"1"), Publish("a", b"2"))
    assert [message.payload for message in heard] == [b"1"]
    assert not client.closed


def test_a_rate_is_each_connection_s_own() -> None:
    fixture = BrokerFixture(publish_rate=1)
    for name in "ab":
        client = fixture.connected(name, 5)
        assert client.send(Publish("t", b"", 1, packet_id=1)) == [Puback(1, 0, {})]


def test_without_the_setting_there_is_no_limit() -> None:
    client = BrokerFixture().connected("sender", 5)
    sent = [Publish("a", b"", 1, packet_id=n) for n in range(1, 2000)]
    assert client.send(*sent) == [Puback(n, 0, {}) for n in range(1, 2000)]


@pytest.mark.parametrize(
    ("version", "settings", "answer"),
    [
        (5, {}, [Connack(False, 0x97, {})]),
        (4, {}, []),
        (4, {"connect_denied_311": "connack5"}, [Connack(False, 3, {})]),
    ],
)
def test_connects_above_the_rate_are_refused(
    version: int, settings: dict[str, str], answer: list[Connack]
) -> None:
    fixture = BrokerFixture(connect_rate=1, **settings)
    first = fixture.connected("restless", version)
    fixture.clock.now += 0.5
    second = fixture.client(version)
    assert second.send(connect("restless", version)) == answer
    assert second.closed
    assert "'restless' sends more than 1 CONNECT a second" in fixture.refusal
    assert fixture.event_log.metrics.mqtt["Connect.ClientIDThrottle"] == 1
    assert not first.closed  # a rejected client does not take it over
    fixture.connected("calm", version)
    fixture.clock.now += 0.5
    fixture.broker.tick()
    fixture.connected("restless", version)
    assert first.closed


@pytest.mark.parametrize("version", [4, 5])
def test_what_waited_comes_at_its_rate(tmp_path: Path, version: int) -> None:
    store = Database(tmp_path / "cloud.db")
    fixture = BrokerFixture(store, stored_rate=10)
    properties = {"session_expiry_interval": 3600} if version == 5 else {}
    client = fixture.connected("a", version, clean=False, **properties)
    client.send(subscribe("creek"))
    client.connection.connection_lost("lost")
    for number in range(35):
        fixture.broker.publish("creek", b"%d" % number, 1)
    fixture.broker.commit_and_acknowledge()
    client = fixture.client(version)

    def heard(*sent: Any) -> list[int]:
        came = [each for each in client.send(*sent) if isinstance(each, Publish)]
        client.send(*[Puback(each.packet_id, 0, {}) for each in came])
        return [int(each.payload) for each in came]

    came = [heard(connect("a", version, clean=False, **properties))]
    for _ in range(4):
        fixture.clock.now += 1
        fixture.broker.tick()
        came.append(heard())
        fixture.broker.publish("creek", b"%d" % (len(came) + 33), 1)  # it waits behind the others
    assert came == [[*range(at, at + 10)] for at in (0, 10, 20)] + [[*range(30, 37)], [37]]
    fixture.broker.close()
    store.close()


def test_as_a_device_sees_the_limits(home: Path) -> None:
    supervisor.start_or_attach(home, settings=["publish_rate=5", "connect_rate=1"])
    lab = open_lab(home=home)
    thing = make_thing(lab).name
    with lab.connect(thing) as device:
        outcomes = []
        for under_way in [device.publish_soon("a/b", "x") for _ in range(50)]:
            try:
                under_way.result()
                outcomes.append(None)
            except RequestRefused as refused:
                outcomes.append(refused.reason_code)
        assert set(outcomes) == {None, 0x97}
        assert "more than 5 messages in a second" in lab.why(thing).summary

    def connect_and_leave(_: int) -> int | None:
        try:
            lab.connect(thing, client_id="restless").close()
        except RequestRefused as refused:
            return refused.reason_code
        return None

    with ThreadPoolExecutor(8) as pool:
        assert 0x97 in pool.map(connect_and_leave, range(8))
    entries = lab.events(kind="connect", thing="restless")
    assert any("sends more than 1 CONNECT a second" in str(why) for why in entries["refusal"])


@pytest.mark.parametrize("how", ["TLS", "WebSocket"])
def test_messages_above_the_throughput_arrive(tmp_path: Path, how: str) -> None:
    """In both directions; `test_listener.py` tests that they are delayed."""
    payload = b"x" * 60_000
    with start_cloud(tmp_path / "home", ["throughput=400000"]) as cloud:
        lab = cloud.lab
        with (
            lab.connect_account() if how == "WebSocket" else lab.connect(cloud.thing.name) as client
        ):
            for pending in [client.publish_soon("creek", payload) for _ in range(8)]:
                pending.result()
            inbox = client.subscribe("creek")
            for _ in range(8):
                lab.client("iot-data").publish(topic="creek", qos=0, payload=payload)
            inbox.wait_for(8)
