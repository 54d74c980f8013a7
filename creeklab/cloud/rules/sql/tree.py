"""The tree of a statement: what the parser returns and the evaluator reads.

`span` says where a node is in the text. Two trees are equal if they mean the same, wherever their
nodes are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Literal

Name = tuple[str, ...]
"""Names that are joined by points: ``state.reported.depth``."""

Comparison = Literal["=", "<>", "<", "<=", ">", ">="]
Arithmetic = Literal["+", "-", "*", "/", "%"]


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a statement."""

    span: tuple[int, int] = field(default=(0, 0), compare=False, kw_only=True)

    def children(self) -> Iterator[Node]:
        """Iterate over the nodes directly below this one."""
        for member in fields(self):
            yield from _nodes(getattr(self, member.name))


def _nodes(value: object) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _nodes(each)


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """A string, number, Boolean or NULL."""

    value: str | int | Decimal | bool | None


@dataclass(frozen=True, slots=True)
class Star(Node):
    """``*``: the whole payload, or the whole element in a nested query."""


@dataclass(frozen=True, slots=True)
class Path(Node):
    """An attribute of the payload: ``state.reported.depth``."""

    names: Name


@dataclass(frozen=True, slots=True)
class Spread(Node):
    """All members of an attribute: ``state.reported.*``."""

    path: Path


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """A variable of SET, without its ``@``."""

    name: str


@dataclass(frozen=True, slots=True)
class Member(Node):
    """A member of an expression's value: ``get(readings, 0).depth``."""

    container: Node
    name: str


@dataclass(frozen=True, slots=True)
class Negative(Node):
    """``-x``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Calculate(Node):
    """Two operands of an arithmetic operator."""

    operator: Arithmetic
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """Two operands of a comparison."""

    operator: Comparison
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class In(Node):
    """``x IN array``."""

    element: Node
    array: Node


@dataclass(frozen=True, slots=True)
class Not(Node):
    """``NOT x``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Logical(Node):
    """Two or more operands of AND, or of OR."""

    operator: Literal["AND", "OR"]
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Case(Node):
    """``CASE value WHEN ... THEN ... ELSE ... END``."""

    value: Node
    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node | None


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A call of a function, whose name is in lower case."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Cast(Node):
    """``CAST(x AS type)``, whose type is in lower case."""

    operand: Node
    type: str


@dataclass(frozen=True, slots=True)
class ArrayLiteral(Node):
    """``[x, y]``."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ObjectLiteral(Node):
    """``{'key': x}``."""

    members: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Item(Node):
    """One item of SELECT, with the key of its value.

    Attributes
    ----------
    key
        The alias, or the name that the item has without one; empty for ``*`` and ``path.*``.
    """

    value: Node
    key: Name = ()


@dataclass(frozen=True, slots=True)
class Select(Node):
    """The items of SELECT, or the one value of SELECT VALUE."""

    items: tuple[Item, ...]
    only_value: bool = False


@dataclass(frozen=True, slots=True)
class Query(Node):
    """A nested query: ``(SELECT ... FROM source AS alias WHERE ...)``."""

    select: Select
    source: Node
    alias: str = ""
    where: Node | None = None


@dataclass(frozen=True, slots=True)
class Exists(Node):
    """``EXISTS (SELECT ...)``."""

    query: Query


@dataclass(frozen=True, slots=True)
class Assignment(Node):
    """One variable of SET."""

    name: str
    value: Node


@dataclass(frozen=True, slots=True)
class Statement(Node):
    """A whole statement.

    Attributes
    ----------
    topic_filter
        The filter in FROM; None without FROM, which only Basic Ingest can reach.
    filter_at
        Where the filter is in the text.
    """

    variables: tuple[Assignment, ...]
    select: Select
    topic_filter: str | None
    where: Node | None
    filter_at: int = field(default=0, compare=False)
