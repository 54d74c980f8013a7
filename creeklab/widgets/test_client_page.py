"""The pages of the test client: messages, subscriptions, topics and curves as HTML.

Nothing here knows a widget or a thread. What is shown live has times; the static form has none, so
that a notebook looks the same at each run.
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

CURVES = 4
CURVE_MESSAGES = 200
STATIC_MESSAGES = 20


def message(arrived: LoggedMessage) -> str:
    """Return a message as it is shown live, with the time at which it arrived."""
    at = datetime.fromtimestamp(arrived.time).strftime("%H:%M:%S.%f")[:-3]
    sent = arrived.message
    kind, text = payload_text(sent.payload)
    head = [tag("strong", code(sent.topic)), escape(at), *_marks(sent, kind)]
    return tag("article", tag("div", " ".join(head)), _body(kind, text), _properties(sent))


def _marks(sent: ReceivedMessage, kind: str) -> list[str]:
    words = [mark(f"QoS {sent.qos}", "plain")]
    if sent.retain:
        words.append(mark("retained", "new"))
    if kind != "JSON":
        size = len(sent.payload)
        words.append(mark(kind if kind == "empty" else f"{kind}, {size:,} bytes", "plain"))
    return words


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
    """Return what there is to know of a subscription's messages, in a line or two.

    Parameters
    ----------
    count, kept, found
        How many messages came, how many of them are kept, and in how many of those the text
        `search` occurs.
    waiting
        How many came since the view was paused; None if it is not.
    """
    said = [f"{count:,} {_messages(count)} since you subscribed."]
    if count > kept:
        said.append(
            f"The newest {kept:,} are kept; {count - kept:,} older ones were dropped from view."
        )
    if search:
        said.append(f"“{search}” is in {found:,} of them.")
    if waiting is not None:
        said.append(f"Paused: {waiting:,} new since then.")
    return tag("div", tag("strong", code(name)), " ", escape(" ".join(said)))


def _messages(count: int) -> str:
    return "message" if count == 1 else "messages"


def tree(rows: Sequence[Row], seen: TopicTree, search: str) -> str:
    """Return the tree of topics."""
    if not len(seen):
        return muted("None yet.")
    lines = [_line(row) for row in rows]
    topics = len(seen)
    said = f"{topics:,} topic{'' if topics == 1 else 's'}"
    if search:
        said += f", those with “{search}”"
    if seen.unlisted:
        said += (
            f"; {seen.unlisted:,} {_messages(seen.unlisted)} on further topics, for which there "
            "is no room"
        )
    return tag("div", escape(said)) + tag("ul", *lines, class_="creeklab-tree")


def _line(row: Row) -> str:
    last = ""
    if row.last is not None:
        kind, _ = payload_text(row.last)
        text = row.last.hex(" ") if kind == "binary" else row.last.decode(errors="replace")
        last = " " + muted(" ".join(text.split())[:40])
    counted = f" {row.messages:,}"
    if row.hidden:
        counted += f", {row.hidden:,} more lines below"
    return tag(
        "li",
        code(row.level or "(empty level)"),
        muted(counted),
        last,
        style=f"margin-left: {row.depth}em",
    )


def curves(newest: Iterable[LoggedMessage]) -> str:
    """Return the curves of the numbers in the newest messages, given with the newest first."""
    some = [each.message for each in islice(newest, CURVE_MESSAGES)]
    found = sparkline.series(reversed(some))
    drawn = [(name, values) for name, values in sorted(found.items()) if len(values) > 1]
    drawn.sort(key=lambda one: len(set(one[1])) == 1)  # what never changes comes last
    lines = [sparkline.sparkline(topic, place, values) for (topic, place), values in drawn[:CURVES]]
    if len(drawn) > CURVES:
        lines.append(muted(f"and {len(drawn) - CURVES} more; search for a topic to see others"))
    return "".join(lines)


def static(subscriptions: Sequence[Subscription]) -> str:
    """Return all that came, for where no kernel runs.

    The messages of a subscription are in the order of their topics, as MQTT promises an order only
    within a topic; there, the newest comes first.
    """
    parts = [heading("MQTT test client")]
    if not subscriptions:
        parts.append(
            muted(
                "Subscribed to nothing yet. When the notebook runs, subscribe at the left; at the "
                "right publish, and see what comes."
            )
        )
    for subscription in subscriptions:
        kept = subscription.arrived
        shown = sorted(kept[::-1][:STATIC_MESSAGES], key=lambda each: each.message.topic)
        caption = f"Subscribed to {subscription.topic_filter}"
        if not shown:
            parts.append(tag("p", escape(f"{caption}: no message yet.")))
            continue
        rows = [_static_row(each.message) for each in shown]
        parts.append(table(("Topic", "Message", "How"), rows, caption=caption))
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
