"""The quality of a record: QARTOD flags for each reading, and a report in words.

:func:`check` carries out the tests of :mod:`~creeklab.creek.quality.qartod` with limits from the
creek's own record (:mod:`~creeklab.creek.quality.limits`) and looks for slow faults
(:mod:`~creeklab.creek.quality.sensor_faults`). The result holds the flags of each reading and a
list of the intervals that are not good, each with a description.

The check judges; it does not repair. :meth:`Quality.good` returns the readings without those that
failed: they are missing, not replaced. Suspect readings stay, because the most suspect reading of
all is the peak of the worst flood.

It has three limitations. A stage that stands still in a dry week is normal for a creek, so it is
flagged only if it stands still for longer than the creek ever did. A drift smaller than a storm's
step is not found. And the check knows nothing but the stage: a gage that is wrong, but behaves as
a creek might, passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.quality import qartod, sensor_faults
from creeklab.creek.quality.limits import Limits, derive, runs
from creeklab.creek.quality.qartod import FAIL, GOOD, MEANING, MISSING, SUSPECT, UNKNOWN
from creeklab.creek.readings.building import QUALIFIER
from creeklab.creek.readings.display import DEFAULT, Display
from creeklab.creek.readings.samples import STAGE, add_processing, numbers, times
from creeklab.creek.readings.time_series import HOUR, gaps, seconds, to_datetimes

# ``time_gap`` is about missing readings and does not count in ``overall``.
TESTS = ("gross_range", "spike", "rate_of_change", "flat_line", "drift", "time_gap")

Flags = NDArray[np.uint8]


@dataclass(frozen=True, repr=False)
class Quality:
    """The result of checking a record.

    Parameters
    ----------
    readings
        The readings that were checked.
    limits
        The limits of the tests.
    flags
        One row per reading: a column for each of :data:`TESTS`, and ``overall``, the worst flag
        except for ``time_gap``; and ``qualifier``, if the readings have a column
        ``stage_qualifier`` in which their publisher says that a stage is not good.
        1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing.
    intervals
        Everything that is not good, in order of time: ``kind`` (``spike``, ``out of range``,
        ``rate of change``, ``flat line``, ``dead sensor``, ``drift``, ``datum shift``,
        ``qualified``, ``missing``), ``start``, ``end``, ``hours``, ``readings``, ``size_ft`` and
        ``text``.
    """

    readings: pd.DataFrame
    limits: Limits
    flags: pd.DataFrame
    intervals: pd.DataFrame

    def counts(self) -> pd.DataFrame:
        """Return the number of readings by test (rows) and flag (columns, in words)."""
        return pd.DataFrame(
            {
                word: [int((self.flags[test] == flag).sum()) for test in self.flags]
                for flag, word in MEANING.items()
            },
            index=pd.Index(self.flags.columns, name="test"),
        )

    def good(self) -> pd.DataFrame:
        """Return the readings without the stages that failed (NaN)."""
        failed = (self.flags["overall"] == FAIL).to_numpy()
        readings = self.readings.assign(**{STAGE: self.readings[STAGE].mask(failed)})
        readings.attrs = dict(self.readings.attrs)
        if failed.any():
            add_processing(
                readings, f"removed {int(failed.sum())} stages that failed a quality test"
            )
        return readings

    def text(self, worst: int = 5) -> str:
        """Return a description of the quality, with the ``worst`` intervals of each kind."""
        flags = self.flags["overall"].to_numpy()
        rows, missing = flags.size, int((flags == MISSING).sum())
        failed, suspect = int((flags == FAIL).sum()), int((flags == SUSPECT).sum())
        lines = [
            f"{rows - missing:,} of {rows:,} readings have a stage; {failed:,} of them fail and"
            f" {suspect:,} are suspect."
        ]
        for kind, those in self.intervals.groupby("kind", sort=False):
            lines.append(f"{str(kind).capitalize()}: {len(those):,}.")
            longest = those.assign(size=those["size_ft"].abs().fillna(0)).sort_values(
                ["hours", "size"], ascending=False, kind="stable"
            )
            lines += [f"  - {each}" for each in longest["text"].head(worst)]
            if len(those) > worst:
                lines.append(f"  - and {len(those) - worst:,} more")
        if self.intervals.empty:
            lines.append("No reading is missing, and no test found a fault.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text())}</pre>{self.counts().to_html()}"


def check(
    readings: pd.DataFrame, limits: Limits | None = None, *, display: Display = DEFAULT
) -> Quality:
    """Test every reading of a record.

    Parameters
    ----------
    limits
        Limits of the tests; None derives them from these readings, which should then span months.
    display
        Time zone and unit of the descriptions.
    """
    limits = derive(readings) if limits is None else limits
    time, stage = times(readings), numbers(readings, STAGE)
    at = seconds(time)
    tested = qartod.tests(at, stage, limits)
    # A drift ends up below the range, so include readings that are only suspect there.
    usable = ~np.isnan(stage) & ~_is_flagged(tested["spike"]) & ~_is_flagged(tested["flat_line"])
    usable &= tested["gross_range"] != FAIL
    slow = sensor_faults.find(at[usable], stage[usable], limits)
    tested["drift"] = _drift(at, stage, slow)
    if QUALIFIER in readings:
        tested["qualifier"] = _qualifier(readings, stage)
    counted = [tested[name] for name in tested if name != "time_gap"]
    tests = (*TESTS, *(["qualifier"] if "qualifier" in tested else []))
    flags = pd.DataFrame({name: tested[name] for name in tests}, index=readings.index)
    flags["overall"] = qartod.overall(counted)
    intervals = pd.concat(
        [
            _single(time, stage, tested, display),
            _unchanged(at, stage, tested, limits, display),
            _slow(at, slow, display),
            _missing(readings, display),
        ]
    )
    intervals = intervals.sort_values("start", kind="stable", ignore_index=True)
    return Quality(readings, limits, flags, intervals)


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


def _qualifier(readings: pd.DataFrame, stage: NDArray[np.float64]) -> Flags:
    """Flag the stages that their publisher qualifies: under ice, estimated, not trusted."""
    flags = np.full(stage.size, GOOD, dtype=np.uint8)
    said = readings[QUALIFIER].fillna("").astype("str").str.strip()
    flags[(said != "").to_numpy(dtype=bool)] = SUSPECT
    flags[np.isnan(stage)] = MISSING
    return flags


# --- intervals ------------------------------------------------------------------------------------


class FlaggedInterval(NamedTuple):
    """An interval that is not good: one row of :attr:`Quality.intervals`, without its hours."""

    kind: str
    start: pd.Timestamp
    end: pd.Timestamp
    readings: int
    size_ft: float
    text: str


def _table(intervals: list[FlaggedInterval]) -> pd.DataFrame:
    table = pd.DataFrame(intervals, columns=list(FlaggedInterval._fields)).astype(
        {
            "kind": "str",
            "start": "datetime64[us, UTC]",
            "end": "datetime64[us, UTC]",
            "readings": "int64",
            "size_ft": "float64",
            "text": "str",
        }
    )
    table.insert(3, "hours", (table["end"] - table["start"]).dt.total_seconds() / HOUR)
    return table


def _single(
    time: pd.DatetimeIndex,
    stage: NDArray[np.float64],
    tested: dict[str, Flags],
    show: Display,
) -> pd.DataFrame:
    """List the faults of single readings: range, spike, rate."""
    rows: list[FlaggedInterval] = []
    flat = _is_flagged(tested["flat_line"])
    for test, kind, problem in (
        ("gross_range", "out of range", "is outside the usual range"),
        ("spike", "spike", "sticks out from its neighbors"),
        ("rate_of_change", "rate of change", "changes faster than the creek does"),
        ("qualifier", "qualified", "is qualified by its publisher"),
    ):
        if test not in tested:
            continue
        bad = _is_flagged(tested[test]) & ~flat
        for first, last in _blocks(bad):
            worst = MEANING[int(tested[test][first : last + 1].max())]
            values = stage[first : last + 1]
            span = (
                f"{show.stage(values[0])} at {show.time(time[first])}"
                if first == last
                else f"{show.convert(np.nanmin(values)):.2f} to {show.stage(np.nanmax(values))}"
                f" from {show.minute(time[first])} to {show.time(time[last])}"
            )
            size = float(values[np.nanargmax(np.abs(values))])
            text = f"{span} {problem} ({worst})"
            rows.append(
                FlaggedInterval(kind, time[first], time[last], last - first + 1, size, text)
            )
    return _table(rows)


def _unchanged(
    at: NDArray[np.float64],
    stage: NDArray[np.float64],
    tested: dict[str, Flags],
    limits: Limits,
    show: Display,
) -> pd.DataFrame:
    """List the flat lines; one where the creek never was is a dead sensor."""
    flat = np.flatnonzero(_is_flagged(tested["flat_line"]))
    rows: list[FlaggedInterval] = []
    if flat.size:
        first, last = runs(at[flat], stage[flat])
        for a, b in zip(flat[first], flat[last], strict=True):
            dead = stage[a] < limits.floor_ft
            hours, n = (at[b] - at[a]) / HOUR, int(b - a + 1)
            start, end = to_datetimes(at[[a, b]])
            worst = MEANING[int(tested["flat_line"][a])]
            where = ", where the creek never is," if dead else ""
            text = (
                f"unchanged at {show.stage(stage[a])}{where} for {hours:.1f} hours from"
                f" {show.time(start)} ({worst})"
            )
            kind = "dead sensor" if dead else "flat line"
            rows.append(FlaggedInterval(kind, start, end, n, float(stage[a]), text))
    return _table(rows)


def _slow(
    at: NDArray[np.float64], slow: list[sensor_faults.SlowFault], show: Display
) -> pd.DataFrame:
    rows: list[FlaggedInterval] = []
    for each in slow:
        start, end = to_datetimes(np.array([each.start, each.end]))
        n = int(((at >= each.start) & (at <= each.end)).sum())
        if each.kind == "datum shift":
            direction = "higher" if each.size_ft > 0 else "lower"
            text = (
                f"from {show.time(end)}, all stages are {show.stage(abs(each.size_ft))}"
                f" {direction} than before {show.time(start)}: do not compare them"
            )
        else:
            after = ", then corrected" if each.corrected else ""
            text = (
                f"creeps by {show.stage(each.size_ft, '+.2f')} from {show.minute(start)} to"
                f" {show.time(end)}{after} (suspect)"
            )
        rows.append(FlaggedInterval(each.kind, start, end, n, each.size_ft, text))
    return _table(rows)


def _missing(readings: pd.DataFrame, show: Display) -> pd.DataFrame:
    rows: list[FlaggedInterval] = []
    missing = gaps(readings)
    for start, end, hours, n in zip(*(missing[column] for column in missing), strict=True):
        text = f"{n:,} readings in {_length(hours)} from {show.minute(start)} to {show.time(end)}"
        rows.append(FlaggedInterval("missing", start, end, int(n), np.nan, text))
    return _table(rows)


def _length(hours: float) -> str:
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _is_flagged(flags: Flags) -> NDArray[np.bool_]:
    return np.isin(flags, (SUSPECT, FAIL))


def _blocks(bad: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first and the last row of each run of True."""
    edge = np.diff(np.r_[False, bad, False].astype(np.int8))
    return list(
        zip(
            np.flatnonzero(edge == 1).tolist(),
            (np.flatnonzero(edge == -1) - 1).tolist(),
            strict=True,
        )
    )
