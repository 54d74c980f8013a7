"""A table of plain text as a page of its own, as the doctor and the ledger show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from creeklab.display.html import escape, mark, table, tag
from creeklab.display.style import static_page

_LOOKS = {"OK": "good", "WRONG": "bad", "FAILED": "bad"}


def html_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, note: str = "", states: bool = False
) -> str:
    """Return the page.

    Parameters
    ----------
    note
        A sentence below the table.
    states
        Whether the first of each row is a state, such as ``OK`` or ``FAILED``.
    """

    def first(text: str) -> str:
        return mark(text, _LOOKS.get(text, "plain")) if states else escape(text)

    shown = [(first(row[0]), *map(escape, row[1:])) for row in rows]
    return static_page(table(columns, shown), tag("p", escape(note)) if note else "")
