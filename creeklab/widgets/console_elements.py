"""What a page of the console is made of: values that know no widget and no account.

A page is a list of parts: words, rows with links, deeds and forms. `console.py` makes widgets of
them, and `static` makes of the same parts a page for where no kernel runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from creeklab.display.html import escape, heading, muted, table, tag


class Route(NamedTuple):
    """Where in the console one is.

    `page` is ``"monitor"``, ``"things"``, ``"thing"``, ...; `name` says which thing; `tab` which
    part of it; `tokens` lead to the page of a long list.
    """

    page: str
    name: str = ""
    tab: str = ""
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Html:
    """HTML, escaped already."""

    html: str


@dataclass(frozen=True, slots=True)
class Link:
    """A way to another place; `here` if it leads to where one is.

    `whole` is what is said in place of a shortened label where no kernel runs.
    """

    label: str
    to: Route
    here: bool = False
    whole: str = ""


Done = tuple[str, Route | None]
"""What was done, in words, and where to go then; None to stay."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done. One that cannot be undone is to be confirmed: `sure` asks."""

    label: str
    do: Callable[[], Done]
    sure: str = ""


@dataclass(frozen=True, slots=True)
class VolatileCell:
    """HTML that holds for the moment, such as a time; a stored notebook does not show it."""

    html: str


Cell = str | Link | Action | VolatileCell
"""A cell of a row; text is HTML, escaped already."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table; `empty` is said if it has no rows."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    caption: str = ""
    empty: str = ""


@dataclass(frozen=True, slots=True)
class ActionRow:
    """Links and deeds beside each other."""

    parts: Sequence[Link | Action]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """Something to type or to choose; `options` makes it a choice, `rows` an area."""

    label: str
    value: str = ""
    hint: str = ""
    options: Sequence[tuple[str, str]] | None = None
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Form:
    """Fields, and what is done with them."""

    label: str
    fields: Sequence[Field]
    do: Callable[..., Done]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """Another tool of the notebook, such as the test client."""

    name: str


Element = Html | Rows | ActionRow | Form | Tool


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its place, its title, and its parts."""

    place: Route
    title: str
    parts: Sequence[Element] = field(default_factory=list)


def static(page: Page) -> str:
    """Return a page as HTML, without what only a kernel could do."""
    shown = [heading(page.title)]
    for part in page.parts:
        if isinstance(part, Html):
            shown.append(part.html)
        elif isinstance(part, Rows):
            shown.append(_static_rows(part))
        elif isinstance(part, Tool):
            shown.append(tag("p", muted(f"Here is the {part.name} when the notebook runs.")))
    return "".join(shown)


def _static_rows(part: Rows) -> str:
    if not part.rows:
        return tag("p", muted(part.empty))
    wide = max(map(len, part.rows))
    dead = {
        at
        for at in range(wide)
        if all(isinstance(row[at], (Action, VolatileCell)) for row in part.rows)
    }
    rows = [
        [_static_cell(cell) for at, cell in enumerate(row) if at not in dead]
        for row in part.rows
        if not isinstance(row[-1], VolatileCell) or len(row) > 2
    ]
    columns = [name for at, name in enumerate(part.columns) if at not in dead]
    return table(columns, rows, caption=part.caption)


def _static_cell(cell: Cell) -> str:
    if isinstance(cell, Link):
        return escape(cell.whole or cell.label)
    return cell if isinstance(cell, str) else ""
