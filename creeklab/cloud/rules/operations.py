"""Operations of ``iot`` on topic rules."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from creeklab.cloud.errors import ServiceError
from creeklab.cloud.rules.rules import Rules
from creeklab.cloud.storage.database import Page

Members = dict[str, Any]

DEFAULT_PAGE = 100


class RuleOperations:
    """The operations for one account."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def create_topic_rule(
        self, *, ruleName: str, topicRulePayload: Members, tags: str = ""
    ) -> None:
        """Create a rule; `tags` are encoded as in a query string."""
        try:
            pairs = dict(parse_qsl(tags, keep_blank_values=True, strict_parsing=bool(tags)))
        except ValueError:
            raise ServiceError(
                "InvalidRequestException", "The tags are not of the form key=value&key=value."
            ) from None
        self._rules.create(ruleName, topicRulePayload, pairs)

    def replace_topic_rule(self, *, ruleName: str, topicRulePayload: Members) -> None:
        """Replace a rule."""
        self._rules.replace(ruleName, topicRulePayload)

    def get_topic_rule(self, *, ruleName: str) -> Members:
        """Return a rule."""
        rule = self._rules.get(ruleName)
        return {
            "ruleArn": self._rules.arn(ruleName),
            "rule": {
                "ruleName": rule.name,
                "createdAt": rule.created,
                **rule.payload,
                "ruleDisabled": rule.disabled,
                "awsIotSqlVersion": rule.version,
            },
        }

    def list_topic_rules(
        self,
        *,
        topic: str | None = None,
        ruleDisabled: bool | None = None,
        maxResults: int = DEFAULT_PAGE,
        nextToken: str | None = None,
    ) -> Members:
        """List the rules, only those with exactly the filter `topic` if it is given."""
        rules, token = self._rules.page(Page(maxResults, nextToken), topic, ruleDisabled)
        return {
            "rules": [
                {
                    "ruleArn": self._rules.arn(each.name),
                    "ruleName": each.name,
                    "topicPattern": each.topic_filter,
                    "createdAt": each.rule.created,
                    "ruleDisabled": each.rule.disabled,
                }
                for each in rules
            ],
            "nextToken": token,
        }

    def delete_topic_rule(self, *, ruleName: str) -> None:
        """Delete a rule."""
        self._rules.delete(ruleName)

    def enable_topic_rule(self, *, ruleName: str) -> None:
        """Enable a rule."""
        self._rules.set_disabled(ruleName, False)

    def disable_topic_rule(self, *, ruleName: str) -> None:
        """Disable a rule."""
        self._rules.set_disabled(ruleName, True)
