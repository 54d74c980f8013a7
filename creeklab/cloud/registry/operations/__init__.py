"""Operations of ``iot`` on the registry.

There is one short method for each operation. It takes the members of the request, already validated
against botocore's model, and returns those of the response; times are seconds since the epoch. The
rules are in `creeklab.cloud.registry`.
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
