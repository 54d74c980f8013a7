"""How figures and pages show times and stages: in which time zone, and in feet or meters.

Readings are in UTC and feet everywhere else. A :class:`Display` converts them at the last moment,
so that a page in meters and local time comes from the same numbers as one in feet and UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from creeklab.creek.readings.times import check_zone

_METERS_PER_FT = 0.3048


@dataclass(frozen=True)
class Display:
    """The time zone and the unit in which to show readings.

    Parameters
    ----------
    zone
        A time zone, such as ``"America/New_York"``: of times, and of where days and years begin.
    metric
        Show stages in meters instead of feet.

    Raises
    ------
    ValueError
        If there is no such zone.
    """

    zone: str = "UTC"
    metric: bool = False

    def __post_init__(self) -> None:
        check_zone(self.zone)

    @property
    def unit(self) -> str:
        """The unit of stages: ft or m."""
        return "m" if self.metric else "ft"

    @property
    def label(self) -> str:
        """The label of an axis of stages."""
        return f"Stage above the gage's datum ({self.unit})"

    def convert(self, feet: Any) -> Any:
        """Return a number, an array or a table of feet in the unit shown."""
        return feet * _METERS_PER_FT if self.metric else feet

    def to_feet(self, shown: float) -> float:
        """Return a number in the unit shown in feet."""
        return shown / _METERS_PER_FT if self.metric else shown

    def stage(self, feet: float, form: str = ".2f") -> str:
        """Return a stage with its unit."""
        if self.metric and form == "g":
            form = ".4g"
        return f"{self.convert(feet):{form}} {self.unit}"

    def rate(self, ft_per_h: float, form: str = ".2f") -> str:
        """Return a rate of rise with its unit."""
        return f"{self.convert(ft_per_h):{form}} {self.unit}/h"

    def local(self, time: pd.Timestamp) -> pd.Timestamp:
        """Return a time in the zone."""
        return time.tz_convert(self.zone)

    def time(self, time: pd.Timestamp) -> str:
        """Return a time as text, with its zone."""
        return f"{self.minute(time)} {self.local(time).tzname()}"

    def minute(self, time: pd.Timestamp) -> str:
        """Return a time as text, without its zone."""
        return f"{self.local(time):%Y-%m-%d %H:%M}"

    def day(self, time: pd.Timestamp) -> str:
        """Return the day of a time as text."""
        return f"{self.local(time):%Y-%m-%d}"


DEFAULT = Display()
