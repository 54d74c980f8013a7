"""What all figures of the creek share: layout, lines, labels and the caption.

A plot is a :class:`CaptionedFigure`. In a notebook it appears as an image with alt text, and a
caption of one paragraph that describes what the image shows. The paragraph is for people who cannot
see the image, for people who want the numbers, and for nbval, which compares text and never images.

Figures are made without pyplot, so that none stays open in the background, and on white. In
JupyterLab's dark theme, a style inverts them and keeps their hues. Color alone never carries
information: lines also differ in dashes and markers, areas in hatches, and of two colors one is
darker. Below each figure stand the source of the readings and what they cannot show.
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
from creeklab.creek.readings.display import DEFAULT, Display
from creeklab.creek.readings.time_series import is_gap, seconds

Numbers = dict[str, int | float | str]
Floats = NDArray[np.float64]

BLUE, BROWN, GRAY, PALE = "#08457e", "#b4530a", "#5c5c5c", "#d9d9d9"
STAGE_NOTE = (
    "Stage is a height above this gage's own datum. It is not a volume of water, and it cannot be"
    " compared with the stage at another gage."
)

# These can also be told apart in grayscale.
STYLES: Sequence[dict[str, Any]] = (
    {"color": "black", "linestyle": "-", "marker": "o"},
    {"color": BLUE, "linestyle": "--", "marker": "s"},
    {"color": BROWN, "linestyle": "-.", "marker": "^"},
    {"color": "#3b8fc4", "linestyle": ":", "marker": "D"},
    {"color": "#7a5195", "linestyle": (0, (7, 2, 1, 2, 1, 2)), "marker": "v"},
    {"color": GRAY, "linestyle": (0, (1, 1)), "marker": "x"},
)
_DASHES: Sequence[Any] = ("--", ":", "-.", (0, (7, 2, 1, 2, 1, 2)))
# JupyterLab's dark theme: light on dark, with the same hues.
_DARK_THEME = (
    '<style>[data-jp-theme-light="false"] figure img[alt$=": described below."] '
    "{ filter: invert(0.88) hue-rotate(180deg); }</style>"
)
_MAX_SEGMENTS = 3000  # in a line, however many readings it has
_SMALL_PRINT_WIDTH = 140  # characters


@dataclass(frozen=True, repr=False, eq=False)
class CaptionedFigure:
    """A figure, its description, and the numbers behind it.

    Parameters
    ----------
    title
        One line that says what the figure shows.
    description
        What there is to see in it, with its numbers, for someone who cannot see it.
    numbers
        Those numbers, under names that end in their unit; times are text. Unknown numbers are left
        out.
    figure
        The matplotlib figure.
    table
        If more than a few numbers are drawn: all of them, one row for each bar or point.
    """

    title: str
    description: str
    numbers: Numbers
    figure: Figure
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __repr__(self) -> str:
        return f"<CaptionedFigure: {self.title}>"

    def png(self) -> bytes:
        """Return the figure as PNG, at twice its size for sharp screens."""
        buffer = BytesIO()
        metadata = {"Title": self.title, "Description": self.description, "Software": None}
        self.figure.savefig(buffer, format="png", dpi=2 * self.figure.dpi, metadata=metadata)
        return buffer.getvalue()

    def html(self) -> str:
        """Return the figure with its caption as HTML that needs no other file."""
        width = round(self.figure.get_figwidth() * self.figure.dpi)
        data = base64.b64encode(self.png()).decode()
        return (
            '<figure style="margin: 0">'
            f'<img alt="{escape(self.title)}: described below." width="{width}" '
            f'style="max-width: 100%; height: auto" src="data:image/png;base64,{data}"/>'
            f"<figcaption>{escape(self.description)}</figcaption></figure>"
        )

    def _repr_html_(self) -> str:
        return _DARK_THEME + self.html()


def new_figure(
    height: float = 4.0, ratios: Sequence[float] = (1,), *, share: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a white figure with panels below each other, with these relative heights."""
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
    title: str,
    description: str,
    numbers: Numbers,
    *,
    note: str = STAGE_NOTE,
    table: pd.DataFrame | None = None,
) -> CaptionedFigure:
    """Add title, source and note to a figure; return it with its description."""
    figure.axes[0].set_title(title, loc="left", fontweight="bold")
    source = [str(attrs[key]) for key in ("site", "source", "license") if key in attrs]
    lines = [line for text in [*source, note] for line in textwrap.wrap(text, _SMALL_PRINT_WIDTH)]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color=GRAY)
    table = pd.DataFrame() if table is None else table
    return CaptionedFigure(title, f"{description} {note}", numbers, figure, table)


def draw_line(axes: Axes, time: pd.DatetimeIndex, values: Floats, color: str) -> None:
    """Draw values against time; the line breaks where a value, or a whole row, is missing."""
    moments = time.to_numpy(dtype="datetime64[us]")
    after = np.flatnonzero(is_gap(seconds(time))) + 1
    moments, values = np.insert(moments, after, moments[after]), np.insert(values, after, np.nan)
    rows = outline_rows(values)
    axes.plot(moments[rows], values[rows], color=color, linewidth=1.2)


def outline_rows(values: Floats, max_segments: int = _MAX_SEGMENTS) -> NDArray[np.intp]:
    """Return rows that look the same as all of them when drawn, so that no peak is lost.

    The rows are divided into equal segments. For each, return the first row, the lowest, the
    highest, the last, and the first missing one.
    """
    length = -(-values.size // max_segments)
    if length <= 4:
        return np.arange(values.size)
    padded = np.append(values, np.full(-values.size % length, np.nan)).reshape(-1, length)
    missing = np.isnan(padded)
    chosen = np.column_stack(
        [
            np.zeros(len(padded), dtype=np.intp),
            np.where(missing, np.inf, padded).argmin(axis=1),
            np.where(missing, -np.inf, padded).argmax(axis=1),
            missing.argmax(axis=1),
            np.full(len(padded), length - 1),
        ]
    )
    rows = chosen + np.arange(len(padded))[:, None] * length
    return np.unique(np.minimum(rows, values.size - 1))


def time_axis(axes: Axes, time: pd.DatetimeIndex, display: Display) -> None:
    """Label the time axis."""
    zone = display.zone
    ticks = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(ticks, tz=zone, show_offset=False)  # type: ignore[no-untyped-call]
    )
    axes.set_xlabel(f"Time ({zone}), {display.day(time[0])} to {display.day(time[-1])}")


def draw_levels(axes: Axes, marks: Mapping[str, float], display: Display) -> None:
    """Draw named stages (ft) as dashed lines, each labeled at its right end."""
    heights = {name: display.convert(height) for name, height in check(marks).items()}
    low, high = axes.get_ylim()
    high = max(high, *(height + 0.04 * (high - low) for height in heights.values()))
    axes.set_ylim(low, high)
    min_label = low
    for number, (name, height) in enumerate(heights.items()):
        axes.axhline(height, color=GRAY, linestyle=_DASHES[number % len(_DASHES)], linewidth=1)
        # Keep the labels of close lines from overlapping.
        label = max(height, min_label)
        min_label = label + 0.055 * (high - low)
        axes.annotate(
            landmark_text(name, marks[name], display, "{} {}"),
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(1.012, label),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def hatch_gaps(axes: Axes, missing: pd.DataFrame) -> None:
    """Hatch the gaps; ``missing`` is from :func:`~creeklab.creek.readings.time_series.gaps`."""
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


def landmark_text(name: str, height: float, display: Display, form: str = "{} ({})") -> str:
    """Return the name of a landmark with its stage, unless the name contains it already."""
    stage = display.stage(height, "g")
    return name if stage in name else form.format(name, stage)


def duration_text(hours: float) -> str:
    """Return a duration as text."""
    if hours < 2:
        return f"{hours * 60:.0f} minutes"
    if hours < 48:
        return f"{hours:.1f} hours"
    days = hours / 24
    return f"{days:.1f} days" if days < 730 else f"{days / 365.25:.1f} years"


def clip(readings: pd.DataFrame, first: float, last: float) -> pd.DataFrame:
    """Return the readings between two times in seconds since 1970, both inclusive."""
    at = seconds(pd.DatetimeIndex(readings.index))
    part = readings.iloc[
        int(np.searchsorted(at, first)) : int(np.searchsorted(at, last, side="right"))
    ]
    part.attrs = dict(readings.attrs)
    return part


def valid(numbers: Mapping[str, Any]) -> Numbers:
    """Return the numbers that are known, with times as text."""
    known: Numbers = {}
    for name, value in numbers.items():
        if isinstance(value, str):
            known[name] = value
        elif not pd.isna(value):
            if isinstance(value, pd.Timestamp):
                known[name] = DEFAULT.time(value)
            else:
                known[name] = int(value) if isinstance(value, np.integer) else value
    return {k: round(float(v), 3) if isinstance(v, float) else v for k, v in known.items()}


def plural(count: int, thing: str) -> str:
    """Return a count with its noun: 1 flood, 74 floods."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def join_words(items: Iterable[str]) -> str:
    """Join items as in a sentence: a, b and c."""
    *first, last = list(items)
    return f"{', '.join(first)} and {last}" if first else last
