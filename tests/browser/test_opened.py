"""A notebook of the course that is only opened stays as it is: in the file, and to JupyterLab."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from creeklab.cli.jupyterlab import NOTEBOOKS
from tests.browser.notebook import Notebook

# Until JupyterLab knows what it writes into a notebook: its kernel's language and name.
COUNTS_AS_CHANGED = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    const kernel = panel.sessionContext.session.kernel;
    await kernel.info;
    await kernel.spec;
    await new Promise(resolve => setTimeout(resolve, 0));
    return [panel.context.model.dirty, panel.context.model.getMetadata("language_info").version];
}"""
SAVE = "() => window.jupyterapp.shell.currentWidget.context.save()"


@pytest.mark.parametrize("name", ["00-start", "06-device-shadow"])
def test_a_notebook_that_is_opened_is_not_changed(
    name: str, open_notebook: Callable[..., Notebook]
) -> None:
    stored = NOTEBOOKS / f"{name}.ipynb"
    notebook = open_notebook(stored=stored)
    changed, version = notebook.page.evaluate(COUNTS_AS_CHANGED)
    assert not changed
    assert version  # JupyterLab has the kernel's, and the file has none
    notebook.page.evaluate(SAVE)
    assert notebook.path.read_bytes() == stored.read_bytes()
