"""The service ``iot``: the control plane, with its events.

The registry itself (`Registry`) belongs to the account, because the broker asks it what a client is
allowed to do; this is the part that callers use.
"""

from __future__ import annotations

from creeklab.cloud.api.http_api import HttpApi
from creeklab.cloud.registry.event_publisher import RegistryEventPublisher
from creeklab.cloud.registry.operations import RegistryOperations
from creeklab.cloud.service import AccountContext, Endpoints, Service


def _build(context: AccountContext) -> Endpoints:
    registry = context.registry
    events = RegistryEventPublisher(registry, context.broker.publish, context.clock)
    registry.change_listeners.append(events.on_change)
    return Endpoints(http=[HttpApi("iot", ("iot",), RegistryOperations(registry))])


SERVICE = Service(
    "registry",
    _build,
    resources=(
        *("Thing", "thing type", "thing group", "certificate", "policy", "policy version"),
        *("certificate of a Thing", "policy of a certificate", "Thing in a group"),
    ),
)
