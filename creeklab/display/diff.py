"""A change to a document, line by line: the sign before a line says it, the colour helps."""

from __future__ import annotations

from creeklab.display.html import escape, tag

_LOOK = "display:block;text-decoration:none;padding-left:0.3em;border-left:4px solid {}"
_TAGS = {
    "+": ("ins", _LOOK.format("var(--jp-success-color1, #2e7d32)")),
    "-": ("del", _LOOK.format("var(--jp-error-color1, #c62828)")),
    " ": ("span", _LOOK.format("transparent")),
}


def diff_html(diff: str, label: str) -> str:
    """Return the lines of a diff, each of which begins with ``+``, ``-`` or a space."""
    lines = []
    for line in diff.split("\n"):
        name, look = _TAGS.get(line[:1], _TAGS[" "])
        lines.append(tag(name, escape(line), style=look))
    return tag("pre", *lines, aria_label=label)
