"""Tables of readings: the recorded samples, files from elsewhere, units and gaps.

:mod:`creeklab.creek.readings.samples` defines what a table of readings is. ``samples.load`` loads a
recorded one, ``read_csv`` and the other readers make one from a file, and ``normalize`` makes one
from any DataFrame.
"""

from creeklab.creek.readings.readers import (
    read_csv,
    read_nwis_parquet,
    read_rdb,
    read_trout_creek,
)
from creeklab.creek.readings.samples import STAGE, TEMPERATURE
from creeklab.creek.readings.time_series import gaps, normalize

__all__ = [
    "STAGE",
    "TEMPERATURE",
    "gaps",
    "normalize",
    "read_csv",
    "read_nwis_parquet",
    "read_rdb",
    "read_trout_creek",
]
