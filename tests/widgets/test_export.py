"""Exported messages: nothing is lost."""

from __future__ import annotations

import base64
import csv
import io
import json

import pytest

from creeklab.client.inbox import ReceivedMessage
from creeklab.widgets.export import to_csv, to_frame, to_json_lines
from creeklab.widgets.message_log import LoggedMessage

MESSAGES = [
    LoggedMessage(3, 1_700_000_000.25, ReceivedMessage("creek/ü", b'{"depth": 1.4}', 1, True)),
    LoggedMessage(5, 1_700_000_001.0, ReceivedMessage("creek/b", b"\xc8\x01", 0, False)),
    LoggedMessage(
        6,
        1_700_000_002.0,
        ReceivedMessage(
            "creek/c",
            b'two\nlines, "quoted"',
            1,
            False,
            content_type="text/plain",
            response_topic="answer",
            correlation_data=b"\xff\x00",
            payload_format_indicator=1,
            message_expiry_interval=60,
            user_properties=(("a", "1"), ("a", "2")),
        ),
    ),
]


def test_json_lines_contain_complete_messages() -> None:
    rows = [json.loads(line) for line in to_json_lines(MESSAGES).splitlines()]
    assert rows[0] == {
        "number": 3,
        "time": "2023-11-14T22:13:20.250+00:00",
        "topic": "creek/ü",
        "payload": '{"depth": 1.4}',
        "qos": 1,
        "retain": True,
    }
    assert base64.b64decode(rows[1]["payload_base64"]) == b"\xc8\x01"
    assert "payload" not in rows[1]
    assert rows[2]["user_properties"] == [["a", "1"], ["a", "2"]]
    assert base64.b64decode(rows[2]["correlation_data"]) == b"\xff\x00"
    assert (rows[2]["content_type"], rows[2]["message_expiry_interval"]) == ("text/plain", 60)
    assert to_json_lines([]) == ""


def test_the_table_has_times_and_a_row_for_each_message() -> None:
    frame = to_frame(MESSAGES)
    assert list(frame.index) == [3, 5, 6]
    assert str(frame["time"].dt.tz) == "UTC"
    assert frame["time"].iloc[0].isoformat() == "2023-11-14T22:13:20.250000+00:00"
    assert frame["payload"].iloc[2] == 'two\nlines, "quoted"'
    assert frame["payload"].isna().tolist() == [False, True, False]
    empty = to_frame([])
    assert len(empty) == 0
    assert list(empty.columns) == list(frame.columns)


def test_csv_can_be_read_again() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(MESSAGES))))
    assert [row["topic"] for row in rows] == ["creek/ü", "creek/b", "creek/c"]
    assert rows[0]["time"] == "2023-11-14T22:13:20.250000Z"
    assert rows[2]["payload"] == 'two\nlines, "quoted"'
    assert json.loads(rows[2]["user_properties"]) == [["a", "1"], ["a", "2"]]
    assert rows[0]["user_properties"] == ""
    assert len(list(csv.DictReader(io.StringIO(to_csv([]))))) == 0


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(0)", "'=HYPERLINK(0)"),
        ("+1-1|cmd", "'+1-1|cmd"),
        ("-2+cmd", "'-2+cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("  =1", "'  =1"),
        ("-1.5", "-1.5"),
        ("+3", "+3"),
        ("depth = 1", "depth = 1"),
        ("'=1", "'=1"),
    ],
)
def test_a_spreadsheet_executes_nothing(text: str, cell: str) -> None:
    message = ReceivedMessage(text, text.encode(), 1, False, content_type=text)
    [row] = csv.DictReader(io.StringIO(to_csv([LoggedMessage(1, 0.0, message)]), newline=""))
    assert (row["topic"], row["payload"], row["content_type"]) == (cell, cell, cell)
