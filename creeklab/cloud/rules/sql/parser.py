"""Statements and expressions: text to tree, by recursive descent.

Operators bind as in SQL, from loose to tight: OR, AND, NOT, comparisons and IN, ``+ -``, ``* / %``,
unary minus. Operators of one level associate to the left.

An error names the place, what was found, and everything that is valid there: each attempt to
accept a token notes what it was looking for, until the next token is consumed. Mistakes that
beginners make often get a sentence of their own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from creeklab.cloud.rules.sql import tree
from creeklab.cloud.rules.sql.functions import FUNCTIONS, NOT_SERVED
from creeklab.cloud.rules.sql.tokens import SqlError, Token, tokenize
from creeklab.cloud.rules.sql.values import VERSION_2015, fits

MAX_NESTING = 40
"""Brackets, calls, queries and cases inside one another."""

MAX_DEPTH = 150
"""Nodes below one another, such as the operands of a long sum."""

MAX_VARIABLES = 10

KEYWORDS = frozenset(
    "SELECT FROM WHERE AS AND OR NOT IN CASE WHEN THEN ELSE END TRUE FALSE NULL".split()  # noqa: SIM905
)
CAST_TYPES_2015 = frozenset(("string", "nvarchar", "text", "ntext", "varchar", "int", "integer"))
CAST_TYPES = CAST_TYPES_2015 | {"double", "decimal", "bool", "boolean"}

_LEVELS: tuple[tuple[str, ...], ...] = (
    ("OR",),
    ("AND",),
    ("=", "<>", "!=", "<", "<=", ">", ">=", "IN"),
    ("+", "-"),
    ("*", "/", "%"),
)
_COMPARISON_LEVEL = 2

_INSTEAD = {
    "LIKE": "AWS IoT SQL has no LIKE. Use startswith(), endswith() or regexp_matches().",
    "BETWEEN": "AWS IoT SQL has no BETWEEN. Write two comparisons joined by AND.",
    "IS": "AWS IoT SQL has no IS. Use isNull() or isUndefined().",
    "JOIN": "AWS IoT SQL has no JOIN. A rule reads one topic filter.",
    "GROUP": "AWS IoT SQL has no GROUP BY. A rule evaluates one message at a time.",
    "ORDER": "AWS IoT SQL has no ORDER BY. A rule evaluates one message at a time.",
    "LIMIT": "AWS IoT SQL has no LIMIT. A rule evaluates one message at a time.",
    "HAVING": "AWS IoT SQL has no HAVING. A rule evaluates one message at a time.",
    "NOT": "Write NOT before the whole comparison: NOT x IN array.",
}

T = TypeVar("T")


def parse_statement(text: str, version: str) -> tree.Statement:
    """Return the tree of a rule's statement.

    Parameters
    ----------
    version
        Version of the SQL, such as ``2016-03-23``.

    Raises
    ------
    SqlError
        If it is not a valid statement of this version.
    """
    parser = _Parser(text, tokenize(text), version)
    statement = parser.statement()
    parser.expect_end()
    _check_depth(statement, text)
    return statement


def parse_expression(
    text: str, version: str, *, start: int = 0, variables: frozenset[str] = frozenset()
) -> tuple[tree.Node, int]:
    """Return the expression that begins at `start`, and the offset of its closing brace.

    Raises
    ------
    SqlError
        If there is no valid expression with a ``}`` after it.
    """
    parser = _Parser(text, tokenize(text, start, in_braces=True), version, variables)
    expression = parser.star_or_expression()
    closing = parser.expect_symbol("}")
    _check_depth(expression, text)
    return expression, closing.start


class _Parser:
    def __init__(
        self,
        text: str,
        tokens: list[Token],
        version: str,
        variables: frozenset[str] = frozenset(),
    ) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0
        self._expected: list[str] = []
        self._nesting = 0
        self._old = version == VERSION_2015
        self._variables = set(variables)

    # --- tokens -------------------------------------------------------------------------------

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    @property
    def _next(self) -> Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def _advance(self) -> Token:
        token = self._token
        self._at += 1
        self._expected.clear()
        return token

    def _accept_word(self, word: str) -> bool:
        if self._token.is_word(word):
            self._advance()
            return True
        self._expected.append(word)
        return False

    def _accept_symbol(self, symbol: str) -> bool:
        if self._token.is_symbol(symbol):
            self._advance()
            return True
        self._expected.append(f"'{symbol}'")
        return False

    def _expect_word(self, word: str) -> None:
        if not self._accept_word(word):
            raise self._unexpected()

    def expect_symbol(self, symbol: str) -> Token:
        token = self._token
        if not self._accept_symbol(symbol):
            raise self._unexpected()
        return token

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise self._unexpected()

    def _name(self, what: str) -> str:
        """Return the next token as a name; keywords are allowed where only a name can follow."""
        if self._token.kind != "word":
            self._expected.append(what)
            raise self._unexpected()
        return self._advance().text

    def _error(self, problem: str, token: Token | None = None) -> SqlError:
        return SqlError(problem, self._text, (token or self._token).start)

    def _unexpected(self) -> SqlError:
        found = self._token
        valid = list(dict.fromkeys(self._expected))
        text = ", ".join(valid[:-1]) + " or " + valid[-1] if len(valid) > 1 else "".join(valid)
        return self._error(f"Found {found}. Valid here: {text}. {self._hint()}".rstrip())

    def _hint(self) -> str:
        found = self._token
        before = self._tokens[self._at - 1] if self._at else found
        if found.kind == "word" and found.text.upper() in _INSTEAD:
            return _INSTEAD[found.text.upper()]
        if found.is_symbol("["):
            return "AWS IoT SQL has no index syntax. Write get(array, 0)."
        if found.is_symbol("-") and before.kind == "word":
            return "A name cannot contain a hyphen. In a payload, read it with get(*, 'my-key')."
        if found.kind == "number" and before.is_symbol("."):
            return "A key that is a number needs get(object, '0')."
        if found.kind == "string" and before.is_symbol("."):
            return "Read a key with special characters with get(object, 'my key')."
        after_keyword = before.text.upper() in KEYWORDS
        if found.kind in ("word", "string", "number") and not after_keyword:
            return "A comma or an operator may be missing before it."
        return ""

    # --- statement ----------------------------------------------------------------------------

    def statement(self) -> tree.Statement:
        start = self._token.start
        variables = self._assignments() if self._accept_word("SET") else ()
        self._expect_word("SELECT")
        select = self._select()
        topic_filter, filter_at = None, start
        if self._accept_word("FROM"):
            topic_filter, filter_at = self._topic_filter()
        where = self._expression() if self._accept_word("WHERE") else None
        span = (start, self._token.start)
        return tree.Statement(variables, select, topic_filter, where, filter_at, span=span)

    def _assignments(self) -> tuple[tree.Assignment, ...]:
        found: list[tree.Assignment] = []
        while not found or self._accept_symbol(","):
            token = self._token
            if token.kind != "variable":
                self._expected.append("a variable such as @celsius")
                raise self._unexpected()
            name = self._advance().text[1:]
            if name in self._variables:
                raise self._error(f"The variable @{name} is set twice.", token)
            if len(found) == MAX_VARIABLES:
                raise self._error(f"SET can have at most {MAX_VARIABLES} variables.", token)
            self.expect_symbol("=")
            value = self._expression()
            self._variables.add(name)
            found.append(tree.Assignment(name, value, span=(token.start, value.span[1])))
        return tuple(found)

    def _topic_filter(self) -> tuple[str, int]:
        token = self._token
        if token.kind == "string" and token.text[0] == "'":
            return self._advance().string, token.start
        if token.kind == "end":
            self._expected.append("a topic filter in single quotes")
            raise self._unexpected()
        raise self._error("FROM needs a topic filter in single quotes, such as 'creek/#'.")

    def _select(self) -> tree.Select:
        start = self._token.start
        if self._at_value():
            self._advance()
            value = self.star_or_expression()
            if self._token.is_symbol(","):
                raise self._error("SELECT VALUE has exactly one value.")
            return tree.Select((tree.Item(value, span=value.span),), True, span=value.span)
        items = [self._item()]
        while self._accept_symbol(","):
            items.append(self._item())
        return tree.Select(tuple(items), span=(start, items[-1].span[1]))

    def _at_value(self) -> bool:
        """Return whether VALUE is the keyword, and not an attribute of this name."""
        if not self._token.is_word("VALUE"):
            return False
        following = self._next
        if following.kind == "word":
            keyword = following.text.upper()
            return keyword not in KEYWORDS or keyword in ("NOT", "CASE", "TRUE", "FALSE", "NULL")
        if following.is_symbol("*"):
            after = self._tokens[min(self._at + 2, len(self._tokens) - 1)]
            return after.kind == "end" or after.text.upper() in ("FROM", "WHERE", ")", ",")
        return following.kind in ("string", "number", "variable") or following.text in (*"([{-",)

    def _item(self) -> tree.Item:
        token = self._token
        if self._at_star():
            value: tree.Node = tree.Star(span=self._span(self._advance()))
            key: tree.Name = ()
        else:
            value = self._expression()
            if isinstance(value, tree.Path) and self._accept_symbol("."):
                self.expect_symbol("*")
                return tree.Item(tree.Spread(value, span=value.span), span=value.span)
            key = self._default_key(value, token)
        if self._accept_word("AS"):
            names = [self._name("an alias without quotes")]
            while self._accept_symbol("."):
                names.append(self._name("a name"))
            if self._token.is_symbol("-"):
                raise self._error(
                    "An alias cannot contain a hyphen. Use letters, digits and underscores."
                )
            key = tuple(names)
        return tree.Item(value, key, span=(token.start, self._tokens[self._at - 1].end))

    def _default_key(self, value: tree.Node, token: Token) -> tree.Name:
        match value:
            case tree.Path(names):
                return names[-1:]
            case tree.Member(_, name) | tree.Variable(name):
                return (name,)
            case tree.Call() | tree.Cast():
                return (token.text,)
            case _:
                return (self._text[token.start : self._tokens[self._at - 1].end],)

    # --- expressions --------------------------------------------------------------------------

    def _expression(self) -> tree.Node:
        return self._nested(lambda: self._operators(0))

    def _nested(self, parse: Callable[[], T]) -> T:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._error(f"More than {MAX_NESTING} expressions are nested. Simplify them.")
        result = parse()
        self._nesting -= 1
        return result

    def _operators(self, level: int) -> tree.Node:
        """Parse operands that are joined by operators of `level` or tighter ones."""
        left = self._operand(level)
        while True:
            found = self._operator(level)
            if found is None:
                return left
            operator, at = found
            right = self._operators(at + 1)
            left = self._join(operator, left, right)

    def _operator(self, level: int) -> tuple[str, int] | None:
        for at in range(len(_LEVELS) - 1, level - 1, -1):
            for operator in _LEVELS[at]:
                if operator.isalpha():
                    if self._accept_word(operator):
                        return operator, at
                elif self._token.is_symbol(operator):
                    self._advance()
                    return operator, at
        self._expected.append("an operator")
        return None

    def _join(self, operator: str, left: tree.Node, right: tree.Node) -> tree.Node:
        span = (left.span[0], right.span[1])
        if operator == "IN":
            return tree.In(left, right, span=span)
        if operator in ("AND", "OR"):
            operands: tuple[tree.Node, ...] = (left,)
            if isinstance(left, tree.Logical) and left.operator == operator:
                operands = left.operands
            return tree.Logical(operator, (*operands, right), span=span)  # type: ignore[arg-type]
        if operator in _LEVELS[_COMPARISON_LEVEL]:
            operator = "<>" if operator == "!=" else operator
            return tree.Compare(operator, left, right, span=span)  # type: ignore[arg-type]
        return tree.Calculate(operator, left, right, span=span)  # type: ignore[arg-type]

    def _operand(self, level: int) -> tree.Node:
        token = self._token
        if token.is_word("NOT") and level <= _COMPARISON_LEVEL:
            self._advance()
            negated = self._nested(lambda: self._operand_of_not())
            return tree.Not(negated, span=(token.start, negated.span[1]))
        if token.is_symbol("-"):
            self._advance()
            operand = self._nested(lambda: self._operand(len(_LEVELS)))
            span = (token.start, operand.span[1])
            match operand:
                case tree.Constant(int() | Decimal() as number) if not isinstance(number, bool):
                    return tree.Constant(-number, span=span)
                case _:
                    return tree.Negative(operand, span=span)
        return self._postfix()

    def _operand_of_not(self) -> tree.Node:
        return self._operators(_COMPARISON_LEVEL)

    def _postfix(self) -> tree.Node:
        value = self._primary()
        while self._token.is_symbol(".") and not self._next.is_symbol("*"):
            self._advance()
            name = self._name("a name")
            span = (value.span[0], self._tokens[self._at - 1].end)
            if isinstance(value, tree.Path):
                value = tree.Path((*value.names, name), span=span)
            else:
                value = tree.Member(value, name, span=span)
        if self._token.is_symbol("["):
            raise self._error("AWS IoT SQL has no index syntax. Write get(array, 0).")
        return value

    def _primary(self) -> tree.Node:
        token = self._token
        span = self._span(token)
        if token.kind == "number":
            return tree.Constant(_number(self._advance().text), span=span)
        if token.kind == "string":
            return tree.Constant(self._advance().string, span=span)
        if token.kind == "variable":
            return self._variable()
        if token.kind == "word":
            return self._word(token)
        if token.is_symbol("("):
            self._advance()
            if self._token.is_word("SELECT"):
                return self._query(token)
            value = self._expression()
            self.expect_symbol(")")
            return value
        if token.is_symbol("["):
            self._needs_2016("An array literal")
            self._advance()
            items = self._list("]")
            return tree.ArrayLiteral(items, span=self._since(token))
        if token.is_symbol("{"):
            self._needs_2016("An object literal")
            return self._object()
        self._expected.append("an expression")
        raise self._unexpected()

    def _word(self, token: Token) -> tree.Node:
        word, opens = token.text.upper(), self._next.is_symbol("(")
        if word in ("TRUE", "FALSE", "NULL"):
            self._advance()
            constants = {"TRUE": True, "FALSE": False, "NULL": None}
            return tree.Constant(constants[word], span=self._span(token))
        if word == "CASE":
            return self._case()
        if word == "EXISTS" and opens:
            self._advance()
            opening = self._advance()
            if not self._token.is_word("SELECT"):
                raise self._error("EXISTS needs a nested query: EXISTS (SELECT * FROM array).")
            return tree.Exists(self._query(opening), span=self._since(token))
        if word in KEYWORDS:
            self._expected.append("an expression")
            raise self._unexpected()
        self._advance()
        if not opens:
            return tree.Path((token.text,), span=self._span(token))
        self._advance()
        return self._cast(token) if word == "CAST" else self._call(token)

    def _variable(self) -> tree.Node:
        token = self._advance()
        name = token.text[1:]
        if name not in self._variables:
            raise self._error(
                f"The variable {token.text} is not set. Set it before SELECT: SET {token.text} = "
                "...",
                token,
            )
        return tree.Variable(name, span=self._span(token))

    def _call(self, token: Token) -> tree.Node:
        name = token.text.lower()
        if name in NOT_SERVED:
            raise self._error(f"This cloud does not have {name}(): {NOT_SERVED[name]}", token)
        if name not in FUNCTIONS:
            near = difflib.get_close_matches(name, FUNCTIONS, 1)
            hint = f" Did you mean {near[0]}()?" if near else ""
            raise self._error(f"There is no function {token.text}().{hint}", token)
        if FUNCTIONS[name].needs_2016:
            self._needs_2016(f"{token.text}()", token)
        arguments = self._list(")")
        match name, arguments:
            case "decode", (_, tree.Constant(scheme), *_) if scheme != "base64":
                raise self._error("In this cloud, decode() decodes only 'base64'.", token)
        return tree.Call(name, arguments, span=self._since(token))

    def _list(self, closing: str) -> tuple[tree.Node, ...]:
        items: list[tree.Node] = []
        while not self._accept_symbol(closing):
            items.append(self.star_or_expression())
            if not self._accept_symbol(","):
                self.expect_symbol(closing)
                break
            if closing == ")" and self._token.is_symbol(")"):
                self._expected.append("an expression")
                raise self._unexpected()
        return tuple(items)

    def _object(self) -> tree.Node:
        opening = self._advance()
        members: list[tuple[str, tree.Node]] = []
        while not self._accept_symbol("}"):
            if self._token.kind != "string":
                self._expected.append("a key in quotes")
                raise self._unexpected()
            key = self._advance().string
            self.expect_symbol(":")
            members.append((key, self.star_or_expression()))
            if not self._accept_symbol(","):
                self.expect_symbol("}")
                break
        return tree.ObjectLiteral(tuple(members), span=self._since(opening))

    def _cast(self, token: Token) -> tree.Node:
        operand = self._expression()
        self._expect_word("AS")
        at = self._token
        type_name = self._name("a type").lower()
        known = CAST_TYPES_2015 | {"double"} if self._old else CAST_TYPES
        if type_name not in known:
            if type_name in CAST_TYPES:
                self._needs_2016(f"CAST(... AS {at.text})", at)
            types = ", ".join(sorted(known))
            raise self._error(f"There is no type {at.text}. Types of CAST: {types}.", at)
        self.expect_symbol(")")
        return tree.Cast(operand, type_name, span=self._since(token))

    def _case(self) -> tree.Node:
        start = self._advance()
        if self._token.is_word("WHEN"):
            raise self._error(
                "CASE needs a value before WHEN. For conditions, write CASE condition WHEN true "
                "THEN ..."
            )
        value = self._expression()
        branches: list[tuple[tree.Node, tree.Node]] = []
        while self._accept_word("WHEN"):
            test = self._expression()
            self._expect_word("THEN")
            branches.append((test, self._expression()))
        if not branches:
            raise self._unexpected()
        otherwise = self._expression() if self._accept_word("ELSE") else None
        self._expect_word("END")
        return tree.Case(value, tuple(branches), otherwise, span=self._since(start))

    def _query(self, opening: Token) -> tree.Query:
        self._needs_2016("A nested query", opening)
        self._advance()
        select = self._nested(self._select)
        self._expect_word("FROM")
        source = self._source()
        alias = self._name("a name") if self._accept_word("AS") else ""
        where = self._expression() if self._accept_word("WHERE") else None
        self.expect_symbol(")")
        return tree.Query(select, source, alias, where, span=self._since(opening))

    def _source(self) -> tree.Node:
        token = self._token
        if token.kind == "variable" or (
            token.kind == "word" and token.text.upper() not in KEYWORDS
        ):
            source = self._postfix()
            if not isinstance(source, tree.Call | tree.Cast):
                return source
        raise self._error("A nested query reads an attribute or a variable: FROM readings.", token)

    def star_or_expression(self) -> tree.Node:
        if self._at_star():
            return tree.Star(span=self._span(self._advance()))
        return self._expression()

    def _at_star(self) -> bool:
        if self._token.is_symbol("*"):
            return True
        self._expected.append("'*'")
        return False

    def _needs_2016(self, what: str, token: Token | None = None) -> None:
        if self._old:
            raise self._error(
                f"{what} needs the SQL version 2016-03-23; this rule has 2015-10-08, the default "
                "of the API. Set awsIotSqlVersion to '2016-03-23'.",
                token,
            )

    @staticmethod
    def _span(token: Token) -> tuple[int, int]:
        return token.start, token.end

    def _since(self, token: Token) -> tuple[int, int]:
        return token.start, self._tokens[self._at - 1].end


def _number(text: str) -> int | Decimal:
    return fits(int(text)) if text.isdecimal() and len(text) < 1000 else fits(Decimal(text))


def _check_depth(root: tree.Node, text: str) -> None:
    """Raise if evaluating a tree could exceed the depth of Python's stack."""
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            problem = f"An expression has more than {MAX_DEPTH} levels. Simplify it."
            raise SqlError(problem, text, node.span[0])
        waiting += [(child, depth + 1) for child in node.children()]
