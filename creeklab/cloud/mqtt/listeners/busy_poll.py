"""Staying awake for a moment after a message, because the next one may be about to come.

With one message under way at a time, most of its time goes into waking the process up again. A
loop that has something to run does not sleep, so a callback that asks to be called again keeps it
awake: that costs a processor while messages come, and nothing when they do not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class BusyPoll:
    """Keeps the loop awake for `seconds` after each message.

    Parameters
    ----------
    loop
        The loop of the connections.
    timer
        Seconds that only go forward.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._timer = timer
        self._until = 0.0
        self._awake = False

    def on_receive(self) -> None:
        """Take note that a message has come."""
        self._until = self._timer() + self._seconds
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._timer() < self._until:
            self._loop.call_soon(self._turn)
        else:
            self._awake = False
