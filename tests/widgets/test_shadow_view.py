"""The shadow view against the cloud: side by side, back in time, sent, in conflict, and closed."""

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
from tests.widgets.left import left_by
from tests.widgets.test_html import Reader

NewThings = Callable[..., NewThing]


@pytest.fixture
def thing(new_thing: NewThings) -> NewThing:
    return new_thing()


@pytest.fixture
def view(lab: Lab, thing: NewThing) -> Iterator[ShadowView]:
    made = lab.shadow_view(thing.name)
    yield made
    made.close()


def rest(lab: Lab, thing: str, name: str = "", **sections: Any) -> None:
    """Update a shadow over HTTP, as anybody in the account may."""
    options = {"shadowName": name} if name else {}
    payload = json.dumps({"state": sections}).encode()
    lab.client("iot-data").update_thing_shadow(thingName=thing, payload=payload, **options)


def click(view: ShadowView, words: str) -> None:
    def below(widget: Widget) -> Iterator[Button]:
        if isinstance(widget, Button):
            yield widget
        for child in getattr(widget, "children", ()):
            yield from below(child)

    view.settle()
    (button,) = [each for each in below(view.widget) if each.description == words]
    assert not button.disabled
    button.click()
    view.settle()


def text(shown: Any) -> str:
    return Reader(shown.value).text


def said(view: ShadowView) -> str:
    view.settle()
    return text(view._notice)


def rows(page: str) -> list[str]:
    """Return the text of each row of the tables in a page."""
    return [Reader(part).text for part in page.split("<tr>")[1:]]


# --- as it is -------------------------------------------------------------------------------------


def test_desired_reported_and_delta_are_side_by_side(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    rest(lab, thing.name, desired={"depth": 1.0}, reported={"depth": 1.4, "ok": True})
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


def test_a_shadow_that_is_not_there_yet_is_no_error(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    view.settle()
    assert "There is no such shadow yet" in text(view._status)
    assert "There is no such shadow yet." in view._repr_mimebundle_()["text/html"]
    assert repr(view) == f"Shadow of {thing.name}: there is none yet"
    assert view.shown is None
    assert view.earlier() is None
    rest(lab, thing.name, reported={"a": 1})
    assert view.wait_for(1).section("reported") == {"a": 1}
    with pytest.raises(TimeoutError, match=r"did not come to version 3 within 0\.05 s: it is at 1"):
        view.wait_for(3, timeout=0.05)


def test_a_named_shadow_is_another_one(lab: Lab, thing: NewThing) -> None:
    with lab.shadow_view(thing.name, "config") as view:
        rest(lab, thing.name, reported={"classic": 1})
        rest(lab, thing.name, "config", reported={"named": 1})
        view.wait_for(1)
        assert [each.section("reported") for each in view.versions] == [{"named": 1}]
        assert repr(view) == f"Shadow 'config' of {thing.name}, version 1"
        view.update(desired={"named": 2})
        assert view.wait_for(2).section("desired") == {"named": 2}


def test_html_in_a_shadow_is_shown_as_text(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    rest(lab, thing.name, desired={nasty: {"<b>": nasty}}, reported={nasty: "\u202e"})
    view.wait_for(1)
    view.settle()
    pages = [view._document, view._whole, view._versions, view._preview]
    for page in [*(each.value for each in pages), view._repr_mimebundle_()["text/html"]]:
        assert not {"img", "b"} & set(Reader(page).tags)
    assert nasty in text(view._document)


# --- as it was ------------------------------------------------------------------------------------


def test_stepping_through_the_versions_shows_each_and_who_wrote_it(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    with lab.connect(thing.name) as device:
        device.shadow.update(reported={"depth": 1.4})
    rest(lab, thing.name, desired={"depth": 1.0})
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
    rest(lab, thing.name, reported={"depth": 1.6})
    view.wait_for(4)
    view.settle()
    assert "1 of 4" in text(view._status)  # what is looked at stays
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
    assert "the first that is known" in versions[3]


def test_a_deleted_shadow_is_a_step_too(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    rest(lab, thing.name, reported={"depth": 1.4})
    view.wait_for(1)
    lab.client("iot-data").delete_thing_shadow(thingName=thing.name)
    assert view.versions[-1].document is None  # told on no topic, but on the tape
    rest(lab, thing.name, reported={"depth": 1.5})
    view.wait_for(2)
    assert [each.document is None for each in view.versions] == [False, True, False]
    view.earlier()
    view.settle()
    assert "The shadow was deleted" in text(view._status)
    assert repr(view) == f"Shadow of {thing.name}: deleted"
    assert "deleted" in view._repr_mimebundle_()["text/html"]


def test_what_the_tape_has_forgotten_begins_with_what_is_there(home: Any) -> None:
    from creeklab import open_lab

    lab = open_lab(home=home)
    lab.client("iot").create_thing(thingName="Old")
    for depth in (1, 2, 3):
        rest(lab, "Old", reported={"depth": depth})
    supervisor.stop(home)
    lab = open_lab(home=home)
    with lab.shadow_view("Old") as view:
        assert [(each.version, each.writer) for each in view.versions] == [(3, None)]
        rest(lab, "Old", reported={"depth": 4})
        view.wait_for(4)
        assert [(each.version, each.writer) for each in view.versions] == [(3, None), (4, "")]
        view.earlier()
        view.settle()
        assert "Who wrote it, and when, is not known." in text(view._status)


def test_without_a_tape_the_versions_are_those_that_were_heard_of(
    lab: Lab, thing: NewThing
) -> None:
    """As on AWS."""
    rest(lab, thing.name, reported={"depth": 1})
    document = lab.client("iot-data").get_thing_shadow(thingName=thing.name)["payload"].read()
    with ShadowView(lab.connect_account(), thing.name, "", lambda: json.loads(document)) as view:
        rest(lab, thing.name, reported={"depth": 2})
        view.wait_for(2)
        view.delete()
        with pytest.raises(ShadowRejected, match="404"):
            view.delete()
        rest(lab, thing.name, reported={"depth": 5})
        view.wait_for(3)
        view.settle()
        assert "; by whom is not told." in text(view._status)
        found = [(each.version, each.section("reported").get("depth")) for each in view.versions]
        assert found == [(1, 1), (2, 2), (2, None), (3, 5)]
        assert {each.writer for each in view.versions} == {None}


# --- sent -----------------------------------------------------------------------------------------


def test_editing_sends_the_smallest_update(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    rest(lab, thing.name, desired={"depth": 1.0, "unit": "ft", "config": {"a": 1, "b": 2}})
    view.wait_for(1)
    view.settle()
    # So long as nobody types there, it is what is desired now.
    now = {"depth": 1.0, "unit": "ft", "config": {"a": 1, "b": 2}}
    assert json.loads(view._desired.value) == now
    assert "there is nothing to send" in text(view._preview)
    view._desired.value = '{"depth": 1.2, "config": {"a": 1}}'
    view.settle()
    update = {"state": {"desired": {"unit": None, "depth": 1.2, "config": {"b": None}}}}
    assert json.dumps(update, indent=2) in text(view._preview)
    assert f"$aws/things/{thing.name}/shadow/update" in text(view._preview)
    click(view, "Send")
    assert "The service accepted it, as version 2." in said(view)
    view.wait_for(2)
    view.settle()
    assert view._desired.value == '{"depth": 1.2, "config": {"a": 1}}'  # what was typed stays
    click(view, "Earlier")
    click(view, "Take over from the version on show")
    assert json.loads(view._desired.value) == now
    assert view.wait_for(2).section("desired") == {"depth": 1.2, "config": {"a": 1}}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("{depth: 1}", "This is not JSON: Expecting property name enclosed in double quotes, in l"),
        ("[1]", "Desired is a JSON object"),
        ("  ", "This is not JSON"),
        ("", "there is nothing to send"),
    ],
)
def test_what_cannot_be_sent_is_told_before_and_after_the_click(
    view: ShadowView, typed: str, words: str
) -> None:
    view._desired.value = typed
    view.settle()
    assert words in text(view._preview)
    click(view, "Send")
    assert words in said(view)


def test_what_the_service_rejects_is_told(lab: Lab, view: ShadowView, thing: NewThing) -> None:
    deep: Any = 1
    for _ in range(9):
        deep = {"a": deep}
    view._desired.value = json.dumps(deep)
    click(view, "Send")
    assert said(view).startswith("400 ")
    rest(lab, thing.name, desired={"a": 1})
    rest(lab, thing.name, desired={"a": 2})
    view.wait_for(2)
    click(view, "Earlier")
    view._checked.value = True
    view._desired.value = '{"a": 3}'
    click(view, "Send")
    assert said(view) == "409 Version conflict"
    click(view, "Newest")
    click(view, "Send")
    assert "as version 3" in said(view)


# --- in conflict ----------------------------------------------------------------------------------


def test_a_version_conflict_is_replayed_and_nothing_is_overwritten(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    click(view, "Replay a version conflict")
    assert "A conflict takes two versions" in said(view)
    for depth in (1.4, 1.5, 1.6):
        rest(lab, thing.name, reported={"depth": depth})
    view.wait_for(3)
    view.earlier()
    view.earlier()
    click(view, "Replay a version conflict")
    told = text(view._told)
    assert "Somebody read version 1" in told
    assert "Meanwhile version 3 was written, by a call over HTTP: reported depth changed" in told
    assert '"version": 1' in told
    assert "409 Version conflict" in told
    assert said(view) == ""
    assert "A version conflict, replayed" in view._repr_mimebundle_()["text/html"]
    assert len(view.versions) == 3
    kept = lab.client("iot-data").get_thing_shadow(thingName=thing.name)["payload"].read()
    assert json.loads(kept)["state"]["reported"] == {"depth": 1.6}
    view.newest()
    assert view.replay_conflict() == "409 Version conflict"  # then the last but one is sent
    with pytest.raises(ShadowRejected, match="409"):
        view.update(reported={"depth": 9}, version=2)


# --- the page, the end, and many at once ----------------------------------------------------------


def test_the_page_is_the_same_at_each_run(lab: Lab, new_thing: NewThings) -> None:
    pages = []
    for _ in range(2):
        thing = new_thing()
        with lab.shadow_view(thing.name) as view:
            with lab.connect(thing.name) as device:
                device.shadow.update(reported={"depth": 1.4})
            view.update(desired={"depth": 1.0})
            rest(lab, thing.name, reported={"depth": 1.5})
            view.wait_for(3)
            page = view._repr_mimebundle_()["text/html"]
            pages.append(page.replace(thing.name, "THING"))
    assert pages[0] == pages[1]
    versions = rows(pages[0])[-3:]
    assert ["3a call" in versions[0], "2the account" in versions[1], "1THING" in versions[2]] == (
        [True] * 3
    )


def test_closing_leaves_no_thread_no_connection_and_no_tool(lab: Lab, thing: NewThing) -> None:
    threads, widgets = set(threading.enumerate()), set(_instances)
    view = lab.shadow_view(thing.name)
    view.update(reported={"a": 1})
    view.settle()
    view.close()
    kinds = ["connect", "disconnect"]
    tape = lab.events()
    mine = tape[tape["client_id"] == view._device.client_id]
    assert [kind for kind in mine["kind"] if kind in kinds] == kinds
    # Python gives each of the SDK's own threads a name when it first calls back.
    left = set(threading.enumerate()) - threads
    assert all(each.name.startswith("Dummy-") for each in left)
    assert set(_instances) - widgets == left_by(view)


def test_writers_steps_and_the_renderer_at_once(
    lab: Lab, view: ShadowView, thing: NewThing
) -> None:
    faults: list[BaseException] = []
    done = threading.Event()

    def step() -> None:
        try:
            while not done.is_set():
                view.earlier()
                view.later()
                view._desired.value = json.dumps({"n": len(view.versions)})
                view.newest()
        except BaseException as fault:
            faults.append(fault)

    def write(name: str) -> None:
        try:
            for number in range(30):
                view.update(reported={name: number})
        except BaseException as fault:
            faults.append(fault)

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
    assert faults == []
    assert [each.version for each in view.versions] == list(range(1, 91))
    assert view.versions[-1].section("reported") == {"a": 29, "b": 29, "c": 29}
    assert text(view._notice) == ""


def test_a_view_that_is_opened_again_closes_the_one_before(
    lab: Lab, new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    first, other = lab.shadow_view(thing.name), lab.shadow_view(thing.name, "config")
    with lab.shadow_view(thing.name) as second:
        assert (first.closed, other.closed, second.closed) == (True, False, False)
    other.close()
