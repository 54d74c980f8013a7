"""Readings straight from the USGS Water Data API, through the dataretrieval package.

The package is optional (``pip install dataretrieval``). A class without internet access reads a
recorded response instead, with :func:`creeklab.creek.readings.formats.read_file`: both go through
the same code, so both give the same readings.
"""

from __future__ import annotations

import pandas as pd

from creeklab.creek.readings.building import Choices
from creeklab.creek.readings.formats.usgs_water_data import read_features

_PARAMETERS = ("00065", "00010", "00060")


def fetch(site: str, start: str, end: str) -> pd.DataFrame:
    """Return the instantaneous stage, water temperature and discharge of a site.

    Parameters
    ----------
    site
        The number of the site, such as ``"01581752"``.
    start, end
        The first and the last day, such as ``"2025-01-20"``.

    Returns
    -------
    pandas.DataFrame
        A table of readings, as from a file of the API.

    Raises
    ------
    ModuleNotFoundError
        If dataretrieval is not installed.
    ValueError
        If the site has no readings in this time.
    """
    try:
        # Optional, and slow to import.
        from dataretrieval import waterdata  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Live readings of the USGS need the package dataretrieval. Install it with"
            " 'pip install dataretrieval', or read a file that you downloaded."
        ) from error
    number = site.removeprefix("USGS-")
    rows, _ = waterdata.get_continuous(
        monitoring_location_id=f"USGS-{number}",
        parameter_code=list(_PARAMETERS),
        time=f"{start}/{end}",
        convert_type=False,
    )
    if rows.empty:
        raise ValueError(f"The USGS has no readings of site {number} from {start} to {end}.")
    return read_features(f"the USGS's answer for {number}", rows, Choices(site=number))
