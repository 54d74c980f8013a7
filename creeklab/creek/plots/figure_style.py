"""What every picture of the creek has in common: paper, lines, labels, and the words below it.

A plot is a :class:`Picture`. Shown in a notebook it is a figure with its caption: the image, whose
alt text says what it shows, and one paragraph with what there is to see in it. The paragraph has
three readers: whoever cannot see the image, whoever wants the numbers, and nbval, which compares
text and never images.

Figures are made without pyplot, so that none stays open behind the notebook's back, and on white,
so that they read the same in JupyterLab's light and dark themes. Nothing is told by colour alone:
lines differ in their dashes and markers too, areas in their hatches, and of two colours one is
darker. Below each stands where the readings come from, and what they cannot say.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from creeklab.creek.analysis.landmarks import check
from creeklab.creek.readings.time_series import seconds

Numbers = dict[str, int | float | str]
Floats = NDArray[np.float64]

BLUE, BROWN, GREY, PALE = "#08457e", "#b4530a", "#5c5c5c", "#d9d9d9"
STAGE_LABEL = "Stage above the gage's datum (ft)"
STAGE_NOTE = (
    "Stage is a height above this gage's own datum: it is no volume of water, and not to be"
    " compared with the stage of another gage."
)

# One after the other they can be told apart in grey.
STYLES: Sequence[dict[str, Any]] = (
    {"color": "black", "linestyle": "-", "marker": "o"},
    {"color": BLUE, "linestyle": "--", "marker": "s"},
    {"color": BROWN, "linestyle": "-.", "marker": "^"},
    {"color": "#3b8fc4", "linestyle": ":", "marker": "D"},
    {"color": "#7a5195", "linestyle": (0, (7, 2, 1, 2, 1, 2)), "marker": "v"},
    {"color": GREY, "linestyle": (0, (1, 1)), "marker": "x"},
)
_DASHES: Sequence[Any] = ("--", ":", "-.", (0, (7, 2, 1, 2, 1, 2)))
_MOST = 3000  # stretches that a line is made of, however many readings it has
_LETTERS = 140  # in a line of small print


@dataclass(frozen=True, repr=False, eq=False)
class CaptionedFigure:
    """A figure, what it says in words, and the numbers behind it.

    Parameters
    ----------
    title
        One line: what the picture shows.
    description
        What there is to see in it, with its numbers, for someone who cannot see it.
    numbers
        Those numbers, under names that end in their unit; times are text. What is not known has
        no name here.
    figure
        The matplotlib figure.
    table
        Where more than a few numbers are drawn: all of them, one row for each bar or point.
    """

    title: str
    description: str
    numbers: Numbers
    figure: Figure
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __repr__(self) -> str:
        return f"<Picture: {self.title}>"

    def png(self) -> bytes:
        """Draw the picture as PNG, at twice its size for sharp screens."""
        buffer = BytesIO()
        about = {"Title": self.title, "Description": self.description, "Software": None}
        self.figure.savefig(buffer, format="png", dpi=2 * self.figure.dpi, metadata=about)
        return buffer.getvalue()

    def html(self) -> str:
        """Give the picture with its caption as HTML that needs no other file."""
        width = round(self.figure.get_figwidth() * self.figure.dpi)
        data = base64.b64encode(self.png()).decode()
        return (
            '<figure style="margin: 0">'
            f'<img alt="{escape(self.title)}: described below." width="{width}" '
            f'style="max-width: 100%; height: auto" src="data:image/png;base64,{data}"/>'
            f"<figcaption>{escape(self.description)}</figcaption></figure>"
        )

    def _repr_html_(self) -> str:
        return self.html()


def new_figure(
    height: float = 4.0, ratios: Sequence[float] = (1,), *, share: bool = True
) -> tuple[Figure, list[Axes]]:
    """Give a white figure with panels below each other, of these relative heights."""
    figure = Figure(figsize=(9, height), layout="constrained", facecolor="white")
    panels = figure.subplots(len(ratios), sharex=share, squeeze=False, height_ratios=ratios)[:, 0]
    for axes in panels:
        axes.grid(color=PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(panels)


def finalize(
    figure: Figure,
    attrs: Mapping[Any, Any],
    *,
    title: str,
    words: str,
    numbers: Numbers,
    note: str = STAGE_NOTE,
    table: pd.DataFrame | None = None,
) -> CaptionedFigure:
    """Write title, source and what cannot be said on a figure, and make a picture of it."""
    figure.axes[0].set_title(title, loc="left", fontweight="bold")
    about = [str(attrs[key]) for key in ("site", "source", "licence") if key in attrs]
    small = [line for text in [*about, note] for line in textwrap.wrap(text, _LETTERS)]
    figure.supxlabel("\n".join(small), x=0.01, ha="left", fontsize=8, color=GREY)
    said = f"{words} {note}"
    return CaptionedFigure(title, said, numbers, figure, pd.DataFrame() if table is None else table)


def line(axes: Axes, time: pd.DatetimeIndex, values: Floats, colour: str) -> None:
    """Draw values against time; the line breaks where a value, or a whole row, is missing."""
    moments = time.to_numpy(dtype="datetime64[us]")
    steps = np.diff(moments)
    if steps.size:
        after = np.flatnonzero(steps > 2 * np.median(steps)) + 1
        moments = np.insert(moments, after, moments[after])
        values = np.insert(values, after, np.nan)
    rows = outline(values)
    axes.plot(moments[rows], values[rows], color=colour, linewidth=1.2)


def outline(values: Floats, most: int = _MOST) -> NDArray[np.intp]:
    """Choose rows that look the same when drawn as all of them, so that no peak is lost.

    Of each of many equal stretches these are the first row, the lowest, the highest, the last, and
    the first one that is missing.
    """
    long = -(-values.size // most)
    if long <= 4:
        return np.arange(values.size)
    padded = np.append(values, np.full(-values.size % long, np.nan)).reshape(-1, long)
    gone = np.isnan(padded)
    chosen = np.column_stack(
        [
            np.zeros(len(padded), dtype=np.intp),
            np.where(gone, np.inf, padded).argmin(axis=1),
            np.where(gone, -np.inf, padded).argmax(axis=1),
            gone.argmax(axis=1),
            np.full(len(padded), long - 1),
        ]
    )
    rows = chosen + np.arange(len(padded))[:, None] * long
    return np.unique(np.minimum(rows, values.size - 1))


def time_axis(axes: Axes, time: pd.DatetimeIndex) -> None:
    """Label the axis of time, in UTC."""
    ticks = AutoDateLocator(tz="UTC")  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(ticks, tz="UTC", show_offset=False)  # type: ignore[no-untyped-call]
    )
    axes.set_xlabel(f"Time (UTC), {time[0]:%Y-%m-%d} to {time[-1]:%Y-%m-%d}")


def levels(axes: Axes, marks: Mapping[str, float]) -> None:
    """Draw stages with a name as dashed lines, each labelled at its right end."""
    heights = check(marks)
    low, high = axes.get_ylim()
    high = max(high, *(height + 0.04 * (high - low) for height in heights.values()))
    axes.set_ylim(low, high)
    least = low
    for number, (name, height) in enumerate(heights.items()):
        axes.axhline(height, color=GREY, linestyle=_DASHES[number % len(_DASHES)], linewidth=1)
        # Labels of lines that are close go beside each other's, not over them.
        label = max(height, least)
        least = label + 0.055 * (high - low)
        axes.annotate(
            landmark(name, height, "{} {}"),
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(1.012, label),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def hatch_gaps(axes: Axes, missing: pd.DataFrame) -> None:
    """Hatch the times at which nothing was measured; ``missing`` is from ``series.gaps``."""
    for start, end in zip(missing["start"], missing["end"], strict=True):
        axes.axvspan(
            start.to_datetime64(),
            end.to_datetime64(),
            facecolor="#efefef",
            edgecolor="#8c8c8c",
            hatch="////",
            linewidth=0.4,
            zorder=0,
        )


def moment(time: pd.Timestamp) -> str:
    """Give a time as text."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def landmark(name: str, height: float, form: str = "{} ({})") -> str:
    """Give a landmark with its stage, which its name may say already."""
    stage = f"{height:g} ft"
    return name if stage in name else form.format(name, stage)


def span(hours: float) -> str:
    """Say how long something took."""
    if hours < 2:
        return f"{hours * 60:.0f} minutes"
    if hours < 48:
        return f"{hours:.1f} hours"
    days = hours / 24
    return f"{days:.1f} days" if days < 730 else f"{days / 365.25:.1f} years"


def clip(readings: pd.DataFrame, first: float, last: float) -> pd.DataFrame:
    """Take the readings between two times in seconds since 1970, both included."""
    at = seconds(pd.DatetimeIndex(readings.index))
    part = readings.iloc[
        int(np.searchsorted(at, first)) : int(np.searchsorted(at, last, side="right"))
    ]
    part.attrs = dict(readings.attrs)
    return part


def valid(numbers: Mapping[str, Any]) -> Numbers:
    """Leave out what is not known, and give times as text."""
    said: Numbers = {}
    for name, value in numbers.items():
        if isinstance(value, str):
            said[name] = value
        elif not pd.isna(value):
            if isinstance(value, pd.Timestamp):
                said[name] = moment(value)
            else:
                said[name] = int(value) if isinstance(value, np.integer) else value
    return {k: round(float(v), 3) if isinstance(v, float) else v for k, v in said.items()}


def plural(count: int, thing: str) -> str:
    """Count things: 1 flood, 74 floods."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def join_words(words: Iterable[str]) -> str:
    """Join words as in a sentence: a, b and c."""
    *first, last = list(words)
    return f"{', '.join(first)} and {last}" if first else last
