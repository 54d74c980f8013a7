"""One account of the cloud: its database, event log, registry and broker, and its services.

An account shares the ports, the certificate authority, the settings and the clocks with the other
accounts of the cloud (`local_cloud.py`). The registry itself is built here and not by its service,
because the broker asks it whose certificate a client has and what its policies allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from creeklab.cloud.account import AccountIdentity
from creeklab.cloud.api.dispatcher import ADMIN_SERVICE, AdminEndpoint
from creeklab.cloud.api.http_api import HttpApi, HttpService
from creeklab.cloud.authorization import AccountAuthorization, ConnectionAuthorization
from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.mqtt.session.retained_store import RetainedMessages
from creeklab.cloud.mqtt.session.session_store import SqliteSessionStore
from creeklab.cloud.registry import Registry
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.service import (
    AccountContext,
    CloudAddress,
    Endpoints,
    ReservedTopic,
    Service,
    topic_handler,
)
from creeklab.cloud.settings import Settings
from creeklab.cloud.storage.database import Database
from creeklab.cloud.storage.group_commit import GroupCommit
from creeklab.cloud.transport.http_server import Request


@dataclass(frozen=True, slots=True)
class CloudContext:
    """What the accounts of one cloud share.

    Attributes
    ----------
    services
        The services that run in each account.
    endpoint
        Host name that DescribeEndpoint returns.
    clock, timer
        Seconds since the epoch, and seconds that never go back.
    """

    services: Sequence[Service]
    settings: Settings
    ca: CertificateAuthority
    endpoint: str
    clock: Callable[[], float]
    timer: Callable[[], float]


class AccountServices:
    """Everything that belongs to one account, with its database in `folder`."""

    def __init__(self, cloud: CloudContext, folder: Path, identity: AccountIdentity) -> None:
        self.identity = identity
        self.calls = 0
        self.event_log = EventLog(clock=cloud.clock)
        self.database = Database(folder / "cloud.db")
        self.admin_endpoints: dict[str, AdminEndpoint] = {}
        self._http: list[HttpApi] = []
        self._topics: list[ReservedTopic] = []
        self._starts: list[Callable[[CloudAddress], object]] = []
        self._closes: list[Callable[[], object]] = []
        try:
            self._build(cloud)
        except BaseException:
            self.database.close()
            raise

    def _build(self, cloud: CloudContext) -> None:
        database, clock, settings = self.database, cloud.clock, cloud.settings
        self.registry = Registry(database, cloud.ca, self.identity, cloud.endpoint, clock)
        cloud.ca.trust(self.registry.certificates.external())
        self.commits = GroupCommit(database, cloud.timer)
        retained = RetainedMessages(database, self.commits, settings.retained_max, clock)
        self.broker = Broker(
            settings,
            self.event_log,
            retained,
            SqliteSessionStore(database, self.commits, clock, cloud.timer),
            self.commits,
            self._authorization_for,
            clock,
            cloud.timer,
        )
        self.registry.authorization_listeners.append(self.broker.invalidate_authorization)
        context = AccountContext(
            self.identity,
            settings,
            database,
            self.event_log,
            self.registry,
            self.broker,
            retained,
            clock,
        )
        for service in cloud.services:
            self._add(service, context)
        self.broker.add_handler("services", topic_handler(self._topics))

    def _add(self, service: Service, context: AccountContext) -> None:
        self.database.migrate(service.name, service.migrations)
        for group, ends in service.metrics.items():
            self.event_log.metrics.add_group(group, ends)
        for kind, limit in service.events.items():
            self.event_log.add_buffer(kind, limit)
        endpoints: Endpoints = service.build(context)
        self._http += endpoints.http
        self._topics += endpoints.topics
        self.admin_endpoints |= endpoints.admin
        if endpoints.provides is not None:
            context.provided[service.name] = endpoints.provides
        if endpoints.start is not None:
            self._starts.append(endpoints.start)
        if endpoints.close is not None:
            self._closes.append(endpoints.close)

    @cached_property
    def http_services(self) -> Mapping[str, HttpService]:
        """AWS services, by the name that a request is signed for.

        Reading their models takes a while, and no device waits for them.
        """
        by_model: dict[str, list[HttpApi]] = {}
        for api in self._http:
            by_model.setdefault(api.model, []).append(api)
        services = {model: HttpService(model, apis) for model, apis in by_model.items()}
        return {name: services[api.model] for api in self._http for name in api.signed_for}

    def admin_endpoint(self, name: str, address: str) -> AdminEndpoint | None:
        """Return an endpoint of the admin API; it is the same for every address."""
        return self.admin_endpoints.get(name)

    def set_commit_scheduler(self, soon: Callable[[Callable[[], object]], object]) -> None:
        """Commit what is pending by way of `soon`, which schedules a function on the event loop."""
        self.commits.soon = lambda: soon(self.broker.commit_and_acknowledge)

    def start(self, address: CloudAddress) -> None:
        """Start the services that need the event loop or the cloud's address."""
        for start in self._starts:
            start(address)

    async def open_websocket(self, request: Request) -> None:
        """Serve MQTT over a WebSocket whose request the account has signed."""
        # Imported here: most clouds never open a WebSocket, and importing wsproto takes time.
        from creeklab.cloud.mqtt.listeners.websocket_listener import serve_websocket

        await serve_websocket(self.broker, request, self.identity.user_id)

    def device_authorization(self, certificate_id: str, source_ip: str) -> ConnectionAuthorization:
        """Return what the policies of a certificate allow over HTTPS."""
        return ConnectionAuthorization(self.registry, certificate_id, None, source_ip)

    def record_call(self, **call: Any) -> None:
        """Record a call of the API in the event log."""
        self.calls += 1
        # Reading the event log must not add to it.
        if call["service"] != ADMIN_SERVICE:
            self.event_log.append("call", **call)
        if call.get("action") in ("iot:Publish", "iot:RetainPublish"):
            self.event_log.metrics.count("PublishIn.AuthError", "HTTP")

    def tick(self) -> None:
        """Do what is due; call it about once a second."""
        self.event_log.metrics.tick()
        self.broker.tick()

    def close(self) -> None:
        """Close every connection and the database."""
        self.broker.close()
        for close in self._closes:
            close()
        self.database.close()

    def _authorization_for(
        self, peer: Peer, client_id: str, attributes: tuple[str, ...], will_topic: str | None
    ) -> ConnectionAuthorization:
        kind = AccountAuthorization if peer.certificate_id is None else ConnectionAuthorization
        certificate_id, source_ip = peer.certificate_id or "", peer.source_ip
        return kind(self.registry, certificate_id, client_id, source_ip, attributes, will_topic)
