"""A second parser of the SQL, from a grammar for lark, that builds the same trees.

Attributes named ``value`` are left out: for the grammar, VALUE is a keyword everywhere.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from lark import Lark, Transformer, v_args

from creeklab.cloud.rules.sql import tree

GRAMMAR = r"""
statement: [set] _SELECT select [from] [where]
set: _SET assignment ("," assignment)*
assignment: VARIABLE "=" expr
from: _FROM TOPIC
where: _WHERE expr
select: _VALUE any -> only_value
      | item ("," item)* -> items
item: star [_AS alias]
    | postfix "." "*" -> spread
    | expr [_AS alias]
alias: WORD ("." WORD)*
star: "*"
?any: star | expr

?expr: and_ | expr _OR and_ -> or_
?and_: not_ | and_ _AND not_ -> and_
?not_: _NOT not_comparison -> not_ | comparison
?not_comparison: _NOT not_comparison -> not_ | comparison
?comparison: sum
    | comparison COMPARE sum -> compare
    | comparison _IN sum -> in_
?sum: product | sum PLUS product -> calculate | sum MINUS product -> calculate
?product: unary | product TIMES unary -> calculate | product "*" unary -> multiply
?unary: "-" unary -> negative | postfix
?postfix: primary | call_member
call_member: postfix "." WORD -> member
?primary: NUMBER -> number
    | (STRING | TOPIC) -> string
    | _TRUE -> true
    | _FALSE -> false
    | _NULL -> null
    | VARIABLE -> variable
    | path
    | "(" expr ")"
    | query
    | _EXISTS query -> exists
    | "[" [any ("," any)* [","]] "]" -> array
    | "{" [member ("," member)* [","]] "}" -> object
    | _CASE expr when+ [_ELSE expr] _END -> case
    | _CAST "(" expr _AS WORD ")" -> cast
    | NAME "(" [any ("," any)*] ")" -> call
member: (STRING | TOPIC) ":" any -> pair
when: _WHEN expr _THEN expr
query: "(" _SELECT select _FROM source [_AS WORD] [where] ")"
?source: path | VARIABLE -> variable | source_member
source_member: source "." WORD -> member
path: NAME

PLUS: "+"
MINUS: "-"
TIMES: "/" | "%"
COMPARE: "<>" | "!=" | "<=" | ">=" | "<" | ">" | "="
NUMBER: /\d+(\.\d+)?([eE][+-]?\d+)?/
TOPIC: /'([^']|'')*'/
STRING: /"([^"]|"")*"/
VARIABLE: /@[A-Za-z]\w*/
NAME: /(?!(KEYWORDS)\b)[^\W\d]\w*/i
WORD: /[^\W\d]\w*/
_AND.2: /AND\b/i
_AS.2: /AS\b/i
_CASE.2: /CASE\b/i
_CAST.2: /CAST\b/i
_ELSE.2: /ELSE\b/i
_END.2: /END\b/i
_EXISTS.2: /EXISTS\b/i
_FALSE.2: /FALSE\b/i
_FROM.2: /FROM\b/i
_IN.2: /IN\b/i
_NOT.2: /NOT\b/i
_NULL.2: /NULL\b/i
_OR.2: /OR\b/i
_SELECT.2: /SELECT\b/i
_SET.2: /SET\b/i
_THEN.2: /THEN\b/i
_TRUE.2: /TRUE\b/i
_VALUE.2: /VALUE\b/i
_WHEN.2: /WHEN\b/i
_WHERE.2: /WHERE\b/i
%ignore /\s+/
"""


KEYWORDS = "SELECT FROM WHERE AS AND OR NOT IN CASE WHEN THEN ELSE END TRUE FALSE NULL"


@v_args(inline=True)
class _Build(Transformer[Any, Any]):
    def statement(self, variables: Any, select: Any, topic: Any, where: Any) -> tree.Statement:
        return tree.Statement(variables or (), select, topic, where)

    def set(self, *assignments: Any) -> Any:
        return assignments

    def assignment(self, name: str, value: Any) -> Any:
        return tree.Assignment(name[1:], value)

    def from_(self, topic: str) -> str:
        return text_of(topic)

    def where(self, value: Any) -> Any:
        return value

    def only_value(self, value: Any) -> Any:
        return tree.Select((tree.Item(value),), True)

    def items(self, *items: Any) -> Any:
        return tree.Select(items)

    def item(self, value: Any, alias: Any) -> Any:
        if alias is None:
            match value:
                case tree.Path(names):
                    alias = names[-1:]
                case tree.Member(_, name) | tree.Variable(name):
                    alias = (name,)
        return tree.Item(value, alias or ())

    def spread(self, path: Any) -> Any:
        if not isinstance(path, tree.Path):
            raise ValueError("only an attribute has members to spread")
        return tree.Item(tree.Spread(path))

    def alias(self, *names: Any) -> Any:
        return tuple(map(str, names))

    def star(self) -> Any:
        return tree.Star()

    def or_(self, left: Any, right: Any) -> Any:
        return logical("OR", left, right)

    def and_(self, left: Any, right: Any) -> Any:
        return logical("AND", left, right)

    def not_(self, operand: Any) -> Any:
        return tree.Not(operand)

    def compare(self, left: Any, operator: Any, right: Any) -> Any:
        return tree.Compare("<>" if operator == "!=" else str(operator), left, right)  # type: ignore[arg-type]

    def in_(self, left: Any, right: Any) -> Any:
        return tree.In(left, right)

    def calculate(self, left: Any, operator: Any, right: Any) -> Any:
        return tree.Calculate(str(operator), left, right)  # type: ignore[arg-type]

    def multiply(self, left: Any, right: Any) -> Any:
        return tree.Calculate("*", left, right)

    def negative(self, operand: Any) -> Any:
        if isinstance(operand, tree.Constant) and type(operand.value) in (int, Decimal):
            return tree.Constant(-operand.value)  # type: ignore[operator]
        return tree.Negative(operand)

    def member(self, container: Any, name: Any) -> Any:
        if isinstance(container, tree.Path):
            return tree.Path((*container.names, str(name)))
        return tree.Member(container, str(name))

    def number(self, text: Any) -> Any:
        return tree.Constant(int(text) if text.isdecimal() else Decimal(text))

    def string(self, text: Any) -> Any:
        return tree.Constant(text_of(text))

    def true(self) -> Any:
        return tree.Constant(True)

    def false(self) -> Any:
        return tree.Constant(False)

    def null(self) -> Any:
        return tree.Constant(None)

    def variable(self, name: Any) -> Any:
        return tree.Variable(str(name[1:]))

    def exists(self, query: Any) -> Any:
        return tree.Exists(query)

    def array(self, *items: Any) -> Any:
        return tree.ArrayLiteral(tuple(each for each in items if each is not None))

    def object(self, *members: Any) -> Any:
        return tree.ObjectLiteral(tuple(each for each in members if each is not None))

    def pair(self, key: Any, value: Any) -> Any:
        return text_of(key), value

    def case(self, value: Any, *rest: Any) -> Any:
        return tree.Case(value, rest[:-1], rest[-1])

    def when(self, test: Any, then: Any) -> Any:
        return test, then

    def cast(self, operand: Any, type_name: Any) -> Any:
        return tree.Cast(operand, type_name.lower())

    def call(self, name: Any, *arguments: Any) -> Any:
        found = tuple(each for each in arguments if each is not None)
        return tree.Call(name.lower(), found)

    def query(self, select: Any, source: Any, alias: Any, where: Any) -> Any:
        return tree.Query(select, source, str(alias or ""), where)

    def path(self, name: Any) -> Any:
        return tree.Path((str(name),))


setattr(_Build, "from", _Build.from_)


def text_of(token: str) -> str:
    return token[1:-1].replace(token[0] * 2, token[0])


def logical(operator: Any, left: Any, right: Any) -> Any:
    same = isinstance(left, tree.Logical) and left.operator == operator
    return tree.Logical(operator, (*(left.operands if same else (left,)), right))


def grammar() -> Lark:
    """Return the parser; its result is a `tree.Statement`."""
    return Lark(
        GRAMMAR.replace("KEYWORDS", KEYWORDS.replace(" ", "|")),
        parser="lalr",
        start="statement",
        transformer=_Build(),
        maybe_placeholders=True,
    )
