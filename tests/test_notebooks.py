"""Rules for the form of every notebook, and a run of all of them in any order.

nbval compares the stored outputs: it runs each notebook in a home folder of its own.
"""

from __future__ import annotations

import ast
import configparser
import re
import statistics
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import nbformat
import pytest
from nbclient import NotebookClient

from creeklab import Lab
from creeklab.cloud import supervisor
from creeklab.course.catch_up import catch_up
from tests.execute_notebooks import normalize
from tests.notebook_exercises import SOLUTION, YOUR_TURN, solved

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
SANITIZERS = Path(__file__).with_name("nbval_sanitize.cfg")
read: Any = nbformat.read
NOTEBOOKS = {path: read(path, as_version=4) for path in PATHS}

# Traces of the machine that executed a notebook, and private keys.
PRIVATE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|/site-packages/|/home/|/root/|/Users/|[A-Z]:\\\\?[A-Za-z]"
)
# A slash after a character that can precede a path; a drive, a home folder, a file URL.
ABSOLUTE = re.compile(
    r"(?:^|[\s\"'`=(\[{,;|]|&\w+;)/\w[^\s\"'`<]*|\b[A-Z]:[\\/]\w|~/|file://", re.MULTILINE
)
ANSI = re.compile(r"\x1b\[[0-9;]*m")

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[Any]:
    return [cell for cell in NOTEBOOKS[path].cells if cell.cell_type == kind]


def tags(cell: Any) -> list[str]:
    found: list[str] = cell.metadata.get("tags", [])
    return found


def errors(cell: Any) -> list[Any]:
    return [output for output in cell.outputs if output.output_type == "error"]


def prose(path: Path) -> str:
    """Return the Markdown without its fenced blocks."""
    text = "\n\n".join(cell.source for cell in cells(path, "markdown"))
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value except pictures."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key != "image/png":
                yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", value)


def test_notebooks_are_found() -> None:
    assert len(PATHS) >= 13
    assert all(re.fullmatch(r"\d\d-[a-z0-9-]+", path.stem) for path in PATHS)
    assert len({path.name[:2] for path in PATHS}) == len(PATHS)


# --- the stored form ------------------------------------------------------------------------------


@every_notebook
def test_every_cell_was_executed_in_order(path: Path) -> None:
    counts = [cell.execution_count for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_exactly_the_tagged_cells_fail(path: Path) -> None:
    for cell in cells(path, "code"):
        assert bool(errors(cell)) == ("raises-exception" in tags(cell)), cell.source
        assert all(output.get("name") != "stderr" for output in cell.outputs), cell.source


@every_notebook
def test_no_output_is_excluded_from_the_comparison(path: Path) -> None:
    for cell in cells(path, "code"):
        assert set(tags(cell)) <= {"raises-exception"}, cell.source
        assert not re.search(r"NBVAL_|nbval-", cell.source, re.IGNORECASE), cell.source


@every_notebook
def test_its_form_is_what_jupyterlab_would_write(path: Path) -> None:
    notebook = read(path, as_version=4)
    normalize(notebook)
    assert nbformat.writes(notebook) + "\n" == path.read_text(encoding="utf-8")


@every_notebook
def test_it_contains_no_trace_of_the_machine_and_no_key(path: Path) -> None:
    for cell in NOTEBOOKS[path].cells:
        found = [match[0] for text in texts(cell) for match in PRIVATE.finditer(text)]
        assert found == [], cell.source
    assert not any(PRIVATE.search(text) for text in texts(NOTEBOOKS[path].metadata))


def paths_in(text: str) -> list[str]:
    """Return the absolute paths in an output, or their beginnings."""
    return [match[0] for match in ABSOLUTE.finditer(ANSI.sub(" ", text))]


@pytest.mark.parametrize(
    "text",
    [
        "/tmp/tmp2i8j3eyf/keys/Test2 is in the git work tree",
        "\x1b[31mValueError\x1b[39m/var/folders/keys",
        "[Errno 2] No such file or directory: '/opt/certificat.pem.crt'",
        "PosixPath(&quot;/srv/keys&quot;)",
        r"WindowsPath('C:/Users/ada')",
        r"C:\keys",
        "in ~/.local/share/creeklab",
        "file:///etc/hosts",
    ],
)
def test_an_absolute_path_is_recognized(text: str) -> None:
    assert paths_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "barn/keys/Test2 is in the git work tree barn.",
        "$aws/things/Test2/shadow/update/accepted, update/rejected",
        "<br/><b>one</b> of 4 / 5, 26.9 ft/h",
        "https://waterdata.usgs.gov/monitoring-location/01581752/",
        "arn:aws:iot:us-east-1:123456789012:thing/Test2",
        "PUBLISH …/Test2/shadow/update",
    ],
)
def test_a_topic_is_no_path(text: str) -> None:
    assert paths_in(text) == []


@every_notebook
def test_no_output_contains_an_absolute_path(path: Path) -> None:
    """Check the stored text, because no nbval sanitizer replaces a path."""
    for cell in cells(path, "code"):
        for output in cell.outputs:
            assert [paths_in(text) for text in texts(output)] == [[] for _ in texts(output)], (
                cell.source
            )


def test_no_sanitizer_hides_a_path() -> None:
    """nbval ignores only pictures, styles, times, tokens and IDs."""
    rules = configparser.RawConfigParser()
    rules.read(SANITIZERS)
    assert {rules[name]["replace"].strip() for name in rules.sections()} == {
        "PICTURE",
        "STYLE",
        r"\1TIME",
        r"\1TOKEN",
        "CERTIFICATE_ID",
    }
    for name in rules.sections():
        for shown in ("/tmp/x/keys", "at /home/ada/keys/Test2 in", r"C:\Users\ada"):
            assert not re.search(rules[name]["regex"], shown), name


@every_notebook
def test_it_opens_the_lab_and_catches_up_with_its_own_name(path: Path) -> None:
    first, second = cells(path, "code")[:2]
    assert "import creeklab" in first.source
    assert "lab = creeklab.open_lab()" in first.source
    named = re.findall(r'lab\.catch_up\("([^"]*)"\)', first.source + "\n" + second.source)
    assert named == [path.stem]


@every_notebook
def test_catching_up_knows_it(path: Path) -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise LookupError(name)

    try:
        catch_up(cast(Lab, Untouchable()), path.stem)
    except LookupError:
        return  # it is known: catch_up was about to read the account
    assert path.stem[:2] in ("00", "01")


# --- text and pictures ----------------------------------------------------------------------------


@every_notebook
def test_headings_are_in_order(path: Path) -> None:
    levels = [len(marks) for marks in re.findall(r"^(#+) +\S", prose(path), re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert cells(path, "markdown")[0] is NOTEBOOKS[path].cells[0]


@every_notebook
def test_every_diagram_has_a_title_and_a_description(path: Path) -> None:
    source = "\n\n".join(cell.source for cell in cells(path, "markdown"))
    for diagram in re.findall(r"^```mermaid\n(.*?)^```", source, re.DOTALL | re.MULTILINE):
        assert re.search(r"^\s*accTitle: \S.{5,}", diagram, re.MULTILINE), diagram
        assert re.search(r"^\s*accDescr: \S.{20,}", diagram, re.MULTILINE), diagram


class Pictures(HTMLParser):
    """Collects the alternative text of each picture."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.texts.append((dict(attrs).get("alt") or "").strip())


@every_notebook
def test_every_picture_has_alternative_text(path: Path) -> None:
    found = re.findall(r"!\[(.*?)\]\(", prose(path)) + Pictures(prose(path)).texts
    for cell in cells(path, "code"):
        for output in cell.outputs:
            html = output.get("data", {}).get("text/html", "")
            found += Pictures(html).texts
            assert "image/png" not in output.get("data", {}) or html, cell.source
    assert all(len(text) > 5 for text in found)


def test_pictures_and_diagrams_are_found() -> None:
    source = "".join(path.read_text() for path in PATHS)
    assert "<img alt=" in source
    assert "```mermaid" in source


@every_notebook
def test_links_have_a_target(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)", prose(path))
    for link in links:
        if not re.match(r"https?://|#", link):
            assert (FOLDER / link.partition("#")[0]).exists(), link
    assert "](" not in prose(path) or links


# --- teaching -------------------------------------------------------------------------------------

# In steps, without the exercises and their solutions.
CELLS = range(25, 43)
WORDS_IN_A_SENTENCE = 34
WORDS_BEFORE_CODE = 90
MEDIAN_WORDS_BEFORE_CODE = range(20, 36)
LINES_OF_CODE = 11
MEDIAN_LINES_OF_CODE = 5
CODE_CELLS_IN_A_ROW = 3
EXERCISES = (2, 3)
CHECKS = 6

MARK = "> **On AWS:** "


def sections(path: Path) -> dict[str, list[Any]]:
    """Return the cells of each ``##`` section by its heading; a cell can belong to two of them.

    The cells before the first such heading are under ``""``.
    """
    found: dict[str, list[Any]] = {"": []}
    name = ""
    for cell in NOTEBOOKS[path].cells:
        headings = []
        if cell.cell_type == "markdown":
            source = re.sub(r"^```.*?^```", "", cell.source, flags=re.DOTALL | re.MULTILINE)
            headings = re.findall(r"^## +(.*)", source, re.MULTILINE)
        for heading in headings:
            name = heading
            assert name not in found, name
            found[name] = []
        found[name].append(cell)
    return found


def steps(path: Path) -> list[Any]:
    """Return all cells except those of the exercises."""
    exercises = sections(path).get("Exercises", [])
    return [cell for cell in NOTEBOOKS[path].cells if cell not in exercises]


def exercises(path: Path) -> list[list[Any]]:
    """Return the cells of each exercise."""
    found: list[list[Any]] = []
    for cell in sections(path).get("Exercises", []):
        if re.search(r"^### Exercise \d", cell.source, re.MULTILINE):
            found.append([])
        found[-1].append(cell)
    return found


def narration(cell: Any) -> int:
    """Return the number of words of running text in a Markdown cell."""
    text = re.sub(r"^```.*?^```|<details>.*?</details>", "", cell.source, flags=re.S | re.M)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|>|\||- |\d+\.)", line)]
    return len(" ".join(lines).split())


def lines_of(cell: Any) -> int:
    return sum(1 for line in cell.source.splitlines() if line.strip())


@every_notebook
def test_it_has_the_skeleton(path: Path) -> None:
    opening = NOTEBOOKS[path].cells[0].source
    assert re.match(r"# (\d+ · |Start here)", opening)
    if path.stem[:2] != "00":
        assert opening.startswith(f"# {int(path.stem[:2])} · ")
    assert re.search(r"^You will\b", opening, re.MULTILINE)
    assert "**What you need first:**" in opening
    *_, last = sections(path)
    assert last == "What you have now"
    # A link to the next notebook, except where the next step is a page about the creek.
    assert re.search(r"\]\(\d\d-[a-z-]+\.ipynb\)", NOTEBOOKS[path].cells[-1].source) or (
        path.stem[:2] in ("08", "09")
    )


@every_notebook
def test_its_length(path: Path) -> None:
    assert len(steps(path)) in CELLS
    code = [lines_of(cell) for cell in cells(path, "code")]
    assert max(code) <= LINES_OF_CODE
    assert statistics.median(code) <= MEDIAN_LINES_OF_CODE
    words = [
        narration(cell)
        for cell, following in pairwise(NOTEBOOKS[path].cells)
        if cell.cell_type == "markdown" and following.cell_type == "code"
    ]
    assert max(words) <= WORDS_BEFORE_CODE
    assert int(statistics.median(words)) in MEDIAN_WORDS_BEFORE_CODE


@every_notebook
def test_code_is_explained(path: Path) -> None:
    kinds = "".join(cell.cell_type[0] for cell in NOTEBOOKS[path].cells)
    assert max(len(run) for run in re.findall("c+", kinds)) <= CODE_CELLS_IN_A_ROW


@every_notebook
def test_each_step_is_checked(path: Path) -> None:
    """Check every section with code, except one whose last cell is meant to fail."""
    for heading, part in sections(path).items():
        code = [cell for cell in part if cell.cell_type == "code"]
        if heading and code and "raises-exception" not in tags(code[-1]):
            assert any("lab.check." in cell.source for cell in code), heading
    assert sum("lab.check." in cell.source for cell in cells(path, "code")) >= CHECKS


@every_notebook
def test_each_check_is_visible(path: Path) -> None:
    """A cell shows only its last line, so a check in an earlier line must be printed or used."""
    for cell in cells(path, "code"):
        *before, _ = ast.parse(re.sub("^%.*$", "", cell.source, flags=re.MULTILINE)).body or [None]
        for line in before:
            lost = isinstance(line, ast.Expr) and ast.unparse(line).startswith("lab.check.")
            assert not lost, cell.source


@every_notebook
def test_sentences_are_short(path: Path) -> None:
    for line in prose(path).splitlines():
        for sentence in re.split(r"(?<=[.!?:]) ", re.sub(r"!\[.*?\]\(.*?\)", "", line)):
            assert line.startswith("|") or len(sentence.split()) <= WORDS_IN_A_SENTENCE, sentence


@every_notebook
def test_a_failing_cell_is_announced(path: Path) -> None:
    """The text before a failing cell announces the failure."""
    for before, cell in pairwise(NOTEBOOKS[path].cells):
        if "raises-exception" in tags(cell):
            assert before.cell_type == "markdown", cell.source
            assert re.search(r"[Mm]eant to fail|\*\*Some cells are meant to fail", before.source), (
                before.source
            )


def results(cell: Any) -> list[str]:
    """Return the lines that state the result of a check in the output of a cell."""
    texts = [
        each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell.outputs
    ]
    return re.findall(r"^(?:OK|NOT YET): .*", "\n".join(texts), re.MULTILINE)


@every_notebook
def test_an_exercise_is_a_task_a_cell_a_check_and_a_folded_solution(path: Path) -> None:
    assert len(exercises(path)) in EXERCISES
    for task, yours, check, solution in exercises(path):
        kinds = [each.cell_type for each in (task, yours, check, solution)]
        assert kinds == ["markdown", "code", "code", "markdown"]
        assert re.search(
            r"^<details><summary>Hint</summary>\n\n.+?\n</details>", task.source, re.S | re.M
        ), task.source
        assert yours.source.startswith(YOUR_TURN)
        assert yours.outputs == []
        assert "lab.check." in check.source
        assert results(check), check.source
        assert all(line.startswith("NOT YET: ") for line in results(check)), check.source
        match = SOLUTION.fullmatch(solution.source)
        assert match, solution.source
        ast.parse(match[1])


@every_notebook
def test_differences_on_aws_are_marked(path: Path) -> None:
    """Each mark is a line of its own in the same form."""
    marked = 0
    for cell in cells(path, "markdown"):
        for before, line in pairwise(["", *cell.source.splitlines()]):
            if re.match(r"[>*\s]*On AWS\b", line):
                assert line.startswith(MARK), line
                assert before == "", line
                marked += 1
    assert marked


@every_notebook
def test_it_suits_both_themes(path: Path) -> None:
    """No text or output has a fixed color; pictures have their own background."""
    color = re.compile(r"(?:color|background|fill|stroke)\s*[:=]\s*[\"']?#[0-9a-fA-F]{3}|<font")
    for cell in NOTEBOOKS[path].cells:
        if cell.cell_type == "markdown":
            assert not color.search(cell.source), cell.source
            assert "style " not in " ".join(re.findall(r"```mermaid(.*?)```", cell.source, re.S))
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            for found in color.finditer(re.sub(r"var\([^)]*\)", "", html)):
                raise AssertionError(f"{found[0]!r} in an output of: {cell.source}")


# --- any order ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::Warning:zmq", "ignore::Warning:jupyter_client")
def test_any_order_works_in_one_account_and_every_solution_is_right(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run all notebooks in one kernel, solved and last to first; clear its names in between.

    ``test_notebooks_on_aws.py`` runs all in one account from first to last, and nbval runs each as
    shipped, where every exercise is NOT YET.
    """
    new: Any = nbformat.v4
    joined = new.new_notebook()
    for path in reversed(PATHS):
        checks = [check.source for _, _, check, _ in exercises(path)]
        joined.cells += [
            new.new_code_cell(
                cell.source, metadata={"tags": tags(cell), "check": cell.source in checks}
            )
            for cell in (*solved(NOTEBOOKS[path]), new.new_code_cell("%reset -f"))
        ]
    monkeypatch.setenv("CREEKLAB_HOME", str(home))
    client = NotebookClient(
        joined, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()
    assert supervisor.status(home) is not None
    for cell in joined.cells:
        assert bool(errors(cell)) == ("raises-exception" in tags(cell)), cell.source
    found = {cell.source: results(cell) for cell in joined.cells if cell.metadata["check"]}
    wrong = {
        source: lines
        for source, lines in found.items()
        if not lines or not all(line.startswith("OK: ") for line in lines)
    }
    assert wrong == {}
