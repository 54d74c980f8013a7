"""The policy documents of a role: its inline policies and its trust policy. Pure.

The statements of both have the grammar of `creeklab.cloud.policy`, which also evaluates them. A
trust policy names principals instead of resources: for one principal, `bind_trust` turns it into a
policy on the resource ``*``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from creeklab.cloud.policy import Authorizer, Context, MalformedPolicy, Policy, parse

MAX_TRUST_SIZE = 2048
MAX_INLINE_SIZE = 10_240
"""Characters without white space: of a trust policy, and of all inline policies of a role."""
ASSUME_ROLE = "sts:AssumeRole"

_IOT_PREFIX = re.compile(r"Policy document is Malformed: (Invalid policy syntax\. )?")
_PRINCIPALS = ("Service", "AWS", "Federated", "CanonicalUser")


def size(document: str) -> int:
    """Return the number of characters that count toward IAM's quotas: all but white space."""
    return sum(map(len, document.split()))


def parse_inline(document: str, name: str = "") -> Policy:
    """Return an inline policy, parsed.

    Raises
    ------
    ValueError
        If IAM would reject it, or if it has an element that this cloud does not evaluate.
    """
    for statement in _statements(document):
        if statement.keys() & {"Principal", "NotPrincipal"}:
            raise ValueError("Policy document should not specify a principal.")
    return _parse(document, name)


def check_trust(document: str) -> None:
    """Raise `ValueError` if a document is not a trust policy."""
    if size(document) > MAX_TRUST_SIZE:
        raise ValueError(f"It has more than {MAX_TRUST_SIZE} characters without white space.")
    for statement in _statements(document):
        if "Resource" in statement:
            raise ValueError("Has prohibited field Resource.")
        principal = statement.get("Principal")
        if principal is None:
            raise ValueError("Missing required field Principal.")
        actions = _as_list(statement.get("Action"))
        if not all(isinstance(each, str) and each.startswith("sts:") for each in actions):
            raise ValueError("AssumeRole policy may only specify STS AssumeRole actions.")
        if principal == "*":
            continue
        if not isinstance(principal, dict) or not principal.keys() <= set(_PRINCIPALS):
            raise ValueError(f"Principal must be an object with one of {', '.join(_PRINCIPALS)}.")
        for service in _as_list(principal.get("Service", [])):
            if not (isinstance(service, str) and service.endswith(".amazonaws.com")):
                raise ValueError(f'Invalid principal in policy: "SERVICE":"{service}"')
    _parse(_without_principals(document, lambda _: True))


def bind_trust(document: str, service: str, context: Context) -> Authorizer:
    """Return the decisions of a trust policy about a service such as ``iot.amazonaws.com``."""

    def applies(principal: Any) -> bool:
        if isinstance(principal, dict):
            return service in _as_list(principal.get("Service", []))
        return bool(principal == "*")

    if not any(applies(statement.get("Principal")) for statement in _statements(document)):
        return Authorizer([], context)
    return Authorizer([_parse(_without_principals(document, applies), "trust policy")], context)


def _without_principals(document: str, applies: Callable[[Any], bool]) -> str:
    """Return a policy with the statements whose principal applies."""
    content = json.loads(document)
    statements = [
        {name: value for name, value in statement.items() if name != "Principal"}
        | {"Resource": "*"}
        for statement in _statements(document)
        if applies(statement.get("Principal"))
    ]
    return json.dumps({**content, "Statement": statements})


def _parse(document: str, name: str = "") -> Policy:
    try:
        return parse(document, name=name, max_size=MAX_INLINE_SIZE)
    except MalformedPolicy as error:
        raise ValueError(f"Syntax errors in policy. {_IOT_PREFIX.sub('', str(error))}") from None


def _statements(document: str) -> list[Mapping[str, Any]]:
    """Return the statements of a document, as far as it has the form of one."""
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        raise ValueError("This policy contains invalid Json") from None
    found = _as_list(content.get("Statement", []) if isinstance(content, dict) else None)
    if not all(isinstance(statement, dict) for statement in found):
        raise ValueError("Syntax errors in policy. A statement must be a JSON object, in braces.")
    for statement in found:
        for name in ("NotAction", "NotResource", "NotPrincipal"):
            if name in statement:
                raise ValueError(f"This local cloud does not evaluate {name}. AWS does.")
    return found


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
