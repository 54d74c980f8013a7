"""What all tools in the notebook have in common: drawn by a renderer, shown live and as a page.

Three rules keep threads out of each other's way. Whoever changes something changes the model and
calls `View.changed`. Only the renderer sets what is shown (`View.show`). What a person types into
belongs to that person: the renderer never sets it.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from typing import Any

from ipywidgets import HTML, DOMWidget, VBox, Widget  # type: ignore[import-untyped]

from creeklab.display.html import escape, muted, tag
from creeklab.display.style import live_style, static_page, static_style
from creeklab.widgets.renderer import Renderer

MOMENT = 0.05


class LiveView:
    """A tool in the notebook. Show it as a cell's last line; `close` or ``with`` ends it.

    A subclass makes its widgets, calls ``super().__init__`` with them, and has `_draw` (on the
    renderer's thread), `_static` (HTML for where no kernel runs: no time and nothing random in it,
    as notebooks are compared word by word), `_words` (one line) and, if there is something to end,
    `_end`.
    """

    def __init__(self, *children: DOMWidget) -> None:
        self.closed = False
        self._sent = 0
        self._notice = HTML()
        self._said: tuple[str, bool] | None = None
        self.widget = VBox([HTML(live_style()), *children, self._notice])
        self.widget.add_class("creeklab")
        self._renderer = Renderer(self._render, self._failed)
        atexit.register(self.close)
        self.changed()

    # --- for subclasses -------------------------------------------------------------------------

    def _draw(self) -> None:
        raise NotImplementedError

    def _static(self) -> str:
        raise NotImplementedError

    def _words(self) -> str:
        raise NotImplementedError

    def _end(self) -> None:
        """End what the tool has begun, such as its connection."""

    def changed(self) -> None:
        """Have the view drawn soon. From any thread."""
        self._renderer.soon()

    def show(self, shown: HTML, content: str) -> None:
        """Set what is shown; only the renderer may."""
        if shown.value != content:
            self._sent += len(content)
            shown.value = content

    def say(self, text: str, *, alert: bool = False) -> None:
        """Say something below the tool; an alert is a refusal or a failure. From any thread."""
        self._said = (text, alert) if text else None
        self.changed()

    def act(self, action: Callable[[], object]) -> None:
        """Do what a click asks for, and say it if that fails: a click has no cell to fail in."""
        # JupyterLab and ipykernel of today may hand what was typed before the click to another
        # thread, a little earlier (`creeklab lab` has that off). This lets the other thread go
        # first.
        time.sleep(MOMENT)
        try:
            action()
        except Exception as error:
            self.say(str(error) or type(error).__name__, alert=True)
        self.changed()

    # --- for everybody --------------------------------------------------------------------------

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until the view shows what has happened so far.

        Raises
        ------
        TimeoutError
            If it did not within `timeout` seconds.
        """
        self._renderer.settle(timeout)

    def close(self) -> None:
        """End the tool: its thread, its connection, its widgets. What it showed last stays."""
        if not self.closed:
            self.closed = True
            atexit.unregister(self.close)
            self._renderer.close()
            closed = tag("p", muted("It is closed; this is what it showed last."))
            last = HTML(static_style() + self._static() + closed)
            self._end()
            close_widgets(*self.widget.children)
            self.widget.children = (last,)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{self._words()}{' (closed)' if self.closed else ''}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        page = static_page(self._static())
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": page}
        if not self.closed:
            shown: Any = self.widget._repr_mimebundle_()
            bundle |= {kind: data for kind, data in shown.items() if kind not in bundle}
        return bundle

    # --- on the renderer's thread ---------------------------------------------------------------

    def _render(self) -> int:
        self._sent = 0
        self._draw()
        said = self._said
        if said is None:
            self.show(self._notice, "")
        else:
            text, alert = said
            look = "creeklab-notice creeklab-alert" if alert else "creeklab-notice"
            role = "alert" if alert else "status"
            self.show(self._notice, tag("div", escape(text), class_=look, role=role))
        return self._sent

    def _failed(self, error: Exception) -> None:
        words = f"This tool could not be drawn ({type(error).__name__}: {error})."
        self._notice.value = tag(
            "div", escape(words), class_="creeklab-notice creeklab-alert", role="alert"
        )


def close_widgets(*widgets: Widget) -> None:
    """Close widgets with all that belongs to them."""
    for widget in widgets:
        parts = [getattr(widget, name, None) for name in ("layout", "style")]
        for part in (*getattr(widget, "children", ()), *parts):
            if isinstance(part, Widget):
                close_widgets(part)
        widget.close()
