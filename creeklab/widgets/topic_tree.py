"""The topics of all messages as a tree, with the number of messages below each level and the last.

The tree is bounded: it keeps at most `MAX_TOPICS` topics and the start of each last payload.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_TOPICS = 10_000
PREVIEW_BYTES = 60


class Row(NamedTuple):
    """A line of the tree.

    Attributes
    ----------
    level
        The part of the topic below the line above; several levels if there is no branch.
    messages, topics
        Their numbers on this topic and below.
    last
        The start of the last payload, if there were messages on this very topic.
    hidden
        The number of lines directly below this one that are not shown.
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
        The number of messages on topics beyond the limit.
    """

    def __init__(self, limit: int = MAX_TOPICS) -> None:
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
        path[-1].last = payload[:PREVIEW_BYTES]

    def rows(self, max_rows: int, search: str = "") -> list[Row]:
        """Return at most `max_rows` lines of the tree, starting with the levels near the root.

        Parameters
        ----------
        search
            Return only topics that contain this text, ignoring case.
        """
        root = self._root if not search else self._search(search.lower())
        return list(_rows(root, "", 0, _expand(root, max_rows)))

    def _search(self, search: str) -> _Node:
        """Return a tree of the topics that contain a text."""
        root = _Node()
        for topic, node in _walk(self._root, ""):
            if node.last is None or search not in topic.lower():
                continue
            # Messages below this topic do not belong to it.
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


def _expand(root: _Node, max_rows: int) -> dict[int, int]:
    """Return the number of children to show for each node, by the node's id.

    Rows are given out level by level from the root; the rest goes to the first node that needed
    more than there were.
    """
    expanded = {id(root): min(len(root.children), max_rows)}
    left = max_rows - expanded[id(root)]
    waiting: list[_Node] = []
    level = [*root.children.values()][: expanded[id(root)]]
    while level:
        below: list[_Node] = []
        for node in level:
            # A line with a single line below it absorbs that one, which takes no extra row.
            needed = 0 if _is_link(node) else len(node.children)
            if needed > left:
                waiting.append(node)
                continue
            left -= needed
            expanded[id(node)] = len(node.children)
            below += node.children.values()
        level = below
    for node in waiting:
        expanded[id(node)] = left
        left = 0
    return expanded


def _is_link(node: _Node) -> bool:
    return len(node.children) == 1 and node.last is None


def _rows(node: _Node, above: str, depth: int, expanded: dict[int, int]) -> Iterator[Row]:
    for level in sorted(node.children)[: expanded[id(node)]]:
        child, name = node.children[level], level
        while _is_link(child):
            (below,) = child.children
            child, name = child.children[below], f"{name}/{below}"
        visible = expanded.get(id(child), 0)
        hidden = max(0, len(child.children) - visible)
        yield Row(depth, name, above + name, child.messages, child.topics, child.last, hidden)
        if visible:
            yield from _rows(child, f"{above}{name}/", depth + 1, expanded)
