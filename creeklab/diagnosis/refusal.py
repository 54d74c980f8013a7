"""A refusal as text and as a page: the request, the reason, the smallest change that allows it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from creeklab.cloud.policy import SuggestedChange
from creeklab.diagnosis.effective_access import EffectiveAccess
from creeklab.display.diff import diff_html
from creeklab.display.html import code, escape, heading, mark, table, tag
from creeklab.display.style import static_page
from creeklab.display.text import wrap

TAKEN_OVER = "DUPLICATE_CLIENTID"
_CAPITAL = {"tls": "TLS handshake", "call": "HTTPS request"}


@dataclass(frozen=True)
class CurrentDecision:
    """How the account would decide the same request at the time of the question.

    Attributes
    ----------
    access
        Certificate, Things and policies of the connection.
    decision
        ``"ALLOWED"``, ``"IMPLICIT_DENY"`` or ``"EXPLICIT_DENY"``; None if policies do not decide.
    suggestions
        The changes that together would allow the request.
    """

    access: EffectiveAccess
    decision: str | None
    suggestions: tuple[SuggestedChange, ...] = ()


class Refusal:
    """A refusal, explained.

    Attributes
    ----------
    entry
        The entry of the event log as a JSON object, or an object of the same form for a request
        that was only asked about; None if nothing was refused.
    asked
        When `lab.why` was called, in seconds since the epoch.
    now
        The decision at that time; None if it does not depend on the account.
    nothing
        The text if nothing was refused.
    failure
        The entry of a newer request that failed without a refusal.
    dropped
        For each client, the number of messages for it that were dropped, and the latest reason.
    """

    def __init__(
        self,
        entry: dict[str, Any] | None,
        now: CurrentDecision | None = None,
        asked: float | None = None,
        *,
        nothing: str = "Nothing was refused.",
        failure: dict[str, Any] | None = None,
        dropped: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.failure = failure
        self.dropped = dropped or {}
        self.entry = entry
        self.nothing = nothing
        self.now = now
        self.asked = time.time() if asked is None else asked

    @property
    def summary(self) -> str:
        """The request, why it was refused, and what to do."""
        if self.entry is None:
            return " ".join(self.notices) or self.nothing
        return str(self.entry["refusal"]["summary"])

    @property
    def text(self) -> str:
        """The summary, wrapped for printing."""
        return wrap(self.summary)

    @property
    def time(self) -> datetime | None:
        """When the request was refused (UTC); None if it was only asked about."""
        at = None if self.entry is None else self.entry.get("time")
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def age(self) -> float:
        """Seconds from the refusal to the question; 0 if the request was only asked about."""
        at = None if self.entry is None else self.entry.get("time")
        return 0.0 if at is None else max(0.0, self.asked - at)

    @property
    def allowed(self) -> bool:
        """Whether the request would be allowed now."""
        now = self.now
        return now is not None and now.decision == "ALLOWED" and now.access.status == "ACTIVE"

    @property
    def verdict(self) -> str:
        """What became of the request, in a word or two.

        ``"allowed"`` or ``"denied"`` if policies decided, else ``"refused"``; for a connection that
        was ended later, ``"taken over"`` if another one has its client ID now, or
        ``"disconnected"``.
        """
        entry = self.entry or {"kind": "", "refusal": {}}
        if entry["kind"] == "disconnect":
            return "taken over" if entry.get("reason") == TAKEN_OVER else "disconnected"
        outcome = entry["refusal"].get("outcome", "")
        return "refused" if not outcome else "allowed" if outcome == "ALLOWED" else "denied"

    @property
    def suggestions(self) -> tuple[SuggestedChange, ...]:
        """The smallest policy changes that together would allow the request."""
        return () if self.now is None else self.now.suggestions

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Every evaluated statement, and how it differs from the request."""
        return [] if self.entry is None else list(self.entry["refusal"].get("findings", []))

    @property
    def statements(self) -> list[tuple[str, str, bool]]:
        """A label of each statement, its differences in words, and whether it is the closest."""
        closest = {} if self.entry is None else self.entry["refusal"].get("closest") or {}
        nearest = (closest.get("policy"), closest.get("statement"))
        return [
            (
                f"{each['policy']}, statement {each['statement'] + 1}, {each['effect']}",
                "; ".join(each["differs"]) or "matches",
                (each["policy"], each["statement"]) == nearest,
            )
            for each in self.findings
        ]

    @staticmethod
    def describe_change(change: SuggestedChange) -> str:
        """Describe a change in a sentence."""
        where = "a new policy" if change.before is None else f"policy {change.policy!r}"
        return f"The smallest change that allows it, in {where}: {change.how}."

    @property
    def age_text(self) -> str:
        """How long ago the refusal was, in words; empty if the request was only asked about."""
        return "" if self.time is None else format_age(self.age)

    @property
    def notices(self) -> list[str]:
        """A newer failure that is not a refusal, and the messages that were dropped."""
        found = [] if self.failure is None else [describe_failure(self.failure, self.asked)]
        for client, drop in self.dropped.items():
            messages = "1 message was" if drop["count"] == 1 else f"{drop['count']} messages were"
            found.append(f"{messages} dropped for the client '{client}'. {drop['why']}")
        return found

    @property
    def warnings(self) -> list[str]:
        """What else the changes would allow or deny."""
        found = [text for each in self.suggestions for text in each.warnings]
        for each in self.suggestions:
            targets = 0 if self.now is None else self.now.access.targets.get(each.policy, 0)
            if targets > 1:
                found.append(
                    f"Policy {each.policy!r} is attached to {targets} certificates and groups; the "
                    "change affects all of them."
                )
        return list(dict.fromkeys(found))

    def __repr__(self) -> str:
        if self.entry is None:
            return self.text
        lines = [*map(wrap, self.notices), self._headline()]
        lines += [wrap(text) for text in (self.summary, *self._changed_since())]
        if self.findings:
            lines.append("Evaluated statements:")
        lines += [wrap(f"{label}: {text}", "  ", "    ") for label, text, _ in self.statements]
        for each in self.suggestions:
            lines.append(wrap(self.describe_change(each)))
            lines += [f"  {line}" for line in each.diff.split("\n")]
        lines += [wrap(f"Note: {text}", "", "  ") for text in self.warnings]
        return "\n".join(lines)

    def _headline(self) -> str:
        assert self.entry is not None
        client_id, kind = self.entry.get("client_id"), self.entry["kind"]
        thing = None if self.now is None else self.now.access.thing
        of = f" of the Thing '{thing}'" if thing not in (None, client_id) else ""
        when = "" if self.time is None else f" at {self.time:%H:%M:%S} UTC, {self.age_text}"
        if not client_id:
            return f"{_CAPITAL.get(kind, kind.capitalize())}: {self.verdict}{when}."
        if kind == "disconnect":
            by = " by another connection" if self.verdict == "taken over" else ""
            return f"Client ID '{client_id}'{of}: {self.verdict}{by}{when}."
        return f"Client ID '{client_id}'{of}, {kind}: {self.verdict}{when}."

    def _changed_since(self) -> list[str]:
        """Say whether the account would decide differently now."""
        now = self.now
        if now is None or self.entry is None or self.time is None:
            return []
        status = now.access.status
        if self.allowed:
            return ["The request would be allowed now, so there is nothing left to fix."]
        if now.decision == "ALLOWED":
            state = "no longer in this account" if status is None else status
            return [f"The policies allow it now, but the certificate is {state}."]
        return []

    def _repr_html_(self) -> str:
        parts = [tag("p", escape(self.summary))]
        if self.entry is not None:
            notices = [tag("div", escape(text), class_="creeklab-notice") for text in self.notices]
            client_id, kind = self.entry.get("client_id"), self.entry["kind"]
            marks = mark(self.verdict, "good" if self.verdict == "allowed" else "bad")
            if self.time is not None and self.allowed:
                marks += " " + mark("allowed now", "good")
            title = heading(f"{kind}, client ID {client_id!r}" if client_id else kind)
            parts = [
                *notices,
                title + marks,
                *parts,
                self._request_html(self.entry),
                self._statement_html(),
            ]
            for change in self.suggestions:
                description = self.describe_change(change)
                parts += [tag("p", escape(description)), diff_html(change.diff, description)]
            parts += [
                tag("div", tag("b", "Note: "), escape(text), class_="creeklab-notice")
                for text in self.warnings
            ]
        return static_page(*parts)

    def _request_html(self, entry: dict[str, Any]) -> str:
        access = None if self.now is None else self.now.access
        rows = []
        if self.time is not None:
            rows.append(("When", escape(f"at {self.time:%Y-%m-%d %H:%M:%S} UTC, {self.age_text}")))
        if access is not None:
            if access.certificate is not None:
                number = access.certificate.rpartition("/")[2]
                status = access.status or "not in this account"
                good = "good" if access.status == "ACTIVE" else "bad"
                rows.append(("Certificate", f"{code(number)} {mark(status, good)}"))
            rows.append(("Things of the certificate", escape(", ".join(access.things) or "none")))
            rows.append(("Policies that apply", escape(", ".join(access.documents) or "none")))
        elif entry.get("thing"):
            rows.append(("Thing", escape(entry["thing"])))
        fields = {
            "Action": entry.get("action"),
            "Resource": entry.get("resource"),
            "Decision": entry["refusal"].get("outcome"),
        }
        rows += [(name, code(value)) for name, value in fields.items() if value]
        return table(("", ""), rows, caption="The request") if rows else ""

    def _statement_html(self) -> str:
        rows = [
            (escape(label) + (" " + mark("closest", "new") if closest else ""), escape(differs))
            for label, differs, closest in self.statements
        ]
        columns = ("Statement", "Differences")
        return table(columns, rows, caption="Evaluated statements") if rows else ""


def describe_failure(entry: dict[str, Any], asked: float) -> str:
    """Describe a request that failed without a refusal, and its age."""
    when = format_age(max(0.0, asked - entry["time"]))
    if entry["kind"] == "unanswered":
        return (
            f"Newer, {when}: '{entry['client_id']}' published to {entry['topic']}. {entry['why']}"
        )
    name = entry["operation"] or "an HTTP request"
    text = f"Newer, {when}: {name} failed with {entry['status']} {entry['error']}."
    return f"{text} {entry['message']}" if entry.get("message") else text


def format_age(seconds: float) -> str:
    """Return an age in words, such as ``"2 hours ago"``."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"
