"""The engine: which rules a message matches, and what their statements say about it.

Each message of the publish path is matched and evaluated at once; what remains to do is an
`Execution`, which the executor runs later, so no sender waits for an action.

A rule that publishes into its own input would run forever. An execution therefore knows the rules
that led to it (`Cascade`), and a message that is too many hops away from the original one, or one
of too many, is not evaluated. AWS does not stop such loops.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field

from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.mqtt.interfaces import PublishedMessage
from creeklab.cloud.mqtt.routing.topic_tree import SubscriptionTree
from creeklab.cloud.rules.rule import BASIC_INGEST, CompiledRule
from creeklab.cloud.rules.sql.evaluate import Parsed, Scope
from creeklab.cloud.rules.sql.functions.function import MessageContext
from creeklab.cloud.rules.sql.values import UNDEFINED, EvaluationStopped

MAX_CACHED_TOPICS = 10_000
MAX_HOPS = 10
MAX_CASCADE = 100
"""Executions that one original message can cause."""

PAUSE_SECONDS = 1.0
"""How long a rule receives no messages after its statement took too long."""


@dataclass(slots=True)
class Cascade:
    """The executions that one original message has caused so far."""

    executions: int = 0


@dataclass(slots=True)
class Execution:
    """A message for which the actions of a rule run.

    Attributes
    ----------
    payload
        The outgoing payload.
    rules
        The rules that led to the message, and this one, oldest first.
    durable
        Whether its sender gets an acknowledgment, so that the execution has to survive a restart.
    number
        Its number in the store; 0 if it is not stored.
    """

    rule: CompiledRule
    scope: Scope
    payload: bytes
    rules: tuple[str, ...]
    cascade: Cascade
    durable: bool = False
    number: int = 0

    @property
    def message(self) -> MessageContext:
        """The message that caused it."""
        return self.scope.message


@dataclass(slots=True)
class _Origin:
    """Where the message that is being published comes from."""

    rules: tuple[str, ...] = ()
    cascade: Cascade = field(default_factory=Cascade)


_ORIGIN: ContextVar[_Origin | None] = ContextVar("origin of what is published", default=None)


class RuleEngine:
    """The rules of one account.

    Parameters
    ----------
    submit
        Receives the executions.
    clock, timer
        Seconds since the epoch, and seconds that never go back.
    """

    def __init__(
        self,
        account: str,
        dollar_topics: str,
        event_log: EventLog,
        submit: Callable[[Execution], None],
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self._account = account
        self._event_log = event_log
        self._submit = submit
        self._clock = clock
        self._timer = timer
        self._rules: dict[str, CompiledRule] = {}
        self._matches: dict[str, tuple[CompiledRule, ...]] = {}
        self._tree: SubscriptionTree[str, CompiledRule] = SubscriptionTree(dollar_topics)

    # --- rules --------------------------------------------------------------------------------

    def put(self, rule: CompiledRule) -> None:
        """Add a rule, or replace the one of its name."""
        self.remove(rule.name)
        self._rules[rule.name] = rule
        if rule.topic_filter is not None and not rule.rule.disabled:
            self._tree.add(rule.topic_filter, rule.name, rule)
        self._matches.clear()

    def remove(self, name: str) -> None:
        """Remove a rule if it exists."""
        rule = self._rules.pop(name, None)
        if rule is not None and rule.topic_filter is not None:
            self._tree.remove(rule.topic_filter, name)
        self._matches.clear()

    def get(self, name: str) -> CompiledRule | None:
        """Return the rule of a name."""
        return self._rules.get(name)

    def all(self) -> Iterable[CompiledRule]:
        """Return all rules."""
        return self._rules.values()

    def matches(self, topic: str) -> tuple[CompiledRule, ...]:
        """Return the rules whose filter matches a topic."""
        found = self._matches.get(topic)
        if found is None:
            if len(self._matches) >= MAX_CACHED_TOPICS:
                self._matches.clear()
            found = tuple(options[0] for _, options in self._tree.match(topic).direct)
            self._matches[topic] = found
        return found

    # --- messages -----------------------------------------------------------------------------

    def on_message(self, message: PublishedMessage) -> bool:
        """Evaluate the rules for a message; return whether a Basic Ingest rule received it."""
        if not self._rules:
            return False
        topic = message.topic
        if topic.startswith(BASIC_INGEST):
            return self._on_basic_ingest(message)
        rules = self.matches(topic)
        if rules:
            self._evaluate(rules, message, topic)
        return False

    def _on_basic_ingest(self, message: PublishedMessage) -> bool:
        name, _, topic = message.topic.removeprefix(BASIC_INGEST).partition("/")
        rule = self._rules.get(name)
        if rule is None or rule.rule.disabled:
            self._event_log.metrics.count("RuleNotFound")
            if rule is not None:
                why = f"The rule '{name}' is disabled, so nothing received the message."
                self._event_log.append(
                    "unanswered", client_id=message.client_id, topic=message.topic, why=why
                )
            return rule is not None
        self._evaluate((rule,), message, topic)
        return True

    def _evaluate(
        self, rules: Iterable[CompiledRule], message: PublishedMessage, topic: str
    ) -> None:
        sender, origin = message.sender, _ORIGIN.get() or _Origin()
        context = MessageContext(
            topic,
            message.payload,
            sender.client_id,
            sender.principal,
            sender.source_ip,
            self._account,
            str(uuid.uuid4()),
            int(self._clock() * 1000),
            message.properties or {},
        )
        parsed: Parsed = {}
        durable = message.qos > 0 and message.source != "service"
        for rule in rules:
            execution = self._evaluate_one(rule, context, parsed, origin)
            if execution is not None:
                execution.durable = durable
                self._submit(execution)

    def _evaluate_one(
        self, rule: CompiledRule, context: MessageContext, parsed: Parsed, origin: _Origin
    ) -> Execution | None:
        self.count(rule, "TopicMatch")
        if rule.paused_until and self._timer() < rule.paused_until:
            self.count(rule, "RuleMessageThrottled")
            return None
        if len(origin.rules) >= MAX_HOPS or origin.cascade.executions >= MAX_CASCADE:
            self._report(rule, context, _loop(rule.name, origin))
            return None
        try:
            scope = rule.statement.open(context, parsed)
            if scope.root is UNDEFINED and rule.reads_json:
                self.count(rule, "ParseError")
            if rule.statement.condition(scope) is not True:
                return None
            payload = rule.statement.result(scope)
        except EvaluationStopped as stopped:
            rule.paused_until = self._timer() + PAUSE_SECONDS
            self._report(rule, context, f"The rule '{rule.name}' was stopped. {stopped}")
            return None
        self.count(rule, "RulesExecuted")
        origin.cascade.executions += 1
        return Execution(rule, scope, payload, (*origin.rules, rule.name), origin.cascade)

    def repeat(self, rule: CompiledRule, context: MessageContext) -> Execution | None:
        """Evaluate a rule again for a message of an earlier run of the cloud."""
        execution = self._evaluate_one(rule, context, {}, _Origin())
        if execution is not None:
            execution.durable = True
        return execution

    def count(self, rule: CompiledRule, metric: str) -> None:
        """Count a metric, for the account and for the rule."""
        self._event_log.metrics.count(metric)
        rule.counts[metric] = rule.counts.get(metric, 0) + 1

    def _report(self, rule: CompiledRule, context: MessageContext, summary: str) -> None:
        self._event_log.append(
            "rule",
            rule=rule.name,
            client_id=context.client_id,
            topic=context.topic,
            refusal={"summary": summary},
        )


def attribute_to(execution: Execution) -> None:
    """Attribute everything that the current task publishes from now on to an execution."""
    _ORIGIN.set(_Origin(execution.rules, execution.cascade))


def _loop(name: str, origin: _Origin) -> str:
    path = " -> ".join((*origin.rules[-4:], name))
    limit = f"{MAX_HOPS} hops" if len(origin.rules) >= MAX_HOPS else f"{MAX_CASCADE} executions"
    return (
        f"The rule '{name}' did not run: rules publish to topics that rules listen to, and this "
        f"message is the result of {limit} ({path}). AWS would not stop this loop. Republish to a "
        "topic that no FROM matches."
    )
