"""The notebook that JupyterLab loads, and what it saves to the file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tornado.web import HTTPError

from creeklab.cli.contents_manager import STORED, StableContentsManager

VIEW = "application/vnd.jupyter.widget-view+json"


def notebook(**data: Any) -> dict[str, Any]:
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    cell = {
        "cell_type": "code",
        "id": "a",
        "execution_count": None,
        "metadata": {},
        "outputs": [output],
        "source": "",
    }
    metadata = {"language_info": dict(STORED)}
    return {"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def contents(tmp_path: Path) -> StableContentsManager:
    return StableContentsManager(root_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("shown", "kept"),
    [({"text/html": "page", VIEW: {}}, {"text/html"}), ({"text/plain": "0%", VIEW: {}}, None)],
)
def test_a_widget_leaves_its_page(
    contents: StableContentsManager, tmp_path: Path, shown: dict[str, Any], kept: set[str] | None
) -> None:
    model = {"type": "notebook", "format": "json", "content": notebook(**shown)}
    asyncio.run(contents.save(model, "a.ipynb"))
    [cell] = json.loads((tmp_path / "a.ipynb").read_text())["cells"]
    assert set(cell["outputs"][0]["data"]) == (kept or set(shown))


def test_the_language_has_a_version_only_in_jupyterlab(
    contents: StableContentsManager, tmp_path: Path
) -> None:
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook()))
    model = asyncio.run(contents.get("a.ipynb"))
    assert "version" in model["content"]["metadata"]["language_info"]
    asyncio.run(contents.save(model, "a.ipynb"))
    stored = json.loads((tmp_path / "a.ipynb").read_text())
    assert stored["metadata"]["language_info"] == STORED


@pytest.mark.parametrize("model", [{"content": ""}, {"type": "notebook", "content": {}}])
def test_an_invalid_notebook_is_rejected_as_usual(
    contents: StableContentsManager, model: dict[str, Any]
) -> None:
    with pytest.raises(HTTPError):
        asyncio.run(contents.save(model, "a.ipynb"))
