"""Set up the Python environment before a command runs.

``python3 -m creeklab`` must work on a machine that has only git and Python, so this file uses only
the standard library. `prepare` applies the first of these cases that is true:

- This Python has every package in ``pyproject.toml`` (in a conda environment, for example). The
  command runs in this Python.
- The clone's ``.venv`` is up to date. The command runs again in the Python of ``.venv``.
- Otherwise, ``.venv`` is created from the hashed lock file. The command runs again in the Python of
  ``.venv``.

``.venv`` is up to date when the hashes in its stamp file match the lock files. The stamp is removed
before an installation and written after it, so an interrupted installation leaves no stamp and
``.venv`` is created again. Only one terminal installs at a time. The installers inherit the file
lock: if the command is killed, the next command waits for the installer that is still running.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NoReturn

REPOSITORY_ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"
TEST_LOCK = "tests/requirements.lock"  # a superset of LOCK, with the same versions
MEGABYTES = 1600  # size of .venv with the test packages, rounded up

# Suffix of the compiled packages that this Python can load: ".cpython-311-x86_64-linux-gnu.so".
PYTHON = importlib.machinery.EXTENSION_SUFFIXES[0]

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system without locks: continue, or no command could ever run
        return True


class SetupError(Exception):
    """A problem that the user can fix. The message says what failed, why, and what to do."""


def prepare(arguments: Sequence[str], *, tests: bool = False) -> None:
    """Return if this Python can run creeklab; otherwise run the command in ``.venv``.

    Parameters
    ----------
    arguments
        Arguments of ``python -m creeklab``, to run again with the Python of ``.venv``.
    tests
        Whether the command also needs the test packages.

    Raises
    ------
    SetupError
        If this Python cannot run creeklab and ``.venv`` cannot be created.
    """
    environment = Environment(REPOSITORY_ROOT)
    if environment.is_active():
        if environment.is_up_to_date(tests=tests):
            return
    elif not (REPOSITORY_ROOT / LOCK).is_file():
        _check_installed()
        return
    elif is_up_to_date(REPOSITORY_ROOT / "pyproject.toml", tests=tests):
        return
    if not environment.is_up_to_date(tests=tests):
        environment.make(tests=tests)
    environment.reexec(arguments)


def _check_installed() -> None:
    try:
        importlib.metadata.distribution("creeklab")  # installed as a package, with dependencies
    except importlib.metadata.PackageNotFoundError:
        raise SetupError(
            f"Cannot set up creeklab: {REPOSITORY_ROOT} has no {LOCK}, so it is not a clone of"
            " creeklab.\n"
            "Clone the repository with git and run the command in its folder."
        ) from None


def is_up_to_date(pyproject: Path, *, tests: bool) -> bool:
    """Return whether this Python has every dependency in a sufficient version."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]["test"] if tests else []
    return all(map(is_met, [*project["dependencies"], *extra]))


_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)"
    r"(?:\s*>=\s*(?P<minimum>[\d.]+))?"
    r"(?:\s*;\s*sys_platform\s*(?P<operator>==|!=)\s*['\"](?P<platform>\w+)['\"])?"
)


def is_met(requirement: str) -> bool:
    """Return whether this environment meets a requirement, such as ``"boto3>=1.43"``.

    The ``packaging`` library could parse any requirement, but might not be installed yet. This
    function parses only the forms that ``pyproject.toml`` uses: a name, one minimum version and one
    condition on the platform.

    Raises
    ------
    ValueError
        If the requirement has any other form.
    """
    parts = _REQUIREMENT.fullmatch(requirement)
    if parts is None:
        raise ValueError(f"Cannot parse the requirement {requirement!r}.")
    name, minimum, operator, platform = parts.group("name", "minimum", "operator", "platform")
    if operator and (sys.platform == platform) != (operator == "=="):
        return True
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return _release(version) >= _release(minimum or "")


def _release(version: str) -> tuple[int, ...]:
    """Return the release numbers without trailing zeros: ``(2, 9)`` for ``"2.9.0.post1"``."""
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


class Environment:
    """The environment of a clone: the folder ``.venv`` beside ``creeklab/`` and the lock files."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        self.folder = clone / ".venv"
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self._stamp = self.folder / "creeklab-stamp.json"
        self._lock = self.folder / "creeklab-lock"

    def is_active(self) -> bool:
        """Return whether this process runs in the environment."""
        return self.folder.is_dir() and self.folder.samefile(sys.prefix)

    def is_up_to_date(self, *, tests: bool) -> bool:
        """Return whether the environment has a Python and every package in the current lock files.

        This check starts no process. The Python version is compared only if this process runs in
        the environment.
        """
        wanted = self._digests(tests)
        if self.is_active():
            wanted["python"] = PYTHON
        return self._has_python() and wanted.items() <= self._read_stamp().items()

    def make(self, *, tests: bool) -> None:
        """Create or update the environment, and print each step.

        Raises
        ------
        SetupError
            If the environment cannot be created. The message names the likely cause and the fix.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            with self._alone() as held:
                if not self.is_up_to_date(tests=tests):  # another terminal might have created it
                    self._make(Installer(self.folder, self.python, held), tests)
        except OSError as error:
            raise SetupError(diagnose(str(error)) or str(error)) from error

    def reexec(self, arguments: Sequence[str]) -> NoReturn:
        """Run ``python -m creeklab`` with these arguments in the environment; never return."""
        command = [str(self.python), "-m", "creeklab", *arguments]
        sys.stdout.flush()
        if os.name != "nt":
            os.execv(self.python, command)
        process = subprocess.Popen(command)
        while True:
            try:
                sys.exit(process.wait())
            except KeyboardInterrupt:
                continue  # the child process received Ctrl-C too, and handles it

    def _make(self, installer: Installer, tests: bool) -> None:
        started = time.monotonic()
        digests = self._digests(tests)
        python = self._read_stamp().get("python")
        self._stamp.unlink(missing_ok=True)
        fits = python is not None and (python == PYTHON or not self.is_active())
        if fits and self._has_python() and installer.has_pip():
            print_line("1/3 Updating .venv")
        else:
            print_line(
                f"1/3 Creating .venv with Python {sys.version.split()[0]} ({sys.executable})"
            )
            self._clear()
            self._create(installer)
            python = PYTHON
        installer.install(self.clone / (TEST_LOCK if tests else LOCK))
        installer.compile(self.clone / "creeklab")
        stamp = {"python": python, **digests}
        unfinished = self._stamp.with_suffix(".new")
        unfinished.write_text(json.dumps(stamp), encoding="utf-8")
        unfinished.replace(self._stamp)
        print_line(
            f"Ready after {time.monotonic() - started:.0f} s. The next start installs nothing.\n"
        )

    def _create(self, installer: Installer) -> None:
        if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
            raise SetupError(NO_VENV)
        base = getattr(sys, "_base_executable", sys.executable)  # the Python of .venv is removed
        for command in (
            [base, "-m", "venv", "--without-pip", str(self.folder)],
            [str(self.python), "-m", "ensurepip", "--default-pip"],  # venv would hide its output
        ):
            code, output = installer.run(command)
            if code:
                raise SetupError(diagnose(output) or NOT_INSTALLED)
        # Kernels in notebooks/ must be able to import creeklab. A relative path is ASCII for any
        # folder name, and stays valid when the clone is moved.
        packages = sysconfig.get_path("purelib", "venv", {"base": str(self.folder)})
        pointer = os.path.relpath(self.clone, packages) + "\n"
        Path(packages, "creeklab.pth").write_text(pointer, encoding="ascii")

    def _clear(self) -> None:
        for entry in self.folder.iterdir():
            if entry == self._lock:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    @contextmanager
    def _alone(self) -> Iterator[IO[bytes]]:
        """Hold the lock, which the operating system releases if the process is killed."""
        with self._lock.open("ab") as file:
            waiting = False
            while not _try_lock(file):
                if not waiting:
                    print_line(
                        "Another creeklab command is preparing .venv. Waiting for it to finish."
                    )
                    waiting = True
                time.sleep(0.2)
            yield file

    def _has_python(self) -> bool:
        # On Windows, .venv/Scripts/python.exe remains after the base Python is uninstalled.
        try:
            settings = (self.folder / "pyvenv.cfg").read_text(encoding="utf-8")
        except OSError:
            return False
        home = re.search(r"^home *= *(.+)$", settings, re.MULTILINE)
        return home is not None and Path(home[1]).is_dir() and self.python.exists()

    def _read_stamp(self) -> dict[str, str]:
        try:
            stamp: dict[str, str] = json.loads(self._stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp

    def _digests(self, tests: bool) -> dict[str, str]:
        names = [LOCK, TEST_LOCK] if tests else [LOCK]
        return {
            name: hashlib.sha256((self.clone / name).read_bytes()).hexdigest() for name in names
        }


class Installer:
    """Run ``venv``, uv and pip for one environment, and print their output line by line.

    Parameters
    ----------
    held
        Open lock file. The tools inherit it, so the lock is held until the last of them ends.
    """

    def __init__(self, folder: Path, python: Path, held: IO[bytes]) -> None:
        self._folder = folder
        self._python = str(python)
        self._held = held

    def run(
        self, command: Sequence[str], settings: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a command; return its exit code and its output."""
        printed = []
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **TOOL_SETTINGS, **(settings or {})},
            pass_fds=() if os.name == "nt" else (self._held.fileno(),),
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                printed.append(line)
                print_line(f"    {line.rstrip()}")
        return process.returncode, "".join(printed)

    def has_pip(self) -> bool:
        """Return whether the environment's Python starts and finds its packages."""
        command = [self._python, "-m", "pip", "--version"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def install(self, lock: Path) -> None:
        """Install the packages in a lock file with uv, or with pip if uv fails.

        Both verify the hash of every file.

        Raises
        ------
        SetupError
            If pip fails too, or if pip cannot download uv for a reason that affects every package.
        """
        pins = lock.read_text(encoding="utf-8")
        uv_pin = extract_pin(pins, "uv")
        uv = self._folder / "creeklab-uv.txt"
        uv.write_text(uv_pin, encoding="utf-8")
        packages = self._folder / "creeklab-packages.txt"  # without uv, which some systems lack
        packages.write_text(pins.replace(uv_pin, ""), encoding="utf-8")

        print_line("2/3 Downloading uv, which installs packages faster than pip")
        code, output = self._pip("--no-deps", "--requirement", str(uv))
        if code and (cause := diagnose(output)):
            raise SetupError(cause)
        names = set(re.findall(r"^[\w.-]+(?===)", pins, re.MULTILINE))
        print_line(f"3/3 Installing up to {len(names)} packages (about 200 MB in total)")
        if code == 0:
            code = self._uv("--requirement", str(packages))
        if code:
            print_line("    uv failed. Installing with pip instead, which takes a few minutes")
            code, output = self._pip("--requirement", str(packages))
        if code:
            raise SetupError(diagnose(output) or NOT_INSTALLED)

    def compile(self, package: Path) -> None:
        """Compile a package to bytecode, as pip does for the packages that it installs.

        Otherwise, every process that cannot write bytecode compiles the package again.
        """
        command = [self._python, "-m", "compileall", "-q", str(package)]
        subprocess.run(command, capture_output=True, check=False)  # optional: only saves time

    def _pip(self, *arguments: str) -> tuple[int, str]:
        return self.run([self._python, "-m", "pip", "install", "--require-hashes", *arguments])

    def _uv(self, *arguments: str) -> int:
        listed = subprocess.run(
            [self._python, "-m", "pip", "config", "list"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, **TOOL_SETTINGS},
            check=False,
        ).stdout
        settings = {
            name: value for name, value in uv_settings(listed).items() if name not in os.environ
        }
        install = ["-m", "uv", "pip", "install", "--python", self._python, "--require-hashes"]
        # Like pip. Otherwise, every process that cannot write bytecode compiles the packages again.
        install += ["--compile-bytecode"]
        code, _ = self.run([self._python, *install, *arguments], settings)
        return code


TOOL_SETTINGS = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_USER": "0",  # pip rejects "user = true" from a pip.conf in .venv
    "PYTHONUTF8": "1",
}

_UV_NAMES = {  # pip's setting: uv's variable, and the separator of its values
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "no-index": ("UV_OFFLINE", " "),  # uv has no variable for no-index itself
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "proxy": ("ALL_PROXY", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
}


def uv_settings(pip_config: str) -> dict[str, str]:
    """Return the environment variables that make uv use pip's package sources.

    Parameters
    ----------
    pip_config
        Output of ``pip config list``: pip's configuration, which uv does not read.
    """
    settings = {
        "UV_SYSTEM_CERTS": "1",  # like pip: a company's CA is in the system's certificate store
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # like pip; safe, because hashes are verified
    }
    for section in ("global", "install", ":env:"):  # later sections take precedence
        for line in pip_config.splitlines():
            key, _, value = line.partition("=")
            if (
                key.startswith(f"{section}.")
                and (name := key.removeprefix(f"{section}.")) in _UV_NAMES
            ):
                variable, separator = _UV_NAMES[name]
                settings[variable] = separator.join(ast.literal_eval(value).split())
    return settings


def extract_pin(lock: str, name: str) -> str:
    """Return the lines of a lock file that pin one package: its version and its hashes."""
    found = re.search(rf"^{re.escape(name)}==(?:.*\\\n)*.*", lock, re.MULTILINE)
    if found is None:
        raise ValueError(f"The lock file does not pin {name}.")
    return found[0] + "\n"


NO_VENV = (
    "Cannot create .venv: this Python has no venv module. Some systems package it separately.\n"
    "On Debian and Ubuntu, run: sudo apt install python3-venv\n"
    "Then run the same command again."
)
NOT_INSTALLED = (
    "Cannot create .venv. The lines above say why.\n"
    f"This is Python {sys.version.split()[0]}; creeklab supports 3.11 to 3.14. If a package\n"
    "failed to build, run the command with one of these versions.\n"
    "After you fix the problem, run the same command again. It starts over by itself."
)
_CAUSES = [  # pattern in the output of Python, pip or uv: explanation
    (
        r"(?i)hash mismatch|do not match the hashes",
        "A downloaded package does not match the lock file: it was truncated or changed.\n"
        "Run the same command again. If it fails again, ask the administrator of your network or\n"
        "package mirror. creeklab installs only packages that it can verify.",
    ),
    (
        r"(?i)no space left|disk quota exceeded|not enough space"
        r"|Errno (28|122)\]|WinError 112\]|os error (28|112|122)\b",
        f"The disk is full. The folder .venv needs up to {MEGABYTES} MB, plus room for downloads.\n"
        "Free some space and run the same command again.",
    ),
    (
        r"Errno (17|20)\]|WinError 183\]",
        "Cannot create the folder .venv: a file with that name exists.\n"
        "Move or rename the file and run the same command again.",
    ),
    (
        r"WinError 32\]",
        "Cannot update .venv: a program is using it, such as JupyterLab, a notebook or an editor.\n"
        "Close the program and run the same command again.",
    ),
    (
        r"(?i)permission denied|read-only file system|access is denied"
        r"|Errno (1|13|30)\]|WinError 5\]|os error (1|5|13|30)\b",
        f"Cannot create the folder .venv: creeklab cannot write to {REPOSITORY_ROOT}.\n"
        "Clone the repository into a folder that you own and run the command there.",
    ),
    (
        r"(?i)certificate.verify.failed|invalid peer certificate|unknownissuer",
        "This machine does not trust the package index's certificate. In a company or school, the\n"
        "certificate usually comes from a proxy with its own CA. Ask for that CA's certificate\n"
        "file, set PIP_CERT to its path, and run the same command again.",
    ),
    (
        r"(?i)407 proxy|proxyerror|cannot connect to proxy",
        "The proxy rejected the connection. Check the variable HTTPS_PROXY, with user name and\n"
        "password if the proxy requires them, and run the same command again.",
    ),
    (
        r"(?i)name resolution|name or service not known|getaddrinfo failed|nodename nor servname"
        r"|failed to establish a new connection|connection (refused|reset|aborted|broken)"
        r"|network is unreachable|no route to host|timed? ?out|dns error|error sending request",
        "Cannot reach the package index. Connect this machine to the internet and run the same\n"
        "command again; only the first start needs a connection. Behind a proxy, set HTTPS_PROXY.\n"
        "If this machine never has internet access, download the packages on a connected machine\n"
        "with the same system and Python version:\n"
        "    python3 -m pip download --requirement requirements.lock --dest wheels\n"
        "Copy the folder here, set PIP_NO_INDEX=1 and PIP_FIND_LINKS=wheels, and run the command\n"
        "again.",
    ),
]


def diagnose(printed: str) -> str | None:
    """Return an explanation of a failure and its fix, or None if the output is not recognized."""
    for pattern, explanation in _CAUSES:
        if re.search(pattern, printed):
            return explanation
    return None


def print_line(text: str) -> None:
    """Print a line immediately, with "?" for each character that the terminal cannot show."""
    encoding = sys.stdout.encoding or "ascii"
    with suppress(OSError):  # the terminal was closed
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
