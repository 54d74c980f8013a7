"""A minute of 1,000 messages a second: ``python -m pytest -s tests/browser/flood.py``.

The messages come from another process than the kernel, as those of a fleet would. What is looked
at: that all are counted, that the page goes on moving and answers a click, and that the kernel's
memory stays where it is. ``FLOOD_SECONDS`` makes it longer or shorter.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable

from playwright.sync_api import expect

from creeklab import Lab
from tests.browser.notebook import Notebook
from tests.browser.test_test_client import OPEN, WATCH, button, subscribe

SECONDS = int(os.environ.get("FLOOD_SECONDS", "60"))
A_SECOND = 1_000
TOTAL = A_SECOND * SECONDS

MEMORY = """
import resource, sys
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1_000_000
print(memory())
"""

# The longest time between two frames, in milliseconds: so long the page stood still.
FRAMES = """() => {
    window.longest = 0;
    let last = performance.now();
    const frame = now => {
        window.longest = Math.max(window.longest, now - last);
        last = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""


def test_a_minute_of_a_thousand_messages_a_second(
    open_notebook: Callable[..., Notebook], lab: Lab
) -> None:
    notebook = open_notebook(
        f"{OPEN}client.subscribe('flood/#')\nclient", MEMORY, "print(memory())"
    )
    notebook.run(0)
    tool = notebook.tool(0)
    before = int(notebook.run(1).locator(".jp-OutputArea-output").inner_text())
    tool.evaluate(WATCH)
    notebook.page.evaluate(FRAMES)
    late: list[float] = []

    def flood() -> None:
        with lab.connect_account() as sender:
            began, under_way = time.monotonic(), []
            for number in range(TOTAL):
                due = began + number / A_SECOND
                time.sleep(max(0.0, due - time.monotonic()))
                late.append(time.monotonic() - due)
                document = {"number": number, "ft": number % 70 / 10, "note": "x" * 60}
                topic = f"flood/{number % 50}/depth"
                under_way.append(sender.publish_soon(topic, document))
                if len(under_way) >= 1_000:
                    under_way.pop(0).result(60)
            for one in under_way:
                one.result(60)

    flooding = threading.Thread(target=flood)
    flooding.start()
    began = time.monotonic()
    half = re.compile(r"\d,\d{3} older ones were dropped from view")
    expect(tool).to_contain_text(half)
    subscribe(tool, "quiet")  # a click in the middle of it
    asked = time.monotonic()
    button(tool, "Unsubscribe from quiet").click()
    expect(button(tool, "Unsubscribe from quiet")).to_have_count(0)
    answered = time.monotonic() - asked
    middle = int(notebook.run(2).locator(".jp-OutputArea-output").inner_text())
    while flooding.is_alive():
        notebook.page.wait_for_timeout(500)
    took = time.monotonic() - began
    expect(tool).to_contain_text(f"{TOTAL:,} messages since you subscribed.", timeout=120_000)
    behind = time.monotonic() - began - took
    updates = notebook.page.evaluate("window.seen.size") / took
    longest = notebook.page.evaluate("window.longest")
    after = int(notebook.run(2).locator(".jp-OutputArea-output").inner_text())
    print(
        f"\n  {TOTAL:,} messages in {took:.0f} s ({TOTAL / took:,.0f} a second, the sender at most "
        f"{max(late):.1f} s late), all counted {behind:.1f} s later\n"
        f"  {updates:.1f} visible updates a second; the page stood still for {longest:.0f} ms at "
        f"most; a click was answered in {answered:.1f} s\n"
        f"  memory of the kernel: {before} MB before, {middle} MB in the middle, {after} MB after"
    )
    assert after < middle + 50  # it holds the newest, and no more
