"""The commands on a fresh machine, in small clones with the real bootstrap and no network.

A clone here requires one package, whose wheel is in a folder, and gets a ``uv`` that records how it
was called and leaves the work to pip.
"""

import ast
import base64
import errno
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from creeklab import bootstrap
from creeklab.bootstrap import REPOSITORY_ROOT, Environment, SetupError
from creeklab.cli import jupyterlab, main

SECONDS = 300.0  # upper bound for any wait; on an idle machine, nothing takes a thirtieth of it

FAKE_UV = """
import json, os, pathlib, subprocess, sys
asked = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
pathlib.Path(os.environ["UV_NOTES"]).write_text(json.dumps([sys.argv[1:], asked]))
if wait := os.environ.get("UV_WAIT"):
    print("uv waits", flush=True)
    with open(wait) as pipe:
        pipe.read()
if os.environ.get("UV_FAILS"):
    sys.exit("uv fails")
lock = sys.argv[sys.argv.index("--requirement") + 1]
pip = [sys.executable, "-m", "pip", "install", "--require-hashes", "--requirement", lock]
sys.exit(subprocess.run(pip).returncode)
"""

CLI = """
import sys
from creeklab.bootstrap import SetupError, prepare

def main():
    try:
        prepare(sys.argv[1:], tests=sys.argv[1] == "test")
    except SetupError as error:
        sys.exit(str(error))
    import creekstone
    print("carried out in", sys.prefix, *sys.argv[1:])
"""


def add_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> str:
    """Write a wheel; return its line in a lock file."""
    info = f"{name}-{version}.dist-info"
    files = {f"{name}/{file}": text for file, text in files.items()} | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{info}/RECORD,,\n"
    for file, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{file},sha256={digest.decode()},{len(text.encode())}\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{digest}\n    # via creeklab\n"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh clone, with its package index beside it."""
    clone = tmp_path_factory.mktemp("fresh") / "a clöne"
    wheels = clone / "wheels"
    wheels.mkdir(parents=True)
    pins = [
        add_wheel(wheels, "creekstone", "1.2", {"__init__.py": ""}),
        add_wheel(wheels, "uv", "9.9", {"__init__.py": "", "__main__.py": FAKE_UV}),
    ]
    extra = add_wheel(wheels, "creektest", "3.0", {"__init__.py": ""})
    (clone / "requirements.lock").write_text("".join(pins))
    (clone / "tests").mkdir()
    (clone / "tests" / "requirements.lock").write_text("".join([extra, *pins]))
    (clone / "pyproject.toml").write_text(
        "[project]\ndependencies = ['creekstone>=1.1']\n"
        "[project.optional-dependencies]\ntest = ['creektest']\n"
    )
    (clone / "creeklab").mkdir()
    for name in ("__init__.py", "__main__.py", "bootstrap.py"):
        shutil.copy(REPOSITORY_ROOT / "creeklab" / name, clone / "creeklab")
    (clone / "creeklab" / "cli").mkdir()
    (clone / "creeklab" / "cli" / "__init__.py").touch()
    (clone / "creeklab" / "cli" / "main.py").write_text(CLI)
    return clone


@pytest.fixture(scope="module")
def started(fresh: Path) -> tuple[Path, str]:
    """Return a clone after its first command, and the output of that command."""
    clone = fresh.parent / "started"
    shutil.copytree(fresh, clone)
    return clone, run(clone, "lab")


@pytest.fixture(scope="module")
def quick_ensurepip(started: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an ``ensurepip`` that reuses the pip of the first environment."""
    shared = tmp_path_factory.mktemp("pip")
    made = Path(in_venv(started[0], "import pip; print(pip.__path__[0])"))
    shutil.copytree(made, shared / "pip")
    return (
        "import pathlib, sysconfig\n"
        f"pathlib.Path(sysconfig.get_path('purelib'), 'pip.pth').write_text({str(shared)!r})\n"
    )


@pytest.fixture
def new_clone(fresh: Path, quick_ensurepip: str, tmp_path: Path) -> Path:
    clone = Path(shutil.copytree(fresh, tmp_path / "clone"))
    (clone / "ensurepip.py").write_text(quick_ensurepip)
    return clone


@pytest.fixture
def old_clone(started: tuple[Path, str], quick_ensurepip: str, tmp_path: Path) -> Path:
    """Return a used clone that has been moved since."""
    clone = Path(shutil.copytree(started[0], tmp_path / "clone", symlinks=True))
    (clone / "ensurepip.py").write_text(quick_ensurepip)
    return clone


def variables(clone: Path, **more: str) -> dict[str, str]:
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "PYTHON"))
    }
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "wheels", "PIP_CONFIG_FILE": os.devnull}
    return {**given, **pip, "UV_NOTES": str(clone / "uv-notes"), **more}


def start(
    clone: Path, *arguments: str, python: str = sys.executable, **more: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-m", "creeklab", *arguments],
        cwd=clone,
        env=variables(clone, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def run(clone: Path, *arguments: str, code: int = 0, **more: str) -> str:
    process = start(clone, *arguments, **more)
    printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, printed
    assert "Traceback" not in printed
    return printed


def steps(printed: str) -> list[str]:
    return re.findall(r"^(\d/3)", printed, re.MULTILINE)


def in_venv(clone: Path, code: str) -> str:
    command = [str(Environment(clone).python), "-c", code]
    elsewhere = clone.parent
    ended = subprocess.run(
        command, cwd=elsewhere, env=variables(clone), check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


class TestFirstStart:
    def test_it_shows_each_step_and_goes_on_in_the_venv(self, started: tuple[Path, str]) -> None:
        clone, printed = started
        assert steps(printed) == ["1/3", "2/3", "3/3"]
        assert printed.endswith(f"carried out in {clone / '.venv'} lab\n")

    def test_uv_gets_the_lock_with_its_hashes(self, started: tuple[Path, str]) -> None:
        clone, _ = started
        arguments, _ = json.loads((clone / "uv-notes").read_text())
        assert arguments[:2] == ["pip", "install"]
        assert "--require-hashes" in arguments
        packages = Path(arguments[arguments.index("--requirement") + 1]).read_text()
        assert re.findall(r"^\S+==\S+", packages, re.MULTILINE) == ["creekstone==1.2"]
        assert "--hash=sha256:" in packages

    def test_uv_looks_where_pip_is_told_to_look(self, started: tuple[Path, str]) -> None:
        _, settings = json.loads((started[0] / "uv-notes").read_text())
        assert settings["UV_FIND_LINKS"] == "wheels"
        assert settings["UV_OFFLINE"] == "1"

    def test_what_uv_is_told_counts_more(self, new_clone: Path) -> None:
        run(new_clone, "lab", UV_FIND_LINKS="elsewhere")
        _, settings = json.loads((new_clone / "uv-notes").read_text())
        assert settings["UV_FIND_LINKS"] == "elsewhere"

    def test_creeklab_can_be_imported_from_anywhere(self, started: tuple[Path, str]) -> None:
        clone, _ = started
        found = in_venv(clone, "import creeklab; print(ascii(creeklab.__file__))")
        assert ast.literal_eval(found) == str(clone / "creeklab" / "__init__.py")

    def test_creeklab_is_compiled(self, new_clone: Path) -> None:
        run(new_clone, "lab", PYTHONDONTWRITEBYTECODE="1")
        compiled = {file.name.partition(".")[0] for file in new_clone.glob("creeklab/**/*.pyc")}
        assert compiled == {file.stem for file in new_clone.glob("creeklab/**/*.py")}

    def test_without_uv_pip_installs(self, new_clone: Path) -> None:
        next((new_clone / "wheels").glob("uv-*")).unlink()
        printed = run(new_clone, "lab")
        assert "No matching distribution found for uv" in printed
        assert "Successfully installed creekstone-1.2" in printed
        assert "carried out in" in printed

    def test_if_uv_fails_pip_installs(self, new_clone: Path) -> None:
        printed = run(new_clone, "lab", UV_FAILS="1")
        assert "uv fails" in printed
        assert "Successfully installed creekstone-1.2" in printed
        assert "carried out in" in printed

    def test_a_changed_package_is_not_installed(self, new_clone: Path) -> None:
        add_wheel(new_clone / "wheels", "creekstone", "1.2", {"__init__.py": "changed = True"})
        printed = run(new_clone, "lab", code=1)
        assert "A downloaded package does not match the lock file" in printed
        assert not Environment(new_clone).is_up_to_date(tests=False)

    def test_no_network(self, new_clone: Path) -> None:
        nowhere = "http://127.0.0.1:9/simple"  # the discard port, where nothing listens
        pip = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": nowhere}
        printed = run(new_clone, "lab", code=1, PIP_RETRIES="1", **pip)
        assert "Cannot reach the package index" in printed
        assert steps(printed) == ["1/3", "2/3"]

    def test_a_file_in_the_way(self, new_clone: Path) -> None:
        (new_clone / ".venv").touch()
        assert "a file with that name exists" in run(new_clone, "lab", code=1)

    def test_not_a_clone(self, new_clone: Path, tmp_path: Path) -> None:
        (new_clone / "requirements.lock").unlink()
        # A Python without packages: in this one, creeklab may be installed.
        bare = tmp_path / "bare"
        venv.create(bare, with_pip=False)
        python = bare / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        assert "it is not a clone of creeklab" in run(new_clone, "lab", code=1, python=str(python))


class TestLaterStarts:
    def test_nothing_is_installed(self, old_clone: Path) -> None:
        printed = run(old_clone, "lab", PIP_FIND_LINKS="nowhere")
        assert printed == f"carried out in {old_clone / '.venv'} lab\n"

    def test_creeklab_moves_along_with_the_clone(self, old_clone: Path) -> None:
        found = in_venv(old_clone, "import creeklab; print(creeklab.__file__)")
        assert found == str(old_clone / "creeklab" / "__init__.py")

    def test_in_the_venv_itself(self, old_clone: Path) -> None:
        command = [str(Environment(old_clone).python), "-m", "creeklab", "lab"]
        ended = subprocess.run(
            command, cwd=old_clone, env=variables(old_clone), capture_output=True, text=True
        )
        assert ended.stdout == f"carried out in {old_clone / '.venv'} lab\n"

    def test_the_test_extras_are_added_and_stay(self, old_clone: Path) -> None:
        (old_clone / ".venv" / "mark").touch()
        printed = run(old_clone, "test", "-k", "creek")
        assert steps(printed) == ["1/3", "2/3", "3/3"]
        assert printed.endswith("test -k creek\n")
        assert in_venv(old_clone, "import creektest") == ""
        assert (old_clone / ".venv" / "mark").exists()
        assert steps(run(old_clone, "test") + run(old_clone, "lab")) == []

    def test_a_new_lock_is_installed(self, old_clone: Path) -> None:
        lock = old_clone / "requirements.lock"
        old = bootstrap.extract_pin(lock.read_text(), "creekstone")
        pin = add_wheel(old_clone / "wheels", "creekstone", "1.3", {"__init__.py": ""})
        lock.write_text(lock.read_text().replace(old, pin))
        assert steps(run(old_clone, "lab")) == ["1/3", "2/3", "3/3"]
        version = "import importlib.metadata as m; print(m.version('creekstone'))"
        assert in_venv(old_clone, version) == "1.3"

    @pytest.mark.parametrize("gone", ["creeklab-stamp.json", "pyvenv.cfg", "bin/python"])
    def test_an_unusable_venv_is_replaced(self, old_clone: Path, gone: str) -> None:
        if gone == "bin/python" and os.name == "nt":
            gone = "Scripts/python.exe"
        (old_clone / ".venv" / gone).unlink()
        (old_clone / ".venv" / "mark").touch()
        printed = run(old_clone, "lab")
        assert "1/3 Creating .venv" in printed
        assert "carried out in" in printed
        assert not (old_clone / ".venv" / "mark").exists()

    def test_packages_for_another_python_are_replaced(self, old_clone: Path) -> None:
        stamp = old_clone / ".venv" / "creeklab-stamp.json"
        stamp.write_text(stamp.read_text().replace(bootstrap.PYTHON, ".cpython-300-other.so"))
        assert "1/3 Creating .venv" in run(old_clone, "lab")
        assert steps(run(old_clone, "lab")) == []


@pytest.mark.skipif(os.name == "nt", reason="uses a named pipe, kill -9 and inherited locks")
class TestTwoTerminals:
    @pytest.fixture
    def pipe(self, tmp_path: Path) -> Iterator[Path]:
        """Yield a pipe that the fake uv waits for, and release it at the end."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        yield pipe
        with suppress(OSError):  # nothing waits
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))

    @pytest.mark.parametrize("kind", ["new_clone", "old_clone"])
    def test_a_killed_install_is_awaited_and_redone(
        self, request: pytest.FixtureRequest, kind: str, pipe: Path
    ) -> None:
        clone: Path = request.getfixturevalue(kind)
        first = start(clone, "test", UV_WAIT=str(pipe))
        read_until(first, "uv waits")
        first.send_signal(signal.SIGKILL)
        second = start(clone, "test")
        read_until(second, "Another creeklab command is preparing .venv")
        pipe.write_text("go on")  # uv, which outlives the first command, installs and ends
        printed, _ = second.communicate(timeout=SECONDS)
        first.communicate(timeout=SECONDS)
        assert "1/3 Creating .venv" in printed
        assert steps(printed) == ["1/3", "2/3", "3/3"]
        assert "carried out in" in printed

    def test_the_second_uses_what_the_first_made(self, new_clone: Path, pipe: Path) -> None:
        first = start(new_clone, "lab", UV_WAIT=str(pipe))
        read_until(first, "uv waits")
        second = start(new_clone, "lab")
        read_until(second, "Another creeklab command is preparing .venv")
        pipe.write_text("go on")
        for process in (first, second):
            printed, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0
            assert "carried out in" in printed
        assert steps(printed) == []


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"it ended without saying {text!r}")


class TestCompleteEnvironment:
    VERSIONS: ClassVar = {"creekstone": "1.2.0", "creekrock": "2.9.0.post1"}

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def version(name: str) -> str:
            if name not in self.VERSIONS:
                raise importlib.metadata.PackageNotFoundError(name)
            return self.VERSIONS[name]

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(sys, "platform", "linux")

    @pytest.mark.parametrize(
        ("requirement", "met"),
        [
            ("creekstone", True),
            ("creekstone>=1.2", True),
            ("creekstone >= 1.2.0.0", True),
            ("creekstone>=1.1.9", True),
            ("creekstone>=1.2.1", False),
            ("creekstone>=1.10", False),
            ("creekrock>=2.9", True),
            ("creekrock>=2.10", False),
            ("creekbed>=1", False),
            ("creekbed>=1; sys_platform != 'linux'", True),
            ("creekbed>=1; sys_platform == 'win32'", True),
            ('creekbed>=1 ; sys_platform != "win32"', False),
            ("creekstone>=1.2; sys_platform != 'win32'", True),
            ("creekstone>=9; sys_platform == 'linux'", False),
        ],
    )
    def test_requirement(self, requirement: str, met: bool) -> None:
        assert bootstrap.is_met(requirement) is met

    @pytest.mark.parametrize("requirement", ["a<3", "a[b]>=1", "a; python_version < '3'", ""])
    def test_an_unsupported_requirement_is_an_error(self, requirement: str) -> None:
        with pytest.raises(ValueError, match="Cannot parse the requirement"):
            bootstrap.is_met(requirement)

    @pytest.mark.parametrize(
        ("dependencies", "extra", "tests", "complete"),
        [
            (["creekstone>=1.1", "creekrock"], ["creekbed"], False, True),
            (["creekstone>=1.1", "creekrock"], ["creekbed"], True, False),
            (["creekstone>=1.1"], ["creekrock"], True, True),
            (["creekstone", "creekbed"], [], False, False),
        ],
    )
    def test_project(
        self, tmp_path: Path, dependencies: list[str], extra: list[str], tests: bool, complete: bool
    ) -> None:
        project = tmp_path / "pyproject.toml"
        project.write_text(
            f"[project]\ndependencies = {dependencies}\n"
            f"[project.optional-dependencies]\ntest = {extra}\n"
        )
        assert bootstrap.is_up_to_date(project, tests=tests) is complete


def test_a_complete_environment_is_used_as_it_is(new_clone: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(new_clone / "wheels" / "creekstone-1.2-py3-none-any.whl") as wheel:
        wheel.extractall(site)
    printed = run(new_clone, "lab", PYTHONPATH=str(site))
    assert printed == f"carried out in {sys.prefix} lab\n"
    assert not (new_clone / ".venv").exists()


class TestExplanations:
    @pytest.mark.parametrize(
        ("printed", "begins"),
        [
            ("[Errno 28] No space left on device: '/x/.venv/lib'", "The disk is full"),
            ("[WinError 112] Es steht nicht genug Speicherplatz", "The disk is full"),
            ("cause: No space left on device (os error 28)", "The disk is full"),
            ("[Errno 122] Disk quota exceeded", "The disk is full"),
            (
                "[Errno 13] Permission denied: '/x/.venv'",
                "Cannot create the folder .venv: creeklab",
            ),
            (
                "[Errno 30] Read-only file system: '/x/.venv'",
                "Cannot create the folder .venv: creeklab",
            ),
            (
                "[WinError 5] Zugriff verweigert: '.venv'",
                "Cannot create the folder .venv: creeklab",
            ),
            ("[WinError 32] in Gebrauch: '.venv'", "Cannot update .venv: a program is using it"),
            ("[Errno 17] File exists: '.venv'", "Cannot create the folder .venv: a file"),
            (
                "WARNING: Retrying after connection broken by 'NewConnectionError(Failed to "
                "establish a new connection: [Errno -3] Temporary failure in name resolution)'",
                "Cannot reach the package index",
            ),
            ("ReadTimeoutError: Read timed out. (read timeout=15)", "Cannot reach the package"),
            ("[Errno 11001] getaddrinfo failed", "Cannot reach the package index"),
            (
                "connection broken by 'SSLError(SSLCertVerificationError(1, '[SSL: "
                "CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local'))'",
                "This machine does not trust the package index's certificate",
            ),
            (
                "connection broken by 'ProxyError('Cannot connect to proxy.', OSError('Tunnel "
                "connection failed: 407 Proxy Authentication Required'))'",
                "The proxy rejected the connection",
            ),
            (
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
                "A downloaded package does not match the lock file",
            ),
            ("Hash mismatch for `six==1.17.0`", "A downloaded package does not match"),
        ],
    )
    def test_cause(self, printed: str, begins: str) -> None:
        assert (bootstrap.diagnose(printed) or "").startswith(begins)

    @pytest.mark.parametrize(
        "printed",
        ["", "ERROR: No matching distribution found for uv==9.9", "error: failed to build awscrt"],
    )
    def test_no_cause(self, printed: str) -> None:
        assert bootstrap.diagnose(printed) is None

    @pytest.mark.parametrize(
        ("number", "says"),
        [
            (errno.EROFS, "Cannot create the folder .venv: creeklab"),
            (errno.EACCES, "Cannot create the folder .venv: creeklab"),
            (errno.ENOSPC, "The disk is full"),
            (errno.EIO, os.strerror(errno.EIO)),
        ],
    )
    def test_the_folder_cannot_be_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
    ) -> None:
        def mkdir(self: Path, *_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number), str(self))

        monkeypatch.setattr(Path, "mkdir", mkdir)
        with pytest.raises(SetupError, match=says):
            Environment(tmp_path).make(tests=False)

    @pytest.mark.parametrize("lacking", ["venv", "ensurepip"])
    def test_venv_is_missing(
        self, new_clone: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
    ) -> None:
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name: None if name == lacking else object()
        )
        with pytest.raises(SetupError, match="sudo apt install python3-venv"):
            Environment(new_clone).make(tests=False)


class TestSettings:
    def test_pip_settings_for_uv(self) -> None:
        listed = (
            ":env:.find-links='wheels /more/wheels'\n"
            ":env:.timeout='3'\n"
            "global.cert='/etc/ca.pem'\n"
            "global.find-links='/others'\n"
            "global.index-url='https://index.example/simple'\n"
            "global.extra-index-url='\\nhttps://a.example\\nhttps://b.example'\n"
            "install.index-url='https://install.example/simple'\n"
        )
        assert bootstrap.uv_settings(listed) == {
            "UV_SYSTEM_CERTS": "1",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_FIND_LINKS": "wheels,/more/wheels",
            "SSL_CERT_FILE": "/etc/ca.pem",
            "UV_INDEX": "https://a.example https://b.example",
            "UV_DEFAULT_INDEX": "https://install.example/simple",
        }

    def test_pip_says_nothing(self) -> None:
        assert set(bootstrap.uv_settings("")) == {"UV_SYSTEM_CERTS", "UV_INDEX_STRATEGY"}

    def test_a_pin_is_its_line_and_its_hashes(self) -> None:
        pin = "uv==2 ; x == 'y' \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\n"
        before, after = "uvloop==3 \\\n    --hash=sha256:33\n", "    # via a\nyarl==1\n"
        assert bootstrap.extract_pin(before + pin + after, "uv") == pin

    def test_no_such_pin(self) -> None:
        with pytest.raises(ValueError, match="does not pin uv"):
            bootstrap.extract_pin("uvloop==3 \\\n    --hash=sha256:33\n", "uv")


class TestOldPython:
    @pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
    def test_it_can_read_what_it_reads_first(self, name: str) -> None:
        source = (REPOSITORY_ROOT / "creeklab" / name).read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source, feature_version=(3, 7))):  # the oldest ast knows
            assert not isinstance(node, ast.JoinedStr | ast.AnnAssign), ast.unparse(node)
            assert not (isinstance(node, ast.ImportFrom) and node.module == "__future__")

    def test_it_is_told_so(self) -> None:
        code = (
            "import runpy, sys; sys.version_info = (3, 8, 1, 'final', 0);"
            "runpy.run_module('creeklab', run_name='__main__')"
        )
        command = [sys.executable, "-c", code]
        ended = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True)
        assert ended.returncode == 1
        assert ended.stderr.startswith(
            "creeklab requires Python 3.11 or later, but this is Python 3.8"
        )
        assert "Traceback" not in ended.stderr

    def test_the_version_is_that_of_the_project(self) -> None:
        project = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
            "project"
        ]
        minimum = project["requires-python"].removeprefix(">=")
        source = (REPOSITORY_ROOT / "creeklab" / "__main__.py").read_text(encoding="utf-8")
        assert f"requires Python {minimum} or later" in source
        assert f"sys.version_info < ({minimum.replace('.', ', ')})" in source


class TestCommandLine:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("lab", {"notebook": None, "no_browser": False, "port": None}),
            ("lab 05-mqtt --no-browser --port 9000", {"notebook": "05-mqtt", "port": 9000}),
            ("test", {"pytest_arguments": []}),
            ("test -k shadow --co -x", {"pytest_arguments": ["-k", "shadow", "--co", "-x"]}),
            ("cloud start --set a=b --set c=d", {"set": ["a=b", "c=d"], "mqtt_port": None}),
            ("cloud reset --yes", {"yes": True}),
        ],
    )
    def test_options(self, line: str, expected: dict[str, Any]) -> None:
        options = vars(main.parse(line.split()))
        assert expected.items() <= options.items()

    @pytest.mark.parametrize(
        "line", ["", "laboratory", "cloud", "cloud begin", "lab --port 0", "lab --port 65536"]
    )
    def test_wrong(self, line: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main.parse(line.split())
        assert ended.value.code == 2
        assert "usage: creeklab" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            (None, "00-start.ipynb"),
            ("05-mqtt", "05-mqtt.ipynb"),
            ("notebooks/05-mqtt.ipynb", "05-mqtt.ipynb"),
            ("5", "05-mqtt.ipynb"),
            ("00", "00-start.ipynb"),
        ],
    )
    def test_notebook(self, tmp_path: Path, asked: str | None, found: str) -> None:
        for name in ("05-mqtt.ipynb", "00-start.ipynb", "README.md"):
            (tmp_path / name).touch()
        assert jupyterlab.find_notebook(tmp_path, asked) == found

    def test_no_such_notebook(self, tmp_path: Path) -> None:
        with pytest.raises(jupyterlab.JupyterError, match="There is no notebook in"):
            jupyterlab.find_notebook(tmp_path, None)
        (tmp_path / "05-mqtt.ipynb").touch()
        with pytest.raises(
            jupyterlab.JupyterError, match=r"no notebook 06\.ipynb\. Choose one of: 05-mqtt"
        ):
            jupyterlab.find_notebook(tmp_path, "06")


TOOLS = ("ruff", "mypy", "lint_imports", "pytest")


class TestChecks:
    @pytest.fixture
    def tools(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
        """Return the commands that would run; mypy fails."""
        ran: list[list[str]] = []

        def run_python(*arguments: str) -> int:
            ran.append(list(arguments))
            return 1 if "mypy" in arguments else 0

        monkeypatch.setattr(main, "_run_python", run_python)
        monkeypatch.setattr(main, "NOTEBOOKS", tmp_path)
        return ran

    def test_every_step_runs_and_a_failure_is_reported(
        self, tools: list[list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.run_tests(main.parse(["test"])) == 1
        names = [name for command in tools for name in TOOLS if name in command[1]]
        assert names == ["ruff", "ruff", "mypy", "lint_imports", "pytest"]
        assert tools[-1][-1] == "tests"
        assert "Failed: mypy." in capsys.readouterr().out

    def test_notebooks_are_compared(self, tools: list[list[str]], tmp_path: Path) -> None:
        (tmp_path / "03.ipynb").touch()
        main.run_tests(main.parse(["test"]))
        assert tools[-1][2:4] == ["--nbval", "--nbval-current-env"]
        assert tools[-1][-2:] == ["tests", "notebooks"]

    def test_arguments_go_to_pytest_alone(self, tools: list[list[str]]) -> None:
        assert main.run_tests(main.parse(["test", "-k", "shadow"])) == 0
        assert [command[1] for command in tools] == ["pytest"]
        assert tools[0][-2:] == ["-k", "shadow"]


LAB = """
import pathlib, sys
from creeklab.cli import jupyterlab, main
from creeklab.cloud import supervisor

def start_or_attach(home):
    home.mkdir()
    return supervisor.RunningCloud(0, "localhost", 8883, 8443, started_here=True)

def stop(home):
    print("stop was called")
    return True

supervisor.start_or_attach, supervisor.stop = start_or_attach, stop
notebooks, *options = sys.argv[1:]
main.NOTEBOOKS = jupyterlab.NOTEBOOKS = pathlib.Path(notebooks)
try:
    sys.exit(main.run_lab(main.parse(["lab", "--no-browser", *options])))
except jupyterlab.JupyterError as error:
    sys.exit(str(error))
"""


class TestLab:
    """The real JupyterLab, beside a cloud that only reports when it is stopped."""

    @pytest.fixture
    def command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        for name in ("HOME", "CREEKLAB_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
            monkeypatch.setenv(name, str(tmp_path / name.lower()))
        notebooks = tmp_path / "notebooks"
        notebooks.mkdir()
        empty = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (notebooks / "00-start.ipynb").write_text(json.dumps(empty))
        return [sys.executable, "-c", LAB, str(notebooks)]

    @pytest.mark.skipif(os.name == "nt", reason="sends the signal of Ctrl-C")
    def test_it_opens_asks_nothing_and_ends_cleanly(self, command: list[str]) -> None:
        lab = subprocess.Popen(command, cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, text=True)
        assert lab.stdout is not None
        printed = ""
        for line in lab.stdout:
            printed += line
            if line.startswith("To stop"):
                break
        address = re.search(
            r"(http://127\.0\.0\.1:\d+/)lab/tree/00-start\.ipynb(\?token=[0-9a-f]{48})\n", printed
        )
        assert address, printed
        base, token = address.groups()
        assert fetch(base + "lab/tree/00-start.ipynb" + token)[0] == 200
        assert fetch(base + "api/contents")[0] == 403
        _, settings = fetch(base + "lab/api/settings" + token)
        notification = next(
            plugin["schema"]["properties"]
            for plugin in json.loads(settings)["settings"]
            if plugin["id"] == "@jupyterlab/apputils-extension:notification"
        )
        assert notification["fetchNews"]["default"] == "false"
        lab.send_signal(signal.SIGINT)
        printed, _ = lab.communicate(timeout=SECONDS)
        assert lab.returncode == 0
        assert "stop was called\n" in printed
        assert printed.endswith("The local cloud has stopped.\n")
        with pytest.raises(OSError, match="refused"):
            fetch(base)

    def test_a_taken_port(self, command: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            ended = subprocess.run(
                [*command, "--port", port], cwd=REPOSITORY_ROOT, capture_output=True, text=True
            )
        assert ended.returncode == 1
        assert f"Port {port} cannot be used" in ended.stderr
        assert "stop was called" not in ended.stdout

    def test_jupyter_does_not_start(self, command: list[str], tmp_path: Path) -> None:
        folder = tmp_path / "jupyter_config_dir"
        folder.mkdir()
        (folder / "jupyter_server_config.py").write_text("c.ServerApp.port = 'abc'\n")
        ended = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True)
        assert ended.returncode == 1
        assert ended.stderr.startswith("JupyterLab did not start. Its log ends with:")
        assert "abc" in ended.stderr
        assert "stop was called" in ended.stdout


def fetch(address: str) -> tuple[int, str]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(address, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""
