"""Shadows of one account: what an update changes, stores and publishes.

MQTT and REST share this implementation. A change is committed before it is acknowledged. Clients
on MQTT see an update that succeeds over REST, but not one that fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.monitoring.metrics import MetricProtocol
from creeklab.cloud.shadow import document as shadow
from creeklab.cloud.shadow.document import Rejected, ShadowLimits
from creeklab.cloud.shadow.store import ShadowStore

JsonObject = dict[str, Any]


class Shadows:
    """The shadows of one account.

    Parameters
    ----------
    publish
        Publishes topic and payload at a QoS on behalf of the cloud.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        store: ShadowStore,
        publish: Callable[[str, bytes, int], object],
        event_log: EventLog,
        clock: Callable[[], float],
        limits: ShadowLimits,
    ) -> None:
        self._store = store
        self._publish = publish
        self._event_log = event_log
        self._clock = clock
        self._limits = limits
        store.purge(clock())

    def get(
        self, thing: str, name: str, payload: bytes = b"", protocol: MetricProtocol = "HTTP"
    ) -> JsonObject:
        """Return the document of a shadow, or raise `Rejected` as `document.get` does."""
        current, _ = self._store.load(thing, name, self._clock())
        response = shadow.get(current, payload, self.now(), label=name or thing)
        self._event_log.metrics.count("GetThingShadow.Accepted", protocol)
        return response

    def update(
        self,
        thing: str,
        name: str,
        payload: bytes,
        client_id: str = "",
        protocol: MetricProtocol = "HTTP",
    ) -> JsonObject:
        """Apply an update, publish its messages, and return the accepted document.

        It raises `Rejected` as `document.update` does.
        """
        current, last_version = self._store.load(thing, name, self._clock())
        result = shadow.update(
            current, payload, self.now(), last_version=last_version, limits=self._limits
        )
        self._store.save(thing, name, result.shadow)
        change = {
            "version": result.shadow.version,
            "previous": current and current.snapshot(),
            "document": result.documents["current"],
        }
        self._log(thing, name, "update", client_id, protocol, **change)
        self._event_log.metrics.count("UpdateThingShadow.Accepted", protocol)
        prefix = _prefix(thing, name) + "/update"
        if result.delta is not None:
            self.publish(prefix + "/delta", result.delta)
        self.publish(prefix + "/documents", result.documents)
        self.publish(prefix + "/accepted", result.accepted)
        return result.accepted

    def delete(
        self,
        thing: str,
        name: str,
        payload: bytes = b"",
        client_id: str = "",
        protocol: MetricProtocol = "HTTP",
    ) -> JsonObject:
        """Delete a shadow and return its last version, or raise `Rejected` if there is none."""
        current, _ = self._store.load(thing, name, self._clock())
        response = shadow.delete(current, payload, self.now(), label=name or thing)
        self._store.delete(thing, name, self._clock())
        change = {
            "version": response["version"],
            "previous": current and current.snapshot(),
            "document": None,
        }
        self._log(thing, name, "delete", client_id, protocol, **change)
        self._event_log.metrics.count("DeleteThingShadow.Accepted", protocol)
        return response

    def names(self, thing: str, after: str, limit: int) -> list[str]:
        """Return up to `limit` names of the Thing's named shadows that sort after `after`."""
        names = self._store.names(thing, after, limit)
        self._event_log.metrics.count("ListThingShadow.Accepted", "HTTP")
        return names

    def log_rejection(
        self, thing: str, name: str, request: str, client_id: str, rejected: Rejected
    ) -> None:
        """Record that a request over MQTT was rejected."""
        refusal = {"summary": f"{rejected.code} {rejected.message}"}
        self._log(thing, name, request, client_id, "MQTT", refusal=refusal)

    def _log(
        self, thing: str, name: str, request: str, client_id: str, protocol: str, **members: Any
    ) -> None:
        self._event_log.append(
            "shadow",
            client_id=client_id,
            thing=thing,
            shadow=name,
            request=request,
            protocol=protocol,
            **members,
        )

    def publish(self, topic: str, document: JsonObject) -> None:
        """Publish a document at QoS 1."""
        payload = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        self._publish(topic, payload.encode(), 1)

    def now(self) -> int:
        """Return the time, as shadow documents have it."""
        return int(self._clock())


def _prefix(thing: str, name: str) -> str:
    return f"$aws/things/{thing}/shadow" + (f"/name/{name}" if name else "")
