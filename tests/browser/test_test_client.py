"""The test client in JupyterLab: mouse, keyboard, load, and closing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from creeklab import Lab
from tests.browser.notebook import Notebook

OpenNotebook = Callable[..., Notebook]

OPEN = """
import creeklab
lab = creeklab.open_lab()
client = lab.test_client()
client
"""

# Publishes on another connection.
FLOOD = """
import threading, time
sender = lab.connect_account()
def flood(topic, a_second, seconds):
    began, sent = time.monotonic(), []
    for number in range(a_second * seconds):
        time.sleep(max(0.0, began + number / a_second - time.monotonic()))
        sent.append(sender.publish_soon(topic, {"number": number, "html": "<b>"}))
    for each in sent:
        each.result(60)
"""


@pytest.fixture
def root() -> str:
    """A topic that no other test uses."""
    return f"root-{uuid.uuid4().hex[:8]}"


def button(tool: Locator, name: str) -> Locator:
    return tool.get_by_role("button", name=name, exact=True)


def subscribe(tool: Locator, topic_filter: str) -> None:
    Notebook.write(tool.get_by_label("Topic filter"), topic_filter)
    button(tool, "Subscribe").click()
    expect(button(tool, f"Unsubscribe from {topic_filter}")).to_be_visible()


def publish(tool: Locator, topic: str, payload: str) -> None:
    Notebook.write(tool.get_by_label("Topic", exact=True), topic)
    Notebook.write(tool.get_by_label("Payload"), payload)
    button(tool, "Publish").click()


def test_subscribe_publish_unread_dot_history_and_unsubscribe(
    open_notebook: OpenNotebook, root: str
) -> None:
    notebook = open_notebook(OPEN)
    notebook.run(0)
    tool = notebook.tool(0)
    subscribe(tool, f"{root}/#")
    subscribe(tool, f"{root}/other")
    Notebook.write(tool.get_by_label("User properties"), "from=the browser")
    publish(tool, f"{root}/depth", '{"ft": 1.4}')
    unread = button(tool, f"● {root}/# (1 new)")
    expect(unread).to_be_visible()
    assert unread.evaluate("each => getComputedStyle(each).fontWeight") == "700"
    expect(tool.get_by_role("article")).to_have_count(0)
    unread.click()
    expect(button(tool, f"{root}/#")).to_be_visible()  # read: the dot is gone
    message = tool.get_by_role("article")
    expect(message).to_have_count(1)
    expect(message).to_contain_text(f"{root}/depth")
    expect(message).to_contain_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3} QoS 1"))
    assert message.locator("pre").inner_text() == '{\n  "ft": 1.4\n}'
    expect(message).to_contain_text("user property from: the browser")
    publish(tool, f"{root}/depth", '{"ft": 1.5}')
    expect(message).to_have_count(2)
    expect(message.first).to_contain_text("1.5")  # newest first
    chart = tool.get_by_role("img", name=re.compile(r"^Chart of ft on .*highest 1\.5, 2 values"))
    expect(chart).to_be_visible()
    expect(tool.get_by_role("listitem").filter(has_text=f"{root}/depth")).to_be_visible()
    button(tool, f"Unsubscribe from {root}/#").click()
    expect(button(tool, f"{root}/#")).to_have_count(0)
    expect(message).to_have_count(0)
    button(tool, f'{root}/depth {{"ft": 1.4}}').click()
    expect(tool.get_by_label("Payload")).to_have_value('{"ft": 1.4}')


def test_a_refusal_is_an_alert_with_the_reason(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(OPEN)
    notebook.run(0)
    tool = notebook.tool(0)
    Notebook.write(tool.get_by_label("Topic filter"), "$secret/#")
    button(tool, "Subscribe").click()
    expect(tool.get_by_role("alert")).to_contain_text("topic filter invalid (reason code 143)")
    expect(tool.get_by_role("alert")).to_contain_text("Why: '$secret/#' is not a reserved topic")


def test_enter_subscribes_and_a_refusal_is_below_the_button(
    open_notebook: OpenNotebook, root: str
) -> None:
    notebook = open_notebook(OPEN)
    notebook.run(0)
    tool, keyboard = notebook.tool(0), notebook.page.keyboard
    tool.get_by_label("Topic filter").focus()
    keyboard.type(f"{root}/#")
    keyboard.press("Enter")
    expect(button(tool, f"Unsubscribe from {root}/#")).to_be_visible()
    publish(tool, "$secret", "x")
    alert = tool.get_by_role("alert")
    expect(alert).to_be_visible()
    clicked, shown = button(tool, "Publish").bounding_box(), alert.bounding_box()
    assert clicked is not None
    assert shown is not None
    assert 0 < shown["y"] - clicked["y"] < 3 * clicked["height"]


def test_html_in_a_message_stays_text(open_notebook: OpenNotebook, root: str) -> None:
    notebook = open_notebook(OPEN)
    notebook.run(0)
    tool = notebook.tool(0)
    subscribe(tool, f"{root}/#")
    nasty = "<img src=x onerror='window.caught = 1'><style>body { display: none }</style>"
    publish(tool, f"{root}/<img src=x onerror=window.caught=1>", nasty)
    expect(tool.get_by_role("article").locator("pre")).to_have_text(nasty)
    assert tool.locator("img").count() == 0
    assert notebook.page.evaluate("window.caught") is None


def test_every_control_is_reachable_by_keyboard_and_has_a_name(
    open_notebook: OpenNotebook, root: str
) -> None:
    notebook = open_notebook(OPEN)
    notebook.run(0)
    tool, keyboard = notebook.tool(0), notebook.page.keyboard
    tool.get_by_label("Topic filter").focus()
    keyboard.type(f"{root}/#")
    for key in ("Tab", "Tab", "Space"):  # past QoS to the button
        keyboard.press(key)
    expect(button(tool, f"Unsubscribe from {root}/#")).to_be_visible()
    Notebook.write(tool.get_by_label("Payload"), "line\n" * 60)
    tool.get_by_label("Topic", exact=True).focus()
    keyboard.type(f"{root}/depth")
    for key in ("Tab", "Tab", "Tab", "Tab", "Tab", "Space"):
        keyboard.press(key)
    expect(tool.get_by_role("article")).to_have_count(1)
    controls = {
        each.evaluate(NAME)
        for each in tool.locator("button:enabled, input, select, textarea").all()
    }
    assert len(controls) >= 17
    assert "" not in controls
    tool.get_by_label("Topic filter").focus()
    reached, scrolls = set(), False
    for _ in range(40):
        name = notebook.page.evaluate(f"({NAME})(document.activeElement)")
        # The focus is visible.
        assert name is None or notebook.page.evaluate(OUTLINE) != "none", name
        reached.add(name)
        keyboard.press("Tab")
        scrolls |= notebook.page.evaluate(SCROLLS)
    assert controls <= reached
    assert scrolls  # messages that do not fit scroll by keyboard
    button(tool, f"Unsubscribe from {root}/#").focus()
    keyboard.press("Space")
    expect(button(tool, f"Unsubscribe from {root}/#")).to_have_count(0)


# The name of a control for a screen reader: its label, or its own text.
NAME = """each => !each.closest(".creeklab") || !each.matches("button, input, select, textarea")
    ? null : (each.labels?.[0] ?? each.closest("label") ?? each).textContent.trim()"""
SCROLLS = "document.activeElement.matches('.creeklab-scroll')"
OUTLINE = """() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_readable_in_both_themes_and_at_twice_the_size(
    open_notebook: OpenNotebook, root: str, theme: str
) -> None:
    # At twice the size, a page is half as many pixels wide.
    notebook = open_notebook(
        f"{OPEN}client.subscribe('{root}/#')\nclient.subscribe('{root}/{'long' * 40}')\n"
        f"client.publish('{root}/depth', {{'ft': 1.4, 'note': 'x' * 300}}, retain=True)\n"
        f"client.publish('{root}/depth', {{'ft': 1.5}})\n"
        f"client._select('{root}/#')\nclient.wait_for(2)\n"
        f"client.publish('{root}/depth', b'\\xff')\n"
        f"client.notify('Hello.', alert=True)\nclient",
        theme=theme,
        width=650,
    )
    notebook.run(0)
    tool = notebook.tool(0)
    expect(tool.get_by_role("article")).to_have_count(3)
    expect(tool.get_by_role("alert")).to_be_visible()
    assert tool.evaluate(CUT_OFF) == []
    faint = tool.evaluate(FAINT)
    assert faint == []


# Elements that are wider than their box and cannot be scrolled.
CUT_OFF = """tool => [...tool.querySelectorAll("*")].filter(each =>
    each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0
    && !["auto", "scroll"].includes(getComputedStyle(each).overflowX)
    && !each.matches("input, textarea, select, option, code, strong, span")
).map(each => each.outerHTML.slice(0, 200))"""

# Text with a contrast below 4.5 to 1 (WCAG 2.2, 1.4.3).
FAINT = """tool => {
    const parsed = color => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(value => value / 255).map(value =>
        value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
    ).reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
    const under = each => {
        for (; each; each = each.parentElement) {
            const [r, g, b, a = 1] = parsed(getComputedStyle(each).backgroundColor);
            if (a > 0.99) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const found = [];
    for (const each of tool.querySelectorAll("*")) {
        const own = [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        const style = getComputedStyle(each);
        if (!own || each.matches("style, option, :disabled") || !each.offsetParent) continue;
        const back = under(each);
        let opacity = 1;
        for (let node = each; node; node = node.parentElement)
            opacity *= Number(getComputedStyle(node).opacity);
        const front = parsed(style.color).slice(0, 3)
            .map((value, at) => value * opacity + back[at] * (1 - opacity));
        const [low, high] = [light(front), light(back)].sort((a, b) => a - b);
        const contrast = (high + 0.05) / (low + 0.05);
        if (contrast < 4.5) found.push([contrast.toFixed(2), each.outerHTML.slice(0, 120)]);
    }
    return found;
}"""

# Collects the states that were visible, at most one per frame.
WATCH = """tool => {
    window.seen = new Set();
    const look = () => {
        window.seen.add(tool.querySelector("article pre")?.textContent);
        requestAnimationFrame(look);
    };
    look();
}"""


def test_it_keeps_drawing_while_a_cell_is_busy(open_notebook: OpenNotebook, root: str) -> None:
    notebook = open_notebook(
        OPEN, f"{FLOOD}client.subscribe('{root}')", f"flood('{root}', 10, 8)  # busy for 8 s"
    )
    notebook.run(0)
    notebook.run(1)
    tool = notebook.tool(0)
    tool.evaluate(WATCH)
    notebook.start(2)
    article = tool.get_by_role("article").first
    expect(article).to_contain_text('"number": 5')
    # The cell is still busy, and the view keeps changing.
    expect(notebook.cell(2).locator(".jp-InputPrompt")).to_have_text("[*]:")
    expect(article).to_contain_text('"number": 79')
    # On an idle machine, the view shows nearly each of the 80 messages.
    assert notebook.page.evaluate("window.seen.size") > 3


def test_a_burst_is_counted_and_nothing_freezes(open_notebook: OpenNotebook, root: str) -> None:
    notebook = open_notebook(
        OPEN,
        f"{FLOOD}client.subscribe('{root}')\n"
        f"threading.Thread(target=flood, args=('{root}', 1000, 12)).start()",
    )
    notebook.run(0)
    notebook.run(1)
    tool = notebook.tool(0)
    expect(tool.get_by_role("article")).to_have_count(20)
    tool.evaluate("() => { window.beat = 0; setInterval(() => window.beat += 1, 50); }")
    subscribe(tool, f"{root}/other")  # the tool still works meanwhile
    button(tool, f"Unsubscribe from {root}/other").click()
    expect(tool).to_contain_text(
        "12,000 messages since you subscribed. Only the newest 10,000 are kept; 2,000 older ones "
        "were dropped."
    )
    expect(tool.get_by_role("article").first).to_contain_text('"number": 11999')
    assert notebook.page.evaluate("window.beat") > 0


def test_closing_ends_the_connection_and_leaves_the_messages(
    open_notebook: OpenNotebook, lab: Lab
) -> None:
    shown = (
        f"{OPEN}inbox = client.subscribe('creek/#')\nclient.publish('creek/depth', 'rising')\n"
        "inbox.wait_for(1)\nclient"
    )
    notebook = open_notebook(shown, "client.close()\nprint(client.client_id)")
    notebook.run(0)
    tool = notebook.tool(0)
    expect(tool.get_by_role("article")).to_have_count(1)
    client_id = notebook.run(1).locator(".jp-OutputArea-output").inner_text().strip()
    expect(tool).to_contain_text("This tool is closed. Its last state is shown above.")
    expect(tool).to_contain_text("rising")
    expect(tool.locator("button, input, textarea, select")).to_have_count(0)
    assert connections(lab, client_id) == ["connect", "disconnect"]


def test_the_end_of_the_kernel_ends_the_connection(open_notebook: OpenNotebook, lab: Lab) -> None:
    notebook = open_notebook(f"{OPEN}client.subscribe('#')\nclient", "print(client.client_id)")
    notebook.run(0)
    client_id = notebook.run(1).locator(".jp-OutputArea-output").inner_text().strip()
    assert connections(lab, client_id) == ["connect"]
    notebook.end_kernel()
    for _ in range(300):  # the cloud notices it after the server does
        if connections(lab, client_id) == ["connect", "disconnect"]:
            break
        notebook.page.wait_for_timeout(100)
    assert connections(lab, client_id) == ["connect", "disconnect"]


def connections(lab: Lab, client_id: str) -> list[str]:
    events = lab.events(thing=client_id)
    return [kind for kind in events["kind"] if kind in ("connect", "disconnect")]
