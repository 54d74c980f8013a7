"""What a process uses: memory and file handles, as the operating system counts them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
ON_LINUX = platform.system() == "Linux"


def open_handles(pid: int | None = None) -> int:
    """Return how many file handles a process has; without a number, this one."""
    return len(list(Path(f"/proc/{pid or 'self'}/fd").iterdir()))


def resident_bytes(pid: int | None = None) -> int:
    """Return how many bytes of memory a process has in use (RSS)."""
    return int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]) * PAGE


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the line that fits best (least squares), values a time."""
    middle = sum(times) / len(times)
    average = sum(values) / len(values)
    spread = sum((time - middle) ** 2 for time in times)
    pairs = zip(times, values, strict=True)
    return sum((time - middle) * (value - average) for time, value in pairs) / spread
