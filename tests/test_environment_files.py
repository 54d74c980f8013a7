"""pyproject.toml says what creeklab needs; the locks and environment.yml must say the same.

The locks are made, from the clone's folder, by:

    make="uv pip compile --universal --python-version 3.11 --generate-hashes
        --no-emit-index-url --no-header"
    $make pyproject.toml - --output-file requirements.lock <<END
    uv
    argon2-cffi-bindings<26; sys_platform == 'darwin' and platform_machine == 'x86_64'
    cryptography<49; sys_platform == 'darwin' and platform_machine == 'x86_64'
    cryptography>=50; sys_platform != 'darwin' or platform_machine != 'x86_64'
    END

and the same with ``--extra test --constraint requirements.lock`` into
tests/requirements.lock.
uv is there so that its own hash is known before it is fetched; the others are the last versions
with a wheel for Macs with an Intel processor.
"""

import re
import tomllib
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from creeklab.bootstrap import LOCK, REPOSITORY_ROOT, TEST_LOCK, is_met

PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
TESTS_NEED = [Requirement(line) for line in EXTRAS["test"]]
TEXTS = {
    name: (REPOSITORY_ROOT / name).read_text() for name in (LOCK, TEST_LOCK, "environment.yml")
}
CONDA_NAMES = {"matplotlib-base": "matplotlib"}  # the one without the Qt toolkit

MACHINES = [
    {"sys_platform": system, "platform_machine": machine, "os_name": os_name, **python}
    for system, machine, os_name in (
        ("linux", "x86_64", "posix"),
        ("linux", "aarch64", "posix"),
        ("darwin", "x86_64", "posix"),
        ("darwin", "arm64", "posix"),
        ("win32", "AMD64", "nt"),
    )
    for python in (
        {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.4"}
        for minor in (11, 12, 13, 14)
    )
]


def pins(lock: str, machine: dict[str, str]) -> dict[str, str]:
    """Return the version of each package that a lock installs on a machine."""
    found: dict[str, str] = {}
    for name, version, marker in re.findall(
        r"^([\w.-]+)==(\S+)(?: ; (.+?))? \\$", TEXTS[lock], re.MULTILINE
    ):
        if not marker or Marker(marker).evaluate(machine):
            assert name not in found, f"{lock} pins {name} twice for {machine}"
            found[name] = version
    return found


def requirements(section: list[Any]) -> list[Requirement]:
    """Return the entries of environment.yml's ``dependencies``, those for pip included."""
    found = []
    for entry in section:
        if isinstance(entry, dict):
            found += requirements(entry["pip"])
        else:
            requirement = Requirement(entry)
            requirement.name = CONDA_NAMES.get(requirement.name, requirement.name)
            found.append(requirement)
    return found


ENVIRONMENT: dict[str, Any] = yaml.safe_load(TEXTS["environment.yml"])
NAMED = {entry.name: entry for entry in requirements(ENVIRONMENT["dependencies"])}


@pytest.mark.parametrize("requirement", [*NEEDED, *TESTS_NEED], ids=str)
def test_bootstrap_can_read_it(requirement: Requirement) -> None:
    assert is_met(str(requirement)) in (True, False)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: " ".join(machine.values()))
class TestLocks:
    @pytest.mark.parametrize(
        ("lock", "needed"), [(LOCK, NEEDED), (TEST_LOCK, [*NEEDED, *TESTS_NEED])]
    )
    def test_every_dependency_is_pinned_as_pyproject_asks(
        self, machine: dict[str, str], lock: str, needed: list[Requirement]
    ) -> None:
        pinned = pins(lock, machine)
        for requirement in needed:
            if requirement.marker is None or requirement.marker.evaluate(machine):
                version = pinned.get(canonicalize_name(requirement.name))
                assert version is not None, requirement
                assert requirement.specifier.contains(version), (requirement, version)

    def test_the_tests_run_on_what_users_get(self, machine: dict[str, str]) -> None:
        assert pins(LOCK, machine).items() <= pins(TEST_LOCK, machine).items()


@pytest.mark.parametrize("lock", [LOCK, TEST_LOCK])
def test_every_pin_has_a_hash(lock: str) -> None:
    starts = re.findall(r"^\S.*", TEXTS[lock], re.MULTILINE)
    hashed = re.findall(r"^\S+==.* \\\n    --hash=sha256:[0-9a-f]{64}", TEXTS[lock], re.MULTILINE)
    assert len(starts) == len(hashed) > 100


def test_uv_is_pinned() -> None:
    assert all("uv" in pins(LOCK, machine) for machine in MACHINES)


@pytest.mark.parametrize("name", TEXTS)
def test_no_address(name: str) -> None:
    assert "://" not in TEXTS[name]
    assert "index-url" not in TEXTS[name]


class TestConda:
    @pytest.mark.parametrize("requirement", NEEDED, ids=str)
    def test_it_names_every_dependency_with_its_minimum(self, requirement: Requirement) -> None:
        named = NAMED[requirement.name]
        assert named.specifier == requirement.specifier
        if named.marker is not None:
            assert named.marker == requirement.marker

    def test_it_names_nothing_else(self) -> None:
        assert set(NAMED) - {needed.name for needed in NEEDED} == {"python", "pip"}

    def test_python_is_that_of_the_project(self) -> None:
        assert str(NAMED["python"].specifier) == PROJECT["requires-python"]

    def test_the_channel(self) -> None:
        assert ENVIRONMENT["channels"] == ["conda-forge"]
