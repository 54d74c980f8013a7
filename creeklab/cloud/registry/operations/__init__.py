"""The operations of the service ``iot``: the registry in the terms of botocore's model.

One short method for each operation, called with the members of its request by name, already
checked against the model, and answering with members by name; times are seconds since the epoch.
The rules are in `creeklab.cloud.registry`.
"""

from __future__ import annotations

from creeklab.cloud.registry.operations.account import AccountOperations
from creeklab.cloud.registry.operations.authorization import AuthorizationOperations
from creeklab.cloud.registry.operations.certificates import CertificateOperations
from creeklab.cloud.registry.operations.groups import GroupOperations
from creeklab.cloud.registry.operations.policies import PolicyOperations
from creeklab.cloud.registry.operations.things import ThingOperations


class RegistryOperations(
    ThingOperations,
    GroupOperations,
    CertificateOperations,
    PolicyOperations,
    AuthorizationOperations,
    AccountOperations,
):
    """The control plane of AWS IoT Core."""
