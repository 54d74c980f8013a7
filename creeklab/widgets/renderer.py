"""One thread that draws a view, soon after something changed and never more often than is bearable.

Messages arrive on the SDK's threads, clicks on the kernel's main thread or, in JupyterLab of today,
on one of its subshells. None of them draws: they change the model and call `Renderer.soon`. The
renderer's own thread then sets what is shown, and goes on while a cell runs.

How often: ten times a second, which looks smooth, and not more than `CHARACTERS` a second, as
Jupyter's server cuts a kernel off that sends more than a megabyte (``iopub_data_rate_limit``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

INTERVAL = 0.1
CHARACTERS = 250_000
CLOSE_TIMEOUT = 5.0


class Renderer:
    """Calls `draw` on a thread of its own.

    Parameters
    ----------
    draw
        Draws, and returns how many characters it sent to the browser. Never called twice at once.
    failed
        Called with what `draw` raised; drawing goes on.
    """

    def __init__(
        self,
        draw: Callable[[], int],
        failed: Callable[[Exception], None],
        *,
        interval: float = INTERVAL,
    ) -> None:
        self._draw = draw
        self._failed = failed
        self._interval = interval
        self._changed = threading.Condition()
        self._wanted = 0
        self._drawn = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="creeklab-renderer", daemon=True)
        self._thread.start()

    def soon(self) -> None:
        """Have it drawn soon. From any thread; returns at once."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until what has happened so far is drawn.

        Raises
        ------
        TimeoutError
            If it was not within `timeout` seconds.
        """
        with self._changed:
            wanted = self._wanted
            if not self._changed.wait_for(lambda: self._drawn >= wanted, timeout):
                raise TimeoutError(f"Nothing was drawn within {timeout:g} s.")

    def close(self) -> None:
        """Draw no more, and wait until the thread has ended."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted > self._drawn or self._closed.is_set())
                wanted = self._wanted
            if self._closed.is_set():
                return
            sent = 0
            try:
                sent = self._draw()
            except Exception as error:
                self._failed(error)
            with self._changed:
                self._drawn = wanted
                self._changed.notify_all()
            # What comes in meanwhile is drawn together.
            self._closed.wait(pause(sent, self._interval))


def pause(sent: int, interval: float = INTERVAL) -> float:
    """Return the seconds to wait after a drawing that sent so many characters."""
    return max(interval, sent / CHARACTERS)
