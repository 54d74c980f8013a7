"""The notebooks as JupyterLab gets them: so that one that is only opened does not count as changed.

JupyterLab writes into a notebook which language its kernel speaks, the Python's number included,
and marks it as changed if that is not what is there. The stored notebooks name no number, as every
learner has another one. So it is put in here on the way to JupyterLab, and taken out on the way
back to the file.

And so that what a tool has shown is seen on another day: its widget lives no longer than the
kernel, and JupyterLab would show an error in its place although a page of it is there.
"""

from __future__ import annotations

import functools
from typing import Any, cast

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

STORED = {"name": "python"}
"""What the stored notebooks say of their language."""


class StableContentsManager(AsyncLargeFileManager):
    """Files as Jupyter has them, but for the language of notebooks in Python."""

    async def get(self, path: str, content: bool = True, *given: Any, **named: Any) -> Any:
        """Return a file or a folder; a notebook with the language that its kernel will tell."""
        model = await cast(Any, super()).get(path, content, *given, **named)
        _change_language(model, STORED, _of_the_kernel())
        return model

    async def save(self, model: dict[str, Any], path: str = "") -> Any:
        """Save a file; a notebook without what belongs to this machine's Python."""
        _change_language(model, _of_the_kernel(), STORED)
        _leave_the_page(model)
        return await cast(Any, super()).save(model, path)


def _leave_the_page(model: dict[str, Any]) -> None:
    """Take the reference to a widget out of each output that has a page of its own."""
    if model.get("type") == "notebook" and model.get("content") is not None:
        for cell in model["content"].get("cells", ()):
            for output in cell.get("outputs", ()):
                if "text/html" in output.get("data", ()):
                    output["data"].pop("application/vnd.jupyter.widget-view+json", None)


@functools.cache
def _of_the_kernel() -> dict[str, Any]:
    """Return what the kernel will tell: it runs on the Python of this server."""
    from ipykernel.ipkernel import IPythonKernel  # takes a moment; only a notebook needs it

    return dict(IPythonKernel.language_info)


def _change_language(model: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> None:
    if model.get("type") == "notebook" and model.get("content") is not None:
        metadata = model["content"].get("metadata", {})
        if metadata.get("language_info") == old:
            metadata["language_info"] = dict(new)
