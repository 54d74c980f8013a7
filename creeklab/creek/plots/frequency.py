"""How often floods happen: plotting positions of annual maxima and of peaks over a threshold."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.ticker import NullFormatter

from creeklab.creek.analysis.frequency import annual_maxima, caveat, peaks_over_threshold
from creeklab.creek.plots.figure_style import (
    BLUE,
    STAGE_NOTE,
    CaptionedFigure,
    Numbers,
    finalize,
    new_figure,
    plural,
)
from creeklab.creek.readings.display import DEFAULT, Display


def return_periods(
    readings: pd.DataFrame,
    threshold: float,
    *,
    title: str | None = None,
    display: Display = DEFAULT,
) -> CaptionedFigure:
    """Draw the highest stages against their empirical return periods, without a curve through them.

    Parameters
    ----------
    threshold
        Peaks above it, in feet, are drawn together with the annual maxima.
    display
        Time zone and unit to show.

    Returns
    -------
    CaptionedFigure
        Its numbers: ``years`` (complete ones), ``measured_years``, ``peaks`` above the threshold,
        ``highest_ft``. Its table: ``kind``, ``rank``, ``peak_ft``, ``peak_time`` and
        ``return_period_years``.

    Raises
    ------
    ValueError
        If the threshold is not a number, nothing was measured, or nothing is above the threshold.
    """
    yearly = annual_maxima(readings, year="calendar", zone=display.zone)
    peaks = peaks_over_threshold(readings, threshold)
    if peaks.empty:
        raise ValueError(f"Nothing in this record is above {threshold} ft. Use a lower threshold.")
    ranked = yearly.dropna(subset="rank")
    title = title or "How often the creek got this high"
    columns = ["rank", "peak_ft", "peak_time", "return_period_years"]
    table = pd.concat(
        [
            each[columns].assign(kind=kind)
            for kind, each in (
                ("annual maximum", ranked.astype({"rank": "int64"})),
                ("peak over threshold", peaks.reset_index()),
            )
            if len(each)
        ],
        ignore_index=True,
    )
    years, complete = float(peaks.attrs["years"]), int(yearly.attrs["years"])
    shown: Numbers = {
        "years": complete,
        "measured_years": round(years, 2),
        "peaks": len(peaks),
        "highest_ft": float(peaks["peak_ft"].iloc[0]),
    }
    figure, (axes,) = new_figure(4.8)
    label = (
        f"{plural(len(peaks), 'peak')} above {display.stage(threshold, 'g')}, at least 2 days apart"
    )
    hollow: dict[str, Any] = {"markersize": 5, "markerfacecolor": "none", "markeredgecolor": BLUE}
    axes.plot(
        peaks["return_period_years"], display.convert(peaks["peak_ft"]), "s", label=label, **hollow
    )
    label = f"{len(ranked)} annual maxima (calendar years)"
    axes.plot(
        ranked["return_period_years"],
        display.convert(ranked["peak_ft"]),
        "o",
        color="black",
        markersize=8,
        label=label,
    )
    axes.set_xscale("log")
    axes.set_xlim(left=0.8 * float(peaks["return_period_years"].min()), right=max(12.0, 3 * years))
    axes.margins(y=0.09)
    axes.axvspan(
        max(years, 0.01),
        axes.get_xlim()[1],
        facecolor="white",
        edgecolor="#8c8c8c",
        hatch="//",
        linewidth=0.0,
        zorder=0,
    )
    axes.text(
        0.985,
        0.05,
        "hatched: longer than the record,\nso nothing is known",
        transform=axes.transAxes,
        ha="right",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none"},
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Empirical (Weibull) return period (years)")
    axes.set_ylabel(display.label)
    axes.legend(loc="upper left", fontsize=8)
    maxima = ", ".join(f"{year}: {display.stage(ft)}" for year, ft in ranked["peak_ft"].items())
    highest = display.stage(float(shown["highest_ft"]), "g")
    description = (
        f"{title}: {plural(len(peaks), 'peak')} above {display.stage(threshold, 'g')} in"
        f" {years:.2f} measured years, the highest at {highest}, and the maxima of {complete}"
        f" complete years ({maxima})."
    )
    return finalize(
        figure,
        readings.attrs,
        title,
        description,
        shown,
        note=f"{caveat(complete)} {STAGE_NOTE}",
        table=table,
    )
