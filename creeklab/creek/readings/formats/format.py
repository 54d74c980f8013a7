"""A file format: its name, how to recognize it, and how to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from creeklab.creek.readings.building import Choices


@dataclass(frozen=True)
class Format:
    """A format.

    Parameters
    ----------
    name
        Its name, for messages.
    matches
        Returns whether a file has this format, from its first lines.
    read
        Returns the table of readings in a file.
    """

    name: str
    matches: Callable[[str], bool]
    read: Callable[[Path, Choices], pd.DataFrame]
