"""Why something was refused, in plain words, and the smallest change that would allow it.

Of the local cloud the tape tells the last refusal, as it was decided then. What the account says by
now is looked up (`creeklab.diagnosis.effective_access`): whether the same would still be refused, and which change of
which policy would allow it. AWS keeps no such tape; there one asks about an action and a resource,
and ``TestAuthorization`` decides. The same question may be put to the local cloud.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from creeklab.cloud.policy import SuggestedChange, explain, suggest
from creeklab.cloud.policy.explain import PolicyNeighborhood
from creeklab.diagnosis.effective_access import (
    EffectiveAccess,
    find_certificate,
    load_effective_access,
    resource_arn,
    test_authorization,
)
from creeklab.display.text import wrap

if TYPE_CHECKING:
    from creeklab.lab.lab import Lab

_CERTIFICATE = re.compile(r"[0-9a-f]{64}")
TAKEN_OVER = "DUPLICATE_CLIENTID"
MAX_NAMES = 10
OLD_SECONDS = 120.0
"""From this age on a refusal says how old it is, so that an old one does not look new."""


@dataclass(frozen=True)
class CurrentDecision:
    """What holds by the time one asks.

    Attributes
    ----------
    standing
        What the account says of the connection.
    decision
        ``"ALLOWED"``, ``"IMPLICIT_DENY"`` or ``"EXPLICIT_DENY"``; None if policies do not decide.
    mends
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
        The tape's entry as a JSON object, or one of the same form that tells of a question; None if
        nothing was refused.
    asked
        When `lab.why` was called, in seconds since the epoch.
    now
        What holds by then; None if it does not depend on the account.
    nothing
        What to say if nothing was refused.
    """

    def __init__(
        self,
        entry: dict[str, Any] | None,
        now: CurrentDecision | None = None,
        asked: float | None = None,
        *,
        nothing: str = "Nothing was refused.",
    ) -> None:
        self.entry = entry
        self.nothing = nothing
        self.now = now
        self.asked = time.time() if asked is None else asked

    # --- what it is about ---------------------------------------------------------------------

    @property
    def summary(self) -> str:
        """What was asked, why it was refused, and what to do."""
        if self.entry is None:
            return self.nothing
        return str(self.entry["refusal"]["summary"])

    @property
    def text(self) -> str:
        """The summary, to be printed: in lines that break at words."""
        return wrap(self.summary)

    @property
    def time(self) -> datetime | None:
        """When it was refused (UTC); None if it was only asked about."""
        at = None if self.entry is None else self.entry.get("time")
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def age_text(self) -> float:
        """How many seconds ago it was, when it was asked; 0 if it was only asked about."""
        at = None if self.entry is None else self.entry.get("time")
        return 0.0 if at is None else max(0.0, self.asked - at)

    @property
    def allowed(self) -> bool:
        """Whether it would be allowed by now."""
        now = self.now
        return now is not None and now.decision == "ALLOWED" and now.access.status == "ACTIVE"

    @property
    def verdict(self) -> str:
        """What became of it: ``"allowed"``, ``"refused"``; of a connection that had been let in,
        ``"taken over"`` if another one has its client id now, else ``"cut off"``.
        """
        entry = self.entry or {"kind": "", "refusal": {}}
        if entry["kind"] == "disconnect":
            return "taken over" if entry.get("reason") == TAKEN_OVER else "cut off"
        return "allowed" if entry["refusal"].get("outcome") == "ALLOWED" else "refused"

    @property
    def suggestions(self) -> tuple[SuggestedChange, ...]:
        """The smallest changes to policies that together would allow it."""
        return () if self.now is None else self.now.suggestions

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Every statement that was looked at, and what differs in it."""
        return [] if self.entry is None else list(self.entry["refusal"].get("findings", []))

    @property
    def statements(self) -> list[tuple[str, str, bool]]:
        """Each statement: which, what differs in it in words, and whether it is the closest."""
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

    def change(self, each: SuggestedChange) -> str:
        """Say in a sentence what a change is."""
        where = "a new policy" if each.before is None else f"policy {each.policy!r}"
        return f"The smallest change that allows it, in {where}: {each.how}."

    @property
    def outdated(self) -> str:
        """How long ago it was, in words; empty as long as that is just now."""
        return format_age(self.age_text) if self.age_text >= OLD_SECONDS else ""

    @property
    def warnings(self) -> list[str]:
        """What to mind before making the change: what it gives or takes beside the request."""
        told = [text for each in self.suggestions for text in each.warnings]
        for each in self.suggestions:
            targets = 0 if self.now is None else self.now.access.targets.get(each.policy, 0)
            if targets > 1:
                told.append(
                    f"Policy {each.policy!r} is attached to {targets} certificates and groups; the "
                    "change holds for all of them."
                )
        return list(dict.fromkeys(told))

    # --- in words -----------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self.entry is None:
            return self.summary
        lines = [self._headline()] if self.entry.get("client_id") else []
        lines += [wrap(text) for text in (self.summary, *self._by_now())]
        if self.findings:
            lines.append("Statements that were looked at:")
        lines += [wrap(f"{label}: {text}", "  ", "    ") for label, text, _ in self.statements]
        for each in self.suggestions:
            lines.append(wrap(self.change(each)))
            lines += [f"  {line}" for line in each.diff.split("\n")]
        lines += [wrap(f"Mind: {text}", "", "  ") for text in self.warnings]
        return "\n".join(lines)

    def _headline(self) -> str:
        assert self.entry is not None
        client_id, kind = self.entry["client_id"], self.entry["kind"]
        thing = None if self.now is None else self.now.access.thing
        of = f" of the Thing '{thing}'" if thing not in (None, client_id) else ""
        when = f", {self.outdated}" if self.outdated else ""
        if kind == "disconnect":
            by = " by another connection" if self.verdict == "taken over" else ""
            return f"Client id '{client_id}'{of}: {self.verdict}{by}{when}."
        return f"Client id '{client_id}'{of}, {kind}: {self.verdict}{when}."

    def _by_now(self) -> list[str]:
        """Say what has changed since."""
        now = self.now
        if now is None or self.entry is None or self.time is None:
            return []
        status = now.access.status
        if self.allowed:
            return ["By now it would be allowed: nothing is left to mend."]
        if now.decision == "ALLOWED":
            state = "not in this account any more" if status is None else status
            return [f"By now the policies allow it, but the certificate is {state}."]
        return []

    def _repr_html_(self) -> str:
        from creeklab.diagnosis.refusal_html import refusal_html

        return refusal_html(self)


def explain_entry(lab: Lab, entry: dict[str, Any] | None) -> Refusal:
    """Explain an entry of the tape that has a refusal, with what holds by now."""
    if entry is None or not _CERTIFICATE.fullmatch(entry.get("principal", "")):
        return Refusal(
            entry
        )  # of a shadow, of TLS, or of the account itself, which no policy binds
    iot = lab.client("iot")
    arn = f"arn:aws:iot:{lab.region}:{lab.account}:cert/{entry['principal']}"
    known = load_effective_access(
        iot, entry.get("client_id"), arn, source_ip=entry.get("source_ip", "")
    )
    refusal = entry["refusal"]
    if "outcome" not in refusal:
        return Refusal(entry, CurrentDecision(known, None))
    return Refusal(entry, _now(iot, known, refusal["action"], refusal["resource"]))


def unknown_client(of: str, known: Iterable[str]) -> str:
    """Say that nobody of that name is known, and who is: those that are spelt alike first."""
    said = (
        f"Nothing is known of {of!r}: no client of that name is on the tape, and no Thing has it. "
    )

    def unlike(name: str) -> tuple[float, str]:
        return -SequenceMatcher(None, of.lower(), name.lower()).ratio(), name

    names = sorted(known, key=unlike)
    if not names:
        return said + "There is no other client or Thing either."
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return said + f"Known are {', '.join(map(repr, names[:MAX_NAMES]))}{more}."


def explain_request(lab: Lab, of: str | None, action: str | None, resource: str | None) -> Refusal:
    """Answer whether a Thing may do something, and why not."""
    if of is None or (action is None) != (resource is None):
        raise ValueError(
            "Name who asks, the action and the resource, as in lab.why('Test2', "
            "action='iot:Publish', resource='creek/depth')."
        )
    action, resource = action or "iot:Connect", of if resource is None else resource
    iot = lab.client("iot")
    certificate = find_certificate(lab, of)
    known = load_effective_access(iot, of, certificate)
    prefix = f"arn:aws:iot:{lab.region}:{lab.account}"
    if certificate is not None:
        prefix = certificate.rpartition(":")[0]
    asked = resource_arn(prefix, action, resource)
    about = {"kind": action.partition(":")[2].lower(), "client_id": of, "action": action}
    entry = {**about, "resource": asked.split(":", 5)[-1]}
    if certificate is None or known.status != "ACTIVE":
        state = f"is {known.status}: only an ACTIVE one may connect. Activate it"
        if certificate is None:
            state = "does not exist: no certificate is attached to a Thing of that name. Make one"
        why = f"{of!r} cannot even connect, as its certificate {state}."
        return Refusal({**entry, "refusal": {"summary": why}}, CurrentDecision(known, None))
    found = explain(
        known.authorizer(), action, asked, PolicyNeighborhood(things=known.things)
    ).as_dict()
    now = _now(iot, known, action, asked)
    if now.decision != found["outcome"]:
        found["summary"] += (
            f" But TestAuthorization answers {now.decision}, and its answer counts: a change may "
            "not have arrived everywhere yet, or something beside these policies decides."
        )
    return Refusal({**entry, "refusal": {**found, "outcome": now.decision}}, now)


def _now(iot: Any, known: EffectiveAccess, action: str, resource: str) -> CurrentDecision:
    decision = test_authorization(iot, known, action, resource)
    if decision is None:
        decision = known.authorizer().decide(action, resource).outcome
    if decision == "ALLOWED":
        return CurrentDecision(known, decision)
    return CurrentDecision(
        known, decision, suggest(known.documents, known.context, action, resource)
    )


def format_age(seconds: float) -> str:
    """Say how long ago something was."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"
