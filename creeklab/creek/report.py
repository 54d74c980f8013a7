"""A flood report: one page about the floods in a record, for people who live beside the creek.

The page is a single HTML file. It contains its figures, loads nothing from the network and runs no
script, so it can be emailed, printed, and read on a phone in a field. Every number in a figure is
also in the text or in a table, and a section of its own says what a stage alone cannot tell.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from math import floor, log10
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from creeklab.creek import plots
from creeklab.creek.analysis import floods, frequency, landmarks
from creeklab.creek.analysis.summary import Summary, summarize
from creeklab.creek.history.history import History
from creeklab.creek.plots.figure_style import (
    STAGE_NOTE,
    CaptionedFigure,
    duration_text,
    join_words,
    landmark_text,
    plural,
)
from creeklab.creek.quality import quality
from creeklab.creek.quality.qartod import FAIL, SUSPECT
from creeklab.creek.readings import samples
from creeklab.creek.readings.readers import read_rdb
from creeklab.creek.readings.samples import STAGE
from creeklab.creek.readings.time_series import gaps, measured_values, normalize

GENERATOR = "creeklab report"

_MAX_LISTED = 10  # floods in the table
_MAX_OVERLAID = 5  # floods in one figure
_MAX_LEVELS = 6  # between the start of a flood and the peak, if there are no landmarks
_MIN_DAYS = 60  # A shorter record says little about what is usual, and gets no calendar.


@dataclass(frozen=True)
class _Report:
    """The data that every section of the page needs."""

    readings: pd.DataFrame
    summary: Summary
    floods: pd.DataFrame
    marks: dict[str, float]
    zone: str

    @property
    def highest(self) -> pd.Series:
        return self.floods.iloc[int(self.floods["peak_ft"].argmax())]

    def when(self, time: pd.Timestamp) -> str:
        """Return a time in the zone of the place and in UTC."""
        utc = time.tz_convert("UTC")
        if self.zone == "UTC":
            return f"{_date(utc)}, {utc:%H:%M} UTC"
        local = time.tz_convert(self.zone)
        day = "" if local.date() == utc.date() else f"{utc:%B} {utc.day}, "
        return f"{_date(local)}, {local:%H:%M} {local.tzname()} ({day}{utc:%H:%M} UTC)"


def read(name: str, thing: str | None = None) -> pd.DataFrame:
    """Read a sample by its name, a file by its path, or the history of a Thing by its folder.

    Parameters
    ----------
    name
        A sample; a history folder, or its ``s3://`` address; a USGS file (``.rdb`` or ``.txt``); or
        a CSV or Parquet file with a column ``stage_ft`` and a column ``time`` with time zones (see
        :func:`creeklab.creek.readings.time_series.normalize`).
    thing
        The Thing, if the history has several.

    Raises
    ------
    FileNotFoundError
        If there is neither such a sample nor such a file or folder.
    ValueError
        If it holds no readings, or no such Thing; the message says what is wrong.
    """
    path = Path(name)
    if name in samples.names():
        return samples.load(name)
    if "://" in name or path.is_dir():
        readings = History(name).read(thing)
        title = thing or History(name).things[0]
    elif path.is_file():
        readings, title = _file(path), path.stem
    else:
        raise FileNotFoundError(
            f"There is no sample, file or folder called {name!r}. Samples:"
            f" {', '.join(samples.names())}."
        )
    readings.attrs.setdefault("title", title)
    return readings


def _file(path: Path) -> pd.DataFrame:
    try:
        if path.suffix in (".rdb", ".txt"):
            return read_rdb(path)
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            return normalize(table, time="time" if "time" in table else None)
        return normalize(pd.read_csv(path), time="time")
    except (ValueError, OSError) as error:
        text = str(error)
        raise ValueError(text if str(path) in text else f"{path}: {text}") from error


def check_output(file: Path) -> None:
    """Check that a report can be written to this file; an older report is replaced.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    FileExistsError
        If something else has that name.
    """
    if not file.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {file.parent}. Create it first.")
    if file.is_dir():
        raise FileExistsError(
            f"{file} is a folder. Name a file in it, such as {file / 'report.html'}."
        )
    if file.exists() and GENERATOR.encode() not in file.read_bytes()[:500]:
        raise FileExistsError(
            f"{file} already exists and is not a flood report, so it was not changed. Choose"
            " another name."
        )


def write(page: str, file: Path) -> None:
    """Write a page, completely or not at all; raise as :func:`check_output` does."""
    check_output(file)
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(page, encoding="utf-8")
    draft.replace(file)


def page(
    readings: pd.DataFrame,
    *,
    start: float = floods.START_FT,
    end: float = floods.END_FT,
    marks: Mapping[str, float] | None = None,
    zone: str = "UTC",
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    start, end
        Where a flood starts and ends, in feet above the gage's datum.
    marks
        Landmarks: a name and a stage each. Without any, round stages take their place.
    zone
        The time zone of the place, such as ``"America/New_York"``; times are in this zone and in
        UTC.

    Raises
    ------
    ValueError
        If there is no flood, or the creek is never below ``end``; the message suggests thresholds.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(
            f"There is no time zone {zone!r}. Use a name such as America/New_York."
        ) from None
    summary = summarize(readings, start=start, end=end)
    _check_thresholds(readings, summary)
    peak = float(summary.numbers["highest_ft"])
    levels = landmarks.check(marks) if marks else _round_levels(start, peak)
    report = _Report(readings, summary, summary.floods, levels, zone)
    sections = [
        _overview(report),
        _highest_flood(report),
        _warning_time(report, surveyed=bool(marks)),
        _comparison(report),
        _whole_record(report),
        _missing_readings(report),
        _quality(report),
        _limitations(report),
        _source(report),
    ]
    body, title = "\n".join(sections), f"Flood report: {summary.title}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{GENERATOR}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""


def _check_thresholds(readings: pd.DataFrame, summary: Summary) -> None:
    _, stage = measured_values(readings)
    n = summary.numbers
    high, low = np.quantile(stage, [0.99, 0.95]).round(1)
    if high <= low:
        high = low + 0.1
    advice = (
        f" Use other thresholds, for instance a start of {high:.1f} ft and an end of {low:.1f} ft,"
        " which the creek exceeds 1% and 5% of the time."
    )
    if float(n["lowest_ft"]) > float(n["flood_end_ft"]):
        raise ValueError(
            f"This creek is never below {n['flood_end_ft']:g} ft, where a flood ends (its lowest"
            f" stage is {n['lowest_ft']:.2f} ft), so the whole record would be one flood." + advice
        )
    if summary.floods.empty:
        raise ValueError(
            f"There is no flood in this record: a flood starts above {n['flood_start_ft']:g} ft,"
            f" and the highest stage is {n['highest_ft']:.2f} ft, on {n['highest_time']}." + advice
        )


def _round_levels(start: float, peak: float) -> dict[str, float]:
    """Return round stages between the start of a flood and the peak."""
    rise = max(peak - start, 0.1)
    power = 10.0 ** floor(log10(rise / _MAX_LEVELS))
    step = next(power * each for each in (1, 2, 5, 10) if rise / (power * each) <= _MAX_LEVELS)
    first = floor(start / step + 1e-9) + 1
    heights = [round(n * step, 6) for n in range(first, first + _MAX_LEVELS + 1)]
    return {
        f"{height:g} ft": height for height in heights if height <= peak or height == heights[0]
    }


# --- the sections ---------------------------------------------------------------------------------


def _overview(report: _Report) -> str:
    n, top = report.summary.numbers, report.highest
    rate = top["rate_ft_per_h"]
    facts = {
        "Highest stage": f"{top['peak_ft']:.2f} ft, on {report.when(top['peak_time'])}",
        "Fastest rise": "unknown"
        if np.isnan(rate)
        else f"{rate:.1f} ft per hour, in the steepest half hour",
        "Duration": f"{duration_text(top['duration_h'])} above {n['flood_end_ft']:g} ft",
        "Floods on record": f"{len(report.floods)}, in {duration_text(24 * float(n['days']))}",
        "Missing readings": f"{n['missing']:,} ({n['missing_percent']}%)",
    }
    site = report.readings.attrs.get("site")
    return _p(
        "This page describes the floods of a creek, as a gage recorded them."
        + (f" The gage is {site}." if site else "")
        + " The stage is the height of the water at the gage. A flood starts when the stage rises"
        f" above {n['flood_start_ft']:g} ft and ends when it falls below {n['flood_end_ft']:g} ft."
        " Here are the key facts about the highest flood and the record:"
    ) + _facts(facts)


def _highest_flood(report: _Report) -> str:
    top = report.highest
    figure = plots.flood_page(
        report.readings, report.floods, int(str(top.name)), marks=report.marks
    )
    sentences = [f"The creek peaked at {top['peak_ft']:.2f} ft on {report.when(top['peak_time'])}."]
    if top["begins"] == "rise":
        sentences.append(
            f"The flood had started {duration_text(top['rise_h'])} earlier, on"
            f" {report.when(top['start'])}."
        )
    else:
        sentences.append("The start of the flood was not recorded.")
    if not np.isnan(top["half_life_h"]):
        sentences.append(
            f"Half of the rise was gone {duration_text(top['half_life_h'])} after the peak."
        )
    sentences.append(
        f"The flood was over on {report.when(top['end'])}."
        if top["ends"] == "fall"
        else "The end of the flood was not recorded."
    )
    return _section("The highest flood", _p(" ".join(sentences)), _figure(figure))


def _warning_time(report: _Report, *, surveyed: bool) -> str:
    alert = float(report.floods.attrs["start_ft"])
    lead = landmarks.lead_times(report.readings, report.floods, report.marks)
    if lead.empty:
        return _section(
            "Warning time",
            _p(
                "Either no flood was recorded from its beginning, or no landmark is higher than the"
                " stage at which a flood starts."
            ),
        )
    observed = int(lead["flood"].nunique())
    rows = []
    for name, each in lead.groupby("landmark", sort=False):
        reached = each[each["reached"]]
        in_highest = reached[reached["flood"] == report.highest.name]["lead_h"]
        forecast = reached["forecast_h"].replace(np.inf, np.nan)
        rows.append(
            {
                "Stage": landmark_text(str(name), float(each["landmark_ft"].iloc[0])),
                "Floods that reached it": f"{len(reached)} of {observed}",
                "Highest flood": _lead(in_highest.iloc[0]) if len(in_highest) else "not reached",
                "Shortest": _lead(reached["lead_h"].min()) if len(reached) else "",
                "Median": _lead(reached["lead_h"].median()) if len(reached) else "",
                "Straight-line forecast": duration_text(forecast.median())
                if forecast.notna().any()
                else "",
            }
        )
    text = (
        f"How much time would a warning at {alert:g} ft have given people beside the creek? The"
        f" table shows the time from the first reading above {alert:g} ft until the creek reached"
        " each stage. The last column shows what people would have expected at that first reading,"
        " from a straight line at the current rate of rise (the median over the floods that got"
        " there)."
    )
    if not surveyed:
        text += (
            " No landmarks have been surveyed for this creek, so the table uses round numbers"
            " instead."
        )
    return _section(
        "Warning time",
        _p(text),
        _table(pd.DataFrame(rows).set_index("Stage"), "Time from the start of a flood"),
    )


def _lead(hours: float) -> str:
    return duration_text(hours) if hours > 0 else "at once"


def _comparison(report: _Report) -> str:
    order = report.floods.sort_values("peak_ft", ascending=False, kind="stable")
    if len(order) == 1:
        return _section(
            "How it compares",
            _p("This record has only one flood, so there is nothing to compare it with."),
        )
    table = pd.DataFrame(
        {
            "Peak (UTC)": [f"{time:%Y-%m-%d %H:%M}" for time in order["peak_time"]],
            "Peak": [f"{ft:.2f} ft" for ft in order["peak_ft"]],
            "Fastest rise": [
                "" if np.isnan(rate) else f"{rate:.1f} ft/h" for rate in order["rate_ft_per_h"]
            ],
            "Start to peak": ["" if np.isnan(h) else duration_text(h) for h in order["rise_h"]],
            "Duration": [
                f"{'' if begins == 'rise' and ends == 'fall' else 'at least '}{duration_text(h)}"
                for h, begins, ends in zip(
                    order["duration_h"], order["begins"], order["ends"], strict=True
                )
            ],
        },
        index=pd.Index(range(1, len(order) + 1), name="Rank"),
    )
    limited = f" The table lists the {_MAX_LISTED} highest." if len(order) > _MAX_LISTED else ""
    years = frequency.annual_maxima(report.readings, year="calendar")
    yearly = order.groupby(pd.DatetimeIndex(order["peak_time"]).year).size()
    by_year = join_words(f"{count} in {year}" for year, count in yearly.sort_index().items())
    body = [
        _p(f"The record has {len(order)} floods: {by_year}.{limited}"),
        _table(table.head(_MAX_LISTED), "The highest floods"),
        _figure(plots.overlay(report.readings, order.head(_MAX_OVERLAID))),
    ]
    if years.attrs["years"] >= 2:
        start = float(report.floods.attrs["start_ft"])
        body.append(_figure(plots.return_periods(report.readings, start)))
    return _section("How it compares", *body)


def _whole_record(report: _Report) -> str:
    n = report.summary.numbers
    limits = {"flood starts": float(n["flood_start_ft"]), "flood ends": float(n["flood_end_ft"])}
    body = [_figure(plots.hydrograph(report.readings, thresholds=limits))]
    if float(n["days"]) >= _MIN_DAYS:
        body.append(_figure(plots.calendar(report.readings, limits["flood starts"])))
        body.append(_figure(plots.duration_curve(report.readings, thresholds=limits)))
    return _section("The whole record", *body)


def _missing_readings(report: _Report) -> str:
    missing = gaps(report.readings)
    if missing.empty:
        return _section("Missing readings", _p("No reading of the stage is missing."))
    longest = missing.nlargest(5, "hours")
    table = pd.DataFrame(
        {
            "From (UTC)": [f"{time:%Y-%m-%d %H:%M}" for time in longest["start"]],
            "To (UTC)": [f"{time:%Y-%m-%d %H:%M}" for time in longest["end"]],
            "Duration": [duration_text(hours) for hours in longest["hours"]],
            "Readings": [f"{count:,}" for count in longest["readings"]],
        },
        index=pd.Index(range(1, len(longest) + 1), name="Gap"),
    )
    inside = int((report.floods["longest_gap_h"] > 0).sum())
    effect = (
        f"Readings are missing in {plural(inside, 'flood')}, so a peak may have been higher."
        if inside
        else "None of the gaps is in a recorded flood."
    )
    return _section(
        "Missing readings",
        _p(
            f"{int(missing['readings'].sum()):,} readings are missing, in"
            f" {plural(len(missing), 'gap')}. {effect} A flood that came and went during a gap is"
            " not on this page."
        ),
        _table(table, "The longest gaps"),
        _figure(plots.missing(report.readings, [STAGE])),
    )


def _quality(report: _Report) -> str:
    checked = quality.check(report.readings)
    flags = checked.flags["overall"].to_numpy()
    failed, suspect = (int((flags == flag).sum()) for flag in (FAIL, SUSPECT))
    text = (
        "Every reading was tested (QARTOD) for spikes, jumps, flat lines, drift and stages where"
        f" the creek never is, with limits from its own record: {failed:,} fail and {suspect:,} are"
        " suspect."
    )
    if float(report.summary.numbers["days"]) < _MIN_DAYS:
        text += (
            " This record is short, so its limits say little: a fault that lasts as long as the"
            " record would look like the creek itself."
        )
    faults = checked.intervals[checked.intervals["kind"] != "missing"]
    items = [
        f"{kind.capitalize()}: {fault}"
        for kind, fault in zip(faults["kind"], faults["text"], strict=True)
    ]
    if len(items) > 10:
        items[10:] = [f"and {len(items) - 10} more"]
    return _section(
        "How good the record is",
        _p(text),
        _list(items) if items else _p("No test found a fault."),
        _p(
            "No reading was removed or changed, because a suspect reading can be the peak of the"
            " worst flood."
        ),
    )


def _limitations(report: _Report) -> str:
    years = int(frequency.annual_maxima(report.readings, year="calendar").attrs["years"])
    return _section(
        "What this page cannot tell you",
        _list(
            [
                "How much water came. The stage is a height. The volume also depends on the width"
                " and the speed of the water, which someone would have to measure.",
                "How high the water stood anywhere else, for instance on your land. The stage is a"
                " height above this gage's own datum, and it cannot be compared with another"
                " gage's.",
                "Why the creek rose. This record contains no rainfall.",
                f"How rare such a flood is. {frequency.caveat(years)}",
                "What comes next. This is a record, not a warning: warnings come from your weather"
                " service.",
            ]
        ),
    )


def _source(report: _Report) -> str:
    attrs, n = report.readings.attrs, report.summary.numbers
    facts = {
        "Gage": attrs.get("site", "not stated"),
        "Source": attrs.get("source", "not stated"),
        "License": attrs.get("license", "not stated"),
        "Datum": attrs.get("datum", "not stated"),
        "Processing": attrs.get("processing") or "none known",
        "Record": f"{n['start']} to {n['end']}, {n['readings']:,} readings of the stage",
    }
    return _section("Where the readings come from", _facts(facts))


# --- HTML elements --------------------------------------------------------------------------------


def _section(title: str, *body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(body) + "\n</section>"


def _date(time: pd.Timestamp) -> str:
    return f"{time:%B} {time.day}, {time.year}"


def _facts(facts: dict[str, str]) -> str:
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return f"<dl>{rows}</dl>"


def _list(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _p(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _figure(figure: CaptionedFigure) -> str:
    """Return a figure that a narrow screen scrolls sideways instead of shrinking its text."""
    data = base64.b64encode(figure.png()).decode()
    width, height = (round(each * 100) for each in figure.figure.get_size_inches())
    title = escape(figure.title)
    description = figure.description.replace(STAGE_NOTE, "")  # A section of the page says this.
    return (
        f'<figure><div class="wide" role="region" tabindex="0" aria-label="{title}">'
        f'<img alt="{title}: described below." width="{width}" height="{height}"'
        f' src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{escape(' '.join(description.split()))}</figcaption></figure>"
    )


def _table(table: pd.DataFrame, caption: str) -> str:
    head = "".join(
        f'<th scope="col">{escape(str(each))}</th>' for each in [table.index.name, *table.columns]
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>{_cells(cells)}</tr>'
        for name, *cells in table.itertuples()
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(cells: Iterable[object]) -> str:
    return "".join(f"<td>{escape(str(each))}</td>" for each in cells)


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #8a8a8a; --quiet: #4a4a4a }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16191d; --line: #6f7a85; --quiet: #b9c0c7 }
}
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.55 system-ui, sans-serif }
main { max-width: 56rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word }
h1 { font-size: 1.7rem; line-height: 1.2 }
h2 { font-size: 1.3rem; margin-top: 2.2rem; border-top: 1px solid var(--line); padding-top: 1rem }
p, li, dd { max-width: 44rem }
dl { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .35rem 1rem }
dt { font-weight: 600 } dd { margin: 0; min-width: 0 }
figure { margin: 1.2rem 0 }
figcaption { color: var(--quiet); font-size: .92rem; max-width: 44rem; margin-top: .4rem }
.wide { overflow-x: auto }
.wide:focus-visible { outline: 3px solid #3b8fc4; outline-offset: 2px }
img { display: block; width: 100%; min-width: 38rem; max-width: 56.25rem; height: auto;
  background: #fff }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
td, tbody th { white-space: nowrap }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .5rem } }
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --line: #666; --quiet: #222 }
  body { font-size: 10pt } main { max-width: none; padding: 0 }
  .wide { overflow: visible } img { min-width: 0; max-width: 100% }
  figure, tr, li { break-inside: avoid } h2 { break-after: avoid }
}
"""
