"""The shadow view in JupyterLab: reading, editing, stepping through versions, and a conflict."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from creeklab import Lab
from tests.browser.notebook import Notebook
from tests.browser.test_test_client import CUT_OFF, FAINT, button
from tests.conftest import NewThing

OpenNotebook = Callable[..., Notebook]
NewThings = Callable[..., NewThing]

OPEN = """
import creeklab
lab = creeklab.open_lab()
with lab.connect("THING") as device:
    for depth in (1.4, 1.5):
        device.shadow.update(reported={"depth": depth, "unit": "ft"})
view = lab.shadow_view("THING")
view
"""


def row(tool: Locator, key: str) -> Locator:
    return tool.get_by_role("row").filter(has=tool.page.get_by_role("rowheader", name=key))


def test_read_edit_step_back_and_replay_a_conflict(
    open_notebook: OpenNotebook, new_thing: NewThings, lab: Lab
) -> None:
    thing = new_thing().name
    notebook = open_notebook(OPEN.replace("THING", thing))
    notebook.run(0)
    tool = notebook.tool(0)
    expect(tool.get_by_role("status")).to_contain_text(
        re.compile(rf"^Version 2, the .* by {thing}")
    )
    expect(row(tool, "depth")).to_contain_text("1.5 changed, was 1.4")
    notebook.write(tool.get_by_label("Desired"), '{"depth": 1.0}')
    tool.get_by_label("Desired").blur()
    expect(tool).to_contain_text(f"To be published to $aws/things/{thing}/shadow/update")
    button(tool, "Send").click()
    expect(tool).to_contain_text("The service accepted the update as version 3.")
    expect(row(tool, "depth")).to_contain_text("1.0 differs")
    answer = lab.client("iot-data").get_thing_shadow(thingName=thing)
    assert json.load(answer["payload"])["state"]["desired"] == {"depth": 1.0}
    # The view shows a change by another writer.
    lab.client("iot-data").update_thing_shadow(
        thingName=thing, payload=b'{"state": {"reported": {"depth": 1.0}}}'
    )
    expect(tool).to_contain_text("Version 4, the newest")
    expect(row(tool, "depth")).not_to_contain_text("differs")
    button(tool, "Earlier").click()
    expect(tool).to_contain_text("Version 3, an earlier one, 3 of 4")
    button(tool, "Earlier").click()
    expect(tool).to_contain_text("Version 2, an earlier one, 2 of 4")
    expect(row(tool, "depth")).to_contain_text("1.5 changed, was 1.4")
    button(tool, "Replay a version conflict").click()
    steps = tool.get_by_role("region", name="A version conflict, replayed")
    expect(steps).to_contain_text("409 Version conflict")
    tool.get_by_label("Only if the shadow is still at the version shown").check()
    notebook.write(tool.get_by_label("Desired"), '{"depth": 0.9}')
    button(tool, "Send").click()
    expect(tool.get_by_role("alert")).to_have_text("409 Version conflict")
    button(tool, "Newest").click()
    expect(tool).to_contain_text("Version 4, the newest")
    tool.get_by_text("Whole document with metadata").click()
    expect(tool.locator("details pre")).to_contain_text('"timestamp"')


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_readable_in_both_themes_and_at_twice_the_size(
    open_notebook: OpenNotebook, new_thing: NewThings, theme: str
) -> None:
    thing = new_thing().name
    cell = (
        f"{OPEN}view.update(desired={{'depth': 1.0, 'long' * 30: 'x' * 200}})\n"
        "view.update(reported={'unit': None})\nview.replay_conflict()\nview.notify('Hello.')\nview"
    )
    notebook = open_notebook(cell.replace("THING", thing), theme=theme, width=650)
    notebook.run(0)
    tool = notebook.tool(0)
    expect(tool.get_by_role("region")).to_be_visible()
    expect(tool).to_contain_text("Hello.")
    assert tool.evaluate(CUT_OFF) == []
    assert tool.evaluate(FAINT) == []
