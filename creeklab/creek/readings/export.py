"""Write readings to CSV and Excel, for people who work in a spreadsheet.

A file from here is read back by :func:`creeklab.creek.readings.formats.read_file` as it was
written. The time column's heading names its zone, because neither format keeps one: ``time (UTC)``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from creeklab.creek.readings.samples import times
from creeklab.creek.readings.times import check_zone

_MAX_EXCEL_ROWS = 1_048_575  # and one for the heading


def to_csv(readings: pd.DataFrame, path: str | Path, *, zone: str = "UTC") -> None:
    """Write readings to a CSV file.

    Parameters
    ----------
    path
        The file; it is replaced if it exists.
    zone
        The time zone of its times. In a zone with daylight saving time, each time has its offset.
    """
    table = _table(readings, zone)
    if zone != "UTC":
        local = times(readings).tz_convert(check_zone(zone))
        table = table.rename(columns={f"time ({zone})": "time"})
        table["time"] = [time.isoformat(sep=" ") for time in local]
    table.to_csv(path, index=False)


def to_excel(readings: pd.DataFrame, path: str | Path) -> None:
    """Write readings to an Excel file: one sheet of readings in UTC, and one about the record.

    Raises
    ------
    ValueError
        If there are more readings than a sheet has rows.
    """
    if len(readings) > _MAX_EXCEL_ROWS:
        raise ValueError(
            f"An Excel sheet has room for {_MAX_EXCEL_ROWS:,} readings, and these are"
            f" {len(readings):,}. Write one file per year, or use to_csv."
        )
    about = pd.DataFrame(
        [(key, str(value)) for key, value in readings.attrs.items()], columns=["what", "text"]
    )
    with pd.ExcelWriter(path, engine="openpyxl") as writer:
        _table(readings, "UTC").to_excel(writer, sheet_name="readings", index=False)
        about.to_excel(writer, sheet_name="about", index=False)


def _table(readings: pd.DataFrame, zone: str) -> pd.DataFrame:
    """Return the readings with a column of times without a zone, whose heading names it."""
    local = times(readings).tz_convert(check_zone(zone)).tz_localize(None)
    table = readings.reset_index(drop=True)
    table.insert(0, f"time ({zone})", local)
    return table
