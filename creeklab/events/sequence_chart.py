"""A stretch of the tape as a sequence chart: SVG made by hand, and the same as text.

Each party has a column, each step a row. A refused step is said by a cross and the word as well as
by colour. Colours are the page's own, so the chart fits a light and a dark notebook, and a print.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from creeklab.display.html import escape, tag
from creeklab.display.style import static_page
from creeklab.events.sequence import Arrow, arrows, parties

COLUMN, ROW, HEAD, MARGIN = 250, 36, 46, 16
LETTER = 6.4
"""Width of a letter of the chart's text, about, in its units."""

_INK = {
    "asked": "currentColor",
    "answered": "var(--jp-info-color1, #0277bd)",
    "refused": "var(--jp-error-color1, #c62828)",
}
_LETTERS = "font-family:var(--jp-code-font-family, monospace);font-size:11px"
# Letters stay readable where a line crosses them.
_HALO = "paint-order:stroke;stroke:var(--jp-layout-color0, #fff);stroke-width:4px"
_numbers = itertools.count(1)


class SequenceChart:
    """Who sent what to whom, in order.

    Attributes
    ----------
    steps
        The rows.
    parties
        The columns.
    """

    def __init__(
        self, entries: Iterable[dict[str, Any]], *, left_out: int = 0, title: str = ""
    ) -> None:
        self.steps: list[Arrow] = arrows(entries)
        self.parties = parties(self.steps)
        self.title = title or "Who sent what to whom"
        self._left_out = left_out

    @property
    def text(self) -> str:
        """The chart in words, a step a line."""
        width = len(str(len(self.steps)))
        lines = [f"{n:{width}}  {step}" for n, step in enumerate(self.steps, 1)]
        return "\n".join([*self._said_left_out(), *lines]) or "Nothing happened."

    @property
    def svg(self) -> str:
        """The chart as an SVG document, with a title and a description."""
        return self._drawn(f"chart-{next(_numbers)}", standalone=True)

    def save(self, path: str | Path) -> None:
        """Write the chart to an SVG file, to be put into a hand-out."""
        Path(path).write_text(self.svg, encoding="utf-8")

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        if not self.steps:
            return static_page(tag("p", "Nothing happened."))
        drawn = tag("div", self._drawn("chart"), style="overflow-x:auto", tabindex="0")
        told = tag("details", tag("summary", "The same in words"), tag("pre", escape(self.text)))
        return static_page(drawn, told)

    # --- drawing ------------------------------------------------------------------------------

    def _drawn(self, ids: str, *, standalone: bool = False) -> str:
        columns = {name: MARGIN + COLUMN * (n + 0.5) for n, name in enumerate(self.parties)}
        width = 2 * MARGIN + COLUMN * len(columns)
        height = HEAD + ROW * len(self.steps) + MARGIN
        content = [
            tag("title", escape(self.title), id=f"{ids}-title"),
            tag("desc", escape(self._description()), id=f"{ids}-desc"),
            *(self._column(name, x, height) for name, x in columns.items()),
            *(self._row(n, step, columns) for n, step in enumerate(self.steps)),
        ]
        look = f"{_LETTERS};max-width:none" + ";color:#1a1a1a;background:#fff" * standalone
        return tag(
            "svg",
            *content,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {height:g}",
            width=f"{width:g}",
            height=f"{height:g}",
            role="img",
            aria_labelledby=f"{ids}-title {ids}-desc",
            style=look,
        )

    def _description(self) -> str:
        refused = sum(step.look == "refused" for step in self.steps)
        return " ".join(
            [
                f"{len(self.steps)} steps between {', '.join(self.parties)}; {refused} refused.",
                *self._said_left_out(),
            ]
        )

    def _said_left_out(self) -> list[str]:
        count = self._left_out
        if not count:
            return []
        return [f"{count} earlier {'entry is' if count == 1 else 'entries are'} not shown."]

    def _column(self, name: str, x: float, height: float) -> str:
        box = min(COLUMN - 16.0, max(80.0, LETTER * len(name) + 20))
        most = int((COLUMN - 30) / LETTER)
        shown = name if len(name) <= most else f"{name[: most - 1]}…"
        frame = _shape("rect", x=x - box / 2, y=6, width=box, height=26, rx=3, fill="none")
        line = _shape("line", x1=x, y1=32, x2=x, y2=height - 8, stroke_dasharray="2 4", opacity=0.6)
        label = _text(shown, x, 23, weight="600")
        return tag("g", tag("title", escape(name)), frame, line, label)

    def _row(self, number: int, step: Arrow, columns: dict[str, float]) -> str:
        y = HEAD + ROW * (number + 0.6)
        start, end = columns[step.source], columns[step.target]
        ink = _INK[step.look]
        if step.source == step.target:
            parts = self._note(step, start, y)
        else:
            parts = self._arrow(step, start, end, y)
        told = tag("title", escape(str(step)))
        return tag("g", told, *parts, style=f"color:{ink}" if ink != "currentColor" else None)

    def _note(self, step: Arrow, x: float, y: float) -> list[str]:
        text = _words(step, COLUMN - 24)
        width = max(60.0, min(COLUMN - 10.0, LETTER * len(text) + 14))
        frame = _shape("rect", x=x - width / 2, y=y - 12, width=width, height=20, rx=8, fill="none")
        return [frame, _text(text, x, y + 2)]

    def _arrow(self, step: Arrow, start: float, end: float, y: float) -> list[str]:
        way = 1 if end > start else -1
        refused = step.look == "refused"
        # A refused request ends before it reaches what it asked for.
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
        room = abs(end - start) - 24
        text = _words(step, room)
        return [line, head, _text(text, (start + end) / 2, y - 6)]


def _words(step: Arrow, room: float) -> str:
    """Return what is written on a step: of a long topic the end, which says what it is for."""
    verb, _, topic = step.label.partition(" ")
    verb = f"refused: {verb}" if step.look == "refused" else verb
    letters = max(4, int(room / LETTER))
    spare = letters - len(verb) - 1
    if len(topic) > spare > 4:
        end = topic[1 - spare :]
        whole = end.find("/")  # a level is shown whole, if the rest of it is long enough
        return f"{verb} …{end[whole:] if 0 <= whole < spare / 2 else end}"
    text = f"{verb} {topic}".rstrip()
    if step.detail and step.look != "refused":
        text += f"  {' '.join(step.detail.split())}"
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
