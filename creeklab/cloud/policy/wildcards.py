"""Patterns: the meaning of ``*``, ``?`` and ``${...}`` in a policy.

``*`` matches any run of characters, including ``/``, and ``?`` matches one; ``+`` and ``#`` are
ordinary characters. ``${name}`` is a variable; ``${*}``, ``${?}``, ``${$}`` (also ``$(*)`` and so
on) are the characters themselves. `fill` turns a pattern into a *filled* pattern: it replaces
variables by their values, and writes each ``$``, and each ``*`` or ``?`` from a value, in its
``${...}`` form. So nothing that a client chooses can act as a wildcard, and a filled pattern can
still be split at ``:`` and ``/``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_DOLLAR = re.compile(r"\$\{(?P<name>[^{}]+)\}|\$\((?P<char>[*?$])\)|\$")
_SPECIAL = frozenset("*?$")
_PIECE = re.compile(r"\$\{(?P<char>[*?$])\}|.", re.DOTALL)


def literal(text: str) -> str:
    """Return the filled pattern that matches `text` and nothing else."""
    return re.sub(r"[*?$]", r"${\g<0>}", text)


def plain(pattern: str) -> str:
    """Return a filled pattern for people, with ``${*}`` shown as ``*``."""
    return _PIECE.sub(lambda piece: piece["char"] or piece[0], pattern)


def fill(text: str, value_of: Callable[[str], str | None]) -> tuple[str, tuple[str, ...]]:
    """Replace the variables of a pattern.

    Returns
    -------
    tuple
        The filled pattern, with ``*`` for a variable without a value, and the names of those
        variables. If there are any, the pattern must not match anything.
    """
    missing: list[str] = []

    def replacement(found: re.Match[str]) -> str:
        name = found["name"] or found["char"] or "$"
        if name in ("*", "?", "$"):
            return literal(name)
        value = value_of(name)
        if value is None:
            missing.append(name)
            return "*"
        return literal(value)

    return _DOLLAR.sub(replacement, text), tuple(missing)


@lru_cache(maxsize=1024)
def glob(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a filled pattern; use it with ``fullmatch``.

    Each ``*`` except the last takes the shortest run that lets the text after it match, and never
    backtracks (an atomic group). For globs this loses no match, and it bounds the time by the
    product of the two lengths; with backtracking, it would grow exponentially with the stars.
    """
    runs = [""]
    for piece in _PIECE.finditer(pattern):
        if piece[0] == "*":
            runs.append("")
        else:
            runs[-1] += "." if piece[0] == "?" else re.escape(piece["char"] or piece[0])
    first, *rest = runs
    if rest:
        *inner, last = rest
        first += "".join(f"(?>.*?{run})" for run in inner if run) + ".*" + last
    return re.compile(first, re.DOTALL | flags)


def covers(pattern: str, text: str) -> bool:
    """Return whether a filled pattern matches the whole of `text`."""
    if _SPECIAL.isdisjoint(pattern):
        return pattern == text  # most contain the name of a client and are used once
    return glob(pattern).fullmatch(text) is not None
