"""Why a rule did, or did not, do something with a message: `lab.why(rule="FloodAlarm")`.

The cloud evaluates the rule's statement part by part; this module shows what it found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from creeklab.display.html import block, code, escape, heading, mark, table, tag
from creeklab.display.style import static_page
from creeklab.display.text import wrap
from creeklab.session.lab_session import LabSession
from creeklab.targets.target import NotSupportedOnAws

VERDICTS = {
    "fires": "fires",
    "disabled": "disabled",
    "filter": "no match",
    "condition": "WHERE not true",
    "stopped": "stopped",
}


def why_rule(
    lab: LabSession, rule: str, topic: str | None = None, payload: object = None
) -> RuleReport:
    """Explain a rule for a message, or for the latest ones; see `Lab.why`."""
    if lab.target == "aws":
        raise NotSupportedOnAws(
            "AWS does not say why a rule did nothing. Turn on its logs (iot.set_v2_logging_options)"
            " and look in CloudWatch at the log group AWSIotLogsV2."
        )
    request: dict[str, Any] = {"rule": rule}
    if topic is not None:
        request |= {"topic": topic, "payload": _payload_text(payload)}
    elif payload is not None:
        raise ValueError("A payload needs the topic that it is published to: why(rule, topic=...).")
    return RuleReport(rule, lab.admin("rule", request), typed=topic is not None)


def _payload_text(payload: object) -> str:
    if payload is None:
        return ""
    if isinstance(payload, bytes):
        return payload.decode(errors="replace")
    return payload if isinstance(payload, str) else json.dumps(payload)


class RuleReport:
    """What a rule does with a message, and what its actions did.

    Attributes
    ----------
    messages
        The explained messages, the latest first: each with ``topic``, ``outcome`` (``"fires"``, or
        what prevents it), ``summary``, ``operands`` of WHERE, ``change`` and ``payload``.
    executions
        The latest executions, the newest first, each with its ``actions``.
    counts
        What was counted for the rule since the cloud started, such as ``TopicMatch``.
    """

    def __init__(self, rule: str, answer: Mapping[str, Any], *, typed: bool) -> None:
        self.rule = rule
        self.messages: list[dict[str, Any]] = list(answer["messages"])
        self.executions: list[dict[str, Any]] = list(answer["executions"])
        self.counts: dict[str, int] = dict(answer["counts"])
        self._typed = typed

    @property
    def outcome(self) -> str:
        """The outcome for the latest message; ``""`` if there is none."""
        return str(self.messages[0]["outcome"]) if self.messages else ""

    @property
    def summary(self) -> str:
        """What the rule does with the latest message."""
        if not self.messages:
            return (
                f"The event log has no message that the rule '{self.rule}' could receive. Publish "
                "one, or give a topic and a payload."
            )
        return str(self.messages[0]["summary"])

    @property
    def change(self) -> str:
        """The smallest change that makes the rule fire; ``""`` if it fires or none is known."""
        return str(self.messages[0]["change"]) if self.messages else ""

    @property
    def action_error(self) -> str:
        """Why an action of the newest execution failed; ``""`` if none did."""
        if self._typed or not self.executions:
            return ""
        return str(self.executions[0].get("refusal", {}).get("summary", ""))

    def _sentences(self) -> list[str]:
        sentences = [self.summary]
        if self.change:
            sentences.append(f"What to change: {self.change}")
        if self.action_error:
            sentences.append(self.action_error)
        return sentences

    def _operands(self) -> list[tuple[str, str]]:
        if not self.messages:
            return []
        return [(each["text"], each["value"]) for each in self.messages[0]["operands"]]

    def _count_text(self) -> str:
        names = {
            "TopicMatch": "received",
            "RulesExecuted": "fired",
            "Success": "actions succeeded",
            "Failure": "actions failed",
            "RuleMessageThrottled": "throttled",
        }
        found = [
            f"{text} {self.counts[name]}" for name, text in names.items() if name in self.counts
        ]
        return "So far: " + ", ".join(found) + "." if found else ""

    def __repr__(self) -> str:
        lines = []
        if self.messages:
            message = self.messages[0]
            verdict = VERDICTS[message["outcome"]]
            lines.append(f"Rule '{self.rule}', message on '{message['topic']}': {verdict}.")
        lines += [wrap(text) for text in self._sentences()]
        operands = self._operands()
        if operands:
            width = max(len(text) for text, _ in operands)
            lines.append("WHERE, part by part:")
            lines += [f"  {text:{width}}  {value}" for text, value in operands]
        if self.outcome == "fires":
            lines.append(wrap(f"Outgoing payload: {self.messages[0]['payload']}", "", "  "))
        lines += [wrap(self._count_text())] if not self._typed and self._count_text() else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = []
        if self.messages:
            message = self.messages[0]
            good = "good" if self.outcome == "fires" else "bad"
            parts.append(
                heading(f"Rule {self.rule!r}, message on {message['topic']!r}")
                + mark(VERDICTS[message["outcome"]], good)
            )
        parts += [tag("p", escape(text)) for text in self._sentences()]
        rows = [(code(text), code(value)) for text, value in self._operands()]
        if rows:
            parts.append(table(("Part of WHERE", "Value"), rows, caption="WHERE, part by part"))
        if self.outcome == "fires":
            parts.append(tag("p", "Outgoing payload:") + block(self.messages[0]["payload"]))
        if not self._typed and self._count_text():
            parts.append(tag("p", escape(self._count_text())))
        return static_page(*parts)
