"""The tree of topics: what came below each level, in as many lines as there is room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.widgets.topic_tree import TopicTree


def tree(*topics: str, limit: int = 10_000) -> TopicTree:
    made = TopicTree(limit)
    for topic in topics:
        made.add(topic, topic.encode())
    return made


def lines(made: TopicTree, room: int = 100, search: str = "") -> list[tuple[int, str, int, int]]:
    return [(row.depth, row.level, row.messages, row.hidden) for row in made.rows(room, search)]


def test_levels_are_lines_and_count_what_came_below() -> None:
    made = tree("creek/a/depth", "creek/b/depth", "creek/a/depth", "other")
    assert lines(made) == [
        (0, "creek", 3, 0),
        (1, "a/depth", 2, 0),
        (1, "b/depth", 1, 0),
        (0, "other", 1, 0),
    ]
    assert made.topics == ["creek/a/depth", "creek/b/depth", "other"]
    assert len(made) == 3
    assert [row.topic for row in made.rows(100)] == [
        "creek",
        "creek/a/depth",
        "creek/b/depth",
        "other",
    ]


def test_a_topic_may_lie_on_the_way_to_another() -> None:
    made = tree("creek", "creek/a", "creek")
    assert lines(made) == [(0, "creek", 3, 0), (1, "a", 1, 0)]
    assert [row.last for row in made.rows(100)] == [b"creek", b"creek/a"]
    assert made.topics == ["creek", "creek/a"]


@pytest.mark.parametrize("topic", ["/", "/a", "a/", "a//b", " ", "$aws/things/a"])
def test_empty_levels_are_levels(topic: str) -> None:
    made = tree(topic)
    assert made.topics == [topic]
    assert [row.topic for row in made.rows(100)] == [topic]


def test_searching_shows_the_topics_that_hold_the_text() -> None:
    made = tree("creek/a/Depth", "creek/a/temperature", "creek/b/depth", "other")
    assert lines(made, search="dEPTH") == [
        (0, "creek", 2, 0),
        (1, "a/Depth", 1, 0),
        (1, "b/depth", 1, 0),
    ]
    assert lines(made, search="nothing") == []
    made.add("creek", b"")
    assert lines(made, search="depth")[0] == (0, "creek", 2, 0)


def test_what_has_no_room_is_told() -> None:
    made = tree(*(f"creek/{n:02}/depth" for n in range(10)), "a", "b")
    assert lines(made, room=5) == [
        (0, "a", 1, 0),
        (0, "b", 1, 0),
        (0, "creek", 10, 8),
        (1, "00/depth", 1, 0),
        (1, "01/depth", 1, 0),
    ]
    assert lines(made, room=2) == [(0, "a", 1, 0), (0, "b", 1, 0)]


def test_beyond_the_limit_messages_are_counted_and_topics_are_not_kept() -> None:
    made = tree("a", "b", "c", "a", "c/d", "a/x", limit=2)
    assert made.topics == ["a", "b"]
    assert made.unlisted == 3
    assert lines(made) == [(0, "a", 2, 0), (0, "b", 1, 0)]


def test_ten_thousand_topics_are_a_few_lines() -> None:
    made = tree(*(f"creek/{n // 100}/sensor/{n % 100}/depth" for n in range(10_050)))
    assert len(made) == 10_000
    assert made.unlisted == 50
    assert 40 <= len(made.rows(60)) <= 60
    assert {row.topic for row in made.rows(60, "creek/77/sensor/12/")} == {
        "creek/77/sensor/12/depth"
    }


levels = st.sampled_from(["", "a", "b", "cc"])
some_topics = st.lists(st.lists(levels, min_size=1, max_size=5).map("/".join), max_size=40)


@given(some_topics, st.integers(0, 30), st.sampled_from(["", "a", "/b"]))
def test_the_lines_tell_the_truth(topics: list[str], room: int, search: str) -> None:
    made = tree(*topics)
    found = [topic for topic in topics if search in topic]
    assert made.topics == sorted(set(topics))
    rows = made.rows(room, search)
    assert len(rows) <= room
    for row in rows:
        below = [each for each in found if each == row.topic or each.startswith(row.topic + "/")]
        assert row.messages == len(below)
        assert row.topics == len(set(below))
        assert (row.last is not None) == (row.topic in below)
    everything = made.rows(1_000, search)
    assert {row.topic for row in everything if row.last is not None} == set(found)
    assert all(row.hidden == 0 for row in everything)
