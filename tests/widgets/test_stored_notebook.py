"""A stored notebook with the tools: executed, compared by nbval, and exported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter

from creeklab.cli.jupyterlab import child_environment
from creeklab.cloud import supervisor
from tests import execute_notebooks
from tests.display.test_html import PageReader

CELLS = [
    "import creeklab\nlab = creeklab.open_lab()\nlab.catch_up('06-device-shadow')",
    "client = lab.test_client()\nclient.subscribe('creek/#')\nclient",
    "client.publish('creek/depth', {'ft': 1.4, 'note': '<b>'}, user_properties={'a': 'b'})\n"
    "client.publish('creek/raw', bytes([200, 1]), qos=0)\n"
    "client.wait_for(2)",
    "client",
    "view = lab.shadow_view('Test2')\n"
    "with lab.connect('Test2') as device:\n"
    "    device.publish('$aws/things/Test2/shadow/update', {'state': {'reported': {'depth': 1}}})\n"
    "view.wait_for(1)\nview.update(desired={'depth': 2})\nview.wait_for(2)\nview.replay_conflict()",
    "view",
    "view.close()\nclient.close()",
]

read: Any = nbformat.read
new: Any = nbformat.v4


@pytest.mark.filterwarnings("ignore::Warning:zmq", "ignore::Warning:jupyter_client")
def test_a_stored_notebook_shows_the_tools_and_is_reproducible(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute_notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("CREEKLAB_HOME", "")  # which `execute` sets
    path = tmp_path / "tools.ipynb"
    nbformat.write(new.new_notebook(cells=[new.new_code_cell(source) for source in CELLS]), path)
    execute_notebooks.execute(path)
    stored = read(path, as_version=4)
    empty, _, client, _, view = (cell.outputs for cell in stored.cells[1:6])
    summaries = [[output.data["text/plain"] for output in outputs] for outputs in (client, view)]
    assert summaries == [
        ["MQTT test client, subscribed to 'creek/#'"],
        ["Shadow of Test2, version 2"],
    ]
    assert "no messages yet" in empty[0].data["text/html"]
    assert execute_notebooks.WIDGET not in client[0].data
    assert "widgets" not in stored.metadata
    page, _ = HTMLExporter().from_notebook_node(stored)
    shown = PageReader(page)
    for text in ('"note": "<b>"', "binary, 2 bytes", "user property a: b", "Version conflict"):
        assert text in shown.text
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q"]
    command += ["-p", "no:cacheprovider", str(path)]
    environment = {**os.environ, **child_environment(), "CREEKLAB_HOME": str(home)}
    compared = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert compared.returncode == 0, compared.stdout
    assert supervisor.status(home) is not None
