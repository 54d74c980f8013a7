"""Pictures of the creek, each with the numbers behind it and the same thing said in words.

See :mod:`creeklab.creek.plots.figure_style` for what all of them keep to. A span can be chosen by
hand with :class:`creeklab.creek.plots.explore.Explorer`.
"""

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
    "hydrograph",
    "missing",
    "overlay",
    "return_periods",
    "rise_rates",
    "temperature_cycles",
]
