"""Choose a span of a record by hand, and see a figure of it.

All controls have a label and work with the keyboard: a list of the floods, two dates, and four
buttons that move the span or change its length. (JupyterLab uses the arrow keys itself; there,
Space opens the list.) The figure comes with its description, so a screen reader announces what has
changed. In a stored notebook without a kernel, the last figure stays.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from html import escape
from typing import Any

import ipywidgets as widgets  # type: ignore[import-untyped]
import pandas as pd

from creeklab.creek.plots.figure_style import CaptionedFigure
from creeklab.creek.plots.stage import hydrograph
from creeklab.creek.readings.samples import times

_WHOLE, _CUSTOM = "The whole record", "The dates below"
_DAY = timedelta(days=1)

Span = tuple[date, date]


class Explorer:
    """A figure of a span of days, with controls to choose the span.

    Parameters
    ----------
    floods
        Floods from :func:`creeklab.creek.analysis.floods.find`, offered as spans to choose.
    draw
        Returns a figure of the readings in a span; default: a hydrograph.

    Attributes
    ----------
    figure : CaptionedFigure
        The current figure.

    Raises
    ------
    ValueError
        If this is not a table of readings, or it cannot be drawn.
    """

    figure: CaptionedFigure

    def __init__(
        self,
        readings: pd.DataFrame,
        floods: pd.DataFrame | None = None,
        *,
        draw: Callable[[pd.DataFrame], CaptionedFigure] = hydrograph,
    ) -> None:
        time = times(readings)
        if time.empty:
            raise ValueError("These readings have no rows, so there is no span to choose.")
        self._readings, self._draw = readings.set_axis(time, axis=0), draw
        self._readings.attrs = dict(readings.attrs)
        self._record: Span = (time[0].date(), time[-1].date())
        self._spans: dict[str, Span | None] = {_WHOLE: self._record, _CUSTOM: None}
        if floods is not None:
            for number, each in floods.sort_values("peak_ft", ascending=False).iterrows():
                label = f"Flood {number}: {each['peak_time']:%Y-%m-%d}, {each['peak_ft']:.2f} ft"
                self._spans[label] = (each["start"].date(), each["end"].date())
        wide = {"description_width": "6em"}
        self._list = widgets.Dropdown(options=list(self._spans), description="Span", style=wide)
        self._first, self._last = (
            widgets.DatePicker(
                description=name, style=wide, min=self._record[0], max=self._record[1]
            )
            for name in ("From (UTC)", "to, inclusive")
        )
        self._buttons = [
            widgets.Button(description=name, tooltip=tip)
            for name, tip in (
                ("Earlier", "Move the span back by its length"),
                ("Later", "Move the span forward by its length"),
                ("Shorter", "Show the middle half of the span"),
                ("Longer", "Show a span that is twice as long"),
            )
        ]
        wide_html = widgets.Layout(width="100%", min_width="0")
        self._message, self._shown = (widgets.HTML(layout=wide_html) for _ in range(2))
        row = widgets.Layout(flex_flow="row wrap")
        self._box = widgets.VBox(
            [
                self._list,
                widgets.HBox([self._first, self._last], layout=row),
                widgets.HBox(self._buttons, layout=row),
                self._message,
                self._shown,
            ]
        )
        self._updating = False
        self.show(*self._record)
        self._list.observe(self._on_list, "value")
        self._first.observe(self._on_dates, "value")
        self._last.observe(self._on_dates, "value")
        for button in self._buttons:
            button.on_click(self._on_button)

    @property
    def span(self) -> Span:
        """The first and the last day of the span, both inclusive, in UTC."""
        return self._first.value, self._last.value

    def show(self, first: date, last: date) -> None:
        """Show the days from ``first`` to ``last``, both inclusive.

        Raises
        ------
        ValueError
            If the span ends before it begins, or nothing in it was measured. The figure then stays.
        """
        if last < first:
            raise ValueError(f"The span ends ({last}) before it begins ({first}).")
        begin, end = (pd.Timestamp(day, tz="UTC") for day in (first, last + _DAY))
        index = pd.DatetimeIndex(self._readings.index)
        part = self._readings.iloc[index.searchsorted(begin) : index.searchsorted(end)]
        if part.empty:
            raise ValueError(f"There is no reading from {first} to {last}.")
        part.attrs = dict(self._readings.attrs)
        if (first, last) != self._record and "title" in part.attrs:
            part.attrs["title"] += f": {first} to {last}"
        self.figure = self._draw(part)
        self._updating = True
        self._first.value, self._last.value = first, last
        named = [label for label, span in self._spans.items() if span == (first, last)]
        if self._spans[self._list.value] != (first, last):
            self._list.value = named[0] if named else _CUSTOM
        self._updating = False
        self._message.value = ""
        self._shown.value = self.figure.html()

    def _show_or_explain(self, first: date | None, last: date | None) -> None:
        """Show a span that the user chose; display an error instead of raising it."""
        try:
            if first is None or last is None:
                raise ValueError("A date is empty. Choose both dates.")
            self.show(first, last)
        except ValueError as error:
            self._message.value = f'<p role="alert"><strong>{escape(str(error))}</strong></p>'

    def _on_list(self, change: Any) -> None:
        span = self._spans[change["new"]]
        if not self._updating and span is not None:
            self._show_or_explain(*span)

    def _on_dates(self, _: Any) -> None:
        if not self._updating:
            self._show_or_explain(*self.span)

    def _on_button(self, button: Any) -> None:
        first, last = self.span
        if first is None or last is None or last < first:
            self._show_or_explain(first, last)
            return
        length = (last - first).days + 1
        moved = {
            "Earlier": (first - length * _DAY, last - length * _DAY),
            "Later": (first + length * _DAY, last + length * _DAY),
            "Shorter": (first + length // 4 * _DAY, last - length // 4 * _DAY),
            "Longer": (first - -(-length // 2) * _DAY, last + length // 2 * _DAY),
        }[button.description]
        self._show_or_explain(max(moved[0], self._record[0]), min(moved[1], self._record[1]))

    def __repr__(self) -> str:
        first, last = self.span
        return f"<Explorer: {first} to {last}, {self.figure.title}>"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        data: dict[str, Any] = dict(self._box._repr_mimebundle_(**options))
        data["text/plain"] = repr(self)
        data["text/html"] = self.figure.html()
        return data
