"""Take screenshots of the console, the policy lab, a refusal and an event chart.

Run it like `screenshots.py`: ``python -m pytest tests/browser/console_screenshots.py``.
"""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.browser.screenshots import IMAGES, OpenNotebook, both_themes

MAX_BYTES = 200_000

PREPARE = """import creeklab
from creeklab import events
from creeklab.client import RequestRefused
from creeklab.widgets.console_elements import Route

lab = creeklab.open_lab()
lab.reset()
lab.catch_up("05-mqtt")
iot = lab.client("iot")
iot.update_thing(thingName="Test2", attributePayload={"attributes": {"site": "elkhorn"}})
for name in ("elkhorn-2", "plumtree-1", "trout-1"):
    iot.create_thing(thingName=name, attributePayload={"attributes": {"site": name[:-2]}})
begin = int(lab.events().index.max())
with lab.connect_account("watcher") as watcher, lab.connect("Test2") as device:
    watcher.subscribe("$aws/things/Test2/shadow/update/documents")
    update = {"state": {"reported": {"depth": 1.4, "temperature": 66.2}}}
    device.publish("$aws/things/Test2/shadow/update", update)
    try:
        device.publish("creek/depth", {"depth": 1.4})
    except RequestRefused:
        pass
why = lab.why()
new_events = lab.events(after=begin)"""


@both_themes
def test_screenshots_of_the_console_and_explanations(
    open_notebook: OpenNotebook, theme: str
) -> None:
    notebook = open_notebook(
        PREPARE,
        'console = lab.console()\nconsole.go(Route("thing", "Test2"))\nconsole',
        'lab.policy_lab("Test2", "Test2Policy")',
        "why",
        "events.chart(new_events)",
        theme=theme,
        width=1300,
        height=1400,
    )
    notebook.run(0)

    def take(name: str, cell: Locator) -> None:
        path = IMAGES / f"{name}-{theme}.png"
        cell.locator(".creeklab").first.screenshot(path=path, animations="disabled")
        assert path.stat().st_size < MAX_BYTES

    console = notebook.run(1)
    expect(console.get_by_role("heading", name="Thing Test2")).to_be_visible()
    expect(console).to_contain_text("elkhorn")
    take("console-thing", console)
    console.get_by_role("button", name="Monitor", exact=True).click()
    expect(console.get_by_role("img", name="Shadow updates: 1 in 60 minutes")).to_be_visible()
    take("console-monitor", console)
    policy_lab = notebook.run(2)
    expect(policy_lab.get_by_role("row")).to_have_count(7)
    take("policy-lab", policy_lab)
    refusal = notebook.run(3)
    expect(refusal).to_contain_text("Evaluated statements")
    take("why", refusal)
    chart = notebook.run(4)
    expect(chart.get_by_role("img")).to_be_visible()
    take("event-chart", chart)
