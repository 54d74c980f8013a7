"""A change to a document, line by line; each line's sign carries the meaning, the color helps."""

from __future__ import annotations

from creeklab.display.html import escape, tag

_STYLE = "display:block;text-decoration:none;padding-left:0.3em;border-left:4px solid {}"
_TAGS = {
    "+": ("ins", _STYLE.format("var(--jp-success-color1, #2e7d32)")),
    "-": ("del", _STYLE.format("var(--jp-error-color1, #c62828)")),
    " ": ("span", _STYLE.format("transparent")),
}


def diff_html(diff: str, label: str) -> str:
    """Return a diff as HTML; each of its lines begins with ``+``, ``-`` or a space."""
    lines = []
    for line in diff.split("\n"):
        name, style = _TAGS.get(line[:1], _TAGS[" "])
        lines.append(tag(name, escape(line), style=style))
    return tag("pre", *lines, aria_label=label)
