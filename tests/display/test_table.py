"""Tables as text and as a page."""

from __future__ import annotations

import pytest

from creeklab.display.table import html_table, text_table


@pytest.mark.parametrize(
    ("rows", "options", "text"),
    [
        ([], {}, ""),
        ([], {"min_width": 6}, ""),
        ([("a", "b")], {}, "a  b"),
        ([("thing", "Test2"), ("policy", "All")], {}, "thing   Test2\npolicy  All"),
        ([("OK", "disk"), ("", "Do: x")], {"min_width": 7}, "OK       disk\n         Do: x"),
        ([("skipped", "disk")], {"min_width": 3}, "skipped  disk"),
        ([("", "USD"), ("total", "1.5")], {"right": (1,)}, "       USD\ntotal  1.5"),
        ([("total", "", "1"), ("a", "", "10")], {"right": (1, 2)}, "total     1\na        10"),
        ([("a", ""), ("long", "x")], {}, "a\nlong  x"),
    ],
)
def test_columns_are_aligned(
    rows: list[tuple[str, ...]], options: dict[str, int], text: str
) -> None:
    assert text_table(rows, **options) == text  # type: ignore[arg-type]


def test_rows_must_have_the_same_number_of_cells() -> None:
    with pytest.raises(ValueError, match="zip"):
        text_table([("a", "b"), ("c",)])


def test_a_page_escapes_its_cells_and_marks_states() -> None:
    page = html_table(("", "step"), [("FAILED", "<b>"), ("WAIT", "x")], note="a < b", states=True)
    assert '<span class="creeklab-mark creeklab-bad">FAILED</span>' in page
    assert '<span class="creeklab-mark creeklab-plain">WAIT</span>' in page
    assert "&lt;b&gt;" in page
    assert "a &lt; b" in page
    assert "creeklab-mark creeklab" not in html_table(("kind",), [("OK",)])
