"""How many faults the quality check finds, and how many of its findings are faults.

Faults are injected into a good record (:mod:`~creeklab.creek.quality.fault_injection`), so the
right answers are known. **Recall** is the share of the faults that were found, **precision** the
share of the findings that were faults. Either alone is easy: flag everything, or nothing.

A finding counts as right only if it names the fault: a dead sensor that is called a drift is a miss
of the one and a false alarm of the other. A gap is right if it is one of the faults or was in the
record before.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from creeklab.creek.quality.fault_injection import Fault
from creeklab.creek.quality.quality import Quality

# Findings that name each kind of fault. A large spike is also out of range.
NAMES: dict[str, tuple[str, ...]] = {
    "spike": ("spike", "out of range", "rate of change"),
    "gap": ("missing",),
    "power cut": ("missing",),
    "flat line": ("flat line",),
    "drift": ("drift",),
    "dead sensor": ("dead sensor", "out of range"),
}

# Kinds of fault that each kind of finding may come from.
CAUSES: dict[str, tuple[str, ...]] = {
    "spike": ("spike", "noise"),
    "rate of change": ("spike", "noise"),
    "out of range": ("spike", "noise", "dead sensor", "drift"),
    "missing": ("gap", "power cut"),
    "flat line": ("flat line", "dead sensor"),
    "dead sensor": ("dead sensor", "flat line"),
    "drift": ("drift",),
    "datum shift": (),
}


def detection_scores(
    found: Iterable[Quality], faults: Iterable[Iterable[Fault]], clean: Quality | None = None
) -> pd.DataFrame:
    """Compare the findings of the quality check with the faults that were injected.

    Parameters
    ----------
    found
        The results for records with faults.
    faults
        The faults of each of those records.
    clean
        The result for the record before. Finding the same again is neither right nor wrong.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``kind``, first of faults, then of findings that no fault is named after:
        ``faults`` injected, ``found`` of them, ``recall``; ``findings`` of this kind, ``right`` of
        them, ``precision``. NaN where there was nothing to find, or nothing was found.
    """
    counts: dict[str, list[int]] = {}
    for check, injected in zip(found, faults, strict=True):
        _count(counts, check, list(injected), clean)
    table = pd.DataFrame.from_dict(
        counts, orient="index", columns=["faults", "found", "findings", "right"]
    ).rename_axis("kind")
    table.insert(2, "recall", table["found"] / table["faults"].replace(0, np.nan))
    table["precision"] = table["right"] / table["findings"].replace(0, np.nan)
    return table


def _count(
    counts: dict[str, list[int]], check: Quality, faults: list[Fault], clean: Quality | None
) -> None:
    intervals = check.intervals
    known = clean.intervals if clean is not None else intervals.iloc[:0]
    old = {(k, a, b) for k, a, b in zip(*_columns(known), strict=True)}
    findings = [each for each in zip(*_columns(intervals), strict=True) if each not in old]
    for fault in faults:
        row = counts.setdefault(fault.kind, [0] * 4)
        row[0] += 1
        row[1] += any(
            kind in NAMES.get(fault.kind, ()) and start <= fault.end and fault.start <= end
            for kind, start, end in findings
        )
    for kind, start, end in findings:
        # Missing values and missing rows look the same.
        name = "gap" if kind == "missing" else kind
        row = counts.setdefault(name, [0] * 4)
        row[2] += 1
        row[3] += any(
            fault.kind in CAUSES.get(kind, ()) and start <= fault.end and fault.start <= end
            for fault in faults
        )


def _columns(intervals: pd.DataFrame) -> tuple[pd.Series, ...]:
    return intervals["kind"], intervals["start"], intervals["end"]
