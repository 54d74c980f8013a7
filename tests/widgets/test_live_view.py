"""The base of all tools: drawing, messages, the static page, and closing."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ipywidgets import HTML, Button, HBox, Text, VBox
from ipywidgets.widgets.widget import _instances

from creeklab.widgets.live_view import LiveView, name_value_pairs, row
from tests.widgets.closed_view import remaining_widgets


class Counter(LiveView):
    """A view of one number."""

    def __init__(self) -> None:
        self.number = 0
        self.broken = False
        self.ended = 0
        self.shown = HTML()
        self.button = Button(description="Count")
        self.button.on_click(lambda _: self.act(self.count))
        super().__init__(self.shown, self.button)

    def count(self) -> None:
        if self.number == 3:
            raise ValueError("<b>Three</b> is enough.")
        self.number += 1

    def _draw(self) -> None:
        if self.broken:
            raise RuntimeError("<i>broken</i>")
        self.show(self.shown, f"<b>{self.number}</b>")

    def _static(self) -> str:
        return f"<p>{self.number}</p>"

    def _summary(self) -> str:
        return f"Counter at {self.number}"

    def _end(self) -> None:
        self.ended += 1


def notice(view: LiveView) -> str:
    return str(view._notice.value)


def test_a_click_is_drawn_and_its_error_is_shown() -> None:
    with Counter() as view:
        for _ in range(4):
            view.button.click()
        view.settle()
        assert view.shown.value == "<b>3</b>"
        assert "&lt;b&gt;Three&lt;/b&gt; is enough." in notice(view)
        assert 'role="alert"' in notice(view)
        view.notify("Done.")
        view.settle()
        assert 'role="status"' in notice(view)
        view.notify("")
        view.settle()
        assert notice(view) == ""


class TwoSides(Counter):
    """A view with a button in each of two columns, and one in a row of its own."""

    def __init__(self) -> None:
        super().__init__()
        fail = self.fail
        self.buttons = [self._button(label, fail) for label in ("left", "right", "row")]
        left, right, alone = self.buttons
        self.columns = [VBox([HTML(), left, HTML()]), VBox([row([right]), HTML()])]
        self.widget.children = (HBox(self.columns), row([alone]), *self.widget.children)

    def fail(self) -> None:
        raise ValueError("No.")


def test_a_message_is_below_the_button_that_caused_it() -> None:
    with TwoSides() as view:
        left, right, alone = view.buttons
        for button, box, above in (
            (left, view.columns[0], left),
            (right, view.columns[1], view.columns[1].children[0]),
            (alone, view.widget, view.widget.children[1]),
            (left, view.columns[0], left),
        ):
            button.click()
            view.settle()
            assert "No." in notice(view)
            assert box.children.index(view._notice) == box.children.index(above) + 1
            boxes = (view.widget, *view.columns)
            assert sum(view._notice in each.children for each in boxes) == 1
        view.columns[0].children = (HTML(),)  # the button is gone
        view.notify("Done.")
        view.settle()
        assert view.widget.children[-1] is view._notice


def press_enter(field: Text) -> None:
    field._msg_callbacks(field, {"event": "submit"}, [])


def test_enter_waits_for_the_text() -> None:
    with Counter() as view:
        done: list[str] = []
        field = Text(continuous_update=False)
        event = threading.Event()
        view._on_enter(field, lambda: (done.append(field.value), event.set()))
        field.value = "left without Enter"
        assert done == []
        press_enter(field)
        field.value = "creek/#"
        assert event.wait(5)
        event.clear()
        press_enter(field)  # the same text again is not sent again
        assert event.wait(5)
        assert done == ["creek/#", "creek/#"]


def test_a_view_that_cannot_be_drawn_says_so_and_recovers() -> None:
    with Counter() as view:
        view.broken = True
        view.changed()
        view.settle()
        assert "could not be drawn (RuntimeError: &lt;i&gt;broken&lt;/i&gt;)" in notice(view)
        view.broken = False
        view.button.click()
        view.settle()
        assert view.shown.value == "<b>1</b>"
        assert notice(view) == ""


def test_a_view_has_a_line_a_page_and_a_widget() -> None:
    with Counter() as view:
        bundle: dict[str, Any] = view._repr_mimebundle_(include=None, exclude=None)
        assert repr(view) == bundle["text/plain"] == "Counter at 0"
        assert "<p>0</p>" in bundle["text/html"]
        assert "<style>" in bundle["text/html"]
        live = bundle["application/vnd.jupyter.widget-view+json"]
        assert live["model_id"] == view.widget.model_id
    assert set(view._repr_mimebundle_()) == {"text/plain", "text/html"}
    assert repr(view) == "Counter at 0 (closed)"


def test_closing_leaves_no_thread_and_one_static_page() -> None:
    threads = threading.active_count()
    before = set(_instances)
    view = Counter()
    assert threading.active_count() == threads + 1
    view.close()
    view.close()
    assert view.ended == 1
    assert threading.active_count() == threads
    assert set(_instances) - before == remaining_widgets(view)
    assert "<p>0</p>" in view.widget.children[0].value
    view.changed()
    with pytest.raises(TimeoutError):
        view.settle(0.05)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        (" a = 1 \n\nb=c=d\na=2", [("a", "1"), ("b", "c=d"), ("a", "2")]),
        ("a=", [("a", "")]),
    ],
)
def test_name_value_pairs(text: str, pairs: list[tuple[str, str]]) -> None:
    assert name_value_pairs(text) == pairs


def test_a_line_without_an_equals_sign_is_named() -> None:
    with pytest.raises(ValueError, match="'no pair' is not of the form name=value"):
        name_value_pairs("a=1\nno pair")
