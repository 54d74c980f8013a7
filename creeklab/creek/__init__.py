"""A creek: sensor, readings, history, quality, analysis, plots and report.

Throughout the package, ``readings`` is a table of readings as
:mod:`creeklab.creek.readings.samples` defines it. A function that needs one raises ValueError for
anything else, and for a table in which nothing was measured; the message says what is wrong.
"""
