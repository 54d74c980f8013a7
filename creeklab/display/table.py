"""Tables for people, as plain text and as a page, as the doctor and the ledger show them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from creeklab.display.html import escape, mark, table, tag
from creeklab.display.style import static_page

_STATE_KINDS = {"OK": "good", "WRONG": "bad", "FAILED": "bad"}


def text_table(
    rows: Sequence[Sequence[str]], *, right: Container[int] = (), min_width: int = 0
) -> str:
    """Return rows as lines of text, with the columns aligned and two spaces apart.

    Parameters
    ----------
    right
        Positions of the columns that are aligned to the right, as numbers are.
    min_width
        Minimum width of the first column, so that tables with different states line up.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[:1] = [max(min_width, width) for width in widths[:1]]
    lines = (
        "  ".join(
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def html_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, note: str = "", states: bool = False
) -> str:
    """Return rows of plain text as an HTML page with a table.

    Parameters
    ----------
    note
        A sentence below the table.
    states
        Whether the first cell of each row is a state, such as ``OK`` or ``FAILED``.
    """

    def first(text: str) -> str:
        return mark(text, _STATE_KINDS.get(text, "plain")) if states else escape(text)

    cells = [(first(row[0]), *map(escape, row[1:])) for row in rows]
    return static_page(table(columns, cells), tag("p", escape(note)) if note else "")
