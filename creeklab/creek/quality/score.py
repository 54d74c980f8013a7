"""How much of what is wrong does the quality check find, and how much of what it finds is wrong?

Faults are put into a good record on purpose (:mod:`~creeklab.creek.quality.fault_injection`), so
the right answers are known. **Recall** is the share of the faults that were found, **precision**
the share of the findings that were faults. Either alone is easy: flag everything, or nothing.

A finding counts as right only if it says what is the matter: a dead sensor that is called a drift
is a miss of the one and a false alarm of the other. A gap found is right if it is one of the faults
or was in the record before.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from creeklab.creek.quality.fault_injection import Fault
from creeklab.creek.quality.quality import Quality

# Which findings name a fault. A spike far out is also out of range, and says so.
NAMES: dict[str, tuple[str, ...]] = {
    "spike": ("spike", "out of range", "rate of change"),
    "gap": ("missing",),
    "power cut": ("missing",),
    "flat line": ("flat line",),
    "drift": ("drift",),
    "dead sensor": ("dead sensor", "out of range"),
}

# Which faults a finding may be about.
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


def score(
    found: Iterable[Quality],
    faults: Iterable[Iterable[Fault]],
    clean: Quality | None = None,
) -> pd.DataFrame:
    """Mark a quality check against the faults that were put in.

    Parameters
    ----------
    found
        What was found in records with faults.
    faults
        The faults of each of those records.
    clean
        What was found in the record before. It is neither right nor wrong to find it again.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``kind``, first of faults, then of findings no fault is called by: ``faults``
        put in, ``found`` of them, ``recall``; ``findings`` of this name, ``right`` of them,
        ``precision``. NaN where there was nothing to find, or nothing found.
    """
    counts: dict[str, list[int]] = {}
    for check, put_in in zip(found, faults, strict=True):
        _count(counts, check, list(put_in), clean)
    table = pd.DataFrame.from_dict(
        counts, orient="index", columns=["faults", "found", "findings", "right"]
    ).rename_axis("kind")
    table.insert(2, "recall", table["found"] / table["faults"].replace(0, np.nan))
    table["precision"] = table["right"] / table["findings"].replace(0, np.nan)
    return table


def _count(
    counts: dict[str, list[int]], check: Quality, faults: list[Fault], clean: Quality | None
) -> None:
    stretches = check.intervals
    known = clean.intervals if clean is not None else stretches.iloc[:0]
    old = {(k, a, b) for k, a, b in zip(*_columns(known), strict=True)}
    findings = [each for each in zip(*_columns(stretches), strict=True) if each not in old]
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
            fault.kind in CAUSES[kind] and start <= fault.end and fault.start <= end
            for fault in faults
        )


def _columns(stretches: pd.DataFrame) -> tuple[pd.Series, ...]:
    return stretches["kind"], stretches["start"], stretches["end"]
