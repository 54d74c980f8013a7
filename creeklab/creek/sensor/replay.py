"""Play a recorded creek as a device would measure it, one reading after the other.

A :class:`Replay` goes through a table of readings and passes each row to ``send``, once and in
order. If ``send`` returns an acknowledgment that is still to come (a future), the reading counts as
sent when it arrives; meanwhile, up to ``window`` other readings can be in flight, which makes the
replay fast. If ``send`` returns anything else, the reading counts as sent at once.

The replay keeps its position. If a reading fails or the run is interrupted, readings in flight get
a moment to arrive, and the caller gets the original error. :meth:`Replay.run` then resumes with the
missing readings, and only those. With a position file, another process can resume after a crash. As
with every device, a reading whose acknowledgment was lost counts as not sent, even if it arrived,
so it may arrive twice. A history identifies readings by their time.

The schedule is absolute. Each reading is due at the start of the run plus its distance from the
first reading divided by ``speed``. A slow ``send`` delays the following readings only until the
replay has caught up, and delays do not add up.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from creeklab.creek.quality.fault_injection import Fault, inject, send_times
from creeklab.creek.readings.samples import STAGE, numbers, times
from creeklab.creek.readings.time_series import seconds
from creeklab.creek.sensor.replay_position import ReplayPosition, recording_id

# Without the elapsed time, the bar before the first reading is always the same text. A notebook
# stores that text, and nbval compares it.
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{remaining} left, {rate_fmt}]"

ACK_TIMEOUT = 30.0  # A lost connection is usually restored sooner.
DRAIN_TIMEOUT = 1.0  # for all readings in flight when a run is interrupted
SAVE_INTERVAL = 0.5  # at full speed; otherwise the position is saved before each wait
_CHUNK_ROWS = 4096  # converted to readings at once


class Reading(NamedTuple):
    """One measurement of a device; None stands for a value that was not measured.

    Parameters
    ----------
    time
        Time of the measurement, UTC.
    depth
        Stage in feet above the datum of the sensor. The tutorial's shadow calls it ``depth``.
    temperature
        Temperature in degrees Fahrenheit, as in the tutorial's shadow.
    """

    time: datetime
    depth: float | None = None
    temperature: float | None = None

    def message(self) -> dict[str, str | float]:
        """Return the reading as a JSON object: ``time`` (ISO 8601) and the measured values.

        Values that were not measured are left out: JSON has no NaN, and a null would erase the last
        known value from a Device Shadow.
        """
        message: dict[str, str | float] = {"time": self.time.isoformat().replace("+00:00", "Z")}
        if self.depth is not None:
            message["depth"] = self.depth
        if self.temperature is not None:
            message["temperature"] = self.temperature
        return message


class Acknowledgment(Protocol):
    """What ``send`` may return for a reading in flight, such as a future."""

    def done(self) -> bool:
        """Return whether the answer has arrived."""

    def result(self, timeout: float | None = None) -> object:
        """Wait for the answer; raise if it is a rejection or does not arrive in time (seconds)."""


class _Done:
    """An acknowledgment that has arrived."""

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> None:
        return None


_SENT, _SKIPPED = _Done(), _Done()


class Replay:
    """Play a table of readings to ``send``.

    Parameters
    ----------
    readings
        Indexed by time with a time zone, strictly increasing. Column ``stage_ft`` and possibly a
        temperature (``water_temperature_degC``, ``box_temperature_degC``, ...); NaN where nothing
        was measured. A row with no measured value is skipped and counted.
    send
        Called with each :class:`Reading`. Raises if it cannot be sent; returns an
        :class:`Acknowledgment` to wait for, or anything else if the reading has been sent.
    speed
        How many times faster than the creek: 1 is real time, 3600 plays an hour per second. None is
        as fast as possible.
    window
        How many readings may be in flight; brokers limit this number per connection.
    position_file
        A file that keeps the position, so that another process can resume after this one has died.
        If it exists, the replay resumes from it. Remove it to play from the beginning.
    faults
        Faults to inject into the readings (see :mod:`creeklab.creek.quality.fault_injection`). If
        there is a speed, nothing is sent during a network loss, and its readings follow right
        after.
    progress
        Show a progress bar.
    clock, sleep
        Functions that return the time and wait, both in seconds.

    Attributes
    ----------
    sent : int
        Readings sent, from the first on without a hole.
    skipped : int
        Rows among them in which nothing was measured.

    Raises
    ------
    ValueError
        If this is not a table of readings, the speed or the window is invalid, or the position file
        does not belong to this recording; the message names the row, column or file.

    Examples
    --------
    >>> received = []
    >>> stage = pd.DataFrame({"stage_ft": [1.5, 2.5]}, pd.date_range("2018", periods=2, tz="UTC"))
    >>> Replay(stage, received.append, progress=False).run()
    Replay: 2 of 2 rows done (2 sent, 0 skipped)
    >>> received[1].message()
    {'time': '2018-01-02T00:00:00Z', 'depth': 2.5}
    """

    def __init__(
        self,
        readings: pd.DataFrame,
        send: Callable[[Reading], Any],
        *,
        speed: float | None = None,
        window: int = 100,
        position_file: str | Path | None = None,
        faults: Iterable[Fault] = (),
        progress: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if speed is not None and not 0 < speed < math.inf:
            raise ValueError(
                f"speed is {speed}. It must be a number above 0, such as 3600 to play an hour per"
                " second, or None to play as fast as possible."
            )
        if window < 1:
            raise ValueError(f"window is {window}. It must be at least 1.")
        faults = list(faults)
        readings = inject(readings, faults)
        self._times = times(readings)
        self._stage = numbers(readings, STAGE)
        self._fahrenheit = _fahrenheit(readings)
        self._due = seconds(send_times(self._times, faults))
        self._send, self._speed, self._window = send, speed, window
        self._progress, self._clock = progress, clock
        self._sleep = sleep or self._sleep_until_command

        self._file = None if position_file is None else Path(position_file)
        self._recording = recording_id([seconds(self._times), self._stage, self._fahrenheit])
        start = ReplayPosition.load(self._file, self._recording)
        self.sent, self.skipped = start.sent, start.skipped
        # Rows that arrived, although an earlier one did not.
        self._ahead = set(start.ahead)
        # Acknowledgments of the first row that is not done and of those after it.
        self._in_flight: deque[Acknowledgment] = deque()
        self._bar: tqdm[Any] | None = None
        self._saved = -math.inf
        # When the schedule of this run started, and the due time of its first reading.
        self._origin: tuple[float, float] | None = None
        self._command: Literal["run", "pause", "stop"] = "run"
        self._command_changed = threading.Condition()

    def __repr__(self) -> str:
        return (
            f"Replay: {self._done} of {len(self._times)} rows done"
            f" ({self.sent} sent, {self.skipped} skipped)"
        )

    @property
    def _done(self) -> int:
        return self.sent + self.skipped

    @property
    def next(self) -> datetime | None:
        """The time of the first row that is not done, or None at the end."""
        return self._times[self._done].to_pydatetime() if self._done < len(self._times) else None

    # --- commands from other threads --------------------------------------------------------------

    def stop(self) -> None:
        """Stop the current run when the readings in flight have arrived. Call run to resume."""
        self._set_command("stop")

    def pause(self) -> None:
        """Pause the current run until :meth:`resume`."""
        self._set_command("pause")

    def resume(self) -> None:
        """Resume a paused run. Its schedule starts again with the next reading."""
        self._set_command("run")

    def _set_command(self, command: Literal["run", "pause", "stop"]) -> None:
        with self._command_changed:
            self._command = command
            self._command_changed.notify_all()

    def _sleep_until_command(self, seconds: float) -> None:
        with self._command_changed:
            self._command_changed.wait_for(lambda: self._command != "run", seconds)

    def _wait_while_paused(self) -> bool:
        """Wait while paused; return whether to continue."""
        with self._command_changed:
            self._command_changed.wait_for(lambda: self._command != "pause")
            self._origin = None
            return self._command == "run"

    # --- the run ----------------------------------------------------------------------------------

    def run(self) -> Self:
        """Send the remaining readings; return when the last one is sent, or after :meth:`stop`.

        Raises
        ------
        Exception
            Any error from ``send`` or from an acknowledgment, such as a TimeoutError if it does not
            arrive within half a minute. Call run again to resume with that reading.
        """
        self._set_command("run")
        self._origin = None
        if self._done == len(self._times):
            return self
        with tqdm(
            total=len(self._times),
            initial=self._done,
            unit=" readings",
            bar_format=_BAR,
            disable=not self._progress,
        ) as self._bar:
            try:
                self._play()
            finally:
                self._collect_late()
                self._save()
        return self

    def _play(self) -> None:
        in_flight, ahead = self._in_flight, self._ahead
        for row, reading in enumerate(self._readings(self._done), self._done):
            if reading is None:
                in_flight.append(_SKIPPED)
            elif row in ahead:
                ahead.remove(row)
                in_flight.append(_SENT)
            else:
                while not self._wait_until_due(row):
                    self._drain()
                    self._save()
                    if not self._wait_while_paused():
                        return
                answer = self._send(reading)
                in_flight.append(answer if hasattr(answer, "result") else _SENT)
            if len(in_flight) >= self._window:
                # Wait for half the window: waking up for each acknowledgment would cost more than
                # sending.
                in_flight[len(in_flight) // 2].result(ACK_TIMEOUT)
                in_flight[0].result(ACK_TIMEOUT)
                self._count_acknowledged()
            elif in_flight[0].__class__ is _Done:
                self._count_acknowledged()
        self._drain()

    def _wait_until_due(self, row: int) -> bool:
        """Wait until a row is due; return whether to send it then."""
        if self._speed is not None:
            if self._origin is None:
                self._origin = self._clock(), self._due[row]
            start, first = self._origin
            moment = start + (self._due[row] - first) / self._speed
            if moment > self._clock():
                self._drain()
                self._save()
            while self._command == "run" and (wait := moment - self._clock()) > 0:
                self._sleep(wait)
        return self._command == "run"

    def _count_acknowledged(self) -> None:
        """Count the acknowledged readings, from the oldest up to the first missing one."""
        while self._in_flight and self._in_flight[0].done():
            self._in_flight[0].result()
            self._count(self._in_flight.popleft())
        self._update_bar()
        if self._clock() - self._saved > SAVE_INTERVAL:
            self._save()

    def _drain(self) -> None:
        """Wait until all readings in flight have arrived."""
        while self._in_flight:
            self._in_flight[0].result(ACK_TIMEOUT)
            self._count_acknowledged()

    def _collect_late(self) -> None:
        """Give readings in flight a moment, and remember those that arrive."""
        deadline = time.monotonic() + DRAIN_TIMEOUT
        in_flight = list(self._in_flight)
        self._in_flight.clear()
        for row, answer in enumerate(in_flight, self._done):
            if _is_acknowledged(answer, deadline):
                if row == self._done:
                    self._count(answer)
                elif answer is not _SKIPPED:
                    self._ahead.add(row)
        self._update_bar()

    def _count(self, answer: Acknowledgment) -> None:
        if answer is _SKIPPED:
            self.skipped += 1
        else:
            self.sent += 1

    def _update_bar(self) -> None:
        if self._bar is not None:
            self._bar.update(self._done - self._bar.n)

    def _save(self) -> None:
        self._saved = self._clock()
        if self._file is not None:
            ahead = sorted(self._ahead)
            ReplayPosition(self._recording, self.sent, self.skipped, ahead).save(self._file)

    def _readings(self, row: int) -> Iterator[Reading | None]:
        """Yield the rows from this one on as readings; None where nothing was measured."""
        for first in range(row, len(self._times), _CHUNK_ROWS):
            rows = slice(first, first + _CHUNK_ROWS)
            for moment, depth, temperature in zip(
                self._times[rows].to_pydatetime(),
                self._stage[rows].tolist(),
                self._fahrenheit[rows].tolist(),
                strict=True,
            ):
                # Only NaN is not equal to itself; math.isnan is slower.
                has_depth, has_temperature = depth == depth, temperature == temperature
                yield (
                    Reading(
                        moment,
                        depth if has_depth else None,
                        temperature if has_temperature else None,
                    )
                    if has_depth or has_temperature
                    else None
                )


def _is_acknowledged(answer: Acknowledgment, deadline: float) -> bool:
    try:
        answer.result(max(0.0, deadline - time.monotonic()))
    except Exception:
        return False
    return True


def _fahrenheit(readings: pd.DataFrame) -> NDArray[np.float64]:
    """Return the temperature of a table in the unit in which it is shown, or NaN."""
    for column in readings:
        if str(column).endswith("temperature_degC"):
            # Sensors resolve 0.1 degC, which is 0.18 degF, so two decimals lose nothing.
            return np.round(numbers(readings, str(column)) * 9 / 5 + 32, 2)
    return np.full(len(readings), np.nan)
