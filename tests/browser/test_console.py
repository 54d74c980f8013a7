"""The console and the policy lab in JupyterLab: by mouse, by keyboard, at any size."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from creeklab import Lab
from tests.browser.notebook import Notebook

OPEN = "import creeklab\nlab = creeklab.open_lab()\n"


def button(where: Locator, name: str) -> Locator:
    return where.get_by_role("button", name=name, exact=True)


def unlabeled(where: Locator) -> list[str]:
    """Return the controls that have no name for a screen reader."""
    script = """root => [...root.querySelectorAll('input, select, textarea, button')]
        .filter(e => !(e.labels && [...e.labels].some(l => l.textContent.trim()))
            && !e.getAttribute('aria-label') && !e.title && !e.textContent.trim())
        .map(e => e.outerHTML)"""
    found: list[str] = where.evaluate(script)
    return found


def overflow(where: Locator) -> int:
    """Return by how many pixels the content is too wide."""
    wide: int = where.evaluate("root => root.scrollWidth - root.clientWidth")
    return wide


def test_creating_a_thing_and_attaching_a_policy(
    open_notebook: Callable[..., Notebook], lab: Lab
) -> None:
    notebook = open_notebook(
        f"{OPEN}console = lab.console()\nconsole",
        "with lab.connect('Clicked') as device:\n"
        "    device.publish('$aws/things/Clicked/shadow/update', '{\"state\": {}}')\n"
        "print('published')",
        "import threading\nconsole.close()\n"
        "[each.name for each in threading.enumerate() if 'creeklab' in each.name]",
    )
    cell = notebook.run(0)
    button(cell, "Policies").click()
    cell.get_by_label("Name").fill("ClickedPolicy")
    arn = f"arn:aws:iot:{lab.region}:{lab.account}"
    document = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": '
        f'["iot:Connect", "iot:Publish"], "Resource": ["{arn}:client/Clicked", '
        f'"{arn}:topic/$aws/things/Clicked/shadow/update"]}}]}}'
    )
    cell.get_by_label("Document").fill(document)
    button(cell, "Create policy").click()
    expect(cell.get_by_role("status")).to_contain_text("Created policy ClickedPolicy")
    button(cell, "Things").click()
    cell.get_by_label("Name", exact=True).fill("Clicked")
    cell.get_by_label("Attributes").fill("site=elkhorn")
    button(cell, "Create Thing").click()
    expect(cell.get_by_role("heading", name="Thing Clicked")).to_be_visible()
    button(cell, "Security").click()
    button(cell, "Create certificate").click()
    expect(
        cell.get_by_role("heading", name=re.compile("^Certificate [0-9a-f]{64}$"))
    ).to_be_visible()
    cell.get_by_label("Policy").select_option("ClickedPolicy")
    button(cell, "Attach policy").click()
    expect(cell.get_by_role("status")).to_contain_text("Attached policy ClickedPolicy")
    # The device can now connect and publish.
    expect(notebook.run(1)).to_contain_text("published")
    # From the certificate to the policy, to the certificate, to the Thing.
    button(cell, "ClickedPolicy").click()
    expect(cell.get_by_role("heading", name="Policy ClickedPolicy")).to_be_visible()
    button(cell, "Delete policy").click()
    button(cell, "Delete ClickedPolicy? Yes").click()
    expect(cell.get_by_role("alert")).to_contain_text("DeleteConflictException")
    cell.get_by_role("button", name=re.compile("^Certificate [0-9a-f]{12}…$")).click()
    button(cell, "Clicked").click()
    expect(cell.get_by_role("heading", name="Thing Clicked")).to_be_visible()
    expect(cell).to_contain_text("elkhorn")
    button(cell, "Interact").click()
    expect(cell).to_contain_text("$aws/things/Clicked/shadow/update/documents")
    button(cell, "Monitor").click()
    expect(cell.get_by_role("img", name=re.compile("^Shadow updates"))).to_be_visible()
    expect(notebook.run(2)).to_contain_text("[]")


def test_the_keyboard_is_enough_and_controls_have_names(
    open_notebook: Callable[..., Notebook], new_thing: Callable[..., Any]
) -> None:
    thing = new_thing()
    notebook = open_notebook(
        OPEN + "from creeklab.widgets.console_elements import Route\n"
        f"console = lab.console()\nconsole.go(Route('thing', '{thing.name}'))\nconsole"
    )
    cell = notebook.run(0)
    keyboard = notebook.page.keyboard
    expect(cell.get_by_role("heading", name=f"Thing {thing.name}")).to_be_visible()
    expect(button(cell, "Security")).to_be_visible()
    button(cell, "Monitor").focus()
    for _ in range(7):  # past the other sections, Refresh and All Things
        keyboard.press("Tab")
    expect(button(cell, "Details")).to_be_focused()
    keyboard.press("Tab")
    expect(button(cell, "Security")).to_be_focused()
    keyboard.press("Enter")
    expect(cell.get_by_role("heading", name="Certificates attached to this Thing")).to_be_visible()
    # The pressed button is gone, but the focus has a new place.
    expect(button(cell, "Things")).to_be_focused()
    assert unlabeled(cell.locator(".creeklab")) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_at_twice_the_size(
    open_notebook: Callable[..., Notebook], new_thing: Callable[..., Any], theme: str
) -> None:
    """At 200 % zoom, a window of 1300 pixels has 650."""
    thing = new_thing()
    notebook = open_notebook(
        f"{OPEN}console = lab.console()\nconsole",
        f"lab.policy_lab('{thing.name}')",
        theme=theme,
        width=650,
    )
    cell = notebook.run(0)
    for section in ("Things", "Certificates", "Policies", "Monitor"):
        button(cell, section).click()
        expect(cell.get_by_role("heading", name=section, exact=True)).to_be_visible()
        assert overflow(cell.locator(".creeklab").first) <= 0, section
    policy_lab = notebook.run(1)
    expect(policy_lab).to_contain_text("iot:Connect")
    assert overflow(policy_lab.locator(".creeklab").first) <= 0
    assert unlabeled(policy_lab.locator(".creeklab").first) == []


def test_a_decision_changes_while_typing(
    open_notebook: Callable[..., Notebook], new_thing: Callable[..., Any]
) -> None:
    thing = new_thing(
        [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "ARN:client/THING"},
            {"Effect": "Allow", "Action": "iot:Publish", "Resource": "ARN:topic/creek/depht"},
        ]
    )
    notebook = open_notebook(f"{OPEN}lab.policy_lab('{thing.name}')")
    cell = notebook.run(0)
    row = cell.get_by_role("row", name="iot:Publish creek/depth")
    expect(row).to_contain_text("IMPLICIT_DENY")
    document = cell.get_by_label("Document")
    text = document.input_value()
    before, _, after = text.partition("depht")
    at = len(before) + len("dep")
    document.evaluate("(area, at) => { area.focus(); area.setSelectionRange(at, at + 2) }", at)
    notebook.page.keyboard.type("th")
    expect(row).to_contain_text("ALLOWED")
    expect(row).to_contain_text("was IMPLICIT_DENY")
    assert document.input_value() == f"{before}depth{after}"
    document.fill('{\n  "Version": "2012-10-17"\n  "Statement": []\n}')
    expect(cell.get_by_role("alert")).to_contain_text("line 3, column 3")
    document.fill(text)
    expect(row).to_contain_text("IMPLICIT_DENY")
    button(cell, "Check with TestAuthorization").click()
    expect(cell.get_by_role("status")).to_contain_text("TestAuthorization decides all 6 the same")
