"""The documents stay true: every path, link, command and name in them exists."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import creeklab
from creeklab.bootstrap import REPOSITORY_ROOT
from creeklab.cli import main
from tests.benchmarks.__main__ import PARTS
from tests.hardening.__main__ import COMMANDS

# The changelog names what is gone.
DOCUMENTS = [
    REPOSITORY_ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "notebooks/README.md", "data/samples/README.md")
] + sorted((REPOSITORY_ROOT / "docs").glob("*.md"))
TEXTS = {str(file.relative_to(REPOSITORY_ROOT)): file.read_text() for file in DOCUMENTS}
FILE = re.compile(r"[\w.*{}-]+(?:/[\w.*{}-]+)*(?:\.(?:py|md|toml|ipynb|yml|cfg|cff|lock)|/)")


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


def commands(text: str) -> list[str]:
    """Return the lines of the code blocks and the code spans that are shell commands."""
    blocks = re.findall(r"^```(?:bash|console|sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    found = [re.sub(r"^([A-Z_]+=\S+ )+", "", line) for line in [*lines, *code_spans(text)]]
    starts = ("python -m ", "python3 -m ", "python tests/", "pytest ", ".venv/bin/python ")
    return [line for line in found if line.startswith(starts)]


def each(find: Any) -> Any:
    return pytest.mark.parametrize(
        ("document", "found"),
        [(name, one) for name, text in TEXTS.items() for one in dict.fromkeys(find(text))],
    )


def headings(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub writes them."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each(lambda text: re.findall(r"\]\(([^)\s]+)\)", prose(text)))
def test_links_lead_somewhere(document: str, found: str) -> None:
    if re.match(r"https?:", found):
        return
    path, _, anchor = found.partition("#")
    target = (REPOSITORY_ROOT / document).parent / path if path else REPOSITORY_ROOT / document
    assert target.exists()
    if anchor:
        assert anchor in headings(target.read_text())


@each(lambda text: [span for span in code_spans(text) if FILE.fullmatch(span)])
def test_files_exist(document: str, found: str) -> None:
    if found in ("service.py", "operations.py", "topics.py", "store.py", "admin.py"):
        return  # what a service's folder contains
    places = [REPOSITORY_ROOT, REPOSITORY_ROOT / "creeklab", (REPOSITORY_ROOT / document).parent]
    made = {".venv/", "__pycache__/"}  # not in the repository
    assert found in made or any(list(place.glob(found.rstrip("/"))) for place in places)


@each(lambda text: re.findall(r"(?<![\w/-])creeklab(?:\.[A-Za-z_]\w*)+", text))
def test_dotted_names_exist(document: str, found: str) -> None:
    parts = found.split(".")
    value: Any = creeklab
    for number, part in enumerate(parts[1:], start=2):
        if not hasattr(value, part) and inspect.ismodule(value):
            importlib.import_module(".".join(parts[:number]))
        value = getattr(value, part)


@each(lambda text: re.findall(r"(?<![\w./])lab\.(?!py\b)([a-z]\w*)", text))
def test_names_of_the_lab_exist(document: str, found: str) -> None:
    sources = [inspect.getsource(each) for each in creeklab.Lab.__mro__[:-1]]
    assert hasattr(creeklab.Lab, found) or any(f"self.{found} = " in text for text in sources)


@each(commands)
def test_commands_exist(document: str, found: str) -> None:
    words = [word for word in shlex.split(found) if word != "..."]
    words = words[1:] if words[0] != "pytest" else ["-m", *words]
    module, arguments = (words[1], words[2:]) if words[0] == "-m" else ("", words)
    if module == "creeklab":
        if arguments:
            main.parse(arguments)
    elif module in ("tests.benchmarks", "tests.hardening"):
        known = PARTS if module == "tests.benchmarks" else COMMANDS
        names = [word for word in arguments if re.fullmatch(r"[a-z][a-z-]*", word)]
        assert set(names) <= set(known)
    elif module == "pytest":
        for word in arguments:
            path, _, test = word.partition("::")
            if "/" in path:
                text = Path(REPOSITORY_ROOT, path).read_text()
                assert f"def {test}" in text
    elif not module:
        assert (REPOSITORY_ROOT / arguments[0]).is_file()
