"""Take screenshots of the tools: ``python -m pytest tests/browser/screenshots.py``.

They are saved in ``notebooks/images``, in light and dark, with the browser of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.notebook import Notebook

IMAGES = Path(__file__).resolve().parents[2] / "notebooks" / "images"
OpenNotebook = Callable[..., Notebook]

both_themes = pytest.mark.parametrize("theme", ["light", "dark"])

TEST_CLIENT = """
import creeklab
lab = creeklab.open_lab()
lab.reset()
lab.catch_up("06-device-shadow")
client = lab.test_client()
client.subscribe("#")
client.subscribe("creek/#")
for ft in (1.4, 1.4, 1.6, 1.9, 2.3, 2.2):
    client.publish("creek/elkhorn/depth", {"ft": ft})
    client.publish("creek/elkhorn/temperature", {"degF": 66.2})
client.publish("creek/elkhorn/depth", {"ft": 2.1}, user_properties={"sensor": "lidar"})
client.wait_for(13, "creek/#")
client.publish("$aws/things/Test2/shadow/update", {"state": {"reported": {"depth": 2.1}}})
client.wait_for(16, "#")
client
"""

SHADOW_VIEW = """
import creeklab
lab = creeklab.open_lab()
lab.reset()
lab.catch_up("08-creek-sensor")
view = lab.shadow_view("Test2")
with lab.connect("Test2") as device:
    device.shadow.update(reported={"depth": 1.4, "temperature": 66.2})
    device.shadow.update(reported={"depth": 1.9})
view.update(desired={"interval": 60})
with lab.connect("Test2") as device:
    device.shadow.update(reported={"depth": 2.3, "interval": 300})
view.wait_for(4)
view
"""


@both_themes
def test_screenshot_of_the_test_client(open_notebook: OpenNotebook, theme: str) -> None:
    notebook = open_notebook(TEST_CLIENT, theme=theme, width=1240, height=1500)
    notebook.run(0)
    tool = notebook.tool(0)
    expect(tool.get_by_role("article")).to_have_count(13)
    expect(tool.get_by_role("button", name="● # (16 new)")).to_be_visible()
    tool.screenshot(path=IMAGES / f"test-client-{theme}.png")


@both_themes
def test_screenshot_of_the_shadow_view(open_notebook: OpenNotebook, theme: str) -> None:
    notebook = open_notebook(SHADOW_VIEW, theme=theme, width=1240, height=1500)
    notebook.run(0)
    tool = notebook.tool(0)
    expect(tool).to_contain_text("Version 4, the newest")
    tool.screenshot(path=IMAGES / f"shadow-view-{theme}.png")
