"""Who sent what to whom: the steps of a sequence chart, from entries of the tape.

The parties are the devices (by client id), the broker, the shadow service, and the account, which
calls the API; calls that only look at something are left out. A message is one step to the broker
and one more to each client that got it. A message that the cloud publishes on a shadow's topics
comes from the shadow service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Entry = dict[str, Any]

BROKER, SHADOWS, ACCOUNT = "Broker", "Shadow service", "Account"

_SHADOW_TOPIC = re.compile(r"\$aws/things/[^/]+/shadow/(?:name/[^/]+/)?(?P<verb>get|update|delete)")
_SHADOW_REQUEST = re.compile(_SHADOW_TOPIC.pattern.replace("?P<verb>", ""))


@dataclass(frozen=True, slots=True)
class Arrow:
    """One arrow, or a note if `source` and `target` are the same party.

    Attributes
    ----------
    label, detail
        What was asked or sent, and with what: a payload, a reason.
    look
        ``"asked"``, ``"answered"`` (what follows from it), ``"refused"``.
    """

    source: str
    target: str
    label: str
    detail: str = ""
    look: Literal["asked", "answered", "refused"] = "asked"

    def __str__(self) -> str:
        way = self.source if self.source == self.target else f"{self.source} -> {self.target}"
        refused = "REFUSED " * (self.look == "refused")
        return f"{way}: {refused}{self.label}{f'  {self.detail}' if self.detail else ''}"


def arrows(entries: Iterable[Entry]) -> list[Arrow]:
    """Return the steps of a stretch of the tape."""
    return [step for entry in entries for step in _steps(entry)]


def parties(steps: Sequence[Arrow]) -> list[str]:
    """Return the parties in the order of their columns: who publishes, the cloud, who listens."""
    names = list(dict.fromkeys(name for step in steps for name in (step.source, step.target)))
    cloud = [name for name in (BROKER, SHADOWS, ACCOUNT) if name in names]
    publish = {step.source for step in steps if step.label.startswith("PUBLISH")}
    devices = [name for name in names if name not in cloud]
    left = [name for name in devices if name in publish] or devices[:1]
    return [*left, *cloud, *(name for name in devices if name not in left)]


def _steps(entry: Entry) -> Iterator[Arrow]:
    kind, refusal = entry["kind"], _summary(entry)
    client = entry.get("client_id") or ""
    if kind == "publish":
        yield from _message(entry, client, refusal)
    elif kind == "deliver":
        yield Arrow(BROKER, client, f"PUBLISH {entry['topic']}", _payload(entry), "answered")
    elif kind == "shadow":
        yield _shadow(entry, refusal)
    elif kind == "call" and (entry.get("error") or not _only_looks(entry)):
        name = entry.get("operation") or entry.get("service") or "call"
        code = entry.get("error") or ""
        yield Arrow(ACCOUNT, BROKER, str(name), str(code), "refused" if code else "asked")
    elif kind in ("connect", "subscribe", "unsubscribe") and client:
        on = entry.get("filter") or _named(entry)
        label = f"{kind.upper()} {on}".strip()
        yield Arrow(client, BROKER, label, refusal, "refused" if refusal else "asked")
    elif kind == "receive":
        yield Arrow(BROKER, client, f"PUBLISH {_named(entry)}", refusal, "refused")
    elif kind == "disconnect" and client:
        own = entry.get("reason") == "CLIENT_INITIATED_DISCONNECT"
        source, target = (client, BROKER) if own else (BROKER, client)
        detail = refusal or ("" if own else str(entry.get("reason", "")))
        yield Arrow(source, target, "DISCONNECT", detail, "refused" if refusal else "asked")
    elif kind != "call":
        yield Arrow(BROKER, BROKER, kind, refusal or str(entry.get("why", "")), _look(refusal))


def _only_looks(entry: Entry) -> bool:
    """Tell whether a call changes nothing, as most calls of tools do."""
    return str(entry.get("operation", "")).startswith(("Describe", "Get", "List", "Test"))


def _message(entry: Entry, client: str, refusal: str) -> Iterator[Arrow]:
    topic = entry.get("topic") or _named(entry)
    on_shadow = _SHADOW_TOPIC.match(topic) is not None
    source = client or (SHADOWS if on_shadow else BROKER)
    label = f"PUBLISH {topic}" + " (retained)" * bool(entry.get("retain"))
    detail = refusal or _payload(entry)
    look: Literal["asked", "answered"] = "asked" if client else "answered"
    receivers = entry.get("to") or []
    if source != BROKER:
        yield Arrow(source, BROKER, label, detail, "refused" if refusal else look)
    if client and not refusal and _SHADOW_REQUEST.fullmatch(topic):
        yield Arrow(BROKER, SHADOWS, label, "", "answered")
    for receiver in receivers:
        yield Arrow(BROKER, receiver, label, "", "answered")
    if source == BROKER and not receivers:
        yield Arrow(BROKER, BROKER, label, detail, "answered")


def _shadow(entry: Entry, refusal: str) -> Arrow:
    name = entry.get("shadow") or ""
    of = f"{entry.get('thing', '')}{f', shadow {name!r}' if name else ''}"
    version = entry.get("version")
    label = f"{entry.get('verb', '')} {of}" + (f": version {version}" if version else "")
    return Arrow(SHADOWS, SHADOWS, label, refusal, _look(refusal))


def _look(refusal: str) -> Literal["answered", "refused"]:
    return "refused" if refusal else "answered"


def _summary(entry: Entry) -> str:
    refusal = entry.get("refusal") or ""
    return str(refusal["summary"]) if isinstance(refusal, dict) else str(refusal)


def _named(entry: Entry) -> str:
    """Return the name in the resource that a refusal is about, such as a topic."""
    return str(entry.get("resource", "")).partition("/")[2]


def _payload(entry: Entry) -> str:
    if "payload" in entry:
        return str(entry["payload"])
    if "payload_base64" in entry:
        return f"{entry.get('size', '?')} bytes, binary"
    return f"{entry['size']} bytes, not kept" if entry.get("size") else ""
