"""The service behind ``lab.events()``, ``lab.metrics()`` and ``lab.why()``; AWS has no such API."""

from __future__ import annotations

from creeklab.cloud.diagnostics.admin import admin_endpoints
from creeklab.cloud.service import AccountContext, Endpoints, Service


def _build(context: AccountContext) -> Endpoints:
    return Endpoints(admin=admin_endpoints(context.event_log))


SERVICE = Service("diagnostics", _build)
