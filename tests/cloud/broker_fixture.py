"""A broker with all its dependencies, and clients that exchange packets with it.

There are no sockets, and time stands still: a test sends packets, reads what was written, and moves
the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.codec import packets
from creeklab.cloud.mqtt.codec.decoder import Decoder
from creeklab.cloud.mqtt.codec.packets import Connect, Subscribe, Subscription, Will
from creeklab.cloud.mqtt.connection.connection import Connection
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.mqtt.session.retained_store import RetainedMessages
from creeklab.cloud.mqtt.session.session_store import SqliteSessionStore
from creeklab.cloud.settings import Settings
from creeklab.cloud.storage.database import Database
from creeklab.cloud.storage.group_commit import GroupCommit


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


@dataclass
class Explained:
    action: str
    resource: str

    size = 100

    def refusal(self) -> dict[str, Any]:
        return {"summary": f"{self.action} on {self.resource} is not allowed"}


class AlwaysEmpty(set[str]):
    """A set that stays empty, so that every decision is asked for again."""

    def add(self, element: str) -> None:
        pass


@dataclass
class FakeAuthorization:
    """Allows everything except the pairs of action and resource in `denied`."""

    publishable = AlwaysEmpty()
    receivable = AlwaysEmpty()
    exclusive_thing: str | None = None
    denied: set[tuple[str, str]] = field(default_factory=set)
    status: str | None = "ACTIVE"

    def allows(self, action: str, resource: str, on_refusal: Any = None) -> bool:
        allowed = self.status == "ACTIVE" and (action, resource) not in self.denied
        if on_refusal is not None and not allowed:
            on_refusal(resource)
        return allowed

    def decided(self, action: str, resource: str) -> Explained:
        return Explained(action, resource)

    def invalidate(self) -> None:
        pass


class InMemoryRetained(dict[str, Any]):
    """Retained messages without a database."""

    def has_room(self, topic: str) -> bool:
        return True

    def put(self, message: Any) -> None:
        if message.payload:
            self[message.topic] = replace(message, retain=True)
        else:
            self.pop(message.topic, None)


class NullSessionStore:
    """A session store that stores nothing."""

    count = 0

    def load(self, now: float) -> list[Any]:
        return []

    def add(self, *_: Any) -> None:
        pass

    update = delete = add_message = remove_message = add


class NoDatabase:
    written = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield


class Client:
    """A client of the broker under test."""

    def __init__(self, fixture: BrokerFixture, version: int, certificate: str = "ab" * 32) -> None:
        self.version = version
        self.closed = False
        self._written = b""
        self._decoder = Decoder(version=version)
        self.connection = Connection(
            fixture.broker, Peer(certificate, "127.0.0.1"), self._write, self._close
        )
        self._broker = fixture.broker

    def _write(self, data: bytes) -> None:
        self._written += data

    def _close(self) -> None:
        self.closed = True

    def send(self, *sent: Any) -> list[Any]:
        for packet in sent:
            self.connection.receive(packets.encode(packet, self.version))
        self._broker.commit_and_acknowledge()
        return self.receive()

    def receive(self) -> list[Any]:
        data, self._written = self._written, b""
        return list(self._decoder.feed(data))


class BrokerFixture:
    """A broker with all its dependencies, on a database if it is given one."""

    def __init__(
        self, store: Database | None = None, now: float = 1_785_000_000.0, **settings: Any
    ) -> None:
        self.clock = Clock(now)
        self.event_log = EventLog(clock=self.clock)
        self.authorization = FakeAuthorization()
        self.retained = InMemoryRetained()
        self.attributes: list[tuple[str, ...]] = []
        self.will_topics: list[str | None] = []
        self.broker = self._broker(Settings(**settings), store)

    def _broker(self, settings: Settings, store: Database | None) -> Broker:
        clock = self.clock
        if store is None:
            commits = GroupCommit(cast(Database, NoDatabase()), clock)
            retained: Any = self.retained
            sessions: Any = NullSessionStore()
        else:
            commits = GroupCommit(store, clock)
            retained = RetainedMessages(store, commits, settings.retained_max, clock)
            sessions = SqliteSessionStore(store, commits, clock, clock)
        return Broker(
            settings,
            self.event_log,
            retained,
            sessions,
            commits,
            self._authorization_for,
            clock,
            clock,
        )

    def _authorization_for(
        self, peer: Peer, client_id: str, attributes: tuple[str, ...], will_topic: str | None
    ) -> Any:
        self.attributes.append(attributes)
        self.will_topics.append(will_topic)
        return self.authorization

    def client(self, version: int, **options: Any) -> Client:
        return Client(self, version, **options)

    def connected(self, client_id: str, version: int, **members: Any) -> Client:
        client = self.client(version)
        [connack] = client.send(connect(client_id, version, **members))
        assert connack.reason_code == 0
        return client

    @property
    def refusal(self) -> str:
        entry = self.event_log.last_refusal()
        assert entry is not None
        return str(entry["refusal"]["summary"])


def connect(
    client_id: str,
    version: int,
    *,
    clean: bool = True,
    keep_alive: int = 60,
    will: Will | None = None,
    **properties: Any,
) -> Connect:
    return Connect(client_id, version, clean, keep_alive, None, None, will, properties)


def subscribe(*filters: str, qos: int = 1, **options: Any) -> Subscribe:
    return Subscribe(7, [Subscription(each, qos, **options) for each in filters], {})
