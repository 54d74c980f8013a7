"""A minute of 1,000 messages a second: ``python -m pytest -s tests/browser/flood.py``.

Another process than the kernel sends the messages, as a fleet would. The test checks that all are
counted, that the page keeps moving and answers a click, and that the kernel's memory stays bounded.
``FLOOD_SECONDS`` sets the length.
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
RATE = 1_000
TOTAL = RATE * SECONDS

MEMORY = """
import resource, sys
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1_000_000
print(memory())
"""

# The longest time between two frames, in milliseconds.
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
            began, pending = time.monotonic(), []
            for number in range(TOTAL):
                due = began + number / RATE
                time.sleep(max(0.0, due - time.monotonic()))
                late.append(time.monotonic() - due)
                document = {"number": number, "ft": number % 70 / 10, "note": "x" * 60}
                topic = f"flood/{number % 50}/depth"
                pending.append(sender.publish_soon(topic, document))
                if len(pending) >= 1_000:
                    pending.pop(0).result(60)
            for one in pending:
                one.result(60)

    flooding = threading.Thread(target=flood)
    flooding.start()
    began = time.monotonic()
    half = re.compile(r"\d,\d{3} older ones were dropped")
    expect(tool).to_contain_text(half)
    subscribe(tool, "quiet")  # a click during the flood
    clicked = time.monotonic()
    button(tool, "Unsubscribe from quiet").click()
    expect(button(tool, "Unsubscribe from quiet")).to_have_count(0)
    answered = time.monotonic() - clicked
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
        f"  {updates:.1f} visible updates a second; longest pause of the page "
        f"{longest:.0f} ms; a click was answered in {answered:.1f} s\n"
        f"  memory of the kernel: {before} MB before, {middle} MB in the middle, {after} MB after"
    )
    assert after < middle + 50  # it keeps only the newest messages
