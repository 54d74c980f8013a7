"""Bind statements to one connection.

Binding replaces the variables of a statement by the connection's values and evaluates its
conditions, which depend on the connection alone. A bound statement then only has to be compared
with the action and resource of a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from creeklab.cloud.policy.conditions import fulfilled
from creeklab.cloud.policy.document import VARIABLES_SINCE, Condition, Policy, Statement
from creeklab.cloud.policy.wildcards import covers, fill, glob, literal

Context = Mapping[str, str | tuple[str, ...]]
"""Values of a connection: condition keys and variables by name, without ``${}``.

An absent key has no value. A tuple is a key with several values (``iot:ConnectAttributes``,
``iot:Certificate.Subject.OrganizationalUnit.List``), for conditions only. Three states of
``iot:Connection.Thing.IsAttached`` let an explanation say why a Thing variable is empty: absent (no
Thing is named like the client id), ``"false"`` (the certificate is not attached to that Thing),
``"true"``.
"""

MAX_CERTIFICATE_VALUE = 1024
"""Longest certificate attribute that a variable can have, in characters (AWS IoT developer guide,
"X.509 certificate policy variables")."""


@lru_cache(maxsize=1024)  # all connections use the same few names
def key(name: str) -> str:
    """Return the normalized name of a variable or condition key, for comparisons.

    Key names ignore case (IAM user guide, condition keys); the name of a Thing's attribute, in
    brackets, does not.
    """
    head, bracket, attribute = name.partition("[")
    return head.lower() + bracket + attribute


class BoundResource(NamedTuple):
    """A resource pattern of a statement, with the connection's values."""

    written: str
    pattern: str
    missing: tuple[str, ...]

    def covers(self, resource: str) -> bool:
        """Return whether the pattern matches `resource` and all its variables have values."""
        return not self.missing and covers(self.pattern, resource)


class UnmetCondition(NamedTuple):
    """A condition that the connection does not meet.

    `wanted` has the policy's filled values, `given` those of the connection. `missing` names the
    variables in `wanted` that have no value; then the condition is not met.
    """

    condition: Condition
    wanted: tuple[str, ...]
    given: tuple[str, ...]
    missing: tuple[str, ...]


class BoundStatement(NamedTuple):
    """A statement bound to one connection."""

    policy: Policy
    statement: Statement
    actions: tuple[re.Pattern[str], ...]
    resources: tuple[BoundResource, ...]
    unmet: tuple[UnmetCondition, ...]
    missing: tuple[str, ...]

    def names(self, action: str) -> bool:
        """Return whether the statement applies to `action`, ignoring case."""
        named = any(pattern.fullmatch(action) for pattern in self.actions)
        return named != self.statement.not_action

    def covers(self, resource: str) -> bool:
        """Return whether the statement applies to `resource`.

        A NotResource with a variable that has no value applies to nothing, because it is unknown
        what it excludes.
        """
        if self.statement.not_resource:
            unfilled = any(pattern.missing for pattern in self.resources)
            return not unfilled and not any(one.covers(resource) for one in self.resources)
        return any(pattern.covers(resource) for pattern in self.resources)

    def matches(self, action: str, resource: str) -> bool:
        """Return whether the statement applies to a request and its conditions are met."""
        return not self.unmet and self.names(action) and self.covers(resource)


def bind(policy: Policy, statement: Statement, context: Context) -> BoundStatement:
    """Bind a statement to a context whose names are normalized by `key`."""

    def filled(text: str) -> tuple[str, tuple[str, ...]]:
        if policy.version == VARIABLES_SINCE:
            return fill(text, lambda name: _value(name, context))
        return text.replace("$", literal("$")), ()

    resources = []
    for written in statement.resources:
        pattern, missing = filled(written)
        resources.append(BoundResource(written, pattern, missing))
    unmet = []
    for condition in statement.conditions:
        values = [filled(value) for value in condition.values]
        wanted = tuple(pattern for pattern, _ in values)
        missing = tuple(name for _, names in values for name in names)
        value = context.get(key(condition.key), ())
        given = (value,) if isinstance(value, str) else value
        if missing or not fulfilled(condition.operator, wanted, given):
            unmet.append(UnmetCondition(condition, wanted, given, missing))
    names = [name for bound in resources for name in bound.missing]
    for condition, _, given, missing in unmet:
        names += missing
        if not given and condition.operator != "Null":
            names.append(condition.key)
    return BoundStatement(
        policy,
        statement,
        tuple(glob(action, re.IGNORECASE | re.ASCII) for action in statement.actions),
        tuple(resources),
        tuple(unmet),
        tuple(dict.fromkeys(names)),
    )


def _value(name: str, context: Context) -> str | None:
    value = context.get(key(name))
    if not isinstance(value, str):
        return None
    from_certificate = key(name).startswith("iot:certificate.")
    if from_certificate and (len(value) > MAX_CERTIFICATE_VALUE or set("*?") & set(value)):
        return None
    return value
