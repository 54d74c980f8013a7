"""differences-from-aws.md names every setting, and in each row a test that exists."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from creeklab.cloud.settings import Settings

CLONE = Path(__file__).parents[2]
TEXT = (CLONE / "creeklab" / "cloud" / "differences-from-aws.md").read_text()
ROWS = [
    line
    for line in TEXT.splitlines()
    if line.startswith("|") and not re.match(r"\|(---|.*\| Test \|$)", line)
]
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py::[\w:]+)`", TEXT)))


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_every_setting_has_a_row(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", TEXT, re.MULTILINE)


def test_every_row_names_its_test() -> None:
    assert ROWS
    assert [row for row in ROWS if not re.search(r"`tests/[\w/]+\.py::[\w:]+`", row)] == []


@pytest.mark.parametrize("test", TESTS)
def test_the_tests_named_exist(test: str) -> None:
    file, *_, name = test.split("::")
    assert re.search(rf"^ *(async )?def {name}\(", (CLONE / file).read_text(), re.MULTILINE)
