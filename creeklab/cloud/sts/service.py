"""The service ``sts``."""

from __future__ import annotations

from creeklab.cloud.api.http_api import HttpApi
from creeklab.cloud.service import AccountContext, Endpoints, Service
from creeklab.cloud.sts.operations import StsOperations


def _build(context: AccountContext) -> Endpoints:
    operations = StsOperations(context.identity)
    return Endpoints(http=[HttpApi("sts", ("sts",), operations)])


SERVICE = Service("sts", _build)
