"""Suggest the smallest change to a connection's policies that allows a request, and nothing else.

The change is found by trying: extend each Allow statement by just this request, correct each
statement that shows a slip, and add a statement to each policy. Of the changes that allow the
request, the shortest wins. A matching Deny is narrowed first, as far as the language of policies
permits. Warnings name what a change would allow or take away beyond the request.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from typing import Any

from creeklab.cloud.policy.authorizer import Authorizer
from creeklab.cloud.policy.binding import BoundStatement, Context
from creeklab.cloud.policy.document import VARIABLES_SINCE, MalformedPolicy, parse
from creeklab.cloud.policy.explain import Explanation, StatementResult, explain
from creeklab.cloud.policy.mismatches import ACTIONS, misspelt
from creeklab.cloud.policy.wildcards import plain

Document = dict[str, Any]

SLIPS = {
    *("partition", "service", "region", "account", "kind", "resource"),
    *("case", "slash", "mqtt-wildcard", "thing"),
}
"""Differences for which a line is corrected instead of added: it was meant for this request."""

NEW_POLICY = "NewPolicy"


@dataclass(frozen=True, slots=True)
class SuggestedChange:
    """A change to one policy.

    Attributes
    ----------
    policy
        Its name. If `before` is None, it is a new policy that must be attached too.
    before, after
        The current document and the suggested one.
    how
        The change, as a sentence.
    warnings
        What it allows or takes away beyond the request.
    """

    policy: str
    before: Document | None
    after: Document
    how: str
    warnings: tuple[str, ...] = ()

    @property
    def document(self) -> str:
        """The suggested document, as JSON."""
        return json.dumps(self.after, ensure_ascii=False)

    @property
    def diff(self) -> str:
        """The change by line: ``-`` marks removed lines, ``+`` added ones."""
        before = _lines(self.before) if self.before is not None else []
        lines = list(unified_diff(before, _lines(self.after), lineterm="", n=2))
        return "\n".join(line for line in lines[2:] if not line.startswith("@@"))


def suggest(
    documents: Mapping[str, str], context: Context, action: str, resource: str
) -> tuple[SuggestedChange, ...]:
    """Return the changes that together allow a request, one for each policy that changes.

    Parameters
    ----------
    documents
        The policies that apply to the connection, by name, in order of preference for a change.
    action, resource
        Such as ``"iot:Publish"`` and the full ARN of a topic.

    Returns
    -------
    tuple
        Empty if the request is allowed, or if no change allows it.
    """
    found: dict[str, SuggestedChange] = {}
    now = dict(documents)
    for name, after, warnings in _without_denials(now, context, action, resource):
        found[name] = SuggestedChange(
            name,
            json.loads(documents[name]),
            after,
            f"take {action} on {_name(resource)} out of what {name!r} denies",
            warnings,
        )
        now[name] = json.dumps(after)
    authorizer = _bound(now, context)
    decision = authorizer.decide(action, resource)
    if decision.denied:
        return ()
    if not decision.allows:
        best = min(_candidates(now, authorizer, action, resource), key=_length, default=None)
        if best is None:
            return ()
        first = found.get(best.policy)
        if first is not None:
            how, warnings = f"{first.how}; {best.how}", (*first.warnings, *best.warnings)
            best = SuggestedChange(best.policy, first.before, best.after, how, warnings)
        found[best.policy] = best
    return tuple(found.values())


def _lines(document: Document) -> list[str]:
    return json.dumps(document, indent=2, ensure_ascii=False).split("\n")


def _length(candidate: SuggestedChange) -> tuple[bool, int]:
    changed = sum(line.startswith(("+", "-")) for line in candidate.diff.split("\n"))
    return candidate.before is None, changed


def _bound(documents: Mapping[str, str], context: Context) -> Authorizer:
    return Authorizer([parse(text, name=name) for name, text in documents.items()], context)


def _name(resource: str) -> str:
    """Return a resource without the part that is the same for the whole account."""
    return repr(resource.split(":", 5)[-1])


def _as_list(members: Any) -> list[Any]:
    return members if isinstance(members, list) else [members]


def _unwrap(members: list[str]) -> str | list[str]:
    return members[0] if len(members) == 1 else members


# --- allowing -----------------------------------------------------------------------------------


def _candidates(
    documents: Mapping[str, str], authorizer: Authorizer, action: str, resource: str
) -> Iterator[SuggestedChange]:
    """Return the changes that allow a request that nothing denies."""
    explanation = explain(authorizer, action, resource)
    warnings = _general_warnings(explanation)
    changes = [
        change
        for bound, finding in zip(authorizer.statements, explanation.findings, strict=True)
        for change in _in_statement(documents, bound, finding, action, resource)
    ]
    changes += [
        change for name in documents for change in _added(name, documents[name], action, resource)
    ]
    for name, after, how, own in changes:
        if _allows(documents, name, after, authorizer.context, action, resource):
            yield SuggestedChange(name, json.loads(documents[name]), after, how, (*own, *warnings))
    after = _alone(action, resource)
    if _allows(documents, NEW_POLICY, after, authorizer.context, action, resource):
        how = "create a new policy for it, and attach it to the certificate"
        yield SuggestedChange(NEW_POLICY, None, after, how, warnings)


def _allows(
    documents: Mapping[str, str],
    name: str,
    after: Document,
    context: Context,
    action: str,
    resource: str,
) -> bool:
    try:
        changed = {**documents, name: json.dumps(after, ensure_ascii=False)}
        return _bound(changed, context).decide(action, resource).allows
    except MalformedPolicy:
        return False  # the document has become too long


def _exactly(resource: str, variables: bool) -> str | None:
    """Return a pattern that matches only this resource; None if the document cannot express it."""
    if resource == "*" or not re.search(r"[*?]|\$[{(]", resource):
        return resource
    return re.sub(r"[*?]|\$(?=[{(])", r"${\g<0>}", resource) if variables else None


def _alone(action: str, resource: str) -> Document:
    """Return a document that allows only this request."""
    statement = {"Effect": "Allow", "Action": action, "Resource": _exactly(resource, True)}
    return {"Version": VARIABLES_SINCE, "Statement": [statement]}


def _added(
    name: str, document: str, action: str, resource: str
) -> Iterator[tuple[str, Document, str, tuple[str, ...]]]:
    """Return the change that adds a statement to a document."""
    after = json.loads(document)
    exact = _exactly(resource, after.get("Version") == VARIABLES_SINCE)
    if exact is not None:
        statement = {"Effect": "Allow", "Action": action, "Resource": exact}
        after["Statement"] = [*_as_list(after["Statement"]), statement]
        yield name, after, f"add a statement that allows {action} on {_name(resource)}", ()


def _in_statement(
    documents: Mapping[str, str],
    bound: BoundStatement,
    finding: StatementResult,
    action: str,
    resource: str,
) -> Iterator[tuple[str, Document, str, tuple[str, ...]]]:
    """Return the changes to one statement that allow just this request."""
    statement, name = bound.statement, bound.policy.name
    exact = _exactly(resource, bound.policy.version == VARIABLES_SINCE)
    if (
        statement.effect != "Allow"
        or bound.unmet
        or statement.not_action
        or statement.not_resource
        or exact is None
    ):
        return
    label = f"statement {statement.index + 1}"
    if [each.lower() for each in statement.actions] == [action.lower()]:
        resources = list(statement.resources)
        after, changed = _copy(documents[name], statement.index)
        changed["Resource"] = [*resources, exact]
        yield name, after, f"add {_name(resource)} to the Resource of {label}", ()
        kinds = {each["kind"] for each in finding.differences}
        if "mqtt-wildcard" in kinds and action.lower() == "iot:subscribe":
            return  # the line has a use of its own
        if kinds and kinds <= SLIPS:
            slip = max(resources, key=lambda text: SequenceMatcher(None, text, resource).ratio())
            after, changed = _copy(documents[name], statement.index)
            corrected = [exact if text == slip else text for text in resources]
            changed["Resource"] = _unwrap(corrected)
            how = f"write {_name(resource)} in place of {_name(slip)} in {label}"
            gone = (f"It takes away what that line allowed: {action} on {_name(slip)}.",)
            useless = kinds & {"kind", "mqtt-wildcard"}  # the line never matched a request
            yield name, after, how, () if useless else gone
    if statement.resources == (exact,):
        for written in statement.actions:
            if misspelt(written, action):
                after, changed = _copy(documents[name], statement.index)
                actions = [action if each == written else each for each in statement.actions]
                changed["Action"] = _unwrap(actions)
                yield name, after, f"write {action} in place of {written} in {label}", ()
                return
        after, changed = _copy(documents[name], statement.index)
        changed["Action"] = [*statement.actions, action]
        yield name, after, f"add {action} to the Action of {label}", ()


def _copy(document: str, index: int) -> tuple[Document, Document]:
    """Return a new copy of a document, and the statement in it that will change."""
    after = json.loads(document)
    return after, _as_list(after["Statement"])[index]


def _general_warnings(explanation: Explanation) -> tuple[str, ...]:
    found = [explanation.warning] if explanation.warning else []
    closest = explanation.closest
    if closest is None:
        return tuple(found)
    for difference, text, advice in zip(
        closest.differences, closest.differs, closest.advice, strict=True
    ):
        if difference["kind"] == "variable":
            found.append(f"Fix the cause instead: {text}; {advice}.")
        elif difference["kind"] in ("mqtt-wildcard", "prefix"):
            stem = plain(difference["said"]).rstrip("#+/*")
            found.append(
                f"To allow everything that starts with {stem!r}, {advice}. That is broader."
            )
    return tuple(found)


# --- denying less -------------------------------------------------------------------------------


def _without_denials(
    documents: Mapping[str, str], context: Context, action: str, resource: str
) -> Iterator[tuple[str, Document, tuple[str, ...]]]:
    """Return each policy that denies the request, changed so that it does not."""
    denying: dict[str, list[BoundStatement]] = {}
    for bound in _bound(documents, context).statements:
        if bound.statement.effect == "Deny" and bound.matches(action, resource):
            denying.setdefault(bound.policy.name, []).append(bound)
    for name, found in denying.items():
        after = json.loads(documents[name])
        statements = [[each] for each in _as_list(after["Statement"])]
        warnings: list[str] = []
        for bound in found:
            if bound.statement.not_action or bound.statement.not_resource:
                return
            index = bound.statement.index
            statements[index] = _narrowed(statements[index][0], bound, action, resource)
            freed = [each.written for each in bound.resources if each.covers(resource)]
            warnings += [
                f"A Deny has no exceptions: {action} on all of {_name(text)} is no longer denied."
                for text in freed
                if text != _exactly(resource, bound.policy.version == VARIABLES_SINCE)
            ]
        after["Statement"] = [each for parts in statements for each in parts]
        if not after["Statement"]:
            # A policy needs a statement, so this one allows the request.
            after = _alone(action, resource)
        yield name, after, tuple(warnings)


def _narrowed(
    statement: Document, bound: BoundStatement, action: str, resource: str
) -> list[Document]:
    """Split a Deny so that it no longer denies `action` on the patterns that match `resource`."""
    others = [
        each
        for pattern in _as_list(statement["Action"])
        for each in _expand(pattern, action)
        if each.lower() != action.lower()
    ]
    remaining = [each.written for each in bound.resources if not each.covers(resource)]
    parts = []
    if others:
        parts.append({**statement, "Action": _unwrap(others)})
    if remaining:
        part = {**copy.deepcopy(statement), "Action": action, "Resource": _unwrap(remaining)}
        if others:
            part.pop("Sid", None)
        parts.append(part)
    return parts


def _expand(pattern: str, action: str) -> list[str]:
    """Return the actions that a pattern matches, if `action` is one of them."""
    as_regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    if not re.fullmatch(as_regex, action, re.IGNORECASE):
        return [pattern]
    return [each for each in ACTIONS if re.fullmatch(as_regex, each, re.IGNORECASE)]
