"""Distribute the tests over processes: a file at a time, the longest files first.

A long file that starts last keeps one process busy while the others have nothing left to do.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling

BROWSER = "tests/browser/"
LONGEST = (
    BROWSER,
    "tests/test_notebooks.py",
    "tests/test_notebooks_on_aws.py",
    "tests/test_bootstrap.py",
    "tests/test_catch_up.py",
    "tests/cloud/test_kill.py",
    "tests/cloud/test_workshop.py",
    "tests/cloud/test_supervisor.py",
    "tests/test_aws.py",
    "tests/test_benchmarks.py",
    "tests/creek/test_report.py",
    "tests/cloud/test_fuzz.py",
    "tests/cloud/test_real_clients.py",
    "tests/test_checks.py",
    "notebooks/09-creek-history.ipynb",
    "tests/test_recorder.py",
    "tests/cloud/test_soak.py",
)
"""Files that keep a process busy for more than ten seconds, longest first."""


class FilesAndPackages(LoadFileScheduling):
    """Tests of a file share a process, since they share fixtures; so do all that need a browser."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return BROWSER if scope.startswith(BROWSER) else scope


def rank(item: pytest.Item) -> int:
    """Return the place of a test's file among the longest ones, or after them."""
    for place, name in enumerate(LONGEST):
        if item.nodeid.startswith(name):
            return place
    return len(LONGEST)
