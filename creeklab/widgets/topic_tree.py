"""The topics that were seen, as a tree: how many messages came below each level, and the last one.

Bounded: beyond `TOPICS` topics, messages are counted where the tree ends. Of a payload only the
beginning is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

TOPICS = 10_000
BEGINNING = 60


class Row(NamedTuple):
    """A line of the tree.

    Attributes
    ----------
    level
        What this line adds to the topic above it; several levels if nothing branches off there.
    messages, topics
        How many messages came on this topic and below, and how many topics there are.
    last
        Beginning of the last payload, if messages came on this very topic.
    hidden
        How many lines right below this one are not shown.
    """

    depth: int
    level: str
    topic: str
    messages: int
    topics: int
    last: bytes | None
    hidden: int


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    messages: int = 0
    topics: int = 0
    last: bytes | None = None


class TopicTree:
    """The topics of messages.

    Attributes
    ----------
    unlisted
        How many messages came on topics for which there was no room.
    """

    def __init__(self, limit: int = TOPICS) -> None:
        self._root = _Node()
        self._limit = limit
        self.unlisted = 0

    @property
    def topics(self) -> list[str]:
        """The topics, sorted."""
        return sorted(topic for topic, node in _walk(self._root, "") if node.last is not None)

    def __len__(self) -> int:
        return self._root.topics

    def add(self, topic: str, payload: bytes) -> None:
        """Count a message."""
        levels = topic.split("/")
        path = [self._root]
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                break
            path.append(child)
        new = len(path) <= len(levels) or path[-1].last is None
        if new and self._root.topics >= self._limit:
            self.unlisted += 1
            return
        for level in levels[len(path) - 1 :]:
            child = path[-1].children[level] = _Node()
            path.append(child)
        for node in path:
            node.messages += 1
            node.topics += new
        path[-1].last = payload[:BEGINNING]

    def rows(self, room: int, search: str = "") -> list[Row]:
        """Return at most `room` lines of the tree, the levels near the root first.

        Parameters
        ----------
        search
            Only topics in which this text occurs, in capital or small letters.
        """
        root = self._root if not search else self._found(search.lower())
        return list(_rows(root, "", 0, _opened(root, room)))

    def _found(self, search: str) -> _Node:
        """Return a tree of those topics that hold a text."""
        root = _Node()
        for topic, node in _walk(self._root, ""):
            if node.last is None or search not in topic.lower():
                continue
            # What came below this topic is not on it.
            own = node.messages - sum(child.messages for child in node.children.values())
            place = root
            place.messages += own
            place.topics += 1
            for level in topic.split("/"):
                place = place.children.setdefault(level, _Node())
                place.messages += own
                place.topics += 1
            place.last = node.last
        return root


def _walk(node: _Node, above: str) -> Iterator[tuple[str, _Node]]:
    for level, child in node.children.items():
        yield above + level, child
        yield from _walk(child, f"{above}{level}/")


def _opened(root: _Node, room: int) -> dict[int, int]:
    """Return which nodes to open, and how far, so that their lines have room.

    Level by level from the root; what room is left then goes to the first that had too little.
    """
    opened = {id(root): min(len(root.children), room)}
    room -= opened[id(root)]
    waiting: list[_Node] = []
    level = [*root.children.values()][: opened[id(root)]]
    while level:
        below: list[_Node] = []
        for node in level:
            # A line with a single one below it takes that one in, which costs no room.
            needed = 0 if _is_link(node) else len(node.children)
            if needed > room:
                waiting.append(node)
                continue
            room -= needed
            opened[id(node)] = len(node.children)
            below += node.children.values()
        level = below
    for node in waiting:
        opened[id(node)] = room
        room = 0
    return opened


def _is_link(node: _Node) -> bool:
    return len(node.children) == 1 and node.last is None


def _rows(node: _Node, above: str, depth: int, opened: dict[int, int]) -> Iterator[Row]:
    for level in sorted(node.children)[: opened[id(node)]]:
        child, shown = node.children[level], level
        while _is_link(child):
            (below,) = child.children
            child, shown = child.children[below], f"{shown}/{below}"
        listed = opened.get(id(child), 0)
        hidden = max(0, len(child.children) - listed)
        yield Row(depth, shown, above + shown, child.messages, child.topics, child.last, hidden)
        if listed:
            yield from _rows(child, f"{above}{shown}/", depth + 1, opened)
