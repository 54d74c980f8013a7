"""A refusal as a page: who, what, every statement with what differs, and the change as a diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

from creeklab.display.diff import diff_html
from creeklab.display.html import code, escape, heading, mark, table, tag
from creeklab.display.style import static_page

if TYPE_CHECKING:
    from creeklab.diagnosis.refusal import Refusal


def refusal_html(why: Refusal) -> str:
    """Return the page.

    The time of a refusal is on it only if that is long ago: notebooks are compared word by word.
    """
    parts = [tag("p", escape(why.summary))]
    if why.entry is not None:
        parts = [_head(why), *parts, _about(why), _statements(why), *_changes(why)]
    return static_page(*parts)


def _head(why: Refusal) -> str:
    assert why.entry is not None
    words = mark(why.verdict, "good" if why.verdict == "allowed" else "bad")
    if why.time is not None and why.allowed:
        words += " " + mark("allowed by now", "good")
    who = why.entry.get("client_id")
    asked = f"{why.entry['kind']}, client id {who!r}" if who else why.entry["kind"]
    return heading(asked) + words


def _about(why: Refusal) -> str:
    entry, now = why.entry or {}, why.now
    rows = []
    old = why.outdated
    if old and why.time is not None:
        at = why.time.strftime("%Y-%m-%d %H:%M:%S UTC")
        rows.append(("When", escape(f"{old}, at {at}")))
    if now is not None:
        known = now.access
        if known.certificate is not None:
            number = known.certificate.rpartition("/")[2]
            status = known.status or "not in this account"
            good = "good" if known.status == "ACTIVE" else "bad"
            rows.append(("Certificate", f"{code(number)} {mark(status, good)}"))
        of = ", ".join(known.things) or "none"
        rows.append(("Things of the certificate", escape(of)))
        rows.append(("Policies that apply", escape(", ".join(known.documents) or "none")))
    elif entry.get("thing"):
        rows.append(("Thing", escape(entry["thing"])))
    if entry.get("action"):
        rows.append(("Action", code(entry["action"])))
    if entry.get("resource"):
        rows.append(("Resource", code(entry["resource"])))
    if entry["refusal"].get("outcome"):
        rows.append(("Decision", code(entry["refusal"]["outcome"])))
    if not rows:
        return ""
    return table(("", ""), rows, caption="Who asked, and for what")


def _statements(why: Refusal) -> str:
    looks = why.statements
    if not looks:
        return ""
    rows = [
        (
            escape(label) + (" " + mark("closest", "new") if closest else ""),
            escape(differs),
        )
        for label, differs, closest in looks
    ]
    return table(("Statement", "What differs"), rows, caption="Statements that were looked at")


def _changes(why: Refusal) -> list[str]:
    parts = []
    for each in why.suggestions:
        what = why.change(each)
        parts += [tag("p", escape(what)), diff_html(each.diff, what)]
    parts += [
        tag("div", tag("b", "Mind: "), escape(text), class_="creeklab-notice")
        for text in why.warnings
    ]
    return parts
