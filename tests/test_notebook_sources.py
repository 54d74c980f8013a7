"""Sources of the statements about AWS: a section for each notebook, a row for each source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = [*sorted(path.stem for path in FOLDER.glob("*.ipynb")), "README"]
TEXT = (FOLDER / "sources.md").read_text(encoding="utf-8")
ADDRESSES = dict(re.findall(r"^\[([\w-]+)\]: (https://\S+)$", TEXT, re.MULTILINE))
SECTIONS = dict(re.findall(r"^## (\S+)$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
# A page without a stored address: its guide and its title.
NAMED_PAGE = re.compile(r"\b(?:User|Developer) Guide, [A-Z]\w+")


def rows(section: str) -> list[list[str]]:
    """Return the cells of each row below the head."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert lines[0] == "| Statement | Source | Looked up |"
    assert lines[1] == "|---|---|---|"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_notebook_has_a_section_in_order() -> None:
    assert list(SECTIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_source_and_a_date(name: str) -> None:
    found = rows(SECTIONS[name])
    assert found
    for row in found:
        said, source, date = row
        assert said
        keys = re.findall(r"\]\[([\w-]+)\]", source)
        assert keys or re.search(r"\]\(https://\S+\)", source) or NAMED_PAGE.search(source), row
        assert set(keys) <= set(ADDRESSES), row
        assert re.fullmatch(r"20\d\d-\d\d(?:-\d\d)?", date), row


def test_no_address_is_left_over() -> None:
    assert set(re.findall(r"\]\[([\w-]+)\]", TEXT)) == set(ADDRESSES)


def test_the_notebooks_link_to_the_sources() -> None:
    for place in ("README.md", "00-start.ipynb"):
        assert "](sources.md)" in (FOLDER / place).read_text(encoding="utf-8")
