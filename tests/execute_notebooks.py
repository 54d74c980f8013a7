"""Execute the notebooks and store their outputs: ``python tests/execute_notebooks.py [NAME ...]``.

Each notebook runs in a home folder of its own, as in the tests. With ``--form`` as the first
argument, only the file format is normalized, and the outputs stay as they are.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from creeklab.cli.contents_manager import STORED
from creeklab.cloud import supervisor

WIDGET = "application/vnd.jupyter.widget-view+json"
NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="creeklab-") as folder:
        home = Path(folder) / "home"
        os.environ["CREEKLAB_HOME"] = str(home)
        client = NotebookClient(
            notebook,
            timeout=120,
            resources={"metadata": {"path": str(NOTEBOOKS)}},
            record_timing=False,
        )
        try:
            client.execute()
        finally:
            supervisor.stop(home)
    normalize(notebook)
    nbformat.write(notebook, path)


def form(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    normalize(notebook)
    nbformat.write(notebook, path)


def normalize(notebook: Any) -> None:
    """Bring a notebook into the form that JupyterLab writes, so that opening it changes nothing."""
    keep_static_forms(notebook)
    # Readers do not care which Python ran it; see creeklab/cli/contents_manager.py.
    notebook.metadata.language_info = dict(STORED)
    for cell in notebook.cells:
        if cell.metadata.get("jupyter", {}).get("outputs_hidden"):
            cell.metadata.collapsed = True  # JupyterLab writes both


def keep_static_forms(notebook: Any) -> None:
    """Keep the static pages of the tools, and remove the widgets, which need the kernel.

    JupyterLab would prefer a missing widget to the page, and show an error.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data.pop(WIDGET, None)
    notebook.metadata.pop("widgets", None)


def main() -> None:
    wanted = sys.argv[1:]
    only_form = wanted[:1] == ["--form"]
    wanted = wanted[only_form:]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not wanted or any(path.name.startswith(name) for name in wanted):
            print(f"executing {path.name}" if not only_form else path.name, flush=True)
            (form if only_form else execute)(path)


if __name__ == "__main__":
    main()
