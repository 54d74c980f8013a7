"""A water gauge: registers itself in AWS IoT Core, and publishes the depth of its creek."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import boto3
from awscrt import mqtt5
from awsiot import mqtt5_client_builder

FLOOD_FT = 2.5
TIMEOUT = 10.0

# A gauge connects under its own name and publishes below its own topic, nothing else.
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:Connect",
            "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}",
        },
        {
            "Effect": "Allow",
            "Action": "iot:Publish",
            "Resource": "arn:aws:iot:*:*:topic/creek/${iot:Connection.Thing.ThingName}/*",
        },
    ],
}


@dataclass
class Address:
    """Where AWS IoT Core listens, and the root certificate that a gauge trusts."""

    host: str
    port: int = 8883
    ca_file: str | None = None


def register(name: str, folder: Path) -> None:
    """Create the Thing, and store its certificate and private key in `folder`."""
    iot = boto3.client("iot")
    iot.create_thing(thingName=name, attributePayload={"attributes": {"kind": "gauge"}})
    created = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_thing_principal(thingName=name, principal=created["certificateArn"])
    with suppress(iot.exceptions.ResourceAlreadyExistsException):  # by an earlier gauge
        iot.create_policy(policyName="gauge", policyDocument=json.dumps(POLICY))
    iot.attach_policy(policyName="gauge", target=created["certificateArn"])
    (folder / "certificate.pem").write_text(created["certificatePem"])
    key = folder / "private.pem"
    key.touch(mode=0o600)
    key.write_text(created["keyPair"]["PrivateKey"])


class Gauge:
    """A connected gauge, with the files that `register` stored in `folder`."""

    def __init__(self, name: str, folder: Path, address: Address) -> None:
        self.name = name
        connected = threading.Event()
        self._client = mqtt5_client_builder.mtls_from_path(
            str(folder / "certificate.pem"),
            str(folder / "private.pem"),
            endpoint=address.host,
            port=address.port,
            ca_filepath=address.ca_file,
            client_id=name,
            on_lifecycle_connection_success=lambda _: connected.set(),
        )
        self._client.start()
        if not connected.wait(TIMEOUT):
            self._client.stop()
            raise ConnectionError(f"{name} could not connect to {address.host}:{address.port}.")

    def report(self, depth: float) -> None:
        """Publish a depth in feet, and an alarm if it is a flood."""
        self._publish("depth", {"depth": depth})
        if depth > FLOOD_FT:
            self._publish("alarm", {"depth": depth, "above": FLOOD_FT})

    def _publish(self, topic: str, message: dict[str, float]) -> None:
        packet = mqtt5.PublishPacket(
            topic=f"creek/{self.name}/{topic}",
            payload=json.dumps(message).encode(),
            qos=mqtt5.QoS.AT_LEAST_ONCE,
        )
        answer = self._client.publish(packet).result(TIMEOUT)
        if answer.puback.reason_code != mqtt5.PubackReasonCode.SUCCESS:
            raise PermissionError(f"{packet.topic}: {answer.puback.reason_code.name}")

    def close(self) -> None:
        """Disconnect."""
        self._client.stop()
