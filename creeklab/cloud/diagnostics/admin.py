"""The one door that AWS does not have: what happened, and why something was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.monitoring.event_log import Entry, EventLog
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree

AdminEndpoint = Callable[[dict[str, Any]], dict[str, Any]]
Wanted = Callable[[Entry], bool]

PAGE_ENTRIES = 500
PAGE_BYTES = 1_000_000
"""So much of the tape is looked through, and given, at one call: the broker waits meanwhile."""


def admin_endpoints(tape: EventLog) -> dict[str, AdminEndpoint]:
    """Return the door's verbs.

    - ``tape``: a page of the tape, of the entries after the number ``after`` and up to the number
      ``until``, only those of a ``kind``, a ``thing``, a ``topic`` if named. The answer's ``after``
      says where to go on, and so long as it is less than the answer's ``until`` there is more.
    - ``why``: the last refusal, of one ``client_id`` if named, or of one of the certificates
      ``principals``.
    - ``metrics``: counts by the minute, of the minutes after ``after``, and since the start.
    """

    def read_tape(request: dict[str, Any]) -> dict[str, Any]:
        after = _number(request, "after", 0, "the number of an entry")
        until = _number(request, "until", tape.last_number, "the number of an entry")
        wanted = _wanted(request)
        page: list[Entry] = []
        size = 0
        for seen, entry in enumerate(tape.read(after), 1):
            if entry["number"] > until:
                break
            after = entry["number"]
            if wanted(entry):
                page.append(entry)
                size += len(repr(entry))
            if seen >= PAGE_ENTRIES or size >= PAGE_BYTES:
                return {"entries": page, "after": after, "until": until}
        return {"entries": page, "after": until, "until": until}

    def read_metrics(request: dict[str, Any]) -> dict[str, Any]:
        what = "the beginning of a minute, in seconds since 1970"
        minutes = tape.metrics.minutes(_number(request, "after", 0, what))
        return {"minutes": minutes, "totals": tape.metrics.totals()}

    def why(request: dict[str, Any]) -> dict[str, Any]:
        principals = request.get("principals", [])
        if not isinstance(principals, list):
            raise ServiceError("InvalidRequestException", "'principals' is a list of ids.")
        return {"entry": tape.last_refusal(request.get("client_id"), principals)}

    return {"tape": read_tape, "metrics": read_metrics, "why": why}


def _number(request: dict[str, Any], name: str, default: int, what: str) -> int:
    number = request.get(name, default)
    if not isinstance(number, int):
        raise ServiceError("InvalidRequestException", f"'{name}' is {what}.")
    return number


def _wanted(request: dict[str, Any]) -> Wanted:
    """Return the test of an entry that a question to the tape makes."""
    kind, thing, topic = (request.get(name) for name in ("kind", "thing", "topic"))
    tests: list[Wanted] = []
    if kind is not None:
        tests.append(lambda entry: bool(entry["kind"] == kind))
    if thing is not None:
        names = ("client_id", "thing")
        tests.append(
            lambda entry: (
                any(entry.get(name) == thing for name in names) or thing in entry.get("to", ())
            )
        )
    if topic is not None:
        tests.append(_topic_test(topic))
    return lambda entry: all(test(entry) for test in tests)


def _topic_test(topic: Any) -> Wanted:
    if not isinstance(topic, str) or not topic:
        message = "'topic' is a topic, or a topic filter such as creek/#."
        raise ServiceError("InvalidRequestException", message)
    tree: SubscriptionTree[None, None] = SubscriptionTree()
    tree.add(topic, None, None)

    def on_topic(entry: Entry) -> bool:
        kind, _, name = str(entry.get("resource", "")).partition("/")
        found = entry.get("topic", name if kind == "topic" else None)
        if found is not None:
            return bool(tree.match(found).direct)
        return topic in (entry.get("filter"), name if kind == "topicfilter" else None)

    return on_topic
