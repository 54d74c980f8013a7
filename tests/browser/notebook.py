"""A notebook in a browser, for tests that run its cells and use its tools as a person would.

JupyterLab's own commands do everything that is not under test: open, run a cell, set the theme.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Locator, Page, expect

new: Any = nbformat.v4
KERNEL_IS_READY = """() => {
    const kernel = window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""
# Not awaited, because that would wait until the cell has ended.
RUN_CELL = """number => {
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = number;
    window.jupyterapp.commands.execute("notebook:run-cell");
}"""
EXECUTED = re.compile(r"\[\d+\]:")


class Notebook:
    """A notebook in a page of JupyterLab, the only one that is open there."""

    def __init__(self, page: Page, address: str, token: str, path: Path) -> None:
        self.page = page
        self._address = address
        self._token = token
        self.path = path

    def open(self, cells: Sequence[str], theme: str) -> None:
        """Write the notebook, open it, and wait for its kernel."""
        notebook = new.new_notebook(
            cells=[new.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, self.path)
        self.show(theme)

    def show(self, theme: str = "light") -> None:
        """Open the notebook file, and wait for its kernel."""
        self.command("docmanager:open", path=self.path.name)
        expect(self.page.locator(".jp-Notebook .jp-CodeCell").first).to_be_visible()
        name = "JupyterLab Dark" if theme == "dark" else "JupyterLab Light"
        self.command("apputils:change-theme", theme=name)
        expect(self.page.locator(f'body[data-jp-theme-name="{name}"]')).to_be_attached()
        self.page.wait_for_function(KERNEL_IS_READY)

    def command(self, name: str, **arguments: str) -> None:
        """Run a JupyterLab command, and wait for its end."""
        self.page.evaluate(
            "async ([name, arguments]) => {"
            "    await window.jupyterapp.commands.execute(name, arguments);"
            "}",
            [name, arguments],
        )

    def cell(self, number: int) -> Locator:
        """Return a cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def start(self, number: int) -> None:
        """Run a cell without waiting for its end."""
        self.page.evaluate(RUN_CELL, number)

    def run(self, number: int) -> Locator:
        """Run a cell, wait for its end, and return it."""
        self.start(number)
        prompt = self.cell(number).locator(".jp-InputPrompt")
        expect(prompt).to_have_text(EXECUTED)
        errors = self.cell(number).locator('[data-mime-type="application/vnd.jupyter.stderr"]')
        assert errors.count() == 0, errors.all_inner_texts()
        return self.cell(number)

    def tool(self, number: int) -> Locator:
        """Return the tool that a cell shows."""
        return self.cell(number).locator(".creeklab.widget-box")

    @staticmethod
    def write(field: Locator, text: str) -> None:
        """Type text into a field.

        Shortly after a click, JupyterLab moves the focus again. Text typed in between is lost, so
        it is typed again.
        """
        for _ in range(10):
            field.fill(text)
            if field.input_value() == text:
                return
        expect(field).to_have_value(text)

    def end_kernel(self) -> None:
        """End the kernel, as *Shut Down* in the menu does."""
        for session in self._request("GET", "api/sessions"):
            if session["path"] == self.path.name:
                self._request("DELETE", f"api/sessions/{session['id']}")

    def close(self) -> None:
        """End the kernel and close the notebook, without the question whether to save it."""
        self.end_kernel()
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.dispose()")
        expect(self.page.locator(".jp-Notebook")).to_have_count(0)

    def _request(self, method: str, path: str) -> Any:
        request = urllib.request.Request(
            self._address + path,
            method=method,
            headers={"Authorization": f"token {self._token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None
