"""Gives every notebook that nbval runs a home folder, and so a cloud, of its own.

nbval starts a notebook's kernel while it sets up the first cell and stops it after the last one.
So ``CREEKLAB_HOME`` is set before the one, and the cloud is stopped after the other.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

HOME = pytest.StashKey[Path]()
VARIABLE = pytest.StashKey[pytest.MonkeyPatch]()


def _is_cell(item: pytest.Item) -> bool:
    return item.path.suffix == ".ipynb"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Make the home before the kernel starts, which takes the variable from this process."""
    notebook = item.parent
    if _is_cell(item) and notebook is not None and HOME not in notebook.stash:
        home = Path(tempfile.mkdtemp(prefix="creeklab-"))
        variable = pytest.MonkeyPatch()
        variable.setenv("CREEKLAB_HOME", str(home))
        notebook.stash[HOME], notebook.stash[VARIABLE] = home, variable
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """Stop the cloud and remove the home once the kernel has ended."""
    try:
        return (yield)
    finally:
        notebook = item.parent
        if (
            _is_cell(item)
            and notebook is not None
            and (nextitem is None or nextitem.parent is not notebook)
        ):
            from creeklab.cloud import supervisor

            home = notebook.stash[HOME]
            notebook.stash[VARIABLE].undo()
            supervisor.stop(home)
            shutil.rmtree(home)
