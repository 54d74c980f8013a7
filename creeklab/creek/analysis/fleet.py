"""Floods, summaries and quality of many Things at once, on Dask.

Each Thing is one task, which reads its history and analyzes it as for a single creek, so the
results are the same. Dask runs the tasks on whatever it is set up for: threads by default, the
processes of this machine with ``dask.config.set(scheduler="processes")``, or a cluster with
``dask.distributed.Client(...)``. For a cluster, the history must be in a bucket or a shared folder.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import pandas as pd

from creeklab.creek.analysis import floods as flood_analysis
from creeklab.creek.analysis.summary import summarize
from creeklab.creek.history import History
from creeklab.creek.quality import quality as quality_analysis

_MAX_NAMED = 3

Analyze = Callable[[pd.DataFrame], pd.DataFrame]


def floods(history: History, things: Sequence[str] | None = None, **options: Any) -> pd.DataFrame:
    """Return the floods of many Things.

    Parameters
    ----------
    history
        Where the readings are.
    things
        Names of the Things; None takes all.
    options
        Thresholds and ``bridge``, as in :func:`creeklab.creek.analysis.floods.find`.

    Returns
    -------
    pandas.DataFrame
        The table of :func:`~creeklab.creek.analysis.floods.find`, indexed by ``thing`` and
        ``flood``.

    Warns
    -----
    UserWarning
        If Things are left out because they cannot be analyzed; it names them and the reason.
    """
    return _each(history, things, lambda readings: flood_analysis.find(readings, **options))


def summary(history: History, things: Sequence[str] | None = None, **options: Any) -> pd.DataFrame:
    """Return a summary of many Things, one row each, indexed by ``thing``.

    Parameters are those of :func:`floods`; the columns are the numbers of
    :func:`creeklab.creek.analysis.summary.summarize`.
    """

    def analyze(readings: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame([summarize(readings, **options).numbers])

    return _each(history, things, analyze).droplevel(1)


def quality(history: History, things: Sequence[str] | None = None) -> pd.DataFrame:
    """Return how many readings of each Thing are good, suspect, failed or missing.

    Parameters are those of :func:`floods`. Each Thing is tested with limits from its own record
    (:func:`creeklab.creek.quality.quality.check`). The table has one row per Thing, indexed by
    ``thing``.
    """

    def analyze(readings: pd.DataFrame) -> pd.DataFrame:
        return quality_analysis.check(readings).counts().loc[["overall"]]

    return _each(history, things, analyze).droplevel(1)


def _each(history: History, things: Sequence[str] | None, analyze: Analyze) -> pd.DataFrame:
    try:
        # Only needed here, and not installed with creeklab.
        dask: Any = import_module("dask")
    except ImportError as error:
        raise ImportError(
            "The analysis of many Things needs Dask. Install it with: pip install dask"
        ) from error
    names = history.things if things is None else list(things)

    def run(thing: str) -> pd.DataFrame | str:
        readings = history.read(thing)
        try:
            return analyze(readings)
        except ValueError as error:
            return str(error)

    tasks = [dask.delayed(run, pure=False)(name) for name in names]
    results = dict(zip(names, dask.compute(*tasks), strict=True))
    problems = {name: found for name, found in results.items() if isinstance(found, str)}
    if problems:
        named = [f"{name!r}: {why}" for name, why in list(problems.items())[:_MAX_NAMED]]
        warnings.warn(
            f"{len(problems)} of {len(names)} Things are left out. {' '.join(named)}", stacklevel=3
        )
    tables = {name: found for name, found in results.items() if name not in problems}
    if not tables:
        raise ValueError(f"None of the {len(names)} Things in {history} can be analyzed.")
    table: pd.DataFrame = pd.concat(tables, names=["thing"])
    return table
