"""Tables of readings: the recorded samples, files from elsewhere, units and gaps.

:mod:`creeklab.creek.readings.samples` defines what a table of readings is. ``samples.load`` loads a
recorded one, the functions of ``readers`` make one from a file, and ``time_series.normalize`` makes
one from any DataFrame.
"""
