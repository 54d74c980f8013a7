"""The model of the shadow view: one shadow through a connection, and its versions so far.

It subscribes to the topics of the shadow and publishes to them, as a device does. The versions come
from the local cloud's event log, which knows the writer of each. On AWS, they come from the
messages on ``documents`` while the view is open, and the writer is unknown.

Answers arrive on the SDK's thread and are matched to their request by its client token. One lock
protects everything. The caller of `ShadowHistory.refresh` reads the event log, never the SDK's
thread.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from creeklab.client.device import Device
from creeklab.client.device_shadow import ShadowRejected
from creeklab.client.inbox import ReceivedMessage
from creeklab.client.topics import shadow_topic
from creeklab.widgets.shadow_document import JsonObject, section

RESPONSE_TIMEOUT = 10.0
MAX_VERSIONS = 1_000

Read = Callable[[], JsonObject | None]
Entries = Callable[[int], Sequence[JsonObject]]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a shadow.

    Attributes
    ----------
    document
        ``state``, ``metadata`` and ``version``; None where the shadow was deleted.
    time
        The time it was written, in seconds since the epoch; 0 if unknown.
    writer
        The client ID of the writer; empty for a call over HTTP, None if unknown.
    """

    version: int
    document: JsonObject | None
    time: float
    writer: str | None

    def section(self, name: str) -> JsonObject:
        """Return ``desired`` or ``reported``."""
        return section(self.document, name)


class ShadowHistory:
    """The versions of one shadow, and a way to read and write it.

    Parameters
    ----------
    name
        Name of a named shadow; empty for the classic one.
    read
        Returns the current document, or None if there is none, without sending a message.
    entries
        Returns the log's entries of this Thing's shadows after an entry number; None if there is no
        event log.
    changed
        Called after each change, on any thread.
    """

    def __init__(
        self,
        device: Device,
        thing: str,
        name: str,
        read: Read,
        entries: Entries | None,
        changed: Callable[[], None],
    ) -> None:
        self.thing = thing
        self.name = name
        self._device = device
        self._entries = entries
        self._changed = changed
        self._lock = threading.Condition()
        self._reading = threading.Lock()
        self._versions: list[Version] = []
        self._pending: dict[str, Future[JsonObject]] = {}
        self._number = 0
        self._stale = entries is not None
        device.subscribe(self.topic("+/+"), callback=self._on_message)
        self.refresh()
        self._add_current(read())

    def topic(self, operation: str) -> str:
        """Return a topic of this shadow."""
        return shadow_topic(self.thing, operation, self.name)

    # --- reading --------------------------------------------------------------------------------

    @property
    def versions(self) -> list[Version]:
        """The known versions, oldest first."""
        with self._lock:
            return list(self._versions)

    def refresh(self, *, force: bool = False) -> None:
        """Read new entries of the event log if there was a message about a change, or by `force`.

        A deletion over HTTP is not announced on any topic.
        """
        if self._entries is None:
            return
        with self._reading:
            with self._lock:
                stale, self._stale = self._stale or force, False
            if not stale:
                return
            try:
                entries = self._entries(self._number)
            except BaseException:
                with self._lock:
                    self._stale = True  # read them when the cloud is back
                raise
            with self._lock:
                for entry in entries:
                    self._number = entry["number"]
                    if entry["shadow"] == self.name and "refusal" not in entry:
                        self._add(entry)
                self._lock.notify_all()

    def wait_for(self, version: int, timeout: float) -> None:
        """Wait until the shadow reaches a version, for at most `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            self.refresh()
            with self._lock:
                if any(each.version >= version for each in self._versions):
                    return
                left = end - time.monotonic()
                if left <= 0:
                    current = self._versions[-1].version if self._versions else 0
                    raise TimeoutError(
                        f"The shadow of '{self.thing}' did not reach version {version} within "
                        f"{timeout:g} s. It is at version {current}."
                    )
                if not self._stale:
                    self._lock.wait(left)

    # --- requests to the service ----------------------------------------------------------------

    def update(
        self,
        *,
        desired: JsonObject | None = None,
        reported: JsonObject | None = None,
        version: int | None = None,
    ) -> JsonObject:
        """Update the shadow; return what the service accepted.

        Raises
        ------
        creeklab.client.ShadowRejected
            With code 409 if the shadow is at another version, 400 if the document is invalid, ...
        TimeoutError
            If no answer arrives.
        """
        return self._request("update", update_document(desired, reported, version))

    def _request(self, operation: str, document: JsonObject) -> JsonObject:
        token = uuid.uuid4().hex
        answer: Future[JsonObject] = Future()
        with self._lock:
            self._pending[token] = answer
        try:
            self._device.publish(self.topic(operation), {**document, "clientToken": token})
            return answer.result(RESPONSE_TIMEOUT)
        except TimeoutError:
            raise TimeoutError(
                f"The shadow service did not answer the {operation} of '{self.thing}' within "
                f"{RESPONSE_TIMEOUT:.0f} s. lab.why() may explain it."
            ) from None
        finally:
            with self._lock:
                del self._pending[token]

    def delete(self) -> JsonObject:
        """Delete the shadow; return the version that was deleted.

        Raises
        ------
        creeklab.client.ShadowRejected
            With code 404 if there is no such shadow.
        TimeoutError
            If no answer arrives.
        """
        return self._request("delete", {})

    # --- incoming versions ----------------------------------------------------------------------

    def _add_current(self, document: JsonObject | None) -> None:
        """Add the current version, unless the event log contains it."""
        if document is None:
            return
        document["state"].pop("delta", None)
        current = {name: document.get(name, {}) for name in ("state", "metadata", "version")}
        with self._lock:
            if all(each.version < document["version"] for each in self._versions):
                self._append(Version(document["version"], current, 0.0, None))

    def _on_message(self, message: ReceivedMessage) -> None:
        """Handle a message of the service, on the SDK's thread."""
        operation, kind = message.topic.split("/")[-2:]
        try:
            document = message.json
        except ValueError:
            return
        if not isinstance(document, dict):
            return
        if kind in ("accepted", "rejected"):
            self._resolve(kind, document)
        if (operation, kind) not in (("update", "documents"), ("delete", "accepted")):
            return
        with self._lock:
            if self._entries is not None:
                self._stale = True
            else:
                current = document.get("current")  # None for a deletion
                self._add(
                    {
                        "version": (current or document)["version"],
                        "document": current,
                        "previous": document.get("previous"),
                        "time": document["timestamp"],
                        "client_id": None,
                    }
                )
            self._lock.notify_all()
        self._changed()

    def _resolve(self, kind: str, document: JsonObject) -> None:
        with self._lock:
            answer = self._pending.get(str(document.get("clientToken")))
        if answer is None or answer.done():
            return
        if kind == "accepted":
            answer.set_result(document)
        else:
            answer.set_exception(ShadowRejected(document["code"], document["message"]))

    def _add(self, entry: JsonObject) -> None:
        """Append a version and, if it is not known yet, the one before it."""
        previous = entry["previous"]
        if previous and not any(each.version == previous["version"] for each in self._versions):
            self._append(Version(previous["version"], previous, 0.0, None))
        self._append(
            Version(entry["version"], entry["document"], entry["time"], entry["client_id"])
        )

    def _append(self, version: Version) -> None:
        # Replace a version that was read before its message arrived: its time was unknown.
        self._versions = [
            each for each in self._versions if each.version != version.version or each.time
        ]
        self._versions.append(version)
        del self._versions[:-MAX_VERSIONS]


def update_document(
    desired: JsonObject | None, reported: JsonObject | None, version: int | None = None
) -> JsonObject:
    """Return the document to publish to ``update``."""
    sections = {"desired": desired, "reported": reported}
    state = {name: value for name, value in sections.items() if value is not None}
    return {"state": state} if version is None else {"state": state, "version": version}


def parse_section(text: str) -> JsonObject:
    """Parse a section that the user typed; raise `ValueError` if it is not a JSON object."""
    try:
        found: Any = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(
            f"This is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from None
    if not isinstance(found, dict):
        raise ValueError('Desired must be a JSON object in braces, such as {"depth": 1.4}.')
    return found
