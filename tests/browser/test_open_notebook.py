"""Opening a notebook of the course changes neither the file nor JupyterLab's model of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from creeklab.cli.jupyterlab import NOTEBOOKS
from tests.browser.notebook import Notebook

# Waits until JupyterLab knows the kernel's language and name, which it writes into a notebook.
IS_CHANGED = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    const kernel = panel.sessionContext.session.kernel;
    await kernel.info;
    await kernel.spec;
    await new Promise(resolve => setTimeout(resolve, 0));
    return [panel.context.model.dirty, panel.context.model.getMetadata("language_info").version];
}"""
SAVE = "() => window.jupyterapp.shell.currentWidget.context.save()"


@pytest.mark.parametrize("name", ["00-start", "06-device-shadow"])
def test_opening_a_notebook_does_not_change_it(
    name: str, open_notebook: Callable[..., Notebook]
) -> None:
    stored = NOTEBOOKS / f"{name}.ipynb"
    notebook = open_notebook(stored=stored)
    changed, version = notebook.page.evaluate(IS_CHANGED)
    assert not changed
    assert version  # from the kernel, since the file has none
    notebook.page.evaluate(SAVE)
    assert notebook.path.read_bytes() == stored.read_bytes()
