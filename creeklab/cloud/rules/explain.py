"""Why a rule fired for a message, or why it did not, and the smallest change that it takes.

The explanation is pure: it evaluates the parts of the rule's statement for the message, one by one.
What happened to the actions is in the event log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree
from creeklab.cloud.rules.rule import CompiledRule
from creeklab.cloud.rules.sql import tree
from creeklab.cloud.rules.sql.evaluate import Compiler, Scope
from creeklab.cloud.rules.sql.functions.function import MessageContext
from creeklab.cloud.rules.sql.values import (
    UNDEFINED,
    EvaluationStopped,
    Value,
    from_json,
    is_number,
    normalizer,
    to_boolean,
    to_json,
    to_number,
)

MAX_VALUE = 200
"""Characters of a value that an explanation shows."""

Outcome = Literal["fires", "disabled", "filter", "condition", "stopped"]


@dataclass(frozen=True, slots=True)
class Operand:
    """A part of WHERE and its value.

    Attributes
    ----------
    text
        The part, as the statement has it.
    value
        Its value in JSON, or ``undefined``.
    note
        Why it is undefined, or why it is not true; empty if it is fine.
    """

    text: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a rule does with a message.

    Attributes
    ----------
    outcome
        ``fires``, or what prevents it.
    summary
        One sentence.
    operands
        The conditions of WHERE with the values that they compare.
    change
        The smallest change that makes the rule fire; empty if it fires, or if none is known.
    payload
        The outgoing payload, if it fires.
    """

    rule: str
    topic: str
    outcome: Outcome
    summary: str
    operands: list[Operand] = field(default_factory=list)
    change: str = ""
    payload: str = ""


def explain(
    rule: CompiledRule, message: MessageContext, dollar_topics: str, *, basic_ingest: bool = False
) -> Explanation:
    """Return why a rule fires for a message, or why it does not.

    Parameters
    ----------
    basic_ingest
        Whether the message was published to the rule's Basic Ingest topic, so that its filter does
        not matter.
    """
    name, topic = rule.name, message.topic
    if rule.rule.disabled:
        summary = f"The rule '{name}' is disabled."
        return Explanation(name, topic, "disabled", summary, change="Enable it: EnableTopicRule.")
    if not basic_ingest and not _filter_matches(rule.topic_filter, topic, dollar_topics):
        summary, change = _explain_filter(name, rule.topic_filter, topic)
        return Explanation(name, topic, "filter", summary, change=change)
    try:
        scope = rule.statement.open(message)
        operands = list(_Conditions(rule, scope).operands())
        if rule.statement.condition(scope) is not True:
            return _explain_condition(name, message, scope, operands)
        payload = rule.statement.result(scope).decode(errors="replace")
    except EvaluationStopped as stopped:
        return Explanation(name, topic, "stopped", f"The rule '{name}' was stopped. {stopped}")
    summary = f"The rule '{name}' fires for this message."
    return Explanation(name, topic, "fires", summary, operands, payload=payload)


# --- FROM -----------------------------------------------------------------------------------------


def _filter_matches(topic_filter: str | None, topic: str, dollar_topics: str) -> bool:
    if topic_filter is None:
        return False
    single: SubscriptionTree[str, None] = SubscriptionTree(dollar_topics)
    single.add(topic_filter, "", None)
    return bool(single.match(topic).direct)


def _explain_filter(name: str, topic_filter: str | None, topic: str) -> tuple[str, str]:
    if topic_filter is None:
        return (
            f"The rule '{name}' has no FROM, so only Basic Ingest reaches it.",
            f"Publish to '$aws/rules/{name}/{topic}', or add FROM '{topic}'.",
        )
    summary = f"The filter '{topic_filter}' of the rule '{name}' does not match '{topic}'."
    filters, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and filters[0] in ("#", "+"):
        return summary, (
            "A wildcard in the first level does not match this topic, which begins with $. Write "
            f"FROM '{levels[0]}/#'."
        )
    same = 0  # levels that match
    while same < min(len(filters), len(levels)) and filters[same] in ("+", levels[same]):
        same += 1
    if same == len(levels) < len(filters) and filters[same] == "#":
        return summary, f"'{topic_filter}' does not match '{topic}' itself. Add a level."
    if same == len(filters):
        return summary, (
            f"The topic has more levels than the filter. FROM '{topic_filter}/#' matches it."
        )
    if same == len(levels):
        return summary, (
            f"The topic has {len(levels)} levels, and the filter {len(filters)}. "
            f"FROM '{'/'.join(filters[:same])}' matches it."
        )
    wanted, level = filters[same], levels[same]
    if len(levels) == len(filters):
        pairs = zip(filters[same:], levels[same:], strict=True)
        rest = [each if each in ("+", "#", other) else "+" for each, other in pairs]
    else:
        rest = ["#"]
    fixed = f"FROM '{'/'.join([*filters[:same], *rest])}'"
    if "*" in wanted:
        return summary, f"MQTT has no wildcard '*'. Use '+' for a level: {fixed}."
    if wanted.lower() == level.lower():
        return summary, f"'{wanted}' and '{level}' differ in their case."
    return (
        summary,
        f"Level {same + 1} is '{level}', and the filter has '{wanted}'. {fixed} matches it.",
    )


# --- WHERE ----------------------------------------------------------------------------------------


def _explain_condition(
    name: str, message: MessageContext, scope: Scope, operands: list[Operand]
) -> Explanation:
    summary = f"WHERE of the rule '{name}' is not true for this message."
    change = next((operand.note for operand in operands if operand.note), "")
    if scope.root is UNDEFINED:
        summary = f"The payload is not JSON, so WHERE of the rule '{name}' is not true."
        try:
            from_json(message.payload, normalizer(""))
        except UnicodeDecodeError:
            change = "The payload is not text. Use encode(*, 'base64') to pass it on."
        except ValueError as error:
            change = f"Correct the JSON: {error}."
    return Explanation(name, message.topic, "condition", summary, operands, change)


class _Conditions:
    """The conditions of a rule's WHERE, evaluated one by one."""

    def __init__(self, rule: CompiledRule, scope: Scope) -> None:
        self._where = rule.statement.tree.where
        self._sql = rule.rule.sql
        self._scope = scope
        self._compiler = Compiler(rule.rule.version)

    def operands(self) -> Iterator[Operand]:
        """Iterate over the conditions that AND and OR join, and over what each compares."""
        if self._where is not None:
            yield from self._condition(self._where, wanted=True)

    def _value(self, node: tree.Node) -> Value:
        return self._compiler.compile(node)(self._scope)

    def _text(self, node: tree.Node) -> str:
        return self._sql[node.span[0] : node.span[1]]

    def _condition(self, node: tree.Node, *, wanted: bool) -> Iterator[Operand]:
        match node:
            case tree.Logical(_, operands):
                for operand in operands:
                    yield from self._condition(operand, wanted=wanted)
            case tree.Not(operand):
                yield from self._condition(operand, wanted=not wanted)
            case _:
                value = self._value(node)
                fine = to_boolean(value) is wanted
                yield Operand(self._text(node), _shown(value), "" if fine else self._why(node))
                if isinstance(node, tree.Compare | tree.In):
                    for part in _compared(node):
                        if not isinstance(part, tree.Constant):
                            yield Operand(self._text(part), _shown(self._value(part)))

    def _why(self, node: tree.Node) -> str:
        """Return why a condition does not have the wanted value, and what to change."""
        for path in _paths(node):
            if self._value(path) is UNDEFINED:
                return self._missing(path, node)
        if isinstance(node, tree.Compare):
            return self._compare(node, *map(self._value, _compared(node)))
        return f"{self._text(node)} is {_shown(self._value(node))}."

    def _missing(self, path: tree.Path, node: tree.Node) -> str:
        container: Value = self._scope.root
        found: list[str] = []
        for name in path.names:
            if not isinstance(container, dict):
                where = ".".join(found) or "The payload"
                return f"{'.'.join(path.names)} is undefined: {where} is {_shown(container)}."
            if name not in container:
                return self._no_member(".".join((*found, name)), name, container, node)
            container = container[name]
            found.append(name)
        return f"{'.'.join(path.names)} is undefined."

    def _no_member(self, path: str, name: str, container: dict[str, Value], node: tree.Node) -> str:
        text = self._text(node)
        hyphenated = next((key for key in container if "-" in key and key in text), None)
        if hyphenated is not None:
            return (
                f"'{hyphenated}' is read as a subtraction. Write get(*, '{hyphenated}') for the "
                "member of this name."
            )
        same = next((key for key in container if key.lower() == name.lower()), None)
        near = same or next(iter(difflib.get_close_matches(name, container, 1)), None)
        if near is not None:
            return f"{path} is undefined: the payload has '{near}'. Write '{near}' in the rule."
        members = ", ".join(map(repr, list(container)[:8])) or "no members"
        return f"{path} is undefined: there are only {members}."

    def _compare(self, node: tree.Compare, left: Value, right: Value) -> str:
        text = f"{_shown(left)} {node.operator} {_shown(right)} is not true"
        if node.operator in ("=", "<>"):
            numbers = is_number(left) != is_number(right)
            if numbers and UNDEFINED not in (to_number(left), to_number(right)):
                side = self._text(node.left if isinstance(left, str) else node.right)
                return f"{text}: a string never equals a number. Write cast({side} AS Decimal)."
            if isinstance(left, bool) != isinstance(right, bool):
                return f"{text}: a Boolean equals only a Boolean. Write true without quotes."
        elif UNDEFINED in (to_number(left), to_number(right)):
            return f"{text}: {node.operator} compares numbers only. Compare strings with = or <>."
        return f"{text}. Change the message or the limit in {self._text(node)}."


def _compared(node: tree.Compare | tree.In) -> tuple[tree.Node, tree.Node]:
    return (node.element, node.array) if isinstance(node, tree.In) else (node.left, node.right)


def _paths(node: tree.Node) -> Iterator[tree.Path]:
    """Iterate over the attributes of the payload in an expression, but not in nested queries."""
    if isinstance(node, tree.Path):
        yield node
    elif not isinstance(node, tree.Query):
        for child in node.children():
            yield from _paths(child)


def _shown(value: Value) -> str:
    if value is UNDEFINED:
        return "undefined"
    text = to_json(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 3] + "..."
