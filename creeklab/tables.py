"""Tables in a notebook, in the colours of whatever theme it has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

# JupyterLab's own colours, which change with its theme; without it the text's colour.
COLOURS = {
    "good": "var(--jp-success-color0, #1b7f3b)",
    "bad": "var(--jp-error-color0, #b3261e)",
    "faint": "var(--jp-ui-font-color2, inherit)",
}


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, note: str = "", colour: int | None = None
) -> str:
    """Return a table as HTML.

    Parameters
    ----------
    note
        A sentence below it.
    colour
        The column whose first letters, ``OK`` or not, say in which colour it is set.
    """
    left = ' style="text-align: left; vertical-align: top"'
    # The classes keep a notebook from taking what stands between two $ for a formula.
    parts = [
        '<div class="tex2jax_ignore mathjax_ignore">',
        "<table><thead><tr>",
        *(f"<th{left}>{escape(name)}</th>" for name in head),
    ]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        cells = []
        for number, text in enumerate(row):
            style = "text-align: left; vertical-align: top"
            if number == colour:
                style += f"; font-weight: bold; color: {_colour(text)}"
            cells.append(f'<td style="{style}">{escape(text)}</td>')
        parts += ["<tr>", *cells, "</tr>"]
    parts.append("</tbody></table>")
    if note:
        parts.append(f"<p>{escape(note)}</p>")
    parts.append("</div>")
    return "".join(parts)


def _colour(text: str) -> str:
    if text == "OK":
        return COLOURS["good"]
    return COLOURS["bad"] if text in ("WRONG", "FAILED") else COLOURS["faint"]
