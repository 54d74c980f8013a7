"""Alarm rules tried on a recorded creek: how many alarms, how many of them false, how much warning.

Every reading of the record goes through :func:`creeklab.creek.alarms.step` in its order, as it
would have arrived. The rules know nothing of the future; the record does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from creeklab.creek.alarms import Alarm, Rules, State, check_silence, step
from creeklab.creek.readings.samples import STAGE, numbers, times
from creeklab.creek.readings.time_series import seconds, to_datetimes

_FALSE_AFTER_HOURS = 6.0  # A warning that has not come true by then was false.


@dataclass(frozen=True)
class Trial:
    """The alarms that the rules raised on a record.

    Parameters
    ----------
    alarms
        One row for each, in order of time: ``time``, ``kind``, ``stage_ft``, ``landmark``,
        ``minutes`` and ``text``.
    landmarks
        One row for each landmark: how often it was ``reached``, and of these how often a warning
        came before (``warned``) and how often none did (``missed``); how many warnings were
        ``false``, because the creek did not get there within six hours; and the ``shortest_min``
        and ``median_min`` of warning.
    """

    alarms: pd.DataFrame
    landmarks: pd.DataFrame

    def counts(self) -> pd.Series:
        """Return the number of alarms of each kind."""
        return self.alarms["kind"].value_counts().sort_index()


def try_rules(readings: pd.DataFrame, rules: Rules) -> Trial:
    """Try alarm rules on a record.

    Parameters
    ----------
    rules
        The rules; their landmarks are those of this creek.

    Returns
    -------
    Trial
        The alarms, and what they were worth.
    """
    at, stage = seconds(times(readings)), numbers(readings, STAGE)
    state, alarms = State(), list[Alarm]()
    for time, value in zip(at.tolist(), stage.tolist(), strict=True):
        state, silent = check_silence(rules, state, time)
        state, raised = step(rules, state, time, value)
        alarms += [*silent, *raised]
    table = pd.DataFrame(
        {
            "time": to_datetimes(np.array([each.time for each in alarms])),
            "kind": [each.kind for each in alarms],
            "stage_ft": pd.array([each.stage_ft for each in alarms], dtype="Float64"),
            "landmark": [each.landmark for each in alarms],
            "minutes": pd.array([each.minutes for each in alarms], dtype="Float64"),
            "text": [each.text for each in alarms],
        }
    )
    measured = ~np.isnan(stage)
    rows = [
        _landmark(name, height, alarms, at[measured], stage[measured], rules.low_ft)
        for name, height in sorted(rules.landmarks.items(), key=lambda each: each[1])
    ]
    columns = ["landmark", "landmark_ft", "reached", "warned", "missed", "false"]
    columns += ["shortest_min", "median_min"]
    return Trial(table, pd.DataFrame(rows, columns=columns).set_index("landmark"))


def _landmark(
    name: str,
    height: float,
    alarms: list[Alarm],
    at: np.ndarray[tuple[int], np.dtype[np.float64]],
    stage: np.ndarray[tuple[int], np.dtype[np.float64]],
    low: float,
) -> tuple[object, ...]:
    warnings = np.array([each.time for each in alarms if each.landmark == name])
    reached = []
    # The creek reaches a landmark once until it has fallen below the all-clear.
    armed = True
    for time, value in zip(at.tolist(), stage.tolist(), strict=True):
        if armed and value >= height:
            reached.append(time)
            armed = False
        elif value < low:
            armed = True
    minutes, used = [], set()
    limit = _FALSE_AFTER_HOURS * 3600
    for time in reached:
        before = warnings[(warnings <= time) & (warnings >= time - limit)]
        if before.size:
            minutes.append((time - before[0]) / 60)
            used |= set(before.tolist())
    return (
        name,
        height,
        len(reached),
        len(minutes),
        len(reached) - len(minutes),
        warnings.size - len(used),
        float(np.min(minutes)) if minutes else np.nan,
        float(np.median(minutes)) if minutes else np.nan,
    )
