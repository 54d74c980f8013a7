"""Numbers in JSON as curves."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from creeklab.client.inbox import ReceivedMessage
from creeklab.widgets.sparkline import HEIGHT, MAX_MAGNITUDE, VALUES, WIDTH, series, sparkline


def sent(topic: str, document: Any) -> ReceivedMessage:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    return ReceivedMessage(topic, payload, 1, False)


def test_numbers_are_found_by_topic_and_place() -> None:
    messages = [
        sent(
            "a",
            {
                "state": {
                    "reported": {"depth": 1.4, "ok": True, "name": "x", "list": [3], "timestamp": 9}
                }
            },
        ),
        sent("b", 7),
        sent("a", {"state": {"reported": {"depth": 1.5}}}),
        sent("b", 8),
    ]
    assert series(messages) == {("a", "state.reported.depth"): [1.4, 1.5], ("b", ""): [7.0, 8.0]}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{depth: 1}",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 400 + b"}",
        b"[" * 4_000,
        b'{"a": ' * 600,
        b'{"a": 1, "b": "' + b"x" * MAX_MAGNITUDE + b'"}',
    ],
)
def test_what_cannot_be_drawn_is_left_out(payload: bytes) -> None:
    assert series([sent("a", payload)]) == {}


def test_only_the_last_values_are_drawn() -> None:
    found = series(sent("a", {"depth": n}) for n in range(200))
    assert found == {("a", "depth"): [float(n) for n in range(200 - VALUES, 200)]}


@pytest.mark.parametrize("values", [[1.0, 2.0], [5.0, 5.0, 5.0], [-1e299, 1e299], list(range(60))])
def test_the_curve_stays_in_its_frame_and_says_what_it_shows(values: list[float]) -> None:
    root = ET.fromstring(sparkline("creek/<a>", "depth", values))
    curve = root.find("svg")
    assert curve is not None
    assert curve.get("role") == "img"
    said = f"{values[-1]:.6g} (lowest {min(values):.6g}, highest {max(values):.6g}, "
    assert (curve.get("aria-label") or "").startswith(f"Curve of depth on creek/<a>: {said}")
    assert said in "".join(root.itertext())
    line = curve.find("polyline")
    assert line is not None
    points = [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]
    assert len(points) == len(values)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    # Higher is higher up.
    assert (points[0][1] > points[-1][1]) == (values[0] < values[-1])
