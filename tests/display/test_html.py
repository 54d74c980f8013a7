"""HTML building blocks: everything that comes from outside stays text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.display.html import block, code, escape, heading, mark, payload_text, table, tag


class PageReader(HTMLParser):
    """Collects tags, attributes and text as a browser would."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


NASTY = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "&lt;b&gt;",
    "</pre></td><h1>",
]


@pytest.mark.parametrize("text", NASTY)
def test_html_in_text_is_shown_as_text(text: str) -> None:
    page = tag("p", code(text), block(text), mark(text, "new"), heading(text), title=text)
    page += table([text], [[escape(text), escape(text)]], caption=text)
    result = PageReader(page)
    known = {"p", "code", "pre", "span", "div", "table", "caption", "thead", "tbody"}
    assert set(result.tags) <= known | {"tr", "th", "td"}
    assert result.text == text * 8
    assert ("title", text) in result.attributes


@given(st.text())
def test_no_text_becomes_a_tag_and_all_can_be_encoded(text: str) -> None:
    result = PageReader(tag("p", escape(text), title=text))
    assert result.tags == ["p"]
    result.text.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\0b", "a\\x00b"),
        ("a\u202eb", "a\\x202eb"),  # would reverse the rest of the line
        ("a\u200bb", "a\\x200bb"),
        ("\ud800", "\\xd800"),  # JSON can contain a lone surrogate
        ("two\r\nlines\tand a tab", "two\nlines\tand a tab"),
        ("Bäche", "Bäche"),
    ],
)
def test_invisible_characters_are_shown_as_code_points(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_a_long_text_is_cut_off_and_says_how_much_is_missing() -> None:
    page = block("x" * 131_072, clip=100)
    assert "x" * 100 + "</pre>" in page
    assert "… and 130,972 more characters" in page
    assert "more" not in block("x" * 100, clip=100)


def test_empty_attributes_are_left_out() -> None:
    assert tag("a", "b", class_="c", aria_label="d", title=None, hidden=False) == (
        '<a class="c" aria-label="d">b</a>'
    )
    assert tag("a", hidden=True) == '<a hidden=""></a>'


@pytest.mark.parametrize(
    ("payload", "kind", "text"),
    [
        (b'{"depth":1.4}', "JSON", '{\n  "depth": 1.4\n}'),
        (b"1.4", "JSON", "1.4"),
        (b"", "empty", ""),
        (b"{depth: 1.4}", "text", "{depth: 1.4}"),
        (b'{"depth": 1.4', "text", '{"depth": 1.4'),
        ("Bäche\n".encode(), "text", "Bäche\n"),
        (b"\x98\x01\x2a\x08", "binary", "98 01 2a 08"),
        (b"\x01\x02", "binary", "01 02"),  # UTF-8, but not text
        (b"[" * 100_000, "text", "[" * 100_000),
        (b'"\\ud800"', "JSON", '"\ud800"'),
    ],
)
def test_the_kind_of_a_payload(payload: bytes, kind: str, text: str) -> None:
    assert payload_text(payload) == (kind, text)
