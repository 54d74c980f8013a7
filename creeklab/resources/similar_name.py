"""The question to ask about a name that is nearly right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" with the most similar known name; empty if none is similar."""
    by_lower = {each.lower(): each for each in known if each != name}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return f" Did you mean '{by_lower[close[0]]}'?" if close else ""
