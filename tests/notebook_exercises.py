"""The exercises of a notebook: an empty cell, a check, and a solution folded in a text cell."""

from __future__ import annotations

import re
from typing import Any

import nbformat

YOUR_TURN = "# Your turn"
SOLUTION = re.compile(
    r"<details><summary>Solution</summary>\n\n```python\n(.+)\n```\n</details>", re.DOTALL
)


def solved(notebook: Any) -> list[Any]:
    """Return the code cells of a notebook, with each solution in the place of its empty cell."""
    new: Any = nbformat.v4
    solutions = iter(filter(None, (SOLUTION.fullmatch(cell.source) for cell in notebook.cells)))
    return [
        new.new_code_cell(next(solutions)[1]) if cell.source.startswith(YOUR_TURN) else cell
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
