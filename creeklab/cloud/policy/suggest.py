"""The smallest change to the policies of a connection that allows a request, and nothing else.

It is found by trying. Each Allow statement that could be widened by just this request is widened,
each with a slip is corrected, and a statement is added to each policy. Of the changes that do allow
the request, the shortest wins. A matching Deny is first narrowed as far as the policy language
permits. Warnings say what a change allows or removes beyond the request.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from typing import Any

from creeklab.cloud.policy.authorizer import Authorizer
from creeklab.cloud.policy.binding import BoundStatement, Context
from creeklab.cloud.policy.document import VARIABLES_SINCE, MalformedPolicy, parse
from creeklab.cloud.policy.explain import Explanation, StatementResult, explain
from creeklab.cloud.policy.mismatches import ACTIONS, is_misspelling
from creeklab.cloud.policy.wildcards import covers, exactly, plain

Document = dict[str, Any]

SLIPS = {
    *("partition", "service", "region", "account", "kind", "resource"),
    *("case", "slash", "mqtt-wildcard", "thing"),
}
"""Mismatches for which a line is corrected instead of one added: it was meant for this request."""

NEW_POLICY = "NewPolicy"


@dataclass(frozen=True, slots=True)
class SuggestedChange:
    """A change to one policy.

    Attributes
    ----------
    policy
        Name of the policy. If `before` is None, it is a new one, to be attached too.
    before, after
        The document as it is and as it should be.
    how
        What to change, as an instruction.
    warnings
        What the change allows or removes beyond the request.
    """

    policy: str
    before: Document | None
    after: Document
    how: str
    warnings: tuple[str, ...] = ()

    @property
    def document(self) -> str:
        """The document as it should be, as JSON."""
        return json.dumps(self.after, ensure_ascii=False)

    @property
    def diff(self) -> str:
        """The change line by line: ``-`` marks lines to remove, ``+`` lines to add."""
        before = [] if self.before is None else _lines(self.before)
        lines = list(unified_diff(before, _lines(self.after), lineterm="", n=2))
        return "\n".join(line for line in lines[2:] if not line.startswith("@@"))


def suggest(
    documents: Mapping[str, str], context: Context, action: str, resource: str
) -> tuple[SuggestedChange, ...]:
    """Return the changes that together allow a request, at most one per policy.

    There are none if the request is allowed already or no change allows it. `documents` are the
    policies that apply to the connection, by name, in order of preference for a change.
    """
    found: dict[str, SuggestedChange] = {}
    current = dict(documents)
    for name, after, warnings in _without_denials(current, context, action, resource):
        how = f"remove {action} on {_short(resource)} from what {name!r} denies"
        before = json.loads(documents[name])
        found[name] = SuggestedChange(name, before, after, how, warnings)
        current[name] = json.dumps(after)
    authorizer = _bound(current, context)
    decision = authorizer.decide(action, resource)
    if decision.denied:
        return ()
    if not decision.allows:
        best = min(_candidates(current, authorizer, action, resource), key=_length, default=None)
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


def _short(resource: str) -> str:
    """Return a resource for a sentence: without the part that all ARNs of the account share."""
    return repr(resource.split(":", 5)[-1])


def _as_list(members: Any) -> list[Any]:
    return members if isinstance(members, list) else [members]


def _unwrap(members: list[str]) -> str | list[str]:
    return members[0] if len(members) == 1 else members


# --- allowing -----------------------------------------------------------------------------------


_Edit = tuple[str, Document, str, tuple[str, ...]]
"""A policy's name, its document after the edit, what to change, and warnings."""


def _candidates(
    documents: Mapping[str, str], authorizer: Authorizer, action: str, resource: str
) -> Iterator[SuggestedChange]:
    """Yield the changes that allow a request that nothing denies."""

    def allows(name: str, after: Document) -> bool:
        changed = {**documents, name: json.dumps(after, ensure_ascii=False)}
        try:
            return _bound(changed, authorizer.context).decide(action, resource).allows
        except MalformedPolicy:
            return False  # the document is now too long

    explanation = explain(authorizer, action, resource)
    warnings = _general_warnings(explanation)
    edits: list[_Edit] = []
    results = {(each.policy, each.statement): each for each in explanation.findings}
    for bound in authorizer.statements:
        result = results.get((bound.policy.name, bound.statement.index))
        if result is not None:
            edits += _edits_of_statement(documents, bound, result, action, resource)
    for name, document in documents.items():
        edits += _added_statement(name, document, action, resource)
    for name, after, how, own in edits:
        if allows(name, after):
            yield SuggestedChange(name, json.loads(documents[name]), after, how, (*own, *warnings))
    after = _only(action, resource)
    if allows(NEW_POLICY, after):
        how = "create a policy that allows just this, and attach it to the certificate"
        yield SuggestedChange(NEW_POLICY, None, after, how, warnings)


def _exact(resource: str, version: str | None) -> str | None:
    """Return the text that covers `resource` alone; None if this version cannot express it."""
    text = exactly(resource)
    return text if text == resource or version == VARIABLES_SINCE else None


def _allow(action: str, resource: str) -> Document:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def _only(action: str, resource: str) -> Document:
    """Return a document that allows this request and nothing else."""
    return {"Version": VARIABLES_SINCE, "Statement": [_allow(action, exactly(resource))]}


def _added_statement(name: str, document: str, action: str, resource: str) -> Iterator[_Edit]:
    """Add a statement to a document."""
    after = json.loads(document)
    exact = _exact(resource, after.get("Version"))
    if exact is not None:
        after["Statement"] = [*_as_list(after["Statement"]), _allow(action, exact)]
        yield name, after, f"add a statement that allows {action} on {_short(resource)}", ()


def _edits_of_statement(
    documents: Mapping[str, str],
    bound: BoundStatement,
    result: StatementResult,
    action: str,
    resource: str,
) -> Iterator[_Edit]:
    """Yield the edits that let one statement allow the request and nothing else."""
    statement, name = bound.statement, bound.policy.name
    exact = _exact(resource, bound.policy.version)
    if statement.effect != "Allow" or bound.unmet or exact is None:
        return
    label = f"statement {statement.index + 1}"
    resources, actions = list(statement.resources), list(statement.actions)

    def edit(element: str, value: str | list[str], how: str, *warnings: str) -> _Edit:
        after = json.loads(documents[name])
        _as_list(after["Statement"])[statement.index][element] = value
        return name, after, how, warnings

    if [each.lower() for each in actions] == [action.lower()]:
        how = f"add {_short(resource)} to the Resource of {label}"
        yield edit("Resource", [*resources, exact], how)
        kinds = {each["kind"] for each in result.differences}
        if "mqtt-wildcard" in kinds and action.lower() == "iot:subscribe":
            return  # a filter with # or + is useful as it is
        if kinds and kinds <= SLIPS:
            slip = max(resources, key=lambda text: SequenceMatcher(None, text, resource).ratio())
            fixed = _unwrap([exact if text == slip else text for text in resources])
            how = f"replace {_short(slip)} with {_short(resource)} in {label}"
            removed = f"This removes what that line allowed: {action} on {_short(slip)}."
            useless = kinds & {"kind", "mqtt-wildcard"}  # the line allowed nothing that can happen
            yield edit("Resource", fixed, how, *([] if useless else [removed]))
    if resources == [exact]:
        for misspelled in actions:
            if is_misspelling(misspelled, action):
                fixed = _unwrap([action if each == misspelled else each for each in actions])
                yield edit("Action", fixed, f"replace {misspelled} with {action} in {label}")
                return
        yield edit("Action", [*actions, action], f"add {action} to the Action of {label}")


def _general_warnings(explanation: Explanation) -> tuple[str, ...]:
    found = [explanation.warning] if explanation.warning else []
    closest = explanation.closest
    if closest is None:
        return tuple(found)
    for difference, text, advice in zip(
        closest.differences, closest.differs, closest.advice, strict=True
    ):
        if difference["kind"] == "variable":
            found.append(f"It is better to fix the cause: {text}; {advice}.")
        elif difference["kind"] in ("mqtt-wildcard", "prefix"):
            stem = plain(difference["expected"]).rstrip("#+/*")
            found.append(
                f"To allow everything that begins with {stem!r}, {advice}; this allows more."
            )
    return tuple(found)


# --- denying less -------------------------------------------------------------------------------


def _without_denials(
    documents: Mapping[str, str], context: Context, action: str, resource: str
) -> Iterator[tuple[str, Document, tuple[str, ...]]]:
    """Yield each policy that denies the request, changed so that it does not."""
    denying: dict[str, list[BoundStatement]] = {}
    for bound in _bound(documents, context).statements:
        if bound.statement.effect == "Deny" and bound.matches(action, resource):
            denying.setdefault(bound.policy.name, []).append(bound)
    for name, found in denying.items():
        after = json.loads(documents[name])
        statements = [[each] for each in _as_list(after["Statement"])]
        warnings: list[str] = []
        for bound in found:
            index = bound.statement.index
            statements[index] = _narrowed(statements[index][0], bound, action, resource)
            exact = _exact(resource, bound.policy.version)
            warnings += [
                f"A Deny cannot have exceptions: {action} on all of {_short(each.text)} is no"
                " longer denied."
                for each in bound.resources
                if each.covers(resource) and each.text != exact
            ]
        after["Statement"] = [each for parts in statements for each in parts]
        # A policy must have a statement, so an empty one allows what is requested anyway.
        yield name, after if after["Statement"] else _only(action, resource), tuple(warnings)


def _narrowed(
    statement: Document, bound: BoundStatement, action: str, resource: str
) -> list[Document]:
    """Split a Deny so that it no longer denies `action` on the patterns that cover `resource`."""
    other_actions = [
        each
        for pattern in _as_list(statement["Action"])
        for each in _expanded(pattern, action)
        if each.lower() != action.lower()
    ]
    kept = [each.text for each in bound.resources if not each.covers(resource)]
    parts = []
    if other_actions:
        parts.append({**statement, "Action": _unwrap(other_actions)})
    if kept:
        part = {**copy.deepcopy(statement), "Action": action, "Resource": _unwrap(kept)}
        if other_actions:
            part.pop("Sid", None)
        parts.append(part)
    return parts


def _expanded(pattern: str, action: str) -> list[str]:
    """Return the actions that a pattern stands for, if `action` is one of them."""
    if not covers(pattern.lower(), action.lower()):
        return [pattern]
    return [each for each in ACTIONS if covers(pattern.lower(), each.lower())]
