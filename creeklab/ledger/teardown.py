"""Taking down what a lab has made, in the order that AWS asks for.

AWS deletes nothing that something else still holds: first messages and attachments, then
certificates (deactivated before they are deleted), policies (their older versions first), shadows,
Things, groups (the inner ones first), and types, which rest for five minutes after they are
deprecated. Each step is an ordinary call through the lab's session, so the ledger knows at once
that it is done; that is what makes it possible to go on after a failure.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.client.key_files import KeyFiles
from creeklab.display.table import html_table, text_table
from creeklab.resources.lookup import exists, is_missing, paginate
from creeklab.resources.resource import (
    CERTIFICATE,
    GROUP,
    MEMBER,
    POLICY,
    POLICY_TARGET,
    RETAINED,
    SHADOW,
    THING,
    THING_PRINCIPAL,
    TYPE,
    VERSION,
    Resource,
    describe_arn,
    endpoints,
    name_resolver,
)

if TYPE_CHECKING:
    from creeklab.ledger.ledger import Ledger
    from creeklab.targets.target import Target

REST_CODES = ("DeleteConflictException", "InvalidRequestException")


@dataclass(slots=True)
class TeardownStep:
    """One step: what, what to call for it, what it removes, and what came of it.

    Attributes
    ----------
    rests
        Whether AWS may want some minutes first.
    after
        What has to be gone before, or the step isn't taken.
    found
        ``"OK"``, ``"FAILED"``, ``"LEFT"`` (it is not this lab's to remove), ``"WAIT"`` (AWS wants
        some minutes in between), or ``"-"`` for what was not done.
    """

    what: str
    call: Callable[[], Any] | None = None
    removes: Resource | None = None
    rests: bool = False
    after: Resource | None = None
    found: str = "-"


class TeardownResult:
    """The steps of taking down, and what came of them.

    Attributes
    ----------
    steps
        In their order.
    dry_run
        Whether nothing was done.
    """

    def __init__(self, steps: list[TeardownStep], *, dry_run: bool) -> None:
        self.steps = steps
        self.dry_run = dry_run

    @property
    def ok(self) -> bool:
        """Whether nothing is left to do."""
        return all(step.found == "OK" for step in self.steps)

    def _summary(self) -> str:
        found = {step.found for step in self.steps}
        if not self.steps:
            return "There is nothing to take down: nothing that this lab has made is there."
        if self.dry_run:
            return "This would be done; nothing has been done yet."
        if "FAILED" in found:
            return "Not everything could be done. Run it again: it goes on from here."
        if "WAIT" in found:
            return "AWS wants some minutes before the rest. Run it again then."
        if "LEFT" in found:
            return "What this lab has made is gone, but for what others use."
        return "Nothing that this lab has made is there any more."

    def __repr__(self) -> str:
        rows = [(step.found, step.what) for step in self.steps]
        return "\n".join(filter(None, [text_table(rows, min_width=6), self._summary()]))

    def _repr_html_(self) -> str:
        if not self.steps:
            return f"<p>{self._summary()}</p>"
        rows = [(step.found, step.what) for step in self.steps]
        return html_table(("", "step"), rows, note=self._summary(), states=True)


def tear_down(target: Target, ledger: Ledger, *, dry_run: bool) -> TeardownResult:
    """Take down what `ledger` has; see `Ledger.tear_down`."""
    plan = _Plan(target, ledger)
    steps = list(plan.steps())
    for step in steps:
        step.what = plan.with_owners(step.what)
    if not dry_run:
        for one in plan.others:
            ledger.mark_removed(one)
        for step in steps:
            waits = step.after is not None and ledger.has(step.after.kind, *step.after.names)
            if step.call is not None and not waits and not _take(step, ledger):
                break
    return TeardownResult(steps, dry_run=dry_run)


def _take(step: TeardownStep, ledger: Ledger) -> bool:
    """Take a step, and write into it what came of it; return whether it is worth going on."""
    assert step.call is not None
    try:
        step.call()
        step.found = "OK"
    except ClientError as error:
        if is_missing(error):
            step.found = "OK"  # somebody else was quicker, or an earlier try got as far
            if step.removes is not None:
                ledger.mark_removed(step.removes)
            return True
        # What was detached counts as attached for minutes; a type has to rest.
        step.found = "WAIT" if step.rests and _code(error) in REST_CODES else "FAILED"
        step.what += f": {_message(error)}"
    except (BotoCoreError, OSError) as error:
        step.found = "FAILED"
        step.what += f": {error}"
        return False
    return True


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _message(error: ClientError) -> str:
    return " ".join(str(error.response["Error"]["Message"]).split())


class _Plan:
    """What to do, from what the ledger has and what the account says of it."""

    def __init__(self, target: Target, ledger: Ledger) -> None:
        self._ledger = ledger
        self._iot = ledger.client("iot")
        self._data = ledger.client("iot-data")
        self._keys = KeyFiles(target.folder / "keys", target.ca_file)
        self._made: list[Resource] = []
        self.others = ledger.foreign_replacements()
        for one in ledger.live_resources():
            if one.kind == SHADOW or exists(ledger.client, one):  # shadows were just looked at
                self._made.append(one)
            else:
                ledger.mark_removed(one)  # removed by other means
        self._left = dict.fromkeys(self.others, "it is somebody else's by now.")
        self.with_owners = name_resolver(self._made)

    def steps(self) -> Iterator[TeardownStep]:
        """Yield the steps; what has to stay comes last."""
        yield from self._messages()
        yield from self._attachments()
        yield from self._certificates()
        yield from self._policies()
        yield from self._things()
        yield from self._types()
        yield from self._key_files()
        for one, why in self._left.items():
            yield TeardownStep(f"{one} stays: {why}", found="LEFT")

    def _of(self, kind: str) -> list[Resource]:
        return [one for one in self._made if one.kind == kind and one not in self._left]

    def _messages(self) -> Iterator[TeardownStep]:
        for one in self._of(RETAINED):
            clear = partial(self._data.publish, topic=one.names[0], qos=1, retain=True)
            yield TeardownStep(f"clear the {one}", clear, one)

    def _attachments(self) -> Iterator[TeardownStep]:
        found = dict.fromkeys(self._of(POLICY_TARGET) + self._of(THING_PRINCIPAL))
        for one in self._made:
            found |= dict.fromkeys(self._attached_to(one))
        for attachment in found:
            holder, other = endpoints(attachment)
            if attachment not in self._made and other not in self._made:
                # Others gave this policy to their certificate, or their certificate to this Thing.
                whose = f"{describe_arn(attachment.names[1])} is not this lab's, and attached to it"
                self._left[holder] = f"{whose} by others."
                continue
            first, second = attachment.names
            if attachment.kind == POLICY_TARGET:
                detach = partial(self._iot.detach_policy, policyName=first, target=second)
            else:
                detach = partial(
                    self._iot.detach_thing_principal, thingName=first, principal=second
                )
            yield TeardownStep(
                f"detach {str(attachment).replace(' on ', ' from ')}", detach, attachment
            )
        for member in self._of(MEMBER):
            group, thing = member.names
            take = partial(
                self._iot.remove_thing_from_thing_group, thingGroupName=group, thingName=thing
            )
            yield TeardownStep(f"take Thing '{thing}' out of thing group '{group}'", take, member)

    def _attached_to(self, one: Resource) -> list[Resource]:
        """Return every attachment that the account has of a Thing, certificate, policy or group."""
        iot, name = self._iot, one.names[0]
        if one.kind == POLICY:
            targets = paginate(iot.list_targets_for_policy, "targets", policyName=name)
            return [Resource(POLICY_TARGET, (name, target)) for target in targets]
        if one.kind == THING:
            principals = paginate(iot.list_thing_principals, "principals", thingName=name)
            return [Resource(THING_PRINCIPAL, (name, principal)) for principal in principals]
        if one.kind == GROUP:
            arn = str(iot.describe_thing_group(thingGroupName=name)["thingGroupArn"])
        elif one.kind == CERTIFICATE:
            arn = self._certificate(name)["certificateArn"]
        else:
            return []
        policies = paginate(iot.list_attached_policies, "policies", target=arn)
        attached = [Resource(POLICY_TARGET, (each["policyName"], arn)) for each in policies]
        if one.kind == CERTIFICATE:
            things = paginate(iot.list_principal_things, "things", principal=arn)
            attached += [Resource(THING_PRINCIPAL, (thing, arn)) for thing in things]
        return attached

    def _certificate(self, number: str) -> dict[str, str]:
        answer = self._iot.describe_certificate(certificateId=number)
        known: dict[str, str] = answer["certificateDescription"]
        return known

    def _certificates(self) -> Iterator[TeardownStep]:
        for one in self._of(CERTIFICATE):
            about = {"certificateId": one.names[0]}
            if self._certificate(one.names[0])["status"] == "ACTIVE":
                stop = partial(self._iot.update_certificate, **about, newStatus="INACTIVE")
                yield TeardownStep(f"deactivate {one}", stop)
            yield TeardownStep(f"delete {one}", partial(self._iot.delete_certificate, **about), one)

    def _policies(self) -> Iterator[TeardownStep]:
        for one in self._of(POLICY):
            about = {"policyName": one.names[0]}
            for version in self._iot.list_policy_versions(**about)["policyVersions"]:
                if not version["isDefaultVersion"]:
                    yield self._delete_version(
                        Resource(VERSION, (*one.names, version["versionId"]))
                    )
            yield TeardownStep(
                f"delete {one}", partial(self._iot.delete_policy, **about), one, rests=True
            )
        for one in self._of(VERSION):
            name, number = one.names
            if Resource(POLICY, (name,)) in self._made:
                continue
            known = self._iot.get_policy_version(policyName=name, policyVersionId=number)
            if known["isDefaultVersion"]:
                self._left[one] = "it is the default now; only its owner knows which was before."
            else:
                yield self._delete_version(one)

    def _delete_version(self, one: Resource) -> TeardownStep:
        name, number = one.names
        delete = partial(self._iot.delete_policy_version, policyName=name, policyVersionId=number)
        return TeardownStep(f"delete {one}", delete, one)

    def _things(self) -> Iterator[TeardownStep]:
        for one in self._of(SHADOW):
            thing, name = one.names
            if Resource(THING, (thing,)) not in self._left:
                named = {"shadowName": name} if name else {}
                delete = partial(self._data.delete_thing_shadow, thingName=thing, **named)
                yield TeardownStep(f"delete {one}", delete, one)
        for one in self._of(THING):
            delete = partial(self._iot.delete_thing, thingName=one.names[0])
            yield TeardownStep(f"delete {one}", delete, one, rests=True)
        for one in reversed(self._of(GROUP)):  # a group is made after the one that it is in
            delete = partial(self._iot.delete_thing_group, thingGroupName=one.names[0])
            yield TeardownStep(f"delete {one}", delete, one)

    def _types(self) -> Iterator[TeardownStep]:
        for one in self._of(TYPE):
            about = {"thingTypeName": one.names[0]}
            known = self._iot.describe_thing_type(**about)
            if not known["thingTypeMetadata"].get("deprecated"):
                yield TeardownStep(
                    f"deprecate {one}", partial(self._iot.deprecate_thing_type, **about)
                )
            what = f"delete {one}, five minutes after it was deprecated"
            yield TeardownStep(what, partial(self._iot.delete_thing_type, **about), one, rests=True)

    def _key_files(self) -> Iterator[TeardownStep]:
        """Key files of certificates that are deleted are good for nothing any more."""
        stay = {one.names[0] for one in self._left if one.kind == CERTIFICATE}
        for folder, number in self._keys.certificates().items():
            if number in self._ledger.all_certificate_ids() - stay:
                what = f"delete the key files in the folder '{folder.name}'"
                after = Resource(CERTIFICATE, (number,))
                yield TeardownStep(what, partial(shutil.rmtree, folder), after=after)
