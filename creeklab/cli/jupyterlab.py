"""JupyterLab as the front of the lab: started on a notebook, waited for, ended.

It is bound to loopback behind a token of its own, and asks the internet for nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

from creeklab.bootstrap import REPOSITORY_ROOT, print_line

NOTEBOOKS = REPOSITORY_ROOT / "notebooks"
# One that is only opened does not count as changed.
CONTENTS_MANAGER = (
    "--ServerApp.contents_manager_class=creeklab.cli.contents_manager.StableContentsManager"
)
START_TIMEOUT = 120.0  # a first start on a slow disk compiles much
STOP_TIMEOUT = 15.0


class JupyterError(Exception):
    """JupyterLab, or the notebook, cannot be opened; the message says why and what to do."""


def find_notebook(folder: Path, name: str | None) -> str:
    """Return the file name of the notebook to open, or of the first one.

    Parameters
    ----------
    name
        ``"05-mqtt"``, ``"05-mqtt.ipynb"``, a path that ends so, or the number: ``"5"``.
    """
    names = sorted(path.name for path in folder.glob("*.ipynb"))
    if not names:
        raise JupyterError(f"There is no notebook in {folder}. Clone the repository again.")
    if name is None:
        return names[0]
    wanted = Path(name).name.removesuffix(".ipynb") + ".ipynb"
    if name.isdecimal():
        wanted = next((each for each in names if each.startswith(f"{name:>02}-")), wanted)
    if wanted not in names:
        raise JupyterError(f"There is no notebook {wanted}. There are: {', '.join(names)}")
    return wanted


def check_free(port: int) -> None:
    """Raise `JupyterError` if JupyterLab cannot have this port."""
    with socket.socket() as probe:
        if os.name != "nt":  # else a port whose last user has just ended would count as taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise JupyterError(
                f"Port {port} cannot be used ({error.strerror}): another program, perhaps another\n"
                "JupyterLab, has it. Choose another port, or leave out --port to get a free one."
            ) from None


def run(home: Path, notebook: str, port: int | None, *, browser: bool, about: str) -> int:
    """Run JupyterLab until it ends or Ctrl-C comes; return its exit code, 0 after Ctrl-C.

    Parameters
    ----------
    home
        Home folder, for its log and settings.
    about
        What is said below its address.

    Raises
    ------
    JupyterError
        If it does not start.
    """
    token = secrets.token_hex(24)
    log = home / "jupyter.log"
    command = _command(notebook, port, browser=browser)
    environment = {**child_environment(), **settings(home), "JUPYTER_TOKEN": token}
    print_line("Starting JupyterLab ...")
    lines = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        jupyter = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=subprocess.STDOUT,
            env=environment,
            # A group of its own: Ctrl-C reaches this process alone, which then ends Jupyter.
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    finally:
        os.close(lines)
    try:
        address = _wait_for_address(jupyter, token, notebook)
        if address is None:
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise JupyterError("\n    ".join(["JupyterLab did not start. It said:", *said]))
        print_line(
            f"\nThe lab is open. If no browser shows it, open this address in one:\n\n"
            f"    {address}\n\n"
            f"{about}\n"
            f"Jupyter's log: {log}\n\n"
            f"To end: save your notebooks, then press Ctrl-C here."
        )
        return jupyter.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(jupyter)


def _command(notebook: str, port: int | None, *, browser: bool) -> list[str]:
    """Return the command line that opens a notebook in JupyterLab, bound to loopback.

    JupyterLab's documentation ("Announcements") has the flags that keep the server from fetching
    news and from looking for updates; the catalogue of extensions is off too. So it sends nothing
    to the internet.
    """
    command = [sys.executable, "-m", "jupyterlab", str(NOTEBOOKS / notebook)]
    command += [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={NOTEBOOKS}",
        f"--ServerApp.open_browser={browser}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        CONTENTS_MANAGER,
    ]
    if port is not None:
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command += ["--allow-root"]  # in a container; the server is on loopback, with its token
    return command


def settings(home: Path) -> dict[str, str]:
    """Return the variable that gives JupyterLab other defaults, so that it asks no question.

    Without them it asks every learner at the first start whether to fetch news. They are defaults:
    what somebody has set in JupyterLab's own settings counts.
    """
    folder = home / "jupyter"
    defaults = {
        "@jupyterlab/apputils-extension:notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
        },
        # Else the kernel takes what is typed into a tool and the click that follows it on two
        # threads, and a click may overtake the text that it is to send.
        "@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"},
    }
    file = folder / "labconfig" / "default_setting_overrides.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(defaults), encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("JUPYTER_CONFIG_PATH")]))
    return {"JUPYTER_CONFIG_PATH": path}


def child_environment() -> dict[str, str]:
    """Return the variables for a child process: as they are, and ``creeklab`` can be imported."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _wait_for_address(jupyter: subprocess.Popen[bytes], token: str, notebook: str) -> str | None:
    """Return the notebook's address once the server is up, None if that does not happen."""
    from jupyter_core.paths import jupyter_runtime_dir

    began = time.time()
    while jupyter.poll() is None and time.time() < began + START_TIMEOUT:
        for file in Path(jupyter_runtime_dir()).glob("jpserver-*.json"):
            with contextlib.suppress(OSError, ValueError):  # being written, or just removed
                fresh = file.stat().st_mtime > began - 2.0
                server = json.loads(file.read_text(encoding="utf-8"))
                # On Windows the server is a child of the process that was started.
                ours = server["token"] == token or server["pid"] == jupyter.pid
                if fresh and ours and _listens(server["port"]):
                    query = f"?token={server['token']}" if server["token"] else ""
                    return f"{server['url']}lab/tree/{notebook}{query}"
        time.sleep(0.1)
    return None


def _listens(port: int) -> bool:
    """Tell whether the server takes connections yet: its file is written a moment before."""
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        print_line("\nEnding JupyterLab ...")
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
