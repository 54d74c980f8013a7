"""The time for which AWS IoT keeps the session of a client that is away, written like ``"1h"``."""

from __future__ import annotations

import re

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MAX_SESSION_EXPIRY = 7 * SECONDS["d"]


def parse_session_expiry(text: str) -> int:
    """Return the seconds in a duration such as ``"90s"``, ``"30m"``, ``"1h"`` or ``"7d"``.

    Raises
    ------
    ValueError
        If it is no such duration, or longer than AWS allows.
    """
    match = re.fullmatch(r"(\d+)([smhd])", text)
    seconds = 0 if match is None else int(match[1]) * SECONDS[match[2]]
    if not 0 < seconds <= MAX_SESSION_EXPIRY:
        raise ValueError(
            f"The session is {text!r}, which is not a duration from 1s to 7d. Write it as a number "
            "and s, m, h or d, such as '1h'."
        )
    return seconds
