"""From a fresh clone to a Python that has everything: what every command does first.

``python3 -m creeklab`` may be typed where there is nothing but git and Python, so this file uses
the standard library alone. `prepare` takes the first of these that holds:

- this Python has all that ``pyproject.toml`` asks for (a conda environment, say): it is used;
- the clone's ``.venv`` is whole: the command goes on in its Python;
- ``.venv`` is made and filled from the hashed lock, and the command goes on in its Python.

``.venv`` is whole when its stamp names the very locks that it was filled from. The stamp is removed
before an install and written after it, so an install that was cut short at any point has none, and
the folder is made anew. One terminal installs at a time. The installers hold the lock too: if the
command itself is killed, the next one waits until what it had started has ended.
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
TEST_LOCK = "tests/requirements.lock"  # holds all of LOCK, in the same versions
MEGABYTES = 900  # what .venv takes, test extras included, rounded up

# What a compiled package must fit, such as ".cpython-311-x86_64-linux-gnu.so".
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
            return True  # a file system without locks: better to go on than never to start
        return True


class SetupError(Exception):
    """Something that the person at the keyboard can mend: what happened, why, what to do."""


def prepare(arguments: Sequence[str], *, tests: bool = False) -> None:
    """Return if this Python can run creeklab; otherwise run the command where one can.

    Parameters
    ----------
    arguments
        What followed ``python -m creeklab``, for the Python of ``.venv`` to carry out.
    tests
        Whether the test extras are needed as well.

    Raises
    ------
    SetupError
        When there is no such Python and ``.venv`` cannot be made.
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
        importlib.metadata.distribution("creeklab")  # an installer put it here, with what it needs
    except importlib.metadata.PackageNotFoundError:
        raise SetupError(
            f"There is no {LOCK} beside {REPOSITORY_ROOT / 'creeklab'}: this is not a clone of creeklab.\n"
            "Clone the repository with git, go into its folder, and run the command there."
        ) from None


def is_up_to_date(pyproject: Path, *, tests: bool) -> bool:
    """Tell whether this Python's environment has every dependency, new enough."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]["test"] if tests else []
    return all(map(is_met, [*project["dependencies"], *extra]))


_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)"
    r"(?:\s*>=\s*(?P<minimum>[\d.]+))?"
    r"(?:\s*;\s*sys_platform\s*(?P<operator>==|!=)\s*['\"](?P<platform>\w+)['\"])?"
)


def is_met(requirement: str) -> bool:
    """Tell whether this environment meets a requirement, such as ``"boto3>=1.43"``.

    ``packaging`` would tell, but it is not there yet. So this reads what ``pyproject.toml`` uses: a
    name, one minimum, one condition on the platform.

    Raises
    ------
    ValueError
        If the requirement says more than that.
    """
    parts = _REQUIREMENT.fullmatch(requirement)
    if parts is None:
        raise ValueError(f"cannot read the requirement {requirement!r}")
    name, minimum, operator, platform = parts.group("name", "minimum", "operator", "platform")
    if operator and (sys.platform == platform) != (operator == "=="):
        return True
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return _release(version) >= _release(minimum or "")


def _release(version: str) -> tuple[int, ...]:
    """Return the leading numbers, zeros at the end left out: ``(2, 9)`` for ``"2.9.0.post1"``."""
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


class Environment:
    """The clone's own environment, the folder ``.venv``.

    Parameters
    ----------
    clone
        The folder that holds ``creeklab/`` and the locks.
    """

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        self.folder = clone / ".venv"
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self._stamp = self.folder / "creeklab-stamp.json"
        self._lock = self.folder / "creeklab-lock"

    def is_active(self) -> bool:
        """Tell whether this very process runs in it."""
        return self.folder.is_dir() and self.folder.samefile(sys.prefix)

    def is_up_to_date(self, *, tests: bool) -> bool:
        """Tell whether it has a Python, and all that the locks of today name.

        No process is started to find out. Whether that Python is still the one that the packages
        were installed for, it tells itself when it asks.
        """
        wanted = self._digests(tests)
        if self.is_active():
            wanted["python"] = PYTHON
        return self._has_python() and wanted.items() <= self._read_stamp().items()

    def make(self, *, tests: bool) -> None:
        """Make it, or bring it up to date, saying what is done; return once it is whole.

        Raises
        ------
        SetupError
            With the likely cause and a way out, if it cannot be made.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            with self._alone() as held:
                if not self.is_up_to_date(
                    tests=tests
                ):  # another terminal may have made it meanwhile
                    self._make(Installer(self.folder, self.python, held), tests)
        except OSError as error:
            raise SetupError(diagnose(str(error)) or str(error)) from error

    def reexec(self, arguments: Sequence[str]) -> NoReturn:
        """Carry out ``python -m creeklab`` with these arguments in it; never return."""
        command = [str(self.python), "-m", "creeklab", *arguments]
        sys.stdout.flush()
        if os.name != "nt":
            os.execv(self.python, command)
        process = subprocess.Popen(command)
        while True:
            try:
                sys.exit(process.wait())
            except KeyboardInterrupt:
                continue  # Ctrl-C reached the other process as well, which ends in its own way

    def _make(self, installer: Installer, tests: bool) -> None:
        started = time.monotonic()
        digests = self._digests(tests)
        python = self._read_stamp().get("python")
        self._stamp.unlink(missing_ok=True)
        fits = python is not None and (python == PYTHON or not self.is_active())
        if fits and self._has_python() and installer.has_pip():
            print_line("1/3 Bringing .venv up to date")
        else:
            print_line(f"1/3 Making .venv with Python {sys.version.split()[0]} ({sys.executable})")
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
            f"Ready after {time.monotonic() - started:.0f} s; the next start installs nothing.\n"
        )

    def _create(self, installer: Installer) -> None:
        if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
            raise SetupError(NO_VENV)
        base = getattr(sys, "_base_executable", sys.executable)  # .venv's own Python was cleared
        for command in (
            [base, "-m", "venv", "--without-pip", str(self.folder)],
            [str(self.python), "-m", "ensurepip", "--default-pip"],  # venv would hide what it says
        ):
            code, output = installer.run(command)
            if code:
                raise SetupError(diagnose(output) or NOT_INSTALLED)
        # Lets the kernels in notebooks/ import creeklab. The path is relative, so that it is plain
        # ASCII whatever the clone's folder is called, and holds when the clone is moved.
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
        """Hold the lock, which the system takes back from a process that is killed."""
        with self._lock.open("ab") as file:
            waiting = False
            while not _try_lock(file):
                if not waiting:
                    print_line("Another creeklab is preparing .venv; waiting until it has.")
                    waiting = True
                time.sleep(0.2)
            yield file

    def _has_python(self) -> bool:
        # On Windows .venv/Scripts/python.exe outlives the Python that it starts.
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
    """Runs ``venv``, uv and pip for one environment, showing their lines as they come.

    Parameters
    ----------
    folder
        The environment.
    python
        Its Python.
    held
        The open lock file. The tools inherit it, so that the lock lasts as long as they do.
    """

    def __init__(self, folder: Path, python: Path, held: IO[bytes]) -> None:
        self._folder = folder
        self._python = str(python)
        self._held = held

    def run(
        self, command: Sequence[str], settings: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a command to its end; return its exit code and what it printed."""
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
        """Tell whether the environment's Python still starts and finds its packages."""
        command = [self._python, "-m", "pip", "--version"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def install(self, lock: Path) -> None:
        """Install what a lock names, every file checked against its hash: by uv, else by pip.

        Raises
        ------
        SetupError
            If pip fails too, or if what kept it from fetching uv will keep it from the rest.
        """
        pins = lock.read_text(encoding="utf-8")
        uv_pin = extract_pin(pins, "uv")
        uv = self._folder / "creeklab-uv.txt"
        uv.write_text(uv_pin, encoding="utf-8")
        packages = self._folder / "creeklab-packages.txt"  # without uv, which not every system has
        packages.write_text(pins.replace(uv_pin, ""), encoding="utf-8")

        print_line("2/3 Fetching uv, which installs faster than pip")
        code, output = self._pip("--no-deps", "--requirement", str(uv))
        if code and (cause := diagnose(output)):
            raise SetupError(cause)
        names = set(re.findall(r"^[\w.-]+(?===)", pins, re.MULTILINE))
        print_line(f"3/3 Installing what is missing of {len(names)} packages (some 200 MB in all)")
        if code == 0:
            code = self._uv("--requirement", str(packages))
        if code:
            print_line("    uv does not work here; pip does it instead, in a few minutes")
            code, output = self._pip("--requirement", str(packages))
        if code:
            raise SetupError(diagnose(output) or NOT_INSTALLED)

    def compile(self, package: Path) -> None:
        """Compile a package, as pip does with those that it installs.

        Else every process that may not write, or is told not to, compiles it anew.
        """
        command = [self._python, "-m", "compileall", "-q", str(package)]
        subprocess.run(command, capture_output=True, check=False)  # it works without as well

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
        # As pip does. Else every process that may not, or is told not to, write compiles anew.
        install += ["--compile-bytecode"]
        code, _ = self.run([self._python, *install, *arguments], settings)
        return code


TOOL_SETTINGS = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_USER": "0",  # a pip.conf that says "user = true" would be refused in .venv
    "PYTHONUTF8": "1",
}

_UV_NAMES = {  # pip's setting: uv's variable, what stands between its values
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
    """Return the variables that make uv look for packages where pip does.

    Parameters
    ----------
    pip_config
        What ``pip config list`` prints: pip's files and variables, which uv does not read.
    """
    settings = {
        "UV_SYSTEM_CERTS": "1",  # as pip: a company's own CA is in the system's store
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # as pip; safe, since every file has its hash
    }
    for section in ("global", "install", ":env:"):  # the later one counts
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
    """Return the lines of a lock that pin one package: its version and the hashes below it."""
    found = re.search(rf"^{re.escape(name)}==(?:.*\\\n)*.*", lock, re.MULTILINE)
    if found is None:
        raise ValueError(f"the lock does not pin {name}")
    return found[0] + "\n"


NO_VENV = (
    "This Python lacks venv, the module that makes environments; some systems pack it apart.\n"
    "On Debian and Ubuntu: sudo apt install python3-venv\n"
    "Then run the same command again."
)
NOT_INSTALLED = (
    "The environment could not be made; the lines above say why.\n"
    f"This is Python {sys.version.split()[0]}, and creeklab is made for 3.11 to 3.14. If it was a\n"
    "package that could not be built, run the command with one of those.\n"
    "Run the same command again after any change: it starts over by itself."
)
_CAUSES = [  # of a failure, by what Python, pip or uv prints
    (
        r"(?i)hash mismatch|do not match the hashes",
        "A package arrived that is not the one in the lock: cut short or changed on its way.\n"
        "Run the same command again. If it happens again, ask whoever runs your network or\n"
        "package mirror; creeklab installs nothing that it cannot check.",
    ),
    (
        r"(?i)no space left|disk quota exceeded|not enough space"
        r"|Errno (28|122)\]|WinError 112\]|os error (28|112|122)\b",
        f"The disk is full: the folder .venv takes up to {MEGABYTES} MB, downloads come on top.\n"
        "Make room and run the same command again.",
    ),
    (
        r"Errno (17|20)\]|WinError 183\]",
        "There is a file called .venv where creeklab makes a folder of that name.\n"
        "Move it away and run the same command again.",
    ),
    (
        r"WinError 32\]",
        "A program still uses the folder .venv: a JupyterLab, a notebook, an editor.\n"
        "Close it and run the same command again.",
    ),
    (
        r"(?i)permission denied|read-only file system|access is denied"
        r"|Errno (1|13|30)\]|WinError 5\]|os error (1|5|13|30)\b",
        f"creeklab may not write in {REPOSITORY_ROOT}, where it makes the folder .venv.\n"
        "Clone the repository into a folder of your own and run the command there.",
    ),
    (
        r"(?i)certificate.verify.failed|invalid peer certificate|unknownissuer",
        "The package index showed a certificate that this machine does not trust. In a company or\n"
        "school it usually comes from the proxy, which has a CA of its own. Ask for that CA's\n"
        "file, set PIP_CERT to where it lies, and run the same command again.",
    ),
    (
        r"(?i)407 proxy|proxyerror|cannot connect to proxy",
        "The proxy let nothing through. Check the variable HTTPS_PROXY (with user and password if\n"
        "the proxy wants them) and run the same command again.",
    ),
    (
        r"(?i)name resolution|name or service not known|getaddrinfo failed|nodename nor servname"
        r"|failed to establish a new connection|connection (refused|reset|aborted|broken)"
        r"|network is unreachable|no route to host|timed? ?out|dns error|error sending request",
        "The package index cannot be reached. Connect this machine to the internet and run the\n"
        "same command again; it is needed this once. Behind a proxy, set HTTPS_PROXY first.\n"
        "For a machine that never has internet, fetch the packages on one of its kind that has:\n"
        "    python3 -m pip download --requirement requirements.lock --dest wheels\n"
        "Bring the folder here, set PIP_NO_INDEX=1 and PIP_FIND_LINKS=wheels, and run again.",
    ),
]


def diagnose(printed: str) -> str | None:
    """Return what happened and what to do, if what was printed is a failure that can be told."""
    for pattern, explanation in _CAUSES:
        if re.search(pattern, printed):
            return explanation
    return None


def print_line(text: str) -> None:
    """Print a line now, with a question mark for what the terminal has no sign for."""
    encoding = sys.stdout.encoding or "ascii"
    with suppress(OSError):  # the terminal was closed
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
