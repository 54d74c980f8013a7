"""Part of the event log as a sequence chart: SVG written by hand, and the same as text.

Each participant has a column, each arrow a row. A cross and the word *refused* mark a refused
arrow, not color alone. The colors are the page's own, so the chart fits light and dark notebooks,
and print.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creeklab.display.html import escape, tag
from creeklab.display.style import static_page
from creeklab.events.sequence import Arrow, arrows, participants
from creeklab.events.table import entries

if TYPE_CHECKING:
    import pandas as pd

COLUMN, ROW, HEAD, MARGIN = 250, 36, 46, 16
LETTER = 6.4
"""Approximate width of a letter, in units of the chart."""

_INK = {
    "request": "currentColor",
    "response": "var(--jp-info-color1, #0277bd)",
    "refused": "var(--jp-error-color1, #c62828)",
}
_LETTERS = "font-family:var(--jp-code-font-family, monospace);font-size:11px"
# Text stays readable where a line crosses it.
_HALO = "paint-order:stroke;stroke:var(--jp-layout-color0, #fff);stroke-width:4px"
_numbers = itertools.count(1)


def chart(events: pd.DataFrame, *, limit: int = 40, title: str = "") -> SequenceChart:
    """Draw who sent what to whom, in order, as a sequence chart.

    Parameters
    ----------
    events
        The entries to draw, such as ``lab.events(after=100, thing="Test2")``.
    limit
        Maximum number of entries; the chart shows the last ones.
    """
    shown = entries(events.tail(limit))
    return SequenceChart(shown, omitted=len(events) - len(shown), title=title)


class SequenceChart:
    """A sequence chart, with a row for each arrow and a column for each participant."""

    def __init__(
        self, entries: Iterable[dict[str, Any]], *, omitted: int = 0, title: str = ""
    ) -> None:
        self.arrows: list[Arrow] = arrows(entries)
        self.participants = participants(self.arrows)
        self.title = title or "Who sent what to whom"
        self._omitted = omitted

    @property
    def text(self) -> str:
        """The chart as text, one arrow per line."""
        width = len(str(len(self.arrows)))
        lines = [f"{n:{width}}  {arrow}" for n, arrow in enumerate(self.arrows, 1)]
        return "\n".join([*self._omission(), *lines]) or "Nothing happened."

    @property
    def svg(self) -> str:
        """The chart as an SVG document, with a title and a description."""
        return self._draw(f"chart-{next(_numbers)}", standalone=True)

    def save(self, path: str | Path) -> None:
        """Write the chart to an SVG file, for a handout for example."""
        Path(path).write_text(self.svg, encoding="utf-8")

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        if not self.arrows:
            return static_page(tag("p", "Nothing happened."))
        drawn = tag("div", self._draw("chart"), style="overflow-x:auto", tabindex="0")
        text = tag("details", tag("summary", "The chart as text"), tag("pre", escape(self.text)))
        return static_page(drawn, text)

    # --- drawing ------------------------------------------------------------------------------

    def _draw(self, ids: str, *, standalone: bool = False) -> str:
        columns = {name: MARGIN + COLUMN * (n + 0.5) for n, name in enumerate(self.participants)}
        width = 2 * MARGIN + COLUMN * len(columns)
        height = HEAD + ROW * len(self.arrows) + MARGIN
        content = [
            tag("title", escape(self.title), id=f"{ids}-title"),
            tag("desc", escape(self._description()), id=f"{ids}-desc"),
            *(self._column(name, x, height) for name, x in columns.items()),
            *(self._row(n, arrow, columns) for n, arrow in enumerate(self.arrows)),
        ]
        style = f"{_LETTERS};max-width:none" + ";color:#1a1a1a;background:#fff" * standalone
        return tag(
            "svg",
            *content,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {height:g}",
            width=f"{width:g}",
            height=f"{height:g}",
            role="img",
            aria_labelledby=f"{ids}-title {ids}-desc",
            style=style,
        )

    def _description(self) -> str:
        refused = sum(arrow.status == "refused" for arrow in self.arrows)
        among = ", ".join(self.participants)
        text = f"{len(self.arrows)} arrows between {among}; {refused} refused."
        return " ".join([text, *self._omission()])

    def _omission(self) -> list[str]:
        count = self._omitted
        if not count:
            return []
        return [f"{count} earlier {'entry is' if count == 1 else 'entries are'} not shown."]

    def _column(self, name: str, x: float, height: float) -> str:
        box = min(COLUMN - 16.0, max(80.0, LETTER * len(name) + 20))
        limit = int((COLUMN - 30) / LETTER)
        shown = name if len(name) <= limit else f"{name[: limit - 1]}…"
        frame = _shape("rect", x=x - box / 2, y=6, width=box, height=26, rx=3, fill="none")
        line = _shape("line", x1=x, y1=32, x2=x, y2=height - 8, stroke_dasharray="2 4", opacity=0.6)
        label = _text(shown, x, 23, weight="600")
        return tag("g", tag("title", escape(name)), frame, line, label)

    def _row(self, number: int, arrow: Arrow, columns: dict[str, float]) -> str:
        y = HEAD + ROW * (number + 0.6)
        start, end = columns[arrow.source], columns[arrow.target]
        ink = _INK[arrow.status]
        if arrow.source == arrow.target:
            parts = self._note(arrow, start, y)
        else:
            parts = self._arrow(arrow, start, end, y)
        title = tag("title", escape(str(arrow)))
        return tag("g", title, *parts, style=f"color:{ink}" if ink != "currentColor" else None)

    def _note(self, arrow: Arrow, x: float, y: float) -> list[str]:
        text = _label(arrow, COLUMN - 24)
        width = max(60.0, min(COLUMN - 10.0, LETTER * len(text) + 14))
        frame = _shape("rect", x=x - width / 2, y=y - 12, width=width, height=20, rx=8, fill="none")
        return [frame, _text(text, x, y + 2)]

    def _arrow(self, arrow: Arrow, start: float, end: float, y: float) -> list[str]:
        way = 1 if end > start else -1
        refused = arrow.status == "refused"
        # A refused request ends before it reaches its target.
        tip = end - way * (26 if refused else 2)
        line = _shape("line", x1=start, y1=y, x2=tip, y2=y)
        if refused:
            head = "".join(
                _shape("line", x1=tip - 5, y1=y - 5 * s, x2=tip + 5, y2=y + 5 * s, stroke_width=2)
                for s in (1, -1)
            )
        else:
            points = f"{tip:g},{y:g} {tip - way * 8:g},{y - 4:g} {tip - way * 8:g},{y + 4:g}"
            head = tag("polygon", points=points, fill="currentColor")
        space = abs(end - start) - 24
        text = _label(arrow, space)
        return [line, head, _text(text, (start + end) / 2, y - 6)]


def _label(arrow: Arrow, space: float) -> str:
    """Return the text on an arrow; a long topic keeps its end, which says what it is for."""
    name, _, topic = arrow.label.partition(" ")
    name = f"refused: {name}" if arrow.status == "refused" else name
    letters = max(4, int(space / LETTER))
    spare = letters - len(name) - 1
    if len(topic) > spare > 4:
        end = topic[1 - spare :]
        whole = end.find("/")  # start at a whole level, if enough remains
        return f"{name} …{end[whole:] if 0 <= whole < spare / 2 else end}"
    text = f"{name} {topic}".rstrip()
    if arrow.detail and arrow.status != "refused":
        text += f"  {' '.join(arrow.detail.split())}"
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _shape(name: str, **attributes: float | str) -> str:
    drawn = {
        key: value if isinstance(value, str) else f"{value:g}" for key, value in attributes.items()
    }
    return tag(name, stroke="currentColor", **drawn)


def _text(text: str, x: float, y: float, weight: str | None = None) -> str:
    return tag(
        "text",
        escape(text),
        x=f"{x:g}",
        y=f"{y:g}",
        text_anchor="middle",
        fill="currentColor",
        font_weight=weight,
        style=_HALO,
    )
