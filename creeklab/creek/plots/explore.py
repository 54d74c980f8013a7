"""Choose a span of a record by hand, and see the picture of it.

Everything can be reached by the keyboard and has a label: a list of the floods, two dates, and
four buttons that move the span or change its length. (JupyterLab keeps the arrow keys to itself:
there Space opens the list.) The picture comes with its words, so whoever hears a page instead of
seeing it learns what has changed. In a stored notebook, where no kernel answers, the picture that
was shown last stays.
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

_WHOLE, _OWN = "The whole record", "The dates below"
_DAY = timedelta(days=1)

Span = tuple[date, date]


class Explorer:
    """A picture of a span of days that can be chosen.

    Parameters
    ----------
    readings
        A table of readings.
    floods
        What :func:`creeklab.creek.analysis.floods.find` gave, for the list of spans to choose from.
    draw
        Makes a picture of the readings of a span; default: a hydrograph.

    Attributes
    ----------
    picture : Picture
        What is shown.

    Raises
    ------
    ValueError
        The readings are no table of readings, or cannot be drawn.
    """

    picture: CaptionedFigure

    def __init__(
        self,
        readings: pd.DataFrame,
        floods: pd.DataFrame | None = None,
        *,
        draw: Callable[[pd.DataFrame], CaptionedFigure] = hydrograph,
    ) -> None:
        time = times(readings)
        if time.empty:
            raise ValueError("These readings have no rows: there is no span to choose.")
        self._readings, self._draw = readings.set_axis(time, axis=0), draw
        self._readings.attrs = dict(readings.attrs)
        self._record: Span = (time[0].date(), time[-1].date())
        self._spans: dict[str, Span | None] = {_WHOLE: self._record, _OWN: None}
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
            for name in ("From (UTC)", "to, included")
        )
        self._buttons = [
            widgets.Button(description=name, tooltip=tip)
            for name, tip in (
                ("Earlier", "Move the span back by its length"),
                ("Later", "Move the span on by its length"),
                ("Shorter", "Show the middle half of the span"),
                ("Longer", "Show a span of twice the length"),
            )
        ]
        wide_html = widgets.Layout(width="100%", min_width="0")
        self._said, self._shown = (widgets.HTML(layout=wide_html) for _ in range(2))
        row = widgets.Layout(flex_flow="row wrap")
        self._box = widgets.VBox(
            [
                self._list,
                widgets.HBox([self._first, self._last], layout=row),
                widgets.HBox(self._buttons, layout=row),
                self._said,
                self._shown,
            ]
        )
        self._quiet = False
        self.show(*self._record)
        self._list.observe(self._on_list, "value")
        self._first.observe(self._on_dates, "value")
        self._last.observe(self._on_dates, "value")
        for button in self._buttons:
            button.on_click(self._on_button)

    @property
    def span(self) -> Span:
        """The first and the last day that are shown, both included, in UTC."""
        return self._first.value, self._last.value

    def show(self, first: date, last: date) -> None:
        """Show the days from one to another, both included.

        Raises
        ------
        ValueError
            The span ends before it begins, or nothing in it was measured. What was shown before
            stays.
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
        self.picture = self._draw(part)
        self._quiet = True
        self._first.value, self._last.value = first, last
        named = [label for label, span in self._spans.items() if span == (first, last)]
        if self._spans[self._list.value] != (first, last):
            self._list.value = named[0] if named else _OWN
        self._quiet = False
        self._said.value = ""
        self._shown.value = self.picture.html()

    def _try(self, first: date | None, last: date | None) -> None:
        """Show a span that somebody chose; say what is wrong with it instead of raising."""
        try:
            if first is None or last is None:
                raise ValueError("A date is empty.")
            self.show(first, last)
        except ValueError as error:
            self._said.value = f'<p role="alert"><strong>{escape(str(error))}</strong></p>'

    def _on_list(self, change: Any) -> None:
        span = self._spans[change["new"]]
        if not self._quiet and span is not None:
            self._try(*span)

    def _on_dates(self, _: Any) -> None:
        if not self._quiet:
            self._try(*self.span)

    def _on_button(self, button: Any) -> None:
        first, last = self.span
        if first is None or last is None or last < first:
            self._try(first, last)
            return
        long = (last - first).days + 1
        moved = {
            "Earlier": (first - long * _DAY, last - long * _DAY),
            "Later": (first + long * _DAY, last + long * _DAY),
            "Shorter": (first + long // 4 * _DAY, last - long // 4 * _DAY),
            "Longer": (first - -(-long // 2) * _DAY, last + long // 2 * _DAY),
        }[button.description]
        self._try(max(moved[0], self._record[0]), min(moved[1], self._record[1]))

    def __repr__(self) -> str:
        first, last = self.span
        return f"<Explorer: {first} to {last}, {self.picture.title}>"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        data: dict[str, Any] = dict(self._box._repr_mimebundle_(**options))
        data["text/plain"] = repr(self)
        data["text/html"] = self.picture.html()
        return data
