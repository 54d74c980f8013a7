"""A flood report: one page about the floods in a record, for people who live beside the creek.

The page is a single HTML file. It contains its figures, loads nothing from the network and runs no
script, so it can be emailed, printed, and read on a phone in a field. Every number in a figure is
also in the text or in a table, and a section of its own says what a stage alone cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from math import floor, log10
from pathlib import Path

import numpy as np
import pandas as pd

from creeklab.creek import html_page as html
from creeklab.creek import plots
from creeklab.creek.analysis import floods, frequency, landmarks
from creeklab.creek.analysis.summary import Summary, summarize
from creeklab.creek.history.history import History
from creeklab.creek.plots.figure_style import (
    duration_text,
    join_words,
    landmark_text,
    plural,
)
from creeklab.creek.quality import quality
from creeklab.creek.quality.qartod import FAIL, SUSPECT
from creeklab.creek.readings import samples
from creeklab.creek.readings.building import Choices
from creeklab.creek.readings.display import Display
from creeklab.creek.readings.formats import read_file
from creeklab.creek.readings.samples import STAGE, times
from creeklab.creek.readings.time_series import gaps, measured_values

GENERATOR = "creeklab report"

_MAX_LISTED = 10  # floods in the table
_MAX_OVERLAID = 5  # floods in one figure
_MAX_LEVELS = 6  # between the start of a flood and the peak, if there are no landmarks
_MIN_DAYS = 60  # A shorter record says little about what is usual, and gets no calendar.


class UnsuitableThresholds(ValueError):
    """Thresholds of another creek: with these, the record has no flood, or is a single one.

    Attributes
    ----------
    start, end
        Thresholds that suit this record, in the unit of the page.
    """

    def __init__(self, problem: str, start: float, end: float) -> None:
        super().__init__(
            f"{problem} Use other thresholds, for instance {start:g} and {end:g}, which the creek"
            " exceeds 1% and 5% of the time."
        )
        self.start, self.end = start, end


@dataclass(frozen=True)
class _Report:
    """The data that every section of the page needs; ``readings`` are those that passed."""

    recorded: pd.DataFrame
    readings: pd.DataFrame
    quality: quality.Quality
    summary: Summary
    floods: pd.DataFrame
    marks: dict[str, float]
    display: Display

    @property
    def highest(self) -> pd.Series:
        return self.floods.iloc[int(self.floods["peak_ft"].argmax())]

    @property
    def failed(self) -> pd.DataFrame:
        """The stages that failed a test, and the tests."""
        flags = self.quality.flags
        return flags[(flags["overall"] == FAIL).to_numpy()]

    def when(self, time: pd.Timestamp) -> str:
        """Return a time in the zone of the place, and in UTC as well."""
        utc = time.tz_convert("UTC")
        if self.display.zone == "UTC":
            return f"{_date(utc)}, {utc:%H:%M} UTC"
        local = self.display.local(time)
        day = "" if local.date() == utc.date() else f"{utc:%B} {utc.day}, "
        return f"{_date(local)}, {local:%H:%M} {local.tzname()} ({day}{utc:%H:%M} UTC)"

    def column(self, times: Iterable[pd.Timestamp]) -> list[str]:
        """Return times for a column of a table, whose heading names the zone."""
        return [self.display.minute(time) for time in times]


def read(name: str, thing: str | None = None, choices: Choices | None = None) -> pd.DataFrame:
    """Read a sample by its name, a file by its path, or the history of a Thing by its folder.

    Parameters
    ----------
    name
        A sample; a history folder, or its ``s3://`` address; or a file in one of the formats that
        :mod:`creeklab.creek.readings.formats` recognizes.
    thing
        The Thing, if the history has several.
    choices
        What the file does not say itself.

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
        readings, title = read_file(path, choices), path.stem
    else:
        raise FileNotFoundError(
            f"There is no sample, file or folder called {name!r}. Samples:"
            f" {', '.join(samples.names())}."
        )
    readings.attrs.setdefault("title", title)
    return readings


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
    metric: bool = False,
) -> str:
    """Return the page as HTML.

    Everything but the section on missing readings uses only the stages that passed the quality
    check; the page says what was left out, and why.

    Parameters
    ----------
    start, end
        Where a flood starts and ends, in feet above the gage's datum.
    marks
        Landmarks: a name and a stage each. Without any, round stages take their place.
    zone
        The time zone of the place, such as ``"America/New_York"``: that of all times, days and
        years on the page.
    metric
        Show stages in meters. The other arguments are in feet in any case.

    Raises
    ------
    UnsuitableThresholds
        If there is no flood, or the creek is never below ``end``; the message suggests thresholds.
    """
    display = Display(zone, metric)
    checked = quality.check(readings, display=display)
    good = checked.good()
    summary = summarize(good, start=start, end=end)
    _check_thresholds(good, summary, display)
    peak = float(summary.numbers["highest_ft"])
    levels = landmarks.check(marks) if marks else _round_levels(start, peak, display)
    report = _Report(readings, good, checked, summary, summary.floods, levels, display)
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
<style>{html.STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""


def _check_thresholds(readings: pd.DataFrame, summary: Summary, display: Display) -> None:
    _, stage = measured_values(readings)
    n = summary.numbers
    high, low = display.convert(np.quantile(stage, [0.99, 0.95])).round(1)
    if high <= low:
        high = round(low + 0.1, 1)
    starts, ends = (display.stage(float(n[f"flood_{each}_ft"]), "g") for each in ("start", "end"))
    if float(n["lowest_ft"]) > float(n["flood_end_ft"]):
        raise UnsuitableThresholds(
            f"This creek is never below {ends}, where a flood ends (its lowest stage is"
            f" {display.stage(float(n['lowest_ft']))}), so the whole record would be one flood.",
            high,
            low,
        )
    if summary.floods.empty:
        raise UnsuitableThresholds(
            f"There is no flood in this record: a flood starts above {starts}, and the highest"
            f" stage is {display.stage(float(n['highest_ft']))}, on {n['highest_time']}.",
            high,
            low,
        )


def _round_levels(start_ft: float, peak_ft: float, display: Display) -> dict[str, float]:
    """Return stages between the start of a flood and the peak, round in the unit shown."""
    start, peak = display.convert(start_ft), display.convert(peak_ft)
    rise = max(peak - start, 0.1)
    power = 10.0 ** floor(log10(rise / _MAX_LEVELS))
    step = next(power * each for each in (1, 2, 5, 10) if rise / (power * each) <= _MAX_LEVELS)
    first = floor(start / step + 1e-9) + 1
    heights = [round(n * step, 6) for n in range(first, first + _MAX_LEVELS + 1)]
    return {
        f"{height:g} {display.unit}": display.to_feet(height)
        for height in heights
        if height <= peak or height == heights[0]
    }


# --- the sections ---------------------------------------------------------------------------------


def _overview(report: _Report) -> str:
    n, top, show = report.summary.numbers, report.highest, report.display
    rate = top["rate_ft_per_h"]
    starts, ends = (show.stage(float(n[f"flood_{each}_ft"]), "g") for each in ("start", "end"))
    missing = int(gaps(report.recorded)["readings"].sum())
    measured = int(report.recorded[STAGE].notna().sum())
    facts = {
        "Highest stage": f"{show.stage(top['peak_ft'])}, on {report.when(top['peak_time'])}",
        "Fastest rise": "unknown"
        if np.isnan(rate)
        else f"{show.convert(rate):.1f} {show.unit} per hour, in the steepest half hour",
        "Duration": f"{duration_text(top['duration_h'])} above {ends}",
        "Floods on record": f"{len(report.floods)}, in {duration_text(24 * float(n['days']))}",
        "Missing readings": f"{missing:,} ({round(100 * missing / (missing + measured), 2)}%)",
    }
    if len(report.failed):
        facts["Left out"] = f"{plural(len(report.failed), 'stage')} that failed the quality check"
    site = report.readings.attrs.get("site")
    return html.paragraph(
        "This page describes the floods of a creek, as a gage recorded them."
        + (f" The gage is {site}." if site else "")
        + " The stage is the height of the water at the gage. A flood starts when the stage rises"
        f" above {starts} and ends when it falls below {ends}."
        " Here are the key facts about the highest flood and the record:"
    ) + html.facts(facts)


def _highest_flood(report: _Report) -> str:
    top = report.highest
    figure = plots.flood_page(
        report.readings,
        report.floods,
        int(str(top.name)),
        marks=report.marks,
        display=report.display,
    )
    peak = report.display.stage(top["peak_ft"])
    sentences = [f"The creek peaked at {peak} on {report.when(top['peak_time'])}."]
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
    return html.section(
        "The highest flood", html.paragraph(" ".join(sentences)), html.figure(figure)
    )


def _warning_time(report: _Report, *, surveyed: bool) -> str:
    alert = report.display.stage(float(report.floods.attrs["start_ft"]), "g")
    lead = landmarks.lead_times(report.readings, report.floods, report.marks)
    if lead.empty:
        return html.section(
            "Warning time",
            html.paragraph(
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
                "Stage": landmark_text(
                    str(name), float(each["landmark_ft"].iloc[0]), report.display
                ),
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
        f"How much time would a warning at {alert} have given people beside the creek? The"
        f" table shows the time from the first reading above {alert} until the creek reached"
        " each stage. The last column shows what people would have expected at that first reading,"
        " from a straight line at the current rate of rise (the median over the floods that got"
        " there)."
    )
    if not surveyed:
        text += (
            " No landmarks have been surveyed for this creek, so the table uses round numbers"
            " instead."
        )
    return html.section(
        "Warning time",
        html.paragraph(text),
        html.table(pd.DataFrame(rows).set_index("Stage"), "Time from the start of a flood"),
    )


def _lead(hours: float) -> str:
    return duration_text(hours) if hours > 0 else "at once"


def _comparison(report: _Report) -> str:
    show = report.display
    order = report.floods.sort_values("peak_ft", ascending=False, kind="stable")
    if len(order) == 1:
        return html.section(
            "How it compares",
            html.paragraph(
                "This record has only one flood, so there is nothing to compare it with."
            ),
        )
    table = pd.DataFrame(
        {
            f"Peak ({show.zone})": report.column(order["peak_time"]),
            "Peak": [show.stage(ft) for ft in order["peak_ft"]],
            "Fastest rise": [
                "" if np.isnan(rate) else show.rate(rate, ".1f") for rate in order["rate_ft_per_h"]
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
    years = frequency.annual_maxima(report.readings, year="calendar", zone=show.zone)
    yearly = order.groupby(pd.DatetimeIndex(order["peak_time"]).tz_convert(show.zone).year).size()
    by_year = join_words(f"{count} in {year}" for year, count in yearly.sort_index().items())
    body = [
        html.paragraph(f"The record has {len(order)} floods: {by_year}.{limited}"),
        html.table(table.head(_MAX_LISTED), "The highest floods"),
        html.figure(plots.overlay(report.readings, order.head(_MAX_OVERLAID), display=show)),
    ]
    if years.attrs["years"] >= 2:
        start = float(report.floods.attrs["start_ft"])
        body.append(html.figure(plots.return_periods(report.readings, start, display=show)))
    return html.section("How it compares", *body)


def _whole_record(report: _Report) -> str:
    n, show = report.summary.numbers, report.display
    limits = {"flood starts": float(n["flood_start_ft"]), "flood ends": float(n["flood_end_ft"])}
    body = [html.figure(plots.hydrograph(report.readings, thresholds=limits, display=show))]
    if float(n["days"]) >= _MIN_DAYS:
        body.append(
            html.figure(plots.calendar(report.readings, limits["flood starts"], display=show))
        )
        body.append(
            html.figure(plots.duration_curve(report.readings, thresholds=limits, display=show))
        )
    return html.section("The whole record", *body)


def _missing_readings(report: _Report) -> str:
    missing, zone = gaps(report.recorded), report.display.zone
    if missing.empty:
        return html.section(
            "Missing readings", html.paragraph("No reading of the stage is missing.")
        )
    longest = missing.nlargest(5, "hours")
    table = pd.DataFrame(
        {
            f"From ({zone})": report.column(longest["start"]),
            f"To ({zone})": report.column(longest["end"]),
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
    return html.section(
        "Missing readings",
        html.paragraph(
            f"{int(missing['readings'].sum()):,} readings are missing, in"
            f" {plural(len(missing), 'gap')}. {effect} A flood that came and went during a gap is"
            " not on this page."
        ),
        html.table(table, "The longest gaps"),
        html.figure(plots.missing(report.recorded, [STAGE], display=report.display)),
    )


def _quality(report: _Report) -> str:
    checked = report.quality
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
    return html.section(
        "How good the record is",
        html.paragraph(text),
        html.bullets(items) if items else html.paragraph("No test found a fault."),
        html.paragraph(_left_out(report)),
    )


def _left_out(report: _Report) -> str:
    """Return which stages the page does without, and why."""
    failed = report.failed
    kept = "Suspect readings count, because a suspect reading can be the peak of the worst flood."
    if failed.empty:
        return f"No reading was left out or changed. {kept}"
    stage = report.recorded[STAGE].reindex(failed.index)
    row = int(stage.argmax())
    tests = {
        name.replace("_", " "): int((failed[name] == FAIL).sum())
        for name in map(str, failed)
        if (failed[name] == FAIL).any() and name not in ("time_gap", "overall")
    }
    reasons = join_words(f"{name} ({count:,})" for name, count in tests.items())
    return (
        f"{plural(len(failed), 'stage')} that failed a test {'is' if len(failed) == 1 else 'are'}"
        f" left out of everything above except the missing readings: {reasons}. The highest of them"
        f" is {report.display.stage(float(stage.iloc[row]))}, on"
        f" {report.when(pd.DatetimeIndex(failed.index)[row])}. {kept}"
    )


def _limitations(report: _Report) -> str:
    maxima = frequency.annual_maxima(report.readings, year="calendar", zone=report.display.zone)
    years = int(maxima.attrs["years"])
    return html.section(
        "What this page cannot tell you",
        html.bullets(
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
    attrs, index = report.recorded.attrs, times(report.recorded)
    span = f"{report.display.time(index[0])} to {report.display.time(index[-1])}"
    facts = {
        "Gage": attrs.get("site", "not stated"),
        "Source": attrs.get("source", "not stated"),
        "License": attrs.get("license", "not stated"),
        "Datum": attrs.get("datum", "not stated"),
        "Processing": attrs.get("processing") or "none known",
        "Record": f"{span}, {int(report.recorded[STAGE].notna().sum()):,} readings of the stage",
    }
    return html.section("Where the readings come from", html.facts(facts))


def _date(time: pd.Timestamp) -> str:
    return f"{time:%B} {time.day}, {time.year}"
