"""A rating curve: discharge from stage.

Stage is a height; discharge is a volume per time. Someone has to measure both at once, with a
current meter, on many days. A curve through those pairs then turns each stage into a discharge::

    Q = a (h - h0)^b

``h0`` is the stage at which the water stops flowing, and ``b`` tells about the shape of the channel
(3/2 for a wide weir, 5/2 for a V). In logarithms, the curve is a straight line. So :func:`fit`
tries every ``h0`` below the lowest pair and keeps the one whose line fits best. The scatter about
the line gives the interval in which 9 of 10 further measurements would lie.

A curve is valid between its lowest and its highest stage. Beyond that, nobody has measured, and
:meth:`Rating.discharge` leaves the discharge empty, unless you ask for the extrapolation; it says
in either case how many readings that concerns.

Sources: S. E. Rantz et al. (1982), Measurement and computation of streamflow, USGS Water-Supply
Paper 2175, volume 2; T. A. Kennedy (1984), Discharge ratings at gaging stations, USGS Techniques of
Water-Resources Investigations, book 3, chapter A10.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from creeklab.creek.readings.files import table, text_of
from creeklab.creek.readings.numbers import as_numbers
from creeklab.creek.readings.samples import STAGE, add_processing, list_columns, numbers, times

Floats = NDArray[np.float64]

DISCHARGE = "discharge_ft3_s"
_MIN_PAIRS = 5  # The curve has three parameters, and its interval needs some more.
_OFFSETS = 500
_COVERAGE = 0.9


@dataclass(frozen=True, eq=False)
class Rating:
    """A rating curve between its lowest and its highest stage.

    Parameters
    ----------
    stage_ft, discharge_ft3_s
        Points of the curve, in order of stage. Between them, the logarithm of the discharge is
        linear in the logarithm of the height above ``zero_ft``, so two points make a power law.
    zero_ft
        The stage of zero flow.
    source
        What the curve comes from.
    pairs
        How many pairs it was fitted to; 0 for a published table, which has no interval.
    scatter, mean, spread
        Of the fit, in logarithms: the standard deviation about the line, the mean of the heights
        above ``zero_ft``, and their sum of squared distances from it.
    """

    stage_ft: Floats
    discharge_ft3_s: Floats
    zero_ft: float
    source: str
    pairs: int = 0
    scatter: float = 0.0
    mean: float = 0.0
    spread: float = 1.0

    @property
    def exponent(self) -> float:
        """The exponent ``b`` between the lowest and the highest point."""
        heights = np.log(self.stage_ft[[0, -1]] - self.zero_ft)
        flows = np.log(self.discharge_ft3_s[[0, -1]])
        return float((flows[1] - flows[0]) / (heights[1] - heights[0]))

    def discharge(self, readings: pd.DataFrame, *, extrapolate: bool = False) -> pd.DataFrame:
        """Return the discharge at each stage.

        Parameters
        ----------
        extrapolate
            Continue the curve beyond its ends. Above the highest pair, a creek that leaves its
            banks follows another curve, and the error can be a multiple of the discharge.

        Returns
        -------
        pandas.DataFrame
            With the same rows: ``discharge_ft3_s``; ``low_ft3_s`` and ``high_ft3_s``, between which
            9 of 10 measurements would lie (NaN for a published table); and ``beyond``, whether the
            stage is beyond the curve. ``attrs["processing"]`` says how many are.
        """
        times(readings)
        stage = numbers(readings, STAGE)
        low, high = float(self.stage_ft[0]), float(self.stage_ft[-1])
        below, above = stage < low, stage > high
        flow = self._curve(stage)
        flow[stage <= self.zero_ft] = 0.0
        if not extrapolate:
            flow[below | above] = np.nan
        factor = np.exp(self._half_width(stage)) if self.pairs else np.full(stage.size, np.nan)
        result = pd.DataFrame(
            {
                DISCHARGE: flow,
                "low_ft3_s": flow / factor,
                "high_ft3_s": flow * factor,
                "beyond": below | above,
            },
            index=readings.index,
        )
        result.attrs = dict(readings.attrs)
        beyond = int((below | above).sum())
        treated = "extrapolated" if extrapolate else "left empty"
        add_processing(
            result,
            f"discharge from {self.source}, valid from {low:g} to {high:g} ft",
            f"{beyond} stages beyond the curve {treated} ({int(below.sum())} below,"
            f" {int(above.sum())} above)",
        )
        return result

    def _curve(self, stage: Floats) -> Floats:
        """Interpolate in logarithms, and continue the first and the last piece beyond the ends."""
        with np.errstate(divide="ignore", invalid="ignore"):
            x, xs = np.log(stage - self.zero_ft), np.log(self.stage_ft - self.zero_ft)
        ys = np.log(self.discharge_ft3_s)
        piece = np.clip(np.searchsorted(xs, x) - 1, 0, xs.size - 2)
        slope = (ys[piece + 1] - ys[piece]) / (xs[piece + 1] - xs[piece])
        return np.asarray(np.exp(ys[piece] + slope * (x - xs[piece])))

    def _half_width(self, stage: Floats) -> Floats:
        from scipy.stats import t as student  # type: ignore[import-untyped]  # slow to import

        factor = float(student.ppf((1 + _COVERAGE) / 2, self.pairs - 3))
        with np.errstate(divide="ignore", invalid="ignore"):
            x = np.log(stage - self.zero_ft)
        width = np.sqrt(1 + 1 / self.pairs + (x - self.mean) ** 2 / self.spread)
        return np.asarray(factor * self.scatter * width)


def fit(pairs: pd.DataFrame, *, source: str = "a fitted curve") -> Rating:
    """Fit a rating curve to measurements.

    Parameters
    ----------
    pairs
        One row for each measurement: ``stage_ft`` and ``discharge_ft3_s``.
    source
        Who measured them.

    Raises
    ------
    ValueError
        If a column is missing, there are fewer than five pairs with a stage and a positive
        discharge, they are at fewer than three stages, or the discharge does not grow with the
        stage.
    """
    missing = [name for name in (STAGE, DISCHARGE) if name not in pairs]
    if missing:
        raise ValueError(f"The pairs have no column {missing[0]!r}, only {list_columns(pairs)}.")
    measured = pairs[[STAGE, DISCHARGE]].dropna()
    measured = measured[measured[DISCHARGE] > 0].sort_values(STAGE)
    stage, flow = (measured[name].to_numpy(dtype=np.float64) for name in (STAGE, DISCHARGE))
    if stage.size < _MIN_PAIRS or np.unique(stage).size < 3:
        raise ValueError(
            f"Cannot fit a rating curve to {stage.size} pairs at {np.unique(stage).size} stages."
            f" It takes at least {_MIN_PAIRS} pairs with a positive discharge, at three stages."
        )
    # The stage of zero flow may be far below the lowest pair, but never at it.
    below = np.geomspace(0.005, 5.0, _OFFSETS) * float(np.ptp(stage))
    best = min((_line(np.log(stage - stage[0] + each), np.log(flow)), -each) for each in below)
    (error, slope, intercept), offset = best
    zero = float(stage[0] + offset)
    if slope <= 0:
        raise ValueError("The discharge does not grow with the stage. Check the pairs.")
    x = np.log(stage - zero)
    ends = stage[[0, -1]]
    return Rating(
        stage_ft=ends,
        discharge_ft3_s=np.exp(intercept + slope * np.log(ends - zero)),
        zero_ft=zero,
        source=source,
        pairs=int(stage.size),
        scatter=sqrt(error / (stage.size - 3)),
        mean=float(x.mean()),
        spread=float(((x - x.mean()) ** 2).sum()),
    )


def _line(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Return the squared error, the slope and the intercept of the line through points."""
    dx = x - x.mean()
    slope = float((dx * (y - y.mean())).sum() / (dx**2).sum())
    intercept = float(y.mean() - slope * x.mean())
    return float(((y - intercept - slope * x) ** 2).sum()), slope, intercept


def read_usgs(path: str | Path) -> Rating:
    """Read a rating table of the USGS (an RDB file with the columns ``INDEP`` and ``DEP``).

    Raises
    ------
    ValueError
        If the file is not such a table.
    """
    text = text_of(Path(path))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    rows = table(path, "\n".join(lines), sep="\t").iloc[1:].reset_index(drop=True)
    if not {"INDEP", "DEP"} <= set(rows):
        raise ValueError(
            f"{path} is not a rating table of the USGS: it has {list_columns(rows)}, but needs the"
            " columns INDEP (stage) and DEP (discharge)."
        )
    stage, flow = (as_numbers(rows[name], name).to_numpy() for name in ("INDEP", "DEP"))
    known = ~np.isnan(stage) & ~np.isnan(flow)
    stage, flow = stage[known], flow[known]
    positive = flow > 0
    if positive.sum() < 2 or (np.diff(stage) <= 0).any():
        raise ValueError(f"{path} needs stages in order, and at least two positive discharges.")
    # The stage of zero flow is the last one without any, or the offset that the file names.
    offset = re.search(r'OFFSET1="?\s*(-?\d+(?:\.\d+)?)', text)
    dry = stage[~positive]
    zero = float(offset[1]) if offset else float(dry[-1]) if dry.size else float(stage[0]) - 0.01
    number = re.search(r'NUMBER="?\s*(\d+)', text)
    name = f"the USGS rating of {number[1]}" if number else "a USGS rating"
    used = positive & (stage > zero)
    return Rating(stage[used], flow[used], zero, name)
