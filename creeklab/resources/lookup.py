"""Looking up what is there in the account: one question to AWS for each kind of thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.resources.resource import (
    CERTIFICATE,
    GROUP,
    IDENTITIES,
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
)

Client = Callable[[str], Any]


def exists(client: Client, one: Resource) -> bool:
    """Tell whether the account has that; `client` gives a boto3 client of a service."""
    return identity(client, one) is not None


def identity(client: Client, one: Resource) -> str | None:
    """Return what tells that from a later one of its name, None if it isn't there.

    ``""`` for a kind that needs nothing of the sort: a certificate's id is no other's ever.
    """
    try:
        found = _LOOKS[one.kind](client, *one.names)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    if one.kind in IDENTITIES:
        return identity_from(one.kind, found)
    return "" if found else None


def identity_from(kind: str, answer: Mapping[str, Any]) -> str:
    """Return the identity that an answer of AWS tells, ``""`` if it tells none."""
    told = answer.get(IDENTITIES.get(kind, ""), "")
    return told.isoformat() if isinstance(told, datetime) else str(told)


def is_missing(error: ClientError) -> bool:
    """Tell whether AWS refused because what was asked for isn't there."""
    return str(error.response["Error"]["Code"]) == "ResourceNotFoundException"


def or_none(call: Callable[[], Any]) -> Any:
    """Return what a call answers; None if there is no such thing, or no name like that."""
    try:
        return call()
    except ClientError as error:
        if is_missing(error) or error.response["Error"]["Code"] == "InvalidRequestException":
            return None
        raise


def paginate(call: Callable[..., Any], member: str, **question: Any) -> Iterator[Any]:
    """Yield what a list operation of ``iot`` has, all its pages."""
    while True:
        page = call(**question)
        yield from page[member]
        token = page.get("nextToken"), page.get("nextMarker")
        if not any(token):
            return
        question |= {"nextToken": token[0]} if token[0] else {"marker": token[1]}


def shadow_names(client: Client, thing: str) -> list[str]:
    """Return the names of a Thing's shadows, ``""`` for the classic one."""
    data = client("iot-data")
    named = list(paginate(data.list_named_shadows_for_thing, "results", thingName=thing))
    return [*named, ""] if exists(client, Resource(SHADOW, (thing, ""))) else named


def is_connected(client: Client, client_id: str) -> bool:
    """Tell whether a device is connected under that client id; False as well if nobody can tell."""
    try:
        return bool(client("iot-data").get_connection(clientId=client_id)["connected"])
    except (ClientError, BotoCoreError):
        return False  # nobody of this name was ever connected, or this account may not ask


def _shadow(client: Client, thing: str, name: str) -> bool:
    named = {"shadowName": name} if name else {}
    return bool(client("iot-data").get_thing_shadow(thingName=thing, **named))


def _targets(client: Client, policy: str, target: str) -> bool:
    targets = paginate(client("iot").list_targets_for_policy, "targets", policyName=policy)
    return target in targets


def _principals(client: Client, thing: str, principal: str) -> bool:
    principals = paginate(client("iot").list_thing_principals, "principals", thingName=thing)
    return principal in principals


def _groups(client: Client, group: str, thing: str) -> bool:
    groups = paginate(client("iot").list_thing_groups_for_thing, "thingGroups", thingName=thing)
    return group in (each["groupName"] for each in groups)


_LOOKS: Mapping[str, Callable[..., Any]] = {
    THING: lambda client, name: client("iot").describe_thing(thingName=name),
    TYPE: lambda client, name: client("iot").describe_thing_type(thingTypeName=name),
    GROUP: lambda client, name: client("iot").describe_thing_group(thingGroupName=name),
    CERTIFICATE: lambda client, name: bool(client("iot").describe_certificate(certificateId=name)),
    POLICY: lambda client, name: client("iot").get_policy(policyName=name),
    VERSION: lambda client, policy, number: bool(
        client("iot").get_policy_version(policyName=policy, policyVersionId=number)
    ),
    THING_PRINCIPAL: _principals,
    POLICY_TARGET: _targets,
    MEMBER: _groups,
    SHADOW: _shadow,
    RETAINED: lambda client, topic: bool(client("iot-data").get_retained_message(topic=topic)),
}
