"""The base of all tools in the notebook: drawn by a renderer, shown live and as a static page.

Three rules keep the threads apart. Any thread changes the model and then calls `LiveView.changed`.
Only the renderer sets what is shown (`LiveView.show`). An input belongs to the user: the renderer
never sets it.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ipywidgets import (  # type: ignore[import-untyped]
    HTML,
    Button,
    DOMWidget,
    HBox,
    Layout,
    Text,
    VBox,
    Widget,
)

from creeklab.display.html import escape, muted, tag
from creeklab.display.style import live_style, static_page, static_style
from creeklab.widgets.renderer import Renderer

CLICK_DELAY = 0.05
TEXT_DELAY = 0.3
"""Seconds to wait for the text of a field after an Enter; it is not sent if it has not changed."""


class LiveView:
    """A tool in the notebook. Show it as the last line of a cell; `close` or ``with`` ends it.

    A subclass creates its widgets, passes them to ``super().__init__``, and defines `_draw` (on the
    renderer's thread), `_static` (HTML for a notebook without a kernel, without times or anything
    random, because stored notebooks are compared), `_summary` (one line) and, if there is something
    to end, `_end`.
    """

    def __init__(self, *children: DOMWidget) -> None:
        self.closed = False
        self._sent = 0
        self._notice = HTML()
        self._message: tuple[str, bool] | None = None
        self._button_clicked: Button | None = None
        self.widget = VBox([HTML(live_style()), *children, self._notice])
        self._notice_box = self.widget
        self.widget.add_class("creeklab")
        self._renderer = Renderer(self._render, self._failed)
        atexit.register(self.close)
        self.changed()

    # --- for subclasses -------------------------------------------------------------------------

    def _draw(self) -> None:
        raise NotImplementedError

    def _static(self) -> str:
        raise NotImplementedError

    def _summary(self) -> str:
        raise NotImplementedError

    def _end(self) -> None:
        """End what the tool has started, such as its connection."""

    def _error_text(self, error: Exception) -> str:
        """Return the message for an action that failed."""
        return str(error) or type(error).__name__

    def changed(self) -> None:
        """Request a drawing soon. From any thread."""
        self._renderer.request()

    def show(self, shown: HTML, content: str) -> None:
        """Set what is shown; only the renderer may call this."""
        if shown.value != content:
            self._sent += len(content)
            shown.value = content

    def notify(self, text: str, *, alert: bool = False) -> None:
        """Show a message below the button that was clicked last; an alert reports a failure.

        From any thread. Without such a button, or once it is gone, it is `_notice_place`.
        """
        self._message = (text, alert) if text else None
        self.changed()

    def act(self, action: Callable[[], object], button: Button | None = None) -> None:
        """Run the action of a click; show its error below the button: there is no cell for it."""
        # JupyterLab and ipykernel can hand text typed before the click to another thread, slightly
        # earlier (`creeklab lab` turns that off). The delay lets that thread finish first.
        time.sleep(CLICK_DELAY)
        self._button_clicked = button
        self.notify("")
        try:
            action()
        except Exception as error:
            self.notify(self._error_text(error), alert=True)
        self.changed()

    def _button(self, label: str, action: Callable[[], object], style: str = "") -> Button:
        button = Button(description=label, button_style=style)
        button.on_click(lambda _: self.act(action, button))
        return button

    def _on_enter(self, field: Text, action: Callable[[], object]) -> None:
        """Run an action when Enter is pressed in a field, as soon as its text has arrived."""
        # If a field does not send each key, the browser sends its text after the Enter.
        pending: list[threading.Timer] = []

        def run(_: Any = None) -> None:
            with contextlib.suppress(IndexError):
                pending.pop().cancel()
                self.act(action)

        def on_message(_: Any, content: dict[str, Any], __: Any) -> None:
            if content.get("event") == "submit":
                pending.append(threading.Timer(0.0 if field.continuous_update else TEXT_DELAY, run))
                pending[-1].start()

        field.on_msg(on_message)
        field.observe(run, "value")

    def _notice_place(self) -> tuple[VBox, DOMWidget]:
        """Return the column for a message that belongs to no button, and the widget above it."""
        return self.widget, [each for each in self.widget.children if each is not self._notice][-1]

    def _take_notice(self) -> None:
        """Take the message out of its box, which is about to be drawn again."""
        box = self._notice_box
        box.children = tuple(child for child in box.children if child is not self._notice)

    # --- for everyone ---------------------------------------------------------------------------

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until the view shows all changes so far, for at most `timeout` seconds."""
        self._renderer.settle(timeout)

    def close(self) -> None:
        """End the tool: its thread, connection and widgets. A static page of it stays."""
        if not self.closed:
            self.closed = True
            atexit.unregister(self.close)
            self._renderer.close()
            closed = tag("p", muted("This tool is closed. Its last state is shown above."))
            last = HTML(static_style() + self._static() + closed)
            self._end()
            close_widgets(*self.widget.children)
            self.widget.children = (last,)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{self._summary()}{' (closed)' if self.closed else ''}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        page = static_page(self._static())
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": page}
        if not self.closed:
            live: Any = self.widget._repr_mimebundle_()
            bundle |= {kind: data for kind, data in live.items() if kind not in bundle}
        return bundle

    # --- on the renderer's thread ---------------------------------------------------------------

    def _render(self) -> int:
        self._sent = 0
        self._draw()
        self._place_notice()
        self.show(self._notice, "" if self._message is None else _notice(*self._message))
        return self._sent

    def _place_notice(self) -> None:
        above = self._button_clicked and _column_entry(self.widget, self._button_clicked)
        box, after = above or self._notice_place()
        children = [child for child in box.children if child is not self._notice]
        children.insert(children.index(after) + 1, self._notice)
        if list(box.children) != children:
            self._take_notice()
            box.children, self._notice_box = children, box

    def _failed(self, error: Exception) -> None:
        text = f"This tool could not be drawn ({type(error).__name__}: {error})."
        self._notice.value = _notice(text, alert=True)


def _notice(text: str, alert: bool) -> str:
    class_ = "creeklab-notice creeklab-alert" if alert else "creeklab-notice"
    return tag("div", escape(text), class_=class_, role="alert" if alert else "status")


def _column_entry(column: VBox, widget: Widget) -> tuple[VBox, DOMWidget] | None:
    """Return the innermost column that contains a widget, and the entry of it with the widget."""
    for entry in column.children:
        if entry is widget or widget in _descendants(entry):
            columns = [each for each in (entry, *_descendants(entry)) if isinstance(each, VBox)]
            inner = (_column_entry(each, widget) for each in columns)
            return next(filter(None, inner), (column, entry))
    return None


def _descendants(widget: Widget) -> Iterator[Widget]:
    for child in getattr(widget, "children", ()):
        yield child
        yield from _descendants(child)


def row(children: Iterable[DOMWidget]) -> HBox:
    """Return widgets next to each other, wrapped where the page is narrow."""
    layout = Layout(flex_flow="row wrap", grid_gap="0.2em 0.6em", align_items="center")
    return HBox(list(children), layout=layout)


def name_value_pairs(text: str) -> list[tuple[str, str]]:
    """Parse lines of ``name=value``; raise `ValueError` if a line has another form."""
    pairs = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{line!r} is not of the form name=value.")
        pairs.append((name.strip(), value.strip()))
    return pairs


def close_widgets(*widgets: Widget) -> None:
    """Close widgets and everything that belongs to them."""
    for widget in widgets:
        parts = [getattr(widget, name, None) for name in ("layout", "style")]
        for part in (*getattr(widget, "children", ()), *parts):
            if isinstance(part, Widget):
                close_widgets(part)
        widget.close()
