"""Memory and file handles of a process, as the operating system counts them."""

from __future__ import annotations

import ctypes
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


_MALLINFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _MallocInfo(ctypes.Structure):
    """The result of glibc's ``mallinfo2``."""

    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO.split()]


def allocated_bytes() -> int:
    """Return how much memory this process has in use, without what the C library keeps (glibc)."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _MallocInfo
    found = mallinfo()
    return int(found.uordblks + found.hblkhd)


def return_free_memory() -> int:
    """Return free memory to the system (glibc), and how many bytes that were."""
    before = resident_bytes()
    ctypes.CDLL(None).malloc_trim(0)
    return before - resident_bytes()


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the line that fits best (least squares), in values per unit of time."""
    middle = sum(times) / len(times)
    average = sum(values) / len(values)
    spread = sum((time - middle) ** 2 for time in times)
    pairs = zip(times, values, strict=True)
    return sum((time - middle) * (value - average) for time, value in pairs) / spread
