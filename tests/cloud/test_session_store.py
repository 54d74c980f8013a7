"""Persistent sessions outlive the cloud: what was acknowledged comes, what came does not again.

A crash is played by opening the database again while the old broker still has it open: what it had
not committed is gone, as after ``kill -9``. The real thing is in `test_kill.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from creeklab.cloud.mqtt.codec.packets import (
    Connack,
    Disconnect,
    Puback,
    Publish,
    Suback,
    Unsuback,
    Unsubscribe,
    Will,
)
from creeklab.cloud.mqtt.codec.wire import Reason
from creeklab.cloud.mqtt.session import session as sessions
from creeklab.cloud.storage.database import Database
from tests.cloud.broker_fixture import BrokerFixture, Client, connect, subscribe

VERSIONS = pytest.mark.parametrize("version", [4, 5])
HOUR = 3600


class Site:
    """One home folder, and the cloud of the moment in it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._file = folder / "cloud.db"
        self._settings = settings
        self._stores: list[Database] = []
        self.fixture: BrokerFixture
        self.crash(now=1_785_000_000.0)

    def crash(self, now: float | None = None) -> BrokerFixture:
        """End the cloud without a word, and start another one."""
        now = self.fixture.clock.now if now is None else now
        self._stores.append(Database(self._file))
        self.fixture = BrokerFixture(self._stores[-1], now=now, **self._settings)
        return self.fixture

    def rows(self, table: str) -> int:
        (number,) = self._stores[-1].execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(number)

    def fill_up(self) -> None:
        """Leave no page to the database."""
        (pages,) = self._stores[-1].execute("PRAGMA page_count").fetchone()
        self._stores[-1].execute(f"PRAGMA max_page_count = {pages}")

    def make_room(self) -> None:
        self._stores[-1].execute("PRAGMA max_page_count = 1000000")

    def close(self) -> None:
        for store in self._stores:
            store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def kept(fixture: BrokerFixture, client_id: str = "a", version: int = 5, **members: Any) -> Client:
    """Connect with a session that is kept for an hour."""
    return fixture.connected(
        client_id, version, clean=False, session_expiry_interval=HOUR, **members
    )


def returned(
    fixture: BrokerFixture, client_id: str = "a", version: int = 5
) -> tuple[Connack, list[Any]]:
    """Connect again; return the CONNACK and what follows."""
    client = fixture.client(version)
    connack, *messages = client.send(
        connect(client_id, version, clean=False, session_expiry_interval=HOUR)
    )
    return connack, messages


def publish(fixture: BrokerFixture, *payloads: bytes, topic: str = "creek") -> list[Any]:
    """Publish over a connection; return the answers."""
    sender = fixture.connected("sender", 5)
    answers = [sender.send(Publish(topic, each, 1, packet_id=7)) for each in payloads]
    return [each for answer in answers for each in answer]


DONE = Puback(7, 0, {})


@VERSIONS
@pytest.mark.parametrize("away", [False, True])
def test_messages_and_subscriptions_survive(site: Site, version: int, away: bool) -> None:
    client = kept(site.fixture, version=version)
    client.send(subscribe("creek", "rain/#"))
    if away:
        client.connection.connection_lost("lost")
    assert publish(site.fixture, b"1", b"2") == [DONE, DONE]
    fixture = site.crash()
    connack, messages = returned(fixture, version=version)
    assert connack.session_present
    assert [(each.topic, each.payload, each.dup) for each in messages] == [
        ("creek", b"1", False),
        ("creek", b"2", False),
    ]
    subscriptions = fixture.broker.list_subscriptions("a")
    assert subscriptions is not None
    assert [each.filter for each in subscriptions] == ["creek", "rain/#"]


def test_every_field_of_a_message_survives(site: Site) -> None:
    kept(site.fixture).send(subscribe("creek"))
    properties = {
        "content_type": "application/json",
        "correlation_data": b"\0\xff",
        "user_properties": [("gauge", "1"), ("gauge", "2")],
        "message_expiry_interval": 60,
    }
    sender = site.fixture.connected("sender", 5)
    sender.send(Publish("creek", b"\0\xff", 1, packet_id=7, properties=dict(properties)))
    site.fixture.clock.now += 20.5
    _, [message] = returned(site.crash())
    assert message.payload == b"\0\xff"
    assert message.properties == {**properties, "message_expiry_interval": 39}


def test_every_field_of_a_subscription_survives(site: Site) -> None:
    client = kept(site.fixture)
    options = {"no_local": True, "retain_as_published": True, "retain_handling": 2}
    client.send(subscribe("creek", qos=0, **options))
    before = site.fixture.broker.list_subscriptions("a")
    assert site.crash().broker.list_subscriptions("a") == before


def test_acknowledged_messages_are_not_sent_again(site: Site) -> None:
    client = kept(site.fixture)
    client.send(subscribe("creek"))
    publish(site.fixture, b"1", b"2", b"3")
    first, second, _ = client.receive()
    client.send(Puback(first.packet_id, 0, {}), Puback(second.packet_id, 0, {}))
    _, messages = returned(site.crash())
    assert [each.payload for each in messages] == [b"3"]


def test_nothing_is_left_behind(site: Site) -> None:
    first, second = kept(site.fixture), kept(site.fixture, "b")
    for client in (first, second):
        client.send(subscribe("creek"))
    publish(site.fixture, b"1", b"2")
    assert (site.rows("sessions"), site.rows("messages"), site.rows("queued")) == (2, 2, 4)
    first.send(*(Puback(each.packet_id, 0, {}) for each in first.receive()))
    assert (site.rows("messages"), site.rows("queued")) == (2, 2)
    second.send(Disconnect(0, {"session_expiry_interval": 0}))
    assert (site.rows("sessions"), site.rows("messages"), site.rows("queued")) == (1, 0, 0)


def test_no_puback_before_the_message_is_stored(site: Site) -> None:
    kept(site.fixture).send(subscribe("creek"))
    sender = site.fixture.connected("sender", 5)
    sender.receive()
    sender.connection.receive(bytes.fromhex("320a0005637265656b000700"))
    assert sender.receive() == []
    connack, messages = returned(site.crash())
    assert (connack.session_present, messages) == (True, [])


def test_pubacks_keep_their_order(site: Site) -> None:
    kept(site.fixture).send(subscribe("creek"))
    sender = site.fixture.connected("sender", 5)
    topics = ["other", "creek", "other", "creek", "other"]
    answers = sender.send(*(Publish(t, b"", 1, packet_id=i + 1) for i, t in enumerate(topics)))
    assert [each.packet_id for each in answers] == [1, 2, 3, 4, 5]


def test_clean_sessions_write_nothing(site: Site) -> None:
    site.fixture.connected("a", 5).send(subscribe("creek"))
    commits: list[bool] = []
    site.fixture.broker.commits.soon = lambda: commits.append(True)
    publish(site.fixture, b"1", b"2")
    assert commits == []


def test_order_is_kept(site: Site) -> None:
    client = kept(site.fixture)
    client.send(subscribe("creek"))
    payloads = [str(number).encode() for number in range(150)]
    for payload in payloads:
        site.fixture.broker.publish("creek", payload, 1)
    site.fixture.broker.commit_and_acknowledge()
    client.receive()
    fixture = site.crash()
    again = fixture.client(5)
    _, *messages = again.send(connect("a", 5, clean=False, session_expiry_interval=HOUR))
    while len(messages) < 150:
        messages += again.send(*(Puback(each.packet_id, 0, {}) for each in messages[-50:]))
    assert [each.payload for each in messages] == payloads


# --- when a session ends --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("away", "off", "present"),
    [
        (True, HOUR - 101, True),
        (True, HOUR - 99, False),
        # Connected when the cloud died: away since it is back.
        (False, 10 * HOUR, True),
    ],
)
def test_a_session_ends_by_the_clock_on_the_wall(
    site: Site, away: bool, off: float, present: bool
) -> None:
    client = kept(site.fixture)
    client.send(subscribe("creek"))
    if away:
        client.connection.connection_lost("lost")
        site.fixture.broker.commit_and_acknowledge()
        site.fixture.clock.now += 100
    fixture = site.crash(site.fixture.clock.now + off)
    assert (fixture.broker.get_session("a") is not None) is present
    fixture.broker.commit_and_acknowledge()
    assert site.rows("sessions") == present


def test_a_second_crash_does_not_extend_a_session(site: Site) -> None:
    kept(site.fixture).send(subscribe("creek"))
    site.crash().broker.commit_and_acknowledge()
    fixture = site.crash(site.fixture.clock.now + HOUR - 1)
    assert fixture.broker.get_session("a") is not None
    fixture.broker.commit_and_acknowledge()
    assert site.crash(fixture.clock.now + 2).broker.get_session("a") is None


def test_a_clock_that_was_set_back_does_not_extend_a_session(site: Site) -> None:
    client = kept(site.fixture)
    client.connection.connection_lost("lost")
    site.fixture.broker.commit_and_acknowledge()
    fixture = site.crash(site.fixture.clock.now - 10 * HOUR)
    fixture.clock.now += HOUR + 1
    assert fixture.broker.get_session("a") is None


@VERSIONS
@pytest.mark.parametrize("end", ["clean start", "expiry", "other certificate", "deleted"])
def test_a_session_that_ended_does_not_come_back(site: Site, version: int, end: str) -> None:
    client = kept(site.fixture, version=version)
    client.send(subscribe("creek"))
    publish(site.fixture, b"1")
    if end == "deleted":
        site.fixture.broker.disconnect("a", clean_session=True, prevent_will=False)
    else:
        client.connection.connection_lost("lost")
    if end == "clean start":
        site.fixture.connected("a", version)
    elif end == "expiry":
        site.fixture.clock.now += HOUR + 1
        site.fixture.broker.tick()
    elif end == "other certificate":
        other = site.fixture.client(version, certificate="cd" * 32)
        other.send(connect("a", version, clean=False))
    site.fixture.broker.commit_and_acknowledge()
    connack, messages = returned(site.crash(), version=version)
    assert messages == []
    assert not connack.session_present


def test_a_session_that_is_resumed_without_expiry_is_not_stored(site: Site) -> None:
    kept(site.fixture).send(subscribe("creek"))
    publish(site.fixture, b"1")
    again = site.fixture.client(5)
    connack, message = again.send(connect("a", 5, clean=False))
    assert (connack.session_present, message.payload) == (True, b"1")
    assert [site.rows(table) for table in ("sessions", "messages", "queued")] == [0, 0, 0]
    again.send(Puback(message.packet_id, 0, {}))
    assert site.crash().broker.get_session("a") is None


def test_a_disconnect_changes_the_stored_expiry(site: Site) -> None:
    kept(site.fixture).send(Disconnect(0, {"session_expiry_interval": 60}))
    assert site.crash(site.fixture.clock.now + 59).broker.get_session("a") is not None
    assert site.crash(site.fixture.clock.now + 2).broker.get_session("a") is None


def test_unsubscribing_survives(site: Site) -> None:
    kept(site.fixture).send(subscribe("creek", "rain"), Unsubscribe(8, ["creek"], {}))
    subscriptions = site.crash().broker.list_subscriptions("a")
    assert subscriptions is not None
    assert [each.filter for each in subscriptions] == ["rain"]


def test_a_retained_message_survives(site: Site) -> None:
    sender = site.fixture.connected("sender", 5)
    properties = {"user_properties": [("a", "b")], "message_expiry_interval": 60}
    sender.send(Publish("creek", b"1", 1, True, packet_id=7, properties=properties))
    fixture = site.crash(site.fixture.clock.now + 10)
    _, message = fixture.connected("a", 5).send(subscribe("creek"))
    assert (message.payload, message.retain) == (b"1", True)
    assert message.properties == {"user_properties": [("a", "b")], "message_expiry_interval": 50}
    fixture = site.crash(site.fixture.clock.now + 51)
    assert fixture.connected("a", 5).send(subscribe("creek")) == [Suback(7, [1], {})]
    assert site.rows("retained") == 0


# --- a database that cannot be written ------------------------------------------------------------


@contextmanager
def full(site: Site) -> Iterator[None]:
    site.fill_up()
    yield
    site.make_room()


@contextmanager
def locked(site: Site) -> Iterator[None]:
    other = sqlite3.connect(site._file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


@pytest.mark.parametrize("trouble", [full, locked])
class TestTrouble:
    def test_the_publisher_hears_of_it_and_the_broker_lives_on(
        self, site: Site, trouble: Callable[[Site], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fixture = site.fixture
        client = kept(fixture)
        client.send(subscribe("creek"))
        three, five = fixture.connected("three", 4), fixture.connected("five", 5)
        big = Publish("creek", bytes(100_000), 1, packet_id=7)
        with trouble(site):
            assert five.send(big) == [Puback(7, Reason.UNSPECIFIED_ERROR, {})]
            assert three.send(big) == []
            assert five.send(big) == [Puback(7, Reason.UNSPECIFIED_ERROR, {})]
            # What need not be kept goes on as if nothing were.
            assert five.send(Publish("other", b"", 1, packet_id=8)) == [Puback(8, 0, {})]
            refusals = [each for each in fixture.event_log.entries() if each["kind"] == "storage"]
            [entry] = refusals
            assert "cannot be written" in entry["refusal"]["summary"]
            assert not five.closed
            assert not three.closed
        fixture.clock.now += 1
        fixture.broker.tick()
        # Nothing was there to be written, so nobody knows.
        [_] = [each for each in fixture.event_log.entries() if each["kind"] == "storage"]
        assert five.send(big) == [DONE]
        assert "can be written again; 3 messages" in fixture.event_log.entries()[-1]["why"]
        client.connection.connection_lost("lost")
        _, messages = returned(site.crash())
        assert [len(each.payload) for each in messages] == [100_000]

    def test_subscriptions_are_refused(self, site: Site, trouble: Callable[[Site], Any]) -> None:
        fixture = site.fixture
        client = kept(fixture)
        client.send(subscribe("creek"))
        fresh = kept(fixture, "b")
        with trouble(site):
            # Committed together with more than there is room for.
            fixture.broker.publish("kept", bytes(100_000), 1, retain=True)
            [suback] = client.send(subscribe("creek", "rain"))
            assert suback.reason_codes == [Reason.UNSPECIFIED_ERROR] * 2
            subscriptions = fixture.broker.list_subscriptions("a")
            assert subscriptions is not None
            assert [each.filter for each in subscriptions] == ["creek"]
            answer = fresh.send(Unsubscribe(8, ["creek"], {}))
            assert answer == [Unsuback(8, [Reason.UNSPECIFIED_ERROR], {})]
            # Who needs nothing kept is not concerned.
            assert fixture.connected("c", 5).send(subscribe("creek")) == [Suback(7, [1], {})]

    def test_acknowledgments_during_a_failure_are_stored_later(
        self, site: Site, trouble: Callable[[Site], Any]
    ) -> None:
        fixture = site.fixture
        client = kept(fixture)
        client.send(subscribe("creek"))
        publish(fixture, b"1", b"2")
        first, _ = client.receive()
        with trouble(site):
            # A retained message makes sure that the commit fails.
            fixture.broker.publish("kept", bytes(100_000), 1, retain=True)
            client.send(Puback(first.packet_id, 0, {}))
        fixture.clock.now += 1
        fixture.broker.tick()
        _, messages = returned(site.crash())
        assert [each.payload for each in messages] == [b"2"]


# --- bounds ---------------------------------------------------------------------------------------


def test_only_so_much_waits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_WAITING", 3)
    client = kept(site.fixture)
    client.send(subscribe("creek"))
    client.connection.connection_lost("lost")
    assert publish(site.fixture, *(str(each).encode() for each in range(5))) == [DONE] * 5
    _, messages = returned(site.crash())
    assert [each.payload for each in messages] == [b"0", b"1", b"2"]


def test_only_so_many_bytes_wait_for_all_together(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_BACKLOG_BYTES", 10_000)
    for client_id in "ab":
        client = kept(site.fixture, client_id)
        client.send(subscribe("creek"))
        client.connection.connection_lost("lost")
    publish(site.fixture, bytes(4000), bytes(4000))
    assert [len(returned(site.fixture, each)[1]) for each in "ab"] == [1, 1]
    # What was sent makes room.
    client = kept(site.fixture, "c")
    client.send(subscribe("rain"))
    client.connection.connection_lost("lost")
    publish(site.fixture, bytes(9000), topic="rain")
    assert len(returned(site.fixture, "c")[1]) == 1


@pytest.mark.parametrize(
    ("version", "settings", "answer"),
    [
        (5, {}, [Connack(False, Reason.QUOTA_EXCEEDED, {})]),
        (4, {}, []),
        (4, {"connect_denied_311": "connack5"}, [Connack(False, 3, {})]),
    ],
)
def test_no_more_persistent_sessions_than_the_account_may_have(
    tmp_path: Path, version: int, settings: dict[str, str], answer: list[Any]
) -> None:
    site = Site(tmp_path, sessions_max=2, **settings)
    for client_id in "ab":
        kept(site.fixture, client_id, version).connection.connection_lost("lost")

    def ask_for_one(client_id: str) -> tuple[Client, list[Any]]:
        client = site.fixture.client(version)
        properties = {"session_expiry_interval": 60} if version == 5 else {}
        return client, client.send(connect(client_id, version, clean=False, **properties))

    for _ in range(2):  # that is known after a crash, too
        client, heard = ask_for_one("c")
        assert heard == answer
        assert client.closed
        assert "has 2 persistent sessions" in site.fixture.refusal
        site.crash()
    # Clean sessions do not count, an existing session can be resumed, and one that ends makes room.
    site.fixture.connected("c", version)
    client, [connack, *_] = ask_for_one("a")
    assert connack.session_present
    client.connection.connection_lost("lost")
    site.fixture.connected("b", version)
    _, [connack, *_] = ask_for_one("c")
    assert connack.reason_code == 0
    _, heard = ask_for_one("b")
    assert heard == answer
    site.close()


def test_only_so_many_bytes_of_wills_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_BACKLOG_BYTES", 10_000)
    fixture = site.fixture
    watcher = fixture.connected("watcher", 5)
    watcher.send(subscribe("gone/#"))

    def lose(client_id: str, payload: bytes) -> None:
        will = Will(f"gone/{client_id}", payload, 1, False, {"will_delay_interval": 10})
        fixture.connected(
            client_id, 5, will=will, session_expiry_interval=60
        ).connection.connection_lost("lost")

    lose("a", bytes(6000))
    assert watcher.receive() == []
    lose("b", bytes(6000))
    assert [each.topic for each in watcher.receive()] == ["gone/b"]  # nothing is lost
    assert "The will of 'b' is published without its delay" in fixture.refusal
    fixture.clock.now += 10
    fixture.broker.tick()
    assert [each.topic for each in watcher.receive()] == ["gone/a"]
    lose("c", bytes(6000))  # there is room again
    assert watcher.receive() == []
    fixture.connected("c", 5)  # not resumed: its session has ended, and so has its delay
    assert [each.topic for each in watcher.receive()] == ["gone/c"]


def test_no_more_retained_messages_than_the_account_may_have(tmp_path: Path) -> None:
    site = Site(tmp_path, retained_max=2)
    five, three = site.fixture.connected("five", 5), site.fixture.connected("three", 4)
    watcher = site.fixture.connected("watcher", 5)
    watcher.send(subscribe("c"))

    def retain(client: Client, topic: str, payload: bytes = b"x") -> list[Any]:
        return client.send(Publish(topic, payload, 1, True, packet_id=7))

    assert retain(five, "a") == retain(five, "b") == [DONE]
    assert retain(five, "c") == [Puback(7, Reason.QUOTA_EXCEEDED, {})]
    assert retain(three, "c") == []
    assert watcher.receive() == []
    assert not three.closed
    assert "2 topics have a retained message" in site.fixture.refusal
    # One that is there may be replaced; one that goes makes room; that is known after a crash, too.
    assert retain(three, "b") == retain(five, "a", b"") == retain(five, "c") == [DONE]
    five = site.crash().connected("five", 5)
    assert retain(five, "d") == [Puback(7, Reason.QUOTA_EXCEEDED, {})]
    site.close()


# --- shared subscriptions -------------------------------------------------------------------------


GROUP = "$share/gauges/creek"


def payloads(messages: list[Any]) -> list[bytes]:
    return sorted(each.payload for each in messages if isinstance(each, Publish))


@VERSIONS
@pytest.mark.parametrize("crash", [False, True])
def test_a_group_without_a_connected_member_queues_for_whoever_is_back_first(
    site: Site, version: int, crash: bool
) -> None:
    for client_id in "abc":
        kept(site.fixture, client_id, version).send(subscribe(GROUP))
    for client_id in "abc":
        site.fixture.broker.connections[client_id].connection_lost("lost")
    sent = [str(number).encode() for number in range(10)]
    publish(site.fixture, *sent)
    fixture = site.crash() if crash else site.fixture
    _, messages = returned(fixture, "b", version)
    assert payloads(messages) == sent
    for client_id in "ac":
        assert returned(fixture, client_id, version)[1] == []


def test_a_new_member_gets_waiting_messages_of_the_group(site: Site) -> None:
    kept(site.fixture, "a").send(subscribe(GROUP))
    site.fixture.broker.connections["a"].connection_lost("lost")
    publish(site.fixture, b"1")
    [suback, message] = site.fixture.connected("new", 5).send(subscribe(GROUP))
    assert (suback.reason_codes, message.payload) == ([1], b"1")
    assert returned(site.fixture, "a")[1] == []


@pytest.mark.parametrize("end", ["lost", "unsubscribed", "expired"])
@pytest.mark.parametrize("persistent", [False, True])
def test_what_a_member_did_not_acknowledge_goes_to_another(
    site: Site, end: str, persistent: bool
) -> None:
    fixture = site.fixture
    leaver = kept(fixture, "a") if persistent else fixture.connected("a", 5)
    leaver.send(subscribe(GROUP))
    publish(fixture, *(str(number).encode() for number in range(150)))
    first = leaver.receive()
    assert len(first) == 100
    other = kept(fixture, "b")
    other.send(subscribe(GROUP))
    if end == "unsubscribed":
        leaver.send(Unsubscribe(8, [GROUP], {}))
        # What is under way to a member stays with it.
        expected = 50
    else:
        leaver.connection.connection_lost("lost")
        expected = 150
    messages = other.receive()
    while len(messages) < expected:
        more = other.send(*(Puback(each.packet_id, 0, {}) for each in messages[-50:]))
        assert more
        messages += more
    assert len(payloads(messages)) == expected


def test_a_group_of_clean_sessions_stores_nothing(site: Site) -> None:
    client = site.fixture.connected("a", 5)
    client.send(subscribe(GROUP))
    client.connection.connection_lost("lost")
    publish(site.fixture, b"1")
    assert site.fixture.connected("b", 5).send(subscribe(GROUP)) == [Suback(7, [1], {})]


def test_a_slow_member_is_skipped(site: Site) -> None:
    slow, quick = (site.fixture.connected(each, 5, receive_maximum=1) for each in "ab")
    slow.send(subscribe(GROUP))
    publish(site.fixture, b"1", b"2")
    quick.send(subscribe(GROUP))
    publish(site.fixture, b"3")
    assert payloads(quick.receive()) == [b"3"]


def test_qos_0_is_not_stored_for_a_group(site: Site) -> None:
    kept(site.fixture, "a").send(subscribe(GROUP, qos=0))
    kept(site.fixture, "b").send(subscribe(GROUP, qos=1))
    for client_id in "ab":
        site.fixture.broker.connections[client_id].connection_lost("lost")
    site.fixture.broker.publish("creek", b"0", 0)
    publish(site.fixture, b"1")
    assert returned(site.fixture, "a")[1] == []
    assert payloads(returned(site.fixture, "b")[1]) == [b"1"]


# --- any order of things --------------------------------------------------------------------------


class Crashes(RuleBasedStateMachine):
    """Whatever happens in whatever order: nothing that was promised is lost or comes twice.

    Twice means: after its acknowledgment was committed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.site = Site(Path(self.folder.name))
        self.due: list[bytes] = []  # acknowledged to the publisher, not by the subscriber
        self.done: set[bytes] = set()  # acknowledged by the subscriber
        self.number = 0
        self.client: Client | None = None
        self.unacknowledged: list[Publish] = []

    @initialize()
    def begin(self) -> None:
        client = kept(self.site.fixture)
        client.send(subscribe("creek"))
        self.client = client

    @rule(count=st.integers(1, 120))
    def publish(self, count: int) -> None:
        fresh = [str(self.number + each).encode() for each in range(count)]
        self.number += count
        for each in fresh:
            self.site.fixture.broker.publish("creek", each, 1)
        self.site.fixture.broker.commit_and_acknowledge()
        self.due += fresh
        self.listen()

    @rule(share=st.floats(0, 1))
    def acknowledge(self, share: float) -> None:
        count = int(len(self.unacknowledged) * share)
        acknowledged, self.unacknowledged = (
            self.unacknowledged[:count],
            self.unacknowledged[count:],
        )
        if self.client is not None and count:
            self.unacknowledged += self.take(
                self.client.send(*(Puback(each.packet_id, 0, {}) for each in acknowledged))
            )
            for each in acknowledged:
                self.done.add(each.payload)
                self.due.remove(each.payload)

    @rule()
    def leave(self) -> None:
        if self.client is not None:
            self.client.connection.connection_lost("lost")
            self.site.fixture.broker.commit_and_acknowledge()
        self.client, self.unacknowledged = None, []

    @rule()
    def crash(self) -> None:
        self.site.crash()
        self.client, self.unacknowledged = None, []

    @rule()
    def come_back(self) -> None:
        self.unacknowledged = []
        self.client = client = self.site.fixture.client(5)
        connack, *messages = client.send(connect("a", 5, clean=False, session_expiry_interval=HOUR))
        assert connack.session_present
        self.unacknowledged = self.take(messages)

    def listen(self) -> None:
        if self.client is not None:
            self.unacknowledged += self.take(self.client.receive())

    def take(self, messages: list[Any]) -> list[Publish]:
        assert not self.done & {each.payload for each in messages}
        return messages

    def teardown(self) -> None:
        if self.client is None:
            self.come_back()
        while self.unacknowledged:
            self.acknowledge(1.0)
        assert self.due == []
        assert self.site.rows("queued") == self.site.rows("messages") == 0
        self.site.close()
        self.folder.cleanup()


TestCrashes = Crashes.TestCase
TestCrashes.settings = hypothesis_settings(max_examples=30, stateful_step_count=20, deadline=None)
