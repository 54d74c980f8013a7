"""The model of the shadow view: one shadow through a connection, and its versions so far.

It listens to the shadow's own topics and publishes to them, as a device does. The versions come
from the local cloud's tape, which knows who wrote each; on AWS from what arrives on ``documents``
while it listens, and who wrote it is told by nobody.

Answers arrive on the SDK's thread and are matched to their request by its client token. One lock is
for all of it; the tape is read by whoever calls `ShadowHistory.refresh`, never by that thread.
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
        When it was written, in seconds since the epoch; 0 if that is not known.
    writer
        Client id of who wrote it; empty for a call over HTTP, None if it is not known.
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
        Of a named shadow; empty for the classic one.
    read
        Gives the document that is there now, None if there is none, without a message to anybody.
    entries
        Gives the tape's entries of this Thing's shadows after a number; None where there is no
        tape.
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
        self.prefix = f"$aws/things/{thing}/shadow" + (f"/name/{name}" if name else "")
        self._device = device
        self._entries = entries
        self._changed = changed
        self._lock = threading.Condition()
        self._reading = threading.Lock()
        self._versions: list[Version] = []
        self._waiting: dict[str, Future[JsonObject]] = {}
        self._number = 0
        self._stale = entries is not None
        device.subscribe(f"{self.prefix}/+/+", callback=self._on_message)
        self.refresh()
        self._begin(read())

    # --- reading --------------------------------------------------------------------------------

    @property
    def versions(self) -> list[Version]:
        """The versions that are known, oldest first."""
        with self._lock:
            return list(self._versions)

    def refresh(self, *, ask: bool = False) -> None:
        """Read from the tape what has come since, if something was heard of.

        Parameters
        ----------
        ask
            Also if nothing was: a shadow that was deleted over HTTP is told on no topic.
        """
        if self._entries is None:
            return
        with self._reading:
            with self._lock:
                stale, self._stale = self._stale or ask, False
            if not stale:
                return
            try:
                entries = self._entries(self._number)
            except BaseException:
                with self._lock:
                    self._stale = True  # to be read when the cloud is back
                raise
            with self._lock:
                for entry in entries:
                    self._number = entry["number"]
                    if entry["shadow"] == self.name and "refusal" not in entry:
                        self._take(entry)
                self._lock.notify_all()

    def wait_for(self, version: int, timeout: float) -> None:
        """Wait until a version is known.

        Raises
        ------
        TimeoutError
            If it is not within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while True:
            self.refresh()
            with self._lock:
                if any(each.version >= version for each in self._versions):
                    return
                left = end - time.monotonic()
                if left <= 0:
                    now = self._versions[-1].version if self._versions else 0
                    raise TimeoutError(
                        f"The shadow of '{self.thing}' did not come to version {version} within "
                        f"{timeout:g} s: it is at {now}."
                    )
                if not self._stale:
                    self._lock.wait(left)

    # --- asking the service ---------------------------------------------------------------------

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
        creeklab.client.device_shadow.ShadowRejected
            With code 409 if the shadow is not at `version`, 400 if the document is not right, ...
        TimeoutError
            If no answer came.
        """
        return self._ask("update", update_document(desired, reported, version))

    def _ask(self, verb: str, document: JsonObject) -> JsonObject:
        token = uuid.uuid4().hex
        answer: Future[JsonObject] = Future()
        with self._lock:
            self._waiting[token] = answer
        try:
            self._device.publish(f"{self.prefix}/{verb}", {**document, "clientToken": token})
            return answer.result(RESPONSE_TIMEOUT)
        except TimeoutError:
            raise TimeoutError(
                f"The shadow of '{self.thing}' did not answer within {RESPONSE_TIMEOUT:.0f} s."
            ) from None
        finally:
            with self._lock:
                del self._waiting[token]

    def delete(self) -> JsonObject:
        """Delete the shadow; return the version that was deleted.

        Raises
        ------
        creeklab.client.device_shadow.ShadowRejected
            With code 404 if there is no such shadow.
        TimeoutError
            If no answer came.
        """
        return self._ask("delete", {})

    # --- what comes in --------------------------------------------------------------------------

    def _begin(self, document: JsonObject | None) -> None:
        """Begin with the version that is there now, if the tape does not reach back to it."""
        if document is None:
            return
        document["state"].pop("delta", None)
        kept = {name: document.get(name, {}) for name in ("state", "metadata", "version")}
        with self._lock:
            if all(each.version < document["version"] for each in self._versions):
                self._append(Version(document["version"], kept, 0.0, None))

    def _on_message(self, message: ReceivedMessage) -> None:
        """Take a message of the service, on the SDK's thread."""
        verb, _, kind = message.topic.removeprefix(self.prefix + "/").partition("/")
        try:
            document = message.json
        except ValueError:
            return
        if not isinstance(document, dict):
            return
        if kind in ("accepted", "rejected"):
            self._settle(kind, document)
        if (verb, kind) not in (("update", "documents"), ("delete", "accepted")):
            return
        with self._lock:
            if self._entries is not None:
                self._stale = True
            elif kind == "documents":
                current, previous = document["current"], document.get("previous")
                self._take(
                    {
                        "version": current["version"],
                        "document": current,
                        "previous": previous,
                        "time": document["timestamp"],
                        "client_id": None,
                    }
                )
            else:
                self._take(
                    {
                        "version": document["version"],
                        "document": None,
                        "previous": None,
                        "time": document["timestamp"],
                        "client_id": None,
                    }
                )
            self._lock.notify_all()
        self._changed()

    def _settle(self, kind: str, document: JsonObject) -> None:
        with self._lock:
            answer = self._waiting.get(str(document.get("clientToken")))
        if answer is None or answer.done():
            return
        if kind == "accepted":
            answer.set_result(document)
        else:
            answer.set_exception(ShadowRejected(document["code"], document["message"]))

    def _take(self, entry: JsonObject) -> None:
        """Append a version, and before it the one that it followed, if that is not known."""
        previous = entry["previous"]
        if previous and not any(each.version == previous["version"] for each in self._versions):
            self._append(Version(previous["version"], previous, 0.0, None))
        self._append(
            Version(entry["version"], entry["document"], entry["time"], entry["client_id"])
        )

    def _append(self, version: Version) -> None:
        # Of a version that was read before it was heard of, the time was not known.
        self._versions = [
            each for each in self._versions if each.version != version.version or each.time
        ]
        self._versions.append(version)
        del self._versions[:-MAX_VERSIONS]


def update_document(
    desired: JsonObject | None, reported: JsonObject | None, version: int | None = None
) -> JsonObject:
    """Return what is published to ``update``."""
    sections = {"desired": desired, "reported": reported}
    state = {name: value for name, value in sections.items() if value is not None}
    return {"state": state} if version is None else {"state": state, "version": version}


def parse_section(text: str) -> JsonObject:
    """Read a section that a person has written.

    Raises
    ------
    ValueError
        If it is not a JSON object; the message says where it goes wrong.
    """
    try:
        found: Any = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(
            f"This is not JSON: {error.msg}, in line {error.lineno}, column {error.colno}."
        ) from None
    if not isinstance(found, dict):
        raise ValueError('Desired is a JSON object, in braces: {"depth": 1.4}')
    return found
