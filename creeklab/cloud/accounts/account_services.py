"""The rooms of one account, wired together: the only file that knows them all.

What an account has for itself: its registry, its shadows, its broker with the sessions of its
devices, its tape. Ports, the certificate authority and time belong to the whole cloud (`app.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path

from creeklab.cloud.account import AccountIdentity
from creeklab.cloud.api.admin import admin_endpoints
from creeklab.cloud.api.dispatcher import ADMIN_SERVICE, DATA_SERVICE, AdminEndpoint
from creeklab.cloud.api.iot import Iot
from creeklab.cloud.api.iot_data import IotData
from creeklab.cloud.api.service_model import ServiceModel
from creeklab.cloud.api.sts import Sts
from creeklab.cloud.authorization import AccountAuthorization, ConnectionAuthorization
from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.mqtt.broker import Broker
from creeklab.cloud.mqtt.interfaces import Peer
from creeklab.cloud.mqtt.session.retained_store import RetainedMessages
from creeklab.cloud.mqtt.session.session_store import SqliteSessionStore
from creeklab.cloud.registry import Registry
from creeklab.cloud.registry.event_publisher import RegistryEventPublisher
from creeklab.cloud.security.ca import CertificateAuthority
from creeklab.cloud.settings import Settings
from creeklab.cloud.shadow.document import ShadowLimits
from creeklab.cloud.shadow.service import ShadowService
from creeklab.cloud.storage.database import Database
from creeklab.cloud.storage.group_commit import GroupCommit
from creeklab.cloud.transport.http_server import Request

model = cache(ServiceModel)
"""The service model of a name, read once for all accounts."""


class AccountServices:
    """Everything that belongs to one account.

    Parameters
    ----------
    folder
        Where its database lies.
    endpoint
        Host name that DescribeEndpoint answers.
    clock, timer
        Seconds since the epoch, and seconds that only go forward.
    """

    def __init__(
        self,
        folder: Path,
        account: AccountIdentity,
        settings: Settings,
        ca: CertificateAuthority,
        endpoint: str,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self.account = account
        self.calls = 0
        self.tape = EventLog(clock=clock)
        self.store = Database(folder / "cloud.db")
        try:
            self._build(settings, ca, endpoint, clock, timer)
        except BaseException:
            self.store.close()
            raise

    def _build(
        self,
        settings: Settings,
        ca: CertificateAuthority,
        endpoint: str,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        account = self.account
        self.registry = Registry(
            self.store,
            ca,
            account=account.account,
            region=account.region,
            endpoint=endpoint,
            clock=clock,
        )
        self.commits = GroupCommit(self.store, timer)
        retained = RetainedMessages(self.store, self.commits, settings.retained_max, clock)
        self.broker = Broker(
            settings,
            self.tape,
            retained,
            SqliteSessionStore(self.store, self.commits, clock, timer),
            self.commits,
            self._access_for,
            clock,
            timer,
        )
        rules = ShadowLimits(
            max_bytes=settings.shadow_max_bytes,
            first_previous=settings.shadow_first_previous,
            first_version=settings.shadow_first_version,
        )
        self.shadows = ShadowService(self.store, self.broker.publish, self.tape, clock, rules)
        self.broker.add_handler(
            "services",
            lambda message: self.shadows.on_message(
                message.topic, message.payload, message.client_id
            ),
        )
        self.registry.listeners.append(self.broker.invalidate_authorization)
        events = RegistryEventPublisher(self.registry, self.broker.publish, clock)
        self.registry.watchers.append(events.on_change)
        ca.trust(self.registry.certificates.external())
        self._retained = retained
        self.admin_endpoints: dict[str, AdminEndpoint] = admin_endpoints(self.tape)

    @cached_property
    def services(self) -> Mapping[str, tuple[ServiceModel, object]]:
        """What is served over HTTP, by the name a request is signed for.

        Reading the models takes a while, and no device waits for them.
        """
        data = (model("iot-data"), IotData(self.broker, self.shadows, self._retained))
        return {
            "iot": (model("iot"), Iot(self.registry, self.broker.connectivity.get)),
            DATA_SERVICE: data,
            "iotdevicegateway": data,
            "sts": (model("sts"), Sts(self.account.account, self.account.user_arn)),
        }

    def set_commit_scheduler(self, soon: Callable[[Callable[[], object]], object]) -> None:
        """Have what is to be kept committed by `soon`, which calls a function in a moment."""
        self.commits.soon = lambda: soon(self.broker.commit_and_acknowledge)

    async def open_websocket(self, request: Request) -> None:
        """Talk MQTT over a WebSocket that the account has signed for."""
        # Imported here: most clouds never open one, and wsproto takes its time.
        from creeklab.cloud.mqtt.listeners.websocket_listener import serve_websocket

        await serve_websocket(self.broker, request, self.account.user_id)

    def device_authorization(self, certificate_id: str, source_ip: str) -> ConnectionAuthorization:
        """Return the rights of a certificate over HTTPS."""
        return ConnectionAuthorization(self.registry, certificate_id, None, source_ip)

    def record_call(self, **call: object) -> None:
        """Put a call to the API on the tape."""
        self.calls += 1
        # Looking at the tape is not a happening of its own.
        if call["service"] != ADMIN_SERVICE:
            self.tape.append("call", **call)
        if call.get("action") in ("iot:Publish", "iot:RetainPublish"):
            self.tape.metrics.count("PublishIn.AuthError", "HTTP")

    def tick(self) -> None:
        """Do what time brings; call it every second or so."""
        self.tape.metrics.tick()
        self.broker.tick()

    def close(self) -> None:
        """Close every connection and the store."""
        self.broker.close()
        self.store.close()

    def _access_for(
        self, peer: Peer, client_id: str, attributes: tuple[str, ...]
    ) -> ConnectionAuthorization:
        source_ip, certificate_id = peer.source_ip, peer.certificate_id
        if certificate_id is None:
            return AccountAuthorization(self.registry, "", client_id, source_ip, attributes)
        return ConnectionAuthorization(
            self.registry, certificate_id, client_id, source_ip, attributes
        )
