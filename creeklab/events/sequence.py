"""The arrows of a sequence chart, from entries of the event log.

The participants are the devices (by client ID), the broker, the shadow service, and the account,
which calls the API; calls that only read are left out. A message is one arrow to the broker and one
more to each client that received it. A message that the cloud publishes on a shadow's topics comes
from the shadow service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from creeklab.events.table import Entry

BROKER, SHADOWS, ACCOUNT = "Broker", "Shadow service", "Account"

Status = Literal["request", "response", "refused"]

_SHADOW_TOPIC = re.compile(r"\$aws/things/[^/]+/shadow/(?:name/[^/]+/)?(?:get|update|delete)")


@dataclass(frozen=True, slots=True)
class Arrow:
    """One arrow, or a note if `source` and `target` are the same participant.

    Attributes
    ----------
    label, detail
        The packet or call, and its payload or reason.
    status
        ``"request"``, ``"response"`` (anything that follows from a request), ``"refused"``.
    """

    source: str
    target: str
    label: str
    detail: str = ""
    status: Status = "request"

    def __str__(self) -> str:
        way = self.source if self.source == self.target else f"{self.source} -> {self.target}"
        refused = "REFUSED " * (self.status == "refused")
        return f"{way}: {refused}{self.label}{f'  {self.detail}' if self.detail else ''}"


def arrows(entries: Iterable[Entry]) -> list[Arrow]:
    """Return the arrows for entries of the event log."""
    return [arrow for entry in entries for arrow in _arrows(entry)]


def participants(arrows: Sequence[Arrow]) -> list[str]:
    """Return the columns in order: devices that publish, the cloud, devices that only subscribe."""
    names = list(dict.fromkeys(name for arrow in arrows for name in (arrow.source, arrow.target)))
    cloud = [name for name in (BROKER, SHADOWS, ACCOUNT) if name in names]
    publishers = {arrow.source for arrow in arrows if arrow.label.startswith("PUBLISH")}
    devices = [name for name in names if name not in cloud]
    left = [name for name in devices if name in publishers] or devices[:1]
    return [*left, *cloud, *(name for name in devices if name not in left)]


def _arrows(entry: Entry) -> Iterator[Arrow]:
    kind, refusal = entry["kind"], _summary(entry)
    client = entry.get("client_id") or ""
    if kind == "publish":
        yield from _message(entry, client, refusal)
    elif kind == "deliver":
        yield Arrow(BROKER, client, f"PUBLISH {entry['topic']}", _payload(entry), "response")
    elif kind == "shadow":
        yield _shadow(entry, refusal)
    elif kind == "call" and (entry.get("error") or not _is_read_only(entry)):
        name = entry.get("operation") or entry.get("service") or "call"
        code = entry.get("error") or ""
        yield Arrow(ACCOUNT, BROKER, str(name), str(code), "refused" if code else "request")
    elif kind in ("connect", "subscribe", "unsubscribe") and client:
        on = entry.get("filter") or _named(entry)
        label = f"{kind.upper()} {on}".strip()
        yield Arrow(client, BROKER, label, refusal, "refused" if refusal else "request")
    elif kind == "receive":
        yield Arrow(BROKER, client, f"PUBLISH {_named(entry)}", refusal, "refused")
    elif kind == "disconnect" and client:
        own = entry.get("reason") == "CLIENT_INITIATED_DISCONNECT"
        source, target = (client, BROKER) if own else (BROKER, client)
        detail = refusal or ("" if own else str(entry.get("reason", "")))
        yield Arrow(source, target, "DISCONNECT", detail, "refused" if refusal else "request")
    elif kind != "call":
        yield Arrow(BROKER, BROKER, kind, refusal or str(entry.get("why", "")), _status(refusal))


def _is_read_only(entry: Entry) -> bool:
    """Return whether a call changes nothing, like most calls of the tools."""
    return str(entry.get("operation", "")).startswith(("Describe", "Get", "List", "Test"))


def _message(entry: Entry, client: str, refusal: str) -> Iterator[Arrow]:
    topic = entry.get("topic") or _named(entry)
    on_shadow = _SHADOW_TOPIC.match(topic) is not None
    source = client or (SHADOWS if on_shadow else BROKER)
    label = f"PUBLISH {topic}" + " (retained)" * bool(entry.get("retain"))
    detail = refusal or _payload(entry)
    status: Status = "request" if client else "response"
    receivers = entry.get("to") or []
    if source != BROKER:
        yield Arrow(source, BROKER, label, detail, "refused" if refusal else status)
    if client and not refusal and _SHADOW_TOPIC.fullmatch(topic):
        yield Arrow(BROKER, SHADOWS, label, "", "response")
    for receiver in receivers:
        yield Arrow(BROKER, receiver, label, "", "response")
    if source == BROKER and not receivers:
        yield Arrow(BROKER, BROKER, label, detail, "response")


def _shadow(entry: Entry, refusal: str) -> Arrow:
    name = entry.get("shadow") or ""
    of = f"{entry.get('thing', '')}{f', shadow {name!r}' if name else ''}"
    version = entry.get("version")
    label = f"{entry.get('request', '')} {of}" + (f": version {version}" if version else "")
    return Arrow(SHADOWS, SHADOWS, label, refusal, _status(refusal))


def _status(refusal: str) -> Status:
    return "refused" if refusal else "response"


def _summary(entry: Entry) -> str:
    refusal = entry.get("refusal") or ""
    return str(refusal["summary"]) if isinstance(refusal, dict) else str(refusal)


def _named(entry: Entry) -> str:
    """Return the name in a refusal's resource, such as a topic."""
    return str(entry.get("resource", "")).partition("/")[2]


def _payload(entry: Entry) -> str:
    if "payload" in entry:
        return str(entry["payload"])
    if "payload_base64" in entry:
        return f"{entry.get('size', '?')} bytes, binary"
    return f"{entry['size']} bytes, not recorded" if entry.get("size") else ""
