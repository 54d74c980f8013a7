"""What a lab has made: which AWS call makes what, and what is there after a row of such calls.

Pure: the ledger feeds it with calls and with the lines of its file. A `Made` is named by its kind
and by what tells it from others of this kind; attachments are kinds of their own, since they are
made and removed by calls of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

THING, TYPE, GROUP = "Thing", "thing type", "thing group"
CERTIFICATE, POLICY, VERSION = "certificate", "policy", "policy version"
THING_PRINCIPAL, POLICY_TARGET = "certificate of a Thing", "policy of a certificate"
MEMBER, SHADOW, RETAINED = "Thing in a group", "shadow", "retained message"
ATTACHMENTS = (THING_PRINCIPAL, POLICY_TARGET, MEMBER)

IDENTITIES = {
    THING: "thingId",
    TYPE: "thingTypeId",
    GROUP: "thingGroupId",
    POLICY: "creationDate",
}
"""What AWS tells of a kind by which one is known from a later one of the same name."""

Call = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """Something that was made.

    Attributes
    ----------
    kind
        One of the constants above.
    names
        Name or id; for an attachment first what is attached to, or the policy, then the other; of a
        shadow the Thing and the shadow's name, ``""`` for the classic one.
    """

    kind: str
    names: tuple[str, ...]

    def row(self) -> tuple[str, str]:
        """Return kind and name, as text."""
        first, *others = self.names
        return self.kind, f"{first}, {others[0]}" if any(others) else first

    def __str__(self) -> str:
        first, second = self.names[0], self.names[-1]
        sentences = {
            CERTIFICATE: f"certificate {first}",
            POLICY_TARGET: f"policy '{first}' on {describe_arn(second)}",
            THING_PRINCIPAL: f"{describe_arn(second)} on Thing '{first}'",
            MEMBER: f"Thing '{second}' in thing group '{first}'",
            VERSION: f"version {second} of policy '{first}'",
            SHADOW: f"shadow '{second}' of '{first}'" if second else f"shadow of '{first}'",
            RETAINED: f"retained message on '{first}'",
        }
        return sentences.get(self.kind, f"{self.kind} '{first}'")


def describe_arn(arn: str) -> str:
    """Return what an ARN names: ``certificate 0a1b...``, ``thing group 'gauges'``."""
    kind, _, name = arn.rpartition(":")[2].partition("/")
    words = {"cert": f"certificate {name}", "thinggroup": f"thing group '{name}'"}
    return words.get(kind, arn)


def name_resolver(made: Iterable[Resource]) -> Callable[[str], str]:
    """Return a function that says ``certificate of 'Test2'`` where a text says its long id.

    A certificate that no Thing has keeps its id, and so does one of several of a Thing.
    """
    things: dict[str, list[str]] = {}
    for one in made:
        if one.kind == THING_PRINCIPAL:
            things.setdefault(one.names[0], []).append(endpoints(one)[1].names[0])
    owners = {ids[0]: thing for thing, ids in things.items() if len(ids) == 1}

    def named(text: str) -> str:
        for number, thing in owners.items():
            text = text.replace(f"certificate {number}", f"certificate of '{thing}'")
        return text

    return named


def endpoints(attachment: Resource) -> list[Resource]:
    """Return the two things that an attachment joins, as far as a lab can make them."""
    first, second = attachment.names
    if attachment.kind == MEMBER:
        return [Resource(GROUP, (first,)), Resource(THING, (second,))]
    kind, _, name = second.rpartition(":")[2].partition("/")
    other = Resource(GROUP if kind == "thinggroup" else CERTIFICATE, (name,))
    return [Resource(POLICY if attachment.kind == POLICY_TARGET else THING, (first,)), other]


def _named(kind: str, *members: str) -> Callable[[Call], Resource]:
    return lambda asked: Resource(kind, tuple(str(asked.get(member) or "") for member in members))


def _member(asked: Call) -> Resource:
    group, thing = (
        str(asked.get(f"{each}Name") or str(asked.get(f"{each}Arn")).rpartition("/")[2])
        for each in ("thingGroup", "thing")
    )
    return Resource(MEMBER, (group, thing))


def _asked(made: Callable[[Call], Resource]) -> Callable[[Call, Call], Resource]:
    return lambda asked, _: made(asked)


def _answered(kind: str, *members: str) -> Callable[[Call, Call], Resource | None]:
    """Of what has no name before AWS has answered."""

    def made(asked: Call, answer: Call) -> Resource | None:
        return _named(kind, *members)({**asked, **answer}) if answer else None

    return made


MAKES: Mapping[str, Callable[[Call, Call], Resource | None]] = {
    "CreateThing": _asked(_named(THING, "thingName")),
    "CreateThingType": _asked(_named(TYPE, "thingTypeName")),
    "CreateThingGroup": _asked(_named(GROUP, "thingGroupName")),
    "CreateKeysAndCertificate": _answered(CERTIFICATE, "certificateId"),
    "CreateCertificateFromCsr": _answered(CERTIFICATE, "certificateId"),
    "RegisterCertificate": _answered(CERTIFICATE, "certificateId"),
    "RegisterCertificateWithoutCA": _answered(CERTIFICATE, "certificateId"),
    "CreatePolicy": _asked(_named(POLICY, "policyName")),
    "CreatePolicyVersion": _answered(VERSION, "policyName", "policyVersionId"),
    "AttachThingPrincipal": _asked(_named(THING_PRINCIPAL, "thingName", "principal")),
    "AttachPolicy": _asked(_named(POLICY_TARGET, "policyName", "target")),
    "AttachPrincipalPolicy": _asked(_named(POLICY_TARGET, "policyName", "principal")),
    "AddThingToThingGroup": _asked(_member),
    "UpdateThingShadow": _asked(_named(SHADOW, "thingName", "shadowName")),
}
"""What a call of an operation makes, from its request and its answer; None before the answer."""

REMOVES: Mapping[str, Callable[[Call], Resource]] = {
    "DeleteThing": _named(THING, "thingName"),
    "DeleteThingType": _named(TYPE, "thingTypeName"),
    "DeleteThingGroup": _named(GROUP, "thingGroupName"),
    "DeleteCertificate": _named(CERTIFICATE, "certificateId"),
    "DeletePolicy": _named(POLICY, "policyName"),
    "DeletePolicyVersion": _named(VERSION, "policyName", "policyVersionId"),
    "DetachThingPrincipal": _named(THING_PRINCIPAL, "thingName", "principal"),
    "DetachPolicy": _named(POLICY_TARGET, "policyName", "target"),
    "DetachPrincipalPolicy": _named(POLICY_TARGET, "policyName", "principal"),
    "RemoveThingFromThingGroup": _member,
    "DeleteThingShadow": _named(SHADOW, "thingName", "shadowName"),
}
"""What a call of an operation removes."""


class Inventory:
    """What is there after the entries of a ledger, in the order in which it was made.

    What is removed takes along what only existed with it: a certificate its policies, a Thing its
    place in a group, a policy its versions. Entries that were taken in are not looked at again.
    """

    def __init__(self) -> None:
        self._made: dict[Resource, str] = {}  # with its identity, "" if none is on record
        self._taken = 0
        self._lock = threading.Lock()

    def after(self, entries: Sequence[Mapping[str, Any]]) -> Inventory:
        """Take in what is new in `entries`, which are all there are; return itself."""
        with self._lock:
            if len(entries) < self._taken:  # another file has taken its place
                self._made.clear()
                self._taken = 0
            for entry in entries[self._taken :]:
                self._take(entry)
            self._taken = len(entries)
        return self

    def _take(self, entry: Mapping[str, Any]) -> None:
        made = self._made
        if entry.get("did") == "reset":
            made.clear()
        elif entry.get("did") in ("make", "remove"):
            one = Resource(str(entry["kind"]), tuple(map(str, entry["names"])))
            if entry["did"] == "make":
                made[one] = str(entry.get("id", ""))
            else:
                made.pop(one, None)
                for other in [other for other in made if cascades_with(other, one)]:
                    del made[other]

    def identity(self, one: Resource) -> str:
        """Return what tells this one from a later one of its name; ``""`` if that isn't known."""
        return self._made.get(one, "")

    def __contains__(self, one: Resource) -> bool:
        return one in self._made

    def __iter__(self) -> Iterator[Resource]:
        with self._lock:
            return iter(list(self._made))


def cascades_with(other: Resource, gone: Resource) -> bool:
    """Tell whether something exists only with what is gone."""
    if other.kind in ATTACHMENTS:
        return gone in endpoints(other)
    return gone.kind == POLICY and other.kind == VERSION and other.names[0] == gone.names[0]
