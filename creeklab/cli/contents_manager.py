"""Load and save notebooks so that opening one does not change it, and widget outputs stay visible.

JupyterLab writes the kernel's language into a notebook, including the Python version, and marks the
notebook as changed if it differs. The stored notebooks name no version, because every learner's
Python differs. So the version is added when JupyterLab loads a notebook, and removed when it saves
one.

A widget does not outlive its kernel. JupyterLab would then show an error in its place, although the
output also contains a static page. So a saved output with a page does not refer to the widget.
"""

from __future__ import annotations

import functools
from typing import Any, cast

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

STORED = {"name": "python"}
"""The language entry of the stored notebooks."""


class StableContentsManager(AsyncLargeFileManager):
    """Jupyter's file manager, except for the language and the widgets of notebooks."""

    async def get(self, path: str, content: bool = True, *given: Any, **named: Any) -> Any:
        """Return a file or folder; a notebook with the language that its kernel will report."""
        model = await cast(Any, super()).get(path, content, *given, **named)
        _change_language(model, STORED, _kernel_language())
        return model

    async def save(self, model: dict[str, Any], path: str = "") -> Any:
        """Save a file; a notebook without this machine's Python and without widget references."""
        _change_language(model, _kernel_language(), STORED)
        _remove_widget_references(model)
        return await cast(Any, super()).save(model, path)


def _remove_widget_references(model: dict[str, Any]) -> None:
    """Remove the widget reference from each output that also has a static page."""
    if model.get("type") == "notebook" and model.get("content") is not None:
        for cell in model["content"].get("cells", ()):
            for output in cell.get("outputs", ()):
                if "text/html" in output.get("data", ()):
                    output["data"].pop("application/vnd.jupyter.widget-view+json", None)


@functools.cache
def _kernel_language() -> dict[str, Any]:
    """Return the language that the kernel will report: it runs on this server's Python."""
    from ipykernel.ipkernel import IPythonKernel  # slow, and only a notebook needs it

    return dict(IPythonKernel.language_info)


def _change_language(model: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> None:
    if model.get("type") == "notebook" and model.get("content") is not None:
        metadata = model["content"].get("metadata", {})
        if metadata.get("language_info") == old:
            metadata["language_info"] = dict(new)
