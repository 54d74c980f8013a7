"""A tape played again: its devices connect, subscribe and publish anew, and what differs is said.

What a device did is done again through awsiotsdk, one after the other. What came of it is compared:
was it accepted or refused as before, and did the same clients get the message? The second is read
from the tape of the cloud that it is played to; AWS has none, so there only the first is known.
"""

from __future__ import annotations

import base64
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from creeklab.client.device import Device, RequestRefused

if TYPE_CHECKING:
    import pandas as pd

    from creeklab.lab.lab import Lab

Entry = dict[str, Any]

ACTIONS = ("connect", "disconnect", "subscribe", "unsubscribe", "publish")
SETTLE_TIMEOUT = 5.0
POLL_INTERVAL = 0.05


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What one entry came to when it was played again.

    Attributes
    ----------
    number
        Of the entry on the tape.
    then, now
        ``"accepted"`` or ``"refused"``, of a message with who got it; `now` is ``"left out"`` if it
        was not played.
    why
        Why it was left out, or refused.
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
        """Whether the outcome is the one on the tape."""
        return self.then == self.now


@dataclass
class EventReplay:
    """What came of playing a tape again.

    Attributes
    ----------
    outcomes
        One for each entry of a device, in their order.
    """

    outcomes: list[ReplayResult] = field(default_factory=list)

    @property
    def differences(self) -> list[ReplayResult]:
        """Those that came out otherwise."""
        return [one for one in self.outcomes if not one.same]

    @property
    def table(self) -> pd.DataFrame:
        """All of them, indexed by the entry's number."""
        import pandas as pd

        names = ["number", "client_id", "kind", "what", "then", "now", "same", "why"]
        rows = [{name: getattr(one, name) for name in names} for one in self.outcomes]
        return pd.DataFrame(rows, columns=names).set_index("number")

    def __repr__(self) -> str:
        clients = len({one.client_id for one in self.outcomes})
        left = sum(one.now == "left out" for one in self.outcomes)
        played = len(self.outcomes) - left
        said = f"{played} entries of {clients} client{'' if clients == 1 else 's'} played again"
        different = self.differences
        if not different:
            return f"{said}: all came out as before."
        lines = [f"{said}, {left} left out; {len(different)} came out otherwise:"]
        for one in different[:20]:
            because = f" ({one.why})" if one.why else ""
            what = f"{one.client_id}, {one.kind} {one.what}".rstrip()
            lines.append(f"  {one.number}: {what}: then {one.then}, now {one.now}{because}")
        if len(different) > 20:
            lines.append(f"  and {len(different) - 20} more; see .table")
        return "\n".join(lines)


def replay(entries: Iterable[Entry], lab: Lab) -> EventReplay:
    """Play the entries again; see `creeklab.events.events.replay`."""
    wanted = [
        entry
        for entry in entries
        if entry["kind"] in ACTIONS and entry.get("client_id") and _is_own(entry)
    ]
    players = _Players(lab)
    has_tape = lab.target == "local"
    begin = _last_number(lab) if has_tape else 0
    done: list[tuple[Entry, str, str]] = []
    try:
        done += [(entry, *players.play(entry)) for entry in wanted]
        seen = _seen(lab, begin, done) if has_tape else {}
    finally:
        players.close()
    clients = {entry["client_id"] for entry in wanted}
    outcomes = []
    for entry, now, why in done:
        then = _then(entry)
        if has_tape and entry["kind"] == "publish" and now != "left out":
            then += _receivers(entry, clients)
            again = seen[_key(entry)]
            if again:
                copy = again.popleft()
                now, why = _then(copy) + _receivers(copy, clients), str(copy.get("refusal", why))
        outcomes.append(
            ReplayResult(
                entry["number"], entry["client_id"], entry["kind"], _what(entry), then, now, why
            )
        )
    return EventReplay(outcomes)


class _Players:
    """The devices of a tape, connected when they act."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._devices: dict[str, Device] = {}
        self._things = _things_by_certificate(lab)

    def play(self, entry: Entry) -> tuple[str, str]:
        """Do what an entry tells; return how it came out, and why."""
        client, kind = entry["client_id"], entry["kind"]
        thing = self._things.get(entry.get("principal", "")) or self._things.get(client)
        if thing is None:
            return "left out", "this lab has no certificate and key of it"
        if kind == "publish" and _payload(entry) is None:
            return "left out", "its payload is not on the tape"
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
        """Disconnect all."""
        for client in list(self._devices):
            self._end(client)


def _things_by_certificate(lab: Lab) -> dict[str, str]:
    """Return the Things whose files this lab has, by certificate id and by their own name."""
    found: dict[str, str] = {}
    for name in lab.keys.things():
        with suppress(FileNotFoundError, ValueError):
            found |= {lab.keys.files(name).certificate_id: name, name: name}
    return found


def _is_own(entry: Entry) -> bool:
    """Tell whether it is something that the client did, not something that was done to it."""
    return entry["kind"] != "disconnect" or entry.get("reason") == "CLIENT_INITIATED_DISCONNECT"


def _what(entry: Entry) -> str:
    """Return the topic, topic filter or nothing that an entry is about."""
    if entry["kind"] in ("connect", "disconnect"):
        return ""
    named = str(entry.get("resource", "")).partition("/")[2]
    return str(entry.get("topic") or entry.get("filter") or named)


def _payload(entry: Entry) -> bytes | None:
    if "payload" in entry:
        # A table that was made elsewhere may have read digits as a number.
        return str(entry["payload"]).encode()
    if "payload_base64" in entry:
        return base64.b64decode(entry["payload_base64"])
    # Of a message that a policy refused the tape has no payload; any other is refused as well.
    return b"" if "action" in entry or entry.get("size") == 0 else None


def _then(entry: Entry) -> str:
    return "refused" if "refusal" in entry else "accepted"


def _receivers(entry: Entry, clients: set[str]) -> str:
    got = Counter(name for name in entry.get("to", []) if name in clients)
    if not got:
        return ""
    return ", to " + ", ".join(sorted(got.elements()))


def _key(entry: Entry) -> tuple[str, str]:
    return entry["client_id"], _what(entry)


def _last_number(lab: Lab) -> int:
    tape = lab.events()
    return int(tape.index.max()) if len(tape) else 0


def _seen(
    lab: Lab, begin: int, done: list[tuple[Entry, str, str]]
) -> defaultdict[tuple[str, str], deque[Entry]]:
    """Wait until the messages that were played are on the cloud's tape; return them by `_key`."""
    from creeklab.events.table import entries

    played = [entry for entry, now, _ in done if entry["kind"] == "publish" and now != "left out"]
    due = Counter(map(_key, played))
    end = monotonic() + SETTLE_TIMEOUT
    while True:
        seen: defaultdict[tuple[str, str], deque[Entry]] = defaultdict(deque)
        for entry in entries(lab.events(after=begin, kind="publish")):
            if entry.get("client_id"):
                seen[_key(entry)].append(entry)
        if monotonic() > end or all(len(seen[key]) >= count for key, count in due.items()):
            return seen
        threading.Event().wait(POLL_INTERVAL)
