"""The layers of pyproject.toml hold, and no module imports itself, however indirectly.

Imports for type checking and imports inside functions count.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping

import grimp
import pytest

from creeklab.bootstrap import REPOSITORY_ROOT
from creeklab.cli.main import LINT_IMPORTS


def test_the_contracts_hold() -> None:
    done = subprocess.run(
        [sys.executable, *LINT_IMPORTS],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def cycles(imports: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Yield the strongly connected components of more than one module (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[set[str]]:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for imported in sorted(imports[module]):
            if imported not in order:
                yield from visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], order[imported])
        if lowest[module] == order[module]:
            start = stack.index(module)
            component = set(stack[start:])
            del stack[start:]
            if len(component) > 1:
                yield component

    for module in sorted(imports):
        if module not in order:
            yield from visit(module)


@pytest.mark.parametrize(
    ("imports", "found"),
    [
        ({}, []),
        ({"a": {"b"}, "b": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [{"a", "b"}]),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [{"b", "c"}]),
    ],
)
def test_cycles(imports: dict[str, set[str]], found: list[set[str]]) -> None:
    assert list(cycles(imports)) == found


def test_no_module_is_part_of_an_import_cycle() -> None:
    graph = grimp.build_graph("creeklab", cache_dir=None)
    imports = {each: graph.find_modules_directly_imported_by(each) for each in graph.modules}
    assert len(imports) > 200
    assert [sorted(cycle) for cycle in cycles(imports)] == []
