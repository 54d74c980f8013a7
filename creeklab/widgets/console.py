"""The console: Things, certificates and policies of the account, linked to each other.

A click on a link or an action calls the account on the thread of the click, and leaves a new page
for the renderer, which turns it into widgets. All calls go through boto3, so that the console works
the same on AWS; errors of AWS are shown below the page, unchanged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from ipywidgets import (  # type: ignore[import-untyped]
    HTML,
    Button,
    DOMWidget,
    Dropdown,
    GridBox,
    HBox,
    Layout,
    Text,
    Textarea,
    VBox,
)

from creeklab.display.html import escape, heading, muted, tag
from creeklab.widgets import console_monitor as monitor
from creeklab.widgets.console_client import ConsoleClient
from creeklab.widgets.console_elements import (
    Action,
    Cell,
    Done,
    Element,
    Field,
    Form,
    Page,
    Route,
    Table,
    static,
)
from creeklab.widgets.console_pages import SECTIONS, ConsolePages
from creeklab.widgets.live_view import LiveView, close_widgets, row
from creeklab.widgets.test_client import MqttTestClient

if TYPE_CHECKING:
    from creeklab.session.lab_session import LabSession

POLL_INTERVAL = 2.0
"""Seconds between two reads of the metrics for the monitor."""
IDLE_TIMEOUT = 600.0
"""Seconds after the last click at which the monitor stops, since nobody might be watching."""

MONITOR = Route("monitor")
_SECTIONS_OF = {"thing": "Things", "certificate": "Certificates", "policy": "Policies"}


class Console(LiveView):
    """The console of an account, with the `page` on screen. Created by `Lab.console`."""

    def __init__(self, lab: LabSession, route: Route = MONITOR) -> None:
        self._lab = lab
        self._account = ConsoleClient(lab)
        self._pages = ConsolePages(self._account)
        self._clicking = threading.Lock()
        self._drawn: Page | None = None
        self._monitor: HTML | None = None
        self._polled = 0.0
        self._clicked = time.monotonic()
        self._client: Any = None
        self.page = self._pages.build(route)
        self._sections = {
            name: self._button(name, partial(self.go, Route(name.lower()))) for name in SECTIONS
        }
        self._title, self._body = HTML(), VBox()
        name = HTML(heading(f"AWS IoT console, account {self._account.name}"))
        sections = HBox(list(self._sections.values()), layout=Layout(flex_flow="row wrap"))
        head = row([sections, self._button("Refresh", self.refresh)])
        self._page = VBox([name, head, self._title, self._body])
        super().__init__(self._page)

    # --- navigation -----------------------------------------------------------------------------

    def go(self, route: Route) -> None:
        """Open a page, such as ``Route("thing", "Test2")``; raise AWS's error if it has none."""
        self.page = self._pages.build(route)
        self._clicked = time.monotonic()
        self.changed()

    def refresh(self) -> None:
        """Read the account again for the page on screen."""
        self.go(self.page.route)

    def _do(self, action: Callable[[], Done]) -> None:
        message, route = action()
        self.go(route or self.page.route)
        self.notify(message)

    def act(self, action: Callable[[], object], button: Button | None = None) -> None:
        """Run the action of a click."""
        # Two simultaneous clicks would each build a page; in turn, the last one wins.
        with self._clicking:
            super().act(action, button)

    def _notice_place(self) -> tuple[VBox, DOMWidget]:
        """Return the place below the title: the button of an action is often gone."""
        return self._page, self._title

    def _error_text(self, error: Exception) -> str:
        if not isinstance(error, ClientError):
            return super()._error_text(error)
        answer = error.response["Error"]
        return f"{answer['Code']}: {answer['Message']}"

    # --- drawing, on the renderer's thread ------------------------------------------------------

    def _draw(self) -> None:
        page = self.page
        if page is not self._drawn:
            self._draw_page(page)
            self._drawn = page
        if self._monitor is not None:
            self._draw_monitor(self._monitor)

    def _draw_page(self, page: Page) -> None:
        section = _section(page.route)
        for name, button in self._sections.items():
            _mark_current(button, name == section)
        self._monitor = None
        self._take_notice()
        old = [child for child in self._body.children if not self._is_client(child)]
        self.show(self._title, heading(page.title, 3))
        tools = [self._tool(page.tool)] if page.tool else []
        self._body.children = [*map(self._widget, page.elements), *tools]
        close_widgets(*old)

    def _draw_monitor(self, shown: HTML) -> None:
        now = time.monotonic()
        if now - self._clicked > IDLE_TIMEOUT:
            return
        if now - self._polled >= POLL_INTERVAL:
            import pandas as pd  # slow to import, and only the monitor needs it

            self._polled = now
            series = monitor.series(self._account.metrics(), pd.Timestamp.now("UTC"))
            self.show(shown, monitor.page(series))
        self.changed()  # poll again

    # --- widgets of elements --------------------------------------------------------------------

    def _widget(self, element: Element) -> DOMWidget:
        if isinstance(element, str):
            return HTML(element)
        if isinstance(element, list):
            return row(map(self._cell, element))
        return self._table(element) if isinstance(element, Table) else self._form(element)

    def _table(self, table: Table) -> DOMWidget:
        if not table.rows:
            return HTML(tag("p", muted(table.empty)))
        head = [tag("b", escape(name)) for name in table.columns] if any(table.columns) else []
        cells = [*head, *(cell for cells in table.rows for cell in cells)]
        widths = ["minmax(0, max-content)"] * (len(table.columns) - 1) + ["minmax(0, 1fr)"]
        layout = Layout(
            grid_template_columns=" ".join(widths),
            grid_gap="0.2em 1.2em",
            align_items="baseline",
            justify_items="flex-start",
        )
        grid = GridBox([self._cell(cell, linked=True) for cell in cells], layout=layout)
        caption = [HTML(heading(table.caption, 4))] if table.caption else []
        return VBox([*caption, grid])

    def _cell(self, cell: Cell, *, linked: bool = False) -> DOMWidget:
        if isinstance(cell, str):
            return HTML(cell)
        if isinstance(cell, Action):
            return self._action(cell)
        button = self._button(cell.label, partial(self._follow, cell.to))
        button.tooltip = f"Go to {cell.to.page} {cell.to.name}".strip()
        _mark_current(button, cell.current)
        if linked:
            button.add_class("creeklab-link")
        return button

    def _action(self, action: Action) -> Button:
        button = Button(description=action.label)

        def on_click(_: Button) -> None:
            if action.confirm and button.description == action.label:
                button.description, button.button_style = f"{action.confirm} Yes", "warning"
            else:
                self.act(partial(self._do, action.do), button)

        button.on_click(on_click)
        return button

    def _form(self, form: Form) -> DOMWidget:
        fields = [_field(each) for each in form.fields]

        def submit() -> None:
            self._do(lambda: form.do(*(field.value or "" for field in fields)))

        button = self._button(form.label, submit)
        for field in fields:
            if isinstance(field, Text):
                self._on_enter(field, submit)
        title = [HTML(heading(form.title, 4))] if form.title else []
        if len(fields) == 1 and not isinstance(fields[0], Textarea):
            fields[0].layout.flex = "0 1 28em"
            return VBox([*title, row([*fields, button])])
        return VBox([*title, *fields, HBox([button])], layout=Layout(max_width="52em"))

    def _follow(self, route: Route) -> None:
        self.go(route)
        # The link on the old page is gone, and the keyboard needs a new place to be.
        self._sections[_section(route)].focus()

    # --- other tools ----------------------------------------------------------------------------

    def _tool(self, name: str) -> DOMWidget:
        if name == "monitor":
            self._polled = 0.0
            self._monitor = HTML(muted("Reading the metrics."))
            return self._monitor
        if self._client is None:
            self._client = MqttTestClient.of(self._lab)
        return self._client.widget

    def _is_client(self, widget: DOMWidget) -> bool:
        return self._client is not None and widget is self._client.widget

    def _end(self) -> None:
        if self._client is not None:
            self._client.close()

    # --- without a kernel -----------------------------------------------------------------------

    def _static(self) -> str:
        return heading(f"AWS IoT console, account {self._account.name}", 2) + static(self.page)

    def _summary(self) -> str:
        return f"Console of account {self._account.name}: {self.page.title}"


def _section(route: Route) -> str:
    return _SECTIONS_OF.get(route.page, route.page.capitalize())


def _field(field: Field) -> DOMWidget:
    style = {"description_width": "initial"}
    wide = {"style": style, "layout": Layout(width="auto"), "description": field.label}
    if field.options is not None:
        return Dropdown(options=list(field.options), **wide)
    if field.rows > 1:
        area = Textarea(value=field.value, placeholder=field.hint, rows=field.rows, **wide)
        area.add_class("creeklab-code")
        return area
    return Text(value=field.value, placeholder=field.hint, **wide)


def _mark_current(button: Button, current: bool) -> None:
    (button.add_class if current else button.remove_class)("mod-active")
