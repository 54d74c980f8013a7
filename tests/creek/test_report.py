"""The flood report: its content, that it is self-contained, and what it rejects."""

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from creeklab.cli import main
from creeklab.creek import report
from creeklab.creek.history import History
from creeklab.creek.plots import CaptionedFigure
from creeklab.creek.quality import Fault, inject
from creeklab.creek.readings import samples
from creeklab.creek.readings.display import Display
from tests.creek.conftest import Make

FLOOD = "plumtree-run-flood-2018-08-31"


FILES = Path(__file__).parent / "files"


class Page(HTMLParser):
    """A parsed page: its tags with their attributes, its headings, its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.levels: list[int] = []
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "every element is closed where it should be"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(three_years: pd.DataFrame) -> str:
    return report.page(three_years, zone="America/New_York", marks={"Meadow": 4, "Bridge": 7})


@pytest.fixture(scope="module")
def whole(html: str) -> Page:
    return Page(html)


class TestThePage:
    @pytest.mark.parametrize(
        "text",
        [
            "6.63 ft, on August 31, 2018, 19:30 EDT (23:30 UTC)",
            "74, in 3.0 years",
            "15 in 2016, 16 in 2017 and 43 in 2018",
            "9,690 (3.07%)",
            "15.5 days",
            "6.3 ft per hour",
            "0 fail and 33 are suspect",
            "cannot give a 100-year flood",
            "How much water came",
            "not a warning",
            "USGS 01581752",
            "Public domain",
            "None of the gaps is in a recorded flood",
        ],
    )
    def test_its_text(self, whole: Page, text: str) -> None:
        assert text in whole.text

    def test_lead_times_to_landmarks(self, whole: Page) -> None:
        assert "Meadow (4 ft) 6 of 74 15 minutes 5 minutes 65 minutes" in whole.text
        assert "Bridge (7 ft) 0 of 74 not reached" in whole.text

    def test_it_is_self_contained(self, html: str, whole: Page) -> None:
        assert not {"script", "link", "iframe", "base"} & {name for name, _ in whole.tags}
        for _, attrs in whole.tags:
            assert not any(name.startswith("on") for name in attrs)
            for name in ("src", "href", "srcset"):
                assert (attrs.get(name) or "data:image/png").startswith("data:image/png")
        assert "url(" not in html
        assert "@import" not in html
        assert len(html) < 4e6

    def test_every_figure_has_an_alternative_and_a_caption(self, whole: Page) -> None:
        pictures = whole.all("img")
        assert len(pictures) >= 6
        assert all(len(each["alt"] or "") > 15 for each in pictures)
        assert len(whole.all("figcaption")) == len(pictures) == len(whole.all("figure"))

    def test_headings_language_and_names(self, whole: Page) -> None:
        assert whole.levels[0] == 1
        assert set(whole.levels[1:]) == {2}
        assert whole.all("html") == [{"lang": "en"}]
        assert len(whole.all("main")) == 1
        assert not whole.open
        scrolled = [attrs for attrs in whole.all("div") if attrs.get("class") == "wide"]
        assert all(each["tabindex"] == "0" and each["aria-label"] for each in scrolled)
        assert all(each.get("scope") in ("col", "row") for each in whole.all("th"))

    def test_it_has_both_color_schemes_a_narrow_form_and_a_printed_one(self, html: str) -> None:
        for rule in ("prefers-color-scheme: dark", "max-width: 34rem", "@media print"):
            assert rule in html

    def test_text_from_a_file_is_escaped(self, record: Make) -> None:
        readings = record([1, 3, 1])
        readings.attrs = {"title": "<b>Creek</b>", "site": "a & b <script>"}
        page = report.page(readings, marks={"<i>Bank</i>": 2.8})
        assert "<script>" not in page
        assert "<b>" not in page
        assert "<i>" not in page
        assert "&lt;b&gt;Creek&lt;/b&gt;" in page


class TestZoneAndUnits:
    def test_the_zone_is_that_of_the_whole_page(self, whole: Page) -> None:
        """Times in UTC only stand in brackets, beside the local ones."""
        for text in (
            "Peak (America/New_York)",
            "From (America/New_York)",
            "2018-08-31 19:30 EDT",  # in the description of a figure
            "1 2018-08-31 19:30 6.63 ft",  # in the table of floods
            "2016-01-01 00:00 EST to 2018-12-31 23:55 EST",
        ):
            assert text in whole.text, text
        page, _, _ = whole.text.partition("Where the readings come from")
        assert not re.findall(r"\d{4}-\d\d-\d\d[^()]{0,7}UTC", page)

    def test_meters(self, three_years: pd.DataFrame) -> None:
        page = Page(report.page(three_years, marks={"Meadow": 4}, metric=True))
        for text in ("2.02 m, on August 31, 2018", "1.9 m per hour", "Meadow (1.219 m)"):
            assert text in page.text, text
        assert not re.findall(r"\d ft\b|ft/h|\(ft\)", page.text)

    def test_round_levels_are_round_in_meters(self) -> None:
        levels = report._round_levels(2.5, 6.63, Display(metric=True))
        assert [*levels] == ["1 m", "1.5 m", "2 m"]
        assert levels["2 m"] == pytest.approx(6.5617, abs=1e-4)


class TestLeftOut:
    def test_a_spike_is_not_the_highest_flood(self, three_years: pd.DataFrame) -> None:
        """A failed reading is in no headline, flood or landmark, and the page says so."""
        time = pd.Timestamp("2017-05-01 12:00", tz="UTC")
        readings = inject(three_years.loc["2017-03":"2018-09"], [Fault("spike", time, time, 30)])
        page = Page(report.page(readings, marks={"Barn": 20}))
        assert "6.63 ft, on August 31, 2018" in page.text
        assert "1 stage that failed the quality check" in page.text
        assert "1 stage that failed a test is left out" in page.text
        assert "spike (1)" in page.text
        assert re.search(r"The highest of them is 3[01]\.\d\d ft, on May 1, 2017, 12:00", page.text)
        assert re.search(r"Barn \(20 ft\) 0 of \d+", page.text)

    def test_a_qualified_stage_is_suspect(self, record: Make) -> None:
        readings = record([1.0, 3.0, 3.1, 3.0, 1.0]).assign(stage_qualifier=["", "ICE", "", "", ""])
        page = Page(report.page(readings))
        assert (
            "Qualified: 3.00 ft at 2018-08-31 12:05 UTC is qualified by its publisher" in page.text
        )
        assert "1 are suspect" in page.text


class TestOtherRecords:
    def test_one_flood(self) -> None:
        page = Page(report.page(samples.load(FLOOD)))
        for text in (
            "nothing to compare it with",
            "This record is short",
            "No year of this record is complete",
            "No reading of the stage is missing",
            "the table uses round numbers instead",
            "3 ft 1 of 1 5 minutes",
        ):
            assert text in page.text

    def test_a_river(self) -> None:
        river = samples.load("kentucky-river-2014")
        page = Page(report.page(river, start=20, end=15, zone="America/New_York"))
        assert "26.79 ft, on February 6, 2014, 08:45 EST (13:45 UTC)" in page.text

    def test_a_flood_that_was_not_recorded_completely(self, record: Make) -> None:
        page = Page(report.page(record([3, 4, 3, np.nan, np.nan, 3, 1.5])))
        for text in (
            "The start of the flood was not recorded",
            "Either no flood was recorded from its beginning",
        ):
            assert text in page.text
        assert "Readings are missing in 1 flood" in page.text
        page = Page(report.page(record([1, 3, 4, 3])))
        assert "The end of the flood was not recorded" in page.text

    @pytest.mark.parametrize(
        ("peak", "expected"),
        [
            (6.63, ["3 ft", "4 ft", "5 ft", "6 ft"]),
            (2.51, ["2.52 ft"]),
            (2.9, ["2.6 ft", "2.7 ft", "2.8 ft", "2.9 ft"]),
            (26.0, ["5 ft", "10 ft", "15 ft", "20 ft", "25 ft"]),
        ],
    )
    def test_round_stages_where_there_are_no_landmarks(
        self, peak: float, expected: list[str]
    ) -> None:
        assert list(report._round_levels(2.5, peak, Display())) == expected


class TestRejected:
    def test_no_flood(self) -> None:
        with pytest.raises(
            ValueError, match=r"no flood .* 2.49 ft, on 2022-06-13 .* instance 0.8 and 0.6"
        ):
            report.page(samples.load("trout-creek-2022"))

    def test_thresholds_of_another_creek(self) -> None:
        with pytest.raises(ValueError, match=r"is never below 1.75 ft,.* for instance 26.1 and"):
            report.page(samples.load("kentucky-river-2014"))

    def test_no_such_zone(self, record: Make) -> None:
        with pytest.raises(ValueError, match="no time zone 'Mars/Sea'"):
            report.page(record([1, 3, 1]), zone="Mars/Sea")

    def test_nothing_measured(self, record: Make) -> None:
        with pytest.raises(ValueError, match="no measured value"):
            report.page(record([np.nan]))

    def test_no_such_sample(self) -> None:
        with pytest.raises(FileNotFoundError, match=r"called 'elkhorn'\. Samples: kentucky-river"):
            report.read("elkhorn")


class TestFiles:
    def test_csv_and_parquet(self, tmp_path: Path, record: Make) -> None:
        readings = record([1, 3, 1])
        readings.to_csv(tmp_path / "mine.csv")
        readings.to_parquet(tmp_path / "mine.parquet")
        for name in ("mine.csv", "mine.parquet"):
            read = report.read(str(tmp_path / name))
            assert read["stage_ft"].tolist() == [1, 3, 1]
            assert read.index.equals(readings.index)
            assert read.attrs["title"] == "mine"

    def test_a_history(self, tmp_path: Path, record: Make) -> None:
        history = History(tmp_path / "history")
        history.append("Test2", record([1, 3, 1]))
        folder = str(tmp_path / "history")
        assert report.read(folder)["stage_ft"].tolist() == [1, 3, 1]
        assert report.read(folder).attrs["title"] == "Test2"
        history.append("Test3", record([2, 4, 2]))
        assert report.read(folder, "Test3")["stage_ft"].tolist() == [2, 4, 2]
        with pytest.raises(ValueError, match=": 'Test2', 'Test3'"):
            report.read(folder)

    def test_a_usgs_file(self, tmp_path: Path) -> None:
        file = tmp_path / "site.txt"
        rows = ["agency_cd\tsite_no\tdatetime\ttz_cd\t01_00065\t01_00065_cd"]
        rows += ["5s\t15s\t20d\t6s\t14n\t10s"]
        rows += [
            f"USGS\t03287500\t2014-01-01 {hour:02}:00\tEST\t{ft}\tP"
            for hour, ft in enumerate((1, 3, 1))
        ]
        file.write_text("# a header\n" + "\n".join(rows) + "\n")
        read = report.read(str(file))
        assert read["stage_ft"].tolist() == [1, 3, 1]
        assert str(read.index[0]) == "2014-01-01 05:00:00+00:00"

    def test_an_error_names_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.csv"
        file.write_text("time,depth\n2018-08-31T12:00Z,1\n")
        with pytest.raises(ValueError, match=r"mine.csv does not say in which unit column 'depth'"):
            report.read(str(file))
        file.write_text("")
        with pytest.raises(ValueError, match=r"mine\.csv is empty"):
            report.read(str(file))

    def test_an_older_report_is_replaced_and_nothing_else(self, tmp_path: Path, html: str) -> None:
        file = tmp_path / "report.html"
        report.write(html, file)
        report.write(html, file)
        assert file.read_text(encoding="utf-8") == html
        file.write_text("my notes")
        with pytest.raises(FileExistsError, match="not a flood report, so it was not changed"):
            report.write(html, file)
        assert file.read_text() == "my notes"
        with pytest.raises(FileExistsError, match="is a folder"):
            report.write(html, tmp_path)
        with pytest.raises(FileNotFoundError, match="Create it first"):
            report.write(html, tmp_path / "nowhere" / "report.html")
        assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


class TestTheCommand:
    @pytest.mark.parametrize("name", samples.names())
    def test_it_works_on_every_sample_or_suggests_the_command_that_does(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Without its figures, which take most of the time.
        monkeypatch.setattr(CaptionedFigure, "png", lambda _: b"")
        file = tmp_path / "report.html"
        options = main.parse(["report", name, "-o", str(file)])
        try:
            assert options.run(options) == 0
        except main.CommandError as error:
            command = str(error).partition("Try: creeklab ")[2]
            again = main.parse(shlex.split(command))
            assert again.run(again) == 0
        assert file.exists()

    def test_options_for_a_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "report.html"
        arguments = [str(FILES / "home-assistant.csv"), "-o", str(file), "--stage", "state:ft"]
        arguments += ["--where", "entity_id=sensor.creek_depth", "--units", "metric"]
        options = main.parse(["report", *arguments, "--start", "1", "--end", "0.7"])
        assert options.run(options) == 0
        assert "1.83 m" in Page(file.read_text(encoding="utf-8")).text
        assert str(file) in capsys.readouterr().out

    def test_warnings_are_printed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "report.html"
        options = main.parse(["report", str(FILES / "hobo.csv"), "-o", str(file)])
        assert options.run(options) == 0
        assert "Warning: " in capsys.readouterr().out

    def test_it_writes_a_page(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "report.html"
        options = main.parse(
            ["report", FLOOD, "-o", str(file), "--landmark", "Low road=3.5", "--start", "3"]
        )
        assert options.run(options) == 0
        assert str(file) in capsys.readouterr().out
        assert "Low road (3.5 ft)" in Page(file.read_text(encoding="utf-8")).text

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["elkhorn"], "no sample, file or folder"),
            ([FLOOD, "-o", "nowhere/report.html"], "no folder nowhere"),
            ([FLOOD, "--start", "9"], "no flood in this record"),
            ([FLOOD, "--start", "1", "--end", "2"], "must not be above the start"),
        ],
    )
    def test_rejected_arguments(
        self, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        options = main.parse(["report", *arguments])
        with pytest.raises(main.CommandError, match=message):
            options.run(options)
        assert not list(tmp_path.iterdir())

    def test_a_landmark_needs_a_stage(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main.parse(["report", FLOOD, "--landmark", "Bank"])
        assert "'Bank' is not NAME=STAGE" in capsys.readouterr().err
