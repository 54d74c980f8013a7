"""Run JupyterLab on a notebook until it ends.

It listens on loopback only, protected by a token, and requests nothing from the internet.
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
# Keeps a notebook unchanged that is only opened.
CONTENTS_MANAGER = (
    "--ServerApp.contents_manager_class=creeklab.cli.contents_manager.StableContentsManager"
)
START_TIMEOUT = 120.0  # the first start on a slow disk compiles many modules
STOP_TIMEOUT = 15.0


class JupyterError(Exception):
    """JupyterLab or the notebook cannot be opened; the message says why and what to do."""


def find_notebook(folder: Path, name: str | None) -> str:
    """Return the file name of a notebook, or of the first one.

    Parameters
    ----------
    name
        ``"05-mqtt"``, ``"05-mqtt.ipynb"``, a path that ends like this, or the number ``"5"``.
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
        raise JupyterError(f"There is no notebook {wanted}. Choose one of: {', '.join(names)}")
    return wanted


def check_free(port: int) -> None:
    """Raise `JupyterError` if JupyterLab cannot use this port."""
    with socket.socket() as probe:
        if os.name != "nt":  # otherwise a port that was just released would look taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise JupyterError(
                f"Port {port} cannot be used ({error.strerror}): another program is using it,\n"
                "perhaps another JupyterLab. Choose another port, or omit --port to get a free one."
            ) from None


def run(home: Path, notebook: str, port: int | None, *, browser: bool, details: str) -> int:
    """Run JupyterLab until it ends or Ctrl-C is pressed; return its exit code, 0 after Ctrl-C.

    Parameters
    ----------
    home
        Home folder, for its log and settings.
    details
        Text to print below its address.

    Raises
    ------
    JupyterError
        If JupyterLab does not start.
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
            # In its own process group, Ctrl-C does not reach Jupyter; this process stops it.
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    finally:
        os.close(lines)
    try:
        address = _wait_for_address(jupyter, token, notebook)
        if address is None:
            end = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise JupyterError(
                "\n    ".join(["JupyterLab did not start. Its log ends with:", *end])
            )
        print_line(
            f"\nThe lab is open. If no browser window appears, open this address:\n\n"
            f"    {address}\n\n"
            f"{details}\n"
            f"Jupyter's log: {log}\n\n"
            f"To stop: save your notebooks, then press Ctrl-C here."
        )
        return jupyter.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(jupyter)


def _command(notebook: str, port: int | None, *, browser: bool) -> list[str]:
    """Return the command line that opens a notebook in JupyterLab, bound to loopback.

    JupyterLab's documentation ("Announcements") lists the flags that keep the server from fetching
    news and checking for updates; the extension catalog is off too. So it sends nothing to the
    internet.
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
        command += ["--allow-root"]  # in a container; loopback and the token protect it
    return command


def settings(home: Path) -> dict[str, str]:
    """Return the environment variable that changes JupyterLab's defaults, so that it asks nothing.

    Otherwise it asks every learner at the first start whether to fetch news. The user's own
    JupyterLab settings override these defaults.
    """
    folder = home / "jupyter"
    defaults = {
        "@jupyterlab/apputils-extension:notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
        },
        # Otherwise the kernel handles typed text and the click after it on two threads, and the
        # click can overtake the text that it should send.
        "@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"},
    }
    file = folder / "labconfig" / "default_setting_overrides.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(defaults), encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("JUPYTER_CONFIG_PATH")]))
    return {"JUPYTER_CONFIG_PATH": path}


def child_environment() -> dict[str, str]:
    """Return this environment for a child process that can also import ``creeklab``."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _wait_for_address(jupyter: subprocess.Popen[bytes], token: str, notebook: str) -> str | None:
    """Return the notebook's address once the server is up; None if it does not start."""
    # Not at the top: the command line is parsed before Jupyter is installed.
    from jupyter_core.paths import jupyter_runtime_dir

    started = time.time()
    while jupyter.poll() is None and time.time() < started + START_TIMEOUT:
        for file in Path(jupyter_runtime_dir()).glob("jpserver-*.json"):
            with contextlib.suppress(OSError, ValueError):  # being written, or just removed
                fresh = file.stat().st_mtime > started - 2.0
                server = json.loads(file.read_text(encoding="utf-8"))
                # On Windows, the server is a child of the process started here.
                ours = server["token"] == token or server["pid"] == jupyter.pid
                if fresh and ours and _listens(server["port"]):
                    query = f"?token={server['token']}" if server["token"] else ""
                    return f"{server['url']}lab/tree/{notebook}{query}"
        time.sleep(0.1)
    return None


def _listens(port: int) -> bool:
    """Return whether the server accepts connections; it writes its file a moment earlier."""
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        print_line("\nStopping JupyterLab ...")
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
