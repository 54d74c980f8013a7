"""The HTML of the test client: messages, subscriptions, topics and charts.

Nothing here knows a widget or a thread. The live form has times; the static form does not, so that
a stored notebook looks the same after each run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice

from creeklab.client.inbox import ReceivedMessage
from creeklab.display.html import (
    block,
    code,
    escape,
    heading,
    mark,
    muted,
    payload_text,
    table,
    tag,
)
from creeklab.widgets import sparkline
from creeklab.widgets.export import properties
from creeklab.widgets.message_log import LoggedMessage, Subscription
from creeklab.widgets.topic_tree import Row, TopicTree

MAX_CHARTS = 4
CHART_MESSAGES = 200
STATIC_MESSAGES = 20


def message(logged: LoggedMessage) -> str:
    """Return the live form of a message, with the time it arrived."""
    at = datetime.fromtimestamp(logged.time).strftime("%H:%M:%S.%f")[:-3]
    sent = logged.message
    kind, text = payload_text(sent.payload)
    head = [tag("strong", code(sent.topic)), escape(at), *_marks(sent, kind)]
    return tag("article", tag("div", " ".join(head)), _body(kind, text), _properties(sent))


def _marks(sent: ReceivedMessage, kind: str) -> list[str]:
    marks = [mark(f"QoS {sent.qos}", "plain")]
    if sent.retain:
        marks.append(mark("retained", "new"))
    if kind != "JSON":
        size = len(sent.payload)
        marks.append(mark(kind if kind == "empty" else f"{kind}, {size:,} bytes", "plain"))
    return marks


def _body(kind: str, text: str) -> str:
    return "" if kind == "empty" else block(text)


def _properties(sent: ReceivedMessage) -> str:
    found = properties(sent)
    user = found.pop("user_properties", [])
    pairs = [(name.replace("_", " "), value) for name, value in found.items()]
    pairs += [(f"user property {name}", value) for name, value in user]
    lines = (f"{escape(name)}: {code(value)}" for name, value in pairs)
    return "".join(tag("div", line, class_="creeklab-property") for line in lines)


def status(name: str, count: int, kept: int, found: int, search: str, waiting: int | None) -> str:
    """Return a summary of a subscription's messages, in a line or two.

    Parameters
    ----------
    count, kept, found
        The number of messages, of those that are kept, and of those that contain `search`.
    waiting
        The number of messages since the view was paused; None if it is not.
    """
    text = [f"{count:,} {_messages(count)} since you subscribed."]
    if count > kept:
        text.append(f"Only the newest {kept:,} are kept; {count - kept:,} older ones were dropped.")
    if search:
        text.append(f"“{search}” is in {found:,} of them.")
    if waiting is not None:
        text.append(f"Paused: {waiting:,} new since then.")
    return tag("div", tag("strong", code(name)), " ", escape(" ".join(text)))


def _messages(count: int) -> str:
    return "message" if count == 1 else "messages"


def tree(rows: Sequence[Row], topics: TopicTree, search: str) -> str:
    """Return the tree of topics."""
    if not len(topics):
        return muted("None yet.")
    text = f"{len(topics):,} topic{'' if len(topics) == 1 else 's'}"
    if search:
        text += f"; showing those that contain “{search}”"
    if topics.unlisted:
        text += f"; {topics.unlisted:,} {_messages(topics.unlisted)} on topics beyond the limit"
    return tag("div", escape(text)) + tag("ul", *map(_tree_line, rows), class_="creeklab-tree")


def _tree_line(row: Row) -> str:
    last = ""
    if row.last is not None:
        kind, _ = payload_text(row.last)
        text = row.last.hex(" ") if kind == "binary" else row.last.decode(errors="replace")
        last = " " + muted(" ".join(text.split())[:40])
    counts = f" {row.messages:,}"
    if row.hidden:
        counts += f", {row.hidden:,} more lines below"
    return tag(
        "li",
        code(row.level or "(empty level)"),
        muted(counts),
        last,
        style=f"margin-left: {row.depth}em",
    )


def charts(newest: Iterable[LoggedMessage]) -> str:
    """Return charts of the numbers in messages, which are given newest first."""
    some = [each.message for each in islice(newest, CHART_MESSAGES)]
    found = sparkline.series(reversed(some))
    drawn = [(name, values) for name, values in sorted(found.items()) if len(values) > 1]
    drawn.sort(key=lambda one: len(set(one[1])) == 1)  # constant values come last
    lines = [
        sparkline.sparkline(topic, path, values) for (topic, path), values in drawn[:MAX_CHARTS]
    ]
    if len(drawn) > MAX_CHARTS:
        lines.append(muted(f"and {len(drawn) - MAX_CHARTS} more; search for a topic to see others"))
    return "".join(lines)


def static(subscriptions: Sequence[Subscription]) -> str:
    """Return the messages of all subscriptions, for a notebook without a kernel.

    The messages of a subscription are sorted by topic, because MQTT guarantees an order only within
    a topic; there, the newest is first.
    """
    parts = [heading("MQTT test client")]
    if not subscriptions:
        parts.append(
            muted(
                "There are no subscriptions yet. When the notebook runs, subscribe on the left; "
                "on the right, publish and watch the messages arrive."
            )
        )
    for subscription in subscriptions:
        kept = subscription.logged
        shown = sorted(kept[::-1][:STATIC_MESSAGES], key=lambda each: each.message.topic)
        caption = f"Subscribed to {subscription.topic_filter}"
        if not shown:
            parts.append(tag("p", escape(f"{caption}: no messages yet.")))
            continue
        rows = [_static_row(each.message) for each in shown]
        parts.append(table(("Topic", "Message", "Properties"), rows, caption=caption))
        if subscription.count > len(shown):
            parts.append(muted(f"and {subscription.count - len(shown):,} older ones"))
    return "".join(parts)


def _static_row(sent: ReceivedMessage) -> list[str]:
    kind, text = payload_text(sent.payload)
    return [
        code(sent.topic),
        _body(kind, text) or muted("empty"),
        " ".join(_marks(sent, kind)) + _properties(sent),
    ]
