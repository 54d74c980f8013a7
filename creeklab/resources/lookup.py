"""Look up resources in the account: one read-only call for each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.resources.resource import IDENTITIES, Resource, ResourceKind
from creeklab.resources.similar_name import did_you_mean

Client = Callable[[str], Any]
"""Returns a boto3 client for a service."""

MAX_COMPARED = 1_000
"""Things that a misspelled name is compared with."""


def exists(client: Client, one: Resource) -> bool:
    """Return whether the account has a resource."""
    return identity(client, one) is not None


def identity(client: Client, one: Resource) -> str | None:
    """Return what distinguishes a resource from a later one of its name; None if it is missing.

    ``""`` for a kind whose names are never reused, such as a certificate's id.
    """
    try:
        found = _DESCRIBE[one.kind](client, *one.names)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    if not found:
        return None
    return identity_from(one.kind, found) if one.kind in IDENTITIES else ""


def identity_from(kind: ResourceKind, response: Mapping[str, Any]) -> str:
    """Return the identity of a resource from AWS's response, ``""`` if it contains none."""
    members = response["Role"] if kind == ResourceKind.ROLE else response
    value = members.get(IDENTITIES.get(kind, ""), "")
    return value.isoformat() if isinstance(value, datetime) else str(value)


def is_missing(error: ClientError) -> bool:
    """Return whether AWS refused because the requested resource does not exist."""
    return str(error.response["Error"]["Code"]) in ("ResourceNotFoundException", "NoSuchEntity")


def or_none(call: Callable[[], Any]) -> Any:
    """Return the response of a call; None if the resource does not exist or its name is invalid."""
    try:
        return call()
    except ClientError as error:
        if is_missing(error) or error.response["Error"]["Code"] == "InvalidRequestException":
            return None
        raise


_TOKENS = {"nextToken": "nextToken", "nextMarker": "marker", "Marker": "Marker"}
"""The token of the next page: its name in a response, and in the request for that page."""


def paginate(call: Callable[..., Any], member: str, **request: Any) -> Iterator[Any]:
    """Yield the items of a list operation of ``iot`` or ``iam``, from all its pages."""
    while True:
        page = call(**request)
        yield from page[member]
        for given, requested in _TOKENS.items():
            if page.get(given):
                request[requested] = page[given]
                break
        else:
            return


def similar_thing(client: Client, name: str) -> str:
    """Return " Did you mean ...?" with the Thing of the most similar name; empty if it exists."""
    things = islice(paginate(client("iot").list_things, "things", maxResults=250), MAX_COMPARED)
    names = [each["thingName"] for each in things]
    return "" if name in names else did_you_mean(name, names)


def shadow_names(client: Client, thing: str) -> list[str]:
    """Return the names of a Thing's shadows, ``""`` for the classic one."""
    data = client("iot-data")
    named = list(paginate(data.list_named_shadows_for_thing, "results", thingName=thing))
    return [*named, ""] if exists(client, Resource(ResourceKind.SHADOW, (thing, ""))) else named


def is_connected(client: Client, client_id: str) -> bool:
    """Return whether a device is connected under a client ID; False if AWS cannot say."""
    try:
        return bool(client("iot-data").get_connection(clientId=client_id)["connected"])
    except (ClientError, BotoCoreError):
        return False  # never connected, or this user is not allowed to ask


def _call(service: str, operation: str, *members: str) -> Callable[..., Any]:
    """Return a function that describes a resource with one call; the names fill `members`."""

    def describe(client: Client, *names: str) -> Any:
        return getattr(client(service), operation)(**dict(zip(members, names, strict=True)))

    return describe


def _get_shadow(client: Client, thing: str, name: str) -> bool:
    named = {"shadowName": name} if name else {}
    return bool(client("iot-data").get_thing_shadow(thingName=thing, **named))


def _has_target(client: Client, policy: str, target: str) -> bool:
    targets = paginate(client("iot").list_targets_for_policy, "targets", policyName=policy)
    return target in targets


def _has_principal(client: Client, thing: str, principal: str) -> bool:
    principals = paginate(client("iot").list_thing_principals, "principals", thingName=thing)
    return principal in principals


def _is_member(client: Client, group: str, thing: str) -> bool:
    groups = paginate(client("iot").list_thing_groups_for_thing, "thingGroups", thingName=thing)
    return group in (each["groupName"] for each in groups)


def _find_rule(client: Client, name: str) -> Any:
    # For a missing rule, GetTopicRule answers as for a missing permission.
    rules = paginate(client("iot").list_topic_rules, "rules")
    return next((rule for rule in rules if rule["ruleName"] == name), None)


_DESCRIBE: Mapping[ResourceKind, Callable[..., Any]] = {
    ResourceKind.THING: _call("iot", "describe_thing", "thingName"),
    ResourceKind.THING_TYPE: _call("iot", "describe_thing_type", "thingTypeName"),
    ResourceKind.THING_GROUP: _call("iot", "describe_thing_group", "thingGroupName"),
    ResourceKind.CERTIFICATE: _call("iot", "describe_certificate", "certificateId"),
    ResourceKind.POLICY: _call("iot", "get_policy", "policyName"),
    ResourceKind.POLICY_VERSION: _call(
        "iot", "get_policy_version", "policyName", "policyVersionId"
    ),
    ResourceKind.THING_PRINCIPAL: _has_principal,
    ResourceKind.POLICY_TARGET: _has_target,
    ResourceKind.GROUP_MEMBER: _is_member,
    ResourceKind.SHADOW: _get_shadow,
    ResourceKind.FUNCTION: _call("lambda", "get_function_configuration", "FunctionName"),
    ResourceKind.RETAINED_MESSAGE: _call("iot-data", "get_retained_message", "topic"),
    ResourceKind.ROLE: _call("iam", "get_role", "RoleName"),
    ResourceKind.ROLE_POLICY: _call("iam", "get_role_policy", "RoleName", "PolicyName"),
    ResourceKind.TOPIC_RULE: _find_rule,
}
