"""Figures of the creek, each with a description in words and the numbers behind it.

All follow the rules in :mod:`creeklab.creek.plots.figure_style`. To choose a span by hand, use
:class:`creeklab.creek.plots.explore.Explorer`, which is not imported here because ipywidgets takes
long to load.
"""

from creeklab.creek.plots.comparison import gages, rain_and_stage, years
from creeklab.creek.plots.data_availability import missing
from creeklab.creek.plots.figure_style import CaptionedFigure
from creeklab.creek.plots.flood import flood_page, overlay, rise_rates
from creeklab.creek.plots.frequency import return_periods
from creeklab.creek.plots.seasons import calendar, temperature_cycles
from creeklab.creek.plots.stage import duration_curve, hydrograph

__all__ = [
    "CaptionedFigure",
    "calendar",
    "duration_curve",
    "flood_page",
    "gages",
    "hydrograph",
    "missing",
    "overlay",
    "rain_and_stage",
    "return_periods",
    "rise_rates",
    "temperature_cycles",
    "years",
]
