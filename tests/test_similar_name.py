"""A name that is nearly right: everyone who looks it up asks for the right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from creeklab import Lab
from creeklab.resources.similar_name import did_you_mean
from tests.conftest import NewThing, make_thing


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("test2", ["Test2", "TestClient"], "Test2"),
        ("Test22", ["Test2", "TestClient"], "Test2"),
        ("Tset2", ["Test2"], "Test2"),
        ("Elkhron", ["Elkhorn", "gauge-1"], "Elkhorn"),
        ("gauge-1", ["gauge-1"], ""),
        ("Test3", ["Test2", "TestClient"], ""),
        ("barn", ["Test2", "TestClient"], ""),
        ("x", [], ""),
    ],
)
def test_the_most_similar_name(name: str, known: list[str], meant: str) -> None:
    assert did_you_mean(name, known) == (f" Did you mean '{meant}'?" if meant else "")


@pytest.fixture(scope="module")
def elkhorn(session_lab: Lab) -> NewThing:
    iot = session_lab.client("iot")
    iot.create_thing(thingName="Elkhorn")
    answer = iot.create_keys_and_certificate(setAsActive=True)
    session_lab.keys.save("Elkhorn", answer)
    return make_thing(session_lab)


def shadow_view(lab: Lab) -> str:
    with lab.shadow_view("Elkhron") as view:
        view.settle()
        return str(view._status.value) + view._repr_mimebundle_()["text/html"]


def connect(lab: Lab) -> str:
    with pytest.raises(FileNotFoundError) as error:
        lab.connect("Elkhron")
    return str(error.value)


@pytest.mark.parametrize(
    "look_up",
    [
        connect,
        lambda lab: repr(lab.check.thing("Elkhron")),
        lambda lab: repr(lab.check.certificate("Elkhron")),
        lambda lab: repr(lab.check.shadow("Elkhron")),
        lambda lab: lab.doctor("Elkhron")[0].found,
        lambda lab: next(each for each in lab.doctor("Elkhron") if each.name == "Thing").found,
        lambda lab: lab.why("Elkhron").summary,
        shadow_view,
    ],
)
def test_a_misspelled_thing(lab: Lab, elkhorn: NewThing, look_up: Callable[[Lab], str]) -> None:
    text = look_up(lab)
    assert " Did you mean 'Elkhorn'?" in " ".join(text.replace("&#x27;", "'").split())


def test_a_misspelled_policy(lab: Lab, elkhorn: NewThing) -> None:
    found = lab.check.policy(elkhorn.name, elkhorn.policy.upper()).found
    assert f" Did you mean '{elkhorn.policy}'? Attach it" in found


def test_an_existing_thing_is_not_questioned(lab: Lab, new_thing: Callable[..., Any]) -> None:
    thing = new_thing()
    with lab.shadow_view(thing.name) as view:
        view.settle()
        assert "Did you mean" not in view._status.value
    assert "Did you mean" not in repr(lab.check.shadow(thing.name))
