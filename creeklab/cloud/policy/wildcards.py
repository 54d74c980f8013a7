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


@lru_cache(maxsize=1024)
def glob(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a filled pattern; use it with ``fullmatch``.

    Each ``*`` except the last takes the shortest run that lets the text after it match, and never
    gives it back (an atomic group). Globs lose no match by that, and the time is bounded by the
    product of the two lengths instead of growing exponentially with the number of stars.
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
        return pattern == text  # most contain a client's name, so a cached regex would be used once
    return glob(pattern).fullmatch(text) is not None
