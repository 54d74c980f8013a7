"""Admin endpoints that AWS does not have: events, metrics, and why a request was denied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.monitoring.event_log import Entry, EventLog, explained, is_explained
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree

AdminEndpoint = Callable[[dict[str, Any]], dict[str, Any]]
Filter = Callable[[Entry], bool]

PAGE_ENTRIES = 500
PAGE_BYTES = 1_000_000
PAGE_EXPLANATIONS = 5
"""Entries read, bytes returned, and denials explained by one call: the broker waits for it."""


def admin_endpoints(event_log: EventLog) -> dict[str, AdminEndpoint]:
    """Return the endpoints of an event log.

    - ``events``: one page of the entries after the number ``after``, up to the number ``until``,
      optionally of one ``kind``, ``thing`` or ``topic``. The next page starts after the ``after``
      of the response; there is one if it is less than the response's ``until``.
    - ``why``: the last refusal, optionally of one ``client_id`` or one of the certificates
      ``principals``; the last request that failed otherwise, if it is newer; and for each client
      the number of messages that were dropped, with the latest reason.
    - ``metrics``: counts of each minute after ``after``, and since the start.
    """

    def read_events(request: dict[str, Any]) -> dict[str, Any]:
        after = _number(request, "after", 0, "the number of an entry")
        until = _number(request, "until", event_log.last_number, "the number of an entry")
        matches = _filter(request)
        page: list[Entry] = []
        size = explanations = 0
        for seen, entry in enumerate(event_log.read(after), 1):
            if entry["number"] > until:
                break
            after = entry["number"]
            if matches(entry):
                explanations += not is_explained(entry)
                page.append(explained(entry))
                size += len(repr(entry))
            full = size >= PAGE_BYTES or explanations >= PAGE_EXPLANATIONS
            if seen >= PAGE_ENTRIES or full:
                return {"entries": page, "after": after, "until": until}
        return {"entries": page, "after": until, "until": until}

    def read_metrics(request: dict[str, Any]) -> dict[str, Any]:
        what = "the start of a minute, in seconds since 1970"
        minutes = event_log.metrics.minutes(_number(request, "after", 0, what))
        return {"minutes": minutes, "totals": event_log.metrics.totals()}

    def why(request: dict[str, Any]) -> dict[str, Any]:
        principals = request.get("principals", [])
        if not isinstance(principals, list):
            raise ServiceError("InvalidRequestException", "'principals' must be a list of ids.")
        client_id = request.get("client_id")
        refusal = event_log.last_refusal(client_id, principals)
        failures = event_log.failures(refusal["number"] if refusal else 0)
        dropped: dict[str, dict[str, Any]] = {}
        for entry in event_log.drops():
            if client_id in (None, entry["client_id"]):
                so_far = dropped.get(entry["client_id"], {}).get("count", 0)
                count = so_far + entry.get("count", 1)
                dropped[entry["client_id"]] = {"count": count, "why": entry["why"]}
        return {
            "entry": refusal,
            "failure": next(filter(_concerns(client_id, principals), failures), None),
            "dropped": dropped,
        }

    return {"events": read_events, "metrics": read_metrics, "why": why}


def _concerns(client_id: str | None, principals: list[str]) -> Filter:
    """Return a function that tells whether a failure is worth reporting, for this client if given.

    A call that only looks something up, creates what exists or deletes what does not, is left out:
    the tools of the lab make such calls all the time.
    """

    def concerns(entry: Entry) -> bool:
        if client_id is not None and entry.get("client_id") != client_id:
            return entry.get("principal") in principals
        return entry["kind"] == "unanswered" or (
            entry["error"] not in ("ResourceNotFoundException", "ResourceAlreadyExistsException")
            and not (entry["operation"] or "").startswith(("Describe", "Get", "List", "Test"))
        )

    return concerns


def _number(request: dict[str, Any], name: str, default: int, what: str) -> int:
    number = request.get(name, default)
    if not isinstance(number, int):
        raise ServiceError("InvalidRequestException", f"'{name}' must be {what}.")
    return number


def _filter(request: dict[str, Any]) -> Filter:
    """Return a function that tells whether an entry matches a request."""
    kind, thing, topic = (request.get(name) for name in ("kind", "thing", "topic"))
    tests: list[Filter] = []
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


def _topic_test(topic: Any) -> Filter:
    if not isinstance(topic, str) or not topic:
        message = "'topic' must be a topic, or a topic filter such as creek/#."
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
