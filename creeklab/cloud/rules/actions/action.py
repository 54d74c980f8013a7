"""What an action is."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from creeklab.cloud.rules.sql.evaluate import Scope
from creeklab.cloud.rules.sql.templates import Template

Members: TypeAlias = Mapping[str, Any]

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}")


class ActionFailed(Exception):
    """An action could not do its work; the message is the ``errorMessage`` of the error action."""


class InvalidAction(ValueError):
    """The members of an action are not valid; the message says why."""


class Prepared(NamedTuple):
    """An action that is ready to run for one message.

    Attributes
    ----------
    resource
        What it acts on, for the log and the error action.
    run
        Runs it; raises `ActionFailed`.
    """

    resource: str
    run: Callable[[], Awaitable[None]]


class Action(Protocol):
    """One action of a rule.

    Attributes
    ----------
    name
        The name in metrics and in the error action's document, such as ``RepublishAction``.
    """

    name: str

    def prepare(self, scope: Scope, payload: bytes) -> Prepared:
        """Evaluate the substitution templates for a message.

        Raises
        ------
        ActionFailed, EvaluationStopped
            If they do not give what the action needs.
        """


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What an action knows of its rule: its ARN, the version of its SQL, and its variables."""

    arn: str
    version: str
    variables: frozenset[str]

    def template(self, text: str) -> Template:
        """Compile a substitution template."""
        return Template(text, self.version, self.variables)


ActionFactory: TypeAlias = Callable[[Members, RuleContext], Action]
"""Builds an action from its members in the API; raises `InvalidAction` or `SqlError`."""


def check_role(arn: str) -> None:
    """Raise `InvalidAction` if this is not the ARN of a role."""
    if _ROLE.fullmatch(arn) is None:
        raise InvalidAction(
            f"'{arn}' is not the ARN of a role, such as arn:aws:iam::123456789012:role/creek."
        )
