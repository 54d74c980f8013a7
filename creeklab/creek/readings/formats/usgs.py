"""What the formats of the U.S. Geological Survey share: parameter codes, sites, metadata."""

from __future__ import annotations

from collections.abc import Iterable

from creeklab.creek.readings.samples import STAGE, TEMPERATURE

PARAMETERS = {
    "00065": STAGE,
    "00010": TEMPERATURE,
    "00060": "discharge_ft3_s",
    "00045": "precipitation_in",
    "00095": "specific_conductance_uS_cm",
    "63680": "turbidity_FNU",
}
"""USGS parameter codes, and the column that each becomes."""

INTERPOLATED = "~"
"""USGS code for a value that its system interpolated."""

USGS = {
    "source": "U.S. Geological Survey, National Water Information System",
    "license": "Public domain (work of the United States government)",
    "datum": "stage_ft is the gage height above the station's own datum",
}


def one_site(path: object, sites: Iterable[str], wanted: str | None) -> str:
    """Return the site to read.

    Raises
    ------
    ValueError
        If there are several and none is chosen, or the chosen one is not among them.
    """
    found = sorted(sites)
    plain = wanted.removeprefix("USGS-") if wanted else None
    if plain is not None and plain not in found:
        raise ValueError(f"{path} has no site {plain!r}, only {', '.join(found)}.")
    if plain is None and len(found) > 1:
        raise ValueError(
            f"{path} has {len(found)} sites ({', '.join(found)}). Choose one, for example --site"
            f" {found[0]} (in Python: site={found[0]!r})."
        )
    return plain or "".join(found)
