"""A flood report: one page about the floods of a record, for whoever lives beside the creek.

The page is one HTML file. It holds its pictures, asks the network for nothing and runs no script,
so it can be mailed, printed, and read on a phone in a field. Every number in a picture is also in
words or in a table, and what a stage alone cannot tell is said, in a section of its own.
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
    join_words,
    landmark,
    plural,
    span,
)
from creeklab.creek.quality import quality
from creeklab.creek.quality.qartod import FAIL, SUSPECT
from creeklab.creek.readings import samples
from creeklab.creek.readings.readers import read_rdb
from creeklab.creek.readings.samples import STAGE
from creeklab.creek.readings.time_series import gaps, measured_values, normalize

GENERATOR = "creeklab report"

_LISTED = 10  # floods in the table
_LAID = 5  # floods laid over each other
_LEVELS = 6  # made up between the start of a flood and the peak, where there are no landmarks
_JUDGED_DAYS = 60  # shorter, a record's own limits say little, and it has no calendar


@dataclass(frozen=True)
class _Record:
    """What the page is about."""

    readings: pd.DataFrame
    summary: Summary
    floods: pd.DataFrame
    marks: dict[str, float]
    zone: str

    @property
    def highest(self) -> pd.Series:
        return self.floods.iloc[int(self.floods["peak_ft"].argmax())]

    def when(self, time: pd.Timestamp) -> str:
        """Give a time, in UTC and in the zone of the place."""
        utc = f"{time.day} {time:%B %Y, %H:%M} UTC"
        if self.zone == "UTC":
            return utc
        local = time.tz_convert(self.zone)
        day = "" if local.date() == time.date() else f" on {local.day} {local:%B}"
        return f"{utc} ({local:%H:%M} {local.tzname()}{day})"


def read(name: str, thing: str | None = None) -> pd.DataFrame:
    """Read a sample by its name, a file by its path, or a Thing's history by its folder.

    Parameters
    ----------
    name
        A sample; a history's folder, or its ``s3://`` address; a file of the USGS's (``.rdb`` or
        ``.txt``); or a CSV or Parquet file with a column ``stage_ft`` and its times in a column
        ``time``, with their zone (see :func:`creeklab.creek.readings.time_series.tidy`).
    thing
        Whose history; may be left out if it has only one Thing.

    Raises
    ------
    FileNotFoundError
        There is neither such a sample nor such a file or folder.
    ValueError
        It holds no readings, or no such Thing; the message says what is wrong.
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
            f"There is no sample and no file called {name!r}. Samples:"
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
        said = str(error)
        raise ValueError(said if str(path) in said else f"{path}: {said}") from error


def check_output(file: Path) -> None:
    """See whether a report may be written there; an older report of the same name is replaced.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FileExistsError
        There is something else of that name.
    """
    if not file.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {file.parent}. Make it first.")
    if file.is_dir():
        raise FileExistsError(
            f"{file} is a folder. Name a file in it, such as {file / 'report.html'}."
        )
    if file.exists() and GENERATOR.encode() not in file.read_bytes()[:500]:
        raise FileExistsError(
            f"{file} is there already and is no flood report, so it was left alone. Choose another"
            " name."
        )


def write(page: str, file: Path) -> None:
    """Write a page, whole or not at all; raises as :func:`check_output` does."""
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
    """Make the page.

    Parameters
    ----------
    readings
        A table of readings.
    start, end
        Where a flood starts and ends, in feet above the gage's datum.
    marks
        Landmarks: a name and a stage each. Without any, some round stages take their place.
    zone
        The time zone of the place, such as ``"America/New_York"``; times are given in it too.

    Raises
    ------
    ValueError
        There is no flood, or the creek never is below ``end``; the message names thresholds that
        would do. Or these are no readings, or nothing was measured.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(
            f"There is no time zone {zone!r}. One is called America/New_York."
        ) from None
    found = summarize(readings, start=start, end=end)
    _check_thresholds(readings, found)
    peak = float(found.numbers["highest_ft"])
    record = _Record(
        readings,
        found,
        found.floods,
        landmarks.check(marks) if marks else _levels(start, peak),
        zone,
    )
    sections = [
        _what_happened(record),
        _warning_time(record, made_up=not marks),
        _how_it_compares(record),
        _whole_record(record),
        _what_is_missing(record),
        _how_good(record),
        _what_cannot_be_said(record),
        _source(record),
    ]
    title = f"Flood report: {found.title}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta name="generator" content="{GENERATOR}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>{escape(title)}</h1>",
            _in_short(record),
            *sections,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _check_thresholds(readings: pd.DataFrame, found: Summary) -> None:
    _, stage = measured_values(readings)
    n = found.numbers
    high, low = np.quantile(stage, [0.99, 0.95]).round(1)
    if high <= low:
        high = low + 0.1
    instead = (
        f" Its own thresholds may be, for instance, a start of {high:.1f} ft and an end of"
        f" {low:.1f} ft, which it reaches 1 % and 5 % of the time."
    )
    if float(n["lowest_ft"]) > float(n["flood_end_ft"]):
        raise ValueError(
            f"This creek never is below {n['flood_end_ft']:g} ft, where a flood is to end (its"
            f" lowest stage is {n['lowest_ft']:.2f} ft), so all of the record would be one flood."
            + instead
        )
    if found.floods.empty:
        raise ValueError(
            f"There is no flood in this record: one starts above {n['flood_start_ft']:g} ft, and"
            f" the highest stage is {n['highest_ft']:.2f} ft, on {n['highest_time']}." + instead
        )


def _levels(start: float, peak: float) -> dict[str, float]:
    """Make up round stages between the start of a flood and the peak."""
    wide = max(peak - start, 0.1)
    power = 10.0 ** floor(log10(wide / _LEVELS))
    step = next(power * each for each in (1, 2, 5, 10) if wide / (power * each) <= _LEVELS)
    first = floor(start / step + 1e-9) + 1
    heights = [round(n * step, 6) for n in range(first, first + _LEVELS + 1)]
    return {
        f"{height:g} ft": height for height in heights if height <= peak or height == heights[0]
    }


# --- the sections ---------------------------------------------------------------------------------


def _in_short(record: _Record) -> str:
    n, top = record.summary.numbers, record.highest
    count = len(record.floods)
    facts = {
        "Highest stage": f"{top['peak_ft']:.2f} ft, on {record.when(top['peak_time'])}",
        "How fast it rose": "not known"
        if np.isnan(top["rate_ft_per_h"])
        else f"{top['rate_ft_per_h']:.1f} ft an hour in the steepest half hour",
        "How long it lasted": f"{span(top['duration_h'])} above {n['flood_end_ft']:g} ft",
        "Floods in this record": f"{count}, in {span(24 * float(n['days']))}",
        "Readings missing": f"{n['missing']:,} ({n['missing_percent']} %)",
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    place = record.readings.attrs.get("site")
    about = f" The gage: {place}." if place else ""
    return (
        _p(
            f"What a gage recorded of this creek, and what it means.{about} A flood here starts"
            f" when the stage, the height of the water at the gage, rises above"
            f" {n['flood_start_ft']:g} ft, and ends when it has fallen below"
            f" {n['flood_end_ft']:g} ft."
        )
        + f"<dl>{rows}</dl>"
    )


def _what_happened(record: _Record) -> str:
    number = int(str(record.highest.name))
    drawn = plots.flood_page(record.readings, record.floods, number, marks=record.marks)
    top = record.highest
    words = [f"The creek peaked at {top['peak_ft']:.2f} ft on {record.when(top['peak_time'])}."]
    if top["begins"] == "rise":
        words.append(
            f"It had become a flood {span(top['rise_h'])} before, on {record.when(top['start'])}."
        )
    else:
        words.append("How it began was not recorded.")
    if not np.isnan(top["half_life_h"]):
        words.append(
            f"{span(top['half_life_h']).capitalize()} after the peak half of its rise was gone."
        )
    words.append(
        f"It was over on {record.when(top['end'])}."
        if top["ends"] == "fall"
        else "How it ended was not recorded."
    )
    return _section("What happened in the highest flood", _p(" ".join(words)), _figure(drawn))


def _warning_time(record: _Record, *, made_up: bool) -> str:
    alert = float(record.floods.attrs["start_ft"])
    lead = landmarks.lead_times(record.readings, record.floods, record.marks)
    seen = int(lead["flood"].nunique())
    if lead.empty:
        return _section(
            "How long one had",
            _p("No flood of this record was seen to begin, or no landmark is above the start."),
        )
    rows = []
    for name, each in lead.groupby("landmark", sort=False):
        there = each[each["reached"]]
        own = there[there["flood"] == record.highest.name]["lead_h"]
        said = each["forecast_h"].replace(np.inf, np.nan)
        rows.append(
            {
                "Stage": landmark(str(name), float(each["landmark_ft"].iloc[0])),
                "Floods that reached it": f"{len(there)} of {seen}",
                "In the highest flood": _lead(float(own.iloc[0])) if len(own) else "not reached",
                "Shortest": _lead(there["lead_h"].min()) if len(there) else "",
                "Half of them in less than": _lead(there["lead_h"].median()) if len(there) else "",
                "A straight line said": span(said[there.index].median())
                if said[there.index].notna().any()
                else "",
            }
        )
    why = (
        " Nobody has walked along this creek for us with a pencil: the stages are round numbers and"
        " not landmarks."
        if made_up
        else ""
    )
    return _section(
        "How long one had",
        _p(
            f"From the first reading above {alert:g} ft until the creek reached each stage."
            f" The last column is what one would have expected at that first reading, from the"
            f" rate of rise then and a straight line; the median of those that got there.{why}"
        ),
        _table(pd.DataFrame(rows).set_index("Stage"), "Time from the start of a flood"),
    )


def _lead(hours: float) -> str:
    return span(hours) if hours > 0 else "at once"


def _how_it_compares(record: _Record) -> str:
    order = record.floods.sort_values("peak_ft", ascending=False, kind="stable")
    if len(order) == 1:
        return _section(
            "How it compares",
            _p("This record holds one flood, so there is nothing to compare it with."),
        )
    table = pd.DataFrame(
        {
            "Peak (UTC)": [f"{time:%Y-%m-%d %H:%M}" for time in order["peak_time"]],
            "Peak": [f"{ft:.2f} ft" for ft in order["peak_ft"]],
            "Rose by up to": [
                "" if np.isnan(rate) else f"{rate:.1f} ft/h" for rate in order["rate_ft_per_h"]
            ],
            "Start to peak": ["" if np.isnan(h) else span(h) for h in order["rise_h"]],
            "Lasted": [
                f"{'' if begins == 'rise' and ends == 'fall' else 'at least '}{span(h)}"
                for h, begins, ends in zip(
                    order["duration_h"], order["begins"], order["ends"], strict=True
                )
            ],
        },
        index=pd.Index(range(1, len(order) + 1), name="Rank"),
    )
    left = f" The other {len(order) - _LISTED} are not listed." if len(order) > _LISTED else ""
    years = frequency.annual_maxima(record.readings, year="calendar")
    yearly = order.groupby(pd.DatetimeIndex(order["peak_time"]).year).size()
    by_year = join_words(f"{count} in {year}" for year, count in yearly.sort_index().items())
    body = [
        _p(f"{len(order)} floods: {by_year}.{left}"),
        _table(table.head(_LISTED), "The highest floods"),
        _figure(plots.overlay(record.readings, order.head(_LAID))),
    ]
    if years.attrs["years"] >= 2:
        start = float(record.floods.attrs["start_ft"])
        body.append(_figure(plots.return_periods(record.readings, start)))
    return _section("How it compares", *body)


def _whole_record(record: _Record) -> str:
    n = record.summary.numbers
    limits = {"flood starts": float(n["flood_start_ft"]), "flood ends": float(n["flood_end_ft"])}
    body = [_figure(plots.hydrograph(record.readings, thresholds=limits))]
    if float(n["days"]) >= _JUDGED_DAYS:
        body.append(_figure(plots.calendar(record.readings, limits["flood starts"])))
        body.append(_figure(plots.duration_curve(record.readings, thresholds=limits)))
    return _section("The whole record", *body)


def _what_is_missing(record: _Record) -> str:
    missing = gaps(record.readings)
    if missing.empty:
        return _section("What is missing", _p("No reading of the stage is missing."))
    longest = missing.nlargest(5, "hours")
    table = pd.DataFrame(
        {
            "From (UTC)": [f"{time:%Y-%m-%d %H:%M}" for time in longest["start"]],
            "to (UTC)": [f"{time:%Y-%m-%d %H:%M}" for time in longest["end"]],
            "How long": [span(hours) for hours in longest["hours"]],
            "Readings": [f"{count:,}" for count in longest["readings"]],
        },
        index=pd.Index(range(1, len(longest) + 1), name="Gap"),
    )
    inside = int((record.floods["longest_gap_h"] > 0).sum())
    said = (
        "None of them lies in a flood that was seen."
        if not inside
        else (f"Readings are missing in {plural(inside, 'flood')}: the peak may have been higher.")
    )
    return _section(
        "What is missing",
        _p(
            f"{int(missing['readings'].sum()):,} readings, in {plural(len(missing), 'gap')}. {said} A"
            " flood that came and went in a gap is in no list here."
        ),
        _table(table, "The longest gaps"),
        _figure(plots.missing(record.readings, [STAGE])),
    )


def _how_good(record: _Record) -> str:
    found = quality.check(record.readings)
    flags = found.flags["overall"].to_numpy()
    failed, suspect = (int((flags == flag).sum()) for flag in (FAIL, SUSPECT))
    words = (
        f"Every reading was tested (QARTOD) for spikes, jumps, flat lines, drift and stages where"
        f" the creek never is, against limits from its own record: {failed:,} fail and"
        f" {suspect:,} are suspect."
    )
    if float(record.summary.numbers["days"]) < _JUDGED_DAYS:
        words += (
            " This record is short, so its own limits say little: a fault that lasts as long as"
            " it would pass for the creek."
        )
    rest = found.intervals[found.intervals["kind"] != "missing"]
    kinds = [f"{kind}: {text}" for kind, text in zip(rest["kind"], rest["words"], strict=True)]
    more = f"<li>and {len(kinds) - 10} more</li>" if len(kinds) > 10 else ""
    items = "".join(f"<li>{escape(each)}</li>" for each in kinds[:10]) + more
    return _section(
        "How good the record is",
        _p(words),
        f"<ul>{items}</ul>" if items else _p("No test finds anything."),
        _p("Nothing was taken out or changed: what is suspect may be the worst flood of all."),
    )


def _what_cannot_be_said(record: _Record) -> str:
    years = int(frequency.annual_maxima(record.readings, year="calendar").attrs["years"])
    items = [
        "How much water came. Stage is a height; a volume needs the width and speed of the water,"
        " measured by somebody.",
        "How high the water stood anywhere else than at the gage, or on your land. Stage is above"
        " this gage's own datum, and not to be compared with another gage's.",
        "Why it rose: there is no rain in this record.",
        frequency.caveat(years),
        "What comes next. This is a record and no warning: those come from your weather service.",
    ]
    return _section(
        "What cannot be said", "<ul>" + "".join(f"<li>{escape(i)}</li>" for i in items) + "</ul>"
    )


def _source(record: _Record) -> str:
    attrs, n = record.readings.attrs, record.summary.numbers
    named = {
        "Gage": attrs.get("site", "not said"),
        "Source": attrs.get("source", "not said"),
        "Licence": attrs.get("licence", "not said"),
        "Datum": attrs.get("datum", "not said"),
        "What was done to the readings": attrs.get("processing") or "nothing that is known",
        "Record": f"{n['start']} to {n['end']}, {n['readings']:,} readings of stage",
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in named.items())
    return _section("Where the readings come from", f"<dl>{rows}</dl>")


# --- pieces of a page -----------------------------------------------------------------------------


def _section(title: str, *body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(body) + "\n</section>"


def _p(words: str) -> str:
    return f"<p>{escape(words)}</p>"


def _figure(picture: CaptionedFigure) -> str:
    """Give a picture that a narrow screen scrolls sideways instead of shrinking its letters."""
    data = base64.b64encode(picture.png()).decode()
    width, height = (round(each * 100) for each in picture.figure.get_size_inches())
    title = escape(picture.title)
    words = picture.description.replace(STAGE_NOTE, "")  # the page has a section for that
    return (
        f'<figure><div class="wide" role="region" tabindex="0" aria-label="{title}">'
        f'<img alt="{title}: described below." width="{width}" height="{height}"'
        f' src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{escape(' '.join(words.split()))}</figcaption></figure>"
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
