"""The service of messages and connections: most of ``iot-data``, and connectivity in ``iot``."""

from __future__ import annotations

from collections.abc import Callable

from creeklab.cloud.api.http_api import DeviceActions, HttpApi, Members
from creeklab.cloud.messaging.connectivity import ConnectivityOperations
from creeklab.cloud.messaging.operations import MessagingOperations
from creeklab.cloud.service import AccountContext, Endpoints, Service

CLIENT_OPERATIONS = ("GetConnection", "DeleteConnection", "ListSubscriptions", "SendDirectMessage")
SIGNED_FOR = ("iotdata", "iotdevicegateway")


def _publish(members: Members) -> list[tuple[str, str]]:
    topic = "topic/" + members["topic"]
    retained = ("iot:RetainPublish",) if members.get("retain") else ()
    return [(action, topic) for action in ("iot:Publish", *retained)]


def _on_client(operation: str) -> Callable[[Members], list[tuple[str, str]]]:
    return lambda members: [("iot:" + operation, "client/" + members["clientId"])]


DEVICE_ACTIONS: DeviceActions = {
    "Publish": _publish,
    "GetRetainedMessage": lambda members: [("iot:GetRetainedMessage", "topic/" + members["topic"])],
    "ListRetainedMessages": lambda _: [("iot:ListRetainedMessages", "*")],
    **{operation: _on_client(operation) for operation in CLIENT_OPERATIONS},
}
"""Developer guide, "AWS IoT Core policy actions"."""


def _build(context: AccountContext) -> Endpoints:
    messages = MessagingOperations(context.broker, context.retained)
    connectivity = ConnectivityOperations(context.registry, context.broker.connectivity)
    return Endpoints(
        http=[
            HttpApi("iot-data", SIGNED_FOR, messages, DEVICE_ACTIONS),
            HttpApi("iot", ("iot",), connectivity),
        ]
    )


SERVICE = Service("messaging", _build, resources=("retained message",))
