"""The Device Shadow service."""

from __future__ import annotations

from collections.abc import Callable

from creeklab.cloud.api.http_api import HttpApi, Members
from creeklab.cloud.monitoring.event_log import BufferLimit
from creeklab.cloud.service import AccountContext, Endpoints, ReservedTopic, Service
from creeklab.cloud.shadow.document import ShadowLimits
from creeklab.cloud.shadow.operations import ShadowOperations
from creeklab.cloud.shadow.shadows import Shadows
from creeklab.cloud.shadow.store import ShadowStore
from creeklab.cloud.shadow.topics import REQUEST_TOPIC, ShadowTopics


def _action(operation: str) -> Callable[[Members], list[tuple[str, str]]]:
    """Return the policy action of an operation, on the Thing or on its named shadow."""

    def needed(members: Members) -> list[tuple[str, str]]:
        path = ["thing", members["thingName"], members.get("shadowName")]
        return [("iot:" + operation, "/".join(filter(None, path)))]

    return needed


OPERATIONS = ("GetThingShadow", "UpdateThingShadow", "DeleteThingShadow")
DEVICE_ACTIONS = {name: _action(name) for name in (*OPERATIONS, "ListNamedShadowsForThing")}


def _build(context: AccountContext) -> Endpoints:
    settings = context.settings
    limits = ShadowLimits(
        max_bytes=settings.shadow_max_bytes,
        first_previous=settings.shadow_first_previous,
        first_version=settings.shadow_first_version,
    )
    store, publish = ShadowStore(context.database), context.broker.publish
    shadows = Shadows(store, publish, context.event_log, context.clock, limits)
    signed_for = ("iotdata", "iotdevicegateway")
    return Endpoints(
        http=[HttpApi("iot-data", signed_for, ShadowOperations(shadows), DEVICE_ACTIONS)],
        topics=[ReservedTopic(REQUEST_TOPIC, ShadowTopics(shadows).on_request)],
    )


SERVICE = Service(
    "shadow",
    _build,
    metrics=dict.fromkeys((*OPERATIONS, "ListThingShadow"), ("Accepted",)),
    events={"shadow": BufferLimit(5_000, 4_000_000)},
    resources=("shadow",),
)
