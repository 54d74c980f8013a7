"""Pictures of the creek, each with the numbers behind it and the same thing said in words.

A plot is a :class:`Picture`. Shown in a notebook it is a figure with its caption: the image, whose
alt text says what it shows, and one paragraph with what there is to see in it. The paragraph has
three readers: whoever cannot see the image, whoever wants the numbers, and nbval, which compares
text and never images.

Figures are made without pyplot, so that none stays open behind the notebook's back, and on white,
so that they read the same in JupyterLab's light and dark themes. Nothing is told by colour alone.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from creeklab.creek.samples import STAGE, TEMPERATURE, numbers, times


@dataclass(frozen=True, repr=False)
class Picture:
    """A figure, what it says in words, and the numbers behind it.

    Parameters
    ----------
    title
        One line: what the picture shows.
    description
        What there is to see in it, with its numbers, for someone who cannot see it.
    numbers
        Those numbers, under names that end in their unit; times are text.
    figure
        The matplotlib figure.
    """

    title: str
    description: str
    numbers: dict[str, int | float | str]
    figure: Figure

    def __repr__(self) -> str:
        return f"<Picture: {self.title}>"

    def png(self) -> bytes:
        """Draw the picture as PNG, at twice its size for sharp screens."""
        buffer = BytesIO()
        about = {"Title": self.title, "Description": self.description, "Software": None}
        self.figure.savefig(buffer, format="png", dpi=2 * self.figure.dpi, metadata=about)
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        width = round(self.figure.get_figwidth() * self.figure.dpi)
        data = base64.b64encode(self.png()).decode()
        return (
            "<figure>"
            f'<img alt="{escape(self.title)}: described below." width="{width}" '
            f'src="data:image/png;base64,{data}"/>'
            f"<figcaption>{escape(self.description)}</figcaption></figure>"
        )


def hydrograph(
    readings: pd.DataFrame, *, title: str | None = None, temperature: bool = False
) -> Picture:
    """Draw stage against time (UTC), with its peak.

    Parameters
    ----------
    readings
        A table of readings (see :mod:`creeklab.creek.samples`) with a column ``stage_ft``. Its
        ``attrs``, where :func:`~creeklab.creek.samples.load` set them, give title and source.
    title
        Above the picture. Default: the title of the sample.
    temperature
        Add a second panel with ``water_temperature_degC``.

    Returns
    -------
    Picture
        Its numbers: ``readings`` (with a stage), ``missing`` (without), ``start``, ``end``,
        ``start_ft``, ``end_ft``, ``lowest_ft``, ``peak_ft``, ``peak_time`` (the first of equal
        peaks); with temperature also ``coldest_degC`` and ``warmest_degC``.

    Raises
    ------
    ValueError
        The readings are no table of readings, or nothing was measured.
    """
    time, stage = times(readings), numbers(readings, STAGE)
    measured = _measured(stage, STAGE)
    first, last, peak = measured[0], measured[-1], int(np.nanargmax(stage))
    title = title or readings.attrs.get("title", "Stage of the creek")
    shown: dict[str, int | float | str] = {
        "readings": len(measured),
        "missing": len(stage) - len(measured),
        "start": _moment(time[first]),
        "end": _moment(time[last]),
        "start_ft": float(stage[first]),
        "end_ft": float(stage[last]),
        "lowest_ft": float(np.nanmin(stage)),
        "peak_ft": float(stage[peak]),
        "peak_time": _moment(time[peak]),
    }
    description = (
        f"{title}, {shown['start']} to {shown['end']}: {len(measured)} readings of stage,"
        f" {shown['missing']} missing. Stage starts at {stage[first]:.2f} ft, peaks at"
        f" {stage[peak]:.2f} ft on {shown['peak_time']} and ends at {stage[last]:.2f} ft;"
        f" the lowest is {np.nanmin(stage):.2f} ft."
    )

    figure = Figure(figsize=(9, 5.4 if temperature else 4), layout="constrained", facecolor="white")
    ratios = [2, 1] if temperature else [1]
    panels = figure.subplots(len(ratios), sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    top, bottom = panels[0], panels[-1]
    top.set_title(title, loc="left", fontweight="bold")
    _line(top, time, stage, "#08457e")
    top.set_ylabel("Stage above the gage's datum (ft)")
    top.plot(time[[peak]], stage[[peak]], "o", color="black", markersize=5)
    late = time[peak] - time[0] > time[-1] - time[peak]
    top.annotate(
        f"{stage[peak]:.2f} ft, {shown['peak_time']}",
        (time[peak], stage[peak]),
        xytext=(-8 if late else 8, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="center",
    )

    if temperature:
        water = numbers(readings, TEMPERATURE)
        _measured(water, TEMPERATURE)
        coldest, warmest = float(np.nanmin(water)), float(np.nanmax(water))
        shown |= {"coldest_degC": coldest, "warmest_degC": warmest}
        description += f" The water has between {coldest:.1f} and {warmest:.1f} °C."
        _line(bottom, time, water, "#b4530a")
        bottom.set_ylabel("Water (°C)")

    ticks = AutoDateLocator(tz="UTC")  # type: ignore[no-untyped-call]
    bottom.xaxis.set_major_locator(ticks)
    bottom.xaxis.set_major_formatter(
        ConciseDateFormatter(ticks, tz="UTC", show_offset=False)  # type: ignore[no-untyped-call]
    )
    bottom.set_xlabel(f"Time (UTC), {time[0]:%Y-%m-%d} to {time[-1]:%Y-%m-%d}")
    about = [readings.attrs[key] for key in ("site", "source", "licence") if key in readings.attrs]
    figure.supxlabel("\n".join(about), x=0.01, ha="left", fontsize=8, color="#5c5c5c")
    return Picture(title, description, shown, figure)


def _measured(values: NDArray[np.float64], column: str) -> NDArray[np.intp]:
    """Give the rows in which a value was measured."""
    rows = np.flatnonzero(~np.isnan(values))
    if not rows.size:
        raise ValueError(f"Column {column!r} has no measured value: there is nothing to draw.")
    return rows


def _line(axes: Axes, time: pd.DatetimeIndex, values: NDArray[np.float64], colour: str) -> None:
    """Draw values against time; the line breaks where a value, or a whole row, is missing."""
    moments = time.to_numpy(dtype="datetime64[us]")
    steps = np.diff(moments)
    if steps.size:
        after = np.flatnonzero(steps > 2 * np.median(steps)) + 1
        moments = np.insert(moments, after, moments[after])
        values = np.insert(values, after, np.nan)
    axes.plot(moments, values, color=colour)
    axes.grid(color="#d9d9d9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _moment(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
