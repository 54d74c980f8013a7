"""Alarm rules for a creek, as one pure step: ``(state, reading) -> (state, alarms)``.

The step needs nothing but the standard library and no clock, so this file alone can run in an AWS
Lambda function, in a device, or over a recorded creek. The state is small and goes through JSON
(:meth:`State.to_json`), so it can be stored between two calls.

Four rules watch a creek:

- **Threshold.** An alarm when the stage rises above one stage, and an all-clear when it falls below
  a lower one (hysteresis), so that a creek that hovers at the threshold raises one alarm.
- **Rate of rise.** An alarm for a landmark that the creek will reach within some minutes if it
  keeps rising as in the last half hour. Each landmark raises one alarm until the all-clear.
- **Silence.** An alarm when no reading has arrived for some minutes. Someone must call
  :func:`check_silence` now and then, because a silent sensor calls nobody.
- **Doubtful readings.** A reading that is missing, outside the sensor's span, or far from the last
  good one is doubtful and raises no alarm by itself. If the next reading confirms it, it counts;
  after a run of doubtful readings, the sensor raises an alarm instead of the creek.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

Kind = Literal["flood", "all-clear", "rising", "silent", "back", "doubtful"]

_RATE_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one creek. The defaults suit Plumtree Run, one reading every five minutes.

    Parameters
    ----------
    high_ft, low_ft
        A flood starts above the first, and is over below the second.
    landmarks
        Stages to warn of: a name and a stage in feet each.
    lead_minutes
        Warn of a landmark that the creek will reach within this time.
    min_rate_ft_per_h
        A slower rise never warns of a landmark.
    silent_minutes
        After this time without a reading, the sensor is silent.
    jump_ft
        A reading this far from the last good one needs a second one to confirm it.
    span_ft
        What the sensor can read.
    doubtful_run
        After this many doubtful readings in a row, the sensor is doubtful.

    Raises
    ------
    ValueError
        If the lower threshold is not below the higher one.
    """

    high_ft: float = 2.5
    low_ft: float = 1.75
    landmarks: Mapping[str, float] = field(default_factory=dict)
    lead_minutes: float = 60.0
    min_rate_ft_per_h: float = 0.5
    silent_minutes: float = 30.0
    jump_ft: float = 1.5
    span_ft: tuple[float, float] = (-math.inf, math.inf)
    doubtful_run: int = 3

    def __post_init__(self) -> None:
        if not self.low_ft < self.high_ft:
            raise ValueError(
                f"The all-clear at {self.low_ft} ft must be below the alarm at {self.high_ft} ft."
            )


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm: its kind, its time in seconds since 1970, a sentence, and its numbers.

    ``stage_ft`` is the stage at that time, if there is a good one; ``landmark`` and ``minutes``
    (until the creek reaches it at the present rate) belong to the kind ``rising``.
    """

    kind: Kind
    time: float
    text: str
    stage_ft: float | None = None
    landmark: str | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the next step must know of the past: the good readings of the last half hour, and more.

    Parameters
    ----------
    good
        Time and stage of the good readings of the last half hour, and of one before it.
    heard
        Time of the last reading, good or doubtful; None before the first.
    candidate
        A doubtful stage that the next reading may confirm.
    doubtful
        How many readings in a row are doubtful.
    flooded, silent
        Whether that alarm was raised and not yet taken back.
    warned
        The landmarks that were warned of since the last all-clear.
    """

    good: tuple[tuple[float, float], ...] = ()
    heard: float | None = None
    candidate: float | None = None
    doubtful: int = 0
    flooded: bool = False
    silent: bool = False
    warned: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the state as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> State:
        """Return the state in JSON from :meth:`to_json`."""
        fields = json.loads(text)
        fields["good"] = tuple((float(time), float(stage)) for time, stage in fields["good"])
        fields["warned"] = tuple(fields["warned"])
        return cls(**fields)


def step(
    rules: Rules, state: State, time: float, stage_ft: float | None
) -> tuple[State, tuple[Alarm, ...]]:
    """Return the state after one reading, and the alarms that it raises.

    Parameters
    ----------
    rules
        The rules of the creek.
    state
        The state before; ``State()`` at the beginning.
    time
        Time of the reading, in seconds since 1970. A reading that is not later than the last one
        (a repetition, or one that arrives late) changes nothing.
    stage_ft
        The stage; None or NaN if it was not measured.
    """
    if state.heard is not None and time <= state.heard:
        return state, ()
    alarms: list[Alarm] = []
    if state.silent:
        alarms.append(Alarm("back", time, "The sensor sends readings again.", stage_ft))
    if stage_ft is None or not _is_good(rules, state, stage_ft):
        return _doubt(rules, state, time, stage_ft, alarms)
    first = 0
    # Keep one reading older than the window, so that the rate covers all of it.
    while first + 1 < len(state.good) and state.good[first + 1][0] <= time - _RATE_SECONDS:
        first += 1
    good = (*state.good[first:], (time, stage_ft))
    flooded, warned = state.flooded, state.warned
    if stage_ft > rules.high_ft and not flooded:
        flooded = True
        text = f"The creek is above {rules.high_ft:g} ft: {stage_ft:.2f} ft."
        alarms.append(Alarm("flood", time, text, stage_ft))
    elif stage_ft < rules.low_ft and (flooded or warned):
        if flooded:
            text = f"The creek is below {rules.low_ft:g} ft again: {stage_ft:.2f} ft."
            alarms.append(Alarm("all-clear", time, text, stage_ft))
        flooded, warned = False, ()
    rising = _rising(rules, good, warned)
    warned += tuple(alarm.landmark for alarm in rising if alarm.landmark)
    return State(good, time, flooded=flooded, warned=warned), (*alarms, *rising)


def check_silence(rules: Rules, state: State, now: float) -> tuple[State, tuple[Alarm, ...]]:
    """Return the state at a time without a reading, and the alarm for a sensor that is silent."""
    if state.silent or state.heard is None or now - state.heard < rules.silent_minutes * 60:
        return state, ()
    minutes = (now - state.heard) / 60
    text = f"The sensor has sent nothing for {minutes:.0f} minutes."
    return replace(state, silent=True), (Alarm("silent", now, text),)


def _is_good(rules: Rules, state: State, stage_ft: float) -> bool:
    """Return whether a stage is near the last good one, or confirms the doubtful one before it."""
    low, high = rules.span_ft
    if not (math.isfinite(stage_ft) and low <= stage_ft <= high):
        return False
    if not state.good or abs(stage_ft - state.good[-1][1]) <= rules.jump_ft:
        return True
    return state.candidate is not None and abs(stage_ft - state.candidate) <= rules.jump_ft


def _doubt(
    rules: Rules, state: State, time: float, stage_ft: float | None, alarms: list[Alarm]
) -> tuple[State, tuple[Alarm, ...]]:
    """Count a doubtful reading; the next one may confirm it."""
    low, high = rules.span_ft
    usable = stage_ft is not None and math.isfinite(stage_ft) and low <= stage_ft <= high
    doubtful = state.doubtful + 1
    if doubtful == rules.doubtful_run:
        text = f"The last {doubtful} readings are doubtful. Check the sensor."
        alarms.append(Alarm("doubtful", time, text))
    candidate = stage_ft if usable else None
    state = replace(state, heard=time, silent=False, candidate=candidate, doubtful=doubtful)
    return state, tuple(alarms)


def _rising(
    rules: Rules, good: tuple[tuple[float, float], ...], warned: tuple[str, ...]
) -> list[Alarm]:
    """Warn of the landmarks that the creek will reach soon at the rate of the last half hour."""
    if len(good) < 3 or not good[-1][1] > good[-2][1]:
        return []
    (since, then), (time, stage_ft) = good[0], good[-1]
    rate = (stage_ft - then) / (time - since) * 3600
    if rate < rules.min_rate_ft_per_h:
        return []
    alarms = []
    for name, height in sorted(rules.landmarks.items(), key=lambda each: each[1]):
        minutes = (height - stage_ft) / rate * 60
        if 0 <= minutes <= rules.lead_minutes and name not in warned:
            text = (
                f"The creek rises by {rate:.1f} ft per hour and is at {stage_ft:.2f} ft. At this"
                f" rate it reaches {name} ({height:g} ft) in {minutes:.0f} minutes."
            )
            alarms.append(Alarm("rising", time, text, stage_ft, name, minutes))
    return alarms
