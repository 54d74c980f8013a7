"""The view that explains a rule: for a given message, or for the latest ones in the event log."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.monitoring.event_log import Entry, EventLog
from creeklab.cloud.rules.engine import RuleEngine
from creeklab.cloud.rules.explain import explain
from creeklab.cloud.rules.rule import BASIC_INGEST, CompiledRule
from creeklab.cloud.rules.sql.functions.function import MessageContext

MAX_MESSAGES = 1_000
"""Logged messages that are searched for one that matches."""

MAX_EXPLAINED = 20


class RuleAdmin:
    """Explains the rules of one account."""

    def __init__(
        self,
        engine: RuleEngine,
        event_log: EventLog,
        account: str,
        dollar_topics: str,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._event_log = event_log
        self._account = account
        self._dollar_topics = dollar_topics
        self._clock = clock

    def explain_rule(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Explain the rule ``rule`` for the message ``topic`` and ``payload``.

        Without ``topic``, explain it for the latest messages of the event log: those whose topic
        its filter matches, or else the latest one.

        Returns
        -------
        dict
            ``messages``, the latest first; ``executions``, the entries of the event log about the
            rule, the latest first; ``counts``, its metrics.
        """
        rule = self._engine.get(str(request.get("rule", "")))
        if rule is None:
            names = ", ".join(sorted(each.name for each in self._engine.all())) or "none"
            raise ServiceError(
                "ResourceNotFoundException",
                f"There is no rule '{request.get('rule')}'. Rules: {names}.",
            )
        if "topic" in request:
            payload = str(request.get("payload", "")).encode()
            now = self._clock()
            contexts = [self._context(str(request["topic"]), payload, {}, now)]
        else:
            contexts = self._latest(rule)
        return {
            "messages": [self._explain(rule, context) for context in contexts],
            "executions": self._executions(rule.name),
            "counts": dict(rule.counts),
        }

    def _explain(self, rule: CompiledRule, message: MessageContext) -> dict[str, Any]:
        prefix = f"{BASIC_INGEST}{rule.name}/"
        if message.topic.startswith(prefix):
            message = replace(message, topic=message.topic.removeprefix(prefix))
            return asdict(explain(rule, message, self._dollar_topics, basic_ingest=True))
        return asdict(explain(rule, message, self._dollar_topics))

    def _latest(self, rule: CompiledRule) -> list[MessageContext]:
        matching: list[MessageContext] = []
        latest: MessageContext | None = None
        for entry in self._messages():
            topic = entry["topic"]
            basic_ingest = topic.startswith(f"{BASIC_INGEST}{rule.name}/")
            if basic_ingest or rule in self._engine.matches(topic):
                matching.append(self._logged(entry))
                if len(matching) == MAX_EXPLAINED:
                    break
            elif latest is None and entry["client_id"]:
                latest = self._logged(entry)
        return matching or ([] if latest is None else [latest])

    def _messages(self) -> Iterator[Entry]:
        entries = self._event_log.entries(self._event_log.last_number - MAX_MESSAGES)
        for entry in reversed(entries):
            readable = "payload" in entry or "payload_base64" in entry
            if entry["kind"] == "publish" and readable:
                yield entry

    def _logged(self, entry: Entry) -> MessageContext:
        payload = (
            entry["payload"].encode()
            if "payload" in entry
            else base64.b64decode(entry["payload_base64"])
        )
        return self._context(entry["topic"], payload, entry, entry["time"])

    def _context(
        self, topic: str, payload: bytes, sender: Mapping[str, Any], time: float
    ) -> MessageContext:
        return MessageContext(
            topic,
            payload,
            sender.get("client_id", ""),
            sender.get("principal", ""),
            sender.get("source_ip", ""),
            self._account,
            time=int(time * 1000),
        )

    def _executions(self, name: str) -> list[Entry]:
        entries = self._event_log.entries(self._event_log.last_number - MAX_MESSAGES)
        found = [each for each in entries if each["kind"] == "rule" and each["rule"] == name]
        return found[: -MAX_EXPLAINED - 1 : -1]
