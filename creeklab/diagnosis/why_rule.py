"""Answer ``lab.why(rule=...)``: why a topic rule fired for a message, or why it did not.

The local cloud evaluates the rule's parts again, for the latest messages of its event log or for
one that the caller types (`creeklab.cloud.rules.explain`). What became of the actions is in the
event log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from creeklab.display.table import html_table, text_table
from creeklab.session.lab_session import LabSession

Rows = list[tuple[str, str, str]]


class RuleReport:
    """What a rule did with its latest messages, the latest first.

    Attributes
    ----------
    rule
        Name of the rule.
    messages
        For each message ``topic``, ``outcome`` (``fires``, ``disabled``, ``filter``, ``condition``
        or ``stopped``), ``summary``, ``operands`` of WHERE, the smallest ``change`` that makes the
        rule fire, and the outgoing ``payload``.
    executions
        Entries of the event log about the rule: the actions that ran, and what stopped it.
    counts
        The rule's metrics since the cloud was started.
    """

    def __init__(self, rule: str, answer: Mapping[str, Any], *, typed: bool) -> None:
        self.rule = rule
        self.messages: list[dict[str, Any]] = answer["messages"]
        self.executions: list[dict[str, Any]] = [] if typed else answer["executions"]
        self.counts: dict[str, int] = answer["counts"]

    @property
    def fired(self) -> bool:
        """Whether the rule fired for the latest message."""
        return bool(self.messages) and self.messages[0]["outcome"] == "fires"

    @property
    def text(self) -> str:
        """The explanation of the latest message, and of what became of the latest actions."""
        rows = self._operands()
        table = text_table(rows) if rows else ""
        return "\n".join(filter(None, [self._heading(), table, *self._results()]))

    def _heading(self) -> str:
        if not self.messages:
            return (
                f"The event log has no message for the rule '{self.rule}'. Publish one, or type "
                f"one: lab.why(rule='{self.rule}', topic='...', payload={{...}})."
            )
        latest = self.messages[0]
        return f"Message on '{latest['topic']}': {latest['summary']}"

    def _operands(self) -> Rows:
        operands = self.messages[0]["operands"] if self.messages else []
        return [(each["text"], each["value"], each["note"]) for each in operands]

    def _results(self) -> list[str]:
        lines = []
        if self.messages and self.messages[0]["change"]:
            lines.append(f"Smallest change: {self.messages[0]['change']}")
        if self.fired:
            lines.append(f"Outgoing payload: {self.messages[0]['payload']}")
        if self.executions:
            latest = self.executions[0]
            for action in latest.get("actions", ()):
                where = f" on '{action['resource']}'" if action["resource"] else ""
                lines.append(f"{action['action']}{where}: {action['error'] or 'succeeded'}")
            if "actions" not in latest:
                lines.append(latest["refusal"]["summary"])
        return lines

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        note = " ".join([self._heading(), *self._results()])
        return html_table(("condition", "value", "why"), self._operands(), note=note)


def why_rule(
    lab: LabSession, rule: str, topic: str | None, payload: Mapping[str, Any] | str | bytes | None
) -> RuleReport:
    """Explain a rule for its latest messages, or for a typed one; see `Lab.why`."""
    request: dict[str, Any] = {"rule": rule}
    if topic is not None:
        text = payload if isinstance(payload, str | bytes) else json.dumps(payload or {})
        request["topic"] = topic
        request["payload"] = text.decode() if isinstance(text, bytes) else text
    elif payload is not None:
        raise ValueError("A message needs a topic: lab.why(rule=..., topic=..., payload=...).")
    return RuleReport(rule, lab.admin("rule", request), typed=topic is not None)
