"""The tree of topics: the messages below each level, in a limited number of lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.widgets.topic_tree import TopicTree


def tree(*topics: str, limit: int = 10_000) -> TopicTree:
    result = TopicTree(limit)
    for topic in topics:
        result.add(topic, topic.encode())
    return result


def lines(
    seen: TopicTree, max_rows: int = 100, search: str = ""
) -> list[tuple[int, str, int, int]]:
    return [(row.depth, row.level, row.messages, row.hidden) for row in seen.rows(max_rows, search)]


def test_levels_are_lines_and_count_the_messages_below() -> None:
    seen = tree("creek/a/depth", "creek/b/depth", "creek/a/depth", "other")
    assert lines(seen) == [
        (0, "creek", 3, 0),
        (1, "a/depth", 2, 0),
        (1, "b/depth", 1, 0),
        (0, "other", 1, 0),
    ]
    assert seen.topics == ["creek/a/depth", "creek/b/depth", "other"]
    assert len(seen) == 3
    assert [row.topic for row in seen.rows(100)] == [
        "creek",
        "creek/a/depth",
        "creek/b/depth",
        "other",
    ]


def test_a_topic_can_be_the_start_of_another() -> None:
    seen = tree("creek", "creek/a", "creek")
    assert lines(seen) == [(0, "creek", 3, 0), (1, "a", 1, 0)]
    assert [row.last for row in seen.rows(100)] == [b"creek", b"creek/a"]
    assert seen.topics == ["creek", "creek/a"]


@pytest.mark.parametrize("topic", ["/", "/a", "a/", "a//b", " ", "$aws/things/a"])
def test_empty_levels_are_levels(topic: str) -> None:
    seen = tree(topic)
    assert seen.topics == [topic]
    assert [row.topic for row in seen.rows(100)] == [topic]


def test_searching_shows_the_topics_that_contain_the_text() -> None:
    seen = tree("creek/a/Depth", "creek/a/temperature", "creek/b/depth", "other")
    assert lines(seen, search="dEPTH") == [
        (0, "creek", 2, 0),
        (1, "a/Depth", 1, 0),
        (1, "b/depth", 1, 0),
    ]
    assert lines(seen, search="nothing") == []
    seen.add("creek", b"")
    assert lines(seen, search="depth")[0] == (0, "creek", 2, 0)


def test_hidden_lines_are_counted() -> None:
    seen = tree(*(f"creek/{n:02}/depth" for n in range(10)), "a", "b")
    assert lines(seen, max_rows=5) == [
        (0, "a", 1, 0),
        (0, "b", 1, 0),
        (0, "creek", 10, 8),
        (1, "00/depth", 1, 0),
        (1, "01/depth", 1, 0),
    ]
    assert lines(seen, max_rows=2) == [(0, "a", 1, 0), (0, "b", 1, 0)]


def test_beyond_the_limit_messages_are_counted_and_topics_are_not_kept() -> None:
    seen = tree("a", "b", "c", "a", "c/d", "a/x", limit=2)
    assert seen.topics == ["a", "b"]
    assert seen.unlisted == 3
    assert lines(seen) == [(0, "a", 2, 0), (0, "b", 1, 0)]


def test_ten_thousand_topics_are_a_few_lines() -> None:
    seen = tree(*(f"creek/{n // 100}/sensor/{n % 100}/depth" for n in range(10_050)))
    assert len(seen) == 10_000
    assert seen.unlisted == 50
    assert 40 <= len(seen.rows(60)) <= 60
    assert {row.topic for row in seen.rows(60, "creek/77/sensor/12/")} == {
        "creek/77/sensor/12/depth"
    }


levels = st.sampled_from(["", "a", "b", "cc"])
some_topics = st.lists(st.lists(levels, min_size=1, max_size=5).map("/".join), max_size=40)


@given(some_topics, st.integers(0, 30), st.sampled_from(["", "a", "/b"]))
def test_the_lines_are_right(topics: list[str], max_rows: int, search: str) -> None:
    seen = tree(*topics)
    found = [topic for topic in topics if search in topic]
    assert seen.topics == sorted(set(topics))
    rows = seen.rows(max_rows, search)
    assert len(rows) <= max_rows
    for row in rows:
        below = [each for each in found if each == row.topic or each.startswith(row.topic + "/")]
        assert row.messages == len(below)
        assert row.topics == len(set(below))
        assert (row.last is not None) == (row.topic in below)
    everything = seen.rows(1_000, search)
    assert {row.topic for row in everything if row.last is not None} == set(found)
    assert all(row.hidden == 0 for row in everything)
