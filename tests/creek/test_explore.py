"""A span can be chosen by list, by date and by button; a stored notebook keeps the figure."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from creeklab.creek import plots
from creeklab.creek.analysis import floods
from creeklab.creek.plots.explore import Explorer
from tests.creek.conftest import Make


@pytest.fixture
def explorer(three_years: pd.DataFrame) -> Explorer:
    return Explorer(three_years, floods.find(three_years))


def test_it_starts_with_the_whole_record(explorer: Explorer) -> None:
    assert explorer.span == (date(2016, 1, 1), date(2019, 1, 1))
    assert explorer.figure.numbers["peak_ft"] == 6.63
    assert repr(explorer) == "<Explorer: 2016-01-01 to 2019-01-01, Plumtree Run, 2016 to 2018>"


def test_a_flood_from_the_list(explorer: Explorer) -> None:
    label = "Flood 55: 2018-08-31, 6.63 ft"
    assert explorer._list.options[2] == label, "the highest comes first"
    explorer._list.value = label
    assert explorer.span == (date(2018, 8, 31), date(2018, 9, 1))
    assert explorer.figure.numbers["readings"] == 576
    assert "576 readings" in explorer._shown.value
    assert explorer.figure.title == "Plumtree Run, 2016 to 2018: 2018-08-31 to 2018-09-01"


def test_two_dates(explorer: Explorer) -> None:
    explorer._first.value = date(2018, 12, 30)
    assert explorer.span == (date(2018, 12, 30), date(2019, 1, 1))
    assert explorer._list.value == "The dates below"
    explorer._last.value = date(2018, 12, 31)
    assert explorer.figure.numbers["end"] == "2018-12-31 23:55 UTC"


def test_buttons_move_and_resize_the_span_within_the_record(explorer: Explorer) -> None:
    earlier, later, shorter, longer = explorer._buttons
    explorer.show(date(2018, 8, 1), date(2018, 8, 4))
    later.click()
    assert explorer.span == (date(2018, 8, 5), date(2018, 8, 8))
    earlier.click()
    longer.click()
    assert explorer.span == (date(2018, 7, 30), date(2018, 8, 6))
    shorter.click()
    assert explorer.span == (date(2018, 8, 1), date(2018, 8, 4))
    explorer.show(date(2018, 8, 1), date(2018, 8, 1))
    shorter.click()
    assert explorer.span == (date(2018, 8, 1), date(2018, 8, 1))
    explorer.show(date(2018, 12, 31), date(2019, 1, 1))
    longer.click()
    assert explorer.span == (date(2018, 12, 30), date(2019, 1, 1))


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (date(2018, 9, 2), date(2018, 9, 1), "ends (2018-09-01) before it begins (2018-09-02)"),
        (date(2018, 1, 1), date(2018, 1, 2), "no measured value"),
        (date(2018, 1, 1), None, "A date is empty"),
    ],
)
def test_an_error_is_shown_and_the_figure_stays(
    explorer: Explorer, first: date, last: date | None, message: str
) -> None:
    explorer.show(date(2018, 8, 1), date(2018, 8, 4))
    before = explorer._shown.value
    explorer._updating = True
    explorer._first.value = first
    explorer._updating = False
    explorer._last.value = last
    assert message in explorer._message.value
    assert 'role="alert"' in explorer._message.value
    assert explorer._shown.value == before
    explorer.show(date(2018, 8, 1), date(2018, 8, 2))
    assert explorer._message.value == ""


def test_every_control_has_a_label_and_keyboard_access(
    explorer: Explorer,
) -> None:
    controls = [explorer._list, explorer._first, explorer._last, *explorer._buttons]
    names = [each.description for each in controls]
    assert all(names)
    assert len(set(names)) == len(names)
    assert all(each.tabbable is not False for each in controls)


def test_a_stored_notebook_shows_the_figure(explorer: Explorer) -> None:
    explorer.show(date(2018, 8, 31), date(2018, 9, 1))
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == repr(explorer)
    assert bundle["text/html"] == explorer.figure.html()
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_custom_figure(three_years: pd.DataFrame) -> None:
    explorer = Explorer(three_years, draw=plots.duration_curve)
    explorer.show(date(2018, 8, 31), date(2018, 9, 1))
    assert explorer.figure.numbers["readings"] == 576


def test_nothing_to_choose_from(record: Make) -> None:
    with pytest.raises(ValueError, match="no rows"):
        Explorer(record([]))


def test_local_times_are_shown_in_utc(three_years: pd.DataFrame) -> None:
    local = Explorer(three_years.tz_convert("Pacific/Auckland"))
    assert local.span == (date(2016, 1, 1), date(2019, 1, 1))
