"""The rules of an account: created, replaced and deleted, each checked before it is stored.

AWS answers ``UnauthorizedException`` for a rule that does not exist, which surprises people; the
message is AWS's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.monitoring.event_log import EventLog
from creeklab.cloud.registry import Registry
from creeklab.cloud.rules.actions.action import ActionFactory, InvalidAction
from creeklab.cloud.rules.engine import Execution, RuleEngine
from creeklab.cloud.rules.pending import PendingExecutions
from creeklab.cloud.rules.rule import CompiledRule, Rule, compile_rule
from creeklab.cloud.rules.sql.tokens import SqlError
from creeklab.cloud.rules.store import RuleStore
from creeklab.cloud.storage.database import Page

MAX_SQL_BYTES = 262_144


class Rules:
    """The rules of one account.

    Parameters
    ----------
    factories
        The actions that this cloud has, by their name in the API.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        store: RuleStore,
        engine: RuleEngine,
        registry: Registry,
        event_log: EventLog,
        factories: Mapping[str, ActionFactory],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._engine = engine
        self._registry = registry
        self._factories = factories
        self._clock = clock
        for rule in store.load():
            try:
                engine.put(compile_rule(rule, self.arn(rule.name), factories))
            except (SqlError, InvalidAction) as error:
                # Written by another version of creeklab, with a different language or actions.
                why = f"The rule '{rule.name}' does not run. {error}"
                event_log.append("rule", rule=rule.name, refusal={"summary": why})

    def arn(self, name: str) -> str:
        """Return the ARN of a rule."""
        return self._registry.arn("rule", name)

    def create(self, name: str, payload: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Create a rule."""
        if self._engine.get(name) is not None:
            raise ServiceError(
                "ResourceAlreadyExistsException",
                "Rule with given name already exists",
                resourceId=name,
                resourceArn=self.arn(name),
            )
        compiled = self._compile(Rule(name, payload, self._clock()))
        self._store.save(compiled.rule)
        if tags:
            try:
                self._registry.tags.put(self.arn(name), tags)
            except ServiceError:
                self._store.delete(name)
                raise
        self._engine.put(compiled)

    def replace(self, name: str, payload: Mapping[str, Any]) -> None:
        """Replace everything about a rule but its name, its age and its tags."""
        compiled = self._compile(replace(self.get(name), payload=payload))
        self._store.save(compiled.rule)
        self._engine.put(compiled)

    def set_disabled(self, name: str, disabled: bool) -> None:
        """Disable or enable a rule."""
        rule = self.get(name)
        self.replace(name, {**rule.payload, "ruleDisabled": disabled})

    def delete(self, name: str) -> None:
        """Delete a rule; deleting a missing one succeeds."""
        self._store.delete(name)
        self._engine.remove(name)

    def get(self, name: str) -> Rule:
        """Return a rule."""
        compiled = self._engine.get(name)
        if compiled is None:
            raise ServiceError("UnauthorizedException", f"Access to topic rule '{name}' was denied")
        return compiled.rule

    def page(
        self, page: Page, topic_filter: str | None, disabled: bool | None
    ) -> tuple[list[CompiledRule], str | None]:
        """List rules, only those with a topic filter or a state if given."""
        names = None
        if topic_filter is not None or disabled is not None:
            names = frozenset(
                each.name
                for each in self._engine.all()
                if topic_filter in (None, each.topic_filter)
                and disabled in (None, each.rule.disabled)
            )
        rules, token = self._store.page(page, names)
        found = [self._engine.get(rule.name) for rule in rules]
        return [each for each in found if each is not None], token

    def _compile(self, rule: Rule) -> CompiledRule:
        if len(rule.sql.encode()) > MAX_SQL_BYTES:
            raise ServiceError(
                "InvalidRequestException",
                f"The SQL statement is longer than {MAX_SQL_BYTES} bytes.",
            )
        try:
            return compile_rule(rule, self.arn(rule.name), self._factories)
        except SqlError as error:
            raise ServiceError("SqlParseException", str(error)) from None
        except InvalidAction as error:
            raise ServiceError("InvalidRequestException", str(error)) from None


def resume(
    pending: PendingExecutions, engine: RuleEngine, submit: Callable[[Execution], None]
) -> None:
    """Run the executions again that an earlier run of the cloud did not finish."""
    for stored in pending.load():
        rule = engine.get(stored.rule)
        if rule is None:
            pending.remove_number(stored.number)
            continue
        execution = engine.repeat(rule, stored.message)
        if execution is None:
            pending.remove_number(stored.number)
        else:
            execution.number = stored.number
            submit(execution)
