"""The service ``iam``."""

from __future__ import annotations

from creeklab.cloud.api.http_api import HttpApi
from creeklab.cloud.iam.operations import IamOperations
from creeklab.cloud.iam.roles import Roles
from creeklab.cloud.iam.store import MIGRATIONS
from creeklab.cloud.service import AccountContext, Endpoints, Service


def _build(context: AccountContext) -> Endpoints:
    roles = Roles(context.database, context.identity, context.clock)
    return Endpoints(http=[HttpApi("iam", ("iam",), IamOperations(roles))], provides=roles)


SERVICE = Service("iam", _build, MIGRATIONS, resources=("role", "policy of a role"))
