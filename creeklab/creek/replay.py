"""A recorded creek played as a device would measure it: one reading after the other.

A :class:`Replay` walks through a table of readings and hands each row to ``send``, in order and
once. It keeps its place: when ``send`` raises, or the run is interrupted, the error goes to the
caller untouched and :meth:`Replay.run` later goes on with the very reading that failed. The price
of that is the one every device pays: a reading whose ``send`` raised counts as not sent, even if
it did arrive.

The schedule is absolute. Each reading is due at the start of the run plus its distance from the
first reading divided by ``speed``, so a slow ``send`` delays what follows only until the replay has
caught up, and waits do not add up to a drift.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from creeklab.creek.samples import STAGE, TEMPERATURE, numbers, times

# No elapsed time in it: what the bar shows before the first reading is then always the same text,
# which is the text that a notebook stores and nbval compares.
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{remaining} left, {rate_fmt}]"


@dataclass(frozen=True, slots=True)
class Reading:
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


class Replay:
    """Play a table of readings to ``send``.

    Parameters
    ----------
    readings
        Indexed by time with a time zone, strictly increasing. Column ``stage_ft`` and, if there
        is one, ``water_temperature_degC``; NaN where nothing was measured. A row with nothing
        measured at all is skipped and counted.
    send
        Called with each :class:`Reading`; returns when the reading is sent, raises if it is not.
    speed
        How many times faster than the creek: 1 is real time, 3600 plays an hour of creek in a
        second. None is as fast as ``send`` takes them.
    progress
        Show a progress bar.
    clock, sleep
        Seconds, and how to wait them.

    Attributes
    ----------
    sent : int
        Readings that ``send`` has taken.
    skipped : int
        Rows in which nothing was measured.

    Raises
    ------
    ValueError
        The readings are no table of readings, or the speed is no speed; the message says which
        row or column is at fault.

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
        send: Callable[[Reading], object],
        *,
        speed: float | None = None,
        progress: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if speed is not None and not 0 < speed < math.inf:
            raise ValueError(
                f"speed is {speed}, but it says how many times faster than the creek to play:"
                " a number above 0, such as 3600 for an hour a second, or None for as fast as it"
                " goes."
            )
        self._times = times(readings)
        self._stage = numbers(readings, STAGE)
        self._temperature = (
            numbers(readings, TEMPERATURE)
            if TEMPERATURE in readings
            else np.full(len(readings), np.nan)
        )
        self._send, self._speed, self._progress = send, speed, progress
        self._clock, self._sleep = clock, sleep
        self.sent = 0
        self.skipped = 0

    def __repr__(self) -> str:
        return (
            f"Replay: {self._row} of {len(self._times)} rows done"
            f" ({self.sent} sent, {self.skipped} skipped)"
        )

    @property
    def _row(self) -> int:
        return self.sent + self.skipped

    @property
    def next(self) -> datetime | None:
        """The time of the row that comes next, or None at the end.

        Another process goes on there with ``Replay(readings[readings.index >= next], send)``.
        """
        return self._time(self._row) if self._row < len(self._times) else None

    def run(self) -> Self:
        """Send what is left, and return when the last reading is sent.

        Raises
        ------
        Exception
            Whatever ``send`` raises. Run again to go on with the reading that failed.
        """
        if self._row == len(self._times):
            return self
        start, first = self._clock(), self._times[self._row]
        with tqdm(
            total=len(self._times),
            initial=self._row,
            unit=" readings",
            bar_format=_BAR,
            disable=not self._progress,
        ) as bar:
            while self._row < len(self._times):
                reading = self._reading(self._row)
                if reading is None:
                    self.skipped += 1
                else:
                    if self._speed is not None:
                        after = (self._times[self._row] - first).total_seconds() / self._speed
                        if (wait := start + after - self._clock()) > 0:
                            self._sleep(wait)
                    self._send(reading)
                    self.sent += 1
                bar.update()
        return self

    def _time(self, row: int) -> datetime:
        return self._times[row].to_pydatetime()

    def _reading(self, row: int) -> Reading | None:
        stage, celsius = float(self._stage[row]), float(self._temperature[row])
        if math.isnan(stage) and math.isnan(celsius):
            return None
        return Reading(
            self._time(row),
            depth=None if math.isnan(stage) else stage,
            # The published 0.1 degC is 0.18 degF: two decimals lose nothing.
            temperature=None if math.isnan(celsius) else round(celsius * 9 / 5 + 32, 2),
        )
