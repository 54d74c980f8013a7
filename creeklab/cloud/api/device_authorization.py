"""What a device may ask for over HTTPS, where its certificate comes with every request.

Each operation of ``iot-data`` has an action of IoT policies (developer guide, "AWS IoT Core policy
actions"). There is no connection, so the policies are those of the certificate alone: no client id,
no Thing, and the variables of both have no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from creeklab.cloud.authorization import ConnectionAuthorization, not_active

RefusalDetails = dict[str, Any]


def actions(operation: str, members: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a policy has to allow for a call: actions, each with its resource.

    Parameters
    ----------
    operation, members
        An operation of ``iot-data`` and the members of its request.
    """
    match operation:
        case "Publish":
            topic = "topic/" + members["topic"]
            retained = ("iot:RetainPublish",) if members.get("retain") else ()
            return [(action, topic) for action in ("iot:Publish", *retained)]
        case "GetRetainedMessage":
            return [("iot:GetRetainedMessage", "topic/" + members["topic"])]
        case "ListRetainedMessages":
            return [("iot:ListRetainedMessages", "*")]
    if "thingName" in members:
        path = ["thing", members["thingName"], members.get("shadowName")]
        return [("iot:" + operation, "/".join(filter(None, path)))]
    return [("iot:" + operation, "client/" + members["clientId"])]


def check_certificate_status(access: ConnectionAuthorization) -> RefusalDetails | None:
    """Return what the tape is told if the certificate lets nobody in; None if it does."""
    status = access.status
    if status == "ACTIVE":
        return None
    return {"refusal": {"summary": not_active(access.certificate_id, status)}}


def check_policy(
    access: ConnectionAuthorization, operation: str, members: Mapping[str, Any]
) -> RefusalDetails | None:
    """Return what the tape is told if the policies do not allow a call; None if they do."""
    for action, resource in actions(operation, members):
        if not access.allows(action, resource):
            explanation = access.explain(action, resource).as_dict()
            return {"action": action, "resource": resource, "refusal": explanation}
    return None
