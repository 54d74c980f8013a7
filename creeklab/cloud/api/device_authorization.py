"""Authorization of a device's HTTPS request, which carries its certificate instead of a signature.

There is no connection, so the policies are those of the certificate alone: there is no client ID
and no Thing, and policy variables of either have no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from creeklab.cloud.authorization import ConnectionAuthorization, not_active
from creeklab.cloud.errors import ServiceError

RefusalDetails = dict[str, Any]

UNAVAILABLE = {
    r"/role-aliases/[^/]+/credentials": "the AWS IoT credentials provider",
    r"/greengrass/discover/thing/[^/]+": "AWS IoT Greengrass discovery",
    r"/things/[^/]+/jobs(/[^/]+)?": "AWS IoT Jobs",
}
"""Services that devices call with their certificates and this cloud does not have, by path."""


def check_available(path: str) -> None:
    """Raise ``NotImplementedException``, which names the service, if this cloud lacks it."""
    for pattern, service in UNAVAILABLE.items():
        if re.fullmatch(pattern, path):
            raise ServiceError(
                "NotImplementedException",
                f"This local cloud does not have {service}. AWS has it.",
            )


def check_certificate_status(access: ConnectionAuthorization) -> RefusalDetails | None:
    """Return what to log if the certificate is not ACTIVE; None if it is."""
    status = access.status
    if status == "ACTIVE":
        return None
    return {"refusal": {"summary": not_active(access.certificate_id, status)}}


def check_policy(
    access: ConnectionAuthorization, operation: str, actions: Iterable[tuple[str, str]] | None
) -> RefusalDetails | None:
    """Return what to log if the policies do not allow a call; None if they do.

    Parameters
    ----------
    actions
        The actions that the operation needs, with their resources; None if no policy can allow
        the operation to a device.
    """
    if actions is None:
        return {"refusal": {"summary": f"Devices cannot call {operation}: sign it as the account."}}
    for action, resource in actions:
        if not access.allows(action, resource):
            denial = access.decided(action, resource)
            return {"action": action, "resource": resource, "denial": denial}
    return None
