"""JupyterLab in Chromium, as learners use it: a server, a browser, and short notebooks.

All tests share one server and one page, because JupyterLab takes much longer to load than a
notebook in it. Each test has its own notebook and kernel. All kernels share a cloud, whose account
is empty, like a new learner's. Nothing is downloaded: the browser is the one installed on the
machine.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from creeklab import Lab, open_lab
from creeklab.cli.jupyterlab import CONTENTS_MANAGER, child_environment, settings
from creeklab.cloud import supervisor
from tests.browser.notebook import Notebook

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
TIMEOUT = 90.0
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: drives JupyterLab in Chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="Chromium is not installed"))


@dataclass(frozen=True)
class Jupyter:
    """A running JupyterLab."""

    address: str
    token: str
    folder: Path


@pytest.fixture(scope="session")
def session_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("home")
    yield open_lab(home=home)
    supervisor.stop(home)


@pytest.fixture(scope="session")
def jupyter(session_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """Start JupyterLab with its own notebook folder and settings."""
    folder = tmp_path_factory.mktemp("notebooks")
    own = tmp_path_factory.mktemp("jupyter")
    token = secrets.token_hex(16)
    environment = {
        **child_environment(),
        **settings(own),
        "CREEKLAB_HOME": str(session_lab.home),
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    command += [
        CONTENTS_MANAGER,
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={folder}",
        "--no-browser",
    ]
    command += ["--LabApp.news_url=None", "--LabApp.extension_manager=readonly"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += ["--LabApp.expose_app_in_browser=True", "--ServerApp.terminals_enabled=False"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command += ["--allow-root"]
    with (own / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        address = _wait_for_server(server, own / "runtime")
        yield Jupyter(address, token, folder)
    finally:
        server.terminate()
        try:
            server.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for_server(server: subprocess.Popen[bytes], runtime: Path) -> str:
    end = time.monotonic() + TIMEOUT
    while server.poll() is None and time.monotonic() < end:
        for file in runtime.glob("jpserver-*.json"):
            with suppress(OSError, ValueError):  # half written, or not listening yet
                info = json.loads(file.read_text())
                with urllib.request.urlopen(f"{info['url']}api", timeout=5):
                    return str(info["url"])
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start: {(runtime.parent / 'log').read_text()}")


# It ends with this package, because it runs an asyncio loop, and other tests run their own.
@pytest.fixture(scope="package")
def page(jupyter: Jupyter) -> Iterator[Page]:
    """Open JupyterLab in a browser."""
    expect.set_options(timeout=1_000 * TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(1_000 * TIMEOUT)
        # In its own workspace, so that JupyterLab restores nothing from another page.
        workspace = secrets.token_hex(4)
        page.goto(f"{jupyter.address}lab/workspaces/{workspace}?token={jupyter.token}")
        page.wait_for_function("() => window.jupyterapp?.restored.then(() => true)")
        page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        yield page
        browser.close()


@pytest.fixture
def open_notebook(
    jupyter: Jupyter, page: Page, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Open a notebook with the given cells, or a stored one.

    It is closed and its kernel ends with the test.
    """
    opened: list[Notebook] = []

    def open_(
        *cells: str,
        theme: str = "light",
        width: int = 1300,
        height: int = 1000,
        stored: Path | None = None,
    ) -> Notebook:
        file = jupyter.folder / f"{request.node.originalname}-{len(opened)}.ipynb"
        page.set_viewport_size({"width": width, "height": height})
        opened.append(Notebook(page, jupyter.address, jupyter.token, file))
        if stored is None:
            opened[-1].open(cells, theme)
        else:
            shutil.copy(stored, file)
            opened[-1].show(theme)
        return opened[-1]

    yield open_
    for notebook in opened:
        notebook.close()
