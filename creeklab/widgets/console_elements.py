"""The elements of a console page: plain values that know no widget and no account.

A page is a list of elements: HTML, rows of buttons, tables, and forms. `console.py` turns them into
widgets, and `static` turns the same elements into HTML for a notebook without a kernel. Without
them, each page would exist twice, because ipywidgets has no static form; the table packages for it
need JavaScript of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from creeklab.display.html import escape, heading, muted, table, tag


class Route(NamedTuple):
    """The address of a page in the console.

    `page` is ``"monitor"``, ``"things"``, ``"thing"``, ...; `name` is the resource, `tab` a part of
    it; `tokens` are the page tokens that lead to this part of a long list.
    """

    page: str
    name: str = ""
    tab: str = ""
    tokens: tuple[str, ...] = ()


Done = tuple[str, Route | None]
"""The message after an action, and the page to open; None stays on the page."""


@dataclass(frozen=True, slots=True)
class Link:
    """A button that opens a page; `current` if it is the page on screen.

    `full` replaces a shortened label in the static form.
    """

    label: str
    to: Route
    current: bool = False
    full: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """A button that changes something; `confirm` is the question to ask before it does."""

    label: str
    do: Callable[[], Done]
    confirm: str = ""


class VolatileHtml(str):
    """HTML that differs from run to run, such as a time; the static form leaves it out."""


Cell = str | Link | Action
"""A cell of a table or a row; a string is HTML, escaped already."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `empty` is shown if it has no rows."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    caption: str = ""
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """An input; `options` makes it a choice, more than one of `rows` a text area."""

    label: str
    value: str = ""
    hint: str = ""
    options: Sequence[tuple[str, str]] | None = None
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Form:
    """Fields, and a button that passes their values to `do`."""

    label: str
    fields: Sequence[Field]
    do: Callable[..., Done]
    title: str = ""


Element = str | list[Cell] | Table | Form
"""A string is HTML, escaped already; a list is a row of buttons."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page; `tool` names another tool of the notebook to show below its elements."""

    route: Route
    title: str
    elements: Sequence[Element] = ()
    tool: str = ""


def static(page: Page) -> str:
    """Return a page as HTML, without the buttons and forms, which need a kernel."""
    shown = [heading(page.title)]
    for element in page.elements:
        if isinstance(element, str):
            shown.append(element)
        elif isinstance(element, Table):
            shown.append(_static_table(element))
    if page.tool:
        shown.append(tag("p", muted(f"Run the notebook to see the {page.tool} here.")))
    return "".join(shown)


def _static_table(element: Table) -> str:
    if not element.rows:
        return tag("p", muted(element.empty))
    kept = [
        position
        for position in range(len(element.columns))
        if not all(isinstance(row[position], Action | VolatileHtml) for row in element.rows)
    ]
    rows = [
        [_static_cell(row[position]) for position in kept]
        for row in element.rows
        if not isinstance(row[-1], VolatileHtml) or len(row) > 2
    ]
    columns = [element.columns[position] for position in kept]
    return table(columns, rows, caption=element.caption)


def _static_cell(cell: Cell) -> str:
    if isinstance(cell, Link):
        return escape(cell.full or cell.label)
    return cell if isinstance(cell, str) and not isinstance(cell, VolatileHtml) else ""
