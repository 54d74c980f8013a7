"""Numbers in JSON messages as small charts, written as SVG by hand.

Each sparkline also describes itself in text, for screen readers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from creeklab.client.inbox import ReceivedMessage
from creeklab.display.html import code, escape, tag

MAX_BYTES = 4_096
MAX_VALUES = 60
WIDTH, HEIGHT, EDGE = 120, 24, 2

Series = dict[tuple[str, str], list[float]]


def series(messages: Iterable[ReceivedMessage]) -> Series:
    """Return the numbers in JSON messages, oldest first, by topic and path in the document.

    A path has dots, as in ``state.reported.depth``. Only the last `MAX_VALUES` of each are
    returned, and only from messages of at most `MAX_BYTES`. A ``timestamp`` does not count.
    """
    found: Series = {}
    for message in messages:
        if len(message.payload) <= MAX_BYTES and message.payload[:1] in b"{[-0123456789":
            try:
                document = json.loads(message.payload)
            except (ValueError, RecursionError):
                continue
            for path, number in _numbers(document, ""):
                found.setdefault((message.topic, path), []).append(number)
    return {name: values[-MAX_VALUES:] for name, values in found.items()}


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "timestamp":
                continue
            yield from _numbers(part, f"{path}.{name}" if path else str(name))
    # NaN, infinity, and integers larger than any float cannot be drawn.
    elif type(value) in (int, float) and abs(value) < 1e300:
        yield path, float(value)


def sparkline(topic: str, path: str, values: list[float]) -> str:
    """Return a line of HTML: the chart, its name, and the last, lowest and highest value."""
    low, high = min(values), max(values)
    summary = f"{values[-1]:.6g} (lowest {low:.6g}, highest {high:.6g}, {len(values)} values)"
    step = (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    scale = (HEIGHT - 2 * EDGE) / (high - low) if high > low else 0.0
    middle = HEIGHT / 2
    points = [
        (EDGE + step * at, HEIGHT - EDGE - (value - low) * scale if scale else middle)
        for at, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    svg = tag(
        "svg",
        tag("polyline", points=line, fill="none", stroke="currentColor", stroke_width="1.5"),
        tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="2", fill="currentColor"),
        width=str(WIDTH),
        height=str(HEIGHT),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"Chart of {path or 'the number'} on {topic}: {summary}",
    )
    name = f" {code(path)}" if path else ""
    text = tag("span", f"{code(topic)}{name} {escape(summary)}")
    return tag("div", svg, text, class_="creeklab-sparkline")
