"""A figure tells the same story three times: in its image, its description and its numbers."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.dates import num2date
from PIL import Image

from creeklab.creek import plots
from creeklab.creek.analysis import floods
from creeklab.creek.plots import CaptionedFigure, hydrograph
from creeklab.creek.plots.figure_style import STYLES, outline_rows
from creeklab.creek.quality import fault_injection, quality
from creeklab.creek.readings import samples
from creeklab.creek.readings.display import Display
from tests.creek.conftest import Make

MARKS = {"Footpath": 3.0, "Meadow": 4.0, "Bridge deck": 7.0}
THRESHOLDS = {"flood starts": 2.5, "flood ends": 1.75}


@pytest.fixture
def flood() -> pd.DataFrame:
    return samples.load("plumtree-run-flood-2018-08-31")


def texts(drawn: CaptionedFigure) -> str:
    """Return all text on a figure."""
    figure = drawn.figure
    written = [figure.get_supxlabel()]
    for axes in figure.axes:
        written += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        written += [text.get_text() for text in axes.texts]
    return "\n".join(written)


def line(axes: Axes) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Return the times and values of the first line on the axes."""
    drawn = axes.lines[0]
    moments = [f"{num2date(axes.convert_xunits(x)):%d %H:%M}" for x in drawn.get_xdata(orig=True)]
    return moments, np.asarray(drawn.get_ydata(orig=True), dtype=float)


class TestHydrograph:
    def test_numbers(self, flood: pd.DataFrame) -> None:
        assert hydrograph(flood).numbers == {
            "readings": 577,
            "missing": 0,
            "start": "2018-08-31 12:00 UTC",
            "end": "2018-09-02 12:00 UTC",
            "start_ft": 1.03,
            "end_ft": 1.24,
            "lowest_ft": 1.03,
            "peak_ft": 6.63,
            "peak_time": "2018-08-31 23:30 UTC",
        }

    def test_labels(self, flood: pd.DataFrame) -> None:
        written = texts(hydrograph(flood))
        for text in (
            "Flood of August 31, 2018, at Plumtree Run",
            "Time (UTC), 2018-08-31 to 2018-09-02",
            "datum (ft)",
            "6.63 ft, 2018-08-31 23:30 UTC",
            "USGS 01581752",
            "U.S. Geological Survey",
            "Public domain",
        ):
            assert text in written

    def test_description(self, flood: pd.DataFrame) -> None:
        description = hydrograph(flood, title="A flood").description
        for text in ("A flood", "577 readings", "0 missing", "1.03 ft", "6.63 ft", "23:30 UTC"):
            assert text in description

    def test_every_reading_is_drawn_at_its_time(self, flood: pd.DataFrame) -> None:
        moments, values = line(hydrograph(flood).figure.axes[0])
        assert moments == [f"{time:%d %H:%M}" for time in flood.index]
        np.testing.assert_array_equal(values, flood["stage_ft"])

    def test_temperature_on_a_panel_of_its_own(self, flood: pd.DataFrame) -> None:
        alone, both = hydrograph(flood), hydrograph(flood, temperature=True)
        assert len(alone.figure.axes) == 1
        assert len(both.figure.axes) == 2
        assert both.numbers["coldest_degC"] == 21.4
        assert both.numbers["warmest_degC"] == 24.0
        assert "24.0 °C" in both.description
        assert "Water (°C)" in texts(both)
        np.testing.assert_array_equal(line(both.figure.axes[1])[1], flood["water_temperature_degC"])

    def test_local_times_are_drawn_in_utc(self, flood: pd.DataFrame) -> None:
        local = hydrograph(flood.tz_convert("America/New_York"))
        assert local.numbers == hydrograph(flood).numbers
        assert line(local.figure.axes[0])[0][0] == "31 12:00"

    def test_the_line_breaks_where_readings_are_missing(self, flood: pd.DataFrame) -> None:
        broken = flood.iloc[:8].copy()
        broken["stage_ft"] = np.arange(8.0)
        broken.loc["2018-08-31 12:10", "stage_ft"] = np.nan  # a value
        broken = broken.drop(broken.index[[4, 5]])  # and two rows, from 12:20
        drawn = hydrograph(broken)
        moments, values = line(drawn.figure.axes[0])
        np.testing.assert_array_equal(values, [0, 1, np.nan, 3, np.nan, 6, 7])
        assert moments[-2:] == ["31 12:30", "31 12:35"]
        assert (drawn.numbers["readings"], drawn.numbers["missing"]) == (5, 1)

    def test_the_first_of_equal_peaks(self) -> None:
        index = pd.date_range("2018-08-31 12:00", periods=4, freq="5min", tz="UTC")
        drawn = hydrograph(pd.DataFrame({"stage_ft": [1.0, 2.0, 2.0, np.nan]}, index=index))
        assert drawn.numbers["peak_time"] == "2018-08-31 12:05 UTC"
        assert drawn.numbers["end"] == "2018-08-31 12:10 UTC"

    def test_a_late_peak_has_its_label_on_the_left(self, flood: pd.DataFrame) -> None:
        assert hydrograph(flood).figure.axes[0].texts[0].get_ha() == "left"
        assert hydrograph(flood.iloc[:140]).figure.axes[0].texts[0].get_ha() == "right"

    def test_one_reading_without_a_source(self) -> None:
        index = pd.DatetimeIndex(["2018-08-31 12:00"], tz="UTC")
        drawn = hydrograph(pd.DataFrame({"stage_ft": [1.5]}, index=index))
        assert drawn.numbers["peak_ft"] == 1.5
        assert drawn.png()

    def test_nothing_to_draw(self, flood: pd.DataFrame) -> None:
        with pytest.raises(ValueError, match="'stage_ft' has no measured value"):
            hydrograph(flood.assign(stage_ft=np.nan))
        with pytest.raises(ValueError, match="'stage_ft' has no measured value"):
            hydrograph(flood.iloc[:0])
        with pytest.raises(ValueError, match="no column 'water_temperature_degC'"):
            hydrograph(flood[["stage_ft"]], temperature=True)


class TestCaptionedFigure:
    def test_it_is_drawn_on_white_at_twice_its_size(self, flood: pd.DataFrame) -> None:
        drawn = hydrograph(flood)
        png = drawn.png()
        assert png.startswith(b"\x89PNG")
        assert struct.unpack(">II", png[16:24]) == (1800, 800)
        assert drawn.figure.get_facecolor() == (1, 1, 1, 1)

    def test_in_a_notebook(self, flood: pd.DataFrame) -> None:
        drawn = hydrograph(flood, title="Stage <a> & b")
        style, _, page = drawn._repr_html_().partition("</style>")
        assert style.startswith('<style>[data-jp-theme-light="false"] figure img[alt$=": described')
        figure = ElementTree.fromstring(page)
        image, caption = figure.find("img"), figure.find("figcaption")
        assert image is not None
        assert caption is not None
        assert image.get("alt") == "Stage <a> & b: described below."
        assert image.get("width") == "900"
        kind, _, data = image.get("src", "").partition(",")
        assert (kind, base64.b64decode(data)) == ("data:image/png;base64", drawn.png())
        assert caption.text == drawn.description
        assert repr(drawn) == "<CaptionedFigure: Stage <a> & b>"

    def test_pyplot_keeps_no_figure(self, flood: pd.DataFrame) -> None:
        before = plt.get_fignums()
        hydrograph(flood, temperature=True).png()
        assert plt.get_fignums() == before


# --- every figure ---------------------------------------------------------------------------------

# Two inches of rain in an hour, before the flood of August 31, 2018.
STORM = pd.DataFrame(
    {"precipitation_in": [0.0, 0.5, 1.0, 0.5, 0.0]},
    pd.date_range("2018-08-31 20:00", periods=5, freq="20min", tz="UTC"),
)

DRAWN: dict[str, Callable[[pd.DataFrame], CaptionedFigure]] = {
    "hydrograph": lambda year: hydrograph(
        year, temperature=True, thresholds=THRESHOLDS, quality=quality.check(year)
    ),
    "duration curve": lambda year: plots.duration_curve(year, thresholds=THRESHOLDS),
    "flood page": lambda year: plots.flood_page(year, floods.find(year), 2, marks=MARKS),
    "overlay": lambda year: plots.overlay(year, floods.find(year)),
    "rise rates": lambda year: plots.rise_rates(year, floods.find(year)),
    "return periods": lambda year: plots.return_periods(year, 2.5),
    "missing": plots.missing,
    "calendar": lambda year: plots.calendar(year, 2.5),
    "temperature": plots.temperature_cycles,
    "years": plots.years,
    "gages": lambda year: plots.gages({"Plumtree Run": year, "in June": year["2018-06":"2018-06"]}),
    "rain": lambda year: plots.rain_and_stage(year["2018-08-31":"2018-08-31"], STORM),
}


@pytest.fixture(scope="module")
def year(three_years: pd.DataFrame) -> pd.DataFrame:
    part = three_years["2018":"2018"]  # type: ignore[misc]
    part.attrs = dict(three_years.attrs)
    return part


@pytest.fixture(scope="module", params=DRAWN)
def drawn(request: pytest.FixtureRequest, year: pd.DataFrame) -> CaptionedFigure:
    return DRAWN[request.param](year)


class TestEveryFigure:
    def test_its_axes_are_labeled_with_their_units(self, drawn: CaptionedFigure) -> None:
        labels = [
            label
            for axes in drawn.figure.axes
            for label in (axes.get_xlabel(), axes.get_ylabel())
            if label
        ]
        units = r"\((ft|°C|UTC|ft/h|in/h|years|% of month)\)|ft/h|°C|[Hh]ours|[Pp]ercent"
        assert labels
        assert all(re.search(units, label) for label in labels), labels
        heights = [label for label in labels if label.startswith("Stage")]
        assert all("datum" in label for label in heights)

    def test_it_states_its_source_and_its_limits(self, drawn: CaptionedFigure) -> None:
        written = texts(drawn)
        for text in ("USGS 01581752", "U.S. Geological Survey", "Public domain"):
            assert text in written
        small = " ".join(drawn.figure.get_supxlabel().split())
        note = small.partition("government) ")[2]
        assert re.search(r"\bnot\b|[Nn]obody|cannot", note), note
        assert drawn.description.endswith(note)

    def test_its_description_has_its_title_and_its_numbers(self, drawn: CaptionedFigure) -> None:
        assert drawn.title.split(",")[0] in drawn.description
        assert len(drawn.numbers) >= 3
        stated = re.findall(r"\d[\d,.]*\d|\d", drawn.description)
        assert len(stated) >= 3
        for name, value in drawn.numbers.items():
            assert isinstance(value, int | float | str), name
            assert value == value, f"{name} is NaN: unknown numbers must be left out"
            assert not isinstance(value, np.generic), name

    def test_it_can_be_drawn_and_stays_readable_in_gray(self, drawn: CaptionedFigure) -> None:
        image = Image.open(io.BytesIO(drawn.png())).convert("L")
        shades = np.asarray(image)
        assert shades.min() < 60
        assert (shades > 250).mean() > 0.3, "on white"


def test_lines_differ_by_more_than_their_color() -> None:
    assert len({str(style["linestyle"]) for style in STYLES}) == len(STYLES)
    assert len({style["marker"] for style in STYLES}) == len(STYLES)
    for style in STYLES:
        red, green, blue = to_rgb(style["color"])
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.55, "dark enough on white"


@given(
    stage=arrays(np.float64, st.integers(1, 400), elements=st.floats(0, 30) | st.just(np.nan)),
    max_segments=st.integers(1, 20),
)
def test_the_outline_of_a_long_line_loses_no_peak(stage: Any, max_segments: int) -> None:
    rows = outline_rows(stage, max_segments)
    assert (np.diff(rows) > 0).all()
    assert rows[0] == 0
    assert rows[-1] == stage.size - 1
    assert rows.size <= 5 * max_segments
    if not np.isnan(stage).all():
        assert np.nanmax(stage[rows]) == np.nanmax(stage)
        assert np.nanmin(stage[rows]) == np.nanmin(stage)
    if np.isnan(stage).any():
        assert np.isnan(stage[rows]).any(), "nor where it breaks"


# --- each figure ----------------------------------------------------------------------------------


class TestThresholdsAndQuality:
    def test_time_above_a_threshold(self, flood: pd.DataFrame) -> None:
        drawn = hydrograph(flood, thresholds=THRESHOLDS)
        assert drawn.table["hours"].round(2).to_dict() == {"flood ends": 8.92, "flood starts": 3.33}
        assert "8.9 hours above 1.75 ft (flood ends)" in drawn.description
        assert "flood starts 2.5 ft" in texts(drawn)

    def test_suspect_and_failed_readings_are_marked(
        self, flood: pd.DataFrame, three_years: pd.DataFrame
    ) -> None:
        when = flood.index[40]
        spiked = fault_injection.inject(flood, [fault_injection.Fault("spike", when, when, 3.0)])
        found = quality.check(spiked, quality.derive(three_years))
        drawn = hydrograph(spiked, quality=found)
        assert (drawn.numbers["suspect"], drawn.numbers["fail"]) == (0, 1)
        mark = drawn.figure.axes[0].lines[1]
        assert mark.get_marker() == "X"
        assert np.asarray(mark.get_ydata(orig=True)).tolist() == [4.03]

    def test_quality_of_other_readings(self, flood: pd.DataFrame, record: Make) -> None:
        with pytest.raises(ValueError, match="belongs to other readings"):
            hydrograph(flood, quality=quality.check(record([1, 2, 3], start="2001-01-01")))

    def test_gaps_are_hatched(self, record: Make) -> None:
        drawn = hydrograph(record([1, 2, np.nan, np.nan, 3]))
        assert [patch.get_hatch() for patch in drawn.figure.axes[0].patches] == ["////"]
        assert "Hatched: 1 gap without readings" in drawn.description


class TestDurationCurve:
    def test_known_answers(self, three_years: pd.DataFrame) -> None:
        drawn = plots.duration_curve(three_years)
        stage = three_years["stage_ft"].dropna()
        assert drawn.numbers["readings"] == 305_958
        for percent in (0.1, 1, 10, 50):
            reached = drawn.numbers[f"reached_{percent:g}_percent_ft"]
            assert reached == pytest.approx(stage.quantile(1 - percent / 100), abs=0.01)

    def test_percentages_that_need_a_longer_record_are_left_out(self, record: Make) -> None:
        drawn = plots.duration_curve(record([1, 2, 3]))
        assert list(drawn.numbers) == [
            "readings",
            "reached_25_percent_ft",
            "reached_50_percent_ft",
            "reached_75_percent_ft",
        ]
        assert drawn.numbers["reached_50_percent_ft"] == 2
        assert plots.duration_curve(record([1])).numbers["reached_50_percent_ft"] == 1


class TestFloodPage:
    def test_the_highest(self, three_years: pd.DataFrame) -> None:
        found = floods.find(three_years)
        drawn = plots.flood_page(three_years, found, 55, marks=MARKS)
        assert drawn.numbers | {"rank": 1, "floods": 74, "peak_ft": 6.63} == drawn.numbers
        assert drawn.numbers["peak_time"] == "2018-08-31 23:30 UTC"
        assert drawn.table["after_start_h"].round(2).to_dict() == pytest.approx(
            {"Footpath": 0.08, "Meadow": 0.25, "Bridge deck": np.nan}, nan_ok=True
        )
        for text in ("the highest of 74", "55 minutes later", "Footpath (3 ft) after 5 minutes"):
            assert text in drawn.description

    def test_a_flood_that_was_not_observed_completely(self, record: Make) -> None:
        readings = record([3, 4, 3.5, 3])
        drawn = plots.flood_page(readings, floods.find(readings), 1)
        assert "start was not observed" in drawn.description
        assert "end was not observed" in drawn.description
        assert "rise_h" not in drawn.numbers
        legend = drawn.figure.axes[0].get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["peak"]

    def test_no_such_flood(self, record: Make) -> None:
        readings = record([1, 3, 1])
        with pytest.raises(ValueError, match="no flood 2 among these 1"):
            plots.flood_page(readings, floods.find(readings), 2)


class TestOverlay:
    def test_the_highest_floods_have_lines_of_their_own(self, three_years: pd.DataFrame) -> None:
        drawn = plots.overlay(three_years, floods.find(three_years), max_lines=2)
        assert drawn.numbers == {"floods": 74, "flood_55_peak_ft": 6.63, "flood_28_peak_ft": 5.02}
        assert "The other 72 are thin and gray" in drawn.description
        assert len(drawn.figure.axes[0].lines) == 74 + 1  # and hour 0
        assert drawn.table["flood"].nunique() == 74

    def test_a_line_breaks_in_a_gap(self, record: Make) -> None:
        readings = record([1, 3, 4, np.nan, np.nan, 3, 1])
        drawn = plots.overlay(readings, floods.find(readings))
        stage = np.asarray(drawn.figure.axes[0].lines[0].get_ydata(orig=True), dtype=float)
        np.testing.assert_array_equal(stage, [1, 3, 4, np.nan, 3, 1])


class TestRiseRates:
    def test_known_answers(self, three_years: pd.DataFrame) -> None:
        drawn = plots.rise_rates(three_years, floods.find(three_years))
        assert drawn.numbers["fastest_ft_per_h"] == 6.26
        assert drawn.numbers["fastest_time"] == "2018-08-31 23:00 UTC"
        assert drawn.numbers["median_flood_ft_per_h"] == 2.02
        rates = floods.rise_rates(
            three_years["stage_ft"].dropna().index.as_unit("s").asi8.astype(float),
            three_years["stage_ft"].dropna().to_numpy(),
        )
        assert drawn.table["hours"].sum() * 12 == pytest.approx((rates > 0.05).sum())

    def test_a_creek_that_never_rises(self, record: Make) -> None:
        with pytest.raises(ValueError, match="never rises"):
            plots.rise_rates(record([2] * 20))


class TestReturnPeriods:
    def test_three_years(self, three_years: pd.DataFrame) -> None:
        drawn = plots.return_periods(three_years, 2.5)
        assert drawn.numbers == {
            "years": 3,
            "measured_years": 2.91,
            "peaks": 55,
            "highest_ft": 6.63,
        }
        yearly = drawn.table[drawn.table["kind"] == "annual maximum"]
        assert dict(zip(yearly["peak_ft"], yearly["return_period_years"], strict=True)) == {
            4.72: 4 / 3,
            5.02: 2,
            6.63: 4,
        }
        assert "cannot give a 100-year flood" in " ".join(texts(drawn).split())

    def test_no_complete_year(self, flood: pd.DataFrame) -> None:
        drawn = plots.return_periods(flood, 2.5)
        assert drawn.numbers["years"] == 0
        assert "No year of this record is complete" in drawn.description
        assert drawn.png()

    def test_nothing_above(self, flood: pd.DataFrame) -> None:
        with pytest.raises(ValueError, match="Nothing in this record is above 7 ft"):
            plots.return_periods(flood, 7)


class TestMissing:
    def test_three_years(self, three_years: pd.DataFrame) -> None:
        drawn = plots.missing(three_years, ["stage_ft"])
        assert drawn.numbers == {
            "stage_ft_missing": 9_690,
            "stage_ft_gaps": 37,
            "stage_ft_longest_gap_h": 372.58,
        }
        lost = three_years["stage_ft"].isna()
        month = three_years.index.strftime("%Y-%m")
        expected = 100 * lost.groupby(month).mean()
        assert drawn.table["stage_ft"].to_numpy() == pytest.approx(expected.to_numpy(), abs=0.01)

    def test_missing_rows_count(self, record: Make) -> None:
        readings = record([1.0] * 100)
        whole = plots.missing(readings.drop(readings.index[10:30]))
        assert whole.numbers["stage_ft_missing"] == 20
        assert whole.table["stage_ft"].tolist() == [20]

    def test_nothing_missing(self, flood: pd.DataFrame) -> None:
        drawn = plots.missing(flood)
        assert drawn.numbers["stage_ft_missing"] == 0
        assert "(0.0%) in 0 gaps" in drawn.description
        assert drawn.png()


class TestCalendar:
    def test_three_years(self, three_years: pd.DataFrame) -> None:
        drawn = plots.calendar(three_years, 2.5)
        daily = three_years["stage_ft"].resample("D").max()
        assert drawn.numbers == {
            "days": int(daily.notna().sum()),
            "days_missing": int(daily.isna().sum()),
            "days_partly_missing": 27,
            "highest_day": "2018-08-31",
            "highest_ft": 6.63,
            "days_above": int((daily > 2.5).sum()),
        }
        assert drawn.table.loc["2018-08", "highest_ft"] == 6.63
        assert drawn.table["days"].sum() == drawn.numbers["days"]

    def test_a_still_creek_and_one_day(self, record: Make) -> None:
        assert plots.calendar(record([1, 1, 1])).png()
        assert plots.calendar(record([1])).numbers["days"] == 1


class TestTemperature:
    def test_three_years(self, three_years: pd.DataFrame) -> None:
        drawn = plots.temperature_cycles(three_years, zone="America/New_York")
        assert drawn.numbers["coldest_month"] == "January"
        assert drawn.numbers["warmest_month"] == "July"
        assert drawn.numbers["warmest_month_degC"] == 22.6
        assert drawn.numbers["warmest_hour_jun_to_aug"] == 17
        assert drawn.numbers["swing_mar_to_may_degC"] == pytest.approx(3.99, abs=0.05)

    def test_a_synthetic_day(self) -> None:
        index = pd.date_range("2020-03-01", "2020-03-21", freq="1h", tz="UTC", inclusive="left")
        degc = 10 + 3 * np.cos((np.asarray(index.hour) - 14) * np.pi / 12)
        drawn = plots.temperature_cycles(pd.DataFrame({"box_temperature_degC": degc}, index=index))
        assert drawn.numbers["swing_mar_to_may_degC"] == 6
        assert drawn.numbers["warmest_hour_mar_to_may"] == 14
        assert "box temperature" in drawn.title

    def test_no_complete_day_and_no_temperature(self, flood: pd.DataFrame, record: Make) -> None:
        short = plots.temperature_cycles(flood[:50])
        assert "No season has enough complete days" in short.description
        with pytest.raises(ValueError, match="have no temperature"):
            plots.temperature_cycles(record([1, 2]))


class TestComparison:
    def test_rain_and_the_rise_after_it(self, flood: pd.DataFrame) -> None:
        figure = plots.rain_and_stage(flood, STORM)
        assert figure.numbers["rain_in"] == 2
        assert figure.numbers["wettest_hour"] == "2018-08-31 20:00 UTC"
        assert figure.numbers["wettest_hour_in"] == 1.5
        assert figure.numbers["lag_h"] == 2.5
        assert figure.table["rain_in"].tolist() == [1.5, 0.5]
        metric = plots.rain_and_stage(flood, STORM, display=Display(metric=True))
        assert "50.80 mm of rain" in metric.description

    def test_no_rain_in_that_time(self, flood: pd.DataFrame) -> None:
        with pytest.raises(ValueError, match="No rain was measured between"):
            plots.rain_and_stage(flood, STORM.shift(freq="90D"))

    def test_each_gage_is_above_its_own_median(self, record: Make) -> None:
        low, high = record([1.0, 1.0, 2.0, 1.0]), record([101.0, 101.0, 105.0, 101.0])
        figure = plots.gages({"low": low, "high": high}, display=Display("America/New_York"))
        assert figure.numbers["low_rise_ft"] == 1
        assert figure.numbers["high_rise_ft"] == 4
        assert "high by 4.00 ft (2018-08-31 08:10 EDT)" in figure.description
        with pytest.raises(ValueError, match="two to 6 gages, not 1"):
            plots.gages({"low": low})

    def test_years_on_top_of_each_other(self, three_years: pd.DataFrame) -> None:
        figure = plots.years(three_years, display=Display("America/New_York"))
        assert figure.numbers["2018_highest_ft"] == 6.63
        assert figure.table.columns.tolist() == [2016, 2017, 2018]
        assert figure.table.loc[243, 2018] == 6.63  # August 31
        assert np.isnan(figure.table.loc[366, 2017]), "2017 has 365 days"
