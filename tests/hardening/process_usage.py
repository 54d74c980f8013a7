"""Memory and file handles of a process, as the operating system counts them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
ON_LINUX = platform.system() == "Linux"


def open_handles(pid: int | None = None) -> int:
    """Return the number of open file handles of a process, by default this one."""
    return len(list(Path(f"/proc/{pid or 'self'}/fd").iterdir()))


def resident_bytes(pid: int | None = None) -> int:
    """Return the resident memory of a process in bytes, by default this one."""
    return int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]) * PAGE


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the line that fits best (least squares), in values per unit of time."""
    middle = sum(times) / len(times)
    average = sum(values) / len(values)
    spread = sum((time - middle) ** 2 for time in times)
    pairs = zip(times, values, strict=True)
    return sum((time - middle) * (value - average) for time, value in pairs) / spread
