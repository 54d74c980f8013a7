"""Substitution templates: ``creek/${topic(2)}/${timestamp()}.json``.

The expressions read the original payload and the variables of SET, not the result of SELECT. The
parser finds the end of an expression, so it can contain braces.
"""

from __future__ import annotations

from creeklab.cloud.rules.sql.evaluate import Compiler, Evaluate, Scope
from creeklab.cloud.rules.sql.parser import parse_expression
from creeklab.cloud.rules.sql.values import UNDEFINED, to_json

_OPENING = "${"


class Template:
    """A text with expressions.

    Parameters
    ----------
    version
        Version of the rule's SQL.
    variables
        Names that the rule sets.

    Raises
    ------
    SqlError
        If an expression is not valid.
    """

    def __init__(self, text: str, version: str, variables: frozenset[str] = frozenset()) -> None:
        compiler = Compiler(version)
        self.text = text
        self._parts: list[str | Evaluate] = []
        position = 0
        while (opening := text.find(_OPENING, position)) >= 0:
            self._parts.append(text[position:opening])
            start = opening + len(_OPENING)
            expression, closing = parse_expression(text, version, start=start, variables=variables)
            self._parts.append(compiler.compile(expression))
            position = closing + 1
        self._parts.append(text[position:])

    @property
    def is_constant(self) -> bool:
        """Whether it contains no expression."""
        return len(self._parts) == 1

    def render(self, scope: Scope) -> str:
        """Return the text for a message; Undefined and Null are empty, and objects JSON."""
        return "".join(
            part if isinstance(part, str) else _text(part, scope) for part in self._parts
        )


def _text(part: Evaluate, scope: Scope) -> str:
    value = part(scope)
    if value is UNDEFINED or value is None:
        return ""
    return value if isinstance(value, str) else to_json(value)
