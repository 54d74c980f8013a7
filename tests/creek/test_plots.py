"""A picture says the same three times: drawn, in words, in numbers."""

from __future__ import annotations

import base64
import struct
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.dates import num2date

from creeklab.creek import samples
from creeklab.creek.plots import Picture, hydrograph


@pytest.fixture
def flood() -> pd.DataFrame:
    return samples.load("plumtree-run-flood-2018-08-31")


def texts(picture: Picture) -> str:
    """Give everything that is written on a figure."""
    figure = picture.figure
    written = [figure.get_supxlabel()]
    for axes in figure.axes:
        written += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        written += [text.get_text() for text in axes.texts]
    return "\n".join(written)


def line(axes: Axes) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Give the times and values of the first line that was drawn."""
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
            "Flood of 31 August 2018 at Plumtree Run",
            "Time (UTC), 2018-08-31 to 2018-09-02",
            "datum (ft)",
            "6.63 ft, 2018-08-31 23:30 UTC",
            "USGS 01581752",
            "U.S. Geological Survey",
            "Public domain",
        ):
            assert text in written

    def test_words(self, flood: pd.DataFrame) -> None:
        words = hydrograph(flood, title="A flood").description
        for text in ("A flood", "577 readings", "0 missing", "1.03 ft", "6.63 ft", "23:30 UTC"):
            assert text in words

    def test_every_reading_is_drawn_where_it_belongs(self, flood: pd.DataFrame) -> None:
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
        picture = hydrograph(broken)
        moments, values = line(picture.figure.axes[0])
        np.testing.assert_array_equal(values, [0, 1, np.nan, 3, np.nan, 6, 7])
        assert moments[-2:] == ["31 12:30", "31 12:35"]
        assert (picture.numbers["readings"], picture.numbers["missing"]) == (5, 1)

    def test_the_first_of_equal_peaks(self) -> None:
        index = pd.date_range("2018-08-31 12:00", periods=4, freq="5min", tz="UTC")
        picture = hydrograph(pd.DataFrame({"stage_ft": [1.0, 2.0, 2.0, np.nan]}, index=index))
        assert picture.numbers["peak_time"] == "2018-08-31 12:05 UTC"
        assert picture.numbers["end"] == "2018-08-31 12:10 UTC"

    def test_a_late_peak_has_its_label_on_the_left(self, flood: pd.DataFrame) -> None:
        assert hydrograph(flood).figure.axes[0].texts[0].get_ha() == "left"
        assert hydrograph(flood.iloc[:140]).figure.axes[0].texts[0].get_ha() == "right"

    def test_one_reading_without_a_source(self) -> None:
        index = pd.DatetimeIndex(["2018-08-31 12:00"], tz="UTC")
        picture = hydrograph(pd.DataFrame({"stage_ft": [1.5]}, index=index))
        assert picture.numbers["peak_ft"] == 1.5
        assert picture.png()

    def test_nothing_to_draw(self, flood: pd.DataFrame) -> None:
        with pytest.raises(ValueError, match="'stage_ft' has no measured value"):
            hydrograph(flood.assign(stage_ft=np.nan))
        with pytest.raises(ValueError, match="'stage_ft' has no measured value"):
            hydrograph(flood.iloc[:0])
        with pytest.raises(ValueError, match="no column 'water_temperature_degC'"):
            hydrograph(flood[["stage_ft"]], temperature=True)


class TestPicture:
    def test_it_is_drawn_on_white_at_twice_its_size(self, flood: pd.DataFrame) -> None:
        picture = hydrograph(flood)
        png = picture.png()
        assert png.startswith(b"\x89PNG")
        assert struct.unpack(">II", png[16:24]) == (1800, 800)
        assert picture.figure.get_facecolor() == (1, 1, 1, 1)

    def test_in_a_notebook(self, flood: pd.DataFrame) -> None:
        picture = hydrograph(flood, title="Stage <a> & b")
        figure = ElementTree.fromstring(picture._repr_html_())
        image, caption = figure.find("img"), figure.find("figcaption")
        assert image is not None
        assert caption is not None
        assert image.get("alt") == "Stage <a> & b: described below."
        assert image.get("width") == "900"
        kind, _, data = image.get("src", "").partition(",")
        assert (kind, base64.b64decode(data)) == ("data:image/png;base64", picture.png())
        assert caption.text == picture.description
        assert repr(picture) == "<Picture: Stage <a> & b>"

    def test_nothing_stays_behind_in_pyplot(self, flood: pd.DataFrame) -> None:
        before = plt.get_fignums()
        hydrograph(flood, temperature=True).png()
        assert plt.get_fignums() == before
