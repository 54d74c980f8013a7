"""Files that only other programs read: the workflows of GitHub Actions, and the order of tests."""

import re
from pathlib import Path

import pytest
import yaml

from creeklab.bootstrap import REPOSITORY_ROOT
from tests.scheduling import LONGEST

WORKFLOWS = sorted((REPOSITORY_ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_a_workflow_runs_only_what_exists(workflow: Path) -> None:
    text = workflow.read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert all(job["timeout-minutes"] for job in jobs.values())
    named = re.findall(r"(?:\.ci|tests|docs|notebooks|data)/[\w./*-]+", text)
    assert named
    for name in named:
        assert list(REPOSITORY_ROOT.glob(name)), name


def test_ci_runs_every_check_on_linux() -> None:
    jobs = yaml.safe_load((REPOSITORY_ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["everything"]["steps"][-1]["run"] == "bash .ci/run"
    assert jobs["unit"]["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]


@pytest.mark.parametrize("name", LONGEST)
def test_a_file_that_starts_early_exists(name: str) -> None:
    assert (REPOSITORY_ROOT / name).exists()
