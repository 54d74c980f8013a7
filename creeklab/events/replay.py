"""Replay an event log: its devices connect, subscribe and publish again, and results are compared.

The devices' actions are repeated through awsiotsdk, one after the other. Two results are compared:
whether the cloud accepted or refused each action, and which clients received each message. The
second is read from the event log of the cloud; AWS has none, so there only the first is known.
"""

from __future__ import annotations

import base64
import threading
from collections import Counter, defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from creeklab.client.device import Device, RequestRefused
from creeklab.events.table import Entry, entries, read_events
from creeklab.session.lab_session import LabSession

if TYPE_CHECKING:
    import pandas as pd

ACTIONS = ("connect", "disconnect", "subscribe", "unsubscribe", "publish")
LOG_TIMEOUT = 5.0
POLL_INTERVAL = 0.05
MAX_LINES = 20


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of replaying one entry.

    Attributes
    ----------
    then, now
        ``"accepted"`` or ``"refused"``, for a message with its receivers; `now` is ``"skipped"`` if
        the entry was not replayed.
    """

    number: int
    client_id: str
    kind: str
    what: str
    then: str
    now: str
    why: str = ""

    @property
    def same(self) -> bool:
        """Whether the result is the recorded one."""
        return self.then == self.now


@dataclass
class EventReplay:
    """The results of a replay, one for each entry of a device, in order."""

    results: list[ReplayResult] = field(default_factory=list)

    @property
    def differences(self) -> list[ReplayResult]:
        """The results that differ from the recorded ones."""
        return [one for one in self.results if not one.same]

    @property
    def table(self) -> pd.DataFrame:
        """All results, indexed by the entry's number."""
        import pandas as pd  # opening the lab must not wait for it

        names = ["number", "client_id", "kind", "what", "then", "now", "same", "why"]
        rows = [{name: getattr(one, name) for name in names} for one in self.results]
        return pd.DataFrame(rows, columns=names).set_index("number")

    def __repr__(self) -> str:
        clients = len({one.client_id for one in self.results})
        skipped = sum(one.now == "skipped" for one in self.results)
        replayed = len(self.results) - skipped
        text = f"Replayed {replayed} entries of {clients} client{'' if clients == 1 else 's'}"
        different = self.differences
        if not different:
            return f"{text}: all results are the same as before."
        lines = [f"{text}, skipped {skipped}; {len(different)} results differ:"]
        for one in different[:MAX_LINES]:
            reason = f" ({one.why})" if one.why else ""
            what = f"{one.client_id}, {one.kind} {one.what}".rstrip()
            lines.append(f"  {one.number}: {what}: then {one.then}, now {one.now}{reason}")
        if len(different) > MAX_LINES:
            lines.append(f"  and {len(different) - MAX_LINES} more; see .table")
        return "\n".join(lines)


def replay(events: pd.DataFrame, lab: LabSession) -> EventReplay:
    """Let the devices of an event log do everything again, and compare the results.

    Connections, subscriptions and messages are repeated through awsiotsdk with the certificates
    saved in this lab, in the recorded order and without pauses. Whatever the cloud does by itself,
    such as the shadow service's responses, is not sent but expected. Wills, persistent sessions and
    MQTT 5 properties are not fully in the table, and are left out.

    On AWS, which has no event log, a result only says whether the action was accepted.
    """
    wanted = [
        entry
        for entry in entries(events)
        if entry["kind"] in ACTIONS and entry.get("client_id") and _is_own(entry)
    ]
    devices = _Devices(lab)
    has_event_log = lab.target == "local"
    begin = _last_number(lab) if has_event_log else 0
    done: list[tuple[Entry, str, str]] = []
    try:
        done += [(entry, *devices.replay(entry)) for entry in wanted]
        logged = _wait_for_messages(lab, begin, done) if has_event_log else {}
    finally:
        devices.close()
    clients = {entry["client_id"] for entry in wanted}
    results = []
    for entry, now, why in done:
        then = _outcome(entry)
        if has_event_log and entry["kind"] == "publish" and now != "skipped":
            then += _receivers(entry, clients)
            again = logged[_key(entry)]
            if again:
                copy = again.popleft()
                now, why = _outcome(copy) + _receivers(copy, clients), str(copy.get("refusal", why))
        results.append(
            ReplayResult(
                entry["number"], entry["client_id"], entry["kind"], _what(entry), then, now, why
            )
        )
    return EventReplay(results)


class _Devices:
    """The devices of an event log, connected when they act."""

    def __init__(self, lab: LabSession) -> None:
        self._lab = lab
        self._devices: dict[str, Device] = {}
        self._things = _things_by_certificate(lab)

    def replay(self, entry: Entry) -> tuple[str, str]:
        """Repeat the action of an entry; return its result and the reason."""
        client, kind = entry["client_id"], entry["kind"]
        thing = self._things.get(entry.get("principal", "")) or self._things.get(client)
        if thing is None:
            return "skipped", "this lab has no certificate and key for it"
        if kind == "publish" and _payload(entry) is None:
            return "skipped", "its payload is not in the event log"
        try:
            self._act(entry, thing)
        except RequestRefused as refused:
            return "refused", str(refused).partition(". lab.why()")[0]
        except (TimeoutError, ValueError) as error:
            return "failed", str(error)
        return "accepted", ""

    def _act(self, entry: Entry, thing: str) -> None:
        client, kind = entry["client_id"], entry["kind"]
        if kind in ("connect", "disconnect"):
            self._end(client)
        if kind == "disconnect":
            return
        device = self._devices.get(client)
        if device is None:
            device = self._devices[client] = self._lab.connect(thing, client_id=client)
        if kind == "subscribe":
            device.subscribe(_what(entry), qos=entry.get("qos", 1))
        elif kind == "unsubscribe":
            device.unsubscribe(_what(entry))
        elif kind == "publish":
            payload = _payload(entry) or b""
            retain = bool(entry.get("retain", False))
            device.publish(_what(entry), payload, qos=entry.get("qos", 1), retain=retain)

    def _end(self, client: str) -> None:
        device = self._devices.pop(client, None)
        if device is not None:
            device.close()

    def close(self) -> None:
        """Disconnect all devices."""
        for client in list(self._devices):
            self._end(client)


def _things_by_certificate(lab: LabSession) -> dict[str, str]:
    """Return the Things with saved files, by certificate ID and by name."""
    found: dict[str, str] = {}
    for name in lab.keys.things():
        with suppress(FileNotFoundError, ValueError):
            found |= {lab.keys.files(name).certificate_id: name, name: name}
    return found


def _is_own(entry: Entry) -> bool:
    """Return whether the client itself did this, and not the cloud to it."""
    return entry["kind"] != "disconnect" or entry.get("reason") == "CLIENT_INITIATED_DISCONNECT"


def _what(entry: Entry) -> str:
    """Return the topic or topic filter of an entry, empty for a connection."""
    if entry["kind"] in ("connect", "disconnect"):
        return ""
    named = str(entry.get("resource", "")).partition("/")[2]
    return str(entry.get("topic") or entry.get("filter") or named)


def _payload(entry: Entry) -> bytes | None:
    if "payload" in entry:
        # Another program may have read a payload of digits as a number.
        return str(entry["payload"]).encode()
    if "payload_base64" in entry:
        return base64.b64decode(entry["payload_base64"])
    # The log has no payload for a message that a policy refused; any other is refused as well.
    return b"" if "action" in entry or entry.get("size") == 0 else None


def _outcome(entry: Entry) -> str:
    return "refused" if "refusal" in entry else "accepted"


def _receivers(entry: Entry, clients: set[str]) -> str:
    got = Counter(name for name in entry.get("to", []) if name in clients)
    if not got:
        return ""
    return ", to " + ", ".join(sorted(got.elements()))


def _key(entry: Entry) -> tuple[str, str]:
    return entry["client_id"], _what(entry)


def _last_number(lab: LabSession) -> int:
    events = read_events(lab)
    return int(events.index.max()) if len(events) else 0


def _wait_for_messages(
    lab: LabSession, begin: int, done: list[tuple[Entry, str, str]]
) -> defaultdict[tuple[str, str], deque[Entry]]:
    """Wait until the replayed messages are in the event log; return them by `_key`."""
    published = [entry for entry, now, _ in done if entry["kind"] == "publish" and now != "skipped"]
    due = Counter(map(_key, published))
    end = monotonic() + LOG_TIMEOUT
    while True:
        logged: defaultdict[tuple[str, str], deque[Entry]] = defaultdict(deque)
        for entry in entries(read_events(lab, begin, kind="publish")):
            if entry.get("client_id"):
                logged[_key(entry)].append(entry)
        if monotonic() > end or all(len(logged[key]) >= count for key, count in due.items()):
            return logged
        threading.Event().wait(POLL_INTERVAL)
