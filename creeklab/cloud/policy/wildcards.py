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
_WILDCARD = re.compile(r"(?<!\$\{)([*?])")
_PIECE = re.compile(r"\$\{(?P<char>[*?$])\}|.", re.DOTALL)


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
    return _PIECE.sub(lambda piece: piece["char"] or piece[0], pattern)


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
        first, *rest = (_Segment(text) for text in _split_at_stars(pattern))
        self._first = first
        self._last = rest.pop() if rest else None
        self._middle = rest
        self._shortest = sum(each.length for each in (first, *rest, self._last) if each)

    def matches(self, text: str) -> bool:
        """Return whether the pattern matches the whole of `text`."""
        size = len(text)
        if size < self._shortest or not self._first.is_at(text, 0):
            return False
        if self._last is None:
            return size == self._first.length
        end = size - self._last.length
        if not self._last.is_at(text, end):
            return False
        position = self._first.length
        for segment in self._middle:
            found = segment.find(text, position, end)
            if found < 0:
                return False
            position = found + segment.length
        return True


class _Segment:
    """A part of a pattern between two stars; each None in `characters` matches any character."""

    __slots__ = ("_any", "_characters", "_literal", "_masks", "length")

    def __init__(self, characters: list[str | None]) -> None:
        self.length = len(characters)
        self._literal = None if None in characters else "".join(map(str, characters))
        self._characters = characters
        # Bit n of a mask tells whether the character can be at position n of the segment.
        self._any = 0
        self._masks: dict[str, int] = {}
        if self._literal is None:
            self._any = sum(1 << n for n, each in enumerate(characters) if each is None)
            for n, each in enumerate(characters):
                if each is not None:
                    self._masks[each] = self._masks.get(each, self._any) | 1 << n

    def is_at(self, text: str, position: int) -> bool:
        """Return whether the segment matches at this position."""
        if self._literal is not None:
            return text.startswith(self._literal, position)
        return all(
            each is None or each == actual
            for each, actual in zip(
                self._characters, text[position : position + self.length], strict=True
            )
        )

    def find(self, text: str, start: int, end: int) -> int:
        """Return the first position between `start` and `end` where it matches, or -1."""
        if self._literal is not None:
            return text.find(self._literal, start, end)
        if not self._masks:
            return start if start + self.length <= end else -1
        # Shift-And (Baeza-Yates and Gonnet): bit n of `state` tells whether the first n + 1
        # characters of the segment match here, so one pass over the text finds the segment.
        state, complete = 0, 1 << (self.length - 1)
        for position in range(start, end):
            state = (state << 1 | 1) & self._masks.get(text[position], self._any)
            if state & complete:
                return position - self.length + 1
        return -1


def _split_at_stars(pattern: str) -> list[list[str | None]]:
    segments: list[list[str | None]] = [[]]
    for run in _WILDCARD.split(pattern):
        if run == "*":
            segments.append([])
        elif run == "?":
            segments[-1].append(None)
        else:
            segments[-1] += plain(run)
    return segments


@lru_cache(maxsize=1024)
def glob(pattern: str) -> Glob:
    """Compile a filled pattern."""
    return Glob(pattern)


def covers(pattern: str, text: str) -> bool:
    """Return whether a filled pattern matches the whole of `text`."""
    if _SPECIAL.isdisjoint(pattern):
        return pattern == text  # most contain a client's name, so a cached glob would be used once
    return glob(pattern).matches(text)
