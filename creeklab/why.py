"""The answer to "why was I refused?", as the local cloud's tape has it."""

from __future__ import annotations

import textwrap
from typing import Any

WIDTH = 96


class Why:
    """The last refusal, explained.

    Attributes
    ----------
    entry
        The tape's entry as a JSON object; None if nothing was refused.
    """

    def __init__(self, entry: dict[str, Any] | None) -> None:
        self.entry = entry

    @property
    def summary(self) -> str:
        """What was asked, why it was refused, and what to do."""
        if self.entry is None:
            return "Nothing was refused."
        return str(self.entry["refusal"]["summary"])

    def __repr__(self) -> str:
        if self.entry is None:
            return self.summary
        entry, refusal = self.entry, self.entry["refusal"]
        lines = [_wrapped(self.summary)]
        if entry.get("client_id"):
            lines.insert(0, f"Client id '{entry['client_id']}', {entry['kind']}: refused.")
        if refusal.get("findings"):
            lines.append("Statements that were looked at:")
        for finding in refusal.get("findings", []):
            differs = "; ".join(finding["differs"]) or "matches"
            found = (
                f"{finding['policy']}, statement {finding['statement'] + 1}, "
                f"{finding['effect']}: {differs}"
            )
            lines.append(_wrapped(found, "  ", "    "))
        return "\n".join(lines)


def _wrapped(text: str, first: str = "", following: str = "") -> str:
    # An ARN stays in one piece, to be copied.
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=following,
        break_on_hyphens=False,
        break_long_words=False,
    )
