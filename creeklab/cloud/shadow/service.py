"""The Device Shadow service: the topics and calls around the documents of `shadow.py`.

One implementation for MQTT and REST. What it acknowledges is committed first. A successful REST
update is seen on MQTT as well, a failed one is not.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.monitoring.metrics import MetricProtocol
from creeklab.cloud.shadow import document as shadow
from creeklab.cloud.shadow.document import Rejected, Shadow, ShadowLimits
from creeklab.cloud.storage.database import Database

Publish = Callable[[str, bytes, int], object]
JsonObject = dict[str, Any]

REQUEST_TOPIC = re.compile(
    r"\$aws/things/(?P<thing>[a-zA-Z0-9:_-]{1,128})/shadow"
    r"(?:/name/(?P<name>[$a-zA-Z0-9:_-]{1,64}))?/(?P<verb>get|update|delete)"
)
# Numbering goes on where it was if a shadow is made anew within this time (developer guide,
# "Device Shadow service data flow").
REMEMBER_DELETED_SECONDS = 48 * 3600


class ShadowService:
    """The shadows of one account.

    Parameters
    ----------
    publish
        Publishes topic and payload at a QoS as the service, without a policy's permission.
    """

    def __init__(
        self,
        store: Database,
        publish: Publish,
        tape: EventLog,
        clock: Callable[[], float],
        rules: ShadowLimits,
    ) -> None:
        self._store = store
        self._publish = publish
        self._tape = tape
        self._clock = clock
        self._rules = rules
        forgotten = clock() - REMEMBER_DELETED_SECONDS
        with store.transaction() as db:
            db.execute("DELETE FROM shadows WHERE deleted_at <= ?", (forgotten,))

    # --- over MQTT ----------------------------------------------------------------------------

    def on_message(self, topic: str, payload: bytes, client_id: str) -> None:
        """Answer a message on a shadow's ``get``, ``update`` or ``delete`` topic."""
        match = REQUEST_TOPIC.fullmatch(topic)
        if match is None:
            return
        thing, name, verb = match["thing"], match["name"] or "", match["verb"]
        try:
            if verb == "get":
                answer = self.get(thing, name, payload, "MQTT")
            elif verb == "delete":
                answer = self.delete(thing, name, payload, client_id, "MQTT")
            else:
                self.update(thing, name, payload, client_id, "MQTT")
                return
        except Rejected as rejected:
            self._answer(topic + "/rejected", rejected.document(self._now()))
            self._tape.append(
                "shadow",
                client_id=client_id,
                thing=thing,
                shadow=name,
                verb=verb,
                protocol="MQTT",
                refusal={"summary": f"{rejected.code} {rejected.message}"},
            )
        except sqlite3.Error:
            self._answer(topic + "/rejected", shadow.failed(payload).document(self._now()))
            raise
        else:
            self._answer(topic + "/accepted", answer)

    # --- the three verbs ----------------------------------------------------------------------

    def get(
        self, thing: str, name: str, payload: bytes = b"", protocol: MetricProtocol = "HTTP"
    ) -> JsonObject:
        """Return the shadow's document.

        Raises
        ------
        Rejected
            404 if there is no such shadow, 400 if the payload is not what ``get`` takes.
        """
        current, _ = self._load(thing, name)
        answer = shadow.get(current, payload, self._now(), label=name or thing)
        self._tape.metrics.count("GetThingShadow.Accepted", protocol)
        return answer

    def update(
        self,
        thing: str,
        name: str,
        payload: bytes,
        client_id: str = "",
        protocol: MetricProtocol = "HTTP",
    ) -> JsonObject:
        """Apply an update, publish what follows from it, and return the accepted document.

        Raises
        ------
        Rejected
            As the developer guide's "Device Shadow error messages" say.
        """
        current, last_version = self._load(thing, name)
        result = shadow.update(
            current, payload, self._now(), last_version=last_version, rules=self._rules
        )
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO shadows (thing, name, document, version, deleted_at) "
                "VALUES (?, ?, ?, ?, NULL) ON CONFLICT (thing, name) DO UPDATE SET "
                "document = excluded.document, version = excluded.version, deleted_at = NULL",
                (thing, name, result.shadow.to_json(), result.shadow.version),
            )
        self._tape.append(
            "shadow",
            client_id=client_id,
            thing=thing,
            shadow=name,
            verb="update",
            protocol=protocol,
            version=result.shadow.version,
            previous=current and current.snapshot(),
            document=result.documents["current"],
        )
        self._tape.metrics.count("UpdateThingShadow.Accepted", protocol)
        prefix = _prefix(thing, name) + "/update"
        if result.delta is not None:
            self._answer(prefix + "/delta", result.delta)
        self._answer(prefix + "/documents", result.documents)
        self._answer(prefix + "/accepted", result.accepted)
        return result.accepted

    def delete(
        self,
        thing: str,
        name: str,
        payload: bytes = b"",
        client_id: str = "",
        protocol: MetricProtocol = "HTTP",
    ) -> JsonObject:
        """Delete a shadow; return the version that was deleted.

        Raises
        ------
        Rejected
            404 if there is no such shadow.
        """
        current, _ = self._load(thing, name)
        answer = shadow.delete(current, payload, self._now(), label=name or thing)
        with self._store.transaction() as db:
            db.execute(
                "UPDATE shadows SET document = '', deleted_at = ? WHERE thing = ? AND name = ?",
                (self._clock(), thing, name),
            )
        self._tape.append(
            "shadow",
            client_id=client_id,
            thing=thing,
            shadow=name,
            verb="delete",
            protocol=protocol,
            version=answer["version"],
            previous=current and current.snapshot(),
            document=None,
        )
        self._tape.metrics.count("DeleteThingShadow.Accepted", protocol)
        return answer

    def named(self, thing: str, after: str, limit: int) -> list[str]:
        """Return up to `limit` names of the Thing's named shadows that sort after `after`."""
        rows = self._store.execute(
            "SELECT name FROM shadows WHERE thing = ? AND name > ? AND deleted_at IS NULL "
            "ORDER BY name LIMIT ?",
            (thing, after, limit),
        )
        self._tape.metrics.count("ListThingShadow.Accepted", "HTTP")
        return [row[0] for row in rows]

    # --- small things -------------------------------------------------------------------------

    def _load(self, thing: str, name: str) -> tuple[Shadow | None, int]:
        row = self._store.execute(
            "SELECT document, version, deleted_at FROM shadows WHERE thing = ? AND name = ?",
            (thing, name),
        ).fetchone()
        if row is None:
            return None, 0
        document, version, deleted_at = row
        if deleted_at is None:
            return Shadow.from_json(document), 0
        recent = self._clock() - deleted_at < REMEMBER_DELETED_SECONDS
        return None, version if recent else 0

    def _answer(self, topic: str, document: JsonObject) -> None:
        payload = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        self._publish(topic, payload.encode(), 1)

    def _now(self) -> int:
        return int(self._clock())


def _prefix(thing: str, name: str) -> str:
    return f"$aws/things/{thing}/shadow" + (f"/name/{name}" if name else "")
