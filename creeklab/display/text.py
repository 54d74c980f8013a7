"""Wrap text for notebook output; JupyterLab would break inside words."""

from __future__ import annotations

import textwrap

WIDTH = 96


def wrap(text: str, first: str = "", following: str = "") -> str:
    """Return text in lines of at most `WIDTH` characters, with the given indents.

    A word without spaces, such as an ARN, stays in one piece so that it can be copied.
    """
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=following,
        break_on_hyphens=False,
        break_long_words=False,
    )
