"""The operations of the service ``iot``: the registry in the terms of botocore's model.

One short method for each operation, called with the members of its request by name, already
checked against the model, and answering with members by name; times are seconds since the epoch.
The rules are in `creeklab.cloud.registry`.
"""

from __future__ import annotations

from creeklab.cloud.api.iot.authorization import AuthorizationOperations
from creeklab.cloud.api.iot.certificates import CertificateOperations
from creeklab.cloud.api.iot.operations import Answer
from creeklab.cloud.api.iot.policies import PolicyOperations
from creeklab.cloud.api.iot.things import ThingOperations
from creeklab.cloud.errors import ServiceError

# All of them are the one local endpoint (API reference, DescribeEndpoint).
ENDPOINT_TYPES = (
    "iot:Data",
    "iot:Data-ATS",
    "iot:CredentialProvider",
    "iot:Jobs",
    "iot:DeviceAdvisor",
)


class Iot(ThingOperations, CertificateOperations, PolicyOperations, AuthorizationOperations):
    """The control plane of AWS IoT Core."""

    def describe_endpoint(self, *, endpointType: str = "iot:Data") -> Answer:
        """Return the host name of an endpoint, without a port."""
        if endpointType not in ENDPOINT_TYPES:
            raise ServiceError(
                "InvalidRequestException", f"Endpoint type {endpointType} not recognized."
            )
        return {"endpointAddress": self._registry.endpoint}
