"""The parser and the one of `sql_grammar` agree on random statements, right and wrong ones."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from lark import Lark
from lark.exceptions import LarkError

from creeklab.cloud.rules.sql import tree
from creeklab.cloud.rules.sql.parser import parse_statement
from creeklab.cloud.rules.sql.tokens import SqlError, tokenize
from creeklab.cloud.rules.sql.values import VERSION_2016
from tests.cloud.rules.sql_grammar import grammar

STATEMENTS = 1_000
SEMANTIC = (
    "There is no function",
    "There is no type",
    "is not set",
    "is set twice",
    "at most",
    "comments",
    "AWS IoT SQL has no index",
    "does not have",
    "decodes only",
)
"""Parts of errors about statements that the grammar accepts."""


class Generator:
    """Random statements; each method returns the tokens of one part."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def statement(self) -> list[str]:
        select = [self.pick("SELECT", "select", "Select"), *self.select(2)]
        where = ["WHERE", *self.expression(3)] if self.random.random() < 0.6 else []
        return ["SET", "@v", "=", *self.path(), *select, "FROM", "'creek/#'", *where]

    def select(self, depth: int) -> list[str]:
        if self.random.random() < 0.2:
            return ["VALUE", *(["*"] if self.random.random() < 0.3 else self.expression(depth))]
        items: list[str] = []
        for _ in range(self.random.randint(1, 3)):
            items += [",", *self.item(depth)]
        return items[1:]

    def item(self, depth: int) -> list[str]:
        kind = self.random.random()
        if kind < 0.2:
            return ["*"]
        if kind < 0.3:
            return [*self.path(), ".", "*"]
        if kind < 0.5:
            return self.path()
        return [*self.expression(depth), "AS", *self.path()]

    def path(self) -> list[str]:
        names = [self.pick("a", "depth", "state", "from_", "item2", "Überlauf")]
        while self.random.random() < 0.3:
            names += [".", self.pick("b", "reported", "c")]
        return names

    def expression(self, depth: int) -> list[str]:
        if depth == 0 or self.random.random() < 0.25:
            return self.leaf()
        inner = depth - 1
        kinds: list[Callable[[], list[str]]] = [
            lambda: [
                *self.expression(inner),
                self.pick("+", "-", "*", "/", "%", "=", "<>", "!=", "<", "<=", ">", ">="),
                *self.expression(inner),
            ],
            lambda: [*self.expression(inner), self.pick("AND", "or"), *self.expression(inner)],
            lambda: ["(", *self.expression(inner), ")"],
            lambda: ["(", "NOT", *self.expression(inner), ")"],
            lambda: ["-", "(", *self.expression(inner), ")"],
            lambda: ["-", *self.leaf()],
            lambda: [*self.expression(inner), "IN", *self.expression(inner)],
            lambda: self.call(inner),
            lambda: ["CAST", "(", *self.expression(inner), "AS", self.pick("Int", "STRING"), ")"],
            lambda: ["[", *self.expression(inner), ",", "*", ",", "]"],
            lambda: ["{", "'k'", ":", *self.expression(inner), "}"],
            lambda: self.case(inner),
            lambda: self.query(inner),
            lambda: ["EXISTS", *self.query(inner)],
            lambda: [*self.call(inner), ".", "depth"],
        ]
        return self.random.choice(kinds)()

    def leaf(self) -> list[str]:
        constants = ("1", "2.50", "5E-12", "'it''s'", '"x"', "TRUE", "null", "@v")
        return self.path() if self.random.random() < 0.5 else [self.pick(*constants)]

    def call(self, depth: int) -> list[str]:
        name = self.pick("topic", "Upper", "concat", "get")
        return [name, "(", *self.expression(depth), ",", *self.expression(depth), ")"]

    def case(self, depth: int) -> list[str]:
        tokens = ["CASE", *self.expression(depth), "WHEN", *self.leaf(), "THEN", *self.leaf()]
        return [*tokens, *(["ELSE", "1"] if self.random.random() < 0.5 else []), "END"]

    def query(self, depth: int) -> list[str]:
        alias = ["AS", "e"] if self.random.random() < 0.5 else []
        where = ["WHERE", *self.expression(depth)] if self.random.random() < 0.5 else []
        return ["(", "SELECT", *self.select(depth), "FROM", *self.path(), *alias, *where, ")"]

    def text(self, tokens: list[str]) -> str:
        return "".join(self.pick(" ", " ", "\n ", "  ") + token for token in tokens)


@pytest.fixture(scope="module")
def lark() -> Lark:
    return grammar()


def second(lark: Lark, text: str) -> tree.Statement | None:
    try:
        return lark.parse(text)  # type: ignore[return-value]
    except (LarkError, ValueError):
        return None


def comparable(node: object, *, keys: bool) -> object:
    """Return a tree as tuples that distinguish 1 from true, with or without the keys of items."""
    if isinstance(node, tree.Node):
        hidden = {"filter_at"} if keys or not isinstance(node, tree.Item) else {"key"}
        members = [getattr(node, name) for name in node.__match_args__ if name not in hidden]
        return (type(node), *(comparable(member, keys=keys) for member in members))
    if isinstance(node, tuple):
        return tuple(comparable(each, keys=keys) for each in node)
    return (type(node), node)


def test_both_parsers_build_the_same_trees(lark: Lark) -> None:
    generator = Generator(20180831)
    for _ in range(STATEMENTS):
        text = generator.text(generator.statement())
        expected = second(lark, text)
        assert expected is not None, text
        found = parse_statement(text, VERSION_2016)
        assert comparable(found, keys=True) == comparable(expected, keys=True), text


def test_both_parsers_refuse_the_same_statements(lark: Lark) -> None:
    generator = Generator(20190131)
    refused = 0
    for _ in range(STATEMENTS):
        tokens = generator.statement()
        if "VALUE" in tokens:  # changed, it could become the name of an attribute
            continue
        position = generator.random.randrange(len(tokens))
        change = generator.random.random()
        if change < 0.4:
            del tokens[position]
        elif change < 0.7:
            tokens.insert(position, tokens[generator.random.randrange(len(tokens))])
        else:
            other = generator.random.randrange(len(tokens))
            tokens[position], tokens[other] = tokens[other], tokens[position]
        text = generator.text(tokens)
        expected, problem, found = second(lark, text), "", None
        try:
            found = parse_statement(text, VERSION_2016)
        except SqlError as error:
            problem = error.problem
            refused += 1
        if found is None:
            assert expected is None or any(part in problem for part in SEMANTIC), (text, problem)
        else:
            assert expected is not None, text
            assert comparable(found, keys=False) == comparable(expected, keys=False), text
    assert refused > STATEMENTS / 4


def test_tokens_cover_the_text() -> None:
    generator = Generator(1)
    for _ in range(100):
        tokens = generator.statement()
        found = tokenize(generator.text(tokens))
        assert [token.text for token in found if token.kind != "end"] == tokens
