"""A recorded creek played as a device would measure it: one reading after the other.

A :class:`Replay` walks through a table of readings and hands each row to ``send``, in order and
once. What ``send`` returns decides when the reading counts as sent. If it is an acknowledgement to
come (a future, as :meth:`creeklab.client.device.Device.publish_soon` gives), then as soon as that
is here; meanwhile up to a ``window`` of others may be under way, which is what makes it fast. If it
is anything else, at once.

It keeps its place. When a reading fails, or the run is interrupted, what is under way has a moment
to arrive, the error goes to the caller untouched, and :meth:`Replay.run` later goes on with what
is missing, and only that. Given a file, it keeps its place there too, and another process goes on
after a crash. The price is the one every device pays: a reading whose acknowledgement was lost
counts as not sent, even if it did arrive. So it may arrive twice, and whoever keeps readings knows
them by their time.

The schedule is absolute. Each reading is due at the start of the run plus its distance from the
first reading divided by ``speed``, so a slow ``send`` delays what follows only until the replay has
caught up, and waits do not add up to a drift.
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
from creeklab.creek.sensor.replay_position import ReplayPosition, recording_id

# No elapsed time in it: what the bar shows before the first reading is then always the same text,
# which is the text that a notebook stores and nbval compares.
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{remaining} left, {rate_fmt}]"

ACK_TIMEOUT = 30.0  # for an acknowledgement; a lost connection mends itself in less
DRAIN_TIMEOUT = 1.0  # for all that is under way when a run breaks off
SAVE_INTERVAL = 0.5  # at full speed; with time between two readings, the place is saved after each
_ROWS = 4096  # made into readings at once


class Reading(NamedTuple):
    """What a device measured at one moment; None stands for what it did not measure.

    Parameters
    ----------
    time
        When it was measured, UTC.
    depth
        Stage, in feet above the datum of its sensor. The tutorial's shadow calls it ``depth``.
    temperature
        Degrees Fahrenheit, as the tutorial's shadow shows it.
    """

    time: datetime
    depth: float | None = None
    temperature: float | None = None

    def message(self) -> dict[str, str | float]:
        """Give the reading as a JSON object: ``time`` (ISO 8601) and what was measured.

        What was not measured is left out, because JSON has no NaN and a null would erase the
        last known value from a Device Shadow.
        """
        said: dict[str, str | float] = {"time": self.time.isoformat().replace("+00:00", "Z")}
        if self.depth is not None:
            said["depth"] = self.depth
        if self.temperature is not None:
            said["temperature"] = self.temperature
        return said


class Acknowledgement(Protocol):
    """What ``send`` may return: that a reading is under way. A future is one."""

    def done(self) -> bool:
        """Say whether the answer is here."""

    def result(self, timeout: float | None = None) -> object:
        """Wait for the answer; raise if it is a refusal, or does not come in time (seconds)."""


class _Here:
    """An acknowledgement that is here: for what was sent at once, and for what there is not."""

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> None:
        return None


_SENT, _SKIPPED = _Here(), _Here()


class Replay:
    """Play a table of readings to ``send``.

    Parameters
    ----------
    readings
        Indexed by time with a time zone, strictly increasing. Column ``stage_ft`` and, if there
        is one, a temperature (``water_temperature_degC``, ``box_temperature_degC``, ...); NaN where
        nothing was measured. A row with nothing measured at all is skipped and counted.
    send
        Called with each :class:`Reading`. Raises if it cannot be sent; returns an
        :class:`Acknowledgement` to wait for, or anything else when the reading is sent.
    speed
        How many times faster than the creek: 1 is real time, 3600 plays an hour of creek in a
        second. None is as fast as ``send`` takes them.
    window
        How many readings may wait for their acknowledgement. AWS IoT takes 100 of a connection.
    place
        A file to keep the place in, so that another process can go on after this one has died. If
        it is there, the replay goes on from it. Remove it to play from the beginning.
    faults
        What goes wrong (see :mod:`creeklab.creek.quality.fault_injection`): put into the readings;
        and during a network loss nothing is sent, but all that was measured in it as soon as it is
        over, if there is a speed.
    progress
        Show a progress bar.
    clock, sleep
        Seconds, and how to wait them.

    Attributes
    ----------
    sent : int
        Readings that have been sent, from the first on without a hole.
    skipped : int
        Rows among them in which nothing was measured.

    Raises
    ------
    ValueError
        The readings are no table of readings, the speed is no speed, or the place is not one in
        this recording; the message says which row, column or file is at fault.

    Examples
    --------
    >>> heard = []
    >>> stage = pd.DataFrame({"stage_ft": [1.5, 2.5]}, pd.date_range("2018", periods=2, tz="UTC"))
    >>> Replay(stage, heard.append, progress=False).run()
    Replay: 2 of 2 rows done (2 sent, 0 skipped)
    >>> heard[1].message()
    {'time': '2018-01-02T00:00:00Z', 'depth': 2.5}
    """

    def __init__(
        self,
        readings: pd.DataFrame,
        send: Callable[[Reading], Any],
        *,
        speed: float | None = None,
        window: int = 100,
        place: str | Path | None = None,
        faults: Iterable[Fault] = (),
        progress: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if speed is not None and not 0 < speed < math.inf:
            raise ValueError(
                f"speed is {speed}, but it says how many times faster than the creek to play:"
                " a number above 0, such as 3600 for an hour a second, or None for as fast as it"
                " goes."
            )
        if window < 1:
            raise ValueError(f"window is {window}, but at least one reading has to be under way.")
        faults = list(faults)
        readings = inject(readings, faults)
        self._times = times(readings)
        self._stage = numbers(readings, STAGE)
        self._fahrenheit = _fahrenheit(readings)
        self._due = _seconds(send_times(self._times, faults))
        self._send, self._speed, self._window = send, speed, window
        self._progress, self._clock, self._sleep = progress, clock, sleep or self._sleep_or_wish

        self._file = None if place is None else Path(place)
        recording = recording_id([_seconds(self._times), self._stage, self._fahrenheit])
        start = (
            ReplayPosition(recording)
            if self._file is None
            else ReplayPosition.load(self._file, recording)
        )
        self._recording = recording
        self.sent, self.skipped = start.sent, start.skipped
        # Rows that arrived beyond one that did not.
        self._ahead = set(start.ahead)
        # What is under way: the first row that is not done, and those after it.
        self._under_way: deque[Acknowledgement] = deque()
        self._bar: tqdm[Any] | None = None
        self._saved = -math.inf
        # When this run's schedule began, and with which of the dues.
        self._origin: tuple[float, float] | None = None
        self._wish: Literal["go", "pause", "stop"] = "go"
        self._wishes = threading.Condition()

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

    # --- what another thread may ask for ----------------------------------------------------------

    def stop(self) -> None:
        """End the run that is going on, once what is under way has arrived. Run again to go on."""
        self._ask("stop")

    def pause(self) -> None:
        """Let the run that is going on wait for :meth:`resume`."""
        self._ask("pause")

    def resume(self) -> None:
        """Let a paused run go on. Its schedule begins anew with the next reading."""
        self._ask("go")

    def _ask(self, wish: Literal["go", "pause", "stop"]) -> None:
        with self._wishes:
            self._wish = wish
            self._wishes.notify_all()

    def _sleep_or_wish(self, seconds: float) -> None:
        with self._wishes:
            self._wishes.wait_for(lambda: self._wish != "go", seconds)

    def _may_go_on(self) -> bool:
        """Wait while paused; say whether to go on."""
        with self._wishes:
            self._wishes.wait_for(lambda: self._wish != "pause")
            self._origin = None
            return self._wish == "go"

    # --- the run ----------------------------------------------------------------------------------

    def run(self) -> Self:
        """Send what is left, and return when the last reading is sent, or after :meth:`stop`.

        Raises
        ------
        Exception
            Whatever ``send`` raises, or an acknowledgement: a TimeoutError if it did not come
            within half a minute. Run again to go on with that reading.
        """
        self._ask("go")
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
                self._part()
                self._save()
        return self

    def _play(self) -> None:
        under_way, ahead = self._under_way, self._ahead
        for row, reading in enumerate(self._readings(self._done), self._done):
            if reading is None:
                under_way.append(_SKIPPED)
            elif row in ahead:
                ahead.remove(row)
                under_way.append(_SENT)
            else:
                while not self._is_time(row):
                    self._drain()
                    self._save()
                    if not self._may_go_on():
                        return
                answer = self._send(reading)
                under_way.append(answer if hasattr(answer, "result") else _SENT)
            if len(under_way) >= self._window:
                # Not for the oldest alone: to wake up for each would cost more than to send it.
                under_way[len(under_way) // 2].result(ACK_TIMEOUT)
                under_way[0].result(ACK_TIMEOUT)
                self._settle()
            elif under_way[0].__class__ is _Here:
                self._settle()
        self._drain()

    def _is_time(self, row: int) -> bool:
        """Wait until a row is due; say whether it still is to be sent then."""
        if self._speed is not None:
            if self._origin is None:
                self._origin = self._clock(), self._due[row]
            start, first = self._origin
            moment = start + (self._due[row] - first) / self._speed
            if moment > self._clock():
                self._drain()
                self._save()
            while self._wish == "go" and (wait := moment - self._clock()) > 0:
                self._sleep(wait)
        return self._wish == "go"

    def _settle(self) -> None:
        """Count what has arrived, from the oldest on, up to the first that has not."""
        while self._under_way and self._under_way[0].done():
            self._under_way[0].result()
            self._count(self._under_way.popleft())
        self._show()
        if self._clock() - self._saved > SAVE_INTERVAL:
            self._save()

    def _drain(self) -> None:
        """Wait until everything that is under way has arrived."""
        while self._under_way:
            self._under_way[0].result(ACK_TIMEOUT)
            self._settle()

    def _part(self) -> None:
        """Give what is still under way a moment, and remember what of it arrives."""
        end = time.monotonic() + DRAIN_TIMEOUT
        under_way = list(self._under_way)
        self._under_way.clear()
        for row, answer in enumerate(under_way, self._done):
            if _arrives(answer, end):
                if row == self._done:
                    self._count(answer)
                elif answer is not _SKIPPED:
                    self._ahead.add(row)
        self._show()

    def _count(self, answer: Acknowledgement) -> None:
        if answer is _SKIPPED:
            self.skipped += 1
        else:
            self.sent += 1

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._done - self._bar.n)

    def _save(self) -> None:
        self._saved = self._clock()
        if self._file is not None:
            ahead = sorted(self._ahead)
            ReplayPosition(self._recording, self.sent, self.skipped, ahead).save(self._file)

    def _readings(self, row: int) -> Iterator[Reading | None]:
        """Make readings of the rows from one on; None where nothing was measured."""
        for first in range(row, len(self._times), _ROWS):
            rows = slice(first, first + _ROWS)
            for moment, depth, temperature in zip(
                self._times[rows].to_pydatetime(),
                self._stage[rows].tolist(),
                self._fahrenheit[rows].tolist(),
                strict=True,
            ):
                # NaN is what is not equal to itself.
                known, warm = depth == depth, temperature == temperature
                yield (
                    Reading(moment, depth if known else None, temperature if warm else None)
                    if known or warm
                    else None
                )


def _arrives(answer: Acknowledgement, end: float) -> bool:
    try:
        answer.result(max(0.0, end - time.monotonic()))
    except Exception:
        return False
    return True


def _fahrenheit(readings: pd.DataFrame) -> NDArray[np.float64]:
    """Take the temperature of a table, if there is one, in the unit in which it is shown."""
    for column in readings:
        if str(column).endswith("temperature_degC"):
            # The published 0.1 degC is 0.18 degF: two decimals lose nothing.
            return np.round(numbers(readings, str(column)) * 9 / 5 + 32, 2)
    return np.full(len(readings), np.nan)


def _seconds(index: pd.DatetimeIndex) -> NDArray[np.float64]:
    return index.as_unit("us").asi8 / 1e6
