"""The question to ask about a name that is nearly right."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_DIGIT = re.compile(r"[0-9]")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" with the most similar known name; empty if none is similar."""
    # The names of a series, such as gauge-1 and gauge-2, are no slips of each other.
    series = _DIGIT.sub("0", name)
    by_lower = {each.lower(): each for each in known if _DIGIT.sub("0", each) != series}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return f" Did you mean '{by_lower[close[0]]}'?" if close else ""
