"""The self-checks that end each step: a sentence with the result, and a hint on failure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.client.device import RequestRefused
from creeklab.client.inbox import Inbox
from creeklab.course.resources import POLICIES, RETAINED, THINGS
from creeklab.display.text import wrap
from creeklab.resources.lookup import is_connected, paginate
from creeklab.session.lab_session import LabSession


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """The result of a self-check: whether it passed, and a sentence."""

    ok: bool
    found: str

    def __repr__(self) -> str:
        return f"{'OK' if self.ok else 'NOT YET'}: {self.found}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(wrap(repr(self), following="    "))

    def __bool__(self) -> bool:
        return self.ok


class Checks:
    """The self-checks of one lab."""

    def __init__(self, lab: LabSession) -> None:
        self._lab = lab

    @cached_property
    def _iot(self) -> Any:
        return self._lab.client("iot")

    @cached_property
    def _data(self) -> Any:
        return self._lab.client("iot-data")

    def account(self) -> SelfCheck:
        """Check that the account answers, and that the caller is not its root user."""
        try:
            caller = self._lab.client("sts").get_caller_identity()
        except (ClientError, BotoCoreError) as error:
            return SelfCheck(False, f"{_message(error)} Check your access key.")
        user = caller["Arn"].split(":", 5)[5]
        if user == "root":
            return SelfCheck(
                False,
                f"you are the root user of account {caller['Account']}. Create a user for "
                "yourself, and delete the root user's access keys.",
            )
        return SelfCheck(True, f"you are {user} in account {caller['Account']}, not its root user.")

    def thing(self, name: str, **attributes: str) -> SelfCheck:
        """Check that the Thing exists and has these attributes."""
        try:
            thing = self._iot.describe_thing(thingName=name)
        except (ClientError, BotoCoreError) as error:
            return SelfCheck(False, f"{_message(error)} Create it: iot.create_thing.")
        wrong = _differences(thing["attributes"], attributes)
        if wrong:
            return SelfCheck(False, f"attributes of '{name}': {wrong}. Set them: iot.update_thing.")
        return SelfCheck(True, f"the Thing '{name}' exists; its ARN is {thing['thingArn']}.")

    def certificate(self, thing: str) -> SelfCheck:
        """Check the Thing's certificate: on disk with its key, registered, active, attached."""
        try:
            files = self._lab.keys.files(thing)
            files.check()
        except (FileNotFoundError, ValueError) as error:
            return SelfCheck(False, str(error))
        try:
            known = self._iot.describe_certificate(certificateId=files.certificate_id)
        except ClientError as error:
            return SelfCheck(
                False,
                "the certificate on disk is not registered in this account and region. "
                + _message(error),
            )
        status = known["certificateDescription"]["status"]
        if status != "ACTIVE":
            return SelfCheck(
                False, f"the certificate is {status}. Activate it: iot.update_certificate."
            )
        arn = known["certificateDescription"]["certificateArn"]
        if thing not in self._iot.list_principal_things(principal=arn)["things"]:
            return SelfCheck(
                False,
                f"the certificate is not attached to '{thing}'. Attach it: "
                "iot.attach_thing_principal.",
            )
        return SelfCheck(
            True,
            f"certificate and private key of '{thing}' are on disk and match; the certificate is "
            "ACTIVE and attached to the Thing.",
        )

    def policy(self, thing: str, policy: str) -> SelfCheck:
        """Check that the policy is attached to the Thing's certificate."""
        certificate = self.certificate(thing)
        if not certificate:
            return certificate
        number = self._lab.keys.files(thing).certificate_id
        known = self._iot.describe_certificate(certificateId=number)["certificateDescription"]
        attached = self._iot.list_attached_policies(target=known["certificateArn"])["policies"]
        names = [each["policyName"] for each in attached]
        if policy not in names:
            has = ", ".join(names) or "none"
            return SelfCheck(
                False,
                f"'{policy}' is not attached to the certificate of '{thing}' (attached: {has}). "
                "Attach it: iot.attach_policy.",
            )
        return SelfCheck(True, f"'{policy}' is attached to the certificate of '{thing}'.")

    def connection(self, thing: str) -> SelfCheck:
        """Check that the Thing can connect with its files.

        Does not connect if a device with its name is connected: AWS would disconnect that one.
        """
        try:
            self._lab.keys.files(thing).check()
            if is_connected(self._lab.client, thing):
                return SelfCheck(
                    True,
                    f"'{thing}' is connected. Its files were not tried, because that "
                    "would disconnect it.",
                )
            self._lab.connect(thing).close()
        except (RequestRefused, FileNotFoundError, TimeoutError, ValueError) as error:
            return SelfCheck(False, str(error))
        return SelfCheck(True, f"'{thing}' can connect over mutual TLS.")

    def allowed(self, thing: str, action: str, resource: str) -> SelfCheck:
        """Check that the policies allow the Thing an action, as TestAuthorization decides.

        Parameters
        ----------
        action
            ``"iot:Connect"``, ``"iot:Publish"``, ``"iot:Subscribe"`` or ``"iot:Receive"``.
        resource
            The end of an ARN, such as ``"topic/creek/depth"``.
        """
        decision = self._decision(thing, action, resource)
        if isinstance(decision, SelfCheck):
            return decision
        if decision == "ALLOWED":
            return SelfCheck(True, f"the policies of '{thing}' allow {action} on {resource}.")
        why = (
            "a statement denies it, which overrides every Allow"
            if decision == "EXPLICIT_DENY"
            else "no statement allows it"
        )
        return SelfCheck(
            False,
            f"the policies of '{thing}' do not allow {action} on {resource}: {why}. Compare the "
            "action and resource of each statement letter by letter.",
        )

    def denied(self, thing: str, action: str, resource: str) -> SelfCheck:
        """Check that the policies do not allow the Thing an action; parameters as in `allowed`."""
        decision = self._decision(thing, action, resource)
        if isinstance(decision, SelfCheck):
            return decision
        if decision == "ALLOWED":
            return SelfCheck(
                False,
                f"the policies of '{thing}' allow {action} on {resource}. Find the statement that "
                "is too broad.",
            )
        return SelfCheck(True, f"the policies of '{thing}' do not allow {action} on {resource}.")

    def _decision(self, thing: str, action: str, resource: str) -> str | SelfCheck:
        """Return AWS's decision, or a failed check if there is none."""
        try:
            files = self._lab.keys.files(thing)
            files.check()
            prefix = f"arn:aws:iot:{self._lab.region}:{self._lab.account}"
            answer = self._iot.test_authorization(
                principal=f"{prefix}:cert/{files.certificate_id}",
                clientId=thing,
                authInfos=[
                    {
                        "actionType": action.removeprefix("iot:").upper(),
                        "resources": [f"{prefix}:{resource}"],
                    }
                ],
            )
        except (FileNotFoundError, ValueError) as error:
            return SelfCheck(False, str(error))
        except (ClientError, BotoCoreError) as error:
            return SelfCheck(False, f"AWS made no decision for '{thing}'. {_message(error)}")
        return str(answer["authResults"][0]["authDecision"])

    def received(self, inbox: Inbox, *topics: str) -> SelfCheck:
        """Check that an inbox received messages, on each of these topics if any are given."""
        received = inbox.topics
        missing = [topic for topic in topics if topic not in received]
        if missing or not received:
            on = f" on {', '.join(map(repr, missing))}" if missing else ""
            return SelfCheck(
                False,
                f"the subscription to '{inbox.topic_filter}' received no message{on}. Publish one "
                "after you have subscribed, and compare the names: they are case-sensitive.",
            )
        count = f"{len(received)} message{'' if len(received) == 1 else 's'}"
        on = ", ".join(sorted(set(received)))
        return SelfCheck(
            True, f"the subscription to '{inbox.topic_filter}' received {count}, on {on}."
        )

    def subscribed(self, client_id: str, *topic_filters: str) -> SelfCheck:
        """Check that a connected client has these subscriptions, according to AWS."""
        call = self._data.list_subscriptions
        try:
            subscriptions = list(paginate(call, "subscriptions", clientId=client_id))
        except (ClientError, BotoCoreError) as error:
            return SelfCheck(False, f"{_message(error)} Connect it: lab.connect.")
        has = [each["topicFilter"] for each in subscriptions]
        missing = ", ".join(f"'{each}'" for each in topic_filters if each not in has)
        if missing:
            others = ", ".join(f"'{each}'" for each in has) or "nothing"
            return SelfCheck(
                False,
                f"'{client_id}' is subscribed to {others}, not to {missing}. "
                "Subscribe: device.subscribe.",
            )
        found = ", ".join(f"'{each}'" for each in topic_filters or has) or "nothing"
        return SelfCheck(True, f"'{client_id}' is subscribed to {found}.")

    def retained(self, topic: str) -> SelfCheck:
        """Check that the broker retains a message for this topic."""
        try:
            message = self._data.get_retained_message(topic=topic)
        except self._data.exceptions.ResourceNotFoundException:
            return SelfCheck(
                False,
                f"no message is retained for '{topic}'. Publish one with retain=True.",
            )
        except (ClientError, BotoCoreError) as error:
            return SelfCheck(False, _message(error))
        return SelfCheck(
            True, f"the broker retains a message for '{topic}', {len(message['payload'])} bytes."
        )

    def shadow(self, thing: str, shadow: str | None = None, /, **reported: Any) -> SelfCheck:
        """Check that the Thing's shadow, classic or named, reports these values."""
        document = self._shadow_document(thing, shadow)
        if isinstance(document, SelfCheck):
            return document
        what = f"the shadow of '{thing}'" if shadow is None else f"shadow '{shadow}' of '{thing}'"
        wrong = _differences(document["state"].get("reported", {}), reported)
        if wrong:
            return SelfCheck(False, f"{what}: {wrong}.")
        if not reported:
            return SelfCheck(True, f"'{thing}' has a shadow" + (f" '{shadow}'." if shadow else "."))
        values = ", ".join(f"{name} {value}" for name, value in sorted(reported.items()))
        return SelfCheck(True, f"{what} reports {values}.")

    def delta(self, thing: str, **differences: Any) -> SelfCheck:
        """Check that exactly these values are desired and not yet reported."""
        document = self._shadow_document(thing, None)
        if isinstance(document, SelfCheck):
            return document
        delta = document["state"].get("delta", {})
        found = ", ".join(f"{name} {value}" for name, value in sorted(delta.items()))
        if delta != differences:
            wanted = ", ".join(f"{name} {value}" for name, value in sorted(differences.items()))
            return SelfCheck(
                False,
                f"the delta of '{thing}' is {found or 'empty'}, not {wanted or 'empty'}. Compare "
                "the desired with the reported state.",
            )
        if not delta:
            return SelfCheck(True, f"'{thing}' reports its desired state: there is no delta.")
        return SelfCheck(
            True, f"'{thing}' does not report this part of its desired state yet: {found}."
        )

    def no_shadow(self, thing: str) -> SelfCheck:
        """Check that the Thing has no shadow, neither classic nor named."""
        try:
            names = self._data.list_named_shadows_for_thing(thingName=thing)["results"]
            self._data.get_thing_shadow(thingName=thing)
        except self._data.exceptions.ResourceNotFoundException:
            if not names:
                return SelfCheck(True, f"'{thing}' has no shadow.")
            which = "the shadow " + ", ".join(f"'{name}'" for name in names)
        except (ClientError, BotoCoreError) as error:
            return SelfCheck(False, _message(error))
        else:
            which = "a shadow"
        return SelfCheck(False, f"'{thing}' has {which}. Delete it: delete_thing_shadow.")

    def equals(self, found: Any, expected: Any) -> SelfCheck:
        """Check an exercise's answer against the expected one."""
        if found != expected:
            return SelfCheck(False, f"{found!r} is not {expected!r}. Go through the steps again.")
        return SelfCheck(True, f"{found!r} is right.")

    def nothing_left(self) -> SelfCheck:
        """Check that nothing of the course is left, in the account and on disk."""
        created = self._lab.ledger.inventory.all_certificate_ids()
        known = self._lab.keys.certificates()
        left = [
            f"the key files {'of' if folder.name in THINGS else 'in the folder'} '{folder.name}'"
            for folder in self._lab.keys.folders()
            if folder.name.partition(".")[0] in THINGS or known.get(folder) in created
        ]
        pages = self._iot.get_paginator("list_certificates").paginate()
        left += [
            f"the certificate {each['certificateId']}, {each['status']}"
            for page in pages
            for each in page["certificates"]
            if each["certificateId"] in created
        ]
        pages = self._iot.get_paginator("list_things").paginate()
        things = {each["thingName"] for page in pages for each in page["things"]}
        left += [f"the Thing '{each}'" for each in THINGS if each in things]
        pages = self._iot.get_paginator("list_policies").paginate()
        policies = {each["policyName"] for page in pages for each in page["policies"]}
        left += [f"the policy '{each}'" for each in POLICIES if each in policies]
        left += [f"a shadow of '{each}'" for each in THINGS if not self.no_shadow(each)]
        left += [f"the retained message of '{each}'" for each in RETAINED if self.retained(each)]
        if left:
            return SelfCheck(False, f"still there: {', '.join(left)}.")
        return SelfCheck(
            True,
            "nothing of the course is left: no Thing, certificate, policy, shadow, retained "
            "message or key file.",
        )

    def _shadow_document(self, thing: str, shadow: str | None) -> dict[str, Any] | SelfCheck:
        named = {} if shadow is None else {"shadowName": shadow}
        try:
            answer = self._data.get_thing_shadow(thingName=thing, **named)
        except (ClientError, BotoCoreError) as error:
            return SelfCheck(False, f"{_message(error)} Update it first.")
        document: dict[str, Any] = json.loads(answer["payload"].read())
        return document


def _differences(has: dict[str, Any], wanted: dict[str, Any]) -> str:
    return "; ".join(
        f"{name} is {has.get(name, 'missing')}, not {value}"
        for name, value in wanted.items()
        if has.get(name) != value
    )


def _message(error: ClientError | BotoCoreError) -> str:
    text = error.response["Error"]["Message"] if isinstance(error, ClientError) else str(error)
    return " ".join(text.split()).rstrip(".") + "."
