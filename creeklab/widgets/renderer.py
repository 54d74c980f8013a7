"""One thread that draws a view soon after a change, at a limited rate.

Messages arrive on the SDK's threads; clicks arrive on the kernel's main thread or, in current
versions of JupyterLab, on one of its subshells. None of these threads draws: they change the model
and call `Renderer.request`. The renderer's own thread then sets what is shown, and keeps running
while a cell runs.

It draws at most ten times a second, which looks smooth, and sends at most `MAX_RATE` characters a
second, because Jupyter's server disconnects a kernel that sends more than a megabyte a second
(``iopub_data_rate_limit``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

INTERVAL = 0.1
MAX_RATE = 250_000
CLOSE_TIMEOUT = 5.0


class Renderer:
    """Calls `draw` on its own thread.

    Parameters
    ----------
    draw
        Draws, and returns the number of characters sent to the browser. Calls never overlap.
    failed
        Called with an exception of `draw`; drawing continues.
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
        self._requested = 0
        self._drawn = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="creeklab-renderer", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Request a drawing soon. From any thread; returns at once."""
        with self._changed:
            self._requested += 1
            self._changed.notify_all()

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until all requests so far are drawn, for at most `timeout` seconds."""
        with self._changed:
            requested = self._requested
            if not self._changed.wait_for(lambda: self._drawn >= requested, timeout):
                raise TimeoutError(f"The view was not drawn within {timeout:g} s.")

    def close(self) -> None:
        """Stop drawing, and wait until the thread has ended."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._requested > self._drawn or self._closed.is_set()
                )
                requested = self._requested
            if self._closed.is_set():
                return
            sent = 0
            try:
                sent = self._draw()
            except Exception as error:
                self._failed(error)
            with self._changed:
                self._drawn = requested
                self._changed.notify_all()
            # Requests during the pause are drawn together.
            self._closed.wait(pause(sent, self._interval))


def pause(sent: int, interval: float = INTERVAL) -> float:
    """Return the seconds to wait after a drawing that sent this many characters."""
    return max(interval, sent / MAX_RATE)
