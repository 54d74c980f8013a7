"""The MQTT test client: the page *Test* of the AWS console, in the notebook.

It subscribes, shows messages, and publishes. A cell can do the same as a click, on the same
connection. The model is in `message_log.py`, the HTML in `test_client_page.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ipywidgets import (  # type: ignore[import-untyped]
    HTML,
    Box,
    Button,
    Checkbox,
    Dropdown,
    HBox,
    Layout,
    Text,
    Textarea,
    VBox,
)

from creeklab.client.device import WHY_HINT, ConnectionChange, Device, RequestRefused
from creeklab.client.inbox import ReceivedMessage
from creeklab.diagnosis.why import why
from creeklab.display.html import heading, muted
from creeklab.widgets import export, test_client_page
from creeklab.widgets.live_view import LiveView, close_widgets, name_value_pairs, row
from creeklab.widgets.message_log import LIMIT, BufferLimit, LoggedMessage, MessageLog, Subscription

if TYPE_CHECKING:
    import pandas as pd

    from creeklab.session.lab_session import LabSession

PAGE_SIZE = 20
MAX_TREE_ROWS = 60
MAX_RECENT = 5
HELLO = '{\n  "message": "Hello from the creek"\n}'


class _Sent(NamedTuple):
    """A published message, to fill in again."""

    topic: str
    payload: str
    qos: int
    retain: bool
    properties: str


class MqttTestClient(LiveView):
    """Subscribe to topics, see the messages, and publish. Created by `Lab.test_client`.

    Parameters
    ----------
    device
        The connection; it is closed with the test client.
    explain
        Returns the reason for the last refusal of AWS, if it can be found out.
    limit
        How much each subscription keeps.

    Attributes
    ----------
    publish
        Publishes a message; see `creeklab.client.device.Device.publish`.
    """

    def __init__(
        self,
        device: Device,
        explain: Callable[[], str] | None = None,
        *,
        limit: BufferLimit = LIMIT,
    ) -> None:
        self._device = device
        self.publish = device.publish
        self._explain = explain
        self._log = MessageLog(lambda: self.changed(), limit=limit)
        self._recent: list[_Sent] = []
        self._drawn_recent: list[_Sent] = []
        self._frozen: tuple[Subscription, list[LoggedMessage], int] | None = None
        self._page = 0
        self._search = ""
        self._lost: str | None = None
        self._reconnected = False
        self._lost_text = ""
        self._articles: dict[int, str] = {}
        self._rows: dict[str, tuple[HBox, Button]] = {}
        super().__init__(self._build())
        device.on_connection = self._on_connection

    @classmethod
    def of(cls, lab: LabSession) -> MqttTestClient:
        """Return a test client that is connected as the account of a lab."""
        device = lab.connect_account()
        return cls(device, lambda: why(lab, device.client_id).summary)

    # --- for a cell -----------------------------------------------------------------------------

    @property
    def client_id(self) -> str:
        """The MQTT client ID of its connection."""
        return self._device.client_id

    def subscribe(self, topic_filter: str, *, qos: int = 1) -> Subscription:
        """Subscribe to a topic filter, such as ``creek/#``; return the inbox for its messages.

        Raises
        ------
        ValueError
            If the topic filter is not valid in MQTT.
        creeklab.client.RequestRefused
            If AWS refuses the subscription.
        TimeoutError
            If no acknowledgment arrives.
        """
        try:
            subscription = self._log.subscription(topic_filter)
        except LookupError:
            subscription = Subscription(topic_filter, qos, self._log)
        self._device.subscribe(topic_filter, qos=qos, callback=subscription.put)
        subscription.qos = qos
        self._log.add(subscription)
        self._resume()
        return subscription

    def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription and discard its messages."""
        self._log.subscription(topic_filter)
        self._device.unsubscribe(topic_filter)
        self._log.remove(topic_filter)
        self._resume()

    def wait_for(
        self, count: int = 1, topic_filter: str | None = None, timeout: float = 5.0
    ) -> list[ReceivedMessage]:
        """Wait for `count` messages of one subscription, or of all; return those that are kept."""
        if topic_filter is not None:
            return self._log.subscription(topic_filter).wait_for(count, timeout)
        self._log.wait(lambda: self._log.count, count, "in the test client", timeout)
        return self.messages()

    def messages(self, topic_filter: str | None = None) -> list[ReceivedMessage]:
        """Return the kept messages of one subscription, or of all, oldest first."""
        return [each.message for each in self._kept(topic_filter)]

    @property
    def topics(self) -> list[str]:
        """The topics of all messages, sorted."""
        with self._log.lock:
            return self._log.tree.topics

    def clear(self) -> None:
        """Discard all messages and topics so far; the subscriptions stay."""
        self._log.clear()
        self._resume()

    def to_frame(self, topic_filter: str | None = None) -> pd.DataFrame:
        """Return the kept messages as a table, oldest first, indexed by their number."""
        return export.to_frame(self._kept(topic_filter))

    def to_json_lines(self, topic_filter: str | None = None) -> str:
        """Return the kept messages as JSON Lines, oldest first."""
        return export.to_json_lines(self._kept(topic_filter))

    def to_csv(self, topic_filter: str | None = None) -> str:
        """Return the kept messages as CSV, oldest first."""
        return export.to_csv(self._kept(topic_filter))

    def _kept(self, topic_filter: str | None) -> list[LoggedMessage]:
        if topic_filter is None:
            return self._log.logged()
        return self._log.subscription(topic_filter).logged

    # --- the connection -------------------------------------------------------------------------

    def _on_connection(self, change: ConnectionChange) -> None:
        # This is the SDK's thread, so the renderer finds out the reason and shows it.
        if change.connected:
            self._reconnected = True
        else:
            self._lost = change.reason
        self.changed()

    def _with_reason(self, refusal: str) -> str:
        """Return a refusal and, if it can be found out, the reason for it."""
        refusal = refusal.removesuffix(f" {WHY_HINT}")
        if self._explain is None:
            return refusal
        try:
            why = self._explain()
            return refusal if why in refusal else f"{refusal} Why: {why}"
        except Exception as error:  # the cloud might have ended
            return f"{refusal} The reason is not known: {error}"

    def _error_text(self, error: Exception) -> str:
        text = super()._error_text(error)
        return self._with_reason(text) if isinstance(error, RequestRefused) else text

    def _end(self) -> None:
        self._device.on_connection = None
        self._device.close()

    # --- widgets --------------------------------------------------------------------------------

    def _build(self) -> HBox:
        # Send text when the user leaves the field, before the click: if each key were sent,
        # ipywidgets would hold back the last ones, and the click would overtake them.
        wide = {
            "layout": Layout(width="auto"),
            "style": {"description_width": "initial"},
            "continuous_update": False,
        }
        narrow = {"layout": Layout(width="8em"), "style": {"description_width": "initial"}}
        choice = [("0", 0), ("1", 1)]
        self._filter = Text(description="Topic filter", placeholder="creek/#", **wide)
        self._filter_qos = Dropdown(description="QoS", options=choice, value=1, **narrow)
        self._topic = Text(description="Topic", placeholder="creek/elkhorn/depth", **wide)
        self._payload = Textarea(description="Payload", value=HELLO, rows=3, **wide)
        self._qos = Dropdown(description="QoS", options=choice, value=1, **narrow)
        self._retain = Checkbox(description="Retain", indent=False, layout=Layout(width="auto"))
        self._user = Textarea(
            description="User properties", placeholder="name=value, one per line", rows=1, **wide
        )
        self._on_enter(self._filter, self._subscribe_typed)
        self._find = Text(description="Search", placeholder="in topics and payloads", **wide)
        self._find.continuous_update = True  # no click depends on this field
        self._list, self._recents = VBox(), VBox()
        self._tree, self._status, self._charts, self._shown = HTML(), HTML(), HTML(), HTML()
        self._empty = HTML()
        self._pause = self._button("Pause", self._toggle)
        buttons = [
            self._pause,
            self._button("Clear", self._clear_selected),
            self._button("Newer", lambda: self._turn(-1)),
            self._button("Older", lambda: self._turn(1)),
            self._button("Save as CSV", lambda: self._save("csv", self.to_csv)),
            self._button("Save as JSON Lines", lambda: self._save("jsonl", self.to_json_lines)),
        ]
        self._find.observe(self._on_search, "value")
        left = [
            HTML(heading("Subscribe to a topic")),
            self._filter,
            HBox([self._filter_qos, self._button("Subscribe", self._subscribe_typed, "primary")]),
            HTML(heading("Subscriptions")),
            self._empty,
            self._list,
            HTML(heading("Topics seen")),
            _scrolled(self._tree, "20em"),
        ]
        right = [
            HTML(heading("Publish to a topic")),
            self._topic,
            self._payload,
            self._user,
            row([self._qos, self._retain, self._button("Publish", self._publish_typed, "primary")]),
            self._recents,
            HTML(heading("Messages")),
            self._status,
            row(buttons),
            self._find,
            self._charts,
            _scrolled(self._shown, "32em"),
        ]
        columns = [
            VBox(left, layout=Layout(flex="1 1 16em", min_width="14em")),
            VBox(right, layout=Layout(flex="3 1 24em", min_width="14em")),
        ]
        return HBox(columns, layout=Layout(flex_flow="row wrap", grid_gap="0 1.2em"))

    # --- clicks ---------------------------------------------------------------------------------

    def _subscribe_typed(self) -> None:
        self.subscribe(self._filter.value.strip(), qos=self._filter_qos.value)

    def _publish_typed(self) -> None:
        sent = _Sent(
            self._topic.value.strip(),
            self._payload.value,
            self._qos.value,
            self._retain.value,
            self._user.value,
        )
        self.publish(
            sent.topic,
            sent.payload,
            qos=sent.qos,
            retain=sent.retain,
            user_properties=name_value_pairs(sent.properties),
        )
        self._recent = [sent, *(one for one in self._recent if one != sent)][:MAX_RECENT]

    def _fill(self, sent: _Sent) -> None:
        self._topic.value, self._payload.value = sent.topic, sent.payload
        self._qos.value, self._retain.value = sent.qos, sent.retain
        self._user.value = sent.properties

    def _select(self, topic_filter: str) -> None:
        self._log.select(self._log.subscription(topic_filter))
        self._resume()

    def _toggle(self) -> None:
        if self._frozen is None:
            self._freeze()
        else:
            self._resume()

    def _freeze(self) -> None:
        with self._log.lock:
            selected = self._log.selected
            if selected is not None:
                self._frozen = (selected, selected.logged, selected.count)

    def _resume(self) -> None:
        self._frozen, self._page = None, 0
        self.changed()

    def _turn(self, pages: int) -> None:
        if self._frozen is None:
            self._freeze()  # otherwise new messages would move the page
        self._page = max(0, self._page + pages)

    def _clear_selected(self) -> None:
        if self._log.selected is not None:
            self._log.selected.clear()
        self._resume()

    def _on_search(self, change: dict[str, Any]) -> None:
        self._search, self._page = change["new"].strip(), 0
        self.changed()

    def _save(self, extension: str, export_text: Callable[[str | None], str]) -> None:
        selected = self._log.selected
        if selected is None:
            raise LookupError("There are no messages to save. Subscribe to a topic first.")
        file = _new_file(extension)
        file.write_text(export_text(selected.topic_filter), encoding="utf-8")
        self.notify(f"Saved the messages of {selected.topic_filter} to {file.name} in this folder.")

    # --- drawing, on the renderer's thread ------------------------------------------------------

    def _draw(self) -> None:
        self._draw_connection()
        search, frozen = self._search, self._frozen
        with self._log.lock:
            subscriptions = [(each.topic_filter, each.unread) for each in self._log.subscriptions]
            selected = self._log.selected
            kept = selected.logged if selected is not None else []
            count = selected.count if selected is not None else 0
            rows = self._log.tree.rows(MAX_TREE_ROWS, search)
            tree = test_client_page.tree(rows, self._log.tree, search)
        waiting = None
        if frozen is not None and selected is frozen[0]:
            _, kept, frozen_count = frozen
            waiting, count = count - frozen_count, frozen_count
        self._draw_list(subscriptions, selected)
        self._draw_recent()
        self._draw_messages(selected, kept, count, search, waiting)
        self.show(self._tree, tree)
        self._pause.description = "Pause" if frozen is None else "Resume"

    def _draw_connection(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            self._lost_text = self._with_reason(f"AWS closed the connection ({lost}).")
            self.notify(self._lost_text, alert=True)
        reconnected, self._reconnected = self._reconnected, False
        if reconnected:
            missed = "The test client reconnected. Messages sent in the meantime were missed."
            self.notify(f"{self._lost_text} {missed}", alert=True)

    def _draw_list(
        self, subscriptions: list[tuple[str, int]], selected: Subscription | None
    ) -> None:
        names = [name for name, _ in subscriptions]
        if list(self._rows) != names:
            rows = {name: self._rows.get(name) or self._subscription_row(name) for name in names}
            removed = [box for name, (box, _) in self._rows.items() if name not in rows]
            self._rows = rows
            self._take_notice()
            self._list.children = [box for box, _ in rows.values()]
            close_widgets(*removed)
        self.show(self._empty, "" if names else muted("None yet."))
        for name, unread in subscriptions:
            _, button = self._rows[name]
            is_selected = selected is not None and selected.topic_filter == name
            button.description = f"● {name} ({unread:,} new)" if unread else name
            button.tooltip = "Shown" if is_selected else f"Show the messages of {name}"
            button.button_style = "info" if is_selected else ""

    def _subscription_row(self, name: str) -> tuple[HBox, Button]:
        select = self._button(name, lambda: self._select(name))
        select.add_class("creeklab-subscription")
        unsubscribe = self._button(f"Unsubscribe from {name}", lambda: self.unsubscribe(name))
        unsubscribe.add_class("creeklab-cross")
        unsubscribe.tooltip = f"Unsubscribe from {name}"
        return HBox([select, unsubscribe]), select

    def _draw_recent(self) -> None:
        recent = self._recent
        if recent != self._drawn_recent:
            self._take_notice()
            old, self._drawn_recent = self._recents.children, recent
            label = HTML(muted("Recently published (click to fill in again):"))
            buttons = [self._button(_short(sent), partial(self._fill, sent)) for sent in recent]
            self._recents.children = [label, *buttons]
            close_widgets(*old)

    def _draw_messages(
        self,
        selected: Subscription | None,
        kept: list[LoggedMessage],
        count: int,
        search: str,
        waiting: int | None,
    ) -> None:
        if selected is None:
            self.show(self._status, muted("Subscribe to a topic to see its messages."))
            self.show(self._charts, "")
            self.show(self._shown, "")
            return
        newest = kept[::-1]
        if search:
            newest = [each for each in newest if _contains(each.message, search.lower())]
        self._page = min(self._page, max(0, (len(newest) - 1) // PAGE_SIZE))
        first = self._page * PAGE_SIZE
        page = newest[first : first + PAGE_SIZE]
        # A message never changes, so its HTML is reused while it is on the page.
        self._articles = {
            each.number: self._articles.get(each.number) or test_client_page.message(each)
            for each in page
        }
        status = test_client_page.status(
            selected.topic_filter, count, len(kept), len(newest), search, waiting
        )
        if len(newest) > PAGE_SIZE:
            status += muted(
                f"Showing {first + 1:,} to {first + len(page):,} of {len(newest):,}, newest first."
            )
        self.show(self._status, status)
        self.show(self._charts, test_client_page.charts(newest))
        self.show(self._shown, "".join(self._articles.values()))

    def _static(self) -> str:
        return test_client_page.static(self._log.subscriptions)

    def _summary(self) -> str:
        names = ", ".join(f"'{each.topic_filter}'" for each in self._log.subscriptions)
        return f"MQTT test client, subscribed to {names or 'nothing yet'}"


def _scrolled(shown: HTML, height: str) -> Box:
    box = Box([shown], layout=Layout(max_height=height, overflow="auto", display="block"))
    box.add_class("creeklab-scroll")
    return box


def _contains(message: ReceivedMessage, search: str) -> bool:
    return search in message.topic.lower() or search.encode() in message.payload.lower()


def _short(sent: _Sent) -> str:
    text = " ".join(sent.payload.split())
    return f"{sent.topic}  {text if len(text) <= 60 else text[:59] + '…'}"


def _new_file(extension: str) -> Path:
    """Return the path of a file in this folder that does not exist yet."""
    number, file = 1, Path(f"mqtt-messages.{extension}")
    while file.exists():
        number += 1
        file = Path(f"mqtt-messages-{number}.{extension}")
    return file
