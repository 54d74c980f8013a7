"""Numbers in JSON messages as small curves, drawn by hand as SVG.

A sparkline says in words what it shows, for whoever cannot see it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from creeklab.client.inbox import ReceivedMessage
from creeklab.display.html import code, escape, tag

MAX_MAGNITUDE = 4_096
VALUES = 60
WIDTH, HEIGHT, EDGE = 120, 24, 2

Series = dict[tuple[str, str], list[float]]


def series(messages: Iterable[ReceivedMessage]) -> Series:
    """Return the numbers of JSON messages, oldest first, by topic and place in the document.

    The place is written with dots, as in ``state.reported.depth``. Only the last `VALUES` of each
    are returned, and only of messages of at most `LARGEST` bytes. A ``timestamp`` is no number.
    """
    found: Series = {}
    for message in messages:
        if len(message.payload) <= MAX_MAGNITUDE and message.payload[:1] in b"{[-0123456789":
            try:
                document = json.loads(message.payload)
            except (ValueError, RecursionError):
                continue
            for place, number in _numbers(document, ""):
                found.setdefault((message.topic, place), []).append(number)
    return {name: values[-VALUES:] for name, values in found.items()}


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "timestamp":
                continue
            yield from _numbers(part, f"{place}.{name}" if place else str(name))
    # NaN, infinity, and integers beyond any float cannot be drawn.
    elif type(value) in (int, float) and abs(value) < 1e300:
        yield place, float(value)


def sparkline(topic: str, place: str, values: list[float]) -> str:
    """Return a line of HTML: what it is, its curve, and its last, lowest and highest value."""
    low, high = min(values), max(values)
    said = f"{values[-1]:.6g} (lowest {low:.6g}, highest {high:.6g}, {len(values)} values)"
    step = (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    scale = (HEIGHT - 2 * EDGE) / (high - low) if high > low else 0.0
    middle = HEIGHT / 2
    points = [
        (EDGE + step * at, HEIGHT - EDGE - (value - low) * scale if scale else middle)
        for at, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    curve = tag(
        "svg",
        tag("polyline", points=line, fill="none", stroke="currentColor", stroke_width="1.5"),
        tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="2", fill="currentColor"),
        width=str(WIDTH),
        height=str(HEIGHT),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"Curve of {place or 'the number'} on {topic}: {said}",
    )
    name = f" {code(place)}" if place else ""
    words = tag("span", f"{code(topic)}{name} {escape(said)}")
    return tag("div", curve, words, class_="creeklab-sparkline")
