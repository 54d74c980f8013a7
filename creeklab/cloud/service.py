"""The contract for everything that runs in the cloud: a service is a folder, and this is its shape.

`Service` says what the cloud has to know before an account exists: the tables to create and the
names to count under. Its `build` gets what an account has (`AccountContext`) and returns where
requests and messages reach the service (`Endpoints`). `local_cloud.py` lists the services; nothing
else knows them by name, so a new service takes one folder and one line there (and its place in the
layers that pyproject.toml declares).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from creeklab.cloud.account import AccountIdentity
from creeklab.cloud.api.dispatcher import AdminEndpoint
from creeklab.cloud.api.http_api import HttpApi
from creeklab.cloud.monitoring.event_log import BufferLimit, EventLog
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.interfaces import PublishedMessage
from creeklab.cloud.mqtt.session.retained_store import RetainedMessages
from creeklab.cloud.registry import Registry
from creeklab.cloud.settings import Settings
from creeklab.cloud.storage.database import Database, Migrations


@dataclass(frozen=True, slots=True)
class AccountContext:
    """What one account offers the services that run in it.

    Attributes
    ----------
    clock
        Seconds since the epoch.
    provided
        What the services before this one provide, by their names.
    """

    identity: AccountIdentity
    settings: Settings
    database: Database
    event_log: EventLog
    registry: Registry
    broker: Broker
    retained: RetainedMessages
    clock: Callable[[], float]
    provided: dict[str, object] = field(default_factory=dict)


class CloudAddress(NamedTuple):
    """Where programs on this machine reach the cloud over HTTPS, and the file that they trust."""

    url: str
    ca_file: Path


class ReservedTopic(NamedTuple):
    """Topics below ``$aws/`` that clients publish to and a service answers.

    `pattern` matches the whole topic; `handler` gets the message and the match.
    """

    pattern: re.Pattern[str]
    handler: Callable[[PublishedMessage, re.Match[str]], None]


def topic_handler(topics: Sequence[ReservedTopic]) -> Callable[[PublishedMessage], bool]:
    """Return a handler that gives a message to the service of its topic, if there is one.

    The handler returns whether a service answers the topic. The broker logs a message that no
    service answers.
    """

    def handle(message: PublishedMessage) -> bool:
        for pattern, handler in topics:
            match = pattern.fullmatch(message.topic)
            if match is not None:
                handler(message, match)
                return True
        return False

    return handle


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where requests and messages reach one service of one account.

    Attributes
    ----------
    http
        Operations of AWS services. Several services can each serve a part of one AWS service.
    topics
        Reserved MQTT topics, each with its handler.
    admin
        Views that AWS does not have: ``POST /_creeklab/<name>``.
    start
        Called once, on the running event loop, when the cloud listens.
    close
        Called when the account closes, before its database.
    provides
        What the services that are listed after this one can use of it.
    """

    http: Sequence[HttpApi] = ()
    topics: Sequence[ReservedTopic] = ()
    admin: Mapping[str, AdminEndpoint] = field(default_factory=dict)
    start: Callable[[CloudAddress], object] | None = None
    close: Callable[[], object] | None = None
    provides: object | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the cloud.

    Attributes
    ----------
    name
        Name of its folder, under which the database records its migrations.
    migrations
        Its tables: each migration is a sequence of SQL statements, and the list only grows.
    metrics
        Metrics under CloudWatch's names, by group: ``{"GetThingShadow": ("Accepted",)}``.
    events
        Kinds of event-log entries that come in floods, with the size of a buffer of their own, so
        that they do not push out other entries.
    resources
        Kinds of resources that its callers create, which the lab's ledger must take down.
    """

    name: str
    build: Callable[[AccountContext], Endpoints]
    migrations: Migrations = ()
    metrics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    events: Mapping[str, BufferLimit] = field(default_factory=dict)
    resources: tuple[str, ...] = ()
