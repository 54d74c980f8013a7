"""The console: Things, certificates and policies of the account, and the way from one to the other.

A click on a link or a deed asks the account, on the thread of the click, and leaves a new page for
the renderer, which makes widgets of it. Everything goes through boto3, so that it works the same on
AWS; what AWS refuses is shown below, in AWS's own words.
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
    ActionRow,
    Cell,
    Element,
    Field,
    Form,
    Html,
    Link,
    Page,
    Route,
    Rows,
    Tool,
    VolatileCell,
    static,
)
from creeklab.widgets.console_pages import SECTIONS, ConsolePages
from creeklab.widgets.live_view import LiveView, close_widgets
from creeklab.widgets.test_client import MqttTestClient

if TYPE_CHECKING:
    from creeklab.session.lab_session import LabSession

POLL_INTERVAL = 2.0
"""How often the monitor looks at the counters."""
WATCHED_SECONDS = 600.0
"""So long after the last click it does: nobody may be there any more."""

MONITOR = Route("monitor")
_PARENT = {"thing": "Things", "certificate": "Certificates", "policy": "Policies"}


class Console(LiveView):
    """The console of an account. Made by `Lab.console`.

    Attributes
    ----------
    page
        The page that is shown.
    """

    def __init__(self, lab: LabSession, place: Route = MONITOR) -> None:
        self._lab = lab
        self._account = ConsoleClient(lab)
        self._pages = ConsolePages(self._account)
        self._clicking = threading.Lock()
        self._shown: Page | None = None
        self._monitor: HTML | None = None
        self._looked = 0.0
        self._clicked = time.monotonic()
        self._client: Any = None
        self.page = self._pages.build(place)
        self._sections = {
            name: self._button(name, partial(self.go, Route(name.lower()))) for name in SECTIONS
        }
        self._title, self._body = HTML(), VBox()
        name = HTML(heading(f"AWS IoT console, account {self._account.name}"))
        sections = HBox(list(self._sections.values()), layout=Layout(flex_flow="row wrap"))
        again = self._button("Refresh", self.refresh)
        head = HBox([sections, again], layout=_row())
        super().__init__(VBox([name, head, self._title, self._body]))

    # --- going somewhere ----------------------------------------------------------------------

    def go(self, place: Route) -> None:
        """Go to a place, such as ``Place("thing", "Test2")``.

        Raises
        ------
        botocore.exceptions.ClientError
            If there is no such thing.
        """
        self.page = self._pages.build(place)
        self._clicked = time.monotonic()
        self.changed()

    def refresh(self) -> None:
        """Ask the account anew for what is shown."""
        self.go(self.page.place)

    def _do(self, deed: Callable[[], Any]) -> None:
        said, place = deed()
        self.go(place or self.page.place)
        self.say(said)

    def act(self, action: Callable[[], object]) -> None:
        """Do what a click asks for; what AWS refuses is shown in AWS's words."""

        def told() -> None:
            self.say("")
            try:
                action()
            except ClientError as error:
                answer = error.response["Error"]
                self.say(f"{answer['Code']}: {answer['Message']}", alert=True)

        # Two clicks at once would each make a page; one after the other they make the last.
        with self._clicking:
            super().act(told)

    # --- drawing, on the renderer's thread ----------------------------------------------------

    def _draw(self) -> None:
        page = self.page
        if page is not self._shown:
            self._draw_page(page)
            self._shown = page
        if self._monitor is not None:
            self._draw_monitor(self._monitor)

    def _draw_page(self, page: Page) -> None:
        section = _PARENT.get(page.place.page, page.place.page.capitalize())
        for name, button in self._sections.items():
            _mark_here(button, name == section)
        self._monitor = None
        old = [child for child in self._body.children if not self._is_client(child)]
        self.show(self._title, heading(page.title, 3))
        self._body.children = [self._widget(part) for part in page.parts]
        close_widgets(*old)

    def _draw_monitor(self, shown: HTML) -> None:
        now = time.monotonic()
        if now - self._clicked > WATCHED_SECONDS:
            return
        if now - self._looked >= POLL_INTERVAL:
            import pandas as pd

            self._looked = now
            found = monitor.series(self._account.metrics(), pd.Timestamp.now("UTC"))
            self.show(shown, monitor.page(found))
        self.changed()  # look again

    # --- widgets of parts -----------------------------------------------------------------------

    def _widget(self, part: Element) -> DOMWidget:
        if isinstance(part, Html):
            return HTML(part.html)
        if isinstance(part, Rows):
            return self._rows(part)
        if isinstance(part, ActionRow):
            words = [HTML(muted(part.label))] if part.label else []
            return HBox([*words, *map(self._button_of, part.parts)], layout=_row())
        if isinstance(part, Form):
            return self._form(part)
        return self._tool(part)

    def _rows(self, part: Rows) -> DOMWidget:
        if not part.rows:
            return HTML(tag("p", muted(part.empty)))
        count = len(part.columns)
        head = [HTML(tag("b", escape(name))) for name in part.columns] if any(part.columns) else []
        cells = [self._cell(cell) for row in part.rows for cell in row]
        columns = " ".join(["minmax(0, max-content)"] * (count - 1) + ["minmax(0, 1fr)"])
        layout = Layout(
            grid_template_columns=columns,
            grid_gap="0.2em 1.2em",
            align_items="baseline",
            justify_items="flex-start",
        )
        grid = GridBox([*head, *cells], layout=layout)
        caption = [HTML(heading(part.caption, 4))] if part.caption else []
        return VBox([*caption, grid])

    def _cell(self, cell: Cell) -> DOMWidget:
        if isinstance(cell, (Link, Action)):
            button = self._button_of(cell)
            if isinstance(cell, Link):
                button.add_class("creeklab-link")
            return button
        return HTML(cell.html if isinstance(cell, VolatileCell) else cell)

    def _button_of(self, part: Link | Action) -> Button:
        if isinstance(part, Action):
            return self._action(part)
        button = self._button(part.label, partial(self._follow, part.to))
        button.tooltip = f"Go to {part.to.page} {part.to.name}".strip()
        _mark_here(button, part.here)
        return button

    def _action(self, deed: Action) -> Button:
        button = Button(description=deed.label)

        def on_click(_: Button) -> None:
            if deed.sure and button.description == deed.label:
                button.description, button.button_style = f"{deed.sure} Yes", "warning"
            else:
                self.act(partial(self._do, deed.do))

        button.on_click(on_click)
        return button

    def _form(self, form: Form) -> DOMWidget:
        fields = [_field(each) for each in form.fields]

        def do() -> None:
            self._do(lambda: form.do(*(field.value or "" for field in fields)))

        button = self._button(form.label, do)
        for field in fields:
            if isinstance(field, Text):
                field.on_msg(self._on_enter(do))
        title = [HTML(heading(form.title, 4))] if form.title else []
        if len(fields) == 1 and not isinstance(fields[0], Textarea):
            fields[0].layout.flex = "0 1 28em"
            return VBox([*title, HBox([*fields, button], layout=_row())])
        return VBox([*title, *fields, HBox([button])], layout=Layout(max_width="52em"))

    def _tool(self, part: Tool) -> DOMWidget:
        if part.name == "monitor":
            self._looked = 0.0
            self._monitor = HTML(muted("The counters are read."))
            return self._monitor
        return self._test_client()

    def _follow(self, place: Route) -> None:
        self.go(place)
        # The link that was followed is gone; without this the keyboard would be nowhere.
        section = _PARENT.get(place.page, place.page.capitalize())
        self._sections[section].focus()

    def _button(self, words: str, action: Callable[[], object]) -> Button:
        made = Button(description=words)
        made.on_click(lambda _: self.act(action))
        return made

    def _on_enter(self, action: Callable[[], object]) -> Callable[..., None]:
        def on_message(_: Any, content: dict[str, Any], __: Any) -> None:
            if content.get("event") == "submit":
                self.act(action)

        return on_message

    # --- the test client ------------------------------------------------------------------------

    def _test_client(self) -> DOMWidget:
        if self._client is None:
            self._client = MqttTestClient.of(self._lab)
        return self._client.widget

    def _is_client(self, widget: DOMWidget) -> bool:
        return self._client is not None and widget is self._client.widget

    def _end(self) -> None:
        if self._client is not None:
            self._client.close()

    # --- where no kernel runs -------------------------------------------------------------------

    def _static(self) -> str:
        return heading(f"AWS IoT console, account {self._account.name}", 2) + static(self.page)

    def _words(self) -> str:
        return f"Console of account {self._account.name}: {self.page.title}"


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


def _mark_here(button: Button, here: bool) -> None:
    if here:
        button.add_class("mod-active")
    else:
        button.remove_class("mod-active")


def _row() -> Layout:
    return Layout(flex_flow="row wrap", grid_gap="0.2em 0.6em", align_items="center")
