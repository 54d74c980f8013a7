"""Take down what a lab created, in the order that AWS requires.

Rules come first, because they react to messages, and their functions next. AWS deletes nothing that
something else still uses. So messages and attachments follow, then certificates (deactivated before
they are deleted), policies (their older versions first), roles (their inline policies first),
shadows, Things, groups (the inner ones first), and thing types, which must be deprecated for five
minutes. Each step is an ordinary call through the lab's session, so the ledger records it at once,
and a later run continues after a failure.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.client.key_files import KeyFiles
from creeklab.display.table import html_table, text_table
from creeklab.ledger.inventory import Inventory
from creeklab.resources.lookup import exists, is_missing, paginate
from creeklab.resources.resource import (
    Resource,
    ResourceKind,
    describe_arn,
    endpoints,
    name_resolver,
)
from creeklab.targets.target import Target

REST_CODES = ("DeleteConflictException", "InvalidRequestException")


@dataclass(slots=True)
class TeardownStep:
    """One step: a description and the call that takes it, None if there is nothing to do.

    Attributes
    ----------
    removes
        The resource that no longer exists afterwards.
    rests
        Whether AWS may require a few minutes before the step.
    after
        The resource that must be deleted before the step is taken.
    result
        ``"OK"``, ``"FAILED"``, ``"LEFT"`` (not this lab's to delete), ``"WAIT"`` (AWS requires a
        few minutes first), or ``"-"`` for a step that was not taken.
    """

    what: str
    call: Callable[[], Any] | None = None
    removes: Resource | None = None
    rests: bool = False
    after: Resource | None = None
    result: str = "-"


class TeardownResult:
    """The steps of a teardown, in order, with their results; none is taken in a dry run."""

    def __init__(self, steps: list[TeardownStep], *, dry_run: bool) -> None:
        self.steps = steps
        self.dry_run = dry_run

    @property
    def ok(self) -> bool:
        """Whether nothing is left to do."""
        return all(step.result == "OK" for step in self.steps)

    def _summary(self) -> str:
        results = {step.result for step in self.steps}
        if not self.steps:
            return "Nothing to take down: no resource of this lab exists."
        if self.dry_run:
            return "These steps would be taken. Nothing has been done yet."
        if "FAILED" in results:
            return "Some steps failed. Run it again to continue from here."
        if "WAIT" in results:
            return "AWS needs a few minutes before the remaining steps. Run this again later."
        if "LEFT" in results:
            return "Deleted everything that this lab created, except what others use."
        return "Deleted everything that this lab created."

    def __repr__(self) -> str:
        rows = [(step.result, step.what) for step in self.steps]
        return "\n".join(filter(None, [text_table(rows, min_width=6), self._summary()]))

    def _repr_html_(self) -> str:
        if not self.steps:
            return f"<p>{self._summary()}</p>"
        rows = [(step.result, step.what) for step in self.steps]
        return html_table(("", "step"), rows, note=self._summary(), states=True)


def tear_down(target: Target, inventory: Inventory, *, dry_run: bool) -> TeardownResult:
    """Delete the resources in `inventory`; see `Ledger.tear_down`."""
    plan = _Plan(target, inventory)
    steps = list(plan.steps())
    for step in steps:
        step.what = plan.resolve_names(step.what)
    if not dry_run:
        for one in plan.foreign:
            inventory.record_deleted(one)
        for step in steps:
            waits = step.after is not None and step.after in inventory
            if step.call is not None and not waits and not _take(step, inventory):
                break
    return TeardownResult(steps, dry_run=dry_run)


def _take(step: TeardownStep, inventory: Inventory) -> bool:
    """Take a step and store its result in it; return whether to continue with the next."""
    assert step.call is not None
    try:
        step.call()
        step.result = "OK"
    except ClientError as error:
        if is_missing(error):
            step.result = "OK"  # already deleted, by an earlier run or someone else
            if step.removes is not None:
                inventory.record_deleted(step.removes)
            return True
        # AWS counts a detached resource as attached for minutes; a thing type has to rest.
        step.result = "WAIT" if step.rests and _code(error) in REST_CODES else "FAILED"
        step.what += f": {_message(error)}"
    except (BotoCoreError, OSError) as error:
        step.result = "FAILED"
        step.what += f": {error}"
        return False
    return True


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _message(error: ClientError) -> str:
    return " ".join(str(error.response["Error"]["Message"]).split())


class _Plan:
    """The steps, from the inventory and what the account says of it."""

    def __init__(self, target: Target, inventory: Inventory) -> None:
        self._inventory = inventory
        self._iot = inventory.client("iot")
        self._data = inventory.client("iot-data")
        self._keys = KeyFiles(target.folder / "keys", target.ca_file)
        self._owned: list[Resource] = []
        self.foreign = inventory.foreign_replacements()
        for one in inventory.live_resources():
            # live_resources has just looked up the shadows.
            if one.kind == ResourceKind.SHADOW or exists(inventory.client, one):
                self._owned.append(one)
            else:
                inventory.record_deleted(one)
        self._left = dict.fromkeys(self.foreign, "someone else has re-created it.")
        self.resolve_names = name_resolver(self._owned)

    def steps(self) -> Iterator[TeardownStep]:
        """Yield the steps; resources that must stay come last."""
        yield from self._rules()
        yield from self._messages()
        yield from self._attachments()
        yield from self._certificates()
        yield from self._policies()
        yield from self._roles()
        yield from self._things()
        yield from self._types()
        yield from self._key_files()
        for one, why in self._left.items():
            yield TeardownStep(f"{one} stays: {why}", result="LEFT")

    def _owned_of(self, kind: str) -> list[Resource]:
        return [one for one in self._owned if one.kind == kind and one not in self._left]

    def _rules(self) -> Iterator[TeardownStep]:
        for one in self._owned_of(ResourceKind.TOPIC_RULE):
            yield TeardownStep(
                f"delete {one}", partial(self._iot.delete_topic_rule, ruleName=one.names[0]), one
            )
        for one in self._owned_of(ResourceKind.FUNCTION):
            functions = self._inventory.client("lambda")
            delete = partial(functions.delete_function, FunctionName=one.names[0])
            yield TeardownStep(f"delete {one}", delete, one)

    def _messages(self) -> Iterator[TeardownStep]:
        for one in self._owned_of(ResourceKind.RETAINED_MESSAGE):
            clear = partial(self._data.publish, topic=one.names[0], qos=1, retain=True)
            yield TeardownStep(f"clear the {one}", clear, one)

    def _attachments(self) -> Iterator[TeardownStep]:
        attachments = (ResourceKind.POLICY_TARGET, ResourceKind.THING_PRINCIPAL)
        found = {one: None for kind in attachments for one in self._owned_of(kind)}
        for one in self._owned:
            found |= dict.fromkeys(self._attached_to(one))
        for attachment in found:
            holder, other = endpoints(attachment)
            if attachment not in self._owned and other not in self._owned:
                # Others attached this policy to their certificate, or theirs to this Thing.
                foreign = describe_arn(attachment.names[1])
                self._left[holder] = f"others attached {foreign}, which is not this lab's."
                continue
            first, second = attachment.names
            request = {"thingName": first, "principal": second}
            detach = partial(self._iot.detach_thing_principal, **request)
            if attachment.kind == ResourceKind.POLICY_TARGET:
                detach = partial(self._iot.detach_policy, policyName=first, target=second)
            what = str(attachment).replace(" on ", " from ")
            yield TeardownStep(f"detach {what}", detach, attachment)
        for member in self._owned_of(ResourceKind.GROUP_MEMBER):
            group, thing = member.names
            request = {"thingGroupName": group, "thingName": thing}
            remove = partial(self._iot.remove_thing_from_thing_group, **request)
            what = f"remove Thing '{thing}' from thing group '{group}'"
            yield TeardownStep(what, remove, member)

    def _attached_to(self, one: Resource) -> list[Resource]:
        """Return all attachments of a Thing, certificate, policy or group in the account."""
        iot, name = self._iot, one.names[0]
        if one.kind == ResourceKind.POLICY:
            targets = paginate(iot.list_targets_for_policy, "targets", policyName=name)
            return [Resource(ResourceKind.POLICY_TARGET, (name, target)) for target in targets]
        if one.kind == ResourceKind.THING:
            principals = paginate(iot.list_thing_principals, "principals", thingName=name)
            return [Resource(ResourceKind.THING_PRINCIPAL, (name, each)) for each in principals]
        if one.kind == ResourceKind.THING_GROUP:
            arn = str(iot.describe_thing_group(thingGroupName=name)["thingGroupArn"])
        elif one.kind == ResourceKind.CERTIFICATE:
            arn = self._certificate(name)["certificateArn"]
        else:
            return []
        policies = paginate(iot.list_attached_policies, "policies", target=arn)
        attached = [
            Resource(ResourceKind.POLICY_TARGET, (each["policyName"], arn)) for each in policies
        ]
        if one.kind == ResourceKind.CERTIFICATE:
            things = paginate(iot.list_principal_things, "things", principal=arn)
            attached += [Resource(ResourceKind.THING_PRINCIPAL, (thing, arn)) for thing in things]
        return attached

    def _certificate(self, number: str) -> dict[str, str]:
        answer = self._iot.describe_certificate(certificateId=number)
        known: dict[str, str] = answer["certificateDescription"]
        return known

    def _certificates(self) -> Iterator[TeardownStep]:
        for one in self._owned_of(ResourceKind.CERTIFICATE):
            request = {"certificateId": one.names[0]}
            if self._certificate(one.names[0])["status"] == "ACTIVE":
                deactivate = partial(self._iot.update_certificate, **request, newStatus="INACTIVE")
                yield TeardownStep(f"deactivate {one}", deactivate)
            delete = partial(self._iot.delete_certificate, **request)
            yield TeardownStep(f"delete {one}", delete, one)

    def _policies(self) -> Iterator[TeardownStep]:
        for one in self._owned_of(ResourceKind.POLICY):
            request = {"policyName": one.names[0]}
            for version in self._iot.list_policy_versions(**request)["policyVersions"]:
                if not version["isDefaultVersion"]:
                    yield self._delete_version(
                        Resource(ResourceKind.POLICY_VERSION, (*one.names, version["versionId"]))
                    )
            delete = partial(self._iot.delete_policy, **request)
            yield TeardownStep(f"delete {one}", delete, one, rests=True)
        for one in self._owned_of(ResourceKind.POLICY_VERSION):
            name, number = one.names
            if Resource(ResourceKind.POLICY, (name,)) in self._owned:
                continue
            known = self._iot.get_policy_version(policyName=name, policyVersionId=number)
            if known["isDefaultVersion"]:
                self._left[one] = "only the policy's owner knows which default came before it."
            else:
                yield self._delete_version(one)

    def _delete_version(self, one: Resource) -> TeardownStep:
        name, number = one.names
        delete = partial(self._iot.delete_policy_version, policyName=name, policyVersionId=number)
        return TeardownStep(f"delete {one}", delete, one)

    def _roles(self) -> Iterator[TeardownStep]:
        policies = self._owned_of(ResourceKind.ROLE_POLICY)
        roles = self._owned_of(ResourceKind.ROLE)
        if not policies and not roles:
            return  # creating a client of iam takes a while
        iam = self._inventory.client("iam")
        for role in roles:
            names = paginate(iam.list_role_policies, "PolicyNames", RoleName=role.names[0])
            found = [Resource(ResourceKind.ROLE_POLICY, (*role.names, name)) for name in names]
            policies += [one for one in found if one not in policies]
        for one in policies:
            request = dict(zip(("RoleName", "PolicyName"), one.names, strict=True))
            yield TeardownStep(f"delete {one}", partial(iam.delete_role_policy, **request), one)
        for role in roles:
            delete = partial(iam.delete_role, RoleName=role.names[0])
            yield TeardownStep(f"delete {role}", delete, role)

    def _things(self) -> Iterator[TeardownStep]:
        for one in self._owned_of(ResourceKind.SHADOW):
            thing, name = one.names
            if Resource(ResourceKind.THING, (thing,)) not in self._left:
                named = {"shadowName": name} if name else {}
                delete = partial(self._data.delete_thing_shadow, thingName=thing, **named)
                yield TeardownStep(f"delete {one}", delete, one)
        for one in self._owned_of(ResourceKind.THING):
            delete = partial(self._iot.delete_thing, thingName=one.names[0])
            yield TeardownStep(f"delete {one}", delete, one, rests=True)
        # A group is created after its parent.
        for one in reversed(self._owned_of(ResourceKind.THING_GROUP)):
            delete = partial(self._iot.delete_thing_group, thingGroupName=one.names[0])
            yield TeardownStep(f"delete {one}", delete, one)

    def _types(self) -> Iterator[TeardownStep]:
        for one in self._owned_of(ResourceKind.THING_TYPE):
            request = {"thingTypeName": one.names[0]}
            known = self._iot.describe_thing_type(**request)
            if not known["thingTypeMetadata"].get("deprecated"):
                deprecate = partial(self._iot.deprecate_thing_type, **request)
                yield TeardownStep(f"deprecate {one}", deprecate)
            what = f"delete {one}, five minutes after its deprecation"
            delete = partial(self._iot.delete_thing_type, **request)
            yield TeardownStep(what, delete, one, rests=True)

    def _key_files(self) -> Iterator[TeardownStep]:
        """Delete the key files of deleted certificates: they are no longer needed."""
        stay = {one.names[0] for one in self._left if one.kind == ResourceKind.CERTIFICATE}
        unused = self._inventory.all_certificate_ids() - stay
        for folder, number in self._keys.certificates().items():
            if number in unused:
                what = f"delete the key files in the folder '{folder.name}'"
                after = Resource(ResourceKind.CERTIFICATE, (number,))
                yield TeardownStep(what, partial(shutil.rmtree, folder), after=after)
