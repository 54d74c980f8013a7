"""Evaluate statements: a tree becomes a function once, and each message is one call of it.

The order is AWS's: variables, WHERE on the original payload, then SELECT. Nothing here can run
away: the depth of a tree is bounded by the parser, strings and results by their size, regular
expressions by their time, and everything that depends on the length of an array by a budget of
steps. `EvaluationStopped` says which limit was exceeded.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

from creeklab.cloud.rules.sql import operators, tree
from creeklab.cloud.rules.sql.functions import FUNCTIONS
from creeklab.cloud.rules.sql.functions.function import Function, MessageContext
from creeklab.cloud.rules.sql.functions.strings import encode
from creeklab.cloud.rules.sql.values import (
    UNDEFINED,
    VERSION_2015,
    EvaluationStopped,
    Maybe,
    Normalize,
    Value,
    cast,
    fits,
    from_json,
    normalizer,
    to_boolean,
    to_json,
)

MAX_STEPS = 100_000
"""Elements that queries, IN and functions read while one message is evaluated."""


class Budget:
    """The steps that an evaluation still has."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Take steps; raise `EvaluationStopped` if there are not enough."""
        self._steps -= steps
        if self._steps < 0:
            raise EvaluationStopped(
                f"The statement takes more than {MAX_STEPS} steps for this message. Nested queries "
                "over long arrays multiply."
            )


class Scope:
    """What the expressions of one evaluation read.

    Attributes
    ----------
    root
        The payload, or the element of a nested query; `UNDEFINED` if the payload is not JSON.
    payload
        The bytes of the payload; None for an element.
    """

    __slots__ = ("budget", "message", "payload", "root", "variables")

    def __init__(
        self,
        root: Value,
        payload: bytes | None,
        message: MessageContext,
        variables: dict[str, Value],
        budget: Budget,
    ) -> None:
        self.root = root
        self.payload = payload
        self.message = message
        self.variables = variables
        self.budget = budget

    def element(self, root: Value) -> Scope:
        """Return the scope of an element of a nested query."""
        return Scope(root, None, self.message, self.variables, self.budget)


Evaluate: TypeAlias = Callable[[Scope], Value]
Parsed: TypeAlias = dict[Normalize, Value]
"""The parsed payload of one message, by the version's treatment of Decimals."""


class CompiledStatement:
    """A statement that can be evaluated for messages.

    Attributes
    ----------
    tree
        The tree that it was compiled from.
    """

    def __init__(self, statement: tree.Statement, version: str) -> None:
        compiler = Compiler(version)
        self.tree = statement
        self._version = version
        self._normalize = normalizer(version)
        self._variables = [
            (each.name, compiler.compile(each.value)) for each in statement.variables
        ]
        self._where = None if statement.where is None else compiler.compile(statement.where)
        self._select = compiler.compile_select(statement.select)

    @property
    def reads_json(self) -> bool:
        """Whether it reads anything of the payload but its bytes."""
        whole = tree.Select((tree.Item(tree.Star()),))
        waiting: list[tree.Node] = [self.tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, tree.Path | tree.Star):
                return True
            if node == whole:
                continue
            match node:
                case tree.Call("encode", (tree.Star(), *others)):
                    waiting += others
                case _:
                    waiting += node.children()
        return False

    def open(self, message: MessageContext, parsed: Parsed | None = None) -> Scope:
        """Parse the payload of a message, and set the variables.

        Parameters
        ----------
        parsed
            Shared by the statements that are evaluated for the same message, so that its payload is
            parsed once.
        """
        parsed = {} if parsed is None else parsed
        root = parsed.get(self._normalize)
        if root is None:
            try:
                root = from_json(message.payload, self._normalize)
            except ValueError:
                root = UNDEFINED
            parsed[self._normalize] = root
        scope = Scope(root, message.payload, message, {}, Budget())
        for name, value in self._variables:
            scope.variables[name] = value(scope)
        return scope

    def condition(self, scope: Scope) -> bool | Maybe:
        """Return the value of WHERE, True without WHERE."""
        return True if self._where is None else to_boolean(self._where(scope))

    def result(self, scope: Scope) -> bytes:
        """Return the outgoing payload: JSON, or for ``SELECT *`` the bytes of other payloads."""
        value = self._select(scope)
        if self._version == VERSION_2015 and isinstance(value, list):
            return b""
        return outgoing(value)


def outgoing(value: Value) -> bytes:
    """Return a value as a payload; that of Undefined is empty."""
    if isinstance(value, bytes):
        return value
    return b"" if value is UNDEFINED else to_json(value).encode("utf-8", "replace")


class Compiler:
    """Compiles the expressions of one version of the SQL.

    Parameters
    ----------
    alias
        In a nested query, the name of the element.
    """

    def __init__(self, version: str, alias: str = "") -> None:
        self._version = version
        self._alias = alias
        self._normalize = normalizer(version)

    def compile(self, node: tree.Node) -> Evaluate:
        """Return the function of an expression."""
        match node:
            case tree.Constant(value):
                constant = self._normalize(value) if isinstance(value, Decimal) else value
                return lambda scope: constant
            case tree.Path(names):
                return self._path(names)
            case tree.Star():
                return lambda scope: scope.root
            case tree.Variable(name):
                return lambda scope: scope.variables[name]
            case tree.Member(container, name):
                return self._member(self.compile(container), name)
            case tree.Negative(operand):
                negated = self.compile(operand)
                return lambda scope: operators.negate(negated(scope))
            case tree.Calculate(operator, left, right):
                return self._calculate(operator, left, right)
            case tree.Compare(operator, left, right):
                return self._compare(operator, left, right)
            case tree.In(element, array):
                return self._in(element, array)
            case tree.Not(operand):
                value_of = self.compile(operand)
                return lambda scope: operators.negation(value_of(scope))
            case tree.Logical(operator, operands):
                parts = [self.compile(each) for each in operands]
                join = operators.both if operator == "AND" else operators.either
                return lambda scope: join(part(scope) for part in parts)
            case tree.Case():
                return self._case(node)
            case tree.Call(name, arguments):
                return self._call(FUNCTIONS[name], name, arguments)
            case tree.Cast(operand, type_name):
                return self._cast(self.compile(operand), type_name)
            case tree.ArrayLiteral(items):
                return self._array([self.compile(each) for each in items])
            case tree.ObjectLiteral(members):
                return self._object([(key, self.compile(each)) for key, each in members])
            case tree.Query():
                return self._query(node)
            case tree.Exists(query):
                found = self._query(query)
                return lambda scope: found(scope) not in (UNDEFINED, [])
        raise TypeError(f"{node!r} is not an expression")

    # --- SELECT -------------------------------------------------------------------------------

    def compile_select(self, select: tree.Select) -> Evaluate:
        """Return the function of a SELECT, whose value can also be bytes."""
        items = select.items
        if len(items) == 1 and isinstance(items[0].value, tree.Star) and not items[0].key:
            return _whole
        if select.only_value:
            return self.compile(items[0].value)
        steps = [self._item(item) for item in items]

        def evaluate(scope: Scope) -> Value:
            result: dict[str, Value] = {}
            for step in steps:
                step(scope, result)
            return result

        return evaluate

    def _item(self, item: tree.Item) -> Callable[[Scope, dict[str, Value]], None]:
        spread = item.value.path if isinstance(item.value, tree.Spread) else item.value
        value_of, key = self.compile(spread), item.key

        def merge(scope: Scope, result: dict[str, Value]) -> None:
            value = value_of(scope)
            if isinstance(value, dict):
                result.update(value)

        def put(scope: Scope, result: dict[str, Value]) -> None:
            value = value_of(scope)
            if value is not UNDEFINED:
                for name in key[:-1]:
                    inner = result.get(name)
                    # A copy: the object can be a part of the payload.
                    result[name] = result = dict(inner) if isinstance(inner, dict) else {}
                result[key[-1]] = value

        return put if key else merge

    # --- expressions --------------------------------------------------------------------------

    def _path(self, names: tree.Name) -> Evaluate:
        if self._alias and names[0] == self._alias:
            names = names[1:]

        def read(scope: Scope) -> Value:
            value = scope.root
            for name in names:
                if not isinstance(value, dict):
                    return UNDEFINED
                value = value.get(name, UNDEFINED)
            return value

        return read

    @staticmethod
    def _member(container: Evaluate, name: str) -> Evaluate:
        def read(scope: Scope) -> Value:
            value = container(scope)
            return value.get(name, UNDEFINED) if isinstance(value, dict) else UNDEFINED

        return read

    def _calculate(self, operator: str, left: tree.Node, right: tree.Node) -> Evaluate:
        first, second = self.compile(left), self.compile(right)
        calculate, normalize = operators.CALCULATE[operator], self._normalize

        def evaluate(scope: Scope) -> Value:
            value = calculate(first(scope), second(scope))
            if isinstance(value, Decimal):
                return normalize(value)
            if isinstance(value, str):
                scope.budget.spend(1 + len(value) // 64)
            return value

        return evaluate

    def _compare(self, operator: str, left: tree.Node, right: tree.Node) -> Evaluate:
        first, second = self.compile(left), self.compile(right)
        compare = operators.COMPARE[operator]

        def evaluate(scope: Scope) -> Value:
            one, other = first(scope), second(scope)
            if isinstance(one, list | dict):
                scope.budget.spend(1 + len(scope.message.payload) // 64)
            return compare(one, other)

        return evaluate

    def _in(self, element: tree.Node, array: tree.Node) -> Evaluate:
        element_of, array_of = self.compile(element), self.compile(array)

        def evaluate(scope: Scope) -> Value:
            value, items = element_of(scope), array_of(scope)
            if value is UNDEFINED or not isinstance(items, list):
                return UNDEFINED
            scope.budget.spend(1 + len(items))
            return any(operators.same(value, item) for item in items)

        return evaluate

    def _case(self, node: tree.Case) -> Evaluate:
        value_of = self.compile(node.value)
        branches = [(self.compile(test), self.compile(then)) for test, then in node.branches]
        otherwise = None if node.otherwise is None else self.compile(node.otherwise)

        def evaluate(scope: Scope) -> Value:
            value = value_of(scope)
            if value is UNDEFINED:
                return UNDEFINED
            for test, then in branches:
                if operators.equal(value, test(scope)) is True:
                    return then(scope)
            return UNDEFINED if otherwise is None else otherwise(scope)

        return evaluate

    def _call(self, function: Function, name: str, arguments: tuple[tree.Node, ...]) -> Evaluate:
        if name == "encode" and len(arguments) == 2 and isinstance(arguments[0], tree.Star):
            scheme = self.compile(arguments[1])
            return lambda scope: encode(
                scope.root if scope.payload is None else scope.payload, scheme(scope)
            )
        parts = [self.compile(each) for each in arguments]
        version, normalize = self._version, self._normalize

        def evaluate(scope: Scope) -> Value:
            values = [part(scope) for part in parts]
            sizes = [len(value) for value in values if isinstance(value, str | list | dict)]
            scope.budget.spend(1 + sum(sizes) // 64)
            value = function.apply(scope.message, version, values)
            if isinstance(value, Decimal):
                return normalize(value)
            return fits(value) if type(value) is int else value

        return evaluate

    def _cast(self, value_of: Evaluate, type_name: str) -> Evaluate:
        normalize = self._normalize

        def evaluate(scope: Scope) -> Value:
            value = cast(value_of(scope), type_name)
            if isinstance(value, Decimal):
                return normalize(value)
            return fits(value) if type(value) is int else value

        return evaluate

    @staticmethod
    def _array(parts: list[Evaluate]) -> Evaluate:
        def evaluate(scope: Scope) -> Value:
            values = [part(scope) for part in parts]
            return [value for value in values if value is not UNDEFINED]

        return evaluate

    @staticmethod
    def _object(parts: list[tuple[str, Evaluate]]) -> Evaluate:
        def evaluate(scope: Scope) -> Value:
            values = [(key, part(scope)) for key, part in parts]
            return {key: value for key, value in values if value is not UNDEFINED}

        return evaluate

    def _query(self, query: tree.Query) -> Evaluate:
        inner = Compiler(self._version, query.alias)
        source, select = self.compile(query.source), inner.compile_select(query.select)
        where = None if query.where is None else inner.compile(query.where)

        def of_element(scope: Scope) -> Value:
            if where is not None and to_boolean(where(scope)) is not True:
                return UNDEFINED
            return select(scope)

        def evaluate(scope: Scope) -> Value:
            value = source(scope)
            if isinstance(value, dict):
                return of_element(scope.element(value))
            if not isinstance(value, list):
                return UNDEFINED
            scope.budget.spend(1 + len(value))
            results = [of_element(scope.element(item)) for item in value]
            return [result for result in results if result is not UNDEFINED]

        return evaluate


def _whole(scope: Scope) -> Value:
    """Return the value of ``SELECT *``, which for a payload that is not JSON is its bytes."""
    return scope.payload if scope.root is UNDEFINED and scope.payload is not None else scope.root
