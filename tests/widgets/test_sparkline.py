"""Numbers in JSON as small charts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from creeklab.client.inbox import ReceivedMessage
from creeklab.widgets.sparkline import HEIGHT, MAX_BYTES, MAX_VALUES, WIDTH, series, sparkline


def sent(topic: str, document: Any) -> ReceivedMessage:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    return ReceivedMessage(topic, payload, 1, False)


def test_numbers_are_found_by_topic_and_path() -> None:
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
        b'{"a": 1, "b": "' + b"x" * MAX_BYTES + b'"}',
    ],
)
def test_values_that_cannot_be_drawn_are_left_out(payload: bytes) -> None:
    assert series([sent("a", payload)]) == {}


def test_only_the_last_values_are_drawn() -> None:
    found = series(sent("a", {"depth": n}) for n in range(200))
    assert found == {("a", "depth"): [float(n) for n in range(200 - MAX_VALUES, 200)]}


@pytest.mark.parametrize("values", [[1.0, 2.0], [5.0, 5.0, 5.0], [-1e299, 1e299], list(range(60))])
def test_the_chart_stays_in_its_frame_and_describes_itself(values: list[float]) -> None:
    root = ET.fromstring(sparkline("creek/<a>", "depth", values))
    chart = root.find("svg")
    assert chart is not None
    assert chart.get("role") == "img"
    summary = f"{values[-1]:.6g} (lowest {min(values):.6g}, highest {max(values):.6g}, "
    assert (chart.get("aria-label") or "").startswith(f"Chart of depth on creek/<a>: {summary}")
    assert summary in "".join(root.itertext())
    line = chart.find("polyline")
    assert line is not None
    points = [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]
    assert len(points) == len(values)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    # SVG counts y downward, so a larger value has a smaller y.
    assert (points[0][1] > points[-1][1]) == (values[0] < values[-1])
