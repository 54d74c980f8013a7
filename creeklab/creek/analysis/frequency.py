"""How often floods happen: what a record can say about it, and what it cannot.

There are two ways to list the large floods of a record. **Annual maxima** take the highest stage of
each year, even of a dry one. **Peaks over a threshold** take every flood that was high enough,
which gives more floods from a short record. Floods close to each other are one flood with two
peaks, so they are declustered first.

Either list gets its empirical (Weibull) plotting positions and nothing more. The largest flood in n
years gets a return period of n + 1 years. That is a position on a plot, not knowledge of the creek:
three floods do not tell how rare the largest of them is, and :func:`caveat` says how little they
do. No curve is fitted here and no level extrapolated, and nobody should read a "100-year flood"
from a few years. That takes decades of annual peaks of discharge, for instance from the USGS, and
guidelines such as its Bulletin 17C.

Sources: W. Weibull (1939), A statistical theory of the strength of materials; W. B. Langbein
(1949), Annual floods and the partial-duration flood series, Transactions of the AGU 30, for the
plotting position (N + 1) / m of a partial-duration series of N years.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd

from creeklab.creek.analysis.floods import spans
from creeklab.creek.readings.time_series import hold_times, measured_values, seconds

YEAR_SECONDS = 365.25 * 86400


def annual_maxima(
    readings: pd.DataFrame,
    *,
    year: Literal["water", "calendar"] = "water",
    complete: float = 0.9,
    zone: str = "UTC",
) -> pd.DataFrame:
    """Return the highest stage of each year.

    Parameters
    ----------
    year
        ``"water"`` is the year of the USGS, from October 1 to September 30, named after the year in
        which it ends, so that a winter's floods stay together. ``"calendar"`` starts on January 1.
    complete
        The share of a year that must be measured for its maximum to be ranked. The highest flood
        may have come in a gap, so an incomplete year is listed, but not ranked.
    zone
        The time zone in which years begin.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``year``: ``peak_ft``, ``peak_time``, ``measured`` (share of the year, 0 to 1),
        ``rank`` (1 is the highest), ``probability`` (that a year's maximum is as high, rank /
        (n + 1)) and ``return_period_years`` (its inverse). NaN if the year is not ranked.

    Raises
    ------
    ValueError
        If there is no such year, or nothing was measured.
    """
    if year not in ("water", "calendar"):
        raise ValueError(f"year must be 'water' or 'calendar', not {year!r}.")
    time, stage = measured_values(readings)
    held = hold_times(seconds(time))
    first_month = 10 if year == "water" else 1
    local = time.tz_convert(zone)
    named = local.year + ((local.month >= 10) if year == "water" else 0)
    years = np.unique(named)
    edges = np.append(np.searchsorted(named, years), named.size)
    rows = []
    for number, (first, last) in zip(years, pairwise(edges), strict=True):
        peak = first + int(np.argmax(stage[first:last]))
        begin = pd.Timestamp(int(number) - (year == "water"), first_month, 1)
        length = (begin + pd.DateOffset(years=1) - begin).total_seconds()
        share = float(held[first:last].sum()) / length
        rows.append((stage[peak], time[peak], min(share, 1.0)))
    table = pd.DataFrame(
        rows, columns=["peak_ft", "peak_time", "measured"], index=pd.Index(years, name="year")
    )
    ranked = table["peak_ft"].where(table["measured"] >= complete)
    n = int(ranked.notna().sum())
    table["rank"] = ranked.rank(ascending=False, method="first")
    table["probability"] = table["rank"] / (n + 1)
    table["return_period_years"] = (n + 1) / table["rank"]
    table.attrs = {"year": year, "years": n}
    return table


def peaks_over_threshold(
    readings: pd.DataFrame, threshold: float, *, apart: pd.Timedelta | str = "2D"
) -> pd.DataFrame:
    """Return every peak above a threshold; from floods close to each other, only the highest.

    Parameters
    ----------
    threshold
        In feet above the gage's datum.
    apart
        Between two separate peaks, the stage stays at or below the threshold for at least this
        long. The default of two days suits a small creek; a river needs weeks.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``rank`` (1 is the highest): ``peak_ft``, ``peak_time`` (the first reading that
        had it), ``rises`` (how often the stage went above the threshold in this cluster) and
        ``return_period_years``, which is (years + 1) / rank with the measured years
        (``attrs["years"]``). It is less than one if the creek got that high several times a year.

    Raises
    ------
    ValueError
        If the threshold is not a number, ``apart`` is not a duration, or nothing was measured.
    """
    if not np.isfinite(threshold):
        raise ValueError(f"The threshold is {threshold}. It must be a stage in feet.")
    between = pd.Timedelta(apart).total_seconds()
    if not between >= 0:
        raise ValueError(f"apart is {apart!r}. It must be a duration, such as '2D'.")
    time, stage = measured_values(readings)
    at = seconds(time)
    first, last = spans(stage, np.zeros(at.size, dtype=bool), threshold, threshold)
    # A cluster continues while the next rise begins too soon after the last fall.
    opens = np.flatnonzero(np.r_[True, at[first[1:]] - at[last[:-1]] >= between][: first.size])
    edges = np.append(opens, first.size)
    rows = []
    for one, other in pairwise(edges):
        begin, end = first[one], last[other - 1] + 1
        peak = begin + int(np.argmax(stage[begin:end]))
        rows.append((stage[peak], time[peak], other - one))
    table = pd.DataFrame(rows, columns=["peak_ft", "peak_time", "rises"])
    table["peak_time"] = pd.to_datetime(table["peak_time"], utc=True)
    table = table.sort_values("peak_ft", ascending=False, kind="stable")
    table.index = pd.RangeIndex(1, len(table) + 1, name="rank")
    years = float(hold_times(at).sum()) / YEAR_SECONDS
    table["return_period_years"] = (years + 1) / table.index.to_numpy(dtype="float64")
    table.attrs = {"threshold_ft": threshold, "years": years}
    return table


def caveat(years: int) -> str:
    """Return a sentence on how little the largest flood of a few years tells about its rarity.

    The probability that a year's maximum exceeds the largest of n years is, for any creek, a random
    number with the distribution Beta(1, n). Its 5% and 95% quantiles give the range of return
    periods that are compatible with that flood.

    Parameters
    ----------
    years
        Number of complete years in the record.
    """
    if years < 1:
        return "No year of this record is complete, so it cannot show how rare its floods are."
    short, long = (1 / (1 - (1 - q) ** (1 / years)) for q in (0.95, 0.05))
    return (
        f"These are empirical plotting positions (Weibull) from {years}"
        f" {'year' if years == 1 else 'years'} of stage. The highest flood gets a return"
        f" period of {years + 1} years only because it is the highest of {years}. Its true return"
        f" period could just as well be {_years(short)} or {_years(long)} years (9 times out of 10,"
        " it is between the two). No level is extrapolated: a record this short, and stage alone,"
        " cannot give a 100-year flood."
    )


def _years(years: float) -> str:
    return f"{years:.1f}" if years < 10 else f"{years:.0f}"
