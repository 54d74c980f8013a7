"""Wildcards and variables: what ``*``, ``?`` and ``${...}`` mean in a policy.

``*`` matches any run of characters, ``/`` included, and ``?`` matches one; ``+`` and ``#`` are
ordinary characters. ``${name}`` is a variable; ``${*}``, ``${?}``, ``${$}`` (also ``$(*)`` and so
on) are the characters themselves. `fill` turns the text of a policy into a *filled* pattern:
variables are replaced by their values, and every ``$``, and every ``*`` and ``?`` in a value, takes
its ``${...}`` form. So nothing that a client chooses can act as a wildcard, and a filled pattern
can still be split at ``:`` and ``/``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_DOLLAR = re.compile(r"\$\{(?P<name>[^{}]+)\}|\$\((?P<char>[*?$])\)|\$")
_SPECIAL = frozenset("*?$")
_STAR, _QUESTION_MARK = re.compile(r"(?<!\$\{)\*"), re.compile(r"(?<!\$\{)\?")
_ESCAPE = re.compile(r"\$\{([*?$])\}")
_PREFIX = re.compile(r"[^*?$]*")


@lru_cache(maxsize=1024)  # a client's name fills all patterns of its policies
def literal(text: str) -> str:
    """Return the filled pattern that covers `text` and nothing else."""
    return re.sub(r"[*?$]", r"${\g<0>}", text)


def exactly(resource: str) -> str:
    """Return the text that a policy needs to cover `resource` alone, with ``$aws`` left readable.

    ``*`` is the exception: an action without narrower resources is requested on ``*`` itself.
    """
    return resource if resource == "*" else re.sub(r"[*?]|\$(?=[{(])", r"${\g<0>}", resource)


def plain(pattern: str) -> str:
    """Return a filled pattern for a message, with ``${*}`` shown as ``*``."""
    return _ESCAPE.sub(r"\1", pattern)


def fill(text: str, value_of: Callable[[str], str | None]) -> tuple[str, tuple[str, ...]]:
    """Replace the variables of a pattern.

    Returns
    -------
    tuple
        The filled pattern, in which a variable without a value has become ``*``, and the names of
        those variables. If there are any, the pattern must not match anything.
    """
    missing: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        name = match["name"] or match["char"] or "$"
        if name in ("*", "?", "$"):
            return literal(name)
        value = value_of(name)
        if value is None:
            missing.append(name)
            return "*"
        return literal(value)

    return _DOLLAR.sub(replacement, text), tuple(missing)


class Glob:
    """A compiled pattern.

    The pattern is cut at its stars. The first segment must match at the start of the text, the last
    one at its end, and each of the others at the first place after its predecessor: taking a later
    place never helps. So each character of the text is looked at once, and matching is linear in
    the text, whatever a client chooses as a topic or a client ID. (A regular expression backtracks:
    quadratically with two stars, and so on.)
    """

    __slots__ = ("_first", "_last", "_middle", "_shortest")

    def __init__(self, pattern: str) -> None:
        first, *rest = map(_segment, _STAR.split(pattern))
        self._first = first
        self._last = rest.pop() if rest else None
        self._middle = rest
        self._shortest = len(first) + sum(map(len, rest)) + len(self._last or "")

    def matches(self, text: str) -> bool:
        """Return whether the pattern matches the whole of `text`."""
        first, last, size = self._first, self._last, len(text)
        if size < self._shortest or not _starts(text, first, 0):
            return False
        if last is None:
            return size == len(first)
        position, end = len(first), size - len(last)
        if not _starts(text, last, end):
            return False
        for segment in self._middle:
            if isinstance(segment, str):
                found = text.find(segment, position, end)
            else:
                found = segment.find(text, position, end)
            if found < 0:
                return False
            position = found + len(segment)
        return True


class _Segment:
    """A part of a pattern between two stars that has a ``?``."""

    __slots__ = ("_any", "_characters", "_masks")

    def __init__(self, characters: list[str | None]) -> None:
        self._characters = characters  # None for ?
        # Bit n of a mask tells whether the character can be at position n of the segment.
        self._any = sum(1 << n for n, each in enumerate(characters) if each is None)
        self._masks: dict[str, int] = {}
        for n, each in enumerate(characters):
            if each is not None:
                self._masks[each] = self._masks.get(each, self._any) | 1 << n

    def __len__(self) -> int:
        return len(self._characters)

    def is_at(self, text: str, position: int) -> bool:
        """Return whether the segment matches at this position."""
        actual = text[position : position + len(self)]
        return all(
            each is None or each == one for each, one in zip(self._characters, actual, strict=True)
        )

    def find(self, text: str, start: int, end: int) -> int:
        """Return the first position between `start` and `end` where it matches, or -1."""
        # Shift-And (Baeza-Yates and Gonnet): bit n of `state` tells whether the first n + 1
        # characters of the segment match here, so one pass over the text finds the segment.
        state, complete = 0, 1 << (len(self) - 1)
        for position in range(start, end):
            state = (state << 1 | 1) & self._masks.get(text[position], self._any)
            if state & complete:
                return position - len(self) + 1
        return -1


def _segment(text: str) -> str | _Segment:
    if _SPECIAL.isdisjoint(text):
        return text
    runs = _QUESTION_MARK.split(text)
    characters: list[str | None] = list(plain(runs[0]))
    for run in runs[1:]:
        characters += (None, *plain(run))
    return _Segment(characters) if None in characters else plain(text)


def _starts(text: str, segment: str | _Segment, position: int) -> bool:
    if isinstance(segment, str):
        return text.startswith(segment, position)
    return segment.is_at(text, position)


@lru_cache(maxsize=4096)
def glob(pattern: str) -> Glob:
    """Compile a filled pattern."""
    return Glob(pattern)


def prefix(pattern: str) -> str:
    """Return a text with which everything begins that a filled pattern matches."""
    found = _PREFIX.match(pattern)
    return found[0] if found else ""


def covers(pattern: str, text: str) -> bool:
    """Return whether a filled pattern matches the whole of `text`."""
    if _SPECIAL.isdisjoint(pattern):
        return pattern == text  # most contain a client's name, so a cached glob would be used once
    return glob(pattern).matches(text)
