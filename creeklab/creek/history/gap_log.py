"""The gaps in which a recorder was not connected, also across restarts and crashes.

While the recorder is connected, the modification time of a file is the last moment at which it
was. So the length of a gap is known even if the process was killed.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from creeklab.creek.history.bounded_log import BoundedLog


class GapLog:
    """The gaps of one recorder, in its journal's folder. The caller passes the time."""

    def __init__(self, folder: Path) -> None:
        self._last_connected = folder / "last-connected"
        self._log = BoundedLog(folder, "gaps")
        self.connected = False

    def alive(self, now: datetime) -> None:
        """Record that the recorder runs; call this every second or so."""
        if self.connected:
            os.utime(self._last_connected, (now.timestamp(), now.timestamp()))

    def disconnected(self, now: datetime) -> None:
        """Record the start of a gap."""
        self.alive(now)
        self.connected = False

    def resumed(self, now: datetime, *, session_present: bool) -> None:
        """Record the end of a gap, if the recorder was ever connected before."""
        if self._last_connected.exists():
            start = datetime.fromtimestamp(self._last_connected.stat().st_mtime, UTC)
            gap = {"start": min(start, now).isoformat(), "end": now.isoformat()}
            self._log.write({**gap, "filled": session_present})
        self._last_connected.touch()
        self.connected = True
        self.alive(now)

    def table(self) -> pd.DataFrame:
        """Return one row for each gap: ``start``, ``end``, ``seconds``, ``filled``."""
        rows = self._log.read()
        table = pd.DataFrame(
            {
                name: pd.DatetimeIndex(
                    pd.to_datetime([row[name] for row in rows], format="ISO8601", utc=True)
                ).as_unit("us")
                for name in ("start", "end")
            }
        )
        table["seconds"] = (table["end"] - table["start"]).dt.total_seconds()
        table["filled"] = [bool(row["filled"]) for row in rows]
        return table
