"""The self-checks that end each step: a sentence with the result, and a hint on failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from typing import Any, Concatenate, ParamSpec

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.client.device import RequestRefused
from creeklab.client.inbox import Inbox
from creeklab.client.key_files import ThingFiles
from creeklab.course.resources import POLICIES, RETAINED, RULES, RULES_ROLE, THINGS
from creeklab.display.html import escape, mark
from creeklab.display.style import static_line
from creeklab.display.text import wrap
from creeklab.resources.lookup import exists, is_connected, is_missing, paginate, similar_thing
from creeklab.resources.resource import Resource, ResourceKind
from creeklab.resources.similar_name import did_you_mean
from creeklab.session.lab_session import LabSession

P = ParamSpec("P")

NO_ANSWER = "there is no answer yet. Replace the dots in the cell above, then run both cells."


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """The result of a self-check: whether it passed, and a sentence."""

    ok: bool
    found: str

    def __repr__(self) -> str:
        return f"{'OK' if self.ok else 'NOT YET'}: {self.found}"

    def _repr_html_(self) -> str:
        state, kind = ("OK", "good") if self.ok else ("NOT YET", "new")
        return static_line(mark(state, kind), escape(self.found))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(wrap(repr(self), following="    "))

    def __bool__(self) -> bool:
        return self.ok


class NotYet(Exception):
    """A self-check that did not pass: a sentence with the state found and what to do."""


def _self_check(
    check: Callable[Concatenate[Checks, P], str],
) -> Callable[Concatenate[Checks, P], SelfCheck]:
    """Turn the sentence that a check returns, or the error that it raises, into its result."""

    @wraps(check)
    def run(self: Checks, /, *given: P.args, **named: P.kwargs) -> SelfCheck:
        if any(map(_is_open, given)):
            return SelfCheck(False, NO_ANSWER)
        try:
            return SelfCheck(True, check(self, *given, **named))
        except NotYet as failed:
            return SelfCheck(False, str(failed))
        except (ClientError, BotoCoreError) as error:
            return SelfCheck(False, _message(error))

    return run


def _is_open(answer: Any) -> bool:
    """Return whether an answer still has the dots of its exercise."""
    return answer is ... or (isinstance(answer, tuple) and any(map(_is_open, answer)))


@contextmanager
def _advice(advice: str, ask: Callable[[], str] = str) -> Iterator[None]:
    """Add what to do to the message of an AWS error, and a question if something is missing."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        question = ask() if isinstance(error, ClientError) and is_missing(error) else ""
        raise NotYet(f"{_message(error)}{question} {advice}") from None


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

    def _similar(self, thing: str) -> str:
        return similar_thing(self._lab.client, thing)

    @_self_check
    def account(self) -> str:
        """Check that the account answers, and that the caller is not its root user."""
        with _advice("Check your access key."):
            caller = self._lab.client("sts").get_caller_identity()
        user = caller["Arn"].split(":", 5)[5]
        if user == "root":
            raise NotYet(
                f"you are the root user of account {caller['Account']}. Create a user for "
                "yourself, and delete the root user's access keys."
            )
        return f"you are {user} in account {caller['Account']}, not its root user."

    @_self_check
    def thing(self, /, name: str, **attributes: str) -> str:
        """Check that the Thing exists and has these attributes."""
        with _advice("Create it: iot.create_thing.", partial(self._similar, name)):
            thing = self._iot.describe_thing(thingName=name)
        wrong = _differences(thing["attributes"], attributes)
        if wrong:
            raise NotYet(f"attributes of '{name}': {wrong}. Set them: iot.update_thing.")
        return f"the Thing '{name}' exists; its ARN is {thing['thingArn']}."

    @_self_check
    def certificate(self, thing: str) -> str:
        """Check the Thing's certificate: on disk with its key, registered, active, attached."""
        self._require_certificate(thing)
        return (
            f"certificate and private key of '{thing}' are on disk and match; the certificate is "
            "ACTIVE and attached to the Thing."
        )

    def _require_certificate(self, thing: str) -> str:
        """Return the ARN of the Thing's certificate if nothing is wrong with it."""
        number = self._files(thing).certificate_id
        try:
            answer = self._iot.describe_certificate(certificateId=number)
        except ClientError as error:
            raise NotYet(
                "the certificate on disk is not registered in this account and region. "
                + _message(error)
            ) from None
        known = answer["certificateDescription"]
        if known["status"] != "ACTIVE":
            raise NotYet(
                f"the certificate is {known['status']}. Activate it: iot.update_certificate."
            )
        arn = str(known["certificateArn"])
        if thing not in self._iot.list_principal_things(principal=arn)["things"]:
            raise NotYet(
                f"the certificate is not attached to '{thing}'. Attach it: "
                "iot.attach_thing_principal."
            )
        return arn

    def _files(self, thing: str) -> ThingFiles:
        try:
            files = self._lab.keys.files(thing)
            files.check()
        except FileNotFoundError:
            raise NotYet(
                f"no certificate and key are saved for '{thing}'."
                f"{did_you_mean(thing, self._lab.keys.things())} Create them with "
                "iot.create_keys_and_certificate, and save the response with lab.keys.save."
            ) from None
        except ValueError as error:
            raise NotYet(str(error)) from None
        return files

    @_self_check
    def replaced(self, thing: str, old_certificate: str) -> str:
        """Check that a new certificate works in the place of an old one, which is gone."""
        arn = self._require_certificate(thing)
        if arn.endswith(old_certificate):
            raise NotYet(
                f"'{thing}' still uses its old certificate. Create a new one, save it, and attach "
                "it."
            )
        if exists(self._lab.client, Resource(ResourceKind.CERTIFICATE, (old_certificate,))):
            raise NotYet("the old certificate still exists. Detach, deactivate, and delete it.")
        return (
            f"'{thing}' has a new certificate, which is ACTIVE and attached; the old one is gone."
        )

    @_self_check
    def policy(self, thing: str, policy: str) -> str:
        """Check that the policy is attached to the Thing's certificate."""
        arn = self._require_certificate(thing)
        attached = self._iot.list_attached_policies(target=arn)["policies"]
        names = [each["policyName"] for each in attached]
        if policy not in names:
            raise NotYet(
                f"'{policy}' is not attached to the certificate of '{thing}' (attached: "
                f"{', '.join(names) or 'none'}).{did_you_mean(policy, names)} "
                "Attach it: iot.attach_policy."
            )
        return f"'{policy}' is attached to the certificate of '{thing}'."

    @_self_check
    def connection(self, thing: str) -> str:
        """Check that the Thing can connect with its files.

        Does not connect if a device with its name is connected: AWS would disconnect that one.
        """
        self._files(thing)
        if is_connected(self._lab.client, thing):
            return (
                f"'{thing}' is connected. Its files were not tried, because that would disconnect "
                "it."
            )
        try:
            self._lab.connect(thing).close()
        except (RequestRefused, TimeoutError, ValueError) as error:
            raise NotYet(str(error)) from None
        return f"'{thing}' can connect over mutual TLS."

    @_self_check
    def allowed(self, thing: str, action: str, resource: str) -> str:
        """Check that the policies allow the Thing an action, as TestAuthorization decides.

        Parameters
        ----------
        action
            ``"iot:Connect"``, ``"iot:Publish"``, ``"iot:Subscribe"`` or ``"iot:Receive"``.
        resource
            The end of an ARN, such as ``"topic/creek/depth"``.
        """
        decision = self._decision(thing, action, resource)
        if decision == "ALLOWED":
            return f"the policies of '{thing}' allow {action} on {resource}."
        why = (
            "a statement denies it, which overrides every Allow"
            if decision == "EXPLICIT_DENY"
            else "no statement allows it"
        )
        raise NotYet(
            f"the policies of '{thing}' do not allow {action} on {resource}: {why}. Compare the "
            "action and resource of each statement letter by letter."
        )

    @_self_check
    def denied(self, thing: str, action: str, resource: str) -> str:
        """Check that the policies do not allow the Thing an action; parameters as in `allowed`."""
        if self._decision(thing, action, resource) == "ALLOWED":
            raise NotYet(
                f"the policies of '{thing}' allow {action} on {resource}. Find the statement that "
                "is too broad."
            )
        return f"the policies of '{thing}' do not allow {action} on {resource}."

    def _decision(self, thing: str, action: str, resource: str) -> str:
        prefix = f"arn:aws:iot:{self._lab.region}:{self._lab.account}"
        principal = f"{prefix}:cert/{self._files(thing).certificate_id}"
        name, resources = action.removeprefix("iot:").upper(), [f"{prefix}:{resource}"]
        try:
            answer = self._iot.test_authorization(
                principal=principal,
                clientId=thing,
                authInfos=[{"actionType": name, "resources": resources}],
            )
        except (ClientError, BotoCoreError) as error:
            raise NotYet(f"AWS made no decision for '{thing}'. {_message(error)}") from None
        return str(answer["authResults"][0]["authDecision"])

    @_self_check
    def received(self, inbox: Inbox, *topics: str) -> str:
        """Check that an inbox received messages, on each of these topics if any are given."""
        received = inbox.topics
        missing = [topic for topic in topics if topic not in received]
        if missing or not received:
            on = f" on {', '.join(map(repr, missing))}" if missing else ""
            raise NotYet(
                f"the subscription to '{inbox.topic_filter}' received no message{on}. Publish one "
                "after you have subscribed, and compare the names: they are case-sensitive."
            )
        count = f"{len(received)} message{'' if len(received) == 1 else 's'}"
        on = ", ".join(sorted(set(received)))
        return f"the subscription to '{inbox.topic_filter}' received {count}, on {on}."

    @_self_check
    def subscribed(self, client_id: str, *topic_filters: str) -> str:
        """Check that a connected client has these subscriptions, according to AWS."""
        with _advice("Connect it: lab.connect."):
            call = self._data.list_subscriptions
            subscriptions = list(paginate(call, "subscriptions", clientId=client_id))
        has = [each["topicFilter"] for each in subscriptions]
        missing = ", ".join(f"'{each}'" for each in topic_filters if each not in has)
        if missing:
            others = ", ".join(f"'{each}'" for each in has) or "nothing"
            raise NotYet(
                f"'{client_id}' is subscribed to {others}, not to {missing}. "
                "Subscribe: device.subscribe."
            )
        found = ", ".join(f"'{each}'" for each in topic_filters or has) or "nothing"
        return f"'{client_id}' is subscribed to {found}."

    @_self_check
    def retained(self, topic: str) -> str:
        """Check that the broker retains a message for this topic."""
        try:
            message = self._data.get_retained_message(topic=topic)
        except self._data.exceptions.ResourceNotFoundException:
            raise NotYet(
                f"no message is retained for '{topic}'. Publish one with retain=True."
            ) from None
        return f"the broker retains a message for '{topic}', {len(message['payload'])} bytes."

    @_self_check
    def shadow(self, thing: str, shadow: str | None = None, /, **reported: Any) -> str:
        """Check that the Thing's shadow, classic or named, reports these values."""
        has = self._shadow_state(thing, shadow).get("reported", {})
        what = f"the shadow of '{thing}'" if shadow is None else f"shadow '{shadow}' of '{thing}'"
        wrong = _differences(has, reported)
        if wrong:
            raise NotYet(f"{what}: {wrong}.")
        if not reported:
            return f"'{thing}' has a shadow" + (f" '{shadow}'." if shadow else ".")
        return f"{what} reports {_values(reported)}."

    @_self_check
    def delta(self, /, thing: str, **differences: Any) -> str:
        """Check that exactly these values are desired and not yet reported."""
        delta = self._shadow_state(thing, None).get("delta", {})
        if delta != differences:
            raise NotYet(
                f"the delta of '{thing}' is {_values(delta) or 'empty'}, not "
                f"{_values(differences) or 'empty'}. Compare the desired with the reported state."
            )
        if not delta:
            return f"'{thing}' reports its desired state: there is no delta."
        return f"'{thing}' does not report this part of its desired state yet: {_values(delta)}."

    @_self_check
    def no_shadow(self, thing: str) -> str:
        """Check that the Thing has no shadow, neither classic nor named."""
        names = self._data.list_named_shadows_for_thing(thingName=thing)["results"]
        which = "a shadow"
        try:
            self._data.get_thing_shadow(thingName=thing)
        except self._data.exceptions.ResourceNotFoundException:
            if not names:
                return f"'{thing}' has no shadow."
            which = "the shadow " + ", ".join(f"'{name}'" for name in names)
        raise NotYet(f"'{thing}' has {which}. Delete it: delete_thing_shadow.")

    @_self_check
    def rule(self, name: str, topic_filter: str | None = None) -> str:
        """Check that a rule exists, is enabled, and receives the messages of a topic filter."""
        rules = {each["ruleName"]: each for each in paginate(self._iot.list_topic_rules, "rules")}
        if name not in rules:
            raise NotYet(f"there is no rule '{name}'. Create it: iot.create_topic_rule.")
        if rules[name]["ruleDisabled"]:
            raise NotYet(f"the rule '{name}' is disabled. Enable it: iot.enable_topic_rule.")
        selected = rules[name].get("topicPattern")
        if topic_filter not in (None, selected):
            raise NotYet(
                f"the rule '{name}' receives messages on '{selected}', not on '{topic_filter}'. "
                "Replace it: iot.replace_topic_rule."
            )
        source = f"messages on '{selected}'" if selected else "Basic Ingest only"
        return f"the rule '{name}' is enabled and receives {source}."

    @_self_check
    def equals(self, found: Any, expected: Any, sentence: str) -> str:
        """Check that a result is the expected one, which the sentence describes."""
        if found != expected:
            raise NotYet(f"the result is {found!r}, not {expected!r}. Go through the steps again.")
        return f"{sentence}."

    @_self_check
    def nothing_left(self) -> str:
        """Check that nothing of the course is left, in the account and on disk."""
        created = self._lab.ledger.inventory.all_certificate_ids()
        known = self._lab.keys.certificates()
        left = [
            f"the key files {'of' if folder.name in THINGS else 'in the folder'} '{folder.name}'"
            for folder in self._lab.keys.folders()
            if folder.name.partition(".")[0] in THINGS or known.get(folder) in created
        ]
        left += [
            f"the certificate {each['certificateId']}, {each['status']}"
            for each in paginate(self._iot.list_certificates, "certificates")
            if each["certificateId"] in created
        ]
        things = {each["thingName"] for each in paginate(self._iot.list_things, "things")}
        left += [f"the Thing '{each}'" for each in THINGS if each in things]
        policies = {each["policyName"] for each in paginate(self._iot.list_policies, "policies")}
        left += [f"the policy '{each}'" for each in POLICIES if each in policies]
        rules = {each["ruleName"] for each in paginate(self._iot.list_topic_rules, "rules")}
        left += [f"the rule '{each}'" for each in RULES if each in rules]
        if self._lab.ledger.has(ResourceKind.ROLE, RULES_ROLE):
            left.append(f"the role '{RULES_ROLE}'")
        left += [f"a shadow of '{each}'" for each in THINGS if not self.no_shadow(each)]
        left += [f"the retained message of '{each}'" for each in RETAINED if self.retained(each)]
        if left:
            raise NotYet(f"still there: {', '.join(left)}.")
        return (
            "nothing of the course is left: no Thing, certificate, policy, rule, role, "
            "shadow, retained message or key file."
        )

    def _shadow_state(self, thing: str, shadow: str | None) -> dict[str, Any]:
        named = {} if shadow is None else {"shadowName": shadow}
        with _advice("Update it first.", partial(self._similar, thing)):
            answer = self._data.get_thing_shadow(thingName=thing, **named)
        state: dict[str, Any] = json.loads(answer["payload"].read())["state"]
        return state


def _values(of: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(of.items()))


def _differences(has: dict[str, Any], wanted: dict[str, Any]) -> str:
    return "; ".join(
        f"{name} is {has.get(name, 'missing')}, not {value}"
        for name, value in wanted.items()
        if has.get(name) != value
    )


def _message(error: ClientError | BotoCoreError) -> str:
    text = error.response["Error"]["Message"] if isinstance(error, ClientError) else str(error)
    return " ".join(text.split()).rstrip(".") + "."
