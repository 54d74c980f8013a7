"""A refusal as a page: the request, every evaluated statement, and the change as a diff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from creeklab.diagnosis.effective_access import EffectiveAccess
from creeklab.display.diff import diff_html
from creeklab.display.html import code, escape, heading, mark, table, tag
from creeklab.display.style import static_page


def refusal_html(
    summary: str,
    entry: Mapping[str, Any] | None = None,
    access: EffectiveAccess | None = None,
    *,
    verdict: str = "",
    allowed_now: bool = False,
    when: str = "",
    statements: Sequence[tuple[str, str, bool]] = (),
    changes: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
) -> str:
    """Return the page of a `Refusal`; only its summary if nothing was refused.

    Parameters
    ----------
    when
        Age and time of an old refusal. A recent one has none: notebooks compare outputs word by
        word.
    statements
        Label, differences, and whether the statement is the closest.
    changes
        Description and diff of each suggested change.
    """
    parts = [tag("p", escape(summary))]
    if entry is not None:
        client_id = entry.get("client_id")
        title = f"{entry['kind']}, client ID {client_id!r}" if client_id else entry["kind"]
        marks = mark(verdict, "good" if verdict == "allowed" else "bad")
        if allowed_now:
            marks += " " + mark("allowed now", "good")
        parts = [heading(title) + marks, *parts, _request(entry, access, when)]
        parts.append(_statements(statements))
        for description, diff in changes:
            parts += [tag("p", escape(description)), diff_html(diff, description)]
        parts += [
            tag("div", tag("b", "Note: "), escape(text), class_="creeklab-notice")
            for text in warnings
        ]
    return static_page(*parts)


def _request(entry: Mapping[str, Any], access: EffectiveAccess | None, when: str) -> str:
    rows = [("When", escape(when))] if when else []
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


def _statements(statements: Sequence[tuple[str, str, bool]]) -> str:
    if not statements:
        return ""
    rows = [
        (escape(label) + (" " + mark("closest", "new") if closest else ""), escape(differs))
        for label, differs, closest in statements
    ]
    return table(("Statement", "Differences"), rows, caption="Evaluated statements")
