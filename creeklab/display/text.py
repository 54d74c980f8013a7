"""Sentences that are printed in a notebook, broken at words: JupyterLab breaks within them."""

from __future__ import annotations

import textwrap

WIDTH = 96


def wrap(text: str, first: str = "", following: str = "") -> str:
    """Return a text in lines of at most `WIDTH` letters, with what the lines begin with.

    What has no space in it, such as an ARN, stays in one piece, to be copied.
    """
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=following,
        break_on_hyphens=False,
        break_long_words=False,
    )
