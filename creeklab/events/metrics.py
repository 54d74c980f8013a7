"""The local cloud's metrics of its devices as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from creeklab.session.lab_session import LabSession

if TYPE_CHECKING:
    import pandas as pd


def read_metrics(lab: LabSession) -> pd.DataFrame:
    """Return CloudWatch's counters of the devices, minute by minute; see `Lab.metrics`."""
    import pandas as pd  # opening the lab must not wait for it

    rows = lab.admin("metrics")["minutes"]
    counts = pd.DataFrame(rows, columns=["minute", "name", "protocol", "sum"])
    counts["minute"] = pd.to_datetime(counts["minute"], unit="s", utc=True)
    return counts.pivot_table(
        index="minute", columns=["name", "protocol"], values="sum", aggfunc="sum", fill_value=0
    ).astype("int64")
