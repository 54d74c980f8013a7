"""How good is this record? Every reading gets its QARTOD flags, and the record a report in words.

:func:`check` carries out the tests of :mod:`~creeklab.creek.quality.qartod` with limits that the
creek's own record gives (:mod:`~creeklab.creek.quality.limits`) and looks for slow faults
(:mod:`~creeklab.creek.quality.sensor_faults`). What it returns holds the flags of each reading and
a list of the stretches that are not good, each with what is the matter.

It judges; it does not repair. :meth:`Quality.good` gives the readings without those that failed:
missing, not made up. What is suspect stays in, because the most suspect reading of all is the peak
of the worst flood.

Three things nobody should expect. A stage that stands still in a dry week is what a creek does:
only one that stands still for longer than the creek has been seen to is flagged. A drift of less
than a storm's step is not seen. And all of it knows only the stage: a gauge that is wrong in a way
that a creek could be is good here.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.quality import qartod, sensor_faults
from creeklab.creek.quality.limits import Limits, derive, runs
from creeklab.creek.quality.qartod import FAIL, GOOD, MEANING, MISSING, SUSPECT, UNKNOWN
from creeklab.creek.readings.samples import STAGE, add_processing, numbers, times
from creeklab.creek.readings.time_series import HOUR, gaps, sampling_interval, seconds, to_datetimes

# In this order; ``time_gap`` is about what is missing and does not count in ``overall``.
TESTS = ("gross_range", "spike", "rate_of_change", "flat_line", "drift", "time_gap")

Flags = NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class Quality:
    """What the tests say about a record.

    Parameters
    ----------
    readings
        What was checked.
    limits
        What it was checked against.
    flags
        One row a reading: a column for each of :data:`TESTS`, and ``overall``, the worst of all
        but ``time_gap``. 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing.
    stretches
        What is not good, in order of time: ``kind`` (``spike``, ``out of range``,
        ``rate of change``, ``flat line``, ``dead sensor``, ``drift``, ``datum shift``,
        ``missing``), ``start``, ``end``, ``hours``, ``readings``, ``size_ft`` and ``words``.
    """

    readings: pd.DataFrame
    limits: Limits
    flags: pd.DataFrame
    intervals: pd.DataFrame

    def counts(self) -> pd.DataFrame:
        """Count the readings by test (rows) and flag (columns, in words)."""
        return pd.DataFrame(
            {
                word: [int((self.flags[test] == flag).sum()) for test in (*TESTS, "overall")]
                for flag, word in MEANING.items()
            },
            index=pd.Index((*TESTS, "overall"), name="test"),
        )

    def good(self) -> pd.DataFrame:
        """Give the readings with the stage of those that failed left out (NaN)."""
        failed = (self.flags["overall"] == FAIL).to_numpy()
        left = self.readings.assign(**{STAGE: self.readings[STAGE].mask(failed)})
        left.attrs = dict(self.readings.attrs)
        if failed.any():
            add_processing(left, f"removed {int(failed.sum())} stages that failed a quality test")
        return left

    def text(self, worst: int = 5) -> str:
        """Say how good the record is, its worst stretches first.

        Parameters
        ----------
        worst
            How many of each kind of stretch to name.
        """
        flags = self.flags["overall"].to_numpy()
        rows, missing = flags.size, int((flags == MISSING).sum())
        failed, suspect = int((flags == FAIL).sum()), int((flags == SUSPECT).sum())
        lines = [
            f"{rows - missing:,} of {rows:,} readings have a stage; {failed:,} of them fail and"
            f" {suspect:,} are suspect."
        ]
        for kind, those in self.intervals.groupby("kind", sort=False):
            lines.append(f"{str(kind).capitalize()}: {len(those):,}.")
            longest = those.assign(weight=those["size_ft"].abs().fillna(0)).sort_values(
                ["hours", "weight"], ascending=False, kind="stable"
            )
            lines += [f"  - {each}" for each in longest["words"].head(worst)]
            if len(those) > worst:
                lines.append(f"  - and {len(those) - worst:,} more")
        if self.intervals.empty:
            lines.append("Nothing is missing, and no test finds anything.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text())}</pre>{self.counts().to_html()}"


def check(readings: pd.DataFrame, limits: Limits | None = None) -> Quality:
    """Test every reading of a record.

    Parameters
    ----------
    readings
        A table of readings.
    limits
        Against what; None takes them from these readings, which should then be months long.

    Raises
    ------
    ValueError
        These are no readings, or nothing was measured.
    """
    limits = derive(readings) if limits is None else limits
    time, stage = times(readings), numbers(readings, STAGE)
    at = seconds(time)
    tested = qartod.tests(at, stage, limits)
    # Below the range is where a drift ends up, so what is only suspect there is looked at too.
    usable = ~np.isnan(stage) & ~_bad(tested["spike"]) & ~_bad(tested["flat_line"])
    usable &= tested["gross_range"] != FAIL
    slow = sensor_faults.find(at[usable], stage[usable], limits)
    tested["drift"] = _drift(at, stage, slow)
    counted = [tested[name] for name in TESTS if name != "time_gap"]
    flags = pd.DataFrame({name: tested[name] for name in TESTS}, index=readings.index)
    flags["overall"] = qartod.overall(counted)
    stretches = pd.concat(
        [
            _single(time, stage, tested),
            _unchanged(at, stage, tested, limits),
            _slow(at, slow),
            _missing(readings),
        ]
    )
    stretches = stretches.sort_values("start", kind="stable", ignore_index=True)
    return Quality(readings, limits, flags, stretches)


def _drift(
    at: NDArray[np.float64], stage: NDArray[np.float64], slow: list[sensor_faults.SlowFault]
) -> Flags:
    flags = np.full(at.size, GOOD, dtype=np.uint8)
    if at.size and at[-1] - at[0] < 7 * 24 * HOUR:
        flags[:] = UNKNOWN
    for each in slow:
        if each.kind == "drift":
            flags[(at >= each.start) & (at <= each.end)] = SUSPECT
    flags[np.isnan(stage)] = MISSING
    return flags


# --- stretches ------------------------------------------------------------------------------------

_COLUMNS = ["kind", "start", "end", "hours", "readings", "size_ft", "words"]

# Kind, start, end, readings, size, words.
FlaggedInterval = tuple[str, pd.Timestamp, pd.Timestamp, int, float, str]


def _table(rows: list[FlaggedInterval]) -> pd.DataFrame:
    table = pd.DataFrame(
        [
            (kind, a, b, (b - a).total_seconds() / HOUR, n, ft, said)
            for kind, a, b, n, ft, said in rows
        ],
        columns=_COLUMNS,
    )
    return table.astype(
        {
            "kind": "str",
            "start": "datetime64[us, UTC]",
            "end": "datetime64[us, UTC]",
            "hours": "float64",
            "readings": "int64",
            "size_ft": "float64",
            "words": "str",
        }
    )


def _single(
    time: pd.DatetimeIndex, stage: NDArray[np.float64], tested: dict[str, Flags]
) -> pd.DataFrame:
    """List what is wrong with readings one by one: range, spike, rate."""
    rows: list[FlaggedInterval] = []
    flat = _bad(tested["flat_line"])
    for test, kind, told in (
        ("gross_range", "out of range", "outside the usual range"),
        ("spike", "spike", "sticks out from its neighbours"),
        ("rate_of_change", "rate of change", "changes faster than the creek does"),
    ):
        bad = _bad(tested[test]) & ~flat
        for first, last in _blocks(bad):
            worst = MEANING[int(tested[test][first : last + 1].max())]
            values = stage[first : last + 1]
            span = (
                f"{values[0]:.2f} ft at {time[first]:%Y-%m-%d %H:%M} UTC"
                if first == last
                else f"{np.nanmin(values):.2f} to {np.nanmax(values):.2f} ft from"
                f" {time[first]:%Y-%m-%d %H:%M} to {time[last]:%Y-%m-%d %H:%M} UTC"
            )
            size = float(values[np.nanargmax(np.abs(values))])
            rows.append(
                (kind, time[first], time[last], last - first + 1, size, f"{span} {told} ({worst})")
            )
    return _table(rows)


def _unchanged(
    at: NDArray[np.float64],
    stage: NDArray[np.float64],
    tested: dict[str, Flags],
    limits: Limits,
) -> pd.DataFrame:
    """List the flat lines; one where the creek never was is a dead sensor."""
    there = np.flatnonzero(_bad(tested["flat_line"]))
    rows: list[FlaggedInterval] = []
    if there.size:
        first, last = runs(at[there], stage[there], sampling_interval(at))
        for a, b in zip(there[first], there[last], strict=True):
            dead = stage[a] < limits.floor_ft
            hours, n = (at[b] - at[a]) / HOUR, int(b - a + 1)
            start, end = to_datetimes(at[[a, b]])
            worst = MEANING[int(tested["flat_line"][a])]
            said = (
                f"{stage[a]:.2f} ft for {hours:.1f} hours from {start:%Y-%m-%d %H:%M} UTC,"
                f" unchanged{', where the creek never is' if dead else ''} ({worst})"
            )
            kind = "dead sensor" if dead else "flat line"
            rows.append((kind, start, end, n, float(stage[a]), said))
    return _table(rows)


def _slow(at: NDArray[np.float64], slow: list[sensor_faults.SlowFault]) -> pd.DataFrame:
    rows: list[FlaggedInterval] = []
    for each in slow:
        start, end = to_datetimes(np.array([each.start, each.end]))
        n = int(((at >= each.start) & (at <= each.end)).sum())
        if each.kind == "datum shift":
            way = "higher" if each.size_ft > 0 else "lower"
            said = (
                f"all stages are {abs(each.size_ft):.2f} ft {way} from"
                f" {end:%Y-%m-%d %H:%M} UTC on than before {start:%Y-%m-%d %H:%M} UTC: not to"
                " be compared across it"
            )
        else:
            after = ", then corrected" if each.corrected else ""
            said = (
                f"creeps by {each.size_ft:+.2f} ft from {start:%Y-%m-%d %H:%M} to"
                f" {end:%Y-%m-%d %H:%M} UTC{after} (suspect)"
            )
        rows.append((each.kind, start, end, n, each.size_ft, said))
    return _table(rows)


def _missing(readings: pd.DataFrame) -> pd.DataFrame:
    rows: list[FlaggedInterval] = []
    missing = gaps(readings)
    for start, end, hours, n in zip(*(missing[column] for column in missing), strict=True):
        said = (
            f"{n:,} readings in {_length(hours)} from {start:%Y-%m-%d %H:%M} to"
            f" {end:%Y-%m-%d %H:%M} UTC"
        )
        rows.append(("missing", start, end, int(n), np.nan, said))
    return _table(rows)


def _length(hours: float) -> str:
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _bad(flags: Flags) -> NDArray[np.bool_]:
    return np.isin(flags, (SUSPECT, FAIL))


def _blocks(bad: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Give first and last row of each stretch of True."""
    edge = np.diff(np.r_[False, bad, False].astype(np.int8))
    return list(
        zip(
            np.flatnonzero(edge == 1).tolist(),
            (np.flatnonzero(edge == -1) - 1).tolist(),
            strict=True,
        )
    )
