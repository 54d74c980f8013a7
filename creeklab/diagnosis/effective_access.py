"""The effective access of a connection: its certificate, Things and policies, read through boto3.

It works the same on AWS and on the local cloud. AWS itself decides what is allowed
(``TestAuthorization``). The reasons, and the changes that would help, come from the local cloud's
own policy evaluation (`creeklab.cloud.policy`) of the same documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from creeklab.cloud.policy import Authorizer, MalformedPolicy, parse
from creeklab.cloud.registry.records import certificate_variables
from creeklab.resources.lookup import or_none, paginate

Context = dict[str, str | tuple[str, ...]]

KINDS = {
    "iot:Connect": "client",
    "iot:Publish": "topic",
    "iot:Receive": "topic",
    "iot:RetainPublish": "topic",
    "iot:GetRetainedMessage": "topic",
    "iot:Subscribe": "topicfilter",
    "iot:GetThingShadow": "thing",
    "iot:UpdateThingShadow": "thing",
    "iot:DeleteThingShadow": "thing",
}
"""Kind of resource that each action applies to."""

TESTED = {
    "iot:Connect": "CONNECT",
    "iot:Publish": "PUBLISH",
    "iot:Receive": "RECEIVE",
    "iot:Subscribe": "SUBSCRIBE",
}
"""The actions that ``TestAuthorization`` decides, and their names there."""

_PREFIX = "iot:Connection.Thing."


@dataclass(frozen=True)
class EffectiveAccess:
    """The access of one connection.

    Attributes
    ----------
    client_id
        Its MQTT client ID; None over HTTPS, where policies see no client and no Thing.
    certificate
        Its ARN; None without a certificate.
    status
        Status of the certificate, such as ``"ACTIVE"``; None if it is not in the account.
    things
        The Things that the certificate is attached to.
    thing
        The one of them that the connection acts as, if any: its name is the client ID.
    documents
        The policies that apply, by name; those attached to the certificate itself come first.
    targets
        The number of certificates and groups that each policy is attached to.
    context
        The values of policy variables.
    """

    client_id: str | None
    certificate: str | None = None
    status: str | None = None
    things: tuple[str, ...] = ()
    thing: str | None = None
    documents: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    context: Context = field(default_factory=dict)

    def authorizer(self, changed: Mapping[str, str] | None = None) -> Authorizer:
        """Return an authorizer for the connection with its policies, or with `changed` ones."""
        documents = self.documents if changed is None else changed
        return Authorizer(
            [parse(text, name=name) for name, text in documents.items()], self.context
        )


def load_effective_access(
    iot: Any, client_id: str | None, certificate: str | None, *, source_ip: str = ""
) -> EffectiveAccess:
    """Load the effective access of a connection; `client_id` is None for a request over HTTPS."""
    context: Context = {} if client_id is None else {"iot:ClientId": client_id}
    if source_ip:
        context["aws:SourceIp"] = source_ip
    known = None if certificate is None else _description(iot, certificate.rpartition("/")[2])
    if certificate is None or known is None:
        return EffectiveAccess(client_id, certificate, context=context)
    context |= certificate_variables(known["certificateId"], known["certificatePem"])
    attached = {
        each["thingName"]: each.get("thingPrincipalType", "")
        for each in paginate(
            iot.list_principal_things_v2, "principalThingObjects", principal=certificate
        )
    }
    thing = None
    if client_id is not None:
        exclusive = [name for name, kind in attached.items() if kind == "EXCLUSIVE_THING"]
        thing = exclusive[0] if exclusive else client_id if client_id in attached else None
        context |= _thing_context(iot, client_id, thing)
    documents, targets = _policies(iot, certificate, client_id if client_id in attached else None)
    return EffectiveAccess(
        client_id, certificate, known["status"], tuple(attached), thing, documents, targets, context
    )


def find_certificate(lab: Any, name: str) -> str | None:
    """Return the ARN of the certificate that a Thing connects with; None if it has none.

    This is the one with saved files, else the first active one that is attached to the Thing.
    """
    iot = lab.client("iot")
    answer = or_none(lambda: iot.list_thing_principals(thingName=name))
    attached = [] if answer is None else answer["principals"]
    found: dict[str, str] = {arn.rpartition("/")[2]: arn for arn in attached if ":cert/" in arn}
    try:
        saved = lab.keys.files(name).certificate_id
    except (FileNotFoundError, ValueError):
        saved = None
    if saved is not None:
        known = _description(iot, saved)
        if known is not None:
            return str(known["certificateArn"])
    for number, arn in found.items():
        known = _description(iot, number)
        if known is not None and known["status"] == "ACTIVE":
            return arn
    return next(iter(found.values()), None)


def test_authorization(iot: Any, of: EffectiveAccess, action: str, resource: str) -> str | None:
    """Return the decision of ``TestAuthorization``; None if it does not cover the action."""
    name = next((TESTED[each] for each in TESTED if each.lower() == action.lower()), None)
    if name is None or of.certificate is None:
        return None
    client = {} if of.client_id is None else {"clientId": of.client_id}
    answer = or_none(
        lambda: iot.test_authorization(
            principal=of.certificate,
            **client,
            authInfos=[{"actionType": name, "resources": [resource]}],
        )
    )
    return None if answer is None else str(answer["authResults"][0]["authDecision"])


def resource_arn(prefix: str, action: str, resource: str) -> str:
    """Return the ARN of the resource that an action applies to.

    Parameters
    ----------
    prefix
        Start of the account's ARNs: ``"arn:aws:iot:us-east-1:123456789012"``.
    resource
        An ARN; or a topic, topic filter, client ID or Thing name, depending on the action, with or
        without the kind (``topic/``) before it.

    Raises
    ------
    ValueError
        If the action is not a device action.
    """
    if resource == "*" or resource.startswith("arn:"):
        return resource
    kind = next((KINDS[each] for each in KINDS if each.lower() == action.lower()), None)
    if kind is None:
        raise ValueError(
            f"{action!r} is not a device action. The device actions are {', '.join(KINDS)}."
        )
    start = "" if resource.startswith(f"{kind}/") else f"{kind}/"
    return f"{prefix}:{start}{resource}"


def _description(iot: Any, certificate_id: str) -> dict[str, Any] | None:
    answer = or_none(lambda: iot.describe_certificate(certificateId=certificate_id))
    return None if answer is None else answer["certificateDescription"]


def _thing_context(iot: Any, client_id: str, thing: str | None) -> Context:
    name = thing or client_id
    if not name:
        return {}
    known = or_none(lambda: iot.describe_thing(thingName=name))
    if known is None:
        return {}
    if thing is None:
        return {_PREFIX + "IsAttached": "false"}
    kind = known.get("thingTypeName")
    return {
        _PREFIX + "IsAttached": "true",
        _PREFIX + "ThingName": thing,
        **({_PREFIX + "ThingTypeName": kind} if kind else {}),
        **{f"{_PREFIX}Attributes[{key}]": value for key, value in known["attributes"].items()},
    }


def _policies(
    iot: Any, certificate: str, thing: str | None
) -> tuple[dict[str, str], dict[str, int]]:
    """Return the documents that apply, and the number of targets of each policy."""
    of_thing = {} if thing is None else {"thingName": thing}
    found = iot.get_effective_policies(principal=certificate, **of_thing)["effectivePolicies"]
    documents = {each["policyName"]: each["policyDocument"] for each in found}
    attached = {
        each["policyName"]
        for each in paginate(iot.list_attached_policies, "policies", target=certificate)
    }
    names = sorted(documents, key=lambda name: name not in attached)
    readable = {}
    for name in names:
        try:
            parse(documents[name])
        except MalformedPolicy:
            continue
        readable[name] = documents[name]
    targets = {
        name: sum(1 for _ in paginate(iot.list_targets_for_policy, "targets", policyName=name))
        for name in readable
    }
    return readable, targets
