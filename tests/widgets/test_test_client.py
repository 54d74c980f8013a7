"""The test client against the cloud: clicks, code, refusals, the static page, and closing."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets import Button, Widget
from ipywidgets.widgets.widget import _instances

from creeklab import Lab, open_lab
from creeklab.client.device import RequestRefused
from creeklab.widgets.console_elements import Route
from creeklab.widgets.message_log import BufferLimit
from creeklab.widgets.test_client import MqttTestClient
from tests.display.test_html import PageReader
from tests.widgets.closed_view import remaining_widgets


@pytest.fixture
def client(lab: Lab) -> Iterator[MqttTestClient]:
    client = lab.test_client()
    yield client
    client.close()


@pytest.fixture
def root() -> str:
    """A topic that no other test uses."""
    return f"root-{uuid.uuid4().hex[:8]}"


def buttons(client: MqttTestClient) -> dict[str, Button]:
    """Return the buttons on the page by label."""
    client.settle()

    def below(widget: Widget) -> Iterator[Button]:
        if isinstance(widget, Button):
            yield widget
        for child in getattr(widget, "children", ()):
            yield from below(child)

    return {button.description: button for button in below(client.widget)}


def click(client: MqttTestClient, label: str) -> None:
    buttons(client)[label].click()
    client.settle()


def notice(client: MqttTestClient) -> str:
    client.settle()
    return PageReader(client._notice.value).text


def text(shown: Any) -> str:
    return PageReader(shown.value).text


# --- by clicks ------------------------------------------------------------------------------------


def test_subscribe_publish_read_and_unsubscribe_by_clicks(
    client: MqttTestClient, root: str
) -> None:
    client._filter.value = f" {root}/# "
    click(client, "Subscribe")
    client._filter.value = f"{root}/other"
    click(client, "Subscribe")
    client._topic.value = f"{root}/depth"
    client._payload.value = '{"ft":1.4}'
    client._user.value = "from = the test\n\nnote=a=b"
    click(client, "Publish")
    client.wait_for(1, f"{root}/#")
    unread = f"● {root}/# (1 new)"
    assert unread in buttons(client)
    assert "0 messages" in text(client._status)
    click(client, unread)
    assert f"{root}/#" in buttons(client)
    assert "1 message since you subscribed." in text(client._status)
    shown = text(client._shown)
    assert f"{root}/depth" in shown
    assert '{\n  "ft": 1.4\n}' in shown
    assert "QoS 1" in shown
    assert "user property from: the test" in shown
    assert "user property note: a=b" in shown
    assert f"{root}/depth" in text(client._tree)
    click(client, f"Unsubscribe from {root}/#")
    assert f"{root}/#" not in buttons(client)
    assert "0 messages" in text(client._status)  # of the other subscription
    client.publish(f"{root}/depth", "without a subscription")
    client.publish(f"{root}/other", "with a subscription")
    assert [each.payload for each in client.wait_for(1, f"{root}/other")] == [
        b"with a subscription"
    ]
    assert len(client.messages()) == 1
    click(client, f"Unsubscribe from {root}/other")
    assert "Subscribe to a topic" in text(client._status)


def test_pause_older_search_and_clear(client: MqttTestClient, root: str) -> None:
    inbox = client.subscribe(f"{root}/#")
    for number in range(50):
        client.publish(f"{root}/{number % 2}", f"number {number}.")
    inbox.wait_for(50)
    client.settle()
    assert "Showing 1 to 20 of 50, newest first." in text(client._status)
    assert "number 49." in text(client._shown)
    assert "number 29." not in text(client._shown)
    click(client, "Older")
    assert "number 29." in text(client._shown)
    client.publish(f"{root}/0", "number 50.")
    inbox.wait_for(51)
    client.settle()
    assert "50 messages since you subscribed. Paused: 1 new since then." in text(client._status)
    assert "Showing 21 to 40 of 50" in text(client._status)
    for _ in range(5):
        click(client, "Older")
    assert "Showing 41 to 50 of 50" in text(client._status)
    click(client, "Newer")
    assert "Showing 21 to 40 of 50" in text(client._status)
    client._find.value = "NUMBER 4"
    client.settle()
    assert "“NUMBER 4” is in 11 of them." in text(client._status)
    client._find.value = f"{root}/1"
    client.settle()
    assert "is in 25 of them." in text(client._status)
    assert f"{root}/0" not in text(client._tree)
    client._find.value = ""
    click(client, "Resume")
    assert "number 50." in text(client._shown)
    click(client, "Pause")
    client.publish(f"{root}/0", "number 51.")
    inbox.wait_for(52)
    client.settle()
    assert "number 51." not in text(client._shown)
    click(client, "Clear")
    assert "0 messages since you subscribed." in text(client._status)
    assert text(client._shown) == ""


def test_published_messages_can_be_filled_in_again(client: MqttTestClient, root: str) -> None:
    for number in range(7):
        client._topic.value = f"{root}/{number}"
        client._payload.value = f"payload {number}"
        client._user.value = f"n={number}"
        click(client, "Publish")
    click(client, f"{root}/5  payload 5")
    filled = (client._topic.value, client._payload.value, client._user.value)
    assert filled == (f"{root}/5", "payload 5", "n=5")
    click(client, "Publish")
    recent = [label for label in buttons(client) if label.startswith(root)]
    assert recent == [f"{root}/{n}  payload {n}" for n in (5, 6, 4, 3, 2)]


def test_saving_writes_new_files_in_this_folder(
    client: MqttTestClient, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    click(client, "Save as CSV")
    assert "no messages to save" in notice(client)
    client.subscribe(root)
    client.publish(root, {"ft": 1.4})
    client.wait_for(1)
    click(client, "Save as CSV")
    click(client, "Save as CSV")
    click(client, "Save as JSON Lines")
    names = ["mqtt-messages-2.csv", "mqtt-messages.csv", "mqtt-messages.jsonl"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert "mqtt-messages.jsonl" in notice(client)
    saved = json.loads((tmp_path / "mqtt-messages.jsonl").read_text())
    assert saved["payload"] == '{"ft": 1.4}'


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic_filter", "message"),
    [
        ("", "the topic filter is empty."),
        ("creek/#/a", "'#' must be the whole last level"),
        ("creek/a+", "'+' must be a whole level"),
        ("$secret/a", "topic filter invalid (reason code 143). Why: '$secret/a' is not a reserved"),
        ("a/b/c/d/e/f/g/h/i", "(reason code 143). Why: The topic filter 'a/b/c/d/e/f/g/h/i' has 9"),
    ],
)
def test_a_refused_filter_is_explained(
    client: MqttTestClient, topic_filter: str, message: str
) -> None:
    client._filter.value = topic_filter
    click(client, "Subscribe")
    assert message in notice(client)
    assert 'role="alert"' in client._notice.value
    assert repr(client) == "MQTT test client, subscribed to nothing yet"
    with pytest.raises((ValueError, RequestRefused)):
        client.subscribe(topic_filter)
    client._filter.value = "creek/a"
    click(client, "Subscribe")
    assert notice(client) == ""


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("", "the topic is empty."),
        ("creek/#", "'#' and '+' are only for subscribing"),
        ("$aws/events/a", "Why: '$aws/events/a' is reserved for AWS to publish to"),
        ("$secret/<b>", "(reason code 144). Why: '$secret/<b>' is not a reserved topic"),
    ],
)
def test_a_refused_topic_is_explained(client: MqttTestClient, topic: str, message: str) -> None:
    client._topic.value = topic
    click(client, "Publish")
    assert message in notice(client)
    assert PageReader(client._notice.value).tags == ["div"]


def test_invalid_user_properties_and_a_large_payload_are_explained(client: MqttTestClient) -> None:
    client._topic.value = "creek/a"
    client._user.value = "no equals sign"
    click(client, "Publish")
    assert "'no equals sign' is not of the form name=value." in notice(client)
    client._user.value = ""
    client._payload.value = "x" * 131_073
    click(client, "Publish")
    assert "the payload has 131,073 bytes, and AWS IoT allows at most 131,072" in notice(client)


def test_a_connection_that_aws_closed_is_explained_and_comes_back(
    client: MqttTestClient, root: str
) -> None:
    reconnected = threading.Event()
    notify = client.notify

    def listen(message: str, *, alert: bool = False) -> None:
        notify(message, alert=alert)
        if "reconnected" in message:
            reconnected.set()

    client.notify = listen  # type: ignore[method-assign]
    inbox = client.subscribe(f"{root}/#")
    client.publish("$secret/a", "x", qos=0)  # AWS can only close the connection
    assert reconnected.wait(20)
    message = notice(client)
    assert message.startswith("AWS closed the connection")
    assert "Why: '$secret/a' is not a reserved topic" in message
    assert "The test client reconnected. Messages sent in the meantime were missed." in message
    # The SDK subscribes again by itself; messages before that are missed.
    for _ in range(100):
        client.publish(f"{root}/a", "back")
        if inbox.count:
            break
    inbox.wait_for(1)


# --- odd and many messages ------------------------------------------------------------------------

ODD = {
    "html": b"<img src=x onerror=alert(1)><script>alert(1)</script>",
    "malformed": b'{"depth": 1.4',
    "binary": bytes(range(256)),
    "empty": b"",
    "large": b"x" * 131_072,
    "half a character": b'"\\ud800"',
    "deep": b"[" * 50_000,
}


def test_odd_payloads_are_shown_and_exported(client: MqttTestClient, root: str) -> None:
    inbox = client.subscribe(f"{root}/#")
    for payload in ODD.values():
        client.publish(f"{root}/<b>", payload, user_properties=[("<i>", "<u>")])
    inbox.wait_for(len(ODD))
    client.settle()
    for page in (client._shown.value, client._tree.value, client._repr_mimebundle_()["text/html"]):
        result = PageReader(page)
        assert not {"img", "script", "b", "i", "u"} & set(result.tags)
        assert f"{root}/<b>" in result.text
        page.encode()
    shown = text(client._shown)
    assert "<script>alert(1)</script>" in shown
    assert "binary, 256 bytes" in shown
    assert "and 129,072 more characters" in shown
    assert client._notice.value == ""
    frame = client.to_frame(f"{root}/#")
    assert len(frame) == len(client.to_json_lines().splitlines()) == len(ODD)
    assert set(client.messages()) == set(inbox.messages)
    assert client.topics == [f"{root}/<b>"]


def test_ten_thousand_topics_are_shown_in_a_few_lines(lab: Lab, root: str) -> None:
    with lab.test_client() as client, lab.connect_account() as sender:
        inbox = client.subscribe(f"{root}/#")
        pending = [
            sender.publish_soon(f"{root}/{n // 100}/{n % 100}/depth", {"ft": n})
            for n in range(10_000)
        ]
        for one in pending:
            one.result()
        inbox.wait_for(10_000, timeout=60)
        client.settle()
        assert len(client.topics) == 10_000
        assert "10,000 topics" in text(client._tree)
        assert PageReader(client._tree.value).tags.count("li") <= 60
        client._find.value = f"{root}/77/12/"
        client.settle()
        assert f"{root}/77/12/depth" in text(client._tree)
        assert "7712" in text(client._shown)


def test_a_flood_is_counted_and_dropped_messages_are_mentioned(lab: Lab, root: str) -> None:
    device = lab.connect_account()
    with (
        MqttTestClient(device, limit=BufferLimit(500, 1_000_000)) as client,
        lab.connect_account() as sender,
    ):
        inbox = client.subscribe(root)
        pending = [sender.publish_soon(root, {"n": n}) for n in range(3_000)]
        for one in pending:
            one.result()
        messages = inbox.wait_for(3_000, timeout=60)
        assert [each.json["n"] for each in messages] == list(range(2_500, 3_000))
        client.settle()
        assert "3,000 messages since you subscribed. Only the newest 500 are kept; 2,500 older" in (
            text(client._status)
        )


# --- cells, the static page, and closing ----------------------------------------------------------


def test_waiting_in_a_cell_is_bounded(client: MqttTestClient, root: str) -> None:
    client.subscribe(f"{root}/a", qos=0)
    client.subscribe(f"{root}/#")
    client.publish(f"{root}/a", [1, 2], qos=0)
    client.publish(f"{root}/b", b"\x01", retain=True)
    assert sorted(each.topic for each in client.wait_for(2)) == [f"{root}/a", f"{root}/b"]
    assert [each.json for each in client.messages(f"{root}/a")] == [[1, 2]]
    with pytest.raises(
        TimeoutError, match=r"^Received 2 of 3 messages in the test client within 0\.1"
    ):
        client.wait_for(3, timeout=0.1)
    with pytest.raises(LookupError):
        client.wait_for(1, "not/subscribed")
    with pytest.raises(LookupError):
        client.unsubscribe("not/subscribed")
    client.clear()
    assert client.messages() == []
    late = client.subscribe(f"{root}/b").wait_for(1)
    assert late[0].retain
    client.publish(f"{root}/b", b"", retain=True)


def test_the_static_page_is_reproducible(
    lab: Lab, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    for reverse in (True, False):
        with lab.test_client() as client:
            client.subscribe("course/#")
            client.subscribe("no/messages")
            topics = ["course/b", "course/a"]
            for topic in topics[::-1] if reverse else topics:
                for number in range(2):
                    client.publish(topic, {"n": number, "html": "<b>"}, user_properties={"a": "b"})
            client.wait_for(4)
            pages.append(client._repr_mimebundle_())
    first, second = pages
    assert first["text/plain"] == ("MQTT test client, subscribed to 'course/#', 'no/messages'")
    assert first["text/html"] == second["text/html"]
    page = PageReader(first["text/html"]).text
    assert page.index("course/a") < page.index("course/b")
    assert page.index('"n": 1') < page.index('"n": 0')  # newest first
    assert "Subscribed to no/messages: no messages yet." in page


def test_closing_leaves_no_thread_connection_or_widget(lab: Lab) -> None:
    threads = set(threading.enumerate())
    widgets = set(_instances)
    client = lab.test_client()
    client.subscribe("creek/#")
    client.publish("creek/a", "x")
    client.wait_for(1)
    client.settle()
    client.close()
    client.close()
    kinds = ["connect", "disconnect"]
    events = lab.events()
    mine = events[events["client_id"] == client.client_id]
    assert [kind for kind in mine["kind"] if kind in kinds] == kinds
    # Python names the SDK's own threads when they first call back.
    left = set(threading.enumerate()) - threads
    assert all(each.name.startswith("Dummy-") for each in left)
    assert set(_instances) - widgets == remaining_widgets(client)
    with pytest.raises(RuntimeError, match="closed"):
        client.publish("creek/a", "x")
    assert repr(client) == "MQTT test client, subscribed to 'creek/#' (closed)"


def test_clicks_messages_and_the_renderer_at_once(lab: Lab, root: str) -> None:
    """Clicks and messages arrive on different threads, and the renderer has its own."""
    with lab.test_client() as client, lab.connect_account() as sender:
        inbox = client.subscribe(f"{root}/#")
        errors: list[BaseException] = []
        done = threading.Event()

        def click_about(filters: list[str]) -> None:
            try:
                while not done.is_set():
                    for each in filters:
                        client.subscribe(each)
                        client._select(each)
                    client._toggle()
                    client._turn(1)
                    client._find.value = "1"
                    client._find.value = ""
                    client._resume()
                    for each in filters:
                        client.unsubscribe(each)
            except BaseException as error:
                errors.append(error)

        names = [[f"{root}/{n}", f"{root}/+"] if n == 0 else [f"{root}/{n}"] for n in range(2)]
        threads = [threading.Thread(target=click_about, args=(each,)) for each in names]
        for thread in threads:
            thread.start()
        pending = [sender.publish_soon(f"{root}/{n % 5}", {"n": n}) for n in range(3_000)]
        for one in pending:
            one.result()
        inbox.wait_for(3_000, timeout=60)
        done.set()
        for thread in threads:
            thread.join()
        client._select(f"{root}/#")
        client.settle()
        assert errors == []
        assert inbox.count == 3_000
        assert "could not be drawn" not in client._notice.value
        assert "3,000 messages" in text(client._status)


def test_it_connects_as_the_account_and_needs_no_policy(client: MqttTestClient, lab: Lab) -> None:
    events = lab.events(kind="connect")
    mine = events[events["client_id"] == client.client_id]
    assert len(mine) == 1
    # The principal is a user ID; for a Thing, it is the certificate ID.
    assert mine.iloc[0]["principal"].startswith("AIDA")


def test_running_a_cell_again_closes_the_first_connection(lab: Lab) -> None:
    first = lab.test_client()
    console = lab.console()
    console.go(Route("test"))
    again = open_lab(home=lab.home)
    with again.test_client() as second:
        assert (first.closed, second.closed, console.closed) == (True, False, False)
        assert "closed" in repr(first._device)
        second.subscribe("creek/#")  # the console's client and this one do not affect each other
    with again.console():
        assert console.closed
    first.close()
