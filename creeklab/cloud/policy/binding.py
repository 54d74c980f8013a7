"""A statement as it reads for one connection.

Binding replaces the variables of a statement by the connection's values and evaluates its
conditions, which depend only on the connection. All that remains to be checked is whether a request
is among the statement's actions and resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from creeklab.cloud.policy.conditions import is_met
from creeklab.cloud.policy.document import VARIABLES_SINCE, Condition, Policy, Statement
from creeklab.cloud.policy.wildcards import Glob, covers, fill, glob, literal, prefix

Context = Mapping[str, str | tuple[str, ...]]
"""What is known of a connection: values of condition keys and variables by name, without ``${}``.

An absent key has no value. A tuple holds several values (``iot:ConnectAttributes``,
``iot:Certificate.Subject.OrganizationalUnit.List``) and is used only in conditions. The states of
``iot:Connection.Thing.IsAttached`` let an explanation say why a Thing variable is empty: absent
(no Thing has the client ID as its name), ``"false"`` (the certificate is not attached to it),
``"true"``.
"""

MAX_CERTIFICATE_VALUE = 1024
"""Longest certificate attribute in a variable, in characters (AWS IoT developer guide,
"X.509 certificate policy variables")."""


@lru_cache(maxsize=1024)  # all connections use the same few names
def normalize(name: str) -> str:
    """Return the name of a variable or condition key in lower case, for comparing names.

    Key names are not case-sensitive (IAM user guide, condition keys), but the name of a Thing's
    attribute, in brackets, is.
    """
    head, bracket, attribute = name.partition("[")
    return head.lower() + bracket + attribute


class BoundResource(NamedTuple):
    """A resource of a statement: its text, and the pattern with the connection's values in it.

    `missing` names the variables without a value. If there are any, the pattern covers nothing.
    """

    text: str
    pattern: str
    missing: tuple[str, ...]

    def covers(self, resource: str) -> bool:
        """Return whether all variables have values and the pattern matches `resource`."""
        return not self.missing and covers(self.pattern, resource)


class UnmetCondition(NamedTuple):
    """A condition that the connection does not meet.

    `expected` are the policy's values, filled; `actual` are those of the connection. `missing`
    names the variables in `expected` that have no value: then nothing is compared.
    """

    condition: Condition
    expected: tuple[str, ...]
    actual: tuple[str, ...]
    missing: tuple[str, ...]


class BoundStatement(NamedTuple):
    """A statement as it reads for one connection."""

    policy: Policy
    statement: Statement
    actions: tuple[Glob, ...]
    resources: tuple[BoundResource, ...]
    unmet: tuple[UnmetCondition, ...]
    missing: tuple[str, ...]
    prefixes: tuple[str, ...]

    def names(self, action: str) -> bool:
        """Return whether the statement is about `action`, ignoring case."""
        action = _ascii_lower(action)
        return any(pattern.matches(action) for pattern in self.actions)

    def covers(self, resource: str) -> bool:
        """Return whether the statement is about `resource`."""
        # One fast comparison rules out most statements.
        return resource.startswith(self.prefixes) and any(
            pattern.covers(resource) for pattern in self.resources
        )

    def matches(self, action: str, resource: str) -> bool:
        """Return whether the statement applies to this request."""
        return not self.unmet and self.names(action) and self.covers(resource)


def bind(policy: Policy, statement: Statement, context: Context) -> BoundStatement:
    """Bind a statement to a context whose names are normalized."""

    def filled(text: str) -> tuple[str, tuple[str, ...]]:
        if policy.version == VARIABLES_SINCE:
            return fill(text, lambda name: _value(name, context))
        return text.replace("$", literal("$")), ()

    resources = tuple(BoundResource(text, *filled(text)) for text in statement.resources)
    unmet = []
    for condition in statement.conditions:
        values = [filled(value) for value in condition.values]
        expected = tuple(pattern for pattern, _ in values)
        missing = tuple(name for _, names in values for name in names)
        value = context.get(normalize(condition.key), ())
        actual = (value,) if isinstance(value, str) else value
        if missing or not is_met(condition.operator, expected, actual):
            unmet.append(UnmetCondition(condition, expected, actual, missing))
    names = [name for bound in resources for name in bound.missing]
    for condition, _, actual, missing in unmet:
        names += missing
        if not actual and condition.operator != "Null":
            names.append(condition.key)
    return BoundStatement(
        policy,
        statement,
        tuple(glob(_ascii_lower(action)) for action in statement.actions),
        resources,
        tuple(unmet),
        tuple(dict.fromkeys(names)),
        tuple(prefix(bound.pattern) for bound in resources if not bound.missing),
    )


def _ascii_lower(text: str) -> str:
    # Outside ASCII, lower() equates letters: the Kelvin sign becomes a k.
    return text.lower() if text.isascii() else text


def _value(name: str, context: Context) -> str | None:
    name = normalize(name)
    value = context.get(name)
    if not isinstance(value, str):
        return None
    unusable = len(value) > MAX_CERTIFICATE_VALUE or set("*?$+#") & set(value)
    return None if unusable and name.startswith("iot:certificate.") else value
