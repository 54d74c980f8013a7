"""The shadow view against the cloud: the document, versions, editing, conflicts, and closing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ipywidgets import Button, Widget
from ipywidgets.widgets.widget import _instances

from creeklab import Lab
from creeklab.client.device_shadow import ShadowRejected
from creeklab.cloud import supervisor
from creeklab.widgets.shadow_view import ShadowView
from tests.conftest import NewThing
from tests.display.test_html import PageReader
from tests.widgets.closed_view import remaining_widgets

NewThings = Callable[..., NewThing]


@pytest.fixture
def thing(new_thing: NewThings) -> NewThing:
    return new_thing()


@pytest.fixture
def view(lab: Lab, thing: NewThing) -> Iterator[ShadowView]:
    view = lab.shadow_view(thing.name)
    yield view
    view.close()


def update_over_http(lab: Lab, thing: str, name: str = "", **sections: Any) -> None:
    """Update a shadow over HTTP as the account."""
    options = {"shadowName": name} if name else {}
    payload = json.dumps({"state": sections}).encode()
    lab.client("iot-data").update_thing_shadow(thingName=thing, payload=payload, **options)


def click(view: ShadowView, label: str) -> None:
    def below(widget: Widget) -> Iterator[Button]:
        if isinstance(widget, Button):
            yield widget
        for child in getattr(widget, "children", ()):
            yield from below(child)

    view.settle()
    (button,) = [each for each in below(view.widget) if each.description == label]
    assert not button.disabled
    button.click()
    view.settle()


def text(shown: Any) -> str:
    return PageReader(shown.value).text


def notice(view: ShadowView) -> str:
    view.settle()
    return text(view._notice)


def rows(page: str) -> list[str]:
    """Return the text of each row of the tables in a page."""
    return [PageReader(part).text for part in page.split("<tr>")[1:]]


# --- the document ---------------------------------------------------------------------------------


def test_desired_reported_and_delta_are_side_by_side(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    update_over_http(lab, thing.name, desired={"depth": 1.0}, reported={"depth": 1.4, "ok": True})
    with lab.connect(thing.name) as device:
        device.shadow.update(reported={"depth": 1.5, "ok": None})
    view.wait_for(2)
    view.settle()
    header, depth, ok = rows(view._document.value)
    assert header == "KeyDesiredReportedDelta"
    assert depth.startswith("depth1.0 ")
    assert "1.5 changed, was 1.4" in depth
    assert depth.endswith("1.0 differs")
    assert "removed, was true" in ok
    assert "Version 2, the newest. Written at " in text(view._status)
    assert f" by {thing.name}." in text(view._status)
    assert '"timestamp"' in text(view._whole)
    assert repr(view) == f"Shadow of {thing.name}, version 2"


def test_a_shadow_that_does_not_exist_yet(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    view.settle()
    assert "This shadow does not exist yet" in text(view._status)
    assert "This shadow does not exist yet." in view._repr_mimebundle_()["text/html"]
    assert repr(view) == f"Shadow of {thing.name}: does not exist yet"
    assert view.shown is None
    assert view.earlier() is None
    update_over_http(lab, thing.name, reported={"a": 1})
    assert view.wait_for(1).section("reported") == {"a": 1}
    with pytest.raises(
        TimeoutError, match=r"did not reach version 3 within 0\.05 s\. It is at version 1"
    ):
        view.wait_for(3, timeout=0.05)


def test_a_named_shadow_is_separate(lab: Lab, thing: NewThing) -> None:
    with lab.shadow_view(thing.name, "config") as view:
        update_over_http(lab, thing.name, reported={"classic": 1})
        update_over_http(lab, thing.name, "config", reported={"named": 1})
        view.wait_for(1)
        assert [each.section("reported") for each in view.versions] == [{"named": 1}]
        assert repr(view) == f"Shadow 'config' of {thing.name}, version 1"
        view.update(desired={"named": 2})
        assert view.wait_for(2).section("desired") == {"named": 2}


def test_html_in_a_shadow_is_shown_as_text(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    update_over_http(lab, thing.name, desired={nasty: {"<b>": nasty}}, reported={nasty: "\u202e"})
    view.wait_for(1)
    view.settle()
    pages = [view._document, view._whole, view._versions, view._preview]
    for page in [*(each.value for each in pages), view._repr_mimebundle_()["text/html"]]:
        assert not {"img", "b"} & set(PageReader(page).tags)
    assert nasty in text(view._document)


# --- versions -------------------------------------------------------------------------------------


def test_stepping_through_the_versions_shows_each_and_its_writer(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    with lab.connect(thing.name) as device:
        device.shadow.update(reported={"depth": 1.4})
    update_over_http(lab, thing.name, desired={"depth": 1.0})
    view.update(desired={"depth": None})
    view.wait_for(3)
    client_id = view._device.client_id
    assert [each.writer for each in view.versions] == [thing.name, "", client_id]
    click(view, "Earlier")
    assert "Version 2, an earlier one, 2 of 3. Written at " in text(view._status)
    assert " by a call over HTTP." in text(view._status)
    click(view, "Earlier")
    assert "Version 1, an earlier one, 1 of 3. Written at " in text(view._status)
    assert f" by {thing.name}." in text(view._status)
    assert view.shown is not None
    assert view.shown.section("reported") == {"depth": 1.4}
    assert view._earlier.disabled
    update_over_http(lab, thing.name, reported={"depth": 1.6})
    view.wait_for(4)
    view.settle()
    assert "1 of 4" in text(view._status)  # the version shown stays
    click(view, "Later")
    assert "Version 2, an earlier one, 2 of 4" in text(view._status)
    click(view, "Newest")
    assert "Version 4, the newest" in text(view._status)
    assert view._later.disabled
    assert "this view" in text(view._versions)
    _, *versions = rows(view._versions.value)
    assert [row[0] for row in versions] == ["4", "3", "2", "1"]
    assert "reported depth changed, was 1.4" in versions[0]
    assert "desired depth removed, was 1.0" in versions[1]
    assert "the first known version" in versions[3]


def test_a_deletion_is_a_step_too(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    update_over_http(lab, thing.name, reported={"depth": 1.4})
    view.wait_for(1)
    lab.client("iot-data").delete_thing_shadow(thingName=thing.name)
    assert view.versions[-1].document is None  # announced on no topic, but in the event log
    update_over_http(lab, thing.name, reported={"depth": 1.5})
    view.wait_for(2)
    assert [each.document is None for each in view.versions] == [False, True, False]
    view.earlier()
    view.settle()
    assert "The shadow was deleted" in text(view._status)
    assert repr(view) == f"Shadow of {thing.name}: deleted"
    assert "deleted" in view._repr_mimebundle_()["text/html"]


def test_without_older_log_entries_the_versions_start_with_the_current_one(home: Any) -> None:
    from creeklab import open_lab

    lab = open_lab(home=home)
    lab.client("iot").create_thing(thingName="Old")
    for depth in (1, 2, 3):
        update_over_http(lab, "Old", reported={"depth": depth})
    supervisor.stop(home)
    lab = open_lab(home=home)
    with lab.shadow_view("Old") as view:
        assert [(each.version, each.writer) for each in view.versions] == [(3, None)]
        update_over_http(lab, "Old", reported={"depth": 4})
        view.wait_for(4)
        assert [(each.version, each.writer) for each in view.versions] == [(3, None), (4, "")]
        view.earlier()
        view.settle()
        assert "Its writer and time are unknown." in text(view._status)


def test_without_an_event_log_the_versions_come_from_messages(lab: Lab, thing: NewThing) -> None:
    """As on AWS."""
    update_over_http(lab, thing.name, reported={"depth": 1})
    document = lab.client("iot-data").get_thing_shadow(thingName=thing.name)["payload"].read()
    with ShadowView(lab.connect_account(), thing.name, "", lambda: json.loads(document)) as view:
        update_over_http(lab, thing.name, reported={"depth": 2})
        view.wait_for(2)
        view.delete()
        with pytest.raises(ShadowRejected, match="404"):
            view.delete()
        update_over_http(lab, thing.name, reported={"depth": 5})
        view.wait_for(3)
        view.settle()
        assert "; the writer is unknown." in text(view._status)
        found = [(each.version, each.section("reported").get("depth")) for each in view.versions]
        assert found == [(1, 1), (2, 2), (2, None), (3, 5)]
        assert {each.writer for each in view.versions} == {None}


# --- editing --------------------------------------------------------------------------------------


def test_editing_sends_the_smallest_update(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    update_over_http(
        lab, thing.name, desired={"depth": 1.0, "unit": "ft", "config": {"a": 1, "b": 2}}
    )
    view.wait_for(1)
    view.settle()
    # Until the user types there, the input follows the desired state.
    desired = {"depth": 1.0, "unit": "ft", "config": {"a": 1, "b": 2}}
    assert json.loads(view._desired.value) == desired
    assert "There is nothing to send" in text(view._preview)
    view._desired.value = '{"depth": 1.2, "config": {"a": 1}}'
    view.settle()
    update = {"state": {"desired": {"unit": None, "depth": 1.2, "config": {"b": None}}}}
    assert json.dumps(update, indent=2) in text(view._preview)
    assert f"$aws/things/{thing.name}/shadow/update" in text(view._preview)
    click(view, "Send")
    assert "The service accepted the update as version 2." in notice(view)
    view.wait_for(2)
    view.settle()
    assert view._desired.value == '{"depth": 1.2, "config": {"a": 1}}'  # the user's text stays
    click(view, "Earlier")
    click(view, "Copy from the version shown")
    assert json.loads(view._desired.value) == desired
    assert view.wait_for(2).section("desired") == {"depth": 1.2, "config": {"a": 1}}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("{depth: 1}", "This is not JSON: Expecting property name enclosed in double quotes in l"),
        ("[1]", "Desired must be a JSON object"),
        ("  ", "This is not JSON"),
        ("", "There is nothing to send"),
    ],
)
def test_invalid_input_is_explained_before_and_after_the_click(
    view: ShadowView, typed: str, message: str
) -> None:
    view._desired.value = typed
    view.settle()
    assert message in text(view._preview)
    click(view, "Send")
    assert message in notice(view)


def test_rejections_are_shown(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    deep: Any = 1
    for _ in range(9):
        deep = {"a": deep}
    view._desired.value = json.dumps(deep)
    click(view, "Send")
    assert notice(view).startswith("400 ")
    update_over_http(lab, thing.name, desired={"a": 1})
    update_over_http(lab, thing.name, desired={"a": 2})
    view.wait_for(2)
    click(view, "Earlier")
    view._checked.value = True
    view._desired.value = '{"a": 3}'
    click(view, "Send")
    assert notice(view) == "409 Version conflict"
    click(view, "Newest")
    click(view, "Send")
    assert "as version 3" in notice(view)


# --- conflicts ------------------------------------------------------------------------------------


def test_a_version_conflict_is_replayed_and_nothing_is_overwritten(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    click(view, "Replay a version conflict")
    assert "Cannot replay a conflict: it needs two versions" in notice(view)
    for depth in (1.4, 1.5, 1.6):
        update_over_http(lab, thing.name, reported={"depth": depth})
    view.wait_for(3)
    view.earlier()
    view.earlier()
    click(view, "Replay a version conflict")
    steps = text(view._steps)
    assert "One writer reads version 1" in steps
    assert "another writer (a call over HTTP) creates version 3: reported depth changed" in steps
    assert '"version": 1' in steps
    assert "409 Version conflict" in steps
    assert notice(view) == ""
    assert "A version conflict, replayed" in view._repr_mimebundle_()["text/html"]
    assert len(view.versions) == 3
    stored = lab.client("iot-data").get_thing_shadow(thingName=thing.name)["payload"].read()
    assert json.loads(stored)["state"]["reported"] == {"depth": 1.6}
    view.newest()
    assert view.replay_conflict() == "409 Version conflict"  # sends the last but one
    with pytest.raises(ShadowRejected, match="409"):
        view.update(reported={"depth": 9}, version=2)


# --- the static page, closing, and threads --------------------------------------------------------


def test_the_static_page_is_reproducible(lab: Lab, new_thing: NewThings) -> None:
    pages = []
    for _ in range(2):
        thing = new_thing()
        with lab.shadow_view(thing.name) as view:
            with lab.connect(thing.name) as device:
                device.shadow.update(reported={"depth": 1.4})
            view.update(desired={"depth": 1.0})
            update_over_http(lab, thing.name, reported={"depth": 1.5})
            view.wait_for(3)
            page = view._repr_mimebundle_()["text/html"]
            pages.append(page.replace(thing.name, "THING"))
    assert pages[0] == pages[1]
    versions = rows(pages[0])[-3:]
    assert ["3a call" in versions[0], "2the account" in versions[1], "1THING" in versions[2]] == (
        [True] * 3
    )


def test_closing_leaves_no_thread_connection_or_widget(lab: Lab, thing: NewThing) -> None:
    threads, widgets = set(threading.enumerate()), set(_instances)
    view = lab.shadow_view(thing.name)
    view.update(reported={"a": 1})
    view.settle()
    view.close()
    kinds = ["connect", "disconnect"]
    events = lab.events()
    mine = events[events["client_id"] == view._device.client_id]
    assert [kind for kind in mine["kind"] if kind in kinds] == kinds
    # Python names the SDK's own threads when they first call back.
    left = set(threading.enumerate()) - threads
    assert all(each.name.startswith("Dummy-") for each in left)
    assert set(_instances) - widgets == remaining_widgets(view)


def test_writers_steps_and_the_renderer_at_once(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def step() -> None:
        try:
            while not done.is_set():
                view.earlier()
                view.later()
                view._desired.value = json.dumps({"n": len(view.versions)})
                view.newest()
        except BaseException as error:
            errors.append(error)

    def write(name: str) -> None:
        try:
            for number in range(30):
                view.update(reported={name: number})
        except BaseException as error:
            errors.append(error)

    stepping = threading.Thread(target=step)
    writing = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for each in (stepping, *writing):
        each.start()
    for each in writing:
        each.join()
    done.set()
    stepping.join()
    view.wait_for(90)
    view.settle()
    assert errors == []
    assert [each.version for each in view.versions] == list(range(1, 91))
    assert view.versions[-1].section("reported") == {"a": 29, "b": 29, "c": 29}
    assert text(view._notice) == ""


def test_opening_a_view_again_closes_the_first(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    first, other = lab.shadow_view(thing.name), lab.shadow_view(thing.name, "config")
    with lab.shadow_view(thing.name) as second:
        assert (first.closed, other.closed, second.closed) == (True, False, False)
    other.close()
