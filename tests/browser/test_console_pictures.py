"""Pictures of the console, the policy playground, Why and the tape, in both themes.

``CREEKLAB_PICTURES=notebooks/images python -m pytest tests/browser/test_console_pictures.py`` keeps
them; without it they are only taken, and looked at for their size.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.notebook import Notebook

MOST_BYTES = 200_000

PREPARE = """import creeklab
from creeklab import tape
from creeklab.device import Refused
from creeklab.widgets.console_parts import Place

lab = creeklab.open_lab()
lab.reset()
lab.catch_up("05-mqtt")
iot = lab.client("iot")
iot.update_thing(thingName="Test2", attributePayload={"attributes": {"site": "elkhorn"}})
for name in ("elkhorn-2", "plumtree-1", "trout-1"):
    iot.create_thing(thingName=name, attributePayload={"attributes": {"site": name[:-2]}})
begin = int(lab.tape().index.max())
with lab.connect_account("watcher") as watcher, lab.connect("Test2") as device:
    watcher.subscribe("$aws/things/Test2/shadow/update/documents")
    update = {"state": {"reported": {"depth": 1.4, "temperature": 66.2}}}
    device.publish("$aws/things/Test2/shadow/update", update)
    try:
        device.publish("creek/depth", {"depth": 1.4})
    except Refused:
        pass
why = lab.why()
stretch = lab.tape(after=begin)"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures(open_notebook: Callable[..., Notebook], tmp_path: Path, theme: str) -> None:
    kept = os.environ.get("CREEKLAB_PICTURES")
    folder = Path(kept) if kept else tmp_path
    folder.mkdir(exist_ok=True)
    notebook = open_notebook(
        PREPARE,
        'console = lab.console()\nconsole.go(Place("thing", "Test2"))\nconsole',
        'lab.policy_lab("Test2", "Test2Policy")',
        "why",
        "tape.chart(stretch)",
        theme=theme,
        width=1300,
        height=1400,
    )
    notebook.run(0)

    def take(name: str, cell: Locator) -> None:
        path = folder / f"{name}-{theme}.png"
        cell.locator(".creeklab").first.screenshot(path=path, animations="disabled")
        assert 2_000 < path.stat().st_size < MOST_BYTES

    console = notebook.run(1)
    expect(console.get_by_role("heading", name="Thing Test2")).to_be_visible()
    expect(console).to_contain_text("elkhorn")
    take("console-thing", console)
    console.get_by_role("button", name="Monitor", exact=True).click()
    expect(console.get_by_role("img", name="Shadow updates: 1 in 60 minutes")).to_be_visible()
    take("console-monitor", console)
    playground = notebook.run(2)
    expect(playground.get_by_role("row")).to_have_count(7)
    take("policy-lab", playground)
    refusal = notebook.run(3)
    expect(refusal).to_contain_text("Statements that were looked at")
    take("why", refusal)
    chart = notebook.run(4)
    expect(chart.get_by_role("img")).to_be_visible()
    take("tape-chart", chart)
