"""A rule: its description as in the API, and the compiled form that messages are evaluated with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from creeklab.cloud.mqtt.routing.topic_tree import InvalidTopic, check_filter
from creeklab.cloud.rules.actions.action import (
    Action,
    ActionFactory,
    InvalidAction,
    Members,
    RuleContext,
)
from creeklab.cloud.rules.sql.evaluate import CompiledStatement
from creeklab.cloud.rules.sql.parser import parse_statement
from creeklab.cloud.rules.sql.tokens import SqlError
from creeklab.cloud.rules.sql.values import VERSION_2015, VERSIONS

BASIC_INGEST = "$aws/rules/"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, as the API describes it.

    Attributes
    ----------
    payload
        ``topicRulePayload`` of CreateTopicRule.
    created
        Seconds since the epoch.
    """

    name: str
    payload: Mapping[str, Any]
    created: float

    @property
    def sql(self) -> str:
        """Its statement."""
        return str(self.payload["sql"])

    @property
    def version(self) -> str:
        """Version of its SQL; the API's default is the old one."""
        return str(self.payload.get("awsIotSqlVersion", VERSION_2015))

    @property
    def disabled(self) -> bool:
        """Whether it receives no messages."""
        return bool(self.payload.get("ruleDisabled", False))


@dataclass(slots=True, eq=False)
class CompiledRule:
    """A rule that can be evaluated.

    Attributes
    ----------
    paused_until
        After a statement was stopped because it took too long: when its messages are evaluated
        again, in seconds of the engine's timer.
    counts
        Its metrics since the cloud was started.
    """

    rule: Rule
    statement: CompiledStatement
    actions: list[Action]
    error_action: Action | None
    reads_json: bool
    paused_until: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name."""
        return self.rule.name

    @property
    def topic_filter(self) -> str | None:
        """The filter in FROM; None if only Basic Ingest can reach it."""
        return self.statement.tree.topic_filter


def compile_rule(rule: Rule, arn: str, factories: Mapping[str, ActionFactory]) -> CompiledRule:
    """Check a rule, and compile its statement and templates.

    Raises
    ------
    SqlError
        If the statement, its topic filter or a template is not valid.
    InvalidAction
        If the version or an action is not valid, or this cloud does not have the action.
    """
    if rule.version not in VERSIONS:
        raise InvalidAction(
            f"'{rule.version}' is not a version of the SQL. Versions: {', '.join(VERSIONS)}."
        )
    tree = parse_statement(rule.sql, rule.version)
    if tree.topic_filter is not None:
        _check_filter(tree.topic_filter, rule.sql, tree.filter_at)
    variables = frozenset(each.name for each in tree.variables)
    context = RuleContext(arn, rule.version, variables)
    error_action = rule.payload.get("errorAction")
    statement = CompiledStatement(tree, rule.version)
    return CompiledRule(
        rule,
        statement,
        [_action(each, factories, context) for each in rule.payload["actions"]],
        None if error_action is None else _action(error_action, factories, context),
        statement.reads_json,
    )


def _action(
    action: Members, factories: Mapping[str, ActionFactory], context: RuleContext
) -> Action:
    if len(action) != 1:
        kinds = ", ".join(action) or "none"
        raise InvalidAction(f"An action has exactly one kind; this one has: {kinds}.")
    [(kind, members)] = action.items()
    if kind not in factories:
        raise InvalidAction(
            f"This cloud does not have the action '{kind}'. It has: {', '.join(sorted(factories))}."
        )
    return factories[kind](members, context)


def _check_filter(topic_filter: str, sql: str, offset: int) -> None:
    problem = None
    if "${" in topic_filter:
        problem = "A topic filter cannot contain a substitution template. Use + for a level."
    elif topic_filter.startswith("$share/"):
        problem = "A rule cannot be a member of a shared subscription. Remove $share/<name>/."
    elif topic_filter.startswith(BASIC_INGEST):
        problem = (
            "FROM cannot name a Basic Ingest topic. Publish to $aws/rules/<rule>/... without it: "
            "the rule of this name receives the message whatever its FROM says."
        )
    else:
        try:
            check_filter(topic_filter)
        except InvalidTopic as error:
            problem = str(error)
    if problem is not None:
        raise SqlError(problem, sql, offset)
